"""A full disk: intake says 503, delivery goes on, and it opens again by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.faults.daemon import Daemon
from tests.faults.disks import Disks, fill
from tests.faults.far import FarSide
from tests.faults.load import Load, page, point, send
from tests.faults.oracle import check_archive, look, lost
from tests.faults.shim import Faults

FAR = 1_000_000_000
STORE = 'max_disk = "64MiB"'


@pytest.fixture
def disk(disks: Disks) -> Path:
    return disks.make("small", "ext4", 120)


@contextmanager
def filled(disk: Path) -> Iterator[Path]:
    """Somebody else has all the room."""
    filler = fill(disk)
    try:
        yield filler
    finally:
        filler.unlink()


def test_a_full_disk_refuses_intake_and_goes_on_delivering_and_reopens_by_itself(
    tmp_path: Path, disk: Path, make_daemon: Callable[..., Daemon]
) -> None:
    with FarSide(pause=0.2) as far:
        daemon = make_daemon(data=disk / "data", store=STORE, sinks=far.sink(batch=50))
        daemon.begin()
        with Load(daemon.port, tmp_path / "acked", make=point) as load:
            load.until_acked(800)
            with filled(disk) as filler:
                daemon.until(lambda: load.answers[503] > 0, "a 503")
                take_again(filler)
                refused(daemon, load, far)
            load.until_acked(50, within=60)
        assert daemon.get("/readyz")[0] == 200
        whole(daemon, far, load, tmp_path)


def take_again(filler: Path) -> None:
    """The ballast was let go of: take half of that room as well, as the leak would."""
    with filler.open("ab", buffering=0) as file, suppress(OSError):
        file.write(bytes(1 << 20))


def refused(daemon: Daemon, load: Load, far: FarSide) -> None:
    """What it says and does while there is no room."""
    before, seen = load.so_far(), len(far.seqs)
    load.wait(1.0)
    daemon.until(lambda: len(far.seqs) > seen, "delivery to go on")
    stood = daemon.status()["sinks"]["hub"]["cursor"]
    daemon.until(
        lambda: daemon.status()["sinks"]["hub"]["cursor"] > stood, "the cursor to move"
    )
    status = daemon.status()

    assert load.so_far() == before
    assert load.retry_after - {""} == load.retry_after
    assert status["state"] == "unhealthy"
    assert "full" in " ".join(status["reasons"])
    assert daemon.get("/healthz")[0] == 200
    ready, why = daemon.get("/readyz")
    assert (ready, b"full" in why) == (503, True)


def whole(daemon: Daemon, far: FarSide, load: Load, tmp_path: Path) -> None:
    """Everything acknowledged is in the log, and went to the far side once."""
    far.pause = 0
    daemon.until_delivered()
    assert daemon.stop() == 0
    seen = look(daemon.data, tmp_path / "copy")
    assert lost(load.acked, seen) == set()
    check_archive(seen, daemon.archive)
    assert set(far.seqs) == set(seen.names)
    assert max(far.seqs.values()) == 1


def test_it_starts_on_a_full_disk_and_takes_in_once_there_is_room(
    tmp_path: Path, disk: Path, make_daemon: Callable[..., Daemon]
) -> None:
    daemon = make_daemon(data=disk / "data", store=STORE)
    daemon.begin()
    with Load(daemon.port, tmp_path / "acked", make=point) as load:
        load.until_acked(200)
    daemon.kill()
    with filled(disk):
        daemon.begin()
        with Load(daemon.port, tmp_path / "acked", make=point, first=FAR) as more:
            daemon.until(lambda: more.answers[503] > 3, "503s")
        daemon.until_delivered()
    daemon.until(lambda: send(daemon.port, point(0)) == 200, "it to take in again")
    daemon.until_delivered()
    assert daemon.stop() == 0
    seen = look(daemon.data, tmp_path / "copy")
    assert lost(load.acked | more.acked, seen) == set()
    check_archive(seen, daemon.archive)


def test_what_is_delivered_never_stops_intake_however_long_it_goes_on(
    tmp_path: Path,
    disk: Path,
    make_daemon: Callable[..., Daemon],
    rounds: Callable[[int], int],
) -> None:
    """At the limit of `max_disk` the oldest raw bytes go, then the oldest events."""
    faults = Faults(tmp_path, disk / "data")
    faults.clock(kept=True)
    daemon = make_daemon(data=disk / "data", store=STORE, environ=faults.environ)
    daemon.begin()
    acked: set[str] = set()
    for number in range(rounds(150)):
        made = page(number)
        assert send(daemon.port, made) == 200
        acked |= made[0]
        if number % 20 == 0:
            daemon.until_delivered()
    daemon.until_delivered()
    assert daemon.stop() == 0
    seen = look(daemon.data, tmp_path / "copy")
    assert min(seen.names) > 1
    assert lost(acked, seen, daemon.archive) == set()
    check_archive(seen, daemon.archive)
