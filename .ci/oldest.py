"""Leaves of Cargo.toml only what the library is built from, so that the oldest versions are the library's own."""
import re
import sys

path = sys.argv[1]
text = open(path).read()
with open(path, "w") as out:
    out.write(re.sub(r"\[dev-dependencies\].*?(?=\n\[lints)", "", text, flags=re.S))
