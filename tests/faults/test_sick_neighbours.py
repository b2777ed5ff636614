"""Beside far sides that crawl, break or hang, a well one gets everything, once and in order."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.bench.far import far
from tests.faults.daemon import Daemon
from tests.faults.far import FarSide
from tests.faults.load import Line, point

EVENTS = 400
SICK = {"slow": (3.0, 200), "broken": (0.0, 500), "hole": (0.0, 0)}  # wait, status
SINK = """
[sinks.{name}]
kind = "http"
url = "http://127.0.0.1:{port}/{name}"
batch = 5
"""


def test_a_well_sink_gets_everything_while_three_others_are_sick(
    tmp_path: Path, make_daemon: Callable[..., Daemon]
) -> None:
    """The sick ones keep what is theirs, and it is told of them what they do."""
    with ExitStack() as stack:
        well = stack.enter_context(FarSide())
        sinks = well.sink(batch=5)
        for name, (wait, status) in SICK.items():
            port = stack.enter_context(far(tmp_path / name, wait, status)).port
            sinks += SINK.format(name=name, port=port)
        daemon = make_daemon(sinks=sinks)
        daemon.begin()
        line = Line(daemon.port)
        for number in range(EVENTS):
            assert line.post(point(number)[1])[0] == 200
        daemon.until(lambda: len(well.seqs) == EVENTS, "all to reach the well one")
        daemon.until(lambda: told(daemon, "hub")["delivered"] == EVENTS, "its cursor")
        daemon.until(lambda: "500" in told(daemon, "broken")["why"], "why it waits")
        waiting = {name: told(daemon, name)["waiting"] for name in SICK}
        daemon.kill()

    assert list(well.seqs) == sorted(well.seqs)
    assert set(well.seqs.values()) == {1}
    assert waiting["hole"] == waiting["broken"] == EVENTS
    assert waiting["slow"] > 0


def told(daemon: Daemon, sink: str) -> dict[str, Any]:
    """What the operator reads of one sink."""
    found: dict[str, Any] = daemon.status()["sinks"][sink]
    return found
