"""The log against a model of it, with restarts, crashes and pruning among the actions."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, suppress
from pathlib import Path
from typing import Any

import trio
import trio.testing
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from fleetd.clock import Clock
from fleetd.event import AnyEvent, Position, Safety, unpack
from fleetd.store import Burial, Rules, SinkPlace, Store
from fleetd.store.jobs import AddJob
from fleetd.taking import Taking
from fleetd.tasks.prune import Keeper
from tests.conftest import MORNING, virtual_world
from tests.store.deeds import (
    appended,
    counted,
    days,
    drain,
    imbalances,
    opened,
    put,
    rows,
    waits,
)

DAY = 86_400.0
TAKINGS = {
    "all": Taking(),
    "safety": Taking(frozenset({"safety"})),
    "south": Taking(sources=frozenset({"south"})),
    "rare": Taking(vehicles=("v2",)),
}
FILES = ("log.sqlite", "log.sqlite-wal", "seq")

positions = st.builds(
    Position,
    id=st.sampled_from(["p1", "p2", "p3", "p4"]),
    at=st.just(MORNING),
    vehicle=st.sampled_from(["v1", "v2"]),
    latitude=st.just(1.0),
    longitude=st.just(2.0),
    speed_mph=st.none() | st.floats(0, 90),
    heading_degrees=st.none() | st.floats(0, 359),
)
crashes = st.builds(
    Safety,
    id=st.sampled_from(["s1", "s2"]),
    at=st.just(MORNING + days(0.1)),
    vehicle=st.sampled_from(["v1", "v2"]),
    type=st.just("crash"),
    revision=st.sampled_from([1, 2]),
    place_name=st.none() | st.just("yard"),
)
sinks = st.sampled_from(["a", "b"])
lanes = st.sampled_from([0, 1])
appends = st.tuples(
    st.just("append"),
    st.lists(positions | crashes | st.just(b"bad 1") | st.just(b""), max_size=6),
    st.sampled_from(["north", "south"]),
)
actions = st.lists(
    st.one_of(
        appends,
        appends,
        st.tuples(
            st.just("deliver"), sinks, lanes, st.integers(1, 5), st.integers(0, 3)
        ),
        st.tuples(st.just("skip"), sinks, st.floats(0, 1)),
        st.tuples(
            st.just("register"),
            st.dictionaries(sinks, st.sampled_from(sorted(TAKINGS)), max_size=2),
        ),
        st.tuples(st.just("replay"), sinks),
        st.tuples(st.just("torn"), st.lists(positions, min_size=1, max_size=3)),
        st.tuples(st.just("crash")),
        st.tuples(st.just("restart")),
        st.tuples(st.just("prune"), st.integers(0, 5)),
    ),
    min_size=6,
    max_size=40,
)


class Model:
    """What the log must hold: first copies, and amendments by copies that fill a null."""

    def __init__(self) -> None:
        self.stood: dict[tuple[str, str, str, int | None], AnyEvent] = {}
        self.log: list[tuple[str, AnyEvent]] = []
        self.bad: set[tuple[str, bytes]] = set()

    def append(
        self,
        source: str,
        items: list[AnyEvent | bytes],
        kept: list[tuple[str, AnyEvent]],
    ) -> None:
        """`kept` is what was not pruned: of what is gone there is nothing to amend."""
        before = len(self.log)
        for one in items:
            if not isinstance(one, bytes):
                self._event(source, one, [*kept, *self.log[before:]])

    def _event(
        self, source: str, event: AnyEvent, kept: list[tuple[str, AnyEvent]]
    ) -> None:
        key = (source, event.kind, event.id, event.revision)
        before = self.stood.get(key)
        if before is None:
            found = event
        else:
            filled = {
                name: getattr(event, name)
                for name in event.__struct_fields__
                if getattr(before, name) is None and getattr(event, name) is not None
            }
            if not filled or (source, before) not in kept:
                return
            found = replace(before, **filled)
        self.stood[key] = found
        self.log.append((source, found))


class Machine:
    """Does the actions to a real log, and compares after each."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.world = virtual_world()
        self.model = Model()
        self.sinks: dict[str, SinkPlace] = {"a": SinkPlace(Taking())}
        self.seen: dict[tuple[str, int], int] = {}
        self.pruned = False
        self.known = {"a": 0}  # each sink, and what had been pruned when it came
        self.crashes = 0

    async def run(self, todo: list[tuple[Any, ...]]) -> None:
        await self._open()
        try:
            for name, *arguments in todo:
                do: Callable[..., Awaitable[None]] = getattr(self, name)
                await do(*arguments)
                await self.check()
            await self.end()
        finally:
            await self._close()

    async def _open(self) -> None:
        rules = Rules(
            keep=3 * DAY, keep_kinds={"safety": 5 * DAY}, dedupe_window=99 * DAY
        )
        self._open_log: AbstractAsyncContextManager[Store] = opened(
            self.folder, self.world, self.sinks, rules
        )
        self.store = await self._open_log.__aenter__()

    async def _close(self) -> None:
        await self._open_log.__aexit__(None, None, None)

    # actions

    async def append(self, items: list[AnyEvent | bytes], source: str) -> None:
        kept = self.kept()
        await put(self.store, *items, source=source)
        self.model.append(source, items, kept)

    async def deliver(self, sink: str, lane: int, limit: int, odd: int) -> None:
        if sink not in self.sinks:
            return
        read = await self.store.next_batch(sink, lane, limit=limit)
        for one in read.entries:
            assert one.seq > self.seen.get((sink, lane), 0), "never twice, never back"
        entries = read.entries if odd != 3 else read.entries[:1]
        upto = read.upto if entries == read.entries else entries[-1].seq
        buried = [Burial(one, "no") for one in entries[:1]] if odd == 1 else []
        skipped = [(one, "too_old") for one in entries[:1]] if odd == 2 else []
        rest = entries[1:] if buried or skipped else entries
        assert await self.store.advance(
            read, upto=upto, delivered=rest, skipped=skipped, buried=buried
        )
        self.seen[sink, lane] = upto

    async def skip(self, sink: str, share: float) -> None:
        if sink in self.sinks:
            await self.store.skip(sink, int(self.store.newest * share), "operator")

    async def register(self, wanted: dict[str, str]) -> None:
        self.sinks = {name: SinkPlace(TAKINGS[word]) for name, word in wanted.items()}
        gone = (
            len(self.model.log) - rows(self.store, "SELECT count(*) FROM events")[0][0]
        )
        self.known = {**dict.fromkeys(wanted, gone), **self.known}
        await self.store.register_sinks(self.sinks)

    async def replay(self, sink: str) -> None:
        if sink not in self.sinks:
            return
        job = await self.store.add_job(
            AddJob("replay", sink, {}, 0, self.store.newest, 0, 0)
        )
        for _ in range(50):
            if job.id not in [one.id for one in self.store.replays(sink)]:
                return
            read = await self.store.next_batch(sink, 0, limit=3, job=job.id)
            assert await self.store.advance(read, delivered=read.entries)
        raise AssertionError("a replay that never ends")

    async def torn(self, items: list[AnyEvent]) -> None:
        """The power goes after the statements and before the commit."""
        steps = self.store.log.commit([appended(self.store, *items)])
        sync = steps.send(None)
        folder = self._copied()
        with suppress(StopIteration):
            steps.send(sync())
        await self._close()
        self.folder = folder
        await self._open()

    async def crash(self) -> None:
        """The power goes: what was acknowledged is in the files as they lie there."""
        folder = self._copied()
        await self._close()
        self.folder = folder
        await self._open()

    def _copied(self) -> Path:
        self.crashes += 1
        folder = self.folder.parent / f"crash{self.crashes}"
        folder.mkdir()
        for name in FILES:
            with suppress(FileNotFoundError):
                shutil.copy(self.folder / name, folder / name)
        return folder

    async def restart(self) -> None:
        await self._close()
        await self._open()

    async def prune(self, wait: int) -> None:
        await trio.sleep(wait * DAY)
        holds = dict.fromkeys(self.sinks, 2 * DAY)
        await Keeper(self.store, Clock(self.world), holds).expire()
        self.pruned = True

    async def end(self) -> None:
        """Every sink there ever was comes back and is emptied: each event in one place."""
        await self.register(dict.fromkeys(self.known, "all"))
        for sink in self.known:
            await drain(self.store, sink)
            assert self._passed(sink) == len(self.model.log) - self.known[sink]
        await self.check()

    # what must hold

    def kept(self) -> list[tuple[str, AnyEvent]]:
        """What the log holds."""
        names = {n: name for (_, name), n in self.store.log.names.items()}
        query = "SELECT source, body FROM events ORDER BY seq"
        return [
            (names[source], unpack(body)) for source, body in rows(self.store, query)
        ]

    async def check(self) -> None:
        store = self.store
        names = {n: name for (_, name), n in store.log.names.items()}
        found = [
            (names[source], unpack(body))
            for source, body in rows(
                store, "SELECT source, body FROM events ORDER BY seq"
            )
        ]
        if self.pruned:
            rest = iter(self.model.log)
            assert all(one in rest for one in found), "in order, and nothing made up"
        else:
            assert found == self.model.log
        assert await imbalances(store) == []
        for sink, place in self.sinks.items():
            waiting = (store.waiting(sink, 0), store.waiting(sink, 1))
            assert waiting == await waits(store, sink, place.taking)
            assert self._cursors(sink) == [store.cursor(sink, lane) for lane in (0, 1)]

            if not self.pruned:
                assert self._passed(sink) == self._behind(sink)

    def _passed(self, sink: str) -> int:
        return sum(counted(self.store, sink).values())

    def _behind(self, sink: str) -> int:
        """The events that the cursors have passed."""
        query = "SELECT count(*) FROM events WHERE lane = ? AND seq <= ?"
        return sum(
            rows(self.store, query, lane, self.store.cursor(sink, lane))[0][0]
            for lane in (0, 1)
        )

    def _cursors(self, sink: str) -> list[int]:
        query = (
            "SELECT seq FROM cursors JOIN names ON names.id = sink WHERE name = ?"
            " ORDER BY lane"
        )
        return [seq for (seq,) in rows(self.store, query, sink)]


@settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(todo=actions)
def test_whatever_happens_the_log_is_what_the_model_says(todo):
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "data"
        clock = trio.testing.MockClock(autojump_threshold=0)
        trio.run(Machine(place).run, todo, clock=clock)
