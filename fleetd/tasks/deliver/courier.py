"""One sink's loop: a token first, then the lane; an answer becomes a verdict here."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias

import structlog
import trio

from fleetd.errors import FullError, HeldError, RejectedError, TransientError
from fleetd.event import NORMAL, SAFETY, Entry, millis
from fleetd.lines import LINES
from fleetd.masking import MASK
from fleetd.pace import Bucket, Meter
from fleetd.sinks.contract import Batch, Receipt, Write
from fleetd.store import Attempt, Burial, Store
from fleetd.tasks.deliver.memory import Memory
from fleetd.tasks.deliver.plan import HELD_EVERY, PATIENCE, REFUSED_IN_A_ROW, Plan
from fleetd.tasks.deliver.stream import Pick, Stream
from fleetd.tasks.deliver.track import NEVER
from fleetd.world import World

logger = structlog.get_logger()
Verdict: TypeAlias = "Receipt | TransientError | RejectedError | HeldError"
FULL_EVERY = 10.0  # seconds between tries to move a cursor on a full disk
WORDS = {
    Receipt: "taken",
    TransientError: "later",
    RejectedError: "never",
    HeldError: "held",
}


class Watcher(Protocol):
    """Where the operator reads how a sink is."""

    rate_per_s: float | None

    def say(self, state: str, why: str = "") -> None:
        """What the sink is doing: idle, sending, waiting, held or paused, and why."""

    def beat(self) -> None:
        """The far side took something."""


class Courier:
    """One sink: its streams, its bucket, and what the far side made of it so far."""

    def __init__(
        self, name: str, plan: Plan, write: Write, *, store: Store, world: World,
        health: Watcher,
    ) -> None:  # fmt: skip
        self.name, self.plan = name, plan
        self.tell: Callable[[str, str, float], None] = lambda *_: None
        self._write, self._store, self._world = write, store, world
        self._health = health
        now = trio.current_time()
        self._bucket = Bucket(plan.rate, plan.burst, filled_at=now, reserve=1)
        self._meter = Meter(now)
        self._memory = Memory(name, store, world)
        self._live = [self._stream(SAFETY, 0), self._stream(NORMAL, 0)]
        self._jobs: dict[int, Stream] = {}
        self._takes = 0  # records taken so far: what proofs are dated by
        self._refused: set[int] = set()  # alone, since anything was taken
        self._held, self._not_before = self._memory.load(now, self._live)
        self._held_until = now
        self._front = False
        self._flying = 0
        self._hands: trio.Nursery | None = None

    def _stream(self, lane: int, job: int) -> Stream:
        return Stream(
            self.name, lane, job, self.plan, store=self._store,
            chance=self._world.chance, measure=self._measure,
        )  # fmt: skip

    @staticmethod
    def _measure(entry: Entry) -> int:
        return len(LINES.line(entry))

    async def run(self) -> None:
        """Deliver for ever."""
        if self.plan.parallel == 1:
            await self._loop()
            return
        async with trio.open_nursery() as hands:  # requests, each of other vehicles
            self._hands = hands
            await self._loop()

    async def _loop(self) -> None:
        while True:
            if self._rests():
                self._say_rest()
                await self._store.wait_for(self.name)
            bell = self._store.bell(self.name)  # before we look: what comes is not lost
            found = await self._next()
            if isinstance(found, Pick):
                await self._send(found)
                continue
            with trio.move_on_at(found):
                await bell.wait()

    def _rests(self) -> bool:
        """Nothing to do until the log says so."""
        if self._store.paused(self.name):
            return True
        waiting = (self._store.waiting(self.name, lane) for lane in (NORMAL, SAFETY))
        return not (self._flying or any(waiting) or self._store.replays(self.name))

    def _say_rest(self) -> None:
        if self._store.paused(self.name):
            self._health.say("paused")
        elif self._held:
            self._health.say("held", self._held)
        else:
            self._health.say("idle")

    # what goes next

    async def _next(self) -> Pick | float:
        """A request that may go now, else when to look again."""
        now = trio.current_time()
        gate = self._gate(now)
        if gate > now:
            return gate
        urgent = self._store.waiting(self.name, SAFETY) > 0
        wait = self._bucket.wait(now, urgent=urgent)
        if wait > 0:
            return now + wait
        return await self._choose(now)

    def _gate(self, now: float) -> float:
        if self._held and self._flying:
            return NEVER  # one try at a time
        return max(self._not_before, self._held_until if self._held else now)

    async def _choose(self, now: float) -> Pick | float:
        """The safety lane, then the normal one, and replays with what those leave."""
        soonest = NEVER
        for stream in [*self._live, *self._replays()]:
            if stream.unsaved_until > now:
                soonest = min(soonest, stream.unsaved_until)
                continue
            if stream.unsaved:
                await self._settle(stream, [])
            wait = stream.bucket.wait(now) if stream.bucket else 0.0
            if wait > 0:
                soonest = min(soonest, now + wait)
                continue
            found = await stream.next(now, self._takes, front=self._front)
            if isinstance(found, Pick):
                return found
            soonest = min(soonest, found)
            if stream.move() is not None:  # over what is not for us, or damaged
                await self._settle(stream, [])
                soonest = now
        return soonest

    def _replays(self) -> list[Stream]:
        running = {job.id: job for job in self._store.replays(self.name)}
        for number in self._jobs.keys() - running.keys():
            del self._jobs[number]
        for number in running.keys() - self._jobs.keys():
            stream = self._stream(NORMAL, number)
            rate = running[number].rate
            if rate:
                stream.bucket = Bucket(rate, 1, filled_at=trio.current_time())
            self._jobs[number] = stream
        return [self._jobs[number] for number in running]

    # sending

    async def _send(self, pick: Pick) -> None:
        now = trio.current_time()
        self._bucket.take(now, urgent=pick.stream.lane == SAFETY)
        if pick.stream.bucket:
            pick.stream.bucket.take(now)
        pick.track.busy = True
        self._flying += 1
        if not self._held:
            self._health.say("sending")
        if self._hands is None:
            await self._carry(pick)
        else:
            self._hands.start_soon(self._carry, pick)

    async def _carry(self, pick: Pick) -> None:
        """Write, judge and move the cursor as one: a stop waits for all three."""
        with trio.CancelScope(shield=True):
            began = trio.current_time()
            batch = self._batch(pick)
            verdict = await self._hand_over(batch)
            seconds = trio.current_time() - began
            self._flying -= 1
            pick.track.busy = False
            self._judge(pick, verdict, trio.current_time())
            attempt = self._attempt(pick, batch, verdict, seconds)
            await self._settle(pick.stream, [attempt])
            await self._memory.save(self._held, self._not_before, self._live)
        self.tell(self.name, attempt.verdict, seconds)
        if self._hands is not None:
            self._store.ring(self.name)

    def _batch(self, pick: Pick) -> Batch:
        entries = pick.tried.entries
        lines = LINES.of(entries) if self.plan.batch_bytes else ()
        job = pick.stream.job
        return Batch(entries, key_of(self.name, job, entries), job, lines)

    async def _hand_over(self, batch: Batch) -> Verdict:
        try:
            with trio.fail_after(PATIENCE, shield=True):
                return await self._write(batch)
        except trio.TooSlowError:
            why = f"no answer within {PATIENCE:g} s"
            return TransientError(why, counts=False, slow=True)
        except (TransientError, RejectedError, HeldError) as verdict:
            return verdict

    # what an answer means

    def _judge(self, pick: Pick, verdict: Verdict, now: float) -> None:
        self._front = False
        if isinstance(verdict, Receipt):
            self._taken(pick, pick.tried.entries, now)
        elif isinstance(verdict, RejectedError):
            self._refusal(pick, verdict, now)
        elif isinstance(verdict, HeldError):
            self._hold(str(verdict), now)
        else:
            self._later(pick, verdict, now)

    def _taken(self, pick: Pick, entries: Sequence[Entry], now: float) -> None:
        pick.stream.decide(entries, None)
        pick.track.took(entries, probe=pick.tried.probe)
        self._believed(len(entries), now)

    def _believed(self, count: int, now: float) -> None:
        """The far side takes from us: whatever it was refused for, it was not us."""
        self._takes += count
        self._refused.clear()
        if self._held:
            logger.info("sink_released", sink=self.name)
        self._held = ""
        self._health.rate_per_s = self._meter.add(count, now)
        self._health.beat()
        self._health.say("sending")

    def _refusal(self, pick: Pick, error: RejectedError, now: float) -> None:
        entries = pick.tried.entries
        named = [entry for entry in entries if entry.seq in error.reasons]
        if 0 < len(named) < len(entries):
            self._took_the_rest(pick, error, named, now)
            return
        if len(entries) == 1 or error.proven:
            self._refused.update(entry.seq for entry in entries)
        if pick.track.refused(pick.tried, error, now, self._takes):
            self._bury(pick, entries, error, "")
            pick.track.took(entries, probe=pick.tried.probe)
        elif len(self._refused) >= REFUSED_IN_A_ROW:
            again = bool(self._held)
            why = (
                f"{error}; {len(self._refused)} records in a row, none taken: see to it"
            )
            self._hold(why, now)
            self._front = again and pick.tried.probe
        else:
            self._held = ""  # it knows us: it is about the records now
            if len(entries) == 1:
                why = f"{error}; kept until another record is taken"
                self._health.say("waiting", why)

    def _took_the_rest(
        self, pick: Pick, error: RejectedError, named: Sequence[Entry], now: float
    ) -> None:
        """Named one by one while others were taken: that is the proof."""
        rest = [entry for entry in pick.tried.entries if entry.seq not in error.reasons]
        pick.stream.decide(rest, None)
        self._bury(pick, named, error, "")
        pick.track.took(pick.tried.entries, probe=pick.tried.probe)
        self._believed(len(rest), now)

    def _later(self, pick: Pick, error: TransientError, now: float) -> None:
        if error.status == TOO_MANY:
            self._bucket.cut(now)
        if error.after:
            self._not_before = now + error.after  # it asked us, not one lane
        if self._held:
            self._held_until = now + HELD_EVERY
            return
        self._health.say("waiting", str(error))
        if pick.track.later(pick.tried, error, now, self._takes):
            self._bury(pick, pick.tried.entries, error, "stuck: ")
            pick.track.took(pick.tried.entries)

    def _hold(self, why: str, now: float) -> None:
        if not self._held:
            logger.warning("sink_held", sink=self.name, why=MASK.mask(why))
        self._held = MASK.mask(why)
        self._held_until = now + HELD_EVERY
        self._health.say("held", self._held)

    def _bury(
        self,
        pick: Pick,
        entries: Sequence[Entry],
        error: RejectedError | TransientError,
        word: str,
    ) -> None:
        reasons = error.reasons if isinstance(error, RejectedError) else {}
        for entry in entries:
            why = MASK.mask(word + reasons.get(entry.seq, str(error)))
            grave = Burial(entry, why, error.status, MASK.mask(error.answer))
            pick.stream.decide([entry], grave)
            logger.warning("entry_buried", sink=self.name, seq=entry.seq, why=why)

    # on the disk

    def _attempt(
        self, pick: Pick, batch: Batch, verdict: Verdict, seconds: float
    ) -> Attempt:
        entries = pick.tried.entries
        taken = isinstance(verdict, Receipt)
        return Attempt(
            sink=self.name,
            job=pick.stream.job,
            lane=pick.stream.lane,
            first=entries[0].seq,
            last=entries[-1].seq,
            count=len(entries),
            verdict=WORDS[type(verdict)],
            status=verdict.status,
            ms=round(seconds * 1000),
            at_ms=millis(self._world.now()),
            key=batch.key,
            answer=b"" if taken else MASK.mask(verdict.answer or str(verdict).encode()),
        )

    async def _settle(self, stream: Stream, attempts: Sequence[Attempt]) -> None:
        """Bring the cursor up to what is decided, with the attempts that led there."""
        async with stream.alone:
            stream.unsaved.extend(attempts)
            move = stream.move()
            if move is None and not stream.unsaved:
                return
            try:
                await self._step(stream)
            except FullError as full:  # decided is decided: nothing is sent twice
                stream.unsaved_until = trio.current_time() + FULL_EVERY
                self._health.say("waiting", str(full))

    async def _step(self, stream: Stream) -> None:
        move, rows = stream.move(), stream.unsaved[-MOST_ROWS:]
        moved = move is not None and await self._store.advance(
            move.read,
            upto=move.upto,
            delivered=move.delivered,
            skipped=move.skipped,
            buried=move.buried,
            attempts=rows,
        )
        if move is not None and moved:
            stream.moved(move)
        elif rows:
            await self._store.attempted(rows)
        if move is not None and not moved:
            stream.reset()
        stream.unsaved = []
        stream.unsaved_until = 0.0


TOO_MANY = 429
MOST_ROWS = 1000


def key_of(name: str, generation: int, entries: Sequence[Entry]) -> str:
    """The same for every repeat of the same entries to the same sink."""
    ids = "\n".join(
        f"{one.source}\t{one.kind}\t{one.event.id}\t{one.revision}" for one in entries
    )
    whole = f"{name}\n{generation}\n{ids}".encode()
    return hashlib.blake2b(whole, digest_size=16).hexdigest()
