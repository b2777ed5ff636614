"""How fast the log is read for delivery, and what a sink costs that takes one event in 10 000."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

import msgspec
import trio

from fleetd.event import NORMAL
from fleetd.store import SinkPlace, Store, open_store
from fleetd.taking import Taking
from fleetd.world import World
from tests.bench.fill import RARE, RULES, fill
from tests.bench.options import Options, folder_in
from tests.bench.report import Report, at_least, at_most, machine, say, spread

ROWS = 500_000
BATCH = 500
SINKS = {
    "everything": SinkPlace(Taking()),
    "faults": SinkPlace(Taking(kinds=frozenset({"fault"}))),
    "vehicle": SinkPlace(Taking(vehicles=("T-0007",))),
}
NOTES = [
    f"next_batch over the whole log, {BATCH} entries at a time, each checked and decoded.",
    "faults: one event in 10 000 by its kind. vehicle: one vehicle of 600 by a glob on its number.",
    "advance: the same with the cursor moved and counted over each batch, a commit each.",
]


class Pass(msgspec.Struct, frozen=True):
    sink: str
    seconds: float
    batches: int
    entries: int


def run(options: Options) -> Report:
    rows = options.rows or ROWS
    with folder_in(options) as name:
        fill(Path(name), rows, SINKS)
        rounds = trio.run(partial(reading, Path(name), options.rounds, rows))
    every = [one["everything"].entries / one["everything"].seconds for one in rounds]
    rare = [one["faults"].seconds / one["everything"].seconds * 100 for one in rounds]
    return Report(
        name="readback",
        machine=machine(Path(options.dir)),
        options=msgspec.to_builtins(options),
        budgets=[
            at_least("events a second", 100_000, spread(every).median),
            at_most(
                f"1 in {RARE}: % of the time of a full read", 2, spread(rare).median
            ),
        ],
        figures={
            "events_per_s": spread(every),
            "rare_percent": spread(rare),
            "rare_ms": spread(one["faults"].seconds * 1000 for one in rounds),
            "vehicle_rows_per_s": spread(
                rows / one["vehicle"].seconds for one in rounds
            ),
            "advance_events_per_s": spread(
                one["advance"].entries / one["advance"].seconds for one in rounds
            ),
        },
        notes=NOTES,
        raw=[msgspec.to_builtins(one) for one in rounds],
    )


async def reading(data: Path, times: int, rows: int) -> list[dict[str, Pass]]:
    async with open_store(data, World(), RULES) as store:
        await store.register_sources({"north": "motive"})
        await store.register_sinks(SINKS)
        assert store.newest >= rows
        found = []
        for number in range(times):
            one = {name: await walk(store, name) for name in SINKS}
            share = store.newest // times
            one["advance"] = await advance(store, share * (number + 1))
            say(f"round {number + 1}: {one['everything'].seconds:.2f} s for all")
            found.append(one)
        return found


async def walk(store: Store, sink: str) -> Pass:
    """Read to the end of the log without moving the cursor."""
    began, batches, entries, at = time.perf_counter(), 0, 0, 0
    while at < store.newest:
        read = await store.next_batch(sink, NORMAL, limit=BATCH, beyond=at)
        batches, entries, at = batches + 1, entries + len(read.entries), read.upto
    return Pass(sink, time.perf_counter() - began, batches, entries)


async def advance(store: Store, upto: int) -> Pass:
    """Read and decide, as a sink that takes each batch at once would."""
    began, batches, entries = time.perf_counter(), 0, 0
    while store.cursor("everything", NORMAL) < upto:
        read = await store.next_batch("everything", NORMAL, limit=BATCH)
        await store.advance(read, delivered=read.entries)
        batches, entries = batches + 1, entries + len(read.entries)
    return Pass("advance", time.perf_counter() - began, batches, entries)
