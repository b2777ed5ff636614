"""The nth sync, write or open fails: never a 2xx that is not on the disk, and a clean start has everything."""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path

import pytest

from tests.faults.daemon import Daemon
from tests.faults.load import Load
from tests.faults.oracle import check_archive, look, lost
from tests.faults.shim import FOR_EVER, LOG_ONLY, OPEN, READ, SYNC, WRITE, Faults

DISK, CONFIG = 74, 78
SWEEP_S = 1.0


class Bench:
    """One data folder through many faults; every event acknowledged is remembered."""

    def __init__(self, tmp_path: Path, make_daemon: Callable[..., Daemon]) -> None:
        self.tmp_path = tmp_path
        data = tmp_path / "one" / "data"
        self.faults = Faults(tmp_path, data)
        self.daemon = make_daemon(environ=self.faults.environ)
        self.acked: set[str] = set()
        self._numbers = count(0, 10_000_000)

    def begins(self) -> None:
        self.faults.mend()
        self.daemon.begin()

    def load(self) -> Load:
        return Load(
            self.daemon.port,
            self.tmp_path / "acked",
            clients=2,
            first=next(self._numbers),
            failed=lambda: self.faults.failed,
        )

    def has_everything(self) -> None:
        """The log of a daemon that ended, however it did."""
        seen = look(self.daemon.data, self.tmp_path / "copy")
        assert lost(self.acked, seen) == set()
        check_archive(seen, self.daemon.archive)
        assert list(self.daemon.data.glob("aside-*")) == []

    def starts_clean(self) -> None:
        """Without the fault it starts, takes in, delivers and stops."""
        self.begins()
        with self.load() as load:
            load.until_acked(3)
        self.acked |= load.acked
        self.daemon.until_delivered()
        assert self.daemon.stop() == 0, self.daemon.told()
        self.has_everything()


@pytest.fixture
def bench(tmp_path: Path, make_daemon: Callable[..., Daemon]) -> Bench:
    return Bench(tmp_path, make_daemon)


def swept(rounds: Callable[[int], int], short: Sequence[int]) -> Sequence[int]:
    """The calls that fail: some chosen ones, or as many as were asked for."""
    asked = rounds(0)
    return range(asked) if asked else short


def test_after_a_failed_sync_nothing_is_acknowledged_and_it_exits_74(
    bench: Bench, rounds: Callable[[int], int]
) -> None:
    calls = [(SYNC, n) for n in swept(rounds, (0, 1, 2, 7, 40))]
    for kind, n in (*calls, (SYNC | LOG_ONLY, 0), (SYNC | LOG_ONLY, 1)):
        bench.begins()
        with bench.load() as load:
            load.until_acked(5)
            bench.faults.fail(kind, errno.EIO, after=n, times=1)
            code = bench.daemon.ended()
        bench.acked |= load.acked

        assert code == DISK, f"sync {kind}, {n}\n{bench.daemon.told()}"
        assert load.acked_after == set()
        if kind & LOG_ONLY:  # what could not be synced is not tried again
            assert bench.faults.calls == n + 1
        bench.has_everything()
    bench.starts_clean()


@pytest.mark.parametrize("times", [1, FOR_EVER])
def test_a_failed_write_costs_no_acknowledged_event(
    bench: Bench, rounds: Callable[[int], int], times: int
) -> None:
    calls = [(WRITE, n) for n in swept(rounds, (0, 1, 4, 30))]
    for kind, n in (*calls, (WRITE | LOG_ONLY, 1)):
        bench.begins()
        with bench.load() as load:
            load.until_acked(5)
            bench.faults.fail(kind, errno.EIO, after=n, times=times)
            code = bench.daemon.ended()
        bench.acked |= load.acked

        assert code == DISK, f"write {kind}, {n}"
        bench.has_everything()
    bench.starts_clean()


