"""The ledger's rows: one delta per distinct row and commit."""

from __future__ import annotations

from collections import Counter
from typing import TypeAlias

import apsw

from fleetd.store.rows import spread

HOUR_MS = 3_600_000
UPSERT = "INSERT INTO totals(scope, hour, kind, outcome, why, n)"
SUM = "INSERT INTO sums(scope, kind, outcome, why, n)"
ADD = "ON CONFLICT DO UPDATE SET n = n + excluded.n"

Row: TypeAlias = tuple[int, int, int, str, str]  # scope, hour, kind, outcome, why
Deltas: TypeAlias = "Counter[Row]"


def add(db: apsw.Connection, deltas: Deltas) -> None:
    """Add what one commit counted, in the transaction of what it counts.

    Once by hour, and once over all hours: status and metrics read the sums, which cost
    the same after a year and do not shrink when old hours are pruned.
    """
    spread(db, UPSERT, [(*row, n) for row, n in deltas.items() if n], ADD)
    sums: Counter[tuple[int, int, str, str]] = Counter()
    for (scope, _hour, kind, outcome, why), n in deltas.items():
        sums[scope, kind, outcome, why] += n
    spread(db, SUM, [(*row, n) for row, n in sums.items() if n], ADD)
