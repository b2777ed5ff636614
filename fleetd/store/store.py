"""The log as the rest of fleetd sees it: append, read on, move a cursor."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import apsw
import trio

from fleetd.directory import Directory
from fleetd.event import LANES, Entry, millis
from fleetd.store import small
from fleetd.store.cursors import STEP, Advance, Attempted, Kept, Skip
from fleetd.store.files import Readers, Reservation, Space, write_down
from fleetd.store.jobs import (
    AddJob,
    ChangeJob,
    DropJob,
    rows_of_jobs,
    seqs_of,
    taking_of,
)
from fleetd.store.loading import (
    bookmarks_of,
    kept_of,
    load_directory,
    providers_of,
)
from fleetd.store.log import DAMAGED, Landed, Log
from fleetd.store.moves import Append, Attempt, Burial, Counts, Job, Read, Rules
from fleetd.store.opening import MARK
from fleetd.store.places import Forget, Place, SinkPlace, recounted
from fleetd.store.reading import Reader
from fleetd.store.tail import Tail
from fleetd.store.trimming import TrimJobs
from fleetd.store.writer import Writer
from fleetd.taking import Taking
from fleetd.world import World

T = TypeVar("T")


class Store:
    """One log, open for writing by this process alone."""

    def __init__(
        self, folder: Path, db: apsw.Connection, rules: Rules, world: World
    ) -> None:
        self.folder = folder
        self.rules = rules
        self.world = world
        self.space = Space(folder, rules.max_disk)
        self.log = Log(db, self.space, Reservation(folder))
        self.writer = Writer(self.log.commit, self.log.fold, threads=world.threads)
        self.log.publish = self._landed
        self.directory = Directory()
        self.aside = ""
        self.newest = self.log.seq
        self.received_ms: int = self.log.received_ms
        self.providers: dict[str, str] = {}
        self.crowded: set[tuple[str, str]] = set()  # (side, name): too many letters
        self.nudged: set[str] = set()  # sinks that are to try now
        self.warnings: list[str] = []  # of sinks that are about to lose what they hold
        self.heard: dict[str, int] = {}  # source → when it last sent something
        self.listeners: set[Callable[[Landed], None]] = set()  # told of each commit
        self.outages: tuple[tuple[int, int], ...] = ()  # ms in which nobody listened
        self._waiting: Counter[tuple[str, int]] = Counter()
        self._cursors: dict[tuple[str, int], int] = {}
        self._takings: dict[str, Taking] = {}
        self._jobs: dict[int, Job] = {}
        self._kept: dict[str, dict[str, Any]] = {}
        self._bookmarks: dict[tuple[str, str], str | None] = {}
        self._bells: dict[str, trio.Event] = {}
        self._grown = trio.Event()
        self._readers = Readers(folder)
        self._tail = Tail()

    # what everybody asks

    def waiting(self, sink: str, lane: int) -> int:
        """Events the sink takes that are not decided, of one lane; exact."""
        return self._waiting[sink, lane]

    def cursor(self, sink: str, lane: int) -> int:
        """The last seq the sink has decided about in a lane."""
        return self._cursors.get((sink, lane), 0)

    def adopt(self, rules: Rules) -> None:
        """Go by other rules from now on."""
        self.rules = rules
        self.space.limit(rules.max_disk)

    def next_received_ms(self) -> int:
        """Now, for stamping an arrival: it never goes backwards."""
        self.received_ms = max(self.received_ms, millis(self.world.now()))
        return self.received_ms

    @property
    def trouble(self) -> str:
        """Why nothing can be taken in now; empty when all is well."""
        return self.log.broken or self.log.full

    # in

    async def append(self, append: Append, *, within: float | None = None) -> Counts:
        """Keep one request or page: on the disk when this returns.

        Raises `FullError`, `StoreError`, or `TimeoutError` after `within` seconds (the
        append stays in line: it may still be kept, and its repeat is a duplicate).
        """
        counts: Counts = await self.writer.join(append, within=within)
        if not append.ours:
            self.heard[append.source] = append.received_ms
        return counts

    async def join(self, write: Any, *, within: float | None = None) -> Any:
        """Any other write, through the same group commit."""
        return await self.writer.join(write, within=within)

    # out

    async def wait_for(self, sink: str) -> None:
        """Sleep until something waits for the sink, or for a replay of it."""
        while self.paused(sink) or not self._has_work(sink):
            await self.bell(sink).wait()

    def _has_work(self, sink: str) -> bool:
        lanes = range(len(LANES))
        return any(self._waiting[sink, lane] > 0 for lane in lanes) or bool(
            self.replays(sink)
        )

    def ring(self, sink: str) -> None:
        """Let the sink look again: something changed for it."""
        if (bell := self._bells.pop(sink, None)) is not None:
            bell.set()

    def bell(self, sink: str) -> trio.Event:
        """Rings once when more waits for the sink, or something changed for it."""
        return self._bells.setdefault(sink, trio.Event())

    async def wait_for_growth(self) -> None:
        """Sleep until the log has grown, or somebody is to look up."""
        await self._grown.wait()

    def wake(self) -> None:
        """Have whoever waits for growth look up."""
        bell, self._grown = self._grown, trio.Event()
        bell.set()

    async def next_batch(
        self, sink: str, lane: int, *, limit: int, max_bytes: int = 1 << 20,
        job: int = 0, beyond: int | None = None,
    ) -> Read:  # fmt: skip
        """What comes next for a sink's lane, or for a replay job of it."""
        taking, upto, of = self._takings[sink], self.newest, lane
        after = self.cursor(sink, lane)
        every: int | None = lane
        if job:
            work = self._jobs[job]
            after, upto, every = work.cursor, work.upto, None
            taking = taking_of(work, taking)
        start = after if beyond is None else beyond
        if not job and (near := self._tail.stretch(
            start, upto, lane, taking, limit, max_bytes
        )):  # fmt: skip
            return Read(sink, of, 0, after, near.upto, near.entries, (), near.size)
        only = seqs_of(self._jobs[job]) if job else None
        found = await self.reading(
            lambda reader: reader.stretch(
                start, upto, every, taking, limit, max_bytes, only
            )
        )
        upto, seen = found.upto, found.entries
        return Read(sink, of, job, after, upto, seen, found.damaged, found.size)

    async def advance(
        self, read: Read, *, upto: int | None = None, delivered: Sequence[Entry] = (),
        skipped: Sequence[tuple[Entry, str]] = (), buried: Sequence[Burial] = (),
        attempts: Sequence[Attempt] = (), keep: Kept | None = None,
    ) -> bool:  # fmt: skip
        """Move a cursor over what is decided, and keep a state; False if it moved before."""
        end = read.upto if upto is None else upto
        damaged = [seq for seq in read.damaged if seq <= end]
        move = Advance(
            read, end, delivered, skipped, buried, damaged, attempts,
            millis(self.world.now()), keep,
        )  # fmt: skip
        moved: bool = await self.writer.join(move)
        return moved

    async def attempted(self, attempts: Sequence[Attempt]) -> None:
        """Keep rows for requests that moved no cursor."""
        await self.writer.join(Attempted(attempts))

    # who is there

    async def register_sources(
        self, providers: Mapping[str, str], was: Mapping[str, str] | None = None
    ) -> None:
        """Give each source its number; `was` names what a renamed one was called."""
        await self.writer.join(small.Register("source", providers, was or {}))
        self.providers = self.log.providers = {**self.providers, **providers}

    async def register_sinks(
        self,
        sinks: Mapping[str, SinkPlace],
        kinds: Mapping[str, str] | None = None,
        was: Mapping[str, str] | None = None,
    ) -> None:
        """Put each sink where it stands; a changed taking is counted anew."""
        names = {name: (kinds or {}).get(name, "") for name in sinks}
        await self.writer.join(small.Register("sink", names, was or {}))
        asof = self.newest
        counted = await self.reading(
            lambda reader: recounted(reader.db, self.log.names, sinks, asof)
        )
        await self.writer.join(Place(dict(sinks), counted, asof))
        self._takings = {name: place.taking for name, place in sinks.items()}
        for sink in sinks:
            self.ring(sink)

    async def skip(
        self, sink: str, upto: int, why: str, *, lanes: Sequence[int] = (0, 1)
    ) -> int:
        """Move a sink's cursors past everything up to `upto`; how many it skipped."""
        skipped, upto = 0, min(upto, self.newest)
        while (low := min(self.cursor(sink, lane) for lane in lanes)) < upto:
            edge = min(upto, low + STEP)
            skipped += await self.writer.join(Skip(sink, edge, why, lanes))
        self.ring(sink)
        return skipped

    async def forget(self, name: str) -> dict[str, int]:
        """Drop the places of a source or sink that is gone from the file."""
        now = millis(self.world.now())
        cursors: int = await self.writer.join(Forget("sink", name, now))
        bookmarks: int = await self.writer.join(Forget("source", name, now))
        for key in [key for key in self._bookmarks if key[0] == name]:
            del self._bookmarks[key]
        return {"cursors": cursors, "bookmarks": bookmarks}

    # small states

    def recall(self, name: str) -> dict[str, Any]:
        """A small state kept over restarts; empty when there is none."""
        return dict(self._kept.get(name, {}))

    async def remember(self, name: str, value: Mapping[str, Any] | None) -> None:
        """Keep a small state; None forgets it."""
        await self.writer.join(small.Keep(name, value))

    def note(self, name: str, value: Mapping[str, Any]) -> None:
        """Keep a small state with the next commit; nobody waits for it."""
        self.writer.post(small.Keep(name, value))

    def paused(self, name: str) -> bool:
        """Whether the operator paused a source's polling or a sink."""
        return f"paused:{name}" in self._kept

    async def pause(self, name: str, *, paused: bool) -> None:
        """Pause or resume; kept over restarts."""
        await self.remember(f"paused:{name}", {"on": True} if paused else None)
        self.ring(name)

    def nudge(self, name: str) -> None:
        """Let a sink that waits for better times try now."""
        self.nudged.add(name)
        self.ring(name)

    async def wait_while_paused(self, name: str) -> None:
        """Sleep until the operator resumes it."""
        while self.paused(name):
            await self._bells.setdefault(name, trio.Event()).wait()

    def bookmark(self, source: str, feed: str) -> str | None:
        """Where a feed goes on."""
        return self._bookmarks.get((source, feed))

    # jobs

    def replays(self, sink: str) -> list[Job]:
        """Running replays of a sink, oldest first."""
        return [
            job
            for job in self._jobs.values()
            if job.target == sink and job.kind == "replay" and job.state == "running"
        ]

    def backfills(self, source: str) -> list[Job]:
        """Running backfills of a source, oldest first."""
        return [
            job
            for job in self._jobs.values()
            if job.target == source
            and job.kind == "backfill"
            and job.state == "running"
        ]

    def jobs(self) -> list[Job]:
        """Every job, oldest first."""
        return list(self._jobs.values())

    async def add_job(self, add: AddJob) -> Job:
        """Begin a replay or backfill."""
        job: Job = await self.writer.join(add)
        return job

    async def change_job(self, number: int, state: str, why: str = "") -> Job:
        """Pause, resume, cancel, fail or end a job."""
        now = millis(self.world.now())
        job: Job = await self.writer.join(ChangeJob(number, state, why, now))
        return job

    async def drop_job(self, number: int) -> None:
        """Forget a job that has ended."""
        await self.writer.join(DropJob(number))
        self._jobs.pop(number, None)

    async def trim_jobs(self, before_ms: int) -> None:
        """Drop jobs that ended before then."""
        gone = await self.writer.join(TrimJobs(before_ms))
        for number in gone if gone != DAMAGED else ():
            self._jobs.pop(number, None)

    # reading

    async def reading(self, work: Callable[[Reader], T]) -> T:
        """Run a bounded read over a connection of its own, off the loop's thread."""
        found: T = await self.world.in_thread(lambda: self._read(work))
        return found

    def _read(self, work: Callable[[Reader], T]) -> T:
        with self.reader() as reader:
            return work(reader)

    @contextmanager
    def reader(self) -> Iterator[Reader]:
        """A reader, given back after use."""
        with self._readers.one() as db:
            yield Reader(db, self._by_number())

    def _by_number(self) -> dict[int, tuple[str, str]]:
        return {
            number: (name, self.providers.get(name, ""))
            for (side, name), number in self.log.names.items()
            if side == "source"
        }

    # after a commit, in the loop's thread

    def _landed(self, landed: Landed) -> None:
        self._tail.forget(landed.pruned)
        self._tail.grow(landed.entries)
        for listen in self.listeners:
            listen(landed)
        for source, fact in landed.facts:
            self.directory.put(source, fact.vehicle, fact.name, fact.at_ms, fact.value)
        for record in landed.records:
            self.directory.put_record(*record)
        for (sink, lane), (seq, waiting) in landed.places.items():
            grown = waiting > self._waiting[sink, lane]
            self._cursors[sink, lane], self._waiting[sink, lane] = seq, waiting
            if grown:
                self.ring(sink)
        self._bookmarks.update(landed.bookmarks)
        for name, value in landed.kept.items():
            if value is None:
                self._kept.pop(name, None)
            else:
                self._kept[name] = value
        for job in landed.jobs:
            self._jobs[job.id] = job
            self.ring(job.target)
        if landed.newest > self.newest:
            self.newest = landed.newest
            self.wake()

    def load(self) -> None:
        """Read at start what is small: facts, records, states, jobs, bookmarks."""
        names = {number: name for (_, name), number in self.log.names.items()}
        with self.reader() as reader:
            load_directory(reader.db, names, self.directory)
            self.providers = self.log.providers = providers_of(reader.db)
            self._bookmarks = bookmarks_of(reader.db, names)
            self._kept = kept_of(reader.db)
            self._jobs = {job.id: job for job in rows_of_jobs(reader.db)}

    def close(self) -> None:
        """Fold the write-ahead log in and let go; nothing may be in line any more."""
        self._readers.close()
        self.log.close()
        if "Corrupt" in self.log.broken:
            with suppress(OSError):
                write_down(self.folder / MARK, self.log.broken)
        self.log.db.close()
