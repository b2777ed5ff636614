"""The crash oracle: SIGKILL at any moment, and nothing acknowledged is lost or doubled."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path

from tests.bench import corpus
from tests.faults.daemon import Daemon
from tests.faults.load import PAGE, Load, page, point, send
from tests.faults.oracle import check_archive, lines, look, lost
from tests.faults.shim import Faults

FRESH_WITHIN_S = 2.0
FAR = 1_000_000_000  # numbers of events that are sent by hand


def at_start(daemon: Daemon, load: Load, chance: random.Random) -> None:
    """Somewhere between the fork and the first answer; a second start follows at once."""
    del load
    daemon.kill()
    daemon.start()
    time.sleep(chance.uniform(0, 1.2))


def under_load(daemon: Daemon, load: Load, chance: random.Random) -> None:
    del daemon
    load.until_acked(1)
    load.wait(chance.uniform(0, 1.0))


def at_checkpoint(daemon: Daemon, load: Load, chance: random.Random) -> None:
    """While pages are copied from the write-ahead log: only then the log's own file changes."""
    file = daemon.data / "log.sqlite"
    before = file.stat().st_mtime_ns
    end = time.monotonic() + 5
    while file.stat().st_mtime_ns == before and time.monotonic() < end:
        time.sleep(0.0002)
    time.sleep(chance.choice([0, 0, 0.0005, 0.002]))
    del load


def at_replay(daemon: Daemon, load: Load, chance: random.Random) -> None:
    """While a replay sends again, behind live delivery."""
    told = daemon.command("replay", "archive", "--last", "3000", "--yes")
    assert told.returncode == 0, told.stderr
    load.wait(chance.uniform(0, 0.5))


MOMENTS = (under_load, at_start, at_checkpoint, under_load, at_replay)


def test_a_daemon_killed_at_any_moment_loses_and_doubles_nothing(
    tmp_path: Path,
    make_daemon: Callable[..., Daemon],
    rounds: Callable[[int], int],
    seed: int,
) -> None:
    chance = random.Random(seed)
    daemon = make_daemon()
    with Load(daemon.port, tmp_path / "acked", first=seed % 1000 * 1_000_000) as load:
        for number in range(rounds(20)):
            moment = MOMENTS[number % len(MOMENTS)]
            print(f"round {number}: {moment.__name__}")
            daemon.begin()
            passes(daemon, FAR + number)
            moment(daemon, load, chance)
            acked = load.so_far()
            daemon.kill()
            seen = look(daemon.data, tmp_path / "copy")
            assert lost(acked, seen) == set()
            check_archive(seen, daemon.archive)
        daemon.begin()
        load.until_acked(1)
    daemon.until_delivered()
    assert load.wrong == []
    finished(daemon, load, tmp_path)


def test_a_first_start_that_is_killed_anywhere_leaves_a_folder_that_works(
    tmp_path: Path,
    make_daemon: Callable[..., Daemon],
    rounds: Callable[[int], int],
    seed: int,
) -> None:
    """The one migration there is runs in the first start."""
    chance = random.Random(seed)
    for number in range(rounds(6)):
        daemon = make_daemon(f"fresh{number}")
        log = daemon.data / "log.sqlite"
        daemon.start()
        daemon.until(log.exists, "the log to appear")
        time.sleep(chance.choice([0, 0.001, 0.005, 0.02, 0.05]))
        daemon.kill()
        look(daemon.data, tmp_path / "copy")
        daemon.begin()
        passes(daemon, FAR + number)
        assert daemon.stop() == 0
        assert list(daemon.data.glob("aside-*")) == []
        assert len(look(daemon.data, tmp_path / "copy").names) == 1


def test_a_kill_while_the_oldest_are_let_go_of_loses_and_doubles_nothing(
    tmp_path: Path,
    make_daemon: Callable[..., Daemon],
    rounds: Callable[[int], int],
    seed: int,
) -> None:
    chance = random.Random(seed)
    faults = Faults(tmp_path, tmp_path / "one" / "data")
    faults.clock(kept=True)
    daemon = make_daemon(store='max_disk = "64MiB"', environ=faults.environ)
    with Load(daemon.port, tmp_path / "acked", clients=1, make=page) as load:
        for number in range(rounds(4)):
            daemon.begin()
            load.until_acked(PAGE * (100 if number == 0 else 10), within=60)
            load.wait(chance.uniform(0, 1.5))
            acked = load.so_far()
            daemon.kill()
            seen = look(daemon.data, tmp_path / "copy")
            assert lost(acked, seen, daemon.archive) == set()
            check_archive(seen, daemon.archive)
        daemon.begin()
    daemon.until_delivered()
    assert daemon.stop() == 0
    seen = look(daemon.data, tmp_path / "copy")
    assert min(seen.names) > 1
    assert lost(load.acked, seen, daemon.archive) == set()
    check_archive(seen, daemon.archive)


def passes(daemon: Daemon, number: int) -> None:
    """A fresh event goes all the way in time, whatever the kill left behind."""
    began = time.monotonic()
    assert send(daemon.port, point(number)) == 200
    left = FRESH_WITHIN_S - (time.monotonic() - began)
    wanted = corpus.uuid(number).encode()

    def is_there() -> bool:
        files = daemon.archive.glob("2*.ndjson")
        return any(wanted in file.read_bytes() for file in files)

    daemon.until(is_there, "a fresh event to pass", left)


def finished(daemon: Daemon, load: Load, tmp_path: Path) -> None:
    """Stopped in peace: everything is in the log and once in the archive."""
    jobs_done(daemon)
    told = daemon.command("ledger")
    assert told.returncode in {0, 3}, told.stdout + told.stderr
    assert daemon.stop() == 0
    seen = look(daemon.data, tmp_path / "copy")
    check_archive(seen, daemon.archive)
    assert lost(load.acked, seen) == set()
    assert set(lines(daemon.archive)) == set(seen.names)


def jobs_done(daemon: Daemon) -> None:
    """Replays outlive kills: each ends, and wrote each of its lines once."""

    def none_runs() -> bool:
        return all(job["state"] == "done" for job in daemon.status()["jobs"])

    daemon.until(none_runs, "the replays to end")
    for job in daemon.status()["jobs"]:
        found = lines(daemon.archive, f"replay-{job['id']}-")
        assert found
        assert max(found.values()) == 1
