"""One feed of one source, asked for ever; what goes wrong is decided here, page by page."""

from __future__ import annotations

from datetime import datetime

import structlog
import trio

from fleetd.clock import Clock
from fleetd.errors import ExpiredError, HeldError, TransientError, said
from fleetd.pace import Backoff
from fleetd.providers.contract import Turn
from fleetd.store import Store
from fleetd.tasks.poll.credential import HELD_RETRY, Credential
from fleetd.tasks.poll.page import Question, Taken, bury_page, turn_page
from fleetd.tasks.poll.plan import Plan
from fleetd.tasks.poll.trail import Trail
from fleetd.tasks.poll.wire import UnreadableError
from fleetd.tasks.supervise import Health
from fleetd.world import World

logger = structlog.get_logger()


async def poll(
    plan: Plan, credential: Credential, *, store: Store, world: World, health: Health,
    clock: Clock,
) -> None:  # fmt: skip
    """Ask for ever: each page is kept with its bookmark, so a crash repeats one."""
    await Poller(plan, credential, store, world, health, clock).run()


class Poller:
    """One feed as it goes on."""

    def __init__(
        self, plan: Plan, credential: Credential, store: Store, world: World,
        health: Health, clock: Clock,
    ) -> None:  # fmt: skip
        self.plan = plan
        self.credential = credential
        self.store = store
        self.world = world
        self.health = health
        self.clock = clock
        self._backoff = Backoff(world.chance)

    async def run(self) -> None:
        while True:
            rest = await self._round()
            name = f"{self.plan.source}/{self.plan.feed.name}"
            logger.debug("feed_waits", feed=name, seconds=rest)
            await self._sleep(rest)

    async def _sleep(self, rest: float) -> None:
        """Rest; an operator who resumes the source ends it when the feed is held."""
        if self.health.state != "held":
            await trio.sleep(rest)
            return
        with trio.move_on_after(rest):
            await self.store.bell(self.plan.source).wait()

    async def _round(self) -> float:
        """Everything that waits now; how long to rest then."""
        try:
            await self._ask_all()
        except HeldError as bad:
            return await self._held(bad)
        except TransientError as bad:
            self.health.say("failing", said(bad))
            return max(bad.after or 0.0, self._backoff.failed())
        self._backoff.succeeded()
        self.health.say("waiting")
        return self.plan.every

    async def _ask_all(self) -> None:
        if not self.plan.feed.parts:
            await self._walk("")
            return
        for part in self._vehicles():
            await self._walk(part)

    def _vehicles(self) -> tuple[str, ...]:
        return self.store.directory.ids(self.plan.source, "vehicle")

    async def _walk(self, part: str) -> None:
        """Page after page until the vendor says that no more waits."""
        feed = self.plan.feed
        place = f"{feed.name}/{part}" if part else feed.name
        question = Question(feed.name, feed.ask, feed.unpack, place, feed.scope)
        trail = Trail(self.store.bookmark(self.plan.source, place))
        more = True
        while more:
            await self._ready()
            taken = await self._page(question, part)
            if taken is None:
                return
            await self._took(taken)
            more = taken.page.more
            if more:
                await trio.sleep(trail.step(taken.page, self.plan.every))

    async def _page(self, question: Question, part: str) -> Taken | None:
        """One page; a bookmark that the vendor has forgotten is dropped."""
        bookmark = self.store.bookmark(self.plan.source, question.place)
        turn = self._turn(bookmark, part)
        try:
            return await turn_page(
                question, turn, self.credential, self.store, self.clock
            )
        except ExpiredError as bad:
            if bookmark is None:
                raise HeldError(f"{bad}, though we gave it none") from bad
            turn = self._turn(None, part)
            return await turn_page(
                question, turn, self.credential, self.store, self.clock
            )

    def _turn(self, bookmark: str | None, part: str) -> Turn:
        now: datetime = self.world.now()
        return Turn(
            now,
            bookmark,
            self.plan.begins(now) if bookmark is None else None,
            lookback=self.plan.behind,
            part=part,
            vehicles=self._vehicles(),
            tags=self.credential.account.tags,
        )

    async def _took(self, taken: Taken) -> None:
        del taken
        self.health.say("ok")
        self.health.beat()
        await self.credential.holds.free(self.plan.feed.name)

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
            await self.credential.admitted()
            if not self.store.paused(source):
                return

    async def _held(self, bad: HeldError) -> float:
        """The vendor refuses us, or sends what is no page: the rest until the next try."""
        feed, holds = self.plan.feed.name, self.credential.holds
        self.health.say("held", str(bad))
        if bad.status == 401:
            await self.credential.refused(str(bad))
            return 0.0
        if isinstance(bad, UnreadableError) and not holds.why(feed):
            await bury_page(
                feed, str(bad), bad.body, self.credential, self.store, self.clock
            )
        await holds.hold(feed, str(bad))
        return HELD_RETRY
