"""Logs with millions of events, made by fleetd's own store and provider and not by its front door."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from functools import partial
from itertools import islice
from pathlib import Path

import trio

from fleetd import providers
from fleetd.event import Record
from fleetd.store import Rules, SinkPlace, open_store
from fleetd.tasks.intake import Arrival, take_in
from fleetd.world import World
from tests.bench.corpus import BEGIN, VEHICLES, bodies
from tests.bench.report import say

MAX_DISK = 20 << 30
PAGE = 500
FIRST = 1 << 40  # away from the numbers that the load generator sends
APART_S = 30
RARE = 10_000
FAULT = (
    '{"action":"fault_code_opened","id":%d,"code":"P203F","code_label":"P203F",'
    '"code_description":"Reductant Level Too Low","status":"opened",'
    '"first_observed_at":"%s","last_observed_at":"%s","type":"constant",'
    '"network":"obdii","vehicle":{"id":2060101,"number":"52584",'
    '"vin":"1FUJHHDR3MLMT2101","metric_units":false}}'
)
RULES = Rules(max_disk=MAX_DISK)


def fill(data: Path, events: int, sinks: Mapping[str, SinkPlace] | None = None) -> None:
    """Put so many positions into the log of a folder, one in 10 000 of them a fault instead.

    Their raw bytes are not kept, as if `keep_raw` had passed; their device times lie 30 s
    apart for each vehicle, so that a million spans half a day and the dedupe days fill.
    """
    trio.run(partial(filling, data, events, sinks or {}))


async def filling(data: Path, events: int, sinks: Mapping[str, SinkPlace]) -> None:
    motive = providers.load("motive")
    async with open_store(data, World(), RULES) as store:
        await store.register_sources({"north": "motive"})
        await store.register_sinks(sinks)
        source = records(events)
        for page in iter(lambda: list(islice(source, PAGE)), []):
            arrival = Arrival("north", motive, store.next_received_ms(), "push")
            await store.append(take_in(arrival, page, store.directory))
            if store.newest % 500_000 < PAGE:
                say(f"filled {store.newest:,}")


def records(events: int) -> Iterator[Record]:
    begin = BEGIN - timedelta(seconds=(events // VEHICLES + 1) * APART_S)
    positions = bodies(FIRST, begin, APART_S)
    for number, body in enumerate(islice(positions, events), 1):
        if number % RARE:
            yield Record("positions", body)
        else:
            at = BEGIN.strftime("%Y-%m-%dT%H:%M:%SZ")
            yield Record("records", (FAULT % (number, at, at)).encode())
