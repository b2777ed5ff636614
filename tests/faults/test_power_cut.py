"""The power cut: the disk as it was at one moment, under load, holds all that was acknowledged before."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.daemon import Daemon
from tests.faults.disks import Disks
from tests.faults.load import Load, point, send
from tests.faults.oracle import check_archive, look, lost

WEAKER = ("-m", "tests.faults.weaker")
FAR = 1_000_000_000


class Plant:
    """A daemon whose data lies on a disk that can be copied in one step."""

    def __init__(self, disks: Disks, make_daemon: Callable[..., Daemon]) -> None:
        self.disks, self.make_daemon = disks, make_daemon
        self.below = disks.make("below", "xfs", 1024)
        self.disk = disks.make("disk", "ext4", 256, within=self.below)
        self.image = self.below / "disk.img"

    def daemon(self, name: str, disk: Path, **wishes: object) -> Daemon:
        data = disk / "data"
        return self.make_daemon(name, data=data, archive=data / "archive", **wishes)

    def cut(self, number: int) -> Path:
        """Cut the power; the disk as the next start finds it."""
        copy = self.disks.cut(self.image, self.below / f"cut{number}.img")
        return self.disks.mount(copy, f"cut{number}")

    def drop(self, number: int) -> None:
        self.disks.unmount(self.disks.folder / f"cut{number}")
        (self.below / f"cut{number}.img").unlink()


@pytest.fixture
def plant(disks: Disks, make_daemon: Callable[..., Daemon]) -> Plant:
    plant = Plant(disks, make_daemon)
    (plant.disk / "data").mkdir()
    return plant


def test_a_power_cut_loses_nothing_that_was_acknowledged(
    tmp_path: Path, plant: Plant, rounds: Callable[[int], int], seed: int
) -> None:
    chance = random.Random(seed)
    daemon = plant.daemon("before", plant.disk)
    daemon.begin()
    with Load(daemon.port, tmp_path / "acked", first=seed % 1000 * 1_000_000) as load:
        for number in range(rounds(6)):
            load.until_acked(100)
            load.wait(chance.uniform(0, 0.7))
            acked = load.so_far()
            disk = plant.cut(number)
            survives(plant, number, disk, acked, tmp_path)
    assert load.wrong == []


def survives(
    plant: Plant, number: int, disk: Path, acked: set[str], scratch: Path
) -> None:
    """A daemon on the disk of the cut has everything, goes on, and sends nothing twice."""
    after = plant.daemon(f"after{number}", disk)
    after.begin()
    assert send(after.port, point(FAR)) == 200
    after.until_delivered()
    assert after.stop() == 0
    seen = look(after.data, scratch / "copy")
    assert lost(acked, seen) == set()
    check_archive(seen, after.archive)
    plant.drop(number)


def test_the_cut_finds_out_a_log_that_does_not_sync_its_commits(
    tmp_path: Path, plant: Plant, rounds: Callable[[int], int], seed: int
) -> None:
    daemon = plant.daemon("weaker", plant.disk, program=WEAKER)
    daemon.begin()
    missing = 0
    with Load(daemon.port, tmp_path / "acked", first=seed % 1000 * 1_000_000) as load:
        for number in range(rounds(5)):
            load.until_acked(100)
            acked = load.so_far()
            disk = plant.cut(number)
            seen = look(disk / "data", tmp_path / "copy")
            missing += len(lost(acked, seen))
            plant.drop(number)
    assert missing > 0
