"""A sheet that people keep and a source that reads it, in virtual time."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import trio

from fleetd.google import MARK, Mark, Spreadsheet, key_of, print_of
from fleetd.google.books import CURSOR
from fleetd.providers.sheets import Cells, Settings, configured
from fleetd.providers.sheets.headers import Columns
from tests.clouds.book import Book, Metadatum, Tab
from tests.clouds.sheets import Cloud, HalfError, LostError
from tests.conftest import MORNING
from tests.polling import Source, polled

BOOK = "1AbCdEfGhIjKlMnOpQrStUvWxYz0123456789AbCdEf"
MINUTE = 60.0


class Google:
    """The cloud behind a transport, counting listings by their last question."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        cloud.clock = trio.current_time
        cloud.now = lambda: MORNING.timestamp() + trio.current_time()

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        target = request.url.raw_path.decode()
        try:
            status, found = self.cloud.answer(
                request.method, target, request.headers, request.content
            )
        except LostError as bad:
            raise httpx.ReadError("reset") from bad
        except HalfError as bad:
            raise httpx.RemoteProtocolError("peer closed the connection") from bad
        return httpx.Response(
            status, stream=httpx.ByteStream(json.dumps(found).encode())
        )

    @property
    def book(self) -> Book:
        return self.cloud.book(BOOK)

    @property
    def tab(self) -> Tab:
        return self.book.tabs[0]

    @property
    def rounds(self) -> int:
        """How often all rows were asked for."""
        return sum(
            len(one.body["dataFilters"]) > 1
            for one in self.cloud.reads()
            if one.path.endswith("ByDataFilter")
        )

    def fill(self, *rows: Sequence[Any], top: int = 0) -> None:
        """People write these rows."""
        for down, row in enumerate(rows):
            for at, value in enumerate(row):
                self.tab.type(top + down, at, value)


@contextmanager
def google() -> Iterator[Google]:
    cloud = Cloud()
    try:
        cloud.book(BOOK).tabs[0].title = "Fleet"
        yield Google(cloud)
    finally:
        cloud.close()


@asynccontextmanager
async def reading(
    folder: Path, far: Google, *, every: float = 15 * MINUTE, account: Any = None,
    remove_after: int = 3, **keys: Any,
) -> AsyncIterator[Source]:  # fmt: skip
    """A source that reads the tab; open it again and it is a restart."""
    for name, kind in (("columns", Columns), ("range", Cells)):
        if name in keys:
            keys[name] = kind.read(keys[name], folder)
    settings = Settings(Spreadsheet(BOOK), **{"tab": "Fleet", **keys})
    provider = configured(settings)
    token = json.dumps(account or far.cloud.account())
    async with polled(
        folder, far, *provider.feeds, provider=provider, token=token, every=every,
        remove_after=remove_after,
    ) as source:  # fmt: skip
        yield source


async def listed(source: Source, count: int = 1) -> None:
    """Wait until so many more listings were read."""
    far = source.far
    assert isinstance(far, Google)
    done = far.rounds + count
    await source.until(lambda: far.rounds >= done)
    await trio.sleep(5)


def told(source: Source, kind: str = "vehicle") -> list[dict[str, Any]]:
    """What was said of each record, oldest first."""
    names = ("id", "number", "vin", "plate", "driver_name", "groups", "removed")
    events = [one.event for one in source.entries(kind)]
    return [
        {name: value for name in names if (value := getattr(one, name, None))}
        for one in events
    ]


# a tab that a sink keeps


def kept(book: Book, tab: Tab, keys: Sequence[str], headers: Sequence[str]) -> None:
    """Note there what a sink notes."""
    said = {
        "log": "log-1", "box": "box", "place": "p", "tab": tab.title, "sheet": tab.id,
        "mode": "upsert", "headers": [*headers, MARK], "keys": [*keys],
    }  # fmt: skip
    place = {"sheetId": tab.id}
    book.metadata[9] = Metadatum(9, CURSOR, json.dumps(said), "DOCUMENT", place)


def written(
    tab: Tab, row: int, header: Sequence[str], values: Sequence[Any], keys: int = 1
) -> None:
    """A sink writes a row; the last column of the header is its mark."""
    prints = frozenset(map(print_of, header[:-1], values))
    mark = Mark(key_of(values[:keys]), 1, 1, 1, prints).written()
    for at, value in enumerate((*values, mark)):
        tab.type(row, at, value)
