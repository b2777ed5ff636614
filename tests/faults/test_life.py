"""One daemon a folder; a stop that answers what is in flight; a reload that loses nothing."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable
from pathlib import Path

from tests.faults.daemon import ARCHIVE, Daemon
from tests.faults.far import FarSide
from tests.faults.load import Load, point, send
from tests.faults.oracle import Seen, check_archive, lines, look, lost
from tests.faults.shim import Faults

LOCKED, CONFIG = 75, 78


def test_a_second_daemon_on_the_same_folder_leaves_and_says_who_has_it(
    make_daemon: Callable[..., Daemon],
) -> None:
    first = make_daemon("first")
    first.begin()
    second = make_daemon("second", data=first.data)
    second.start()

    assert second.ended() == LOCKED
    assert first.child is not None
    assert f"pid {first.child.pid}" in second.told()
    assert first.stop() == 0
    second.begin()
    assert second.stop() == 0


def test_a_stop_answers_what_is_in_flight_and_finishes_what_is_held(
    tmp_path: Path, make_daemon: Callable[..., Daemon], rounds: Callable[[int], int]
) -> None:
    faults = Faults(tmp_path, tmp_path / "one" / "data")
    daemon = make_daemon(environ=faults.environ)
    for number in range(rounds(3)):
        faults.slow_syncs(0)
        daemon.begin()
        first = number * 1_000_000
        with Load(daemon.port, tmp_path / "acked", clients=8, first=first) as load:
            load.until_acked(50)
            faults.slow_syncs(0.3)  # so that there is something in flight
            load.until_acked(2)
            load.wait(0.1)
            before = sum(load.answers.values())
            load.no_more()
            code = daemon.stop()
        seen = look(daemon.data, tmp_path / "copy")

        assert code == 0, daemon.told()
        assert sum(load.answers.values()) > before
        assert set(load.answers) == {200}
        assert lost(load.acked, seen) == set()
        assert set(lines(daemon.archive)) == delivered(seen)
        check_archive(seen, daemon.archive)


def test_a_reload_asked_for_while_it_stops_begins_nothing_anew(
    make_daemon: Callable[..., Daemon],
) -> None:
    daemon = make_daemon()
    daemon.begin()
    with socket.create_connection(("127.0.0.1", daemon.port)) as held:
        held.sendall(
            b"POST /webhooks/north HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n"
            b"Expect: 100-continue\r\n\r\n"
        )
        assert b"100 Continue" in held.recv(100)
        daemon.signal(signal.SIGTERM)
        daemon.until(lambda: "stopping" in daemon.told(), "the stop")
        daemon.signal(signal.SIGHUP)

    assert daemon.ended() in {0, -signal.SIGHUP}  # the latter: all was over already
    assert "config_taken" not in daemon.told()


def delivered(seen: Seen) -> set[int]:
    """What the cursors say the archive has: a stop leaves nothing written and not counted."""
    return {seq for seq, lane in seen.lanes.items() if seq <= seen.cursors[lane]}


def test_a_reload_with_a_bad_config_changes_nothing(
    tmp_path: Path, make_daemon: Callable[..., Daemon]
) -> None:
    daemon = make_daemon()
    daemon.begin()
    with Load(daemon.port, tmp_path / "acked") as load:
        load.until_acked(20)
        daemon.configure(ARCHIVE + "\n[sinks.more]\nkind = 'no such kind'\n", "")
        daemon.signal(signal.SIGHUP)
        daemon.until(lambda: "config_refused" in daemon.told(), "the refusal")
        load.until_acked(200)

    assert set(load.answers) == {200}
    assert list(daemon.status()["sinks"]) == ["archive"]
    whole(daemon, load, tmp_path)


def test_a_reload_adds_a_sink_and_loses_no_request_under_load(
    tmp_path: Path, make_daemon: Callable[..., Daemon]
) -> None:
    with FarSide() as far:
        daemon = make_daemon()
        daemon.begin()
        with Load(daemon.port, tmp_path / "acked") as load:
            load.until_acked(100)
            for sinks in (ARCHIVE + far.sink(), ARCHIVE, ARCHIVE + far.sink()):
                daemon.configure(sinks, 'max_disk = "2GiB"')
                before = daemon.output.read_text().count("config_taken")
                daemon.signal(signal.SIGHUP)
                daemon.until(
                    lambda n=before: (
                        daemon.output.read_text().count("config_taken") > n
                    ),
                    "the new config to be taken",
                )
                load.until_acked(200)

        assert load.broken == 0
        assert set(load.answers) <= {200, 0}
        whole(daemon, load, tmp_path)
        assert set(far.seqs) == set(lines(daemon.archive))
        assert max(far.seqs.values()) == 1


def test_a_reload_keeps_no_webhook_waiting_for_a_slow_far_side(
    make_daemon: Callable[..., Daemon],
) -> None:
    with FarSide() as far:
        far.free.clear()
        daemon = make_daemon(sinks=far.sink())
        daemon.begin()
        assert send(daemon.port, point(1)) == 200
        daemon.until(lambda: bool(far.seqs), "the first request")
        daemon.signal(signal.SIGHUP)
        daemon.until(lambda: "config_taken" in daemon.told(), "the reload")

        assert send(daemon.port, point(2)) == 200
        assert b'fleetd_requests_total{sink="hub"' not in daemon.get("/metrics")[1]
        far.free.set()
        daemon.until_delivered()
        assert max(far.seqs.values()) == 1
        assert daemon.stop() == 0


def whole(daemon: Daemon, load: Load, tmp_path: Path) -> None:
    daemon.until_delivered()
    assert daemon.stop() == 0
    seen = look(daemon.data, tmp_path / "copy")
    assert lost(load.acked, seen) == set()
    check_archive(seen, daemon.archive)
