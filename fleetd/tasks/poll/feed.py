"""One feed of one source, asked for ever; what goes wrong is decided here, page by page."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

import structlog
import trio
from msgspec.structs import replace

from fleetd.clock import Clock
from fleetd.errors import AbsentError, ExpiredError, HeldError, TransientError, said
from fleetd.event import millis, moment_of, stamp
from fleetd.pace import Backoff
from fleetd.providers.contract import Turn
from fleetd.store import Store
from fleetd.tasks.coverage import caught
from fleetd.tasks.poll.credential import HELD_RETRY, Credential
from fleetd.tasks.poll.listing import Listing
from fleetd.tasks.poll.page import Question, Taken, bury_page, turn_page
from fleetd.tasks.poll.parts import Rounds
from fleetd.tasks.poll.plan import Plan
from fleetd.tasks.poll.trail import Trail
from fleetd.tasks.poll.wire import UnreadableError
from fleetd.tasks.supervise import Health
from fleetd.world import World

OVERLAP = timedelta(minutes=5)  # that is read twice where a bookmark was lost
DIRECTORY_S = 60.0  # at most
ELSEWHERE = "Other calls are answered: does the token lack what this one needs?"
NOBODY_YET = 5.0  # seconds until we look again whether a vehicle is known
logger = structlog.get_logger()


async def poll(
    plan: Plan, credential: Credential, *, store: Store, world: World, health: Health,
    clock: Clock, recover: Callable[[datetime], Awaitable[None]] | None = None,
) -> None:  # fmt: skip
    """Ask for ever: each page is kept with its bookmark, so a crash repeats one.

    `recover(since)` is told that the vendor forgot our bookmark, and up to when all was
    read: what came since then is to be fetched by another way.
    """
    await Poller(plan, credential, store, world, health, clock, recover).run()


class Poller:
    """One feed as it goes on."""

    def __init__(
        self, plan: Plan, credential: Credential, store: Store, world: World,
        health: Health, clock: Clock,
        recover: Callable[[datetime], Awaitable[None]] | None,
    ) -> None:  # fmt: skip
        self.plan = plan
        self.feed = plan.feed
        self.credential = credential
        self.store = store
        self.world = world
        self.health = health
        self.clock = clock
        self._recover = recover
        self._backoff = Backoff(world.chance)
        self._rounds = Rounds(self._walk, self._part_held, self.feed.parallel)
        self._listing = (
            Listing(self.feed.name, self.feed.listing, credential, store, clock)
            if self.feed.listing
            else None
        )
        self._begun: dict[str, datetime] = {}  # by part
        self._believed: tuple[datetime, float] | None = (
            None  # the time, and both clocks
        )
        self._note = ""  # what there is to say of a feed that goes on

    async def run(self) -> None:
        await self._directory_first()
        while True:
            rest = await self._round()
            if self._listing is not None:
                await self.credential.listed(self.feed.name)
            name = f"{self.plan.source}/{self.feed.name}"
            logger.debug("feed_waits", feed=name, seconds=rest)
            await self._sleep(rest)

    async def _directory_first(self) -> None:
        """A feed that was never read waits until the directory was, for a while.

        What it brings of the past could not be filled with VIN, number and name later.
        """
        parts = self._vehicles() if self.feed.parts else ("",)
        places = [self._place(part) for part in parts]
        if all(self.store.bookmark(self.plan.source, one) is None for one in places):
            self.health.say("waiting", "the directory comes first")
            with trio.move_on_after(DIRECTORY_S):
                await self.credential.wait_for_listings(self.plan.after)

    async def _sleep(self, rest: float) -> None:
        """Rest; an operator who resumes the source ends it when the feed is held."""
        if self.health.state != "held":
            await trio.sleep(rest)
            return
        with trio.move_on_after(rest):
            await self.credential.nudged()

    async def _round(self) -> float:
        """Everything that waits now; how long to rest then."""
        began = millis(self._now())
        try:
            rest = await self._ask_all()
        except HeldError as bad:
            return await self._held(bad)
        except (TransientError, AbsentError) as bad:
            self.health.say("failing", said(bad))
            return max(getattr(bad, "after", None) or 0.0, self._backoff.failed())
        self._backoff.succeeded()
        self.credential.served(self.feed.name)
        self.health.say("failing" if self._rounds.unserved else "waiting", self._note)
        shown = self.feed.snapshot and self.feed.past  # which comparisons speak for
        if not self._note and not shown:  # nobody was left out
            self.store.note(caught(self.plan.source, self.feed.name), {"ms": began})
        if self.feed.parts:
            self._begun.pop("", None)
        over = (self._lost,) if self._rounds.failing else (self._lost, self._first)
        for done in over:
            if self.store.recall(done):
                await self.store.remember(done, None)
        return rest

    async def _ask_all(self) -> float:
        if not self.feed.parts:
            await self._walk("")
            return self.plan.every
        vehicles = self._vehicles()
        if not vehicles:
            await self._ready()
            self._note = "no vehicle is known yet"
            return min(NOBODY_YET, self.plan.every)
        now = self._now()
        for one in vehicles:  # a round may end before it comes to them
            if self.store.bookmark(self.plan.source, self._place(one)) is None:
                self._begins(now, one)
        self._note = await self._rounds.go(vehicles)
        return self.plan.every

    def _vehicles(self) -> tuple[str, ...]:
        return self.store.directory.ids(self.plan.source, "vehicle")

    # one walk, page by page

    async def _walk(self, part: str) -> bool:
        """Page after page until no more waits; whether there was anything to ask."""
        feed = self.feed
        place = self._place(part)
        question = Question(feed.name, feed.ask, feed.unpack, place, feed.scope)
        trail = Trail(self._bookmark(question))
        asked, more = False, True
        while more:
            await self._ready()
            taken = await self._page(question, part, trail)
            if taken is None:
                break
            asked = True
            await self._took(taken, part)
            more = taken.page.more
            if more:
                rest = trail.step(taken.page, self.plan.every, taken.stored)
                await trio.sleep(rest)
        return asked

    def _place(self, part: str) -> str:
        return f"{self.feed.name}/{part}" if part else self.feed.name

    async def _page(
        self, question: Question, part: str, trail: Trail
    ) -> Taken | None:  # fmt: skip
        """One page; a bookmark that the vendor has forgotten is dropped."""
        bookmark = self._bookmark(question)
        try:
            return await self._ask(question, self._turn(bookmark, part))
        except ExpiredError as bad:
            if bookmark is None:
                raise HeldError(f"{bad}, though we gave it none") from bad
            trail.anew(bad)
            turn = self._turn(None, part, await self._forgotten(question, bad))
            if bad.since is not None:
                turn = replace(turn, last=bookmark)
        try:
            return await self._ask(question, turn)
        except ExpiredError as bad:
            raise HeldError(f"{bad}, though we gave it none") from bad

    async def _ask(self, question: Question, turn: Turn) -> Taken | None:
        return await turn_page(question, turn, self.credential, self.store, self.clock)

    def _bookmark(self, question: Question) -> str | None:
        if self._listing is not None:
            return self._listing.token
        return self.store.bookmark(self.plan.source, question.place)

    def _turn(
        self, bookmark: str | None, part: str, since: datetime | None = None
    ) -> Turn:
        now: datetime = self._now()
        if bookmark is None and since is None:
            since = self._begins(now, part)
        return Turn(
            now,
            bookmark,
            since,
            lookback=self.plan.behind,
            part=part,
            vehicles=self._vehicles(),
            tags=self.credential.account.tags,
            last=self._last(),
        )

    def _last(self) -> str | None:
        """The bookmark of the last page kept, for a feed that begins anew each time."""
        if self._listing is None:
            return None
        return self.store.bookmark(self.plan.source, self.feed.name)

    def _begins(self, now: datetime, part: str) -> datetime:
        """Where a feed begins: one that begins now stays there until its first answer.

        So does each vehicle; one that turns up later begins where a round that is not
        through began, else then. Also over restarts, unless the config says otherwise.
        """
        begins, known = self.plan.begins(now), self._begun.get(part)
        if known is None and part:
            known = self._begins(now, "")
        elif known is None and self.plan.since is None:
            kept = self.store.recall(self._first)
            known = moment_of(kept["ms"]) if kept else None
        if known is None or begins < known:
            known = begins
            if not part:
                self.store.note(self._first, {"ms": max(0, millis(begins))})
        self._begun[part] = known
        return known

    def _now(self) -> datetime:
        """The time, as far as it is known: a clock that lost it leads no bookmark astray.

        What was asked of a time that is not yet would never be asked again, so from
        the last moment it was believed the other clock counts on.
        """
        self.clock.look()
        now, steady = self.world.now(), self.world.steady()
        if self.clock.trusted:
            self._believed = now, steady
            return now
        if self._believed is None:
            return max(now, moment_of(self.store.received_ms))
        then, since = self._believed
        return then + timedelta(seconds=steady - since)

    async def _took(self, taken: Taken, part: str) -> None:
        holds, name = self.credential.holds, self.feed.name
        self.health.say("ok")
        self.health.beat()
        self._backoff.succeeded()
        await holds.free(name)
        if part:
            await holds.free(name, part=part)
        if self._listing is not None:
            await self._listed(self._listing, taken)

    async def _listed(self, listing: Listing, taken: Taken) -> None:
        """What whole listings lack is removed, unless it is too much at once."""
        holds, name = self.credential.holds, self.feed.name
        brake = await listing.took(taken)
        if brake is None:
            return
        self._note = brake
        if brake:
            await holds.hold(name, brake, word="removals")
        else:
            await holds.free(name, word="removals")

    async def _ready(self) -> None:
        """Wait while the operator paused the source, or the vendor refuses it."""
        source = self.plan.source
        while True:
            if self.store.paused(source):
                self.health.say("paused", f"fleetd resume {source}")
                await self.store.wait_while_paused(source)
                self.health.say("ok")
            if not self.credential.held:
                return
            self.health.say("held", self.credential.held)
            await self.credential.admitted(self.feed.name)
            if not self.store.paused(source):
                return

    # what went wrong

    async def _forgotten(
        self, question: Question, bad: ExpiredError
    ) -> datetime | None:
        """The vendor no longer knows our bookmark: since when all is to be asked again.

        Where the feed has a past, a job fetches it as well: not every vendor can begin
        its live feed at a time of our choice.
        """
        source, place = self.plan.source, question.place
        logger.warning("bookmark_expired", source=source, feed=place, why=str(bad))
        if self._listing is not None:
            self._listing.again()
            return None
        if bad.since is not None:  # the same window again: nothing of it is lost
            return bad.since
        since = self._read_up_to() - max(self.plan.behind, OVERLAP)
        if self._recover is not None and not self.store.recall(self._lost):
            await self._recover(since)
            await self.store.remember(self._lost, {"since": stamp(since)})
        return since

    def _read_up_to(self) -> datetime:
        """Where a first reading began that is not through yet, else when it was caught up.

        Not when the last page came: whoever reads a month from its beginning has read
        nothing of its end.
        """
        names = self._first, caught(self.plan.source, self.feed.name)
        kept = [found["ms"] for one in names if (found := self.store.recall(one))]
        begins = self.plan.begins(self._now())
        return moment_of(min(kept, default=max(0, millis(begins))))

    @property
    def _lost(self) -> str:
        """Where it is kept that a job fetches what was lost with a bookmark."""
        return f"lost:{self.plan.source}/{self.feed.name}"

    @property
    def _first(self) -> str:
        """Where it is kept where a first reading began, until it is through."""
        return f"begun:{self.plan.source}/{self.feed.name}"

    async def _held(self, bad: HeldError) -> float:
        """The vendor refuses us, or sends what is no page: the rest until the next try."""
        self.health.say("held", str(bad))
        if self._listing is not None:
            self._listing.again()
        if bad.status == 401:
            if await self.credential.refused(str(bad), self.feed.name):
                return 0.0
            bad = HeldError(f"{bad} {ELSEWHERE}", status=401)
            self.health.say("held", str(bad))
        await self._hold(bad, "")
        if isinstance(bad, UnreadableError):  # most often a proxy's, and soon over
            return self._backoff.failed()
        return HELD_RETRY

    async def _part_held(self, part: str, bad: HeldError) -> None:
        await self._hold(bad, part)

    async def _hold(self, bad: HeldError, part: str) -> None:
        feed, holds = self.feed.name, self.credential.holds
        if isinstance(bad, UnreadableError):
            self.credential.unwell()
            if holds.fresh(feed, part):
                await bury_page(
                    feed, str(bad), bad.body, self.credential, self.store, self.clock
                )
        await holds.hold(feed, str(bad), part=part)
