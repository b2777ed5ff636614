"""The commands as they are typed, beside a daemon that runs and without one."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness import Fleetd, by_motive
from tests.hub import Hub

SECRET = "operator-secret-77"
CONFIG = """
[sources.south]
provider = "motive"
webhook_secret = "env:SOUTH"

[sinks.archive]
kind = "file"
path = "$folder/archive"

[sinks.hub]
kind = "http"
url = "$hub"
takes = ["safety", "position", "geofence"]
"""
SAMPLES = Path(__file__).parent / "providers" / "motive"
UP = ["status", "events", "show", "ledger", "dead", "jobs"]


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    found = Hub()
    yield found
    found.close()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, hub: Hub) -> Iterator[Fleetd]:
    """A daemon that has taken in and delivered a few events."""
    one = made(tmp_path_factory.mktemp("up"), hub)
    one.begin()
    try:
        for n in range(3):
            one.post("south", fence(n), by_motive(fence(n), SECRET))
        one.until_idle()
        yield one
    finally:
        one.close()


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory, hub: Hub) -> Fleetd:
    """The folder of a daemon that was stopped."""
    one = made(tmp_path_factory.mktemp("down"), hub)
    one.begin()
    one.post("south", fence(1), by_motive(fence(1), SECRET))
    one.until_idle()
    assert one.stop() == 0
    return one


def made(folder: Path, hub: Hub) -> Fleetd:
    return Fleetd(
        folder, CONFIG, environ={"SOUTH": SECRET}, hub=f"http://127.0.0.1:{hub.port}/"
    )


def fence(n: int) -> bytes:
    return json.dumps(
        {
            "action": "vehicle_geofence_event",
            "id": 1000 + n,
            "trigger": "entry",
            "vehicle_id": 500 + n % 2,
            "driver_id": 77,
            "geofence_id": 5,
            "start_time": f"2026-11-21T10:00:{n:02}Z",
        }
    ).encode()


def test_status_says_who_and_how(running: Fleetd):
    found = running.asked("status")
    plain = running.run("status").stdout

    assert found["state"] == "healthy", found["reasons"]
    assert found["config"] == str(running.file)
    assert running.child is not None
    assert found["pid"] == running.child.pid
    assert plain.startswith(f"fleetd {found['version']} (pid {found['pid']}, up ")
    assert "is HEALTHY" in plain
    assert "\x1b" not in plain, "no colour where nobody looks"
    for word in ("south", "archive", "hub", "dead      none", "disk  ", "tasks  "):
        assert word in plain


def test_status_without_the_daemon_reads_the_log_and_exits_69(stopped: Fleetd):
    found = stopped.asked("status", code=69)
    plain = stopped.run("status", code=69).stdout

    assert found["state"] == "stopped"
    assert found["pid"] is None
    assert found["sources"]["south"]["stored"] == 1
    assert found["sinks"]["archive"]["delivered"] == 1
    assert found["sinks"]["archive"]["last_success_at"] is not None
    assert "is STOPPED" in plain


def test_reading_works_without_the_daemon(stopped: Fleetd):
    before = {one.name: one.read_bytes() for one in log_of(stopped)}

    assert [one["kind"] for one in stopped.events()] == ["geofence"]
    assert stopped.asked("show", "1")["event"]["seq"] == 1
    assert stopped.run("ledger", code=None).returncode in {0, 3}
    assert "no dead letters" in stopped.run("dead").stdout
    assert "no jobs" in stopped.run("jobs").stdout
    assert {one.name: one.read_bytes() for one in log_of(stopped)} == before


def log_of(one: Fleetd) -> list[Path]:
    return sorted((one.folder / "data").glob("log.sqlite"))


@pytest.mark.parametrize(
    "words",
    [("pause", "hub"), ("resume", "hub"), ("skip", "hub", "--until", "now", "--yes"),
     ("forget", "gone"), ("replay", "hub", "--last", "1"), ("jobs", "cancel", "1"),
     ("dead", "drop", "--all", "--yes"), ("backfill", "south", "x", "--since", "1d"),
     ("events", "--follow")],
)  # fmt: skip
def test_changing_and_following_need_the_daemon(words, stopped: Fleetd):
    done = stopped.run(*words, code=69)

    assert "not running" in done.stderr
    assert done.stdout == ""


def test_a_folder_without_a_log_says_so(tmp_path: Path, hub: Hub):
    empty = made(tmp_path / "empty", hub)

    assert "no log" in empty.run("events", code=69).stderr


def test_a_daemon_that_holds_the_folder_and_is_silent_keeps_its_log_to_itself(
    tmp_path: Path, hub: Hub
):
    one = made(tmp_path / "held", hub)
    (one.folder / "data").mkdir()
    code = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from fleetd.store.files import lease\n"
        "with lease(Path(sys.argv[1])):\n"
        "    print('held', flush=True)\n"
        "    time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(one.folder / "data")],
        stdout=subprocess.PIPE, cwd=Path(__file__).parents[1],
    ) as other:  # fmt: skip
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        for words in (("status",), ("events",), ("pause", "hub")):
            done = one.run(*words, code=69)
            assert f"pid {other.pid}" in done.stderr
            assert "does not answer" in done.stderr
        other.kill()


def test_where_the_socket_is_out_of_reach_the_status_port_tells(running: Fleetd):
    socket = running.folder / "data" / "control.sock"
    away = socket.rename(socket.with_name("away.sock"))
    try:
        found = running.asked("status")
        changing = running.run("pause", "hub", code=69)
    finally:
        away.rename(socket)

    assert running.child is not None
    assert found["pid"] == running.child.pid
    assert "does not answer" in changing.stderr


def test_the_status_port_of_another_daemon_is_not_believed(
    running: Fleetd, stopped: Fleetd
):
    text = stopped.file.read_text()
    theirs = text.replace(f":{stopped.status_port}", f":{running.status_port}")
    stopped.file.write_text(theirs)
    try:
        found = stopped.asked("status", code=69)
    finally:
        stopped.file.write_text(text)

    assert found["state"] == "stopped"


def test_the_window_is_printed_as_it_was_understood(running: Fleetd):
    done = running.run("events", "--since", "today", "--json")

    assert re.search(r"\d{4}-\d\d-\d\d 00:00:00[+-]\d\d:\d\d up to now", done.stderr)
    assert len(done.stdout.splitlines()) == 3


def test_following_prints_what_arrives_over_a_reload_too(running: Fleetd):
    with subprocess.Popen(
        running._command("events", "--follow", "--json", "-n", "1"),
        stdout=subprocess.PIPE, env=running._environ(),
    ) as follower:  # fmt: skip
        assert follower.stdout is not None
        seen = [json.loads(follower.stdout.readline())]
        for body in (fence(40), fence(41)):
            running.post("south", body, by_motive(body, SECRET))
            seen.append(json.loads(follower.stdout.readline()))
            running.reload()
            running.run("jobs")  # answered once the new doors are open
        follower.terminate()

    assert seen[0]["seq"] < seen[1]["seq"] < seen[2]["seq"]
    assert ["1040" in seen[1]["id"], "1041" in seen[2]["id"]] == [True, True]


def test_following_into_a_pipe_has_its_heads_once(running: Fleetd):
    with subprocess.Popen(
        running._command("events", "--follow", "-n", "2"),
        stdout=subprocess.PIPE, env=running._environ(), text=True,
    ) as follower:  # fmt: skip
        assert follower.stdout is not None
        seen = [follower.stdout.readline() for _ in range(3)]
        for body in (fence(43), fence(44)):
            running.post("south", body, by_motive(body, SECRET))
            seen.append(follower.stdout.readline())
        follower.terminate()

    assert seen[0].split()[:2] == ["seq", "arrived"]
    assert all(line.split()[0].isdigit() for line in seen[1:])


def test_a_sample_goes_the_way_of_a_webhook(running: Fleetd, tmp_path: Path):
    sample = tmp_path / "sample.json"
    sample.write_bytes(fence(50))

    done = running.run("send", "south", str(sample))
    assert '"stored":1' in done.stdout
    again = running.asked("send", "south", str(sample))
    assert again == {"status": 200, "answer": {"stored": 0, "duplicate": 1, "filtered": 0,
                                               "dead": 0}}  # fmt: skip
    typo = running.run("send", "soth", str(sample), code=2)
    assert "did you mean 'south'" in typo.stderr


def test_a_sample_says_where_what_came_of_it_is_to_be_seen(running: Fleetd):
    stored = running.run("send", "south", "-", stdin=fence(51).decode())
    again = running.run("send", "south", "-", stdin=fence(51).decode())
    broken = running.run("send", "south", "-", stdin="{}")
    empty = running.run("send", "south", "-")
    running.run("dead", "drop", "--all", "--yes")

    assert "Look at it: fleetd events" in stored.stdout
    assert "there already" in again.stdout
    assert "could not be read: fleetd dead" in broken.stdout
    assert "no record in it" in empty.stdout


def test_a_sample_is_signed_by_the_daemon_where_this_shell_has_not_its_environment(
    running: Fleetd,
):
    kept = dict(running.environ)
    running.environ.clear()
    try:
        done = running.run("send", "south", "-", stdin=fence(52).decode())
    finally:
        running.environ.update(kept)

    assert '"stored":1' in done.stdout


def test_a_sample_of_who_sees_no_secret_is_signed_by_the_daemon(
    tmp_path: Path, hub: Hub, running: Fleetd
):
    secret = tmp_path / "creds" / "south"
    secret.parent.mkdir()
    secret.write_text(SECRET)
    config = CONFIG.replace("env:SOUTH", "secret:south")
    one = Fleetd(
        tmp_path / "d", config, hub=f"http://127.0.0.1:{hub.port}/",
        environ={"CREDENTIALS_DIRECTORY": str(secret.parent)},
    )  # fmt: skip
    try:
        one.begin()
        one.environ.clear()
        os.environ.pop("CREDENTIALS_DIRECTORY", None)
        done = one.run("send", "south", "-", stdin=fence(1).decode())
    finally:
        one.close()

    assert '"stored":1' in done.stdout
    assert SECRET not in done.stdout + done.stderr


def test_pausing_and_resuming_a_sink(running: Fleetd):
    assert "hub: is paused" in running.run("pause", "hub").stdout
    assert running.status()["sinks"]["hub"]["state"] == "paused"
    assert "paused already" in running.run("pause", "hub").stdout
    body = fence(60)
    running.post("south", body, by_motive(body, SECRET))
    assert running.status()["sinks"]["hub"]["waiting"] == 1
    running.run("resume", "hub")
    running.until_idle()
    assert "did you mean" in running.run("pause", "hubb", code=2).stderr


def test_a_replay_is_seen_through(running: Fleetd, hub: Hub):
    before = len(hub.asked)
    plan = running.asked("replay", "hub", "--last", "2", "--dry-run")
    assert (plan["count"], plan["job"]) == (2, None)
    assert "replay" in running.run("replay", "hub", "--last", "2").stdout
    running.until(lambda: all(job["state"] == "done" for job in running.status()["jobs"]),
                  "the replay to end")  # fmt: skip

    assert len(hub.asked) > before
    assert running.run("jobs").stdout.splitlines()[1].split()[:4] == [
        "1", "replay", "hub", "done",
    ]  # fmt: skip
    assert "say what" in running.run("replay", "hub", code=2).stderr


@pytest.mark.parametrize(
    "words",
    [
        ("pause",),
        ("why",),
        ("events", "--vehicle"),
        ("ledger", "--name"),
        ("dead", "list"),
    ],
)
def test_what_is_typed_in_another_alphabet_is_wrong_usage_and_no_crash(
    running: Fleetd, words
):
    typed = b"M\xfcller".decode(errors="surrogateescape")
    done = running.run(*words, typed, code=2)

    assert done.stderr == "fleetd: what was typed is no text in UTF-8\n"


def test_a_number_that_no_letter_can_have_is_wrong_usage(running: Fleetd):
    for action in ("retry", "drop"):
        done = running.run("dead", action, "9" * 30, "--yes", code=2)
        assert "no numbers as large as that" in done.stderr


@pytest.mark.parametrize("rate", ["0", "-1", "nan", "inf"])
def test_a_pace_that_is_none_sends_nothing(running: Fleetd, rate: str):
    done = running.run("replay", "hub", "--last", "1", f"--rate={rate}", code=2)

    assert "--rate takes a number above zero" in done.stderr


def test_an_unreadable_record_becomes_a_dead_letter_and_can_be_dropped(running: Fleetd):
    body = b'{"action": "vehicle_geofence_event", "id": '
    assert running.post("south", body, by_motive(body, SECRET)).json()["dead"] == 1

    listed = running.run("dead").stdout
    number = listed.splitlines()[1].split()[0]
    assert "south" in listed
    assert body.decode() in running.run("dead", "show", number).stdout
    assert "still cannot be read" in running.run("dead", "retry", number, code=1).stdout
    asks = running.run("dead", "drop", number, code=2)
    assert "Add --yes" in asks.stderr
    assert "1 of 1 dropped" in running.run("dead", "drop", number, "--yes").stdout
    assert "no such" in running.run("dead", "drop", number, "--yes", code=2).stderr
    assert "no dead letters" in running.run("dead").stdout
    assert "no dead letters" in running.run("dead", "retry", "--all").stdout


def test_a_name_that_nobody_bears_is_not_one_without_dead_letters(running: Fleetd):
    assert "no dead letters" in running.run("dead", "list", "hub").stdout
    assert "there are: " in running.run("dead", "list", "hup", code=2).stderr
    assert "takes a name" in running.run("dead", "list", "7", code=2).stderr


def test_the_ledger_answers_in_sentences_and_ids(running: Fleetd):
    done = running.run("ledger")
    assert re.search(r"^south: complete; \d+ records? came", done.stdout, re.MULTILINE)
    assert re.search(
        r"^archive: complete: \d+ events delivered", done.stdout, re.MULTILINE
    )

    hour = running.events()[0]["received_at"][:13] + ":00Z"
    ids = running.run("ledger", "--ids", hour, "stored", "--json").stdout.splitlines()
    assert json.loads(ids[0])["seq"] == 1


def test_control_characters_from_outside_command_no_terminal(running: Fleetd):
    body = json.dumps({"action": "vehicle_geofence_event", "id": 7, "trigger": "entry",
                       "vehicle_id": "\x1b]0;owned\x07", "geofence_id": 1,
                       "start_time": "2026-11-21T10:00:00Z"}).encode()  # fmt: skip
    running.post("south", body, by_motive(body, SECRET))
    plain = running.run("events", "-n", "3").stdout

    assert "\x1b" not in plain
    assert "\x07" not in plain


def on_terminal(
    one: Fleetd, *words: str, until: bytes | None = None, columns: int = 120
) -> str:
    """What a command shows on a terminal."""
    outer, inner = pty.openpty()
    environ = {
        **one._environ(),
        "TERM": "xterm-256color",
        "COLUMNS": str(columns),
        "LINES": "40",
    }
    shown = b""
    with subprocess.Popen(
        one._command(*words), stdin=inner, stdout=inner, stderr=inner, env=environ
    ) as child:
        os.close(inner)
        while True:
            try:
                part = os.read(outer, 65_536)
            except OSError:
                break
            shown += part
            if not part or (until and shown.count(until) >= 2):
                break
        child.terminate()
    os.close(outer)
    return shown.decode(errors="replace")


def test_on_a_terminal_there_is_colour_and_watch_redraws(running: Fleetd):
    shown = on_terminal(running, "status")
    watched = on_terminal(running, "status", "--watch", until=b"HEALTHY")

    assert "\x1b[" in shown
    assert "HEALTHY" in shown
    assert watched.count("HEALTHY") >= 2
    assert "redraws a terminal" in running.run("status", "--watch", code=2).stderr


def test_on_80_columns_a_sink_is_one_line_with_its_whole_name(running: Fleetd):
    sinks = running.status()["sinks"]
    wide = on_terminal(running, "status").splitlines()
    narrow = on_terminal(running, "status", columns=80).splitlines()

    assert sum("rate/s" in line for line in wide) == 1
    for name, sink in sinks.items():
        assert any(name in line and sink["state"] in line for line in narrow), narrow


def test_on_40_columns_every_state_is_whole_and_what_is_cut_has_its_dots(
    running: Fleetd,
):
    sinks = running.status()["sinks"]
    narrow = on_terminal(running, "status", columns=40).splitlines()
    tiny = on_terminal(running, "status", columns=20)

    for name, sink in sinks.items():
        assert any(name in line and sink["state"] in line for line in narrow), narrow
    assert "…" in tiny


@pytest.mark.parametrize("words", [("ledger",), ("ledger", "--by", "day"), ("events",)])
def test_on_80_columns_no_time_and_no_name_is_broken(words, running: Fleetd):
    shown = on_terminal(running, *words, columns=80)
    lines = re.sub(r"\x1b\[[0-9;]*m", "", shown).splitlines()

    heads = next(
        n for n, line in enumerate(lines) if "stored" in line or "what" in line
    )
    assert re.search(r"south +.*\d\d-\d\d|\d +(geofence|safety) ", lines[heads + 1])
    assert re.search(r"\d\d-\d\d( \d\d:\d\d(:\d\dZ)?|  )", lines[heads + 1])


def test_bodies_that_nobody_proved_are_told_with_what_can_be_done(running: Fleetd):
    running.post("south", b"{}", {})
    shown = running.run("dead").stdout

    assert "south: 1 unverified bodies are kept for a day; if its secret was wrong" in (
        shown
    )
    assert "fleetd dead retry --unverified south" in shown


def test_who_finds_nothing_is_told_so(running: Fleetd):
    found = running.run("events", "--vehicle", "nobody")
    machine = running.run("events", "--vehicle", "nobody", "--json")

    assert (found.stdout, found.stderr) == ("", "nothing fits\n")
    assert (machine.stdout, machine.stderr) == ("", "")


def test_nobody_but_the_group_reads_the_log(running: Fleetd):
    folder = running.folder / "data"
    modes = {one.name: one.stat().st_mode & 0o007 for one in folder.rglob("*")}

    assert "log.sqlite" in modes
    assert set(modes.values()) == {0}


def test_a_daemon_says_where_it_listens_once_it_does(running: Fleetd):
    (ready,) = running.logged("ready")

    assert ready["webhooks"][0].startswith("127.0.0.1:")


def test_the_secret_is_in_no_output(running: Fleetd):
    outputs = [running.run(word, code=None) for word in UP if word != "show"]
    outputs += [running.run(word, "--json", code=None) for word in UP if word != "show"]
    outputs.append(running.run("show", "1"))

    said = "".join(one.stdout + one.stderr for one in outputs) + running.told(1 << 20)
    assert SECRET not in said


def test_a_refused_socket_names_the_group(running: Fleetd, tmp_path: Path):
    if os.getuid() != 0:
        pytest.fail("run this as root: it asks as another user")
    code = (
        "import os, sys\n"
        "from fleetd.cli import _client\n"
        "from fleetd import config\n"
        "from pathlib import Path\n"
        "from fleetd.errors import UnreachableError\n"
        "house = config.parse(sys.argv[1], Path(sys.argv[2]))\n"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "for reach in (_client.reader, _client.changer):\n"
        "    try:\n"
        "        reach(house)\n"
        "    except UnreachableError as bad:\n"
        "        print(bad)\n"
    )
    data = running.folder / "data"
    for one in (running.folder, *running.folder.parents):
        if one.stat().st_uid == 0 and str(one).startswith("/tmp/"):
            one.chmod(0o755)
    os.chown(data, 0, 12)
    text = f'[daemon]\ndata = "{data}"\n[status]\nbind = ["unix:nowhere"]\n'
    done = subprocess.run(
        [sys.executable, "-c", code, text, str(tmp_path / "x.toml")],
        capture_output=True, text=True, check=False, cwd=Path(__file__).parents[1],
    )  # fmt: skip

    import grp

    lines = done.stdout.splitlines()
    assert len(lines) == 2, done
    for line in lines:
        assert f"sudo usermod -aG {grp.getgrgid(12).gr_name}" in line
        assert "not running" not in line
