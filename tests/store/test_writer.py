"""The group commit as the tasks that wait for it see it: real threads, a disk of our own."""

from __future__ import annotations

import errno
import threading

import pytest
import trio
import trio.testing

from fleetd.errors import StoreError
from fleetd.store.writer import Writer


class Disk:
    """A disk that syncs when it is told to, and remembers what was committed."""

    def __init__(self) -> None:
        self.commits: list[list[object]] = []
        self.free = threading.Event()
        self.free.set()
        self.bug: Exception | None = None
        self.refuses: Exception | None = None

    def commit(self, writes):
        if self.bug is not None:
            raise self.bug
        if self.refuses is not None:
            return [self.refuses] * len(writes)
        fault = yield self.sync
        if fault is not None:
            return [StoreError(str(fault))] * len(writes)
        self.commits.append(list(writes))
        return [("kept", one) for one in writes]

    def written(self, after=0):
        return [one for commit in self.commits[after:] for one in commit]

    def sync(self):
        self.free.wait(5)


async def settled() -> None:
    await trio.testing.wait_all_tasks_blocked()


@pytest.fixture
async def disk(nursery):
    disk = Disk()
    disk.writer = Writer(disk.commit, threads=True)
    nursery.start_soon(disk.writer.run)
    yield disk
    disk.free.set()
    disk.writer.close()


async def test_a_lone_write_is_committed_by_itself_and_told_so(disk):
    assert await disk.writer.join("one") == ("kept", "one")
    assert disk.commits == [["one"]]


async def test_a_thread_that_could_not_ring_is_heard_all_the_same(disk):
    class Hoarse:
        def run_sync_soon(self, call, *given):
            bell.run_sync_soon(call, *given)
            raise OSError(errno.ENOBUFS, "No buffer space available")

    await disk.writer.join("one")
    bell, disk.writer._token = disk.writer._token, Hoarse()

    assert await disk.writer.join("two") == ("kept", "two")
    assert await disk.writer.join("three") == ("kept", "three")


async def test_what_comes_while_a_commit_syncs_shares_the_next_one(disk):
    disk.free.clear()
    answers = {}

    async def join(name):
        answers[name] = await disk.writer.join(name)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(join, "first")
        await settled()
        for name in ("second", "third", "fourth"):
            nursery.start_soon(join, name)
        await settled()
        assert answers == {}
        disk.free.set()

    assert disk.commits[0] == ["first"]
    assert sorted(disk.written(1)) == ["fourth", "second", "third"]
    assert answers == {name: ("kept", name) for name in answers}
    assert len(answers) == 4


async def test_everybody_is_answered_however_many_write_at_once(disk):
    done = []

    async def many(start):
        for number in range(start, start + 20):
            assert await disk.writer.join(number) == ("kept", number)
            done.append(number)

    async with trio.open_nursery() as nursery:
        for start in range(0, 1000, 20):
            nursery.start_soon(many, start)

    assert sorted(done) == list(range(1000))
    assert sorted(disk.written()) == list(range(1000))
    assert len(disk.commits) < 1000


async def test_a_wait_that_is_over_is_told_so_and_its_write_leaves_the_line(disk):
    disk.free.clear()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(disk.writer.join, "under way")
        await settled()

        async def late():
            with pytest.raises(TimeoutError):
                await disk.writer.join("in line", within=0.0)

        nursery.start_soon(late)
        await settled()
        disk.writer.expire()
        await settled()
        disk.free.set()

    assert disk.commits == [["under way"]]


async def test_a_cancelled_caller_leaves_its_write_in_line(disk):
    disk.free.clear()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(disk.writer.join, "under way")
        await settled()
        with trio.CancelScope() as scope:
            scope.cancel()
            await disk.writer.join("abandoned")
        disk.free.set()

    await disk.writer.join("last")
    assert "abandoned" in disk.written()


async def test_closing_commits_what_is_in_line(disk, nursery):
    disk.free.clear()
    nursery.start_soon(disk.writer.join, "one")
    await settled()
    nursery.start_soon(disk.writer.join, "two")
    await settled()
    disk.writer.close()
    disk.free.set()
    while disk.written() != ["one", "two"]:  # noqa: ASYNC110  a real thread's work
        await trio.sleep(0.001)

    with pytest.raises(StoreError):
        await disk.writer.join("three")


async def test_a_bug_in_a_write_ends_the_writer_and_leaves_nobody_waiting():
    disk = Disk()
    disk.writer = Writer(disk.commit, threads=True)
    heard = []

    async def join(name):
        try:
            await disk.writer.join(name)
        except (StoreError, KeyError) as fault:
            heard.append(type(fault))

    with pytest.raises(ExceptionGroup) as ended:  # noqa: PT012
        async with trio.open_nursery() as nursery:
            nursery.start_soon(disk.writer.run)
            await settled()
            disk.bug = KeyError("nobody foresaw")
            for name in ("one", "two"):
                nursery.start_soon(join, name)

    assert len(heard) == 2
    assert all(isinstance(one, StoreError) for one in ended.value.exceptions)


async def test_the_log_is_folded_after_the_answers_and_where_the_syncs_are(nursery):
    disk, folded, answered = Disk(), [], []

    def fold():
        if folded or len(disk.commits) < 2:
            return None
        return lambda: folded.append((threading.current_thread().name, list(answered)))

    disk.writer = Writer(disk.commit, fold, threads=True)
    nursery.start_soon(disk.writer.run)
    for name in ("one", "two", "three"):
        answered.append(await disk.writer.join(name))
    disk.writer.close()

    assert [thread for thread, _ in folded] == ["log"]
    assert disk.commits == [["one"], ["two"], ["three"]]


async def test_a_commit_that_comes_to_nothing_answers_at_once_and_once(disk):
    disk.refuses = StoreError("broken")
    disk.writer.post("nobody waits")
    for name in ("one", "two"):
        with pytest.raises(StoreError, match="broken"):
            await disk.writer.join(name)
        await settled()

    assert disk.commits == []
