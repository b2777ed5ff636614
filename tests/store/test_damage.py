"""Damage: found, skipped, counted and never delivered; and calls that fail for once."""

from __future__ import annotations

import apsw
import pytest
import trio

from fleetd.clock import Clock
from fleetd.errors import FullError, StoreError
from fleetd.store import Rules, SinkPlace
from fleetd.store.files import PAGE
from fleetd.store.opening import MARK
from fleetd.taking import Taking
from fleetd.tasks.prune import Keeper
from tests.store.deeds import (
    counted,
    crash,
    drain,
    fix,
    imbalances,
    opened,
    put,
    rows,
    stored,
)

DAY = 86_400.0
LEAVES = "SELECT pageno FROM dbstat WHERE name = 'events' AND pagetype = 'leaf' ORDER BY path"


def some(n, start=0):
    return [
        crash(k)
        if k % 10 == 0
        else fix(k, location_description=f"place {k} " + "x" * 300)
        for k in range(start, start + n)
    ]


async def filled(store, n=400):
    for start in range(0, n, 40):
        await put(store, *some(40, start))


def body_of(folder, seq_id):
    """Where in the file the text of one event lies."""
    whole = (folder / "log.sqlite").read_bytes()
    at = whole.find(f"place {seq_id} ".encode())
    assert at > 0
    return at


def spoil(folder, at, bytes_):
    with (folder / "log.sqlite").open("r+b") as file:
        file.seek(at)
        file.write(bytes_)


async def test_one_wrong_byte_in_an_event_is_found_and_the_event_never_delivered(
    autojump_clock, tmp_path, world
):
    async with opened(tmp_path, world) as store:
        await filled(store)
    spoil(tmp_path, body_of(tmp_path, 123), b"PLACE 123")
    async with opened(tmp_path, world) as store:
        taken = [one.event.id for one in await drain(store)]

        assert len(taken) == 399
        assert "p123" not in taken
        assert counted(store, "ops") == {"delivered": 399, "skipped:damaged": 1}
        assert await imbalances(store) == []
        assert (store.waiting("ops", 0), store.waiting("ops", 1)) == (0, 0)


async def test_a_wrong_byte_that_a_sink_does_not_take_costs_it_nothing(
    autojump_clock, tmp_path, world
):
    calm = {"calm": SinkPlace(Taking(frozenset({"safety"})), "oldest")}
    async with opened(tmp_path, world, {}) as store:
        await filled(store)
    spoil(tmp_path, body_of(tmp_path, 123), b"PLACE 123")
    async with opened(tmp_path, world, calm) as store:
        await drain(store, "calm")

        assert counted(store, "calm") == {"delivered": 40, "not_taken": 360}


async def broken_page(folder, world, which=3):
    """A leaf of the events, overwritten; the ids that stood on it."""
    async with opened(folder, world) as store:
        await filled(store)
        store.log._fold()
        pages = [page for (page,) in rows(store, LEAVES)]
    spoil(folder, (pages[which] - 1) * PAGE, b"\xa5" * PAGE)


async def test_a_damaged_page_is_skipped_and_the_rest_delivered_and_counted(
    autojump_clock, tmp_path, world
):
    await broken_page(tmp_path, world)
    async with opened(tmp_path, world) as store:
        assert store.aside == ""
        taken = await drain(store)
        counts = counted(store, "ops")
        later = await put(store, fix(1000))

        assert later.stored == 1
        assert 300 < len(taken) < 400
        assert counts == {"delivered": len(taken), "skipped:damaged": 400 - len(taken)}
        assert await imbalances(store) == []
        assert store.waiting("ops", 0) == 1
        assert store.waiting("ops", 1) == 0
        assert store.trouble == ""


async def test_a_new_sink_counts_past_a_damaged_page(autojump_clock, tmp_path, world):
    await broken_page(tmp_path, world)
    for taking in (Taking(frozenset({"safety"})), Taking(vehicles=("v*",))):
        async with opened(tmp_path, world, {"new": SinkPlace(taking)}) as store:
            taken = await drain(store, "new")

            assert taken
            assert (store.waiting("new", 0), store.waiting("new", 1)) == (0, 0)
        async with opened(tmp_path, world, {}) as store:
            await store.forget("new")


async def test_skipping_goes_past_a_damaged_page(autojump_clock, tmp_path, world):
    await broken_page(tmp_path, world)
    async with opened(tmp_path, world) as store:
        assert await store.skip("ops", 400, "operator") == 400
        assert counted(store, "ops") == {"skipped:operator": 400}


async def test_pruning_goes_round_a_damaged_page(autojump_clock, tmp_path, world):
    await broken_page(tmp_path, world)
    async with opened(tmp_path, world, rules=Rules(keep=DAY)) as store:
        await drain(store)
        await trio.sleep(3 * DAY)
        await Keeper(store, Clock(world), {"ops": DAY}).expire()
        await put(store, fix(1000))

        assert store.trouble == ""
        kept = rows(store, "SELECT min(seq), max(seq) FROM events")[0]
        assert kept[1] == store.newest


