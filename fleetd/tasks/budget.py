"""Requests one credential may make: one budget, however many sources and tasks share it.

Live polls go first, then repair, then backfill; but nobody is passed over more than
`PATIENCE` times in a row, so that the past is filled in also where the live feeds could
use up everything: each lower rank is sure of a tenth. A restart begins with an empty
bucket, and a pause that the far side asked for outlives it.
"""

from __future__ import annotations

import hmac
import math
import secrets
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, TypeAlias

import msgspec
import structlog
import trio
from msgspec import Struct

from fleetd.event import millis
from fleetd.pace import LONGEST_ASKED, Backoff, Spacing
from fleetd.providers.contract import Limits
from fleetd.store import Store
from fleetd.world import World

LIVE, REPAIR, BACKFILL = 0, 1, 2
RANKS = ("live", "repair", "backfill")
PATIENCE = 9  # grants to others, while one of this rank could have gone
KEPT = "budgets"
WORTH_KEEPING = 5.0  # seconds: shorter pauses are over before a restart is
CALM = 60.0  # seconds after a pause: the next refusal is a first one
A_MINUTE = 60.0  # the own pause where a limit is counted by the minute
JITTER = 0.1
Keep: TypeAlias = "Callable[[str, str, float], None]"
logger = structlog.get_logger()


class Budgets:
    """All budgets of a process: one a host and credential, by whatever name it is used."""

    def __init__(self, world: World, store: Store) -> None:
        self._world, self._store = world, store
        self._all: dict[str, Budget] = {}
        self._claims: dict[str, list[Limits]] = {}
        kept = _read(store.recall(KEPT))
        self._salt = kept.salt or secrets.token_hex(16)
        self._pauses = kept.pauses

    def of(self, host: str, secret: str, limits: Limits) -> Budget:
        """The budget of this credential there, made when first asked for."""
        key = self._key(host, secret)
        budget = self._all.get(key)
        if budget is None:
            budget = self._all[key] = Budget(key, limits, self._world, self._keep)
            self._resume(key, budget)
        budget.limit([*self._claims.get(key, []), limits])
        self._claims.setdefault(key, []).append(limits)
        return budget

    def renew(self) -> None:
        """The config was read again: only what is claimed from now on is a limit."""
        self._claims = {}

    def _key(self, host: str, secret: str) -> str:
        """The host and a keyed hash: the log never holds what could be guessed from."""
        what = f"{host.lower().rstrip('/')}\n{secret}".encode()
        mark = hmac.digest(self._salt.encode(), what, "sha256").hex()
        return f"{host.lower()}#{mark[:16]}"

    def _resume(self, key: str, budget: Budget) -> None:
        now_ms = millis(self._world.now())
        for tier, until_ms in self._pauses.get(key, {}).items():
            left = min((until_ms - now_ms) / 1000, LONGEST_ASKED)
            if left > 0:
                budget.rest(tier, left)

    def _keep(self, key: str, tier: str, seconds: float) -> None:
        if seconds < WORTH_KEEPING:
            return
        now = self._world.now()
        until = millis(now + timedelta(seconds=seconds))
        self._pauses.setdefault(key, {})[tier] = until
        self._pauses = {
            one: still
            for one, tiers in self._pauses.items()
            if (still := {k: ms for k, ms in tiers.items() if ms > millis(now)})
        }
        kept = Kept(self._salt, self._pauses)
        self._store.note(KEPT, msgspec.to_builtins(kept))


class Kept(Struct, frozen=True):
    """What outlives a restart: by budget and tier, until when (ms) nothing may go."""

    salt: str = ""
    pauses: dict[str, dict[str, int]] = {}


def _read(kept: Mapping[str, Any]) -> Kept:
    try:
        return msgspec.convert(kept, Kept)
    except msgspec.ValidationError:
        return Kept()


class Waiting:
    """One who waits for a turn."""

    def __init__(self, tier: str, rank: int, joined: float) -> None:
        self.tier, self.rank, self.joined = tier, rank, joined
        self.granted: Pass | None = None
        self.bell = trio.Event()


class Pass:
    """One request that may go; `gone` says once that it has left."""

    def __init__(self, budget: Budget, scopes: tuple[Spacing, ...]) -> None:
        self._budget, self._scopes = budget, scopes
        self._gone = False

    def gone(self) -> None:
        """It leaves now."""
        if not self._gone:
            self._gone = True
            self._budget.left(self._scopes)

    async def trace(self, event: str, info: Mapping[str, Any]) -> None:
        """For httpx (`extensions={"trace": ...}`): it leaves when its head is written.

        The CONNECT that opens a tunnel through a proxy is not yet the request.
        """
        if event == "http11.send_request_headers.started":
            request = info.get("request")
            if getattr(request, "method", b"") != b"CONNECT":
                self.gone()


