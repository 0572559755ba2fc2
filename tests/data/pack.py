#!/usr/bin/env python3
"""This script packs and unpacks the conformance cases, because the largest wires repeat one pattern thousands of times.

usage: pack.py CASES.jsonl > conformance.jsonl
       pack.py --unpack conformance.jsonl > CASES.jsonl

The script replaces each long field `<name>_b64` by a field `<name>_parts`, which is a list of {"b64", "times"}. To get
the octets, repeat each part and join the parts. The script changes no other field, and keeps the order of the cases."""
import base64
import json
import sys

LONG = 2000  # a field with more base64 characters than this is packed
PERIOD = 300  # number of octets of the longest pattern that the script looks for
WORTH = 64  # smallest number of octets that a repetition must save


def longest_run(octets, at):
    """Returns the period, the count and the saved octets of the repetition at `at` that saves the most octets."""
    best = (0, 1, 1)
    for period in range(1, min(PERIOD, (len(octets) - at) // 2) + 1):
        if octets[at] != octets[at + period]:
            continue
        unit, end, times = octets[at:at + period], at + period, 1
        while octets.startswith(unit, end):
            end, times = end + period, times + 1
        best = max(best, (period * (times - 1), -period, times))
    return -best[1], best[2], best[0]


def pack(octets):
    parts, literal, at = [], bytearray(), 0

    def add(unit, times):
        if unit:
            parts.append({"b64": base64.b64encode(unit).decode(), "times": times})

    while at < len(octets):
        period, times, saved = longest_run(octets, at)
        if saved >= WORTH:
            add(literal, 1)
            literal = bytearray()
            add(octets[at:at + period], times)
            at += period * times
        else:
            literal.append(octets[at])
            at += 1
    add(literal, 1)
    return parts


def unpack(parts):
    return b"".join(base64.b64decode(part["b64"]) * part["times"] for part in parts)


def packed(case):
    for name, value in case.items():
        if name.endswith("_b64") and isinstance(value, str) and len(value) > LONG:
            octets = base64.b64decode(value)
            parts = pack(octets)
            assert unpack(parts) == octets
            yield name.removesuffix("_b64") + "_parts", parts
        else:
            yield name, value


def unpacked(case):
    for name, value in case.items():
        if name.endswith("_parts"):
            yield name.removesuffix("_parts") + "_b64", base64.b64encode(unpack(value)).decode()
        else:
            yield name, value


def main():
    is_unpack = sys.argv[1] == "--unpack"
    for line in open(sys.argv[-1]):
        case = dict((unpacked if is_unpack else packed)(json.loads(line)))
        print(json.dumps(case))


if __name__ == "__main__":
    main()
