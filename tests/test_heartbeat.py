"""The row of each minute, the watchdog's ping and the sweep; what systemd hears."""

from __future__ import annotations

import os
import socket
from datetime import timedelta

import pytest
import trio

from fleetd import systemd
from fleetd.clock import Clock
from fleetd.errors import StoreError
from fleetd.event import millis
from fleetd.store.small import Beat, Nothing
from fleetd.store.stats import outages
from fleetd.tasks.heartbeat import STOPPED, answers, heartbeat, keep_time, sweep
from fleetd.tasks.supervise import Health
from tests.store.deeds import fix, opened, put, rows

MINUTE = 60.0


class Board:
    def __init__(self, store):
        self.store = store
        self.refusing = lambda: store.trouble


class Reception:
    def __init__(self):
        self.flushed = 0

    async def flush(self):
        self.flushed += 1


class Manager:
    """systemd's end of the notification socket."""

    def __init__(self, folder):
        self.place = str(folder / "notify")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.place)
        self.socket.setblocking(False)

    def heard(self):
        found = []
        while True:
            try:
                found.append(self.socket.recv(4096).decode())
            except BlockingIOError:
                return found

    def environ(self, **more):
        return {"NOTIFY_SOCKET": self.place, **more}


@pytest.fixture
def manager(tmp_path):
    manager = Manager(tmp_path)
    yield manager
    manager.socket.close()


async def beating(nursery, store, world, environ=None, reception=None):
    health = Health(world.now)
    nursery.start_soon(
        heartbeat, Board(store), reception or Reception(), health, environ or {}
    )
    return health


async def test_every_minute_leaves_a_row_and_flushes_what_was_refused(
    autojump_clock, tmp_path, world
):
    reception = Reception()
    async with opened(tmp_path, world) as store, trio.open_nursery() as nursery:
        await beating(nursery, store, world, reception=reception)
        await trio.sleep(5 * MINUTE)
        nursery.cancel_scope.cancel()

        found = rows(store, "SELECT minute, state FROM minutes ORDER BY minute")
        assert [state for _, state in found] == ["up"] * len(found)
        assert len(found) in {5, 6}
        assert found[-1][0] - found[0][0] == len(found) - 1
        assert reception.flushed >= len(found) - 1, "the last may be under way"


async def test_a_minute_in_which_we_refused_says_so(autojump_clock, tmp_path, world):
    async with opened(tmp_path, world) as store, trio.open_nursery() as nursery:
        await beating(nursery, store, world)
        await trio.sleep(2.5 * MINUTE)
        store.log.full = "by a test"
        await trio.sleep(0.8 * MINUTE)
        store.log.full = ""
        await trio.sleep(2 * MINUTE)
        nursery.cancel_scope.cancel()
        first = rows(store, "SELECT min(minute), max(minute) FROM minutes")[0]
        found = outages(store.log.db, first[0], first[1], first[0])

        assert [one.state for one in found] == ["refusing"]
        assert found[0].until - found[0].since == 2


@pytest.mark.parametrize(
    ("away", "killed", "seen"),
    [(62, True, True), (110, True, True), (115, False, True), (30, True, False),
     (50, False, False)],
)  # fmt: skip
@pytest.mark.parametrize("second", [1, 31, 55])
async def test_every_outage_of_a_minute_is_seen_and_none_of_half_a_one(
    second, away, killed, seen, autojump_clock, tmp_path, world
):
    async with opened(tmp_path, world) as store:
        async with trio.open_nursery() as nursery:
            await beating(nursery, store, world)
            await trio.sleep(3 * MINUTE + second - 1)
            await put(store, fix(1))  # what a poll leaves behind
            await trio.sleep(1)
            nursery.cancel_scope.cancel()
        if killed:
            await store.remember(STOPPED, None)
    await trio.sleep(away)
    async with opened(tmp_path, world) as store, trio.open_nursery() as nursery:
        assert bool(store.recall(STOPPED)) != killed
        await beating(nursery, store, world)
        await trio.sleep(5 * MINUTE)
        nursery.cancel_scope.cancel()
        first, last = rows(store, "SELECT min(minute), max(minute) FROM minutes")[0]
        found = outages(store.log.db, first, last, first)

    assert [one.state for one in found] == (["down"] if seen else [])


async def test_a_clock_that_is_set_back_makes_no_outage(
    autojump_clock, tmp_path, world
):
    right = world.now
    async with opened(tmp_path, world) as store, trio.open_nursery() as nursery:
        world.now = lambda: right() + timedelta(hours=3)
        await beating(nursery, store, world)
        await trio.sleep(5 * MINUTE)
        world.now = right
        set_back = millis(right()) // 60_000
        await trio.sleep(10 * MINUTE)
        nursery.cancel_scope.cancel()
        found = outages(store.log.db, set_back + 1, set_back + 9, set_back)

    assert found == []