class Budget:
    """The turns of one credential: a ceiling for all, and tiers below it."""

    def __init__(self, name: str, limits: Limits, world: World, keep: Keep) -> None:
        self.name = name
        self._world, self._keep = world, keep
        self._limits = dict(limits.tiers)
        self._began = trio.current_time()
        self._scopes = {"": Spacing(limits.per_second, self._began)}
        self._backoffs: dict[str, Backoff] = {}
        self._line: list[Waiting] = []
        self._passed = [0] * len(RANKS)
        self._led = False
        self._bell = trio.Event()  # the leader's: something changed

    def limit(self, claims: Sequence[Limits]) -> None:
        """Keep to the lowest of what is claimed of the same credential."""
        self._scopes[""].limit(min(one.per_second for one in claims))
        tiers = {tier for one in claims for tier in one.tiers}
        self._limits = {
            tier: min(one.tiers[tier] for one in claims if tier in one.tiers)
            for tier in tiers
        }
        for tier, scope in self._scopes.items():
            if tier in self._limits:
                scope.limit(self._limits[tier])

    # turns

    async def turn(self, tier: str = "", rank: int = LIVE) -> None:
        """Return when a request of this tier may go; it counts as gone at once."""
        (await self._wait(tier, rank)).gone()

    @asynccontextmanager
    async def sending(self, tier: str = "", rank: int = LIVE) -> AsyncIterator[Pass]:
        """A turn whose request counts when it really leaves: hand its `trace` to httpx."""
        mine = await self._wait(tier, rank)
        try:
            yield mine
        finally:
            mine.gone()

    async def _wait(self, tier: str, rank: int) -> Pass:
        me = Waiting(tier, rank, trio.current_time())
        self._line.append(me)
        self._bell.set()
        try:
            while me.granted is None:
                if self._led:
                    await me.bell.wait()
                    me.bell = trio.Event()
                else:
                    await self._lead(me)
        finally:
            if me.granted is None:
                self._line.remove(me)
            if not self._led and self._line:
                self._line[0].bell.set()
        return me.granted

    async def _lead(self, me: Waiting) -> None:
        """Give out turns, until one's own comes; then another one leads."""
        self._led = True
        try:
            while me.granted is None:
                at, chosen = self._next(trio.current_time())
                if chosen is not None:
                    self._grant(chosen)
                    continue
                self._bell = trio.Event()
                with trio.move_on_at(at):
                    await self._bell.wait()
        finally:
            self._led = False

    def _next(self, now: float) -> tuple[float, Waiting | None]:
        """Whose turn it is, or when to look again."""
        dues = {tier: self._due(tier, now) for tier in {one.tier for one in self._line}}
        able: dict[int, Waiting] = {}
        for one in self._line:
            if dues[one.tier] <= now:
                able.setdefault(one.rank, one)
        if not able:
            return min(dues.values()), None
        first = min(able)
        late = [rank for rank in able if self._passed[rank] >= PATIENCE]
        rank = min(late, default=first)
        for other in able:
            self._passed[other] = 0 if other == rank else self._passed[other] + 1
        return now, able[rank]

    def _due(self, tier: str, now: float) -> float:
        return max(scope.due(now) for scope in self._of(tier))

    def _grant(self, chosen: Waiting) -> None:
        now = trio.current_time()
        *tiers, ceiling = scopes = self._of(chosen.tier)
        since = max(chosen.joined, *(one.due(now) for one in scopes[:-1]), -math.inf)
        ceiling.take(now, since)
        for one in tiers:  # what it waits for the others' turns is not its own idleness
            one.take(now, max(chosen.joined, ceiling.paused_until))
        chosen.granted = Pass(self, scopes)
        self._line.remove(chosen)
        chosen.bell.set()

    def _of(self, tier: str) -> tuple[Spacing, ...]:
        ceiling = self._scopes[""]
        if not tier:
            return (ceiling,)
        if tier not in self._scopes:
            limit = min(self._limits.get(tier, ceiling.full), ceiling.full)
            self._scopes[tier] = Spacing(limit, self._began)
        return (self._scopes[tier], ceiling)

    def left(self, scopes: tuple[Spacing, ...]) -> None:
        """A request is on its way: others may count on its place."""
        now = trio.current_time()
        for one in scopes:
            one.gone(now)
        self._bell.set()

    # refusals

    def told(self, tier: str = "", after: float | None = None) -> float:
        """The far side answered 429: pause what it belongs to; how long."""
        now = trio.current_time()
        scope = self._of(tier)[0]
        if not scope.cut(now) and scope.paused_until > now and after is None:
            return scope.paused_until - now
        if after is None or not math.isfinite(after):
            wait = self._own(tier, scope, now)
        else:
            wait = min(max(after, 0.0), LONGEST_ASKED)
            wait += self._world.chance.uniform(0, min(wait, CALM) * JITTER)
        self.rest(tier, wait)
        self._keep(self.name, tier, scope.paused_until - now)
        logger.info(
            "budget_paused", budget=self.name, tier=tier, seconds=round(wait, 2)
        )
        return wait

    def _own(self, tier: str, scope: Spacing, now: float) -> float:
        """A wait of our own, where the far side named none."""
        base = 1.0 if scope.full >= 1 else A_MINUTE
        backoff = self._backoffs.setdefault(
            tier, Backoff(self._world.chance, base=base)
        )
        if now > scope.paused_until + CALM:
            backoff.succeeded()
        return backoff.failed()

    def paused(self, tier: str = "") -> float:
        """How long nothing of this tier goes, as the far side wants it."""
        until = max(one.paused_until for one in self._of(tier))
        return max(0.0, until - trio.current_time())

    def rest(self, tier: str, seconds: float) -> None:
        """Nothing of this tier (of all, without one) goes for so long."""
        self._of(tier)[0].pause(trio.current_time() + seconds)
        self._bell.set()

    def use(self) -> dict[str, Any]:
        """How it is used, for status."""
        now = trio.current_time()
        waiting = [sum(one.rank == rank for one in self._line) for rank in range(3)]
        return {
            "waiting": dict(zip(RANKS, waiting, strict=True)),
            "tiers": {tier: _told(scope, now) for tier, scope in self._scopes.items()},
        }


def _told(scope: Spacing, now: float) -> dict[str, float]:
    return {
        "limit_per_s": round(scope.full, 4),
        "rate_per_s": round(scope.rate, 4),
        "last_minute": scope.lately(now),
        "paused_s": round(max(0.0, scope.paused_until - now), 1),
    }
