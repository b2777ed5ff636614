"""A disk that hangs or is slow: 503 in time, never a 2xx before it is on the disk, and on it goes."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.daemon import Daemon
from tests.faults.disks import Disks
from tests.faults.load import Load, point
from tests.faults.oracle import check_archive, look, lost
from tests.faults.shim import Faults

ANSWER_WITHIN_S = 2.5
SLACK_S = 1.5
FROZEN_S = 4.0


def test_a_hung_disk_is_answered_503_in_time_and_forgotten_when_it_ends(
    tmp_path: Path, disks: Disks, make_daemon: Callable[..., Daemon]
) -> None:
    disk = disks.make("disk", "ext4", 128)
    daemon = make_daemon(data=disk / "data")
    daemon.begin()
    with Load(daemon.port, tmp_path / "acked", make=point) as load:
        load.until_acked(200)
        disks.freeze(disk)
        time.sleep(0.1)  # answers on their way were synced before
        before = load.so_far()
        load.wait(FROZEN_S)
        while_frozen = load.so_far()
        disks.thaw(disk)
        load.until_acked(200)

    assert while_frozen == before
    assert daemon.get("/healthz")[0] == 200
    assert load.answers[503] > 0
    assert "" not in load.retry_after
    assert load.slowest < ANSWER_WITHIN_S + SLACK_S
    everything(daemon, load, tmp_path)


@pytest.mark.parametrize("seconds", [0.005, 0.1, 2.0])
def test_slow_syncs_slow_the_answers_and_lose_nothing(
    tmp_path: Path, make_daemon: Callable[..., Daemon], seconds: float
) -> None:
    faults = Faults(tmp_path, tmp_path / "one" / "data")
    daemon = make_daemon(environ=faults.environ)
    daemon.begin()
    with Load(daemon.port, tmp_path / "acked", make=point) as load:
        load.until_acked(8)
        faults.slow_syncs(seconds)
        load.until_acked(4, within=60)
        load.wait(1)
        acked = load.so_far()
        daemon.kill()

        assert lost(acked, look(daemon.data, tmp_path / "copy")) == set()
        assert load.slowest < ANSWER_WITHIN_S + SLACK_S
        faults.slow_syncs(0)
        daemon.begin()
        load.until_acked(8)
    everything(daemon, load, tmp_path)


def test_a_disk_slower_than_the_patience_of_vendors_gets_503_and_keeps_all(
    tmp_path: Path, make_daemon: Callable[..., Daemon]
) -> None:
    faults = Faults(tmp_path, tmp_path / "one" / "data")
    daemon = make_daemon(environ=faults.environ)
    daemon.begin()
    with Load(daemon.port, tmp_path / "acked", make=point) as load:
        load.until_acked(8)
        faults.slow_syncs(4.0)
        daemon.until(lambda: load.answers[503] >= 4, "503 for all of them")
        faults.slow_syncs(0)
        load.until_acked(8)

    assert load.slowest < ANSWER_WITHIN_S + SLACK_S
    everything(daemon, load, tmp_path)


def everything(daemon: Daemon, load: Load, tmp_path: Path) -> None:
    daemon.until_delivered()
    assert daemon.stop() == 0
    seen = look(daemon.data, tmp_path / "copy")
    assert lost(load.acked, seen) == set()
    check_archive(seen, daemon.archive)
    assert load.wrong == []
