"""What is measured, and the text that Prometheus reads."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from fleetd.metrics import Family, Histogram, Metrics, family
from tests.desk import desk
from tests.store.deeds import crash, drain, fix, put


def test_a_histogram_counts_each_observation_in_every_bound_above_it():
    metrics = Metrics()
    for seconds in (0.0004, 0.003, 0.003, 99.0):
        metrics.answered("north", 200, seconds)

    text = "\n".join(metrics.text())

    assert 'fleetd_answer_seconds_bucket{le="0.001"} 1' in text
    assert 'fleetd_answer_seconds_bucket{le="0.005"} 3' in text
    assert 'fleetd_answer_seconds_bucket{le="30"} 3' in text
    assert 'fleetd_answer_seconds_bucket{le="+Inf"} 4' in text
    assert "fleetd_answer_seconds_count 4" in text
    assert 'fleetd_answers_total{source="north",status="200"} 4' in text


def test_a_quantile_is_the_bound_that_so_many_stay_below():
    times = Histogram((0.01, 0.1, 1.0))
    for _ in range(98):
        times.observe(0.005)
    times.observe(0.5)
    times.observe(0.5)

    assert times.quantile(0.5) == 0.01
    assert times.quantile(0.99) == 1.0
    assert Histogram().quantile(0.99) is None


def test_a_label_cannot_break_its_line():
    one = Family("fleetd_x", "gauge", "X.", [({"name": 'a"b\\c\nd'}, 1.5)])

    assert list(family(one))[-1] == 'fleetd_x{name="a\\"b\\\\c\\nd"} 1.5'


def test_a_family_without_samples_says_nothing():
    assert list(family(Family("fleetd_x", "gauge", "X.", []))) == []


def linted(promtool: str, page: bytes) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [promtool, "check", "metrics"], input=page, capture_output=True, check=False
    )


async def test_promtool_has_nothing_to_say_about_the_page(
    tmp_path, world, autojump_clock
):
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.fail("install promtool (Debian: prometheus)")
    async with desk(tmp_path, world) as here:
        await put(here.store, fix(1), crash(2), b"bad", fix(3, latitude=0, longitude=0))
        await drain(here.store)
        here.board.metrics.answered("north", 200, 0.01)
        here.board.metrics.delivered("ops", "taken", 0.2)
        page = (await here.port("/metrics")).body

    checked = linted(promtool, page)

    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")
    assert (
        b'fleetd_events_total{source="north",kind="position",outcome="stored"} 1'
        in page
    )
    assert b'fleetd_waiting_events{sink="pager"} 1' in page
    assert b'fleetd_dead_letters{side="source",name="north"} 1' in page


async def test_counts_go_on_over_a_restart(tmp_path, world, autojump_clock):
    async with desk(tmp_path, world) as here:
        await put(here.store, fix(1), fix(1))
    async with desk(tmp_path, world) as here:
        await put(here.store, fix(2), fix(1))
        page = (await here.port("/metrics")).body

    assert b'kind="position",outcome="stored"} 2' in page
    assert b'kind="position",outcome="duplicate"} 2' in page
