"""What stands beside the package agrees with it: the unit, the users, the proxies."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from fleetd import __main__ as main
from fleetd import cli, config
from fleetd.config.shape import Webhooks
from fleetd.tasks.deliver.plan import PATIENCE
from fleetd.tasks.heartbeat import ANSWERS_WITHIN_S

ROOT = Path(__file__).resolve().parent.parent
UNIT = ROOT / "packaging" / "fleetd.service"


@pytest.fixture
def service() -> configparser.SectionProxy:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(UNIT)
    return unit["Service"]


def test_the_unit_runs_a_command_that_there_is(service):
    program, *words = service["ExecStart"].split()
    chosen = main.outer_parser().parse_args(words)

    assert program.endswith("/fleetd")
    assert chosen.command == "run"
    assert chosen.command in cli.names()
    assert service["ExecReload"].split()[1] == "-HUP"


def test_the_unit_waits_as_long_as_the_daemon_promises_to_take(service):
    assert service["Type"] == "notify"
    assert float(service["WatchdogSec"]) > 2 * ANSWERS_WITHIN_S
    assert float(service["TimeoutStopSec"]) > PATIENCE + 5


def test_the_unit_starts_anew_after_a_failed_disk_and_not_after_a_bad_config(service):
    never = {int(one) for one in service["RestartPreventExitStatus"].split()}

    assert service["Restart"] == "always"
    assert never == {main.USAGE, main.LOCKED, main.CONFIG}
    assert "\nStartLimitIntervalSec=0\n" in UNIT.read_text()


def test_the_unit_leaves_the_daemon_what_it_needs(service):
    assert "ProtectClock" not in service, "the kernel is asked whether NTP keeps it"
    assert "adjtimex" in service["SystemCallFilter"]
    assert service["StateDirectory"] == service["User"] == "fleetd"
    users = (ROOT / "packaging" / "fleetd.sysusers").read_text()
    assert re.search(r"^u fleetd .*/var/lib/fleetd$", users, re.MULTILINE)


def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path):
    verify = shutil.which("systemd-analyze")
    assert verify is not None, ".ci/packages installs systemd"
    (tmp_path / "fleetd.service").write_text(
        UNIT.read_text().replace("/usr/bin/fleetd", "/bin/true")
    )
    done = subprocess.run(
        [verify, "verify", "--recursive-errors=no", tmp_path / "fleetd.service"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


@pytest.mark.parametrize("name", ["Caddyfile", "nginx.conf"])
def test_a_proxy_hands_on_to_where_the_sample_listens(name):
    text = (ROOT / "contrib" / name).read_text()
    keys = re.findall(r"^#   (\w+ = .*)$", text, re.MULTILINE)
    said = "\n".join(['[daemon]\ndata = "d"', "[webhooks]", *keys])
    house = config.parse(said, ROOT / "fleetd.toml")

    assert str(Webhooks().bind[0]) in text
    assert house.webhooks.public_url == "https://fleet.example.com"
    assert house.webhooks.trusted_proxies
    assert "/webhooks/" in text
