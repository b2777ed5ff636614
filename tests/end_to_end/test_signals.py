"""A first signal drains, a second one ends it at once, whatever is under way."""

from __future__ import annotations

import signal
import socket

import pytest

from tests.harness import Fleetd

SINK = """
[sources.demo]
provider = "demo"
[sinks.hub]
kind = "http"
url = "http://127.0.0.1:$far/"
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_it_though_a_far_side_never_answers(make, number):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        daemon = make(SINK, far=str(silent.getsockname()[1])).begin()
        silent.settimeout(30)
        taken, _ = silent.accept()  # a request is under way, and stays so
        with taken:
            taken.recv(1)
            daemon.signal(number)
            daemon.until(lambda: daemon.logged("stopping"), "it to begin its stop")
            daemon.signal(number)

            assert daemon.ended() == -number, "by the signal: it waited for nobody"
            assert daemon.logged("stopped_at_once")
            assert not daemon.logged("stopped")
    daemon.begin()
    assert daemon.status()["log"]["events"] > 0
    assert daemon.asked("ledger", "--json", code=None)["verdict"] != "lost"


def test_a_reload_asked_for_while_it_starts_does_not_end_it(make):
    daemon: Fleetd = make()
    daemon.start()
    daemon.until(lambda: daemon.logged("starting"), "its first word")
    daemon.signal(signal.SIGHUP)
    daemon.begin()

    assert daemon.stop() == 0


def test_a_reload_is_never_told_to_systemd_as_a_stop(make, tmp_path):
    place = str(tmp_path / "notify")
    said: list[str] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
        ear.bind(place)
        ear.settimeout(30)

        def heard(word: str) -> list[str]:
            """What was said up to and with this word."""
            said.clear()
            while not said or not said[-1].startswith(word):
                said.append(ear.recv(4096).decode())
            return [one.split("\n")[0] for one in said]

        daemon: Fleetd = make(environ={"NOTIFY_SOCKET": place}).begin()
        assert heard("READY=1") == ["READY=1"]
        daemon.reload()
        assert heard("READY=1") == ["RELOADING=1", "READY=1"]
        daemon.write("[daemon]\n")
        daemon.reload("config_refused")
        assert heard("READY=1") == ["RELOADING=1", "READY=1"]
        daemon.signal(signal.SIGTERM)
        assert heard("STOPPING=1") == ["STOPPING=1"]
        assert daemon.ended() == 0


def test_a_file_that_was_not_taken_is_said_until_a_better_one_is(make):
    daemon: Fleetd = make().begin()
    good = daemon.file.read_text()
    daemon.write(good + "\n[webhook]\n")
    daemon.reload("config_refused")
    shown = daemon.run("status")
    daemon.write(good)
    before = daemon.status()["config_refused"]
    daemon.reload()
    daemon.until(lambda: not daemon.status()["config_refused"], "it to be forgotten")

    assert "webhook: no such key" in shown.stderr
    assert "not taken, fleetd goes on as before" in shown.stdout
    assert "did you mean `webhooks`?" in before
