"""Fails if a dependency of the library needs a newer compiler than the rust-version of Cargo.toml.

Reads the output of `cargo metadata --format-version 1 --all-features` from its standard input.
"""
import json
import sys

meta = json.load(sys.stdin)
packages = {package["id"]: package for package in meta["packages"]}
nodes = {node["id"]: node for node in meta["resolve"]["nodes"]}
root = meta["resolve"]["root"]
version = lambda text: tuple(int(part) for part in (text or "0").split("."))
stated = version(packages[root]["rust_version"])

seen, todo, failed = set(), [root], False
while todo:
    package = todo.pop()
    if package in seen:
        continue
    seen.add(package)
    for dep in nodes[package]["deps"]:
        # Skips dependencies of tests, examples and benches.
        if any(kind["kind"] is None for kind in dep["dep_kinds"]):
            todo.append(dep["pkg"])
for package in sorted(seen):
    needs = packages[package]["rust_version"]
    if version(needs) > stated:
        failed = True
        print(f"{packages[package]['name']} {packages[package]['version']} needs Rust {needs}")
print(f"{len(seen)} packages checked against rust-version {packages[root]['rust_version']}")
sys.exit(failed)
