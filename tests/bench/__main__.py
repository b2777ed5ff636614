"""Runs one bench and prints its JSON document; progress goes to stderr."""

from __future__ import annotations

import importlib
import sys

import msgspec

from tests.bench.options import parse
from tests.bench.report import Report

NAMES = (
    "intake",
    "latency",
    "restart",
    "readback",
    "big",
    "disk",
    "poll",
    "drain",
    "deliver",
    "isolate",
    "memory",
)


def main() -> int:
    options = parse(NAMES, sys.argv[1:])
    bench = importlib.import_module(f"tests.bench.{options.name}")
    report: Report = bench.run(options)
    document = msgspec.json.format(msgspec.json.encode(report), indent=2)
    sys.stdout.buffer.write(document + b"\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
