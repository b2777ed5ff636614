"""Past windows in: jobs that ask a vendor again, behind its live feeds, and survive a restart."""

from __future__ import annotations

from fleetd.tasks.backfill.pieces import Piece, pieces
from fleetd.tasks.backfill.runner import backfills, is_repair

__all__ = ["Piece", "backfills", "is_repair", "pieces"]
