"""Google Sheets: a log of events, or one row a key that is kept current.

A repeat is harmless: rows and the cursor in the tab's metadata change together in one
call, which can be applied only once; after an answer that never came the cursor says
what is there, and rows bear marks that say which events they are.
"""

from __future__ import annotations

import hashlib
import platform
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import groupby

import httpx
import structlog
import trio
from msgspec.structs import replace

from fleetd.errors import HeldError, RejectedError
from fleetd.event import Entry
from fleetd.sinks.contract import Batch, Receipt, Sink, Write
from fleetd.sinks.sheets import words
from fleetd.sinks.sheets.client import Google, UnappliedError
from fleetd.sinks.sheets.columns import month_of
from fleetd.sinks.sheets.config import Config
from fleetd.sinks.sheets.log import Log
from fleetd.sinks.sheets.tab import Owner, Tab
from fleetd.world import World

logger = structlog.get_logger()
OPEN = 4  # tabs that are remembered


class Keeper:
    """One configured sheet with its tabs."""

    def __init__(
        self, config: Config, world: World, place: str, http: httpx.AsyncClient
    ) -> None:
        self._config = config
        self._google = Google(config, world, http)
        self._place = hashlib.blake2b(place.encode(), digest_size=6).hexdigest()
        self._alone = trio.Lock()  # one call at a time on a spreadsheet
        self._logs: dict[str, Log] = {}

    async def write(self, batch: Batch) -> Receipt:
        """Bring a batch to where it belongs; all of it is there when this returns."""
        async with self._alone:
            owner = Owner(batch.log, platform.node(), self._place)
            for title, entries in self._parts(batch):
                await self._put(title, entries, batch, owner)
        return Receipt(200)

    def _parts(self, batch: Batch) -> list[tuple[str, list[Entry]]]:
        """The entries by the tab they go to, in order."""
        config = self._config
        title = config.tab
        if batch.generation and not batch.in_place and config.mode == "append":
            return [
                (words.title_of_replay(title, batch.generation), list(batch.entries))
            ]
        if not config.monthly:
            return [(title, list(batch.entries))]
        zone = config.zone.info
        parts = groupby(batch.entries, lambda one: month_of(one, zone))
        return [(f"{title} {month}", list(part)) for month, part in parts]

    async def _put(
        self, title: str, entries: Sequence[Entry], batch: Batch, owner: Owner
    ) -> None:
        log = self._log(title, owner)
        try:
            await log.add(entries, in_place=batch.in_place)
        except UnappliedError as bad:
            logger.info("flush_refused", tab=title, why=str(bad))
            log.tab.known = False  # people changed the grid, or it was applied before
            try:
                await log.add(entries, in_place=batch.in_place)
            except UnappliedError as again:
                reasons = {one.seq: str(again) for one in batch.entries}
                raise RejectedError(reasons, status=400, answer=again.answer) from bad

    def _log(self, title: str, owner: Owner) -> Log:
        log = self._logs.pop(title, None)
        if log is None or log.tab.owner != owner:
            log = Log(Tab(self._google, self._config, title, owner), self._config)
        self._logs[title] = log  # at the end: the last one used
        for old in list(self._logs)[:-OPEN]:
            del self._logs[old]
        return log


async def check(config: Config, world: World) -> str:
    """Read the titles of the tabs; nothing is written."""
    async with world.client(timeout=None) as http:
        google = Google(config, world, http)
        try:
            told = await google.get(
                fields="properties(title),sheets(properties(title))"
            )
        except UnappliedError as bad:
            raise HeldError(str(bad)) from bad
        public = await google.is_public()
    said = (
        f"'{told['properties']['title']}' can be read by {google.account.client_email}"
    )
    return f"{said}; anyone with the link can read it" if public else said


@asynccontextmanager
async def open_sheets(config: Config, world: World, place: str) -> AsyncIterator[Write]:
    """A client for the life of the sink; the sheet is looked at by the first write."""
    async with world.client(timeout=None) as http:
        yield Keeper(config, world, place, http).write


def shaped(config: Config) -> Sink:
    """A log goes by rows a call, what is kept current by time."""
    if config.mode == "append":
        return SINK
    return replace(SINK, batch=5000, linger=float(config.every))


SINK = Sink(
    config=Config,
    open=open_sheets,
    takes=("position",),
    batch=1500,
    batch_bytes=0,
    linger=1.0,
    per_second=0.4,
    burst=4,
    check=check,
    shaped=shaped,
)
