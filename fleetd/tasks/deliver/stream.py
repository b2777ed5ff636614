"""One lane of a sink, or one replay: a window on the log, and what is decided in it."""

from __future__ import annotations

import random
import zlib
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from itertools import islice
from typing import TypeAlias

import trio
from msgspec import Struct

from fleetd.errors import FullError
from fleetd.event import NORMAL, SAFETY, Entry
from fleetd.pace import Breaker, Bucket
from fleetd.store import Attempt, Burial, Job, Read, Store
from fleetd.store.cursors import PassBy
from fleetd.tasks.deliver.digest import TOO_OLD, Digest
from fleetd.tasks.deliver.plan import WIDEST, WINDOW_BYTES, Plan
from fleetd.tasks.deliver.track import NEVER, Print, Takes, Track, Try, whose

Outcome: TypeAlias = "Burial | str | None"  # dead, skipped and why, delivered
FOR_PROOF = 4  # times the bytes, where others must be found that prove something
READS = 4  # over stretches that hold nothing for the sink, before others get a turn


class Pick(Struct, frozen=True):
    """A request to be made, and where it came from."""

    stream: Stream
    track: Track
    tried: Try


class Move(Struct, frozen=True):
    """A cursor's next step."""

    read: Read
    upto: int
    delivered: Sequence[Entry]
    skipped: Sequence[tuple[Entry, str]]
    buried: Sequence[Burial]
    passed: int

    @property
    def too_old(self) -> list[Entry]:
        """What goes into a digest."""
        return [entry for entry, why in self.skipped if why == TOO_OLD]


