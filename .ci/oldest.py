"""Removes the dev-dependencies, examples and benches from a Cargo.toml, so that only the library's dependencies are left.

usage: oldest.py Cargo.toml
"""
import re
import sys

path = sys.argv[1]
text = open(path).read()
with open(path, "w") as out:
    out.write(re.sub(r"\[dev-dependencies\].*?(?=\n\[lints)", "", text, flags=re.S))
