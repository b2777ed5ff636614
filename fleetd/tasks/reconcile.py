"""What was heard of a source, compared with what its vendor lists; what was missed is fetched."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import structlog
import trio

from fleetd.event import millis, moment_of
from fleetd.providers.contract import Feed
from fleetd.store import Job, Store, stats
from fleetd.store.jobs import absent_of
from fleetd.tasks.backfill import is_repair
from fleetd.tasks.control.backfill import add_job
from fleetd.tasks.coverage import caught
from fleetd.tasks.poll.credential import Credential
from fleetd.tasks.supervise import Health
from fleetd.world import World

SETTLE = timedelta(minutes=10)  # a push may still be on its way for so long
OVERLAP = timedelta(minutes=10)
FIRST = timedelta(days=1)  # how far back the first comparison of all goes
REACH = timedelta(days=7)  # outages longer ago are old news
MINUTE_MS = 60_000
ENDED = frozenset({"done", "cancelled", "failed"})
logger = structlog.get_logger()


async def note_outages(store: Store, until: datetime) -> None:
    """Learn from the heartbeats in the log when nobody listened."""
    edge, first = millis(until) // MINUTE_MS, millis(until - REACH) // MINUTE_MS
    found = await store.reading(
        lambda reader: stats.outages(
            reader.db, first, edge, stats.created(reader.db) // MINUTE_MS + 1
        )
    )
    store.outages = tuple(
        (one.since * MINUTE_MS, one.until * MINUTE_MS)
        for one in found
        if one.state != "offline"
    )


async def reconcile(
    credential: Credential, feeds: Sequence[Feed], every: float, *, store: Store,
    world: World, health: Health,
) -> None:  # fmt: skip
    """Compare for ever: at once after a start, then now and then, behind live polls.

    Each feed by itself: one whose past is refused holds none of the others back.
    """
    async with trio.open_nursery() as nursery:
        for feed in feeds:
            one = Comparison(credential, feed, store, world)
            nursery.start_soon(one.go_on, every, health)
        while True:
            await trio.sleep(every)
            await note_outages(store, world.now() - 2 * timedelta(minutes=1))
            source = credential.account.source
            logger.debug("compares", source=source, feeds=len(feeds))


class Comparison:
    """One feed's past asked for up to now, as a job that outlives a restart."""

    def __init__(
        self, credential: Credential, feed: Feed, store: Store, world: World
    ) -> None:
        self.source = credential.account.source
        self.feed = feed
        self.store = store
        self.world = world

    async def go_on(self, every: float, health: Health) -> None:
        """Compare for ever; at once what was missed while we were down: it will not come."""
        settle = timedelta(0)
        while True:
            health.say("ok", self.feed.name)
            await self.run(settle)
            health.beat()
            health.say("waiting")
            settle = SETTLE
            await trio.sleep(every)

    async def run(self, settle: timedelta) -> None:
        """Finish what was begun before, then go on to now."""
        await self._follow()
        now = self.world.now()
        if await self._begin(now, now - settle):
            await self._follow()

    async def _begin(self, now: datetime, until: datetime) -> bool:
        past = self.feed.past
        assert past is not None
        stands = self.store.recall(caught(self.source, self.feed.name)).get("ms")
        since = now - FIRST
        if stands is not None and stands <= millis(now):  # else a clock was ahead
            since = moment_of(stands) - OVERLAP
        since = max(since, now - past.within)
        parts: Sequence[str] = ()
        if past.parts:
            parts = self.store.directory.ids(self.source, "vehicle")
        if until <= since or (past.parts and not parts):
            return False
        origin = (
            "backfill" if stands is None else "recovered"
        )  # a first day missed none
        job = add_job(
            self.source, self.feed, (since, until), parts, millis(now),
            origin=origin, repair=True,
        )  # fmt: skip
        await self.store.add_job(job)
        return True

    async def _follow(self) -> None:
        """Wait for the job of this comparison, note how far it came, and drop it."""
        while (job := self._job()) is not None:
            if job.state in ENDED:
                if job.state == "done":
                    until = datetime.fromisoformat(str(job.spec["until"]))
                    name = caught(self.source, self.feed.name)
                    absent, _ = absent_of(job)
                    kept = {"ms": millis(until)} | (
                        {"absent": absent} if absent else {}
                    )
                    await self.store.remember(name, kept)
                await self.store.drop_job(job.id)
                continue
            await self.store.bell(self.source).wait()

    def _job(self) -> Job | None:
        for job in self.store.jobs():
            meant = (job.target, job.spec.get("feed")) == (self.source, self.feed.name)
            if meant and is_repair(job):
                return job
        return None
