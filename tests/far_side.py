"""A far side that answers as told, and a house with one sink that delivers to it."""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import trio

from fleetd.event import (
    CODES,
    DAY_MS,
    AnyEvent,
    Position,
    Safety,
    dedupe_key,
    filled,
    lane_of,
    millis,
    pack,
    tag_of,
)
from fleetd.secrets import Text
from fleetd.sinks import load
from fleetd.sinks.http import Config
from fleetd.store import Append, Made, SinkPlace, Store, open_store
from fleetd.taking import Taking
from fleetd.tasks.deliver import Plan, deliver
from fleetd.world import World, inline

MORNING = datetime(2026, 11, 21, 6, tzinfo=UTC)
TAKEN = 200


class Asked:
    """One request as the far side saw it."""

    def __init__(self, request: httpx.Request, at: float) -> None:
        self.at, self.headers, self.body = at, request.headers, request.content
        self.events: list[dict[str, Any]] = json.loads(request.content)
        self.ids = [one["id"] for one in self.events]
        self.key = request.headers.get("idempotency-key", "")


class FarSide:
    """`answer(asked)` gives a status, a response, or an exception to raise.

    `delay` is how long each answer takes. `taken` holds the ids of what got a 2xx.
    """

    def __init__(self) -> None:
        self.answer: Callable[[Asked], Any] = lambda asked: TAKEN
        self.delay: Callable[[Asked], float] = lambda asked: 0.0
        self.asked: list[Asked] = []
        self.taken: list[str] = []
        self.script: list[Any] = []
        self.most_at_once = self._at_once = 0

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        asked = Asked(request, trio.current_time())
        self.asked.append(asked)
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            if delay := self.delay(asked):
                await trio.sleep(delay)
        finally:
            self._at_once -= 1
        found = self.script.pop(0) if self.script else self.answer(asked)
        if isinstance(found, Exception):
            raise found
        reply = httpx.Response(found) if isinstance(found, int) else found
        if reply.status_code < 300:
            self.taken += asked.ids
        return reply


class Watch:
    """What the operator would read."""

    def __init__(self) -> None:
        self.state = self.why = ""
        self.said: list[tuple[str, str]] = []
        self.beats = 0
        self.rate_per_s: float | None = None

    def say(self, state: str, why: str = "") -> None:
        self.state, self.why = state, why
        self.said.append((state, why))

    def beat(self) -> None:
        self.beats += 1


def fix(number: int, vehicle: str = "v1", at: datetime = MORNING) -> Position:
    return Position(
        id=f"p{number}", at=at, vehicle=vehicle, latitude=1.0, longitude=2.0
    )


def crash(number: int, vehicle: str = "v1", at: datetime = MORNING) -> Safety:
    return Safety(id=f"s{number}", at=at, vehicle=vehicle, type="crash")


def made(event: AnyEvent) -> Made:
    tag = tag_of(event)
    at_ms = millis(event.at or MORNING)
    return Made(
        key=dedupe_key("north", event, tag, at_ms // DAY_MS),
        event=event,
        body=pack(event),
        kind=CODES[event.kind],
        lane=lane_of(event),
        at_ms=at_ms,
        own=filled(event),
        filled=filled(event),
        revision=event.revision,
        part=0,
    )


class House:
    """A log with one sink `ops`; `run` delivers to it until the block ends."""

    def __init__(self, store: Store, world: World, far: FarSide) -> None:
        self.store, self.world, self.far = store, world, far
        self.health = Watch()

    async def append(self, *events: AnyEvent) -> None:
        received = self.store.next_received_ms()
        await self.store.append(
            Append("north", received, "push", made=[made(one) for one in events])
        )

    @asynccontextmanager
    async def run(
        self,
        sink: Any = None,
        *,
        name: str = "ops",
        far: FarSide | None = None,
        store: Any = None,
        account: Any = None,
        **plan: Any,
    ) -> AsyncIterator[None]:
        sink = sink or load("http")
        world = self.world if far is None else world_of(far, self.world)
        health = self.health if far is None else Watch()
        config = Config(Text("https://hub.example/in"))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(
                lambda: deliver(
                    name,
                    sink,
                    Plan(**{"batch": 10, **plan}),
                    config=config,
                    store=store or self.store,
                    world=world,
                    health=health,
                    account=account,
                )
            )
            yield
            nursery.cancel_scope.cancel()

    async def until(self, done: Callable[[], bool], within: float = 86_400.0) -> None:
        pause = 0.05
        with trio.fail_after(within):
            while not done():
                await trio.sleep(pause)
                pause = min(5.0, pause * 1.02)

    def waiting(self) -> int:
        return self.store.waiting("ops", 0) + self.store.waiting("ops", 1)

    async def rest(self, within: float = 86_400.0) -> None:
        """Until nothing waits any more."""
        await self.until(lambda: not self.waiting(), within)

    def rows(self, query: str) -> list[Any]:
        return list(self.store.log.db.execute(query))

    def dead(self) -> list[tuple[str, str]]:
        """(event id, reason) of each dead letter of the sink."""
        seqs = self.rows("SELECT seq, why FROM dead WHERE seq IS NOT NULL ORDER BY seq")
        ids = {seq: self.id_of(seq) for seq, _ in seqs}
        return [(ids[seq], why) for seq, why in seqs]

    def id_of(self, seq: int) -> str:
        from fleetd.event import unpack

        (body,) = self.rows(f"SELECT body FROM events WHERE seq = {seq}")[0]
        return str(unpack(body).id)

    def counts(self) -> dict[str, int]:
        """The ledger of the sink, by outcome."""
        return dict(
            self.rows(
                "SELECT outcome, sum(n) FROM totals JOIN names ON names.id = scope"
                " WHERE side = 'sink' GROUP BY 1 HAVING sum(n) > 0"
            )
        )


def world_of(far: FarSide, like: World | None = None) -> World:
    start = trio.current_time()
    return World(
        now=like.now
        if like
        else lambda: MORNING + timedelta(seconds=trio.current_time() - start),
        chance=random.Random(7),
        transport=httpx.MockTransport(far),
        in_thread=inline,
        threads=False,
    )


@asynccontextmanager
async def house_in(
    folder: Path, far: FarSide, taking: Taking | None = None
) -> AsyncIterator[House]:
    world = world_of(far)
    async with open_store(folder, world) as store:
        await store.register_sources({"north": "samsara"})
        await store.register_sinks({"ops": SinkPlace(taking or Taking())})
        yield House(store, world, far)


def ids(prefix: str, numbers: Iterable[int]) -> list[str]:
    return [f"{prefix}{n}" for n in numbers]
