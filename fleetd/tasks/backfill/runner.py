"""The backfills of one source, piece by piece, several at once, under its one budget."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

import structlog
import trio
from msgspec import Struct

from fleetd.clock import Clock
from fleetd.errors import AbsentError, ExpiredError, HeldError, TransientError, said
from fleetd.event import Origin, millis
from fleetd.pace import Backoff
from fleetd.providers.contract import Feed, Past, Turn
from fleetd.store import Job, Store
from fleetd.store.jobs import WHOLE, EndJob, Progress, Tidy, place_of
from fleetd.tasks.backfill.pieces import Piece, pieces
from fleetd.tasks.budget import BACKFILL, REPAIR
from fleetd.tasks.poll.credential import HELD_RETRY, Credential
from fleetd.tasks.poll.page import Question, Taken, bury_page, turn_page
from fleetd.tasks.poll.trail import Trail
from fleetd.tasks.poll.wire import UnreadableError
from fleetd.tasks.supervise import Health
from fleetd.world import World

AT_LEAST, AT_MOST = 4, 16  # pieces at once: a vendor's answer may take a second
logger = structlog.get_logger()


class Bench(Struct, frozen=True):
    """A job that the vendor refuses: until when it is left alone, and why."""

    until: float
    why: str


async def backfills(
    credential: Credential, feeds: Mapping[str, Feed], *, store: Store, world: World,
    health: Health, clock: Clock, repairs: bool = False,
) -> None:  # fmt: skip
    """Do the backfills of one source for ever, the oldest first; or only its repairs.

    What was missed lately never waits behind months that somebody asked for, and nothing
    behind a job that the vendor refuses: that one is tried again now and then.
    """
    source = credential.account.source
    benched: dict[int, Bench] = {}
    while True:
        bell, now = store.bell(source), trio.current_time()
        jobs = [job for job in store.backfills(source) if is_repair(job) == repairs]
        benched = {
            job.id: benched[job.id]
            for job in jobs
            if job.id in benched and benched[job.id].until > now
        }
        refused = next((one.why for one in benched.values()), "")
        job = next((one for one in jobs if one.id not in benched), None)
        if job is None:
            health.say("held" if benched else "idle", refused)
            ends = min((one.until for one in benched.values()), default=math.inf)
            with trio.move_on_at(ends):
                await bell.wait()
            continue
        health.say("ok", f"job {job.id}; {refused}".removesuffix("; "))
        one = Backfill(job, credential, feeds, store, world, health, clock)
        await one.run()
        if one.refused:
            benched[job.id] = Bench(trio.current_time() + HELD_RETRY, one.refused)


def is_repair(job: Job) -> bool:
    """Whether it fetches what was missed, and not what somebody asked for."""
    return bool(job.spec.get("repair")) or job.spec.get("origin") == "recovered"


class Backfill:
    """One job under way."""

    def __init__(
        self, job: Job, credential: Credential, feeds: Mapping[str, Feed],
        store: Store, world: World, health: Health, clock: Clock,
    ) -> None:  # fmt: skip
        self.id, self.source = job.id, job.target
        self.spec = job.spec
        self.repairs = is_repair(job)
        self.credential = credential
        self.feeds = feeds
        self.store = store
        self.world = world
        self.health = health
        self.clock = clock
        self.refused = ""  # why the vendor refuses a piece of it

    @property
    def running(self) -> bool:
        """Whether it is to go on: nobody paused or cancelled it."""
        return any(job.id == self.id for job in self.store.backfills(self.source))

    async def run(self) -> None:
        """Everything that is left of it, or until it is told to stop."""
        feed = self.feeds.get(str(self.spec["feed"]))
        if feed is None or feed.past is None:
            why = f"{self.source} has no such feed any more, or it has no past"
            await self._end("failed", why)
            return
        left = [one for one in self._pieces(feed.past) if not self._whole(one)]
        if not left:  # nothing to ask for: no vehicle is known, or all was done
            await self._end("done", "nothing was left to ask for")
            return
        send, receive = trio.open_memory_channel[Piece](len(left))
        for piece in left:
            send.send_nowait(piece)
        send.close()
        async with trio.open_nursery() as nursery:
            for _ in range(min(self._hands, len(left))):
                nursery.start_soon(self._work, feed, feed.past, receive.clone())
            receive.close()
        if not self.running:  # pages that were under way left their places
            await self.store.join(Tidy(self.id))

    @property
    def _hands(self) -> int:
        """As many as use up the budget also where each answer takes a second."""
        rate = math.ceil(self.credential.account.provider.limits.per_second)
        return max(AT_LEAST, min(AT_MOST, rate))

    async def _end(self, state: str, why: str) -> None:
        now = millis(self.world.now())
        await self.store.join(EndJob(self.id, state, why, now))

    def _pieces(self, past: Past) -> Sequence[Piece]:
        since, until = moment(self.spec["since"]), moment(self.spec["until"])
        parts = self.spec.get("parts")  # fixed when the job was made
        vehicles = [str(one) for one in parts] if isinstance(parts, list) else []
        return pieces(past, since, until, vehicles)

    def _whole(self, piece: Piece) -> bool:
        place = place_of(self.id, piece.name)
        return self.store.bookmark(self.source, place) == WHOLE

    async def _work(
        self, feed: Feed, past: Past, left: trio.MemoryReceiveChannel[Piece]
    ) -> None:
        async with left:
            async for piece in left:
                on = await Walk(self, feed, past, piece).run()
                if not on or not self.running:
                    return


class Walk:
    """One piece of a job, page by page."""

    def __init__(self, job: Backfill, feed: Feed, past: Past, piece: Piece) -> None:
        recovers = job.spec.get("origin") == "recovered"
        origin: Origin = "recovered" if recovers else "backfill"
        self.job, self.piece = job, piece
        self.question = Question(
            feed.name, past.ask, past.unpack, place_of(job.id, piece.name), feed.scope,
            origin, REPAIR if job.repairs else BACKFILL,
        )  # fmt: skip
        self._backoff = Backoff(job.world.chance)
        self._trail = Trail(None)
        self._kept = False  # the page that cannot be read

    async def run(self) -> bool:
        """Page after page, through all that passes, while the job is wanted.

        False where the vendor refuses the piece: whoever asked for it leaves it alone.
        """
        job = self.job
        while job.running and not job.store.paused(job.source):
            await job.credential.admitted(f"job {job.id}")
            try:
                taken = await self._page()
                more = taken is not None and taken.page.more
                rest = 0.0
                if taken and more:
                    rest = self._trail.step(taken.page, 1.0, taken.stored)
            except (HeldError, TransientError) as bad:
                if not await self._waited(bad):
                    return False
                continue
            except AbsentError as bad:
                piece = self.piece
                logger.info("piece_absent", job=job.id, piece=piece.name, why=str(bad))
                await self._progress(0, whole=True, absent=piece.part or piece.name)
                return True
            self._backoff.succeeded()
            self._kept = False
            records = len(taken.page.records) if taken is not None else 0
            job.health.beat()
            await self._progress(records, whole=not more)
            if not more:
                return True
            await trio.sleep(rest)
        return await self._paused()

    async def _paused(self) -> bool:
        """A paused source stops its jobs too; a paused or cancelled job just ends here."""
        job = self.job
        if job.running and job.store.paused(job.source):
            job.health.say("paused", f"fleetd resume {job.source}")
            await job.store.wait_while_paused(job.source)
            return await self.run()
        return True

    async def _page(self) -> Taken | None:
        job = self.job
        bookmark = job.store.bookmark(job.source, self.question.place)
        try:
            return await self._ask(bookmark)
        except ExpiredError as bad:
            if bookmark is None:
                raise HeldError(f"{bad}, though we gave it none") from bad
            self._trail.anew(bad)
            return await self._ask(None)

    async def _ask(self, bookmark: str | None) -> Taken | None:
        job, piece = self.job, self.piece
        turn = Turn(
            job.world.now(), bookmark, piece.since, piece.until, timedelta(0),
            piece.part, job.store.directory.ids(job.source, "vehicle"),
            job.credential.account.tags,
        )  # fmt: skip
        return await turn_page(
            self.question, turn, job.credential, job.store, job.clock
        )

    async def _progress(
        self, records: int, *, whole: bool, absent: str = ""
    ) -> None:  # fmt: skip
        """Count it; a piece that is whole is so on the disk before the next begins."""
        job, now = self.job, millis(self.job.world.now())
        if whole:
            place = self.question.place
            await job.store.join(Progress(job.id, records, now, place, absent))
        elif records:
            job.store.writer.post(Progress(job.id, records, now))

    async def _waited(self, bad: HeldError | TransientError) -> bool:
        """Say what is the matter, and wait it out; False where it will not pass by itself."""
        job = self.job
        held, why = isinstance(bad, HeldError), f"job {job.id}: {said(bad)}"
        job.health.say("held" if held else "failing", why)
        logger.warning(
            "backfill_waits", job=job.id, piece=self.piece.name, why=said(bad)
        )
        if isinstance(bad, TransientError):
            await trio.sleep(max(bad.after or 0.0, self._backoff.failed()))
        elif isinstance(bad, UnreadableError):
            await self._keep_once(bad)
            await self._rest()
        else:
            if bad.status == 401:
                await job.credential.refused(str(bad), f"job {job.id}")
            job.refused = why
            return False
        return True

    async def _keep_once(self, bad: UnreadableError) -> None:
        """Keep a page that cannot be read, however often it comes, and in how many words."""
        job, kept = self.job, self._kept
        self._kept = True
        if not kept:
            await bury_page(
                self.question.feed, str(bad), bad.body, job.credential, job.store,
                job.clock,
            )  # fmt: skip

    async def _rest(self) -> None:
        """Wait until the next try, unless the job is wanted no more."""
        job = self.job
        with trio.move_on_after(self._backoff.failed()):
            while job.running:
                await job.store.bell(job.source).wait()


def moment(text: object) -> datetime:
    """A moment as a job's spec holds it."""
    return datetime.fromisoformat(str(text)).astimezone(UTC)
