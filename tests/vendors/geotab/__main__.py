"""Run it: `python -m tests.vendors.geotab --port 9100 --vehicles 600`."""

from __future__ import annotations

from tests.vendors.geotab import Geotab
from tests.vendors.server import main

if __name__ == "__main__":
    main(Geotab)
