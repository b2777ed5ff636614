"""A sheet of the tests, and a sink that writes to it over real sockets."""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from fleetd.event import Entry
from fleetd.secrets import Secret
from fleetd.sinks.contract import Batch, Write
from fleetd.sinks.sheets import SINK, Config
from fleetd.sinks.sheets.columns import POSITION, Columns
from fleetd.sinks.sheets.config import Spreadsheet
from fleetd.world import World, inline
from tests.clouds.book import Book
from tests.clouds.sheets import Cloud

BOOK = "1AbCdEfGhIjKlMnOpQrStUvWxYz0123456789AbCdEf"


@contextmanager
def sheets(**options: Any) -> Iterator[Cloud]:
    """A cloud with one spreadsheet."""
    cloud = Cloud(**options)
    cloud.book(BOOK)
    try:
        yield cloud
    finally:
        cloud.close()


def config_of(cloud: Cloud, **keys: Any) -> Config:
    secret = Secret(f"plain:{json.dumps(cloud.account())}")
    if "columns" in keys:
        keys["columns"] = Columns(keys["columns"])
    known = {"columns": POSITION, **keys}
    return Config(
        spreadsheet=Spreadsheet(BOOK), account=secret, base_url=cloud.url, **known
    )


@asynccontextmanager
async def sink(cloud: Cloud, place: str = "", **keys: Any) -> AsyncIterator[Write]:
    """The sink as it is after a start."""
    world = World(chance=random.Random(7), in_thread=inline, threads=False)
    async with SINK.open(config_of(cloud, **keys), world, place) as write:
        yield write


def some(entries: list[Entry], log: str = "log-1", **more: Any) -> Batch:
    return Batch(entries, "key", log=log, **more)


def rows(book: Book, tab: str = "fleetd") -> list[dict[str, Any]]:
    """What people see: each row below the header by its headers; blank rows are left out."""
    header, *below = book.tab(tab).table() or [[]]
    return [
        {
            str(name): value
            for name, value in zip(header, row, strict=False)
            if value != ""
        }
        for row in below
        if any(row)
    ]
