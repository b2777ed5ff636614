"""Runs fleetd with a Sheets sink that does not wait for a minute's quota."""

from __future__ import annotations

import sys

from msgspec.structs import replace

from fleetd.__main__ import main
from fleetd.sinks import sheets

if __name__ == "__main__":
    sheets.SINK = replace(sheets.SINK, per_second=50.0, burst=50)
    sys.exit(main())
