"""One harmless call to every source and sink, the clock beside theirs, one fsync."""

from __future__ import annotations

import os
import ssl
import tempfile
import time
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import httpx
import trio
from msgspec import Struct

from fleetd import config, providers, secrets, sinks
from fleetd.config import House, SinkTable, Source
from fleetd.errors import FleetdError
from fleetd.masking import MASK
from fleetd.pace import http_date
from fleetd.providers.contract import Ask, Feed, Provider, Turn
from fleetd.world import World

PATIENCE = 30.0
LARGEST = 16 << 20
APART = 60.0
SLOW_SYNC = 0.1
REFUSED = frozenset({401, 403})


class Finding(Struct, frozen=True):
    """What one call came to."""

    name: str
    ok: bool
    said: str


class Listening(World):
    """A world that remembers the dates that HTTPS answers bear, for the clock."""

    def __init__(self, world: World) -> None:
        super().__init__(now=world.now, environ=world.environ)
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
    for name, source in house.sources.items():
        found.append(await patiently(f"sources.{name}", call_source, source, world))
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


async def call_source(source: Source, world: World) -> str:
    """The first thing its first feed would ask."""
    vendor = config.configured(source, providers.load)
    wanted = source.feeds or ()
    feeds = [one for one in vendor.feeds if not wanted or one.name in wanted]
    if not feeds or (source.token is None and vendor.answer is None):
        return "only receives; `fleetd send` proves that"
    feed, now = feeds[0], world.now()
    turn = Turn(now)
    ask = feed.ask(turn)
    if ask is None:
        return f"{feed.name} has nothing to ask yet"
    if vendor.answer is not None:
        return counted(feed, ask, vendor.answer(ask, now), turn)
    body = await fetched(source, vendor, ask, world)
    return counted(feed, ask, body, turn)


def counted(feed: Feed, ask: Ask, body: bytes, turn: Turn) -> str:
    return (
        f"{feed.name} answered with {len(feed.unpack(ask, body, turn).records)} records"
    )


async def fetched(source: Source, vendor: Provider, ask: Ask, world: World) -> bytes:
    """The answer's body, or an error that says what to do."""
    token = source.token.reveal() if source.token else ""
    headers = {**ask.headers, **(vendor.authorize(token) if vendor.authorize else {})}
    url = (source.base_url or vendor.base_url) + ask.path
    async with world.client(**options(source)) as http:
        request = http.build_request(
            ask.method, url, params=dict(ask.params), json=ask.json, headers=headers
        )
        answer = await http.send(request, stream=True)
        body = b""
        async for piece in answer.aiter_bytes():
            body += piece
            if len(body) > LARGEST:
                break
        await answer.aclose()
    if answer.status_code in REFUSED:
        why = f"refused the token ({answer.status_code} on {ask.path})"
        raise FleetdError(
            f"{vendor.title or vendor.name} {why}. Is it of this account?"
        )
    if not answer.is_success:
        raise FleetdError(f"{answer.status_code} on {ask.path}")
    return body


def options(source: Source) -> dict[str, Any]:
    """How this source's client differs from any other."""
    chosen: dict[str, Any] = {"timeout": float(source.timeout)}
    if source.proxy is not None:
        chosen["proxy"] = source.proxy.reveal()
    if source.ca is not None:
        chosen["verify"] = ssl.create_default_context(cafile=source.ca)
    return chosen


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
