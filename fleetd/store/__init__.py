"""The log of events on this box's own disk, and everything that is a position in it."""

from __future__ import annotations

from fleetd.store.life import open_store
from fleetd.store.moves import (
    Append,
    Aside,
    Attempt,
    Burial,
    Counts,
    DeadRecord,
    Fact,
    Job,
    Made,
    Raw,
    Read,
    Rules,
)
from fleetd.store.places import SinkPlace
from fleetd.store.store import Store

__all__ = [
    "Append",
    "Aside",
    "Attempt",
    "Burial",
    "Counts",
    "DeadRecord",
    "Fact",
    "Job",
    "Made",
    "Raw",
    "Read",
    "Rules",
    "SinkPlace",
    "Store",
    "open_store",
]
