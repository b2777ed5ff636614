"""fleetd carries telematics events from vendors to a log on your disk, and on from there."""

from __future__ import annotations

__version__ = "0.1.0"