def test_a_write_that_finds_no_room_is_answered_503_until_there_is_room(
    bench: Bench, rounds: Callable[[int], int]
) -> None:
    for n in swept(rounds, (0, 3, 20)):
        bench.begins()
        with bench.load() as load:
            load.until_acked(5)
            bench.faults.fail(WRITE, errno.ENOSPC, after=n)
            bench.daemon.until(lambda at=load: at.answers[503] > 3, f"503 ({n})")
            refused = load.so_far()
            load.wait(0.3)
            assert load.so_far() == refused
            bench.faults.mend()
            load.until_acked(5, within=60)
        bench.acked |= load.acked

        assert "" not in load.retry_after
        assert bench.daemon.stop() == 0
        bench.has_everything()


@pytest.mark.parametrize("error", [errno.EMFILE, errno.EIO])
def test_files_that_cannot_be_opened_cost_no_acknowledged_event(
    bench: Bench, rounds: Callable[[int], int], error: int
) -> None:
    for n in swept(rounds, (0, 2)):
        bench.begins()
        with bench.load() as load:
            bench.faults.fail(OPEN, error, after=n)
            load.wait(SWEEP_S)
            bench.faults.mend()
            code = ended_or_open(bench.daemon)
            if code is None:
                load.until_acked(3)
        bench.acked |= load.acked

        assert (bench.daemon.stop() if code is None else code) in {0, DISK}
        bench.has_everything()
    bench.starts_clean()


STARTS = (
    (SYNC, errno.EIO, 0, 1),
    (SYNC, errno.EIO, 1, 1),
    (SYNC, errno.EIO, 2, FOR_EVER),
    (WRITE, errno.EIO, 0, 4),
    (WRITE, errno.EIO, 2, 1),
    (WRITE, errno.EIO, 5, 1),
    (WRITE, errno.ENOSPC, 0, FOR_EVER),
    (WRITE, errno.ENOSPC, 3, 1),
    (OPEN, errno.EMFILE, 1, 4),
    (OPEN, errno.EMFILE, 3, 2),
    (OPEN, errno.EACCES, 0, 1),
    (OPEN, errno.EACCES, 1, 4),
)


def test_a_call_that_fails_during_the_start_harms_no_log(
    bench: Bench, rounds: Callable[[int], int]
) -> None:
    bench.starts_clean()
    more = [(kind, error, n, 2) for n in range(rounds(0)) for kind, error, *_ in STARTS]
    for kind, error, n, times in (*STARTS, *more):
        print(f"kind {kind} fails with {errno.errorcode[error]} from {n} on, {times}x")
        bench.faults.fail(kind, error, after=n, times=times)
        bench.daemon.start()
        code = ended_or_open(bench.daemon)
        bench.faults.mend()

        assert code in {None, DISK, CONFIG}, bench.daemon.told()
        if code is None:
            assert bench.daemon.stop() in {0, DISK}
        bench.has_everything()
    bench.starts_clean()


def test_a_read_that_fails_for_a_moment_sets_no_log_aside(
    bench: Bench, rounds: Callable[[int], int]
) -> None:
    bench.starts_clean()
    for n in swept(rounds, (5, 9, 20, 45)):
        bench.faults.fail(READ, errno.EIO, after=n, times=1)
        bench.daemon.start()
        code = ended_or_open(bench.daemon)
        with bench.load() as load:
            load.wait(0.3)
        bench.faults.mend()
        bench.acked |= load.acked

        assert (bench.daemon.stop() if code is None else code) in {0, DISK}
        bench.has_everything()
    bench.starts_clean()


def ended_or_open(daemon: Daemon) -> int | None:
    """Its exit status if the start failed, or None if its doors are open."""
    ended: list[int] = []

    def settled() -> bool:
        assert daemon.child is not None
        if daemon.child.poll() is not None:
            ended.append(daemon.ended())
        return bool(ended) or daemon.is_open()

    daemon.until(settled, "the start to end or to fail")
    return ended[0] if ended else None
