"""A fleetd that syncs at checkpoints only: what the power cut must catch, or it proves nothing."""

from __future__ import annotations

import sys

import apsw

from fleetd.__main__ import main
from fleetd.store import files

kept = files._promise


def broken(db: apsw.Connection) -> None:
    kept(db)
    db.pragma("synchronous", 1)


files._promise = broken
if __name__ == "__main__":
    sys.exit(main())
