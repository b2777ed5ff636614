"""What store tests do all the time: events in, entries out, and questions to the rows."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from fleetd.errors import PayloadError
from fleetd.event import (
    LANES,
    AnyEvent,
    Entry,
    Position,
    Record,
    Safety,
    Vehicle,
    pack,
    unpack,
)
from fleetd.providers.contract import Provider
from fleetd.store import Append, Counts, Raw, Rules, SinkPlace, Store, open_store
from fleetd.store.balance import gaps, reaches
from fleetd.store.stats import hours, scopes, snapshot
from fleetd.taking import Taking
from fleetd.tasks.intake import Arrival, take_in
from fleetd.world import World
from tests.conftest import MORNING


def read(body: bytes) -> list[AnyEvent]:
    if body.startswith(b"bad"):
        raise PayloadError("it is bad")
    return [unpack(body)] if body else []


ACME = Provider(name="acme", normalize={"e": read})
ALL = {"ops": SinkPlace(Taking())}


def fix(n: int, at: datetime = MORNING, vehicle: str = "v1", **more: Any) -> Position:
    place = {"latitude": 1.0, "longitude": 2.0, **more}
    return Position(id=f"p{n}", at=at, vehicle=vehicle, **place)


def crash(n: int, at: datetime = MORNING, vehicle: str = "v1") -> Safety:
    return Safety(id=f"s{n}", at=at, vehicle=vehicle, type="crash")


def truck(number: str | None, vehicle: str = "v1", **more: Any) -> Vehicle:
    return Vehicle(id=vehicle, vehicle=vehicle, number=number, **more)


def appended(
    store: Store, *items: AnyEvent | bytes, source: str = "north", raw: bytes | bool = False,
    received_ms: int | None = None, bookmark: tuple[str, str | None] | None = None,
    gaps: tuple[tuple[int, int], ...] = (),
) -> Append:  # fmt: skip
    bodies = [one if isinstance(one, bytes) else pack(one) for one in items]
    received = store.next_received_ms() if received_ms is None else received_ms
    arrival = Arrival(
        source, ACME, received, "poll" if bookmark else "push", gaps=gaps
    )  # fmt: skip
    page = raw if isinstance(raw, bytes) else b"\n".join(bodies)
    kept = Raw("webhook", page) if raw else None
    records = [Record("e", body) for body in bodies]
    return take_in(arrival, records, store.directory, raw=kept, bookmark=bookmark)


async def put(store: Store, *items: AnyEvent | bytes, **how: Any) -> Counts:
    return await store.append(appended(store, *items, **how))


def committed(store: Store, writes: Sequence[Any]) -> list[Any]:
    """One commit, by hand, with what it would do in the log's own thread done here."""
    steps, fault = store.log.commit(writes), None
    while True:
        try:
            work = steps.send(fault)
        except StopIteration as end:
            results: list[Any] = end.value
            return results
        fault = work()


@asynccontextmanager
async def opened(
    folder: Path, world: World, sinks: Mapping[str, SinkPlace] | None = None,
    rules: Rules | None = None,
) -> AsyncIterator[Store]:  # fmt: skip
    async with open_store(folder, world, rules) as store:
        await store.register_sources({"north": "acme", "south": "acme"})
        await store.register_sinks(ALL if sinks is None else sinks)
        yield store


async def drain(store: Store, sink: str = "ops", limit: int = 100) -> list[Entry]:
    """Deliver everything that waits, in order, to a far side that takes it."""
    taken: list[Entry] = []
    for lane in reversed(range(len(LANES))):
        while store.cursor(sink, lane) < store.newest:
            read = await store.next_batch(sink, lane, limit=limit)
            assert read.upto > read.after, "a read that looks at nothing never ends"
            assert await store.advance(read, delivered=read.entries)
            taken += read.entries
    return taken


def rows(store: Store, query: str, *values: Any) -> list[Any]:
    return list(store.log.db.execute(query, values))


def counted(store: Store, name: str, side: str = "sink") -> dict[str, int]:
    """The ledger of one source or sink, by outcome."""
    return dict(
        rows(
            store,
            "SELECT outcome || CASE why WHEN '' THEN '' ELSE ':' || why END, sum(n)"
            " FROM totals JOIN names ON names.id = scope WHERE side = ? AND name = ?"
            " AND kind > 0 GROUP BY 1 HAVING sum(n) != 0",
            side,
            name,
        )
    )


def stored(store: Store) -> list[str]:
    """Ids in the order of the log."""
    return [
        unpack(body).id
        for (body,) in rows(store, "SELECT body FROM events ORDER BY seq")
    ]


async def imbalances(store: Store) -> list[str]:
    """Every equation of the ledger that does not hold."""

    def look(reader: Any) -> list[str]:
        snap = snapshot(reader.db)
        sinks = [one for one in snap.scopes if one.side == "sink"]
        reach = reaches(reader.db, sinks, snap.cursors)
        found = gaps(hours(reader.db, 0, 1 << 40), list(scopes(reader.db)), reach)
        return [str(one) for one in found]

    return await store.reading(look)


async def waits(store: Store, sink: str, taking: Taking) -> tuple[int, int]:
    """What waits for a sink, counted row by row."""
    found = [0, 0]
    names = {n: name for (side, name), n in store.log.names.items() if side == "source"}
    for seq, source, lane, body in rows(
        store, "SELECT seq, source, lane, body FROM events"
    ):
        if seq > store.cursor(sink, lane) and taking.takes(names[source], unpack(body)):
            found[lane] += 1
    return found[0], found[1]


def days(n: float) -> timedelta:
    return timedelta(days=n)
