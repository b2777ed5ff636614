"""A first signal drains, a second one ends it at once, whatever is under way."""

from __future__ import annotations

import signal
import socket

import pytest

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
