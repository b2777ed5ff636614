"""Runs fleetd in another world: at another time, kept by NTP, with plug-ins of the tests' own."""

from __future__ import annotations

import os
import sys
from datetime import datetime, timedelta
from pathlib import Path

from fleetd import providers, sinks
from fleetd.__main__ import main
from fleetd.world import World, wall_clock

PLUGINS = Path(__file__).with_name("plugins")
LATER = timedelta(seconds=float(os.environ.get("ELSEWHERE_LATER_S", "0")))


def now() -> datetime:
    return wall_clock() + LATER


if __name__ == "__main__":
    defaults = World.__init__.__kwdefaults__
    assert defaults is not None
    defaults.update(now=now, synchronised=lambda: True)
    providers.__path__.append(str(PLUGINS / "providers"))
    sinks.__path__.append(str(PLUGINS / "sinks"))
    sys.exit(main())
