"""A vendor that answers as told and one source that polls it, in virtual time."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import msgspec
import trio
from msgspec.structs import replace

from fleetd.clock import Clock
from fleetd.errors import (
    AbsentError,
    ExpiredError,
    HeldError,
    PayloadError,
    TransientError,
)
from fleetd.event import AnyEvent, Driver, Entry, Position, Record, Vehicle
from fleetd.masking import MASK
from fleetd.pace import Breaker
from fleetd.providers.contract import (
    Answer,
    Ask,
    Feed,
    Grant,
    Limits,
    Page,
    Probe,
    Provider,
    Session,
    Turn,
)
from fleetd.store import Store, open_store
from fleetd.store.balance import gaps
from fleetd.store.look import Filter, oldest
from fleetd.store.stats import hours, scopes
from fleetd.tasks.budget import Budgets
from fleetd.tasks.poll import Account, Plan, open_credential, poll
from fleetd.tasks.supervise import Health, keep_alive
from fleetd.world import World
from tests.conftest import MORNING, virtual_world

Say = Callable[["Asked"], Any]


class Asked:
    """One question as the vendor saw it."""

    def __init__(self, request: httpx.Request, at: float) -> None:
        self.at = at
        self.path = request.url.path
        self.host = request.url.host
        self.params = dict(request.url.params)
        self.headers = request.headers
        self.body = request.content


class Far:
    """`answer(asked)` gives a status, bytes, something for JSON, a response or a fault."""

    def __init__(self, answer: Say | None = None) -> None:
        self.answer: Say = answer or (lambda _asked: page())
        self.script: list[Any] = []
        self.first: dict[str, list[Any]] = {}  # the script of one path
        self.asked: list[Asked] = []
        self.at_once = self.most_at_once = 0
        self.takes = 0.0

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        asked = Asked(request, trio.current_time())
        self.asked.append(asked)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await trio.sleep(self.takes)
        finally:
            self.at_once -= 1
        script = self.first.get(asked.path) or self.script
        found = script.pop(0) if script else self.answer(asked)
        if isinstance(found, Exception):
            raise found
        return reply(found)

    def paths(self) -> list[str]:
        return [one.path for one in self.asked]


def reply(found: Any) -> httpx.Response:
    if isinstance(found, httpx.Response):
        body, status, headers = found.content, found.status_code, found.headers
    elif isinstance(found, int):
        body, status, headers = b"", found, httpx.Headers()
    else:
        body = found if isinstance(found, bytes) else json.dumps(found).encode()
        status, headers = 200, httpx.Headers()
    return httpx.Response(status, headers=headers, stream=httpx.ByteStream(body))


def page(*items: Any, next: str | None = None, **more: bool) -> dict[str, Any]:  # noqa: A002
    return {"items": list(items), "next": next, "more": False, "whole": False, **more}


def fix(number: int, vehicle: str = "v1") -> dict[str, Any]:
    return {"n": number, "v": vehicle}


# the vendor's own file


def ask(path: str, turn: Turn) -> Ask:
    since = turn.since.isoformat() if turn.since else ""
    params = {"at": turn.bookmark or "", "since": since, "part": turn.part}
    params["tags"] = ",".join(turn.tags)
    params["behind"] = f"{turn.lookback.total_seconds():g}"
    return Ask(path, params=params, tier="feeds")


def unpack(name: str, _ask: Ask, body: bytes, _turn: Turn) -> Page:
    try:
        told = msgspec.json.decode(body, type=dict[str, Any])
        of = name if name in NORMALIZE else "fixes"
        records = [Record(of, msgspec.json.encode(one)) for one in told["items"]]
    except (msgspec.DecodeError, KeyError) as bad:
        raise PayloadError(f"no page of ours: {bad!r}") from bad
    return Page(records, told["next"], told["more"], told["whole"])


def judge(_ask: Ask, answer: Answer) -> None:
    if b"expired" in answer.body:
        raise ExpiredError("the place to go on is no longer known")
    if b"absent" in answer.body:
        raise AbsentError("it is switched off", known=b"idle" in answer.body)
    if b"away" in answer.body:
        raise TransientError("the database is away")
    if b"not yours" in answer.body:
        raise HeldError("this account has no such product")


def position(body: bytes) -> Iterator[AnyEvent]:
    told = msgspec.json.decode(body)
    if told.get("bad"):
        raise PayloadError(f"{told['v']}: it is bad")
    at = datetime.fromisoformat(told["at"]) if "at" in told else MORNING
    yield Position(
        id=f"p{told['n']}", vehicle=told["v"], at=at, latitude=1.0, longitude=2.0,
    )  # fmt: skip


def vehicle(body: bytes) -> Iterator[AnyEvent]:
    told = msgspec.json.decode(body)
    if told.get("bad"):
        raise PayloadError("it is bad")
    yield Vehicle(
        id=told["id"], vehicle=told["id"], number=told.get("number"),
        vin=told.get("vin"), groups=tuple(told.get("groups", ())),
        revision=told.get("revision"),
    )  # fmt: skip


def driver(body: bytes) -> Iterator[AnyEvent]:
    told = msgspec.json.decode(body)
    yield Driver(id=told["id"], driver=told["id"], driver_name=told.get("name"))


NORMALIZE = {"fixes": position, "units": vehicle, "people": driver, "tracks": position}


def feed(name: str, every: float = 30.0, **more: Any) -> Feed:
    def ask_it(turn: Turn) -> Ask | None:
        return ask(f"/{name}", turn)

    def unpack_it(asked: Ask, body: bytes, turn: Turn) -> Page:
        return unpack(name, asked, body, turn)

    return Feed(name, every, ask_it, unpack_it, **more)


FIXES = feed("fixes", scope="Read Fixes")
UNITS = feed("units", 3600.0, listing="vehicle")
PEOPLE = feed("people", 3600.0, listing="driver")
TRACKS = feed("tracks", parts=True, parallel=4)


def authorize(token: str) -> Mapping[str, str]:
    return {"Authorization": f"Bearer {token}"}


def whose(body: bytes) -> list[str]:
    told = msgspec.json.decode(body, type=dict[str, str])
    return [told["id"], told["name"]]


ACME = Provider(
    name="acme",
    title="Acme",
    base_url="http://acme.example",
    normalize=NORMALIZE,
    authorize=authorize,
    judge=judge,
    limits=Limits(per_second=50.0),
    whoami=Probe(Ask("/me"), whose),
)


def login(token: str, _now: datetime) -> Ask:
    return Ask("/login", method="POST", json={"secret": token}, tier="login")


def read_login(answer: Answer, now: datetime) -> Grant:
    if answer.status == 403:
        raise HeldError("Acme refused the password")
    told = msgspec.json.decode(answer.body, type=dict[str, Any])
    ends = told.get("ends")
    expires = None if ends is None else datetime.fromisoformat(ends)
    return Grant(told["session"], told.get("host", ""), expires)


def put(asked: Ask, grant: Grant) -> Ask:
    return replace(asked, headers={"x-session": grant.token}, host=grant.host)


def ended(answer: Answer) -> bool:
    return answer.status == 401


SESSIONS = replace(ACME, authorize=None, session=Session(login, read_login, put, ended))


class Source:
    """One source as it polls: what it is told, what it keeps, how it feels."""

    def __init__(self, store: Store, world: World, far: Far) -> None:
        self.store, self.world, self.far = store, world, far
        self.healths: dict[str, Health] = {}
        self.recovered: list[datetime] = []
        self.credential: Any = None

    async def until(
        self, done: Callable[[], Any], within: float = 30 * 86_400.0
    ) -> None:
        pause = 0.05
        with trio.fail_after(within):
            while not done():
                await trio.sleep(pause)
                pause = min(20.0, pause * 1.05)

    def rows(self, query: str, *values: Any) -> list[Any]:
        return list(self.store.log.db.execute(query, values))

    def entries(self, *kinds: str) -> list[Entry]:
        with self.store.reader() as reader:
            wanted = Filter(kinds=frozenset(kinds))
            return list(oldest(reader.db, wanted, 0, 1 << 60, 10_000).entries)

    def ids(self, kind: str = "position") -> list[str]:
        return [one.event.id for one in self.entries(kind)]

    def alerts(self) -> list[tuple[str, str]]:
        """(type, what it is about) of what fleetd itself said, oldest first."""
        return [
            (str(one.event.type), one.event.detail["about"])  # type: ignore[union-attr]
            for one in self.entries("alert")
        ]

    def dead(self) -> list[tuple[str, str, bytes]]:
        return self.rows("SELECT feed, why, body FROM dead ORDER BY id")

    def states(self) -> dict[str, str]:
        return {name: one.state for name, one in self.healths.items()}

    def balanced(self) -> bool:
        with self.store.reader() as reader:
            found = gaps(hours(reader.db, 0, 1 << 40), list(scopes(reader.db)), {})
            return list(found) == []


@asynccontextmanager
async def polled(
    folder: Path, far: Far, *feeds: Feed, provider: Provider = ACME,
    token: str = "a-token-of-acme", every: float | None = None,
    now: Callable[[], datetime] | None = None,
    synchronised: Callable[[], bool] = lambda: True, **account: Any,
) -> AsyncIterator[Source]:  # fmt: skip
    """One run of it over a folder; open it again and it is a restart."""
    world = virtual_world()
    world._transport = httpx.MockTransport(far)
    world.now, world.synchronised = now or world.now, synchronised
    MASK.add(token)
    async with open_store(folder, world) as store:
        await store.register_sources({"north": "acme"})
        provider = replace(provider, feeds=feeds)
        whose = Account("north", provider, provider.base_url, lambda: token, **account)
        budgets = Budgets(world, store)
        async with (
            open_credential(whose, budgets, store, world) as credential,
            trio.open_nursery() as nursery,
        ):
            source = Source(store, world, far)
            source.credential = credential
            lists = frozenset(one.name for one in feeds if one.listing)
            for one in feeds:
                after = frozenset() if one.listing else lists
                plan = Plan("north", one, every or one.every, after=after)
                start(nursery, source, plan)
            yield source
            nursery.cancel_scope.cancel()


def start(nursery: trio.Nursery, source: Source, plan: Plan) -> None:
    health = source.healths[plan.feed.name] = Health(source.world.now)

    async def recover(since: datetime) -> None:
        source.recovered.append(since)

    async def run() -> None:
        await poll(
            plan, source.credential, store=source.store, world=source.world,
            health=health, clock=Clock(source.world), recover=recover,
        )  # fmt: skip

    breaker = Breaker(source.world.chance)
    nursery.start_soon(keep_alive, plan.feed.name, run, health, breaker)
