"""One harmless question to a vendor for each feed of a source, judged as the daemon would."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any, cast

from msgspec import Struct
from msgspec.structs import replace

from fleetd.config import House
from fleetd.errors import (
    AbsentError,
    FleetdError,
    HeldError,
    PayloadError,
)
from fleetd.event import Vehicle
from fleetd.providers.contract import Ask, Feed, Page, Provider, Turn
from fleetd.store import Store
from fleetd.tasks.budget import Budgets
from fleetd.tasks.poll import Account, Credential, Plan, open_credential, plans_of
from fleetd.tasks.poll.page import read
from fleetd.tasks.poll.wire import UNREADABLE, UnreadableError
from fleetd.world import World

LATELY = timedelta(hours=1)
SOME_VEHICLES = 20
STEPS = 4  # of a listing that looks for itself before it begins
FORBIDDEN = 403
ALL_ALIKE = frozenset({401, 404})  # where one says so, the others would as well


class Slate:
    """A store that remembers nothing: what is asked here leaves no trace."""

    def recall(self, _name: str) -> dict[str, Any]:
        return {}

    async def remember(self, _name: str, _value: Mapping[str, Any] | None) -> None:
        return

    def note(self, _name: str, _value: Mapping[str, Any]) -> None:
        return


class Heard(Struct, frozen=True):
    """What came of asking one feed: how many records, or what is wrong."""

    feed: str
    records: int = 0
    fault: str = ""
    forbidden: str = ""  # by which scope it were not


async def ask_all(house: House, account: Account, world: World) -> str:
    """What the vendor says to this account; `FleetdError` with all that is wrong."""
    slate = cast("Store", Slate())
    budgets = Budgets(world, slate)
    async with open_credential(account, budgets, slate, world) as credential:
        caller = Caller(credential, world)
        whose = await caller.whose()
        plans = sorted(plans_of(house, account), key=told_first)
        heard = [await caller.hear(plan) for plan in plans]
    if any(one.forbidden or one.fault for one in heard):
        raise FleetdError(f"{account.title}{whose}: {'; '.join(wrongs(heard))}")
    told = [f"{one.feed} ({one.records})" for one in heard if one.records >= 0]
    answered = f"answered: {', '.join(told)}" if told else "nothing to ask yet"
    return f"{account.title}{whose}: {answered}"


def wrongs(heard: Sequence[Heard]) -> Iterator[str]:
    """What the daemon would hold, all that the token may not in one."""
    lacking = [f"{one.feed} needs {one.forbidden}" for one in heard if one.forbidden]
    if lacking:
        yield f"takes the token and forbids some feeds (403): {', '.join(lacking)}"
    yield from (f"{one.feed}: {one.fault}" for one in heard if one.fault)


def told_first(plan: Plan) -> int:
    """Vehicles come first, so that there are some to ask about."""
    return 0 if plan.feed.listing == "vehicle" else 1


class Caller:
    """Asks feed after feed, with the vehicles that the first ones told of."""

    def __init__(self, credential: Credential, world: World) -> None:
        self._credential, self._world = credential, world
        self._vehicles: list[str] = []

    @property
    def _provider(self) -> Provider:
        return self._credential.account.provider

    async def whose(self) -> str:
        """Whose account it is, where the vendor tells and this token may know."""
        probe = self._provider.whoami
        if probe is None or self._provider.answer is not None:
            return ""
        try:
            answer = await self._credential.ask(probe.ask)
            names = probe.read(answer.body)
        except HeldError as bad:
            if bad.status == FORBIDDEN:
                return ""
            raise
        except UNREADABLE as bad:
            raise UnreadableError(f"{probe.ask.path}: {bad}", answer.body) from bad
        return f", account of {' / '.join(names[:2])}" if names else ""

    async def hear(self, plan: Plan) -> Heard:
        """One page of one feed; what ends everything else is raised."""
        feed = plan.feed
        turn = self._turn(feed)
        ask = feed.ask(turn)
        if ask is None or (feed.parts and not turn.part):
            return Heard(feed.name, records=-1)
        try:
            page = await self._page(feed, ask, turn)
        except AbsentError:
            return Heard(feed.name)
        except HeldError as bad:
            if bad.status in ALL_ALIKE:
                raise
            if bad.status == FORBIDDEN and feed.scope:
                return Heard(feed.name, forbidden=feed.scope)
            return Heard(feed.name, fault=str(bad))
        if feed.listing == "vehicle" and not self._vehicles:
            self._vehicles = list(vehicles_in(self._provider, page))
        return Heard(feed.name, len(page.records))

    async def _page(self, feed: Feed, ask: Ask, turn: Turn) -> Page:
        """The first page; of a listing the first that holds anything."""
        for _ in range(STEPS):
            answer = await self._credential.ask(ask, scope=feed.scope)
            page = read(feed.unpack, ask, answer.body, turn)
            if page.records or not (page.more and feed.listing):
                return page
            turn = replace(turn, bookmark=page.bookmark)
            onward = feed.ask(turn)
            if onward is None:
                return page
            ask = onward
        return page

    def _turn(self, feed: Feed) -> Turn:
        now, known = self._world.now(), self._vehicles
        since = None if feed.listing else now - LATELY
        return Turn(
            now,
            since=since,
            part=known[0] if feed.parts and known else "",
            vehicles=known,
            tags=self._credential.account.tags,
        )


def vehicles_in(provider: Provider, page: Page) -> Iterator[str]:
    """The ids of some vehicles of a listing, for feeds that are asked by vehicle."""
    for record in page.records[:SOME_VEHICLES]:
        try:
            events: Sequence[Any] = list(provider.normalize[record.feed](record.body))
        except (PayloadError, KeyError):
            continue
        yield from (one.id for one in events if isinstance(one, Vehicle))