async def test_the_watchdog_hears_us_while_the_writer_answers(
    autojump_clock, tmp_path, world, manager
):
    environ = manager.environ(WATCHDOG_USEC="20000000", WATCHDOG_PID=str(os.getpid()))
    async with (
        opened(tmp_path / "data", world) as store,
        trio.open_nursery() as nursery,
    ):
        await beating(nursery, store, world, environ)
        await trio.sleep(60)
        nursery.cancel_scope.cancel()

    pings = [one for one in manager.heard() if one.startswith("WATCHDOG=1")]
    assert 6 <= len(pings) <= 8
    assert all("STATUS=taking in" in one for one in pings)


async def test_a_full_disk_is_an_answer(autojump_clock, tmp_path, world, manager):
    environ = manager.environ(WATCHDOG_USEC="20000000")
    async with (
        opened(tmp_path / "data", world) as store,
        trio.open_nursery() as nursery,
    ):
        store.log.full = "the disk is full"
        await beating(nursery, store, world, environ)
        await trio.sleep(60)
        assert await answers(store, Nothing())
        nursery.cancel_scope.cancel()

    pings = manager.heard()
    assert len(pings) >= 6
    assert all("STATUS=the disk is full" in one for one in pings)


async def test_nobody_pings_for_a_writer_that_hangs(tmp_path, manager):
    """A writer that never comes back: real time, but nothing here waits for it."""

    class Hung:
        async def join(self, _write, *, within=None):
            raise TimeoutError

    class Store:
        writer = Hung()

    assert not await answers(Store(), Nothing())


async def test_without_a_watchdog_nothing_is_sent(
    autojump_clock, tmp_path, world, manager
):
    async with (
        opened(tmp_path / "data", world) as store,
        trio.open_nursery() as nursery,
    ):
        await beating(nursery, store, world, manager.environ())
        await trio.sleep(60)
        nursery.cancel_scope.cancel()

    assert manager.heard() == []


@pytest.mark.parametrize("replaced", [False, True])
async def test_a_log_taken_away_under_us_ends_the_daemon(
    replaced, autojump_clock, tmp_path, world
):
    log, elsewhere = tmp_path / "data" / "log.sqlite", tmp_path / "elsewhere"

    async def go_on(store) -> None:
        async with trio.open_nursery() as nursery:
            await beating(nursery, store, world)
            await trio.sleep(MINUTE)
            log.rename(elsewhere)
            if replaced:
                log.write_bytes(elsewhere.read_bytes())
            await trio.sleep(MINUTE)
            nursery.cancel_scope.cancel()

    async with opened(log.parent, world) as store:
        with pytest.raises(ExceptionGroup) as caught:
            await go_on(store)

    assert caught.group_contains(StoreError, match="taken away or replaced")


async def test_a_beat_on_a_full_disk_is_no_reason_to_stop(
    autojump_clock, tmp_path, world
):
    async with opened(tmp_path, world) as store:
        store.log.db.pragma("max_page_count", 1)
        assert await answers(store, Beat(1, "up"))


async def test_the_sweep_and_the_clock_go_on_for_ever(autojump_clock, tmp_path, world):
    async with opened(tmp_path, world) as store, trio.open_nursery() as nursery:
        health = Health(world.now)
        nursery.start_soon(sweep, store, health)
        nursery.start_soon(keep_time, Clock(world), Health(world.now))
        await trio.sleep(3600)
        await put(store, fix(1))

        assert health.last_success_ms is not None
        nursery.cancel_scope.cancel()


def test_what_systemd_is_told(tmp_path, manager):
    environ = manager.environ()

    assert systemd.notify("READY=1", environ)
    assert systemd.notify("RELOADING=1", environ)
    ready, reloading = manager.heard()
    assert ready == "READY=1"
    assert reloading.splitlines()[0] == "RELOADING=1"
    assert reloading.splitlines()[1].startswith("MONOTONIC_USEC=")


def test_an_abstract_socket_is_heard_as_well():
    name = f"fleetd-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind("\0" + name)
        assert systemd.notify("READY=1", {"NOTIFY_SOCKET": "@" + name})
        assert listener.recv(100) == b"READY=1"


@pytest.mark.parametrize("place", ["", "vsock:2:1", "/nowhere/at/all", "relative"])
def test_where_nobody_listens_nothing_happens(place):
    assert not systemd.notify("READY=1", {"NOTIFY_SOCKET": place})
    assert not systemd.notify("READY=1", {})


@pytest.mark.parametrize(
    ("environ", "wanted"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_the_watchdog_is_only_ours_when_it_says_so(environ, wanted):
    assert systemd.watchdog_s(environ) == wanted
