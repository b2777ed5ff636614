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

from fleetd.errors import HeldError, RejectedError, TransientError
from fleetd.event import Entry
from fleetd.google import account_of, origin_of
from fleetd.sinks.answers import OUT_OF_SIZE
from fleetd.sinks.contract import Batch, Receipt, Sink, Write
from fleetd.sinks.sheets import words
from fleetd.sinks.sheets.audit import HEADERS, Audit
from fleetd.sinks.sheets.client import Google, UnappliedError
from fleetd.sinks.sheets.columns import month_of
from fleetd.sinks.sheets.config import Config
from fleetd.sinks.sheets.journal import Journal
from fleetd.sinks.sheets.log import Log
from fleetd.sinks.sheets.tab import Owner, Tab
from fleetd.sinks.sheets.upsert import Current
from fleetd.sinks.sheets.wire import Named
from fleetd.world import World

logger = structlog.get_logger()
OPEN = 4  # tabs that are remembered


class Keeper:
    """One configured sheet with its tabs."""

    def __init__(
        self, config: Config, world: World, place: str, http: httpx.AsyncClient
    ) -> None:
        self._config, self._world = config, world
        self._google = Google(config, world, http)
        self._place = hashlib.blake2b(place.encode(), digest_size=6).hexdigest()
        self._folder = place
        self._alone = trio.Lock()  # one call at a time on a spreadsheet
        self._owner = Owner("", "", "")
        self._tabs: dict[str, Log | Current] = {}
        self._audit: Audit | None = None
        self._origin = origin_of(config.spreadsheet, config.tab)

    async def write(self, batch: Batch) -> Receipt:
        """Bring a batch to where it belongs; all of it is there when this returns."""
        async with self._alone:
            self._belongs_to(batch.log)
            skipped = {
                one.seq: "echo"
                for one in batch.entries
                if self._origin in one.event.flags
            }
            entries = [one for one in batch.entries if one.seq not in skipped]
            try:
                for title, part in self._parts(entries, batch):
                    skipped |= await self._put(title, part, batch)
            except RejectedError as bad:
                bad.skipped |= skipped
                raise
            cost = max(1, self._google.spent())
        return Receipt(200, skipped=skipped, cost=cost)

    def _belongs_to(self, log: str) -> None:
        """What is known of tabs was known by the owner of one log."""
        owner = Owner(log, platform.node(), self._place)
        if owner == self._owner:
            return
        self._owner, self._tabs, self._audit = owner, {}, None
        if title := self._config.audit:
            tab = Tab(
                self._google, self._config, title, owner, headers=HEADERS, mode="audit"
            )
            self._audit = Audit(tab, self._config, self._world.now)

    def _parts(
        self, entries: list[Entry], batch: Batch
    ) -> list[tuple[str, list[Entry]]]:
        """The entries by the tab they go to, in order."""
        config = self._config
        title = config.tab
        if batch.generation and not batch.in_place and config.mode == "append":
            title = words.title_of_replay(title, batch.generation)
        elif config.monthly:
            zone = config.zone.info
            parts = groupby(entries, lambda one: month_of(one, zone))
            return [(f"{title} {month}", list(part)) for month, part in parts]
        return [(title, entries)] if entries else []

    async def _put(
        self, title: str, entries: Sequence[Entry], batch: Batch
    ) -> dict[int, str]:
        """Write to a tab; where it does not take that, look at it anew and write again."""
        tab = self._tab(title)
        try:
            return await put(tab, entries, in_place=batch.in_place)
        except UnappliedError as bad:
            logger.info("flush_refused", tab=title, why=str(bad))
        self._forget(tab)  # people changed the grid, or it was applied before
        try:
            return await put(tab, entries, in_place=batch.in_place)
        except UnappliedError as again:  # of the batch, nothing counts as taken
            reasons = {one.seq: str(again) for one in batch.entries}
            raise RejectedError(
                reasons, blameless=again.status == OUT_OF_SIZE, status=again.status,
                answer=again.answer,
            ) from again  # fmt: skip

    def _forget(self, tab: Log | Current) -> None:
        tab.tab.known = False
        if self._audit is not None:
            self._audit.tab.known = False

    def _tab(self, title: str) -> Log | Current:
        kept = self._tabs.pop(title, None)
        if kept is None:
            tab = Tab(self._google, self._config, title, self._owner)
            of_mode = Log if self._config.mode == "append" else Current
            journal = Journal(self._folder, title, self._world)
            kept = of_mode(tab, self._config, self._audit, journal)
        self._tabs[title] = kept  # at the end: the last one used
        for old in list(self._tabs)[:-OPEN]:
            del self._tabs[old]
        return kept


async def put(
    tab: Log | Current, entries: Sequence[Entry], *, in_place: bool
) -> dict[int, str]:
    """Write to a tab as its mode has it; which entries were skipped, and why."""
    if isinstance(tab, Current):
        return await tab.add(entries)
    await tab.add(entries, in_place=in_place)
    return {}


async def check(config: Config, world: World) -> str:
    """Read its title; nothing is written."""
    async with world.client(timeout=None) as http:
        google = Google(config, world, http)
        try:
            told = await google.get(Named, fields="properties(title)")
        except UnappliedError as bad:
            raise HeldError(str(bad)) from bad
        public = await google.is_public()
    said = f"'{told.properties.title}' can be read by {google.account.client_email}"
    return f"{said}; anyone with the link can read it" if public else said


@asynccontextmanager
async def open_sheets(config: Config, world: World, place: str) -> AsyncIterator[Write]:
    """A client for the life of the sink; the sheet is looked at by the first write."""
    async with world.client(timeout=None) as http, trio.open_nursery() as beside:
        beside.start_soon(warn_if_public, Google(config, world, http))
        yield Keeper(config, world, place, http).write
        beside.cancel_scope.cancel()


async def warn_if_public(google: Google) -> None:
    """Say in the log, once a start, where all the world can read it; nothing waits for that."""
    try:
        public = await google.is_public()
    except (TransientError, HeldError):
        return
    if public:
        why = "anyone with the link can read it"
        logger.warning("sheet_is_public", spreadsheet=google.spreadsheet, why=why)


def shaped(config: Config) -> Sink:
    """A log goes by rows a call, what is kept current by time."""
    if config.mode == "append":
        return replace(SINK, batch=min(SINK.batch, config.rows_a_call))
    return replace(SINK, batch=5000, linger=float(config.every))


def account(config: Config) -> str:
    """Whose quota is spent: that of a service account, however many tabs it writes to."""
    try:
        return account_of(config.account.reveal()).client_email
    except ValueError:  # the first write says what is wrong with it
        return config.account.place


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
    account=account,
)