class Stream:
    """Entries read and not yet passed by the cursor, spread over tracks by vehicle."""

    def __init__(
        self, name: str, lane: int, job: int, plan: Plan, *, store: Store,
        chance: random.Random, line: Print,
    ) -> None:  # fmt: skip
        self.name, self.lane, self.job = name, lane, job
        self.alone = trio.Lock()  # one step of the cursor at a time
        self.judged = self.saved = 0  # answers, and those whose cursor is on the disk
        self.unsaved: list[Attempt] = []
        self.unsaved_until = 0.0
        self.bucket: Bucket | None = None
        self.last_upper = 0  # of the batch that is to be repeated exactly
        self._plan, self._store = plan, store
        self._chance, self._line = chance, line
        self._ready_at = NEVER
        self._not_before = 0.0
        self._breaker = Breaker(chance)
        self._fallen: Track | None = None  # the last that got *later*
        self.digest: Digest | None = None  # where what is too old goes
        self.sifted = False  # something was too old since the last step
        self.reset()

    def reset(self) -> None:
        """Forget the window: another hand moved the cursor, or there is none yet."""
        plan = self._plan
        self.after = self.upto = self._cursor()
        self._window: deque[Entry] = deque()
        self._reads: deque[tuple[int, int]] = deque()  # upto, bytes: what fills it
        self._bytes = 0
        self._damaged: list[int] = []
        self._decided: dict[int, Outcome] = {}
        self._plainly = 0  # delivered at the front of the window: the usual way
        self.tracks = [
            Track(plan, self._chance, self._line) for _ in range(plan.tracks)
        ]

    def _cursor(self) -> int:
        if self.job:
            job = self._find_job()
            return job.cursor if job else 0
        return self._store.cursor(self.name, self.lane)

    @property
    def busy(self) -> bool:
        """Whether a request of it is under way, or its cursor to the disk."""
        return self.alone.locked() or any(track.busy for track in self.tracks)

    @property
    def in_place(self) -> bool:
        """A replay beside what was delivered before, as that of a dead letter is."""
        job = self._find_job() if self.job else None
        return job is not None and not job.spec.keys().isdisjoint({"in_place", "seqs"})

    @property
    def retries(self) -> bool:
        """Whether it sends dead letters: refused again, they say nothing of us."""
        job = self._find_job() if self.job else None
        return job is not None and "seqs" in job.spec

    def _find_job(self) -> Job | None:
        jobs = self._store.replays(self.name)
        return next((one for one in jobs if one.id == self.job), None)

    # what goes next

    async def next(self, now: float, takes: Takes, *, front: bool) -> Pick | float:
        """A request that may go now, else when to ask again."""
        if not self.alone.locked() and self._cursor() != self.after:
            self.reset()  # else it is our own step, on the disk and not yet noted
        if now < self._not_before:
            return self._not_before
        if (wait := self._linger(now)) > now:
            return wait
        await self._refill()
        if self.digest:
            self._sift(self.digest)
        soonest = NEVER
        for track in self._oldest_first():
            found = track.next(now, takes, front=front)
            if isinstance(found, Try):
                return Pick(self, track, found)
            soonest = min(soonest, found)
        return soonest

    def _oldest_first(self) -> Sequence[Track]:
        """Where the cursor waits comes first."""
        if len(self.tracks) == 1:
            return self.tracks
        free = (one for one in self.tracks if one.queue and not one.busy)
        return sorted(free, key=lambda track: track.queue[0].seq)

    def _sift(self, digest: Digest) -> None:
        for track in self.tracks:
            old = [] if track.busy else digest.old(track.queue)
            if old:
                track.drop(old)
                self.sifted = True
                for entry in old:
                    self._decided[entry.seq] = TOO_OLD

    def _linger(self, now: float) -> float:
        """Until when a batch that is not full may still fill up."""
        plan = self._plan
        if not plan.linger or self.lane or self.job or self._window:
            return now
        waiting = self._store.waiting(self.name, self.lane)
        if not waiting or waiting >= plan.batch:
            self._ready_at = NEVER
            return now if waiting else NEVER
        if self._ready_at == NEVER:
            self._ready_at = now + plan.linger
        if now < self._ready_at:
            return self._ready_at
        self._ready_at = NEVER
        return now

    async def _refill(self) -> None:
        plan = self._plan
        accused = sum(track.accused for track in self.tracks)
        room = plan.window
        if accused:  # what proves something may be far behind
            room = max(room, min(room * (1 + accused), WIDEST))
        most = plan.window_bytes * (FOR_PROOF if accused else 1)
        for _ in range(READS):
            full = self._held(accused) >= room or self._bytes >= most
            if full or not self._more():
                return
            read = await self._store.next_batch(
                self.name,
                self.lane,
                limit=plan.window,
                max_bytes=max(WINDOW_BYTES // 2, plan.batch_bytes),
                job=self.job,
                beyond=self.upto,
            )
            self._admit(read)
            if read.entries:
                return

    def _held(self, accused: int) -> int:
        """How much of the window is taken up.

        Behind a record that stands accused what was taken beyond it makes room for more:
        with nothing but other sick ones in sight it would wait for its proof for good.
        """
        if accused and len(self._window) < WIDEST:
            return sum(len(track.queue) for track in self.tracks)
        return len(self._window)

    def _more(self) -> bool:
        """Whether the log holds more for us than the window does."""
        if self.job:
            job = self._find_job()
            return job is not None and self.upto < job.upto
        known = len(self._window) + len(self._damaged)
        waiting = self._store.waiting(self.name, self.lane)
        return self.upto < self._store.newest and waiting > known

    def _admit(self, read: Read) -> None:
        self._window.extend(read.entries)
        self._damaged.extend(read.damaged)
        self.upto = max(self.upto, read.upto)
        self._reads.append((read.upto, read.size))
        self._bytes += read.size
        if len(self.tracks) == 1:
            self._admit_alone(read)
            return
        for entry in read.entries:
            self.tracks[slot(entry, len(self.tracks))].queue.append(entry)

    def _admit_alone(self, read: Read) -> None:
        track = self.tracks[0]
        track.queue.extend(read.entries)
        if self.last_upper:  # as it went before the restart: the same request again
            ends = self.last_upper
            track.again = sum(1 for entry in track.queue if entry.seq <= ends)
            self.last_upper = 0

    @property
    def upper(self) -> int:
        """The last seq of the batch that is to be repeated exactly; 0 for none."""
        track = self.tracks[0]
        again = track.again if len(self.tracks) == 1 else 0
        return track.queue[again - 1].seq if 1 < again <= len(track.queue) else 0

    def fell(self, track: Track, now: float) -> None:
        """One of several tracks got *later*: if all do, they wait as one.

        The same one again and again waits by itself: the others may just have nothing.
        """
        if track is self._fallen:
            return
        self._fallen, wait = track, self._breaker.failed()
        if self._breaker.state == "open" and len(self.tracks) > 1:
            self._not_before = now + wait

    def rose(self) -> None:
        """Something was taken."""
        self._breaker.succeeded()
        self._not_before, self._fallen = 0.0, None

    @property
    def doubtful(self) -> bool:
        """Whether one request at a time is enough to find out."""
        return self._breaker.state == "open"

    # what was decided

    def decide(self, entries: Sequence[Entry], outcome: Outcome) -> None:
        """Note what became of entries; the cursor follows with `move`."""
        if outcome is None and not self._decided and self._next_are(entries):
            self._plainly += len(entries)
            return
        for entry in entries:
            self._decided[entry.seq] = outcome

    def _next_are(self, entries: Sequence[Entry]) -> bool:
        """Whether these are the very next of the window, without a gap."""
        first, end = self._plainly, self._plainly + len(entries)
        if end > len(self._window) or self._window[first] is not entries[0]:
            return False
        return self._window[end - 1] is entries[-1]

    def move(self) -> Move | None:
        """The next step of the cursor, over everything decided at the front."""
        passed = self._plainly
        delivered, skipped, buried = [*islice(self._window, passed)], [], []
        upto = delivered[-1].seq if delivered else self.after
        for entry in islice(self._window, passed, None):
            if entry.seq not in self._decided:
                break
            outcome = self._decided[entry.seq]
            if outcome is None:
                delivered.append(entry)
            elif isinstance(outcome, str):
                skipped.append((entry, outcome))
            else:
                buried.append(outcome)
            passed, upto = passed + 1, entry.seq
        if passed == len(self._window):
            upto = self.upto
        if upto == self.after:
            return None
        damaged = tuple(self._damaged)
        read = Read(self.name, self.lane, self.job, self.after, upto, (), damaged)
        return Move(read, upto, delivered, skipped, buried, passed)

    def moved(self, move: Move) -> None:
        """The step is on the disk."""
        self._plainly -= min(self._plainly, move.passed)
        if not self._decided and move.passed == len(self._window):
            self._window.clear()
        for _ in range(min(move.passed, len(self._window))):
            self._decided.pop(self._window.popleft().seq, None)
        while self._reads and self._reads[0][0] <= move.upto:
            self._bytes -= self._reads.popleft()[1]
        self._damaged = [seq for seq in self._damaged if seq > move.upto]
        self.after = move.upto


def slot(entry: Entry, slots: int) -> int:
    """Which track carries an entry: one vehicle, one track, in every process."""
    source, vehicle = whose(entry)
    return zlib.crc32(f"{source}\0{vehicle or ''}".encode()) % slots


async def pass_by(store: Store, sink: str) -> None:
    """Let a sink at rest stand behind what is not for it: so far reaches the ledger."""
    with suppress(FullError):
        while any(store.cursor(sink, lane) < store.newest for lane in (NORMAL, SAFETY)):
            if store.paused(sink) or not await store.join(PassBy(sink)):
                return
