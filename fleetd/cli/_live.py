"""One harmless call to every source and sink, the clock beside theirs, one fsync."""

from __future__ import annotations

import os
import tempfile
import time
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import trio
from msgspec import Struct

from fleetd import config, providers, secrets, sinks
from fleetd.cli._ask import ask_all
from fleetd.config import House, SinkTable, Source
from fleetd.errors import FleetdError, TransientError
from fleetd.masking import MASK
from fleetd.pace import http_date
from fleetd.tasks.poll import Account, accounts_of
from fleetd.world import World

PATIENCE = 60.0
APART = 60.0
SLOW_SYNC = 0.1
BUSY = 429


class Finding(Struct, frozen=True):
    """What one call came to."""

    name: str
    ok: bool
    said: str


class Listening(World):
    """A world that remembers the dates that HTTPS answers bear, for the clock."""

    def __init__(self, world: World) -> None:
        super().__init__(
            now=world.now, in_thread=world.in_thread, environ=world.environ
        )
        self._inner = world
        self.apart: tuple[float, str] | None = None

    def client(self, **options: Any) -> AbstractAsyncContextManager[httpx.AsyncClient]:
        options["event_hooks"] = {"response": [self._heard]}
        return self._inner.client(**options)

    async def _heard(self, response: httpx.Response) -> None:
        said = http_date(response.headers.get("date", ""))
        if said is not None and response.url.scheme == "https":
            seconds = (self.now() - said).total_seconds()
            self.apart = (seconds, response.url.host)


async def call_everything(house: House, world: World) -> list[Finding]:
    """All findings, in the order of the file; nobody's failure keeps the next away."""
    world = Listening(world)
    found = []
    vendors = {
        name: config.configured(source, providers.load)
        for name, source in house.sources.items()
    }
    accounts = {one.source: one for one in accounts_of(house, vendors)}
    for name, source in house.sources.items():
        asking = partial(call_source, house, accounts.get(name))
        found.append(await patiently(f"sources.{name}", asking, source, world))
    for name, table in house.sinks.items():
        call = awaits_run if made_later(table, house.daemon.data) else call_sink
        found.append(await patiently(f"sinks.{name}", call, table, world))
    return [*found, clock(world), fsync(house.daemon.data)]


async def patiently(name: str, call: Any, table: Any, world: World) -> Finding:
    """One call with an end to it, its fault as a finding."""
    hidden = [one.place for _key, one in secrets.find(table) if not one.known]
    if hidden:
        return Finding(name, ok=True, said=f"not called: {hidden[0]} is not seen here")
    with trio.move_on_after(PATIENCE):
        try:
            return Finding(name, ok=True, said=await call(table, world))
        except PermissionError as bad:
            why = f"{bad.filename}: {bad.strerror} for this user; ask as fleetd's own"
            return Finding(name, ok=False, said=why)
        except (FleetdError, httpx.HTTPError, OSError) as bad:
            why = str(bad) or type(bad).__name__
            return Finding(name, ok=False, said=MASK.mask(why))
    return Finding(name, ok=False, said=f"no answer in {PATIENCE:g} s")


def made_later(table: SinkTable, data: Path) -> bool:
    """Whether it writes below the data folder, which the first run makes."""
    path = getattr(table.settings, "path", None)
    return isinstance(path, Path) and data in path.parents and not data.exists()


async def awaits_run(table: SinkTable, world: World) -> str:
    del world
    return f"{table.settings.path} is made when fleetd runs"


async def call_sink(table: SinkTable, world: World) -> str:
    sink = sinks.load(table.kind)
    if sink.check is None:
        return "has no harmless call"
    return await sink.check(table.settings, world)


async def call_source(
    house: House, account: Account | None, source: Source, world: World
) -> str:
    """What its vendor says, feed by feed."""
    del source
    if account is None or not account.provider.feeds:
        return "only receives; `fleetd send` proves that"
    try:
        return await ask_all(house, account, world)
    except TransientError as bad:
        if bad.status != BUSY:
            raise FleetdError(f"{account.title} cannot be asked: {bad}") from bad
        return f"{account.title} answers, and asks for patience: {bad}"


def clock(world: Listening) -> Finding:
    """How far our clock is from what was heard."""
    if world.apart is None:
        return Finding("clock", ok=True, said="no HTTPS answer to compare it with")
    seconds, host = world.apart
    fine = abs(seconds) <= APART
    hint = "" if fine else "; is NTP running (timedatectl)?"
    said = (
        f"{abs(seconds):.0f} s {'ahead of' if seconds > 0 else 'behind'} {host}{hint}"
    )
    return Finding("clock", ok=fine, said=said)


def fsync(folder: Path) -> Finding:
    """How long the disk of the data folder takes to mean it."""
    while not folder.is_dir() and folder != folder.parent:
        folder = folder.parent
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(4096))
            file.flush()
            before = time.perf_counter()
            os.fsync(file.fileno())
            took = time.perf_counter() - before
    except OSError as bad:
        return Finding("disk", ok=True, said=f"{folder}: {bad.strerror} for this user")
    slow = "; webhooks wait for it, and this is slow" if took > SLOW_SYNC else ""
    return Finding("disk", ok=True, said=f"one fsync took {took * 1000:.1f} ms{slow}")
