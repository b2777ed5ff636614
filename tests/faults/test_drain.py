"""A real backlog under a limit: an alarm overtakes what waits, all of it goes once and in order.

How much of the limit is used, and that no second holds more, is measured where nothing else
runs: `python -m tests.bench drain`, and in virtual time by `tests/test_deliver_load.py`.
"""

from __future__ import annotations

from collections.abc import Callable

from fleetd.store import SinkPlace
from fleetd.taking import Taking
from tests.bench.fill import fill
from tests.faults.daemon import Daemon
from tests.faults.far import FarSide
from tests.faults.load import Line, point, violation

ROWS = 400
FIRST = 1 << 42  # away from the numbers of the fill


def test_an_alarm_overtakes_a_backlog_that_drains_once_and_in_order(
    make_daemon: Callable[..., Daemon],
) -> None:
    with FarSide() as hub:
        daemon = make_daemon(sinks=hub.sink(batch=1) + "rate = 100\n")
        fill(daemon.data, ROWS, {"hub": SinkPlace(Taking())})
        daemon.begin()
        daemon.until(lambda: len(hub.seqs) >= 20, "the first of the backlog")
        line = Line(daemon.port)
        assert line.post(point(FIRST)[1])[0] == 200
        assert line.post(violation(FIRST + 1)[1])[0] == 200
        daemon.until(lambda: len(hub.seqs) == ROWS + 2, "everything", within=120)
        daemon.until(lambda: not daemon.waiting(), "the last cursor")
        daemon.kill()

    live, alarm = ROWS + 1, ROWS + 2
    went = list(hub.seqs)
    assert set(hub.seqs.values()) == {1}
    assert went.index(alarm) < ROWS - 1
    assert [seq for seq in went if seq != alarm] == [*range(1, ROWS + 1), live]
