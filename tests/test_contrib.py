"""The alerts and the dashboard ask for what the program measures."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ALERTS = ROOT / "contrib" / "prometheus-alerts.yml"
DASHBOARD = ROOT / "contrib" / "grafana.json"
WRITTEN_IN = [
    ROOT / "fleetd" / "metrics.py",
    *(ROOT / "fleetd" / "tasks" / "report").glob("*.py"),
]
NAME = re.compile(r"fleetd_[a-z_]+")
PARTS = ("_bucket", "_count", "_sum")  # of a histogram
MADE = {"fleetd_records_total", "fleetd_events_total", "fleetd_deliveries_total"}


def known() -> set[str]:
    """Every metric the program writes."""
    found = {name for path in WRITTEN_IN for name in NAME.findall(path.read_text())}
    return found | MADE


def used(text: str) -> set[str]:
    names = set(NAME.findall(text))
    return {next((n.removesuffix(p) for p in PARTS if n.endswith(p)), n) for n in names}


@pytest.mark.parametrize("path", [ALERTS, DASHBOARD], ids=lambda path: path.name)
def test_every_metric_it_asks_for_is_one_we_write(path):
    names = used(path.read_text())

    assert len(names) > 5
    assert names - known() == set()


def test_promtool_finds_nothing_wrong_with_the_alerts():
    promtool = shutil.which("promtool")
    assert promtool, "prometheus is among the packages of .ci/packages"
    done = subprocess.run(
        [promtool, "check", "rules", "--lint=all", "--lint-fatal", ALERTS],
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout + done.stderr


def test_an_alert_fires_when_a_sink_has_held_for_days(tmp_path):
    """Rules through promtool's own machine, so that they are not only spelled right."""
    played(
        tmp_path,
        """
  - interval: 5m
    input_series:
      - series: 'fleetd_oldest_waiting_seconds{sink="ops"}'
        values: '0+300x4800'
    alert_rule_test:
      - eval_time: 200h
        alertname: FleetdSinkHeldForDays
        exp_alerts: []
      - eval_time: 300h
        alertname: FleetdSinkHeldForDays
        exp_alerts:
          - exp_labels: {sink: ops, severity: page}
            exp_annotations:
              summary: ops has not taken its oldest event for 12d 12h 0m 0s
              description: Beyond its `hold` (14d by itself) the oldest may be skipped to make room.
""",
    )


def test_dead_letters_that_come_alert_and_those_that_go_do_not(tmp_path):
    played(
        tmp_path,
        """
  - interval: 5m
    input_series:
      - series: 'fleetd_dead_letters{name="ops"}'
        values: '100+0x24 50+0x24 62+0x12'
    promql_expr_test:
      - expr: count(ALERTS{alertname="FleetdDeadLetters"}) or vector(0)
        eval_time: 150m
        exp_samples: [{value: 0}]
      - expr: count(ALERTS{alertname="FleetdDeadLetters"}) or vector(0)
        eval_time: 300m
        exp_samples: [{value: 1}]
""",
    )


def played(tmp_path: Path, tests: str) -> None:
    """Have promtool play the rules over what was measured."""
    promtool = shutil.which("promtool")
    assert promtool
    (tmp_path / "test.yml").write_text(
        f"rule_files: [{ALERTS}]\nevaluation_interval: 5m\ntests:{tests}"
    )
    done = subprocess.run(
        [promtool, "test", "rules", tmp_path / "test.yml"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout + done.stderr


def test_the_dashboard_is_one_that_grafana_imports():
    board = json.loads(DASHBOARD.read_text())
    places = [(p["gridPos"]["x"], p["gridPos"]["y"]) for p in board["panels"]]

    assert board["title"] == "fleetd"
    assert all(panel["targets"] for panel in board["panels"])
    assert len(set(places)) == len(board["panels"])
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
