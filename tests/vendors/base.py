"""What every simulated vendor stands on: routes, limits, faults, a clock, pushes.

A vendor is a subclass of `Simulator`:

    class Acme(Simulator):
        vendor = "acme"
        carries = COLUMNS - {"driver_id", "driver_name"}     # what its polled fixes say

        def routes(self):
            return {
                "GET /v1/units": self.units,
                "GET /v1/units/{id}/track": self.track,
            }

        def units(self, ask, **found): return reply({"units": [...]})

Handlers get an `Asked` and the path's words, and answer with `reply(...)`, bytes
included. `answer()` is the whole of it without a network: limits and faults too.
`python -m tests.vendors.acme --port 9100 --vehicles 600 --faults heavy` runs it.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, TypeVar
from urllib.parse import unquote

import httpx
import msgspec
from msgspec import Struct

from tests.vendors.faults import PAGE, Dice, Faults, changed
from tests.vendors.limits import Limiter, Tier
from tests.vendors.truth import DAY, Fix, Truth, draw
from tests.vendors.wire import (
    Asked,
    Clock,
    RefusedError,
    Reply,
    asked_of,
    instant,
    refuse,
    reply,
)

__all__ = [
    "COLUMNS", "DAY", "Asked", "Clock", "Faults", "Fix", "Reply", "Sending",
    "Simulator", "Tier", "Truth", "instant", "refuse", "reply",
]  # fmt: skip

COLUMNS = frozenset(
    {
        "provider", "provider_vehicle_id", "vin", "fleet_number", "timestamp",
        "latitude", "longitude", "speed_mph", "heading_degrees", "engine_state",
        "driver_id", "driver_name", "location_description", "odometer",
    }
)  # fmt: skip
Item = TypeVar("Item")


class Sending(Struct, frozen=True):
    """One push: when it is due, its body, and the headers beside the signature."""

    at: int
    body: bytes
    headers: Mapping[str, str] = {}


class Simulator(ABC):
    """A vendor's far side over a truth. Subclass it; see the top of this file."""

    vendor: ClassVar[str] = ""
    carries: ClassVar[frozenset[str]] = COLUMNS  # columns that its polled fixes fill
    pushes: ClassVar[frozenset[str]] = frozenset()  # the same of its pushed fixes
    retries: ClassVar[tuple[float, ...]] = (1.0, 10.0, 60.0)  # of a push, seconds
    accepted: ClassVar[frozenset[int]] = frozenset(range(200, 300))
    final: ClassVar[frozenset[int]] = frozenset()  # answers after which it gives up

    def __init__(
        self,
        truth: Truth | None = None,
        faults: Faults | None = None,
        clock: Clock | None = None,
        *,
        key: str = "key",
        secret: str = "",
        limit: float = 1.0,
    ) -> None:
        self.truth = truth or Truth()
        self.dice = Dice(faults or Faults())
        self.clock = clock or Clock()
        self.key, self.secret, self.limit = key, secret, limit
        self.limiter = Limiter()
        self.counts: dict[str, int] = {}
        self.bugs = 0  # answers that this simulator failed to make
        self.log: list[tuple[float, str, int]] = []  # steady time, path, status
        self._routes = [
            (method, _pattern(path), handler)
            for both, handler in self.routes().items()
            for method, path in (both.split(" ", 1),)
        ]

    # what a vendor says of itself

    @abstractmethod
    def routes(self) -> dict[str, Callable[..., Reply]]:
        """`"GET /path/{word}"` to the handler that gets `(asked, word=...)`."""

    def credential(self, _asked: Asked) -> str:
        """Whose budget a request counts against."""
        return self.key

    def refused(self, _asked: Asked) -> Reply | None:
        """The answer to a wrong key, a missing scope; None lets it pass."""
        return None

    def tiers(self, _asked: Asked) -> Sequence[Tier]:
        """The limits that a request counts against."""
        return ()

    def busy(self, after: float) -> Reply:
        """A 429, as this vendor says it."""
        return reply({"message": "busy"}, 429, retry_after=f"{after:.5f}")

    def failing(self) -> Reply:
        """A 5xx, as this vendor says it."""
        status = (500, 502, 503)[int(self.dice.chance.random() * 3)]
        return Reply(status, b"upstream error", {"content-type": "text/plain"})

    def unknown(self, _asked: Asked) -> Reply:
        return reply({"message": "no such path"}, 404)

    def vehicle_id(self, vehicle: int) -> str:
        return str(vehicle)

    def driver_id(self, driver: int) -> str:
        return str(driver)

    def row(self, fix: Fix) -> dict[str, Any]:
        """The 14 columns of a polled fix as fleetd should have them in the end."""
        row = self.truth.row(fix)
        row["provider"] = self.vendor
        row["provider_vehicle_id"] = self.vehicle_id(fix.vehicle)
        if fix.driver is not None:
            row["driver_id"] = self.driver_id(fix.driver)
        for name in COLUMNS - self.carries:
            row[name] = None
        return row

    def push_fix(self, fix: Fix) -> Sending | None:
        """A fix as it is pushed, None where it is not."""
        return None

    def push_others(self, vehicle: int, since: int, until: int) -> Iterable[Sending]:
        """What else of a vehicle is pushed for a window."""
        return ()

    def sign(self, body: bytes, secret: str) -> Mapping[str, str]:
        """The headers that sign a push."""
        return {}

    def posted(self, sending: Sending, status: int) -> None:
        """What became of a push; 0 where nobody answered. For vendors that keep a log."""
        del sending, status

    # what a vendor's handlers use

    def now(self) -> int:
        return self.clock.now()

    def known(self, fixes: Iterable[Item], vehicle: int | None = None) -> list[Item]:
        """What the vendor has by now: nothing ahead of it, nothing that is late yet.

        For anything with `at`, or else `start`, and `vehicle`.
        """
        now, known_at = self.now(), self.dice.known_at
        if not self.dice.tardy:
            return [one for one in fixes if _at(one) <= now]
        return [
            one
            for one in fixes
            if known_at(getattr(one, "vehicle", vehicle or 0), _at(one)) <= now
        ]

    def known_between(self, vehicle: int, since: int, until: int) -> list[Fix]:
        """The fixes that the vendor learned in a window, late ones among them: feeds."""
        known_at = self.dice.known_at
        early = since - self.dice.tardy
        return [
            one
            for one in self.truth.fixes(vehicle, early, until)
            if since <= known_at(vehicle, one.at) < until
        ]

    def mixed(self, items: Sequence[Item]) -> list[Item]:
        """A page's records with some twice and some out of order."""
        faults, chance = self.dice.faults, self.dice.chance
        found = list(items)
        if faults.twice:
            found = [
                x
                for one in found
                for x in [one] * (1 + (chance.random() < faults.twice))
            ]
        if faults.shuffled and chance.random() < faults.shuffled:
            chance.shuffle(found)
        return found

    def listed(self, items: Sequence[Item]) -> list[Item]:
        """A listing, of which some may be missing: for vehicles, drivers, places."""
        faults = self.dice.faults
        if faults.empty:
            return []
        return [
            one
            for n, one in enumerate(items)
            if not faults.missing or draw("missing", faults.seed, n) >= faults.missing
        ]

    def poisoned(self, fix: Fix) -> bool:
        """Whether this fix is to be written so that nobody can read it."""
        return fix.at in self.dice.faults.poison.get(fix.vehicle, ())

    # how it runs

    def answer(self, asked: Asked) -> Reply:
        """The answer to a request, with whatever goes wrong."""
        if asked.path.startswith("/_sim/"):
            return self._control(asked)
        found = self._answer(asked)
        self.log.append((self.clock.steady(), asked.path, found.status))
        name = f"{asked.method} {asked.path} {found.status}"
        if name in self.counts or len(self.counts) < 5000:
            self.counts[name] = self.counts.get(name, 0) + 1
        return found

    def _answer(self, asked: Asked) -> Reply:  # noqa: PLR0911  a list of faults
        now = self.now()
        if any(since <= now < until for since, until in self.dice.faults.outages):
            return Reply(0, broken=True)
        if (refusal := self.refused(asked)) is not None:
            return refusal
        tiers = [_scaled(one, self.limit) for one in self.tiers(asked)]
        wait = self.limiter.ask(self.credential(asked), tiers, self.clock.steady())
        if wait:
            return self.busy(wait)
        fell = self.dice.fell(_line(asked))
        if fell == "busy":
            return self.busy(self.dice.between(self.dice.faults.busy_s))
        if fell == "failing":
            return self.failing()
        if fell == "html":
            return Reply(200, PAGE, {"content-type": "text/html"})
        found = self._routed(asked)
        if fell == "cut" and found.status == 200:
            half = found.body[: max(len(found.body) // 2, 1)]
            return msgspec.structs.replace(found, body=half)
        if fell == "reset":
            return msgspec.structs.replace(found, broken=True)
        if fell == "slow":
            wait = self.dice.between(self.dice.faults.slow_s)
            return msgspec.structs.replace(found, wait=wait)
        return found

    def _routed(self, asked: Asked) -> Reply:
        for method, pattern, handler in self._routes:
            match = pattern.fullmatch(asked.path) if method == asked.method else None
            if match:
                words = {name: unquote(one) for name, one in match.groupdict().items()}
                try:
                    return handler(asked, **words)
                except RefusedError as refusal:
                    return refusal.answer
        return self.unknown(asked)

    def _control(self, asked: Asked) -> Reply:
        what = asked.path.removeprefix("/_sim/")
        if what == "faults" and asked.method == "POST":
            self.dice = Dice(changed(self.dice.faults, asked.json() or {}))
            return reply(self.dice.faults)
        if what == "faults":
            return reply(self.dice.faults)
        if what == "clock":
            if asked.method == "POST":
                told = asked.json()
                self.clock.speed = told.get("speed", self.clock.speed)
                self.clock.set(told.get("at", self.now()))
            return reply({"now": self.now(), "speed": self.clock.speed})
        if what == "truth":
            since = int(asked.one("since", str(self.now() - DAY)))
            until = int(asked.one("until", str(self.now() + 1)))
            lines = (msgspec.json.encode(one) for one in self.rows(since, until))
            return Reply(
                200, b"\n".join(lines), {"content-type": "application/x-ndjson"}
            )
        if what == "counts":
            return reply(self.told())
        return reply({"message": "faults, clock, truth or counts"}, 404)

    def rows(self, since: int, until: int) -> Iterator[dict[str, Any]]:
        """What was driven in a window, as unified rows, as far as it can be known by now."""
        for vehicle in range(self.truth.vehicles):
            for fix in self.known(self.truth.fixes(vehicle, since, until)):
                if not self.poisoned(fix):
                    yield self.row(fix)

    def told(self) -> dict[str, Any]:
        """Requests by path and status, and what became of the limits."""
        return {
            "now": self.now(),
            "requests": self.counts,
            "bugs": self.bugs,
            "over": self.limiter.over(),
            "limits": self.limiter.told(),
        }

    def sendings(self, since: int, until: int) -> list[Sending]:
        """Everything that is pushed of a window, in the order in which it is due."""
        found: list[Sending] = []
        for vehicle in range(self.truth.vehicles):
            for fix in self.truth.fixes(vehicle, since, until):
                sending = self.push_fix(fix)
                if sending is not None:
                    late = self.dice.known_at(vehicle, sending.at)
                    found.append(msgspec.structs.replace(sending, at=late))
            found += self.push_others(vehicle, since, until)
        return sorted(found, key=lambda one: one.at)

    def transport(self) -> httpx.MockTransport:
        """The same in front of an httpx client, without a socket and without waiting."""

        def handle(request: httpx.Request) -> httpx.Response:
            found = self.answer(asked_of(request))
            if found.broken:
                raise httpx.ReadError("connection reset", request=request)
            return httpx.Response(
                found.status, headers=dict(found.headers), content=found.body
            )

        return httpx.MockTransport(handle)


def _line(asked: Asked) -> str:
    words = "&".join(f"{name}={','.join(of)}" for name, of in asked.query.items())
    return f"{asked.path}?{words}"


def _pattern(path: str) -> re.Pattern[str]:
    parts = re.split(r"\{(\w+)\}", path)
    text = "".join(
        f"(?P<{part}>[^/]+)" if n % 2 else re.escape(part)
        for n, part in enumerate(parts)
    )
    return re.compile(text)


def _scaled(tier: Tier, by: float) -> Tier:
    if by == 1.0:
        return tier
    return Tier(tier.name, max(round(tier.limit * by), 1), tier.within)


def _at(one: Any) -> int:
    at = getattr(one, "at", None)
    return int(one.start if at is None else at)
