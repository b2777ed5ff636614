"""Whether the ledger's equations hold, hour by hour."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

import apsw
from msgspec import Struct

from fleetd.store.stats import Hourly, Scope, first_after
from fleetd.store.totals import HOUR_MS

WHOLE = "whole:"  # what is kept of sinks that began with the first event of all
IS_WHOLE = "SELECT 1 FROM kept WHERE name = ?"
FIRST_HOUR = "SELECT min(hour) FROM totals WHERE scope = ?"
PASSED = ("delivered", "skipped", "dead", "dropped", "not_taken")
READ = ("normalized", "empty", "dead", "dropped")
KEPT = ("stored", "duplicate", "filtered")


class Gap(Struct, frozen=True):
    """An equation that does not hold: `has` were counted where `wants` should be."""

    side: str
    name: str
    hour: int
    what: str
    wants: int
    has: int

    def __str__(self) -> str:
        return (
            f"{self.name}: {self.what}: {self.wants} came and {self.has} are accounted"
        )


class Reach(Struct, frozen=True):
    """The hours a sink has wholly passed: after `first`, before `edge`."""

    first: int
    edge: int


def reaches(
    db: apsw.Connection,
    sinks: Iterable[Scope],
    cursors: Mapping[tuple[int, int], tuple[int, int]],
) -> dict[int, Reach]:
    """For each sink with a place in the log, the hours that must balance."""
    found = {}
    for sink in sinks:
        whole = db.execute(IS_WHOLE, (f"{WHOLE}{sink.name}",)).get
        first = -1 if whole else db.execute(FIRST_HOUR, (sink.id,)).get
        lanes = [lane for lane in (0, 1) if (sink.id, lane) in cursors]
        ahead = [first_after(db, cursors[sink.id, lane][0], lane) for lane in lanes]
        edges = [one[1] // HOUR_MS for one in ahead if one]
        if first is not None and lanes:
            found[sink.id] = Reach(first, min(edges, default=1 << 40))
    return found


def gaps(
    rows: Sequence[Hourly], scopes: Iterable[Scope], reach: Mapping[int, Reach]
) -> list[Gap]:
    """Every equation of the ledger that does not hold in these hours."""
    of: dict[tuple[int, int], Counter[str]] = defaultdict(Counter)
    stored: Counter[int] = Counter()
    for row in rows:
        of[row.scope, row.hour][row.outcome] += row.n
        if row.outcome == "stored":
            stored[row.hour] += row.n
    found: list[Gap] = []
    for scope in scopes:
        if scope.side == "source":
            found += _source(scope, of)
        elif scope.id in reach:
            found += _sink(scope, of, stored, reach[scope.id])
    return found


def _source(scope: Scope, of: Mapping[tuple[int, int], Counter[str]]) -> Iterable[Gap]:
    for (number, hour), n in of.items():
        if number != scope.id:
            continue
        read, kept = sum(n[one] for one in READ), sum(n[one] for one in KEPT)
        if n["received"] != read:
            yield Gap("source", scope.name, hour, "records", n["received"], read)
        if n["made"] != kept:
            yield Gap("source", scope.name, hour, "events", n["made"], kept)


def _sink(
    scope: Scope, of: Mapping[tuple[int, int], Counter[str]], stored: Counter[int],
    reach: Reach,
) -> Iterable[Gap]:  # fmt: skip
    for hour, came in stored.items():
        n = of.get((scope.id, hour), Counter())
        passed = sum(n[one] for one in PASSED)
        whole = reach.first < hour < reach.edge
        if passed > came or (whole and passed != came):
            yield Gap("sink", scope.name, hour, "deliveries", came, passed)