async def test_an_amendment_of_a_damaged_copy_is_a_duplicate(
    autojump_clock, tmp_path, world
):
    await broken_page(tmp_path, world)
    async with opened(tmp_path, world) as store:
        counts = [
            await put(store, fix(n, speed_mph=3.0)) for n in range(1, 400) if n % 10
        ]

        assert sum(one.duplicate for one in counts) > 0
        assert all(one.stored + one.duplicate == 1 for one in counts)
        assert store.trouble == ""


class Fault(apsw.VFSFile):
    """A file whose next writes or syncs fail as told."""

    def __init__(self, plan, base, name, flags):
        super().__init__(base, name, flags)
        self._plan = plan
        self._name = name.filename() if isinstance(name, apsw.URIFilename) else name

    def xWrite(self, data, offset):  # noqa: N802  SQLite's own name
        self._plan.called("write", self._name)
        return super().xWrite(data, offset)

    def xSync(self, flags):  # noqa: N802
        self._plan.called("sync", self._name)
        return super().xSync(flags)


class Plan(apsw.VFS):
    """A file system that fails the nth call of a kind, once or from then on."""

    def __init__(self):
        self.seen = {"write": 0, "sync": 0}
        self.fails: dict[str, tuple[int, type[Exception]]] = {}
        super().__init__("failing", base="unix", makedefault=True)

    def xOpen(self, name, flags):  # noqa: N802
        return Fault(self, "unix", name, flags)

    def called(self, kind, name):
        if not str(name).endswith("-wal"):
            return
        self.seen[kind] += 1
        at, fault = self.fails.get(kind, (0, Exception))
        if at and self.seen[kind] >= at:
            raise fault(f"{kind} {self.seen[kind]}")


@pytest.fixture
def plan():
    before = apsw.vfs_names()[0]
    plan = Plan()
    yield plan
    plan.unregister()
    assert apsw.vfs_names()[0] == before


async def put_until_it_fails(store, acked):
    for n in range(20):
        await put(store, fix(n))
        acked.append(f"p{n}")


@pytest.mark.parametrize("kind", ["write", "sync"])
@pytest.mark.parametrize("nth", range(1, 6))
async def test_an_io_error_ends_intake_for_good_and_loses_nothing_acknowledged(
    autojump_clock, tmp_path, world, plan, kind, nth
):
    acked = ["p1000"]
    async with opened(tmp_path, world) as store:
        await put(store, fix(1000))
        plan.fails[kind] = (plan.seen[kind] + nth, apsw.IOError)
        with pytest.raises(StoreError):
            await put_until_it_fails(store, acked)
        with pytest.raises(StoreError):
            await put(store, fix(99))
        with pytest.raises(StoreError):
            await drain(store)
        assert store.trouble
        plan.fails.clear()
    async with opened(tmp_path, world) as store:
        kept = stored(store)

        assert kept[: len(acked)] == acked
        assert "p99" not in kept
        assert len(kept) <= len(acked) + 1


@pytest.mark.parametrize("nth", range(1, 8))
async def test_a_disk_that_fills_up_stops_intake_and_not_delivery(
    autojump_clock, tmp_path, world, plan, nth
):
    acked = []
    async with opened(tmp_path, world) as store:
        plan.fails["write"] = (plan.seen["write"] + nth, apsw.FullError)
        with pytest.raises(FullError):
            await put_until_it_fails(store, acked)
        assert not store.space.has_ballast
        plan.fails.clear()  # the ballast made room
        assert [one.event.id for one in await drain(store)] == acked
        with pytest.raises(FullError):
            await put(store, fix(99))
        await Keeper(store, Clock(world), {}).tick()
        assert (await put(store, fix(100))).stored == 1
        assert stored(store) == [*acked, "p100"]
        assert await imbalances(store) == []


async def test_a_disk_fuller_than_its_reserve_stops_delivery_rather_than_repeats(
    autojump_clock, tmp_path, world, plan
):
    async with opened(tmp_path, world) as store:
        await put(store, fix(1))
        plan.fails["write"] = (plan.seen["write"] + 1, apsw.FullError)
        read = await store.next_batch("ops", 0, limit=1)
        with pytest.raises(FullError):
            await store.advance(read, delivered=read.entries)
        assert store.cursor("ops", 0) == 0
        plan.fails.clear()
        assert await store.advance(read, delivered=read.entries)

        assert counted(store, "ops") == {"delivered": 1}


async def test_the_mark_is_left_when_damage_ends_the_daemon(
    autojump_clock, tmp_path, world, plan
):
    async with opened(tmp_path, world) as store:
        plan.fails["write"] = (plan.seen["write"] + 1, apsw.CorruptError)
        with pytest.raises(StoreError):
            await put(store, fix(1))
        plan.fails.clear()

    assert (tmp_path / MARK).exists()
