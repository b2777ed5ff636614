"""One sink's loop: a token first, then the lane; an answer becomes a verdict here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import structlog
import trio

from fleetd.errors import FullError, HeldError, RejectedError, TransientError
from fleetd.event import NORMAL, SAFETY, Entry, millis
from fleetd.lines import lines_of
from fleetd.masking import MASK
from fleetd.pace import Bucket, Quota
from fleetd.sinks.contract import Batch, Receipt, Write
from fleetd.store import Attempt, Burial, Store
from fleetd.store.dead import crowded
from fleetd.tasks.deliver.digest import Digest
from fleetd.tasks.deliver.keys import key_of
from fleetd.tasks.deliver.plan import PATIENCE, Plan
from fleetd.tasks.deliver.standing import Standing, Watcher
from fleetd.tasks.deliver.stream import Pick, Stream, pass_by
from fleetd.tasks.deliver.tokens import Tokens
from fleetd.tasks.deliver.track import NEVER
from fleetd.world import World

logger = structlog.get_logger()
Verdict: TypeAlias = "Receipt | TransientError | RejectedError | HeldError"
FULL_EVERY = 10.0  # seconds between tries to move a cursor on a full disk
CROWDED_EVERY = 60.0
AGAIN = 0.0  # a time gone by: look again at once
TOO_MANY = 429
MOST_ROWS = 1000
BEHIND = 3  # requests whose cursor is on its way to the disk while the next ones go
WORDS = {
    Receipt: "taken",
    TransientError: "later",
    RejectedError: "never",
    HeldError: "held",
}


class Courier:
    """One sink: its streams, its bucket, and what the far side makes of it."""

    def __init__(
        self, name: str, plan: Plan, write: Write, *, store: Store, world: World,
        health: Watcher, account: Quota | None = None,
    ) -> None:  # fmt: skip
        self.name, self.plan = name, plan
        self.tell: Callable[[str, str, float], None] = lambda *_: None
        self._write, self._store, self._world = write, store, world
        self._health = health
        self._line = lines_of(store).line
        self._tokens = Tokens(plan, account)
        self._live = [self._stream(SAFETY, 0), self._stream(NORMAL, 0)]
        self._jobs: dict[int, Stream] = {}
        self._digest = Digest(plan.max_age, world)
        for stream in self._live if plan.notifies else ():
            stream.digest = self._digest
        self._standing = Standing(name, store, world, health, self._live, self._digest)
        self._flying = 0  # requests without an answer
        self._unsaved = 0  # answered, and the cursor not yet on the disk

    def _stream(self, lane: int, job: int) -> Stream:
        return Stream(
            self.name, lane, job, self.plan, store=self._store,
            chance=self._world.chance, line=self._line,
        )  # fmt: skip

    async def run(self) -> None:
        """Deliver for ever."""
        async with trio.open_nursery() as hands:
            await self._loop(hands)

    async def _loop(self, hands: trio.Nursery) -> None:
        while True:
            if self._rests():
                self._say_rest()
                await pass_by(self._store, self.name)
                await self._store.wait_for(self.name)
            bell = self._store.bell(self.name)  # before we look: what comes is not lost
            found = await self._next()
            if isinstance(found, Pick):
                self._send(found, hands)
                continue
            with trio.move_on_at(found):
                await bell.wait()

    def _rests(self) -> bool:
        """Nothing to do until the log says so."""
        if self._store.paused(self.name):
            return True
        waiting = (self._store.waiting(self.name, lane) for lane in (NORMAL, SAFETY))
        busy = self._flying or self._unsaved or self._digest.count or any(waiting)
        return not (busy or self._store.replays(self.name))

    def _say_rest(self) -> None:
        held = self._standing.held
        if self._store.paused(self.name):
            self._health.say("paused")
        else:
            self._health.say("held" if held else "idle", held)

    # what goes next

    async def _next(self) -> Pick | float:
        """A request that may go now, else when to look again."""
        now = trio.current_time()
        if (wait := self._gate(now)) > now:
            return wait
        found = await self._choose(now)
        turn = self._tokens.is_turn_of_the_rest
        alarm = isinstance(found, Pick) and (turn or found.stream.lane == SAFETY)
        if wait := self._tokens.wait(now, urgent=alarm):  # others took it meanwhile, or
            return now + wait  # what is left is the alarms' share
        if alarm or not self._digest.count or found == AGAIN:
            return found
        if now >= self._digest.due_at:  # what happened meanwhile, then what happens
            await self._send_digest()
            return AGAIN
        return found if isinstance(found, Pick) else min(found, self._digest.due_at)

    def _gate(self, now: float) -> float:
        """From when on a request may go at all: hands, patience, tokens."""
        standing = self._standing
        if self.name in self._store.nudged:
            self._store.nudged.discard(self.name)
            standing.try_now(now)
        doubtful = standing.held or any(one.doubtful for one in self._live)
        most = 1 if doubtful else self.plan.parallel
        if self._flying >= most or self._flying + self._unsaved >= most + BEHIND:
            return NEVER  # until one comes back
        urgent = self._store.waiting(self.name, SAFETY) > 0
        wait = self._tokens.wait(now, urgent=urgent)
        return max(standing.gate(now), now + wait)

    async def _choose(self, now: float) -> Pick | float:
        """The safety lane, then the normal one, and replays with what those leave."""
        soonest, live = NEVER, self._live
        if self._tokens.is_turn_of_the_rest:
            live = live[::-1]
        if ("sink", self.name) in self._store.crowded:  # what is retried may still go
            self._health.say("held", crowded(self.name))
            soonest, live = now + CROWDED_EVERY, []
        for stream in [*live, *self._replays()]:
            found = await self._of_stream(stream, now)
            if isinstance(found, Pick):
                return found
            soonest = min(soonest, found)
        return soonest

    async def _of_stream(self, stream: Stream, now: float) -> Pick | float:
        if stream.unsaved_until > now:
            return stream.unsaved_until
        if stream.unsaved_until:  # the disk was full: what is decided comes first
            await self._settle(stream, [])
        if stream.bucket and (wait := stream.bucket.wait(now)):
            return now + wait
        standing = self._standing
        found = await stream.next(now, standing.takes, front=standing.front)
        idle = not isinstance(found, Pick) and stream.move() is not None
        if stream.alone.locked() or not (idle or stream.sifted):
            return found
        stream.sifted = False
        await self._settle(stream, [])  # over what is not for us, damaged or too old
        await standing.remember()
        return AGAIN

    def _replays(self) -> list[Stream]:
        running = {job.id: job for job in self._store.replays(self.name)}
        known = self._jobs.items()
        self._jobs = {n: one for n, one in known if n in running or one.busy}
        for number in running.keys() - self._jobs.keys():
            stream = self._stream(NORMAL, number)
            if rate := running[number].rate:
                stream.bucket = Bucket(rate, 1, filled_at=trio.current_time())
            self._jobs[number] = stream
        return [self._jobs[number] for number in running]

    # sending

    def _send(self, pick: Pick, hands: trio.Nursery) -> None:
        now = trio.current_time()
        self._tokens.take(now, urgent=pick.stream.lane == SAFETY)
        if pick.stream.bucket:
            pick.stream.bucket.take(now)
        pick.track.busy, pick.track.request = True, self._standing.takes.goes()
        self._flying += 1
        if not self._standing.held:
            self._health.say("sending")
        hands.start_soon(self._carry, pick, now)

    async def _carry(self, pick: Pick, began: float) -> None:
        """Write, judge and move the cursor as one: a stop waits for all three.

        Once the answer is judged the next request may go: it need not wait for a disk.
        """
        with trio.CancelScope(shield=True):
            batch = self._batch(pick)
            verdict = await self._hand_over(batch)
            now = trio.current_time()
            self._tokens.landed(began, now)
            pick.track.busy = False
            self._judge(pick, verdict, now)
            attempt = self._attempt(pick, batch, verdict, now - began)
            self._flying, self._unsaved = self._flying - 1, self._unsaved + 1
            self._store.ring(self.name)
            await self._settle(pick.stream, [attempt] if attempt.count else [])
            await self._standing.remember()
            self._unsaved -= 1
        self.tell(self.name, attempt.verdict, now - began)
        self._store.ring(self.name)

    def _batch(self, pick: Pick) -> Batch:
        tried, job = pick.tried, pick.stream.job
        return Batch(
            tried.entries, key_of(self.name, job, tried.entries), job, tried.lines,
            log=self._store.log.id, in_place=pick.stream.in_place,
        )  # fmt: skip

    async def _hand_over(self, batch: Batch) -> Verdict:
        try:
            with trio.fail_after(PATIENCE, shield=True):
                return await self._write(batch)
        except trio.TooSlowError:
            why = f"no answer within {PATIENCE:g} s"
            return TransientError(why, counts=False, slow=True)
        except (TransientError, RejectedError, HeldError) as verdict:
            return verdict

    async def _send_digest(self) -> None:
        """One text for all that was too old to send; the ledger has it as skipped."""
        batch = self._digest.batch(self.name)
        self._tokens.take(trio.current_time())
        with trio.CancelScope(shield=True):
            verdict = await self._hand_over(batch)
            now = trio.current_time()
            if isinstance(verdict, HeldError):
                self._standing.hold(str(verdict), now)
            elif isinstance(verdict, TransientError):
                self._unwell(verdict, now)
                self._digest.failed(now, verdict.after)
            else:
                self._digest.told(now)
                if isinstance(verdict, Receipt) and verdict.cost:
                    self._standing.believed(0, 0, now)
            await self._standing.remember()
        word = WORDS[type(verdict)]
        logger.info("digest_sent", sink=self.name, verdict=word, text=batch.digest)

    # what an answer means

    def _judge(self, pick: Pick, verdict: Verdict, now: float) -> None:
        self._standing.front = False
        if isinstance(verdict, Receipt):
            self._taken(pick, verdict, now)
        elif isinstance(verdict, RejectedError):
            self._refusal(pick, verdict, now)
        elif isinstance(verdict, HeldError):
            self._standing.hold(str(verdict), now)
        else:
            self._later(pick, verdict, now)

    def _taken(self, pick: Pick, receipt: Receipt, now: float) -> None:
        """What the far side took, and what the sink itself decided on the way."""
        self._tokens.owe(now, receipt.cost - 1)
        told = decided = pick.tried.entries
        if receipt.left or receipt.skipped:
            decided = [one for one in told if one.seq not in receipt.left]
            told = [one for one in decided if one.seq not in receipt.skipped]
            for entry in decided if receipt.skipped else ():
                if why := receipt.skipped.get(entry.seq):
                    pick.stream.decide([entry], why)
        if told:  # else nobody was asked, and nothing is proven
            pick.stream.decide(told, None)
            pick.stream.rose()
            self._standing.believed(len(told), pick.track.request, now)
        pick.track.took(decided, probe=pick.tried.probe)

    def _refusal(self, pick: Pick, error: RejectedError, now: float) -> None:
        tried = pick.tried
        named = [entry for entry in tried.entries if entry.seq in error.reasons]
        apart = {*error.reasons, *error.skipped}
        rest = [entry for entry in tried.entries if entry.seq not in apart]
        if error.proven and named and rest:  # others were taken: that is the proof
            for entry in tried.entries if error.skipped else ():
                if why := error.skipped.get(entry.seq):
                    pick.stream.decide([entry], why)
            pick.stream.decide(rest, None)
            self._bury(pick, named, error)
            pick.track.took(tried.entries, probe=tried.probe)
            self._standing.believed(len(rest), pick.track.request, now)
            return
        if pick.track.refused(tried, error, now, self._standing.takes):
            self._bury(pick, tried.entries, error)
            pick.track.took(tried.entries, probe=tried.probe)
            return
        if alone := len(tried.entries) == 1:
            named = list(tried.entries)  # whether the sink names it or not
            why = f"{error}; kept until another record is taken"
            self._health.say("waiting", MASK.mask(why))
        named_all = (alone or error.proven) and not pick.stream.retries
        seqs = [one.seq for one in named] if named_all else ()
        self._standing.refuses(str(error), seqs, now, probe=tried.probe)

    def _later(self, pick: Pick, error: TransientError, now: float) -> None:
        takes = self._standing.takes
        pick.stream.fell(pick.track, now)
        self._unwell(error, now)
        if error.after and pick.stream.lane == SAFETY:
            self._tokens.give_way()
        held = self._standing.held
        if not held and pick.track.later(pick.tried, error, now, takes):
            self._bury(pick, pick.tried.entries, error, "stuck: ")
            pick.track.took(pick.tried.entries)

    def _unwell(self, error: TransientError, now: float) -> None:
        if error.status == TOO_MANY:
            self._tokens.cut(now)
        self._standing.later(error, now)

    def _bury(
        self, pick: Pick, entries: Sequence[Entry],
        error: RejectedError | TransientError, word: str = "",
    ) -> None:  # fmt: skip
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
        carried, said = batch.entries, b""
        if not isinstance(verdict, Receipt):
            said = verdict.answer or str(verdict).encode()
        elif verdict.left or verdict.skipped:
            apart = {*verdict.left, *verdict.skipped}
            carried = [one for one in carried if one.seq not in apart]
        entries = carried or batch.entries
        return Attempt(
            sink=self.name,
            job=pick.stream.job,
            lane=pick.stream.lane,
            first=entries[0].seq,
            last=entries[-1].seq,
            count=len(carried),
            verdict=WORDS[type(verdict)],
            status=verdict.status,
            ms=round(seconds * 1000),
            at_ms=millis(self._world.now()),
            key=batch.key,
            answer=MASK.mask(said),
        )

    async def _settle(self, stream: Stream, attempts: Sequence[Attempt]) -> None:
        """Bring the cursor up to what is decided, with the attempts that led there."""
        stream.unsaved.extend(attempts)
        stream.judged += 1
        mine = stream.judged
        async with stream.alone:
            if stream.saved >= mine:
                return  # one step may be for all that was judged meanwhile
            judged = stream.judged
            rows, stream.unsaved = stream.unsaved[-MOST_ROWS:], []
            try:
                await self._step(stream, rows)
            except FullError as full:  # decided is decided: nothing is sent twice
                stream.unsaved[:0] = rows
                stream.unsaved_until = trio.current_time() + FULL_EVERY
                self._health.say("waiting", str(full))
            else:
                stream.unsaved_until, stream.saved = 0.0, judged

    async def _step(self, stream: Stream, rows: Sequence[Attempt]) -> None:
        move = stream.move()
        old = move.too_old if move is not None else ()
        moved = move is not None and await self._store.advance(
            move.read,
            upto=move.upto,
            delivered=move.delivered,
            skipped=move.skipped,
            buried=move.buried,
            attempts=rows,
            keep=self._standing.with_old(old) if old else None,
        )
        if move is not None and moved:
            stream.moved(move)
            if old:
                self._standing.passed_old(old)
        elif rows:
            await self._store.attempted(rows)
        if move is not None and not moved:
            stream.reset()
