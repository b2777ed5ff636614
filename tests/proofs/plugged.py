"""Runs fleetd with the vendors of one more folder, `$PLUGGED_PROVIDERS`."""

from __future__ import annotations

import os
import sys

from fleetd import providers
from fleetd.__main__ import main

if __name__ == "__main__":
    providers.__path__.append(os.environ["PLUGGED_PROVIDERS"])
    sys.exit(main())
