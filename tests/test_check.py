"""`check`, `init` and the way from what was typed to an exit status."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
from copy import deepcopy
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
import trio
import trustme

from fleetd import __main__ as front
from fleetd import cli, config, providers, sinks
from fleetd.cli import _live, check, init
from fleetd.errors import (
    ConfigError,
    FleetdError,
    LockedError,
    StoreError,
    UnreachableError,
    UsageError,
)
from fleetd.secrets import MASK
from fleetd.world import World
from tests.clouds.sheets import account_of, key_of_google

ROOT = Path(__file__).parents[1]
SAMPLE = (ROOT / "fleetd.toml").read_text()
LEAST = '[daemon]\ndata = "d"\n'
HUB = '[sinks.hub]\nkind = "http"\nurl = "https://hub.example/in"\n'
DEMO = '[sources.demo]\nprovider = "demo"\n'
NOW = datetime(2026, 11, 21, 22, 5, 3, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _forgetful():
    before = deepcopy(vars(MASK))
    yield
    vars(MASK).update(before)


def file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "fleetd.toml"
    path.write_text(text)
    path.chmod(0o600)
    return path


def verdict_on(path: Path, **environ: str) -> check.Verdict:
    house = config.fitted(config.load(path, {}), providers.load, sinks.load)
    return check.judge(house, World(environ=environ, now=lambda: NOW))


def blocks() -> dict[str, str]:
    """The commented blocks of the sample by task, uncommented."""
    found: dict[str, str] = {}
    for part in SAMPLE.split("# --- ")[1:]:
        title, _newline, rest = part.partition("\n")
        lines = [line[1:] for line in rest.splitlines() if re.match(r"#\S", line)]
        if lines:
            found[title.strip("- ")] = "\n".join(lines) + "\n"
    return found


def test_the_sample_runs_as_it_is(tmp_path):
    verdict = verdict_on(file(tmp_path, SAMPLE))

    assert verdict.ok
    assert verdict.errors == verdict.warnings == verdict.notes == []


def beside_it(folder: Path) -> Path:
    """The files that the sample names, as an operator would have them."""
    roster = "provider,id,fleet_number,vin,plate\nsamsara,281474,T-101,,\n"
    (folder / "vehicles.csv").write_text(roster)
    key = folder / "google.json"
    key.write_text(json.dumps(account_of(key_of_google())))
    key.chmod(0o600)
    return folder


@pytest.mark.parametrize("task", sorted(blocks()))
def test_every_commented_block_of_the_sample_is_right_once_uncommented(tmp_path, task):
    block = blocks()[task]
    environ = dict.fromkeys(re.findall(r"env:(\w+)", block), "whsec_" + "QUJD" * 12)

    verdict = verdict_on(file(beside_it(tmp_path), SAMPLE + block), **environ)

    assert verdict.errors == []


def test_all_blocks_of_the_sample_go_together(tmp_path):
    everything = SAMPLE + "".join(blocks().values())
    environ = dict.fromkeys(
        re.findall(r"env:(\w+)", everything), "whsec_" + "QUJD" * 12
    )

    assert len(blocks()) >= 5
    assert verdict_on(file(beside_it(tmp_path), everything), **environ).ok


def test_init_writes_the_sample_and_never_over_a_file(tmp_path, capsys):
    path = tmp_path / "new.toml"

    assert front.main(["init", str(path)]) == 0
    assert path.read_text() == SAMPLE
    assert path.stat().st_mode & 0o007 == 0

    path.write_text("mine")
    assert front.main(["init", str(path)]) == 1
    assert path.read_text() == "mine"
    assert "is there already" in capsys.readouterr().err


def test_init_in_a_folder_writes_fleetd_toml_there(tmp_path):
    assert front.main(["init", str(tmp_path)]) == 0
    assert (tmp_path / "fleetd.toml").read_text() == init.sample()


def test_init_says_what_to_type_next_as_a_shell_takes_it(tmp_path, capsys):
    front.main(["init", str(tmp_path / "our fleet")])

    typed = f"fleetd -c '{tmp_path}/our fleet/fleetd.toml' check"
    assert typed in capsys.readouterr().out


def test_init_makes_a_folder_that_is_not_there(tmp_path):
    assert front.main(["init", str(tmp_path / "new" / "fleet")]) == 0
    assert (tmp_path / "new" / "fleet" / "fleetd.toml").read_text() == SAMPLE
    assert front.main(["init", "/proc/none"]) == 1


def test_check_prints_where_to_paste_what(tmp_path, capsys):
    door = '[webhooks]\npublic_url = "https://fleet.example/"\n'
    secret = 'webhook_secret = "plain:hush-hush"\n'
    path = file(tmp_path, LEAST + door + DEMO + secret + HUB)

    status = front.main(["-c", str(path), "check"])

    said = capsys.readouterr().out
    assert status == 0
    assert "demo  https://fleet.example/webhooks/demo\n" in said
    assert "Demo fleet" in said
    assert "hush" not in said
    assert "(plain:)" in said


def test_a_key_in_the_path_is_named_and_not_shown(tmp_path):
    text = LEAST + DEMO + 'auth = { key = "env:KEY" }\n' + HUB

    verdict = verdict_on(file(tmp_path, text), KEY="hush-hush")

    (hook,) = verdict.webhooks
    assert hook.url == "http://127.0.0.1:8780/webhooks/demo/KEY"
    assert "sources.demo.auth.key" in hook.where
    assert "webhooks.public_url is not set" in verdict.notes[0]


def test_a_missing_secret_is_an_error_and_an_unseen_one_is_a_note(tmp_path):
    text = LEAST + DEMO + 'webhook_secret = ["secret:demo", "env:UNSET"]\n' + HUB

    verdict = verdict_on(file(tmp_path, text))

    assert not verdict.ok
    assert "toml:5: sources.demo.webhook_secret: env:UNSET is not" in verdict.errors[0]
    assert "secret:demo is for the service to see" in verdict.notes[0]


def test_nobody_hearing_of_a_crash_is_warned_of(tmp_path):
    deaf = verdict_on(file(tmp_path, LEAST + DEMO + HUB + 'takes = ["position"]\n'))
    none = verdict_on(file(tmp_path, LEAST + DEMO))
    empty = verdict_on(file(tmp_path, LEAST))

    assert "no sink takes `safety`" in deaf.warnings[0]
    assert "no sinks" in none.warnings[0]
    assert "no sources" in empty.warnings[0]
    assert deaf.ok


def test_secrets_in_a_file_for_all_to_read_are_warned_of(tmp_path):
    path = file(tmp_path, LEAST + DEMO + HUB + 'signing_secret = "plain:hush-hush"\n')
    path.chmod(0o644)

    assert any(
        "others can read it: chmod 600" in one for one in verdict_on(path).warnings
    )


def test_a_data_folder_for_all_to_look_into_is_warned_of(tmp_path):
    path = file(tmp_path, LEAST)
    (tmp_path / "d").mkdir(mode=0o755)
    loose = check.judge(config.load(path), World()).warnings
    (tmp_path / "d").chmod(0o750)
    tight = check.judge(config.load(path), World()).warnings

    assert any("chmod 750" in one for one in loose)
    assert not any("chmod 750" in one for one in tight)


def test_certificates_are_opened(tmp_path):
    text = (
        LEAST
        + '[webhooks]\ntls_cert = "c.pem"\ntls_key = "k.pem"\n'
        + DEMO
        + 'ca = "c.pem"\n'
        + HUB
    )
    path = file(tmp_path, text)
    lost = verdict_on(path)
    pair = trustme.CA().issue_cert("fleet.example")
    pair.cert_chain_pems[0].write_to_path(tmp_path / "c.pem")
    pair.private_key_pem.write_to_path(tmp_path / "k.pem")
    good = verdict_on(path)
    (tmp_path / "c.pem").write_text("not one")
    bad = verdict_on(path)

    assert len(lost.errors) == 2
    assert good.ok
    assert len(bad.errors) == 2


def test_a_data_folder_that_is_a_file_is_an_error(tmp_path):
    (tmp_path / "d").write_text("")

    (error,) = verdict_on(file(tmp_path, LEAST + DEMO + HUB)).errors
    assert re.search(r"fleetd\.toml:2: daemon\.data: .* is not a folder", error)


async def test_a_folder_of_somebody_elses_says_so_in_words():
    async def refused(_table: object, _world: object) -> str:
        raise PermissionError(13, "Permission denied", "/srv/lake")

    found = await _live.patiently("sinks.lake", refused, None, None)

    assert found.said.startswith("/srv/lake: Permission denied for this user")
    assert not found.ok


def test_json_is_one_document_also_when_the_file_is_wrong(tmp_path, capsys):
    good, bad = file(tmp_path, LEAST + DEMO + HUB), tmp_path / "bad.toml"
    bad.write_text("[daemon]\ndta = 1\n")

    assert front.main(["-c", str(good), "check", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["ok"] is True
    assert front.main(["-c", str(bad), "check", "--json"]) == 78
    said = json.loads(capsys.readouterr().out)
    assert said["ok"] is False
    assert len(said["errors"]) == 2


def test_a_wrong_file_is_78_with_every_line_on_stderr(tmp_path, capsys):
    path = file(tmp_path, "[daemon]\ndta = 1\n")

    assert front.main(["-c", str(path), "check"]) == 78
    assert (
        f"{path}:2: daemon.dta: no such key; did you mean `data`?"
        in capsys.readouterr().err
    )


def live(tmp_path: Path, text: str, answer) -> dict[str, _live.Finding]:
    house = config.fitted(
        config.load(file(tmp_path, text), {}), providers.load, sinks.load
    )
    world = World(now=lambda: NOW, transport=httpx.MockTransport(answer), environ={})
    found = trio.run(_live.call_everything, house, world)
    return {one.name: one for one in found}


def dated(status: int, date: str = "Sat, 21 Nov 2026 22:05:01 GMT"):
    return lambda _request: httpx.Response(status, headers={"Date": date})


def test_live_calls_every_source_and_sink_once(tmp_path):
    asked = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return dated(200)(request)

    found = live(tmp_path, LEAST + DEMO + HUB, answer)

    assert found["sources.demo"].said.startswith(
        "Demo fleet: answered: vehicles (25), "
    )
    assert found["sinks.hub"].ok
    assert len(asked) == 1
    assert found["clock"].said == "2 s ahead of hub.example"
    assert "one fsync took" in found["disk"].said


def test_live_says_when_the_clock_is_off(tmp_path):
    found = live(tmp_path, LEAST + HUB, dated(200, "Sat, 21 Nov 2026 23:05:03 GMT"))

    assert not found["clock"].ok
    assert "3600 s behind hub.example; is NTP running" in found["clock"].said


def test_live_failures_are_findings_of_their_own(tmp_path):
    def answer(_request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    found = live(tmp_path, LEAST + HUB + DEMO, answer)

    assert not found["sinks.hub"].ok
    assert found["sources.demo"].ok
    assert found["clock"].said == "no HTTPS answer to compare it with"


def test_live_does_not_call_with_a_secret_it_cannot_see(tmp_path):
    text = LEAST + HUB + 'headers = { Authorization = "secret:hub" }\n'

    found = live(tmp_path, text, dated(500))

    assert found["sinks.hub"] == _live.Finding(
        "sinks.hub", ok=True, said="not called: secret:hub is not seen here"
    )


def test_a_proxy_that_cannot_be_used_is_an_error_of_the_source_that_polls(tmp_path):
    poller = '[sources.n]\nprovider = "motive"\ntoken = "plain:hush-hush"\n'
    path = file(tmp_path, LEAST + HUB + poller + 'proxy = "socks5://p:1080"\n')
    own = verdict_on(path).errors
    path = file(tmp_path, LEAST + HUB + poller)
    world = World(environ={"HTTPS_PROXY": "socks5://p:1080"})
    house = config.fitted(config.load(path, {}), providers.load, sinks.load)
    outer = check.judge(house, world).errors

    assert len(own) == len(outer) == 1
    assert "sources.n.proxy: it names a socks5 proxy; fleetd goes by http" in own[0]
    assert "sources.n.proxy: $HTTPS_PROXY names a socks5 proxy" in outer[0]


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        (FleetdError("x"), 1),
        (UsageError("x"), 2),
        (UnreachableError("x"), 69),
        (StoreError("x"), 74),
        (LockedError("x"), 75),
        (ConfigError("x"), 78),
    ],
)
def test_each_error_has_its_exit_status_also_out_of_a_nursery(fault, status, capsys):
    group = BaseExceptionGroup("", [ExceptionGroup("", [fault])])

    assert front.told([fault]) == status
    assert front.of_group(group) == status
    assert capsys.readouterr().err == "fleetd: x\n" * 2


def test_a_fault_of_nobodys_is_a_crash_and_an_interrupt_is_130():
    with pytest.raises(ExceptionGroup):
        front.of_group(ExceptionGroup("", [FleetdError("x"), ValueError("y")]))
    assert front.of_group(BaseExceptionGroup("", [KeyboardInterrupt()])) == 130


def test_messages_of_errors_are_masked(capsys):
    MASK.add("hush-hush")

    front.told([ConfigError("no hush-hush here")])

    assert capsys.readouterr().err == "fleetd: no *** here\n"


def test_an_unknown_command_is_2_with_the_nearest(capsys):
    assert front.main(["chek"]) == 2
    assert "did you mean `check`?" in capsys.readouterr().err
    assert front.main([]) == 2


def test_help_lists_every_command_with_its_sentence(capsys):
    assert front.main(["help"]) == 0

    said = capsys.readouterr().out
    for name in cli.names():
        assert f"\n  {name} " in said
        assert cli.summary(name) in said
    assert {"init", "check"} <= set(cli.names())
    assert not any(name.startswith("_") for name in cli.names())


def test_an_option_of_another_action_is_not_passed_over(capsys):
    assert front.main(["webhook", "list", "--rotate"]) == 2
    assert front.main(["dead", "list", "--unverified", "north"]) == 2
    assert capsys.readouterr().err == (
        "fleetd: --rotate and --untested go with add\n"
        "fleetd: --unverified goes with retry\n"
    )


def test_wrong_options_are_2(capsys):
    with pytest.raises(SystemExit) as caught:
        front.main(["check", "--lives"])

    assert caught.value.code == 2
    assert "usage: fleetd check" in capsys.readouterr().err


@pytest.mark.parametrize("name", cli.names())
def test_every_command_says_what_it_does_and_takes_arguments(name):
    command = cli.load(name)

    assert command.__doc__
    assert callable(command.arguments)
    assert callable(command.main)


def test_the_config_may_be_named_before_or_after_the_command(tmp_path, capsys):
    path = str(file(tmp_path, LEAST + DEMO + HUB))

    assert front.main(["check", "-c", path]) == 0
    assert front.main(["-c", path, "check"]) == 0
    assert capsys.readouterr().out.count(path) == 2


def test_a_reader_that_goes_away_is_not_a_crash(tmp_path):
    path = file(tmp_path, LEAST + DEMO + HUB)
    reader, writer = os.pipe()
    os.close(reader)
    with contextlib.closing(os.fdopen(writer, "w")) as out:
        ran = subprocess.run(
            [sys.executable, "-m", "fleetd", "-c", str(path), "check"],
            stdout=out, stderr=subprocess.PIPE, text=True, check=False, cwd=ROOT,
        )  # fmt: skip

    assert ran.returncode == 141
    assert ran.stderr == ""


def test_the_version_is_said():
    ran = subprocess.run(
        [sys.executable, "-m", "fleetd", "--version"],
        capture_output=True, text=True, check=True, cwd=ROOT,
    )  # fmt: skip

    assert re.fullmatch(r"fleetd \d+\.\d+\.\d+\n", ran.stdout)
