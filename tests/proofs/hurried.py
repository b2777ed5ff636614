"""Runs fleetd with sinks that do not wait for what a minute, or an hour, allows."""

from __future__ import annotations

import sys

from msgspec.structs import replace

from fleetd.__main__ import main
from fleetd.sinks import email, sheets, slack, teams

if __name__ == "__main__":
    sheets.SINK = replace(sheets.SINK, per_second=50.0, burst=50)
    for module in (email, slack, teams):
        module.SINK = replace(module.SINK, per_second=10.0, burst=10)
    sys.exit(main())
