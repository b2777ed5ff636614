"""The README's road: init, check, run, and everything an operator tries in the first hour."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.harness import Fleetd

SAMPLE = Path(__file__).parents[2] / "fleetd.toml"
KEYS = {"v", "seq", "source", "provider", "kind", "id", "revision", "at", "received_at"}


@pytest.fixture(scope="module")
def daemon(make: Callable[..., Fleetd]) -> Fleetd:
    """An empty folder with what `init` writes there, its ports made free ones."""
    one = make()
    one.file.unlink()
    one.run("init", str(one.folder))
    text = one.file.read_text()
    assert text == SAMPLE.read_text()
    one.file.write_text(
        text.replace("127.0.0.1:8780", f"127.0.0.1:{one.port}").replace(
            "127.0.0.1:8787", f"127.0.0.1:{one.status_port}"
        )
    )
    return one


@pytest.fixture(scope="module")
def running(daemon: Fleetd) -> Fleetd:
    return daemon.begin()


@pytest.fixture
def quiet(running: Fleetd) -> Fleetd:
    """The demo paused and the archive written: nothing changes while a test looks."""
    if running.settled()["sources"]["demo"]["state"] != "paused":
        running.run("pause", "demo")
    running.until_idle()
    return running


def archived(daemon: Fleetd) -> dict[int, bytes]:
    """The lines of the archive by seq, those of replays not among them."""
    folder = daemon.folder / "fleetd-data" / "archive"
    lines = [
        line
        for path in sorted(folder.glob("2*.ndjson"))
        for line in path.read_bytes().splitlines()
    ]
    found = {json.loads(line)["seq"]: line for line in lines}
    assert len(found) == len(lines), "a line stands there twice"
    return found


def all_lines(daemon: Fleetd) -> list[bytes]:
    return daemon.run("events", "--json", "-n", "0").stdout.encode().splitlines()


# before it runs


def test_init_never_writes_over_a_file(daemon):
    before = daemon.file.read_text()

    daemon.run("init", str(daemon.folder), code=1)

    assert daemon.file.read_text() == before


def test_the_sample_passes_its_check(daemon):
    assert "this will do" in daemon.run("check").stdout
    assert daemon.asked("check")["ok"] is True
    found = daemon.asked("check", "--live")
    assert {one["name"]: one["ok"] for one in found["live"]}["sources.demo"] is True


def test_without_a_daemon_status_says_stopped_and_changing_anything_is_refused(daemon):
    assert daemon.run("status", code=69).returncode == 69
    for words in (
        ("pause", "demo"),
        ("replay", "archive", "--last", "1"),
        ("skip", "archive", "--until", "now", "--yes"),
    ):
        told = daemon.run(*words, code=69)
        assert "not running" in told.stderr


# while it runs


def test_events_flow_and_another_process_says_that_all_is_well(running):
    running.until(lambda: running.get("/api/status").json()["log"]["events"], "events")

    doc = running.asked("status")

    assert (doc["state"], doc["reasons"]) == ("healthy", [])
    assert doc["sources"]["demo"]["state"] == "ok"
    assert doc["sinks"]["archive"]["kind"] == "file"
    assert running.child is not None
    assert (doc["pid"], doc["config"]) == (running.child.pid, str(running.file))
    shown = running.run("status").stdout
    assert "is HEALTHY" in shown
    assert "archive" in shown


def test_the_archive_grows_and_holds_exactly_what_events_prints(quiet):
    lines = all_lines(quiet)

    assert archived(quiet) == {json.loads(one)["seq"]: one for one in lines}
    seqs = [json.loads(one)["seq"] for one in lines]
    assert seqs == sorted(seqs)
    assert len(seqs) > 100
    for line in lines[:: len(lines) // 50]:
        assert set(json.loads(line)) >= KEYS


def test_reading_commands_agree_with_each_other(quiet):
    (last,) = quiet.events("-n", "1")
    shown = quiet.asked("show", str(last["seq"]))
    assert shown["event"] == last
    assert shown["received"]["body"]
    positions = quiet.events("--kind", "position", "--vehicle", "*", "--since", "1h")
    assert {one["kind"] for one in positions} == {"position"}
    assert quiet.run("events", "--kind", "nonsense", code=2).stderr
    assert quiet.asked("ledger")["verdict"] == "complete"
    told = quiet.run("ledger")
    assert "demo" in told.stdout
    assert quiet.run("jobs").stdout
    assert "no dead letters" in quiet.run("dead").stdout


def test_what_is_paused_waits_and_goes_on_when_resumed(quiet):
    quiet.run("pause", "archive")
    quiet.run("resume", "demo")
    doc = quiet.until(lambda: waits(quiet), "events to wait")
    assert doc["sinks"]["archive"]["state"] == "paused"
    before = archived(quiet)

    quiet.run("pause", "demo")
    quiet.run("resume", "archive")
    quiet.until_idle()

    after = archived(quiet)
    assert set(before) < set(after)
    assert after == {json.loads(one)["seq"]: one for one in all_lines(quiet)}


def waits(daemon: Fleetd) -> Any:
    doc = daemon.status()
    return doc if doc["sinks"]["archive"]["waiting"] else None


def test_a_replay_says_what_it_would_send_and_then_sends_it_once_more(quiet):
    folder = quiet.folder / "fleetd-data" / "archive"
    words = ("replay", "archive", "--last", "25")
    plan = quiet.asked(*words, "--dry-run")
    assert (plan["count"], plan["job"]) == (25, None)
    assert list(folder.glob("replay-*")) == []

    job = quiet.asked(*words)["job"]

    def done() -> bool:
        states = {one["id"]: one["state"] for one in quiet.status()["jobs"]}
        return bool(states[job] == "done")

    quiet.until(done, "the replay to end")
    (again,) = folder.glob(f"replay-{job}-*")
    live = archived(quiet)
    sent = again.read_bytes().splitlines()
    assert sent == [live[one] for one in sorted(live)[-25:]]


def test_skipping_counts_what_does_not_go(quiet):
    quiet.run("pause", "archive")
    quiet.run("resume", "demo")
    quiet.until(lambda: waits(quiet), "events to wait")
    quiet.run("pause", "demo")
    before = quiet.status()["sinks"]["archive"]

    told = quiet.asked("skip", "archive", "--until", "now", "--yes")

    assert told["skipped"] >= before["waiting"] > 0
    after = quiet.settled()["sinks"]["archive"]
    assert after["waiting"] == 0
    assert after["skipped"] == before["skipped"] + told["skipped"]
    quiet.run("resume", "archive")
    assert quiet.run("ledger").returncode == 0


def test_a_broken_config_is_told_by_file_key_and_line_and_changes_nothing(quiet):
    good = quiet.file.read_text()
    started = quiet.settled()["started_at"]
    broken = good.replace('timezone = "local"', 'timezome = "local"', 1)
    quiet.file.write_text(broken)

    told = quiet.reload("config_refused")

    line = broken[: broken.index("timezome")].count("\n") + 1
    assert f"{quiet.file}:{line}: daemon.timezome" in told["why"]
    assert "timezone" in told["why"].replace("daemon.timezome", "")
    quiet.run("check", code=78)
    quiet.file.write_text(good)
    assert quiet.settled()["started_at"] == started


def test_a_second_daemon_on_the_same_folder_is_turned_away(quiet):
    told = quiet.run("run", code=75)

    assert str(quiet.folder / "fleetd-data") in told.stderr
    assert quiet.get("/healthz").status == 200


def test_a_source_and_a_sink_that_are_gone_can_be_forgotten(quiet):
    good = quiet.file.read_text()
    quiet.run("forget", "archive", code=2)
    more = '\n[sinks.second]\nkind = "file"\npath = "./second"\n'
    quiet.file.write_text(good + more)
    before = quiet.settled()
    quiet.reload()
    quiet.until(lambda: "second" in quiet.status()["sinks"], "the second archive")
    assert quiet.settled()["started_at"] == before["started_at"]
    quiet.until_idle()
    quiet.file.write_text(good)
    quiet.reload()
    quiet.until(lambda: "second" not in quiet.status()["sinks"], "it to be gone")

    quiet.run("forget", "second")

    assert quiet.run("ledger").returncode == 0
    quiet.run("forget", "second-that-never-was", code=2)


def test_a_first_real_source_is_proven_by_send(quiet):
    good = quiet.file.read_text()
    quiet.environ["SOUTH"] = "a secret of the south"
    quiet.file.write_text(
        good + '\n[sources.south]\nprovider = "motive"\nwebhook_secret = "file:south"\n'
    )
    secret = quiet.folder / "south"
    secret.write_text("a secret of the south")
    secret.chmod(0o600)
    quiet.reload()
    quiet.until(lambda: "south" in quiet.status()["sources"], "the source")
    assert "/webhooks/south" in quiet.run("check").stdout
    sample = quiet.folder / "sample.json"
    sample.write_text('{"action":"user_upserted","id":7,"first_name":"Ada"}')

    told = quiet.run("send", "south", str(sample))

    assert '"stored":1' in told.stdout
    (event,) = quiet.events("--source", "south")
    assert event["driver"] == {"id": "7", "name": "Ada"}
    assert '"duplicate":1' in quiet.run("send", "south", str(sample)).stdout
    quiet.run("send", "demo", str(sample), code=2)
    quiet.file.write_text(good)
    quiet.reload()


# its end


def test_it_stops_when_asked_and_the_log_can_still_be_read(quiet):
    lines = all_lines(quiet)

    assert quiet.stop() == 0

    assert all_lines(quiet) == lines
    doc = quiet.asked("status", code=69)
    assert doc["state"] == "stopped"
    assert doc["log"]["events"] == len(lines)
    assert "is STOPPED" in quiet.run("status", code=69).stdout
    assert quiet.run("ledger").returncode == 0


def test_an_interrupt_stops_it_as_well(running):
    if running.child is None:
        running.begin()
    running.signal(signal.SIGINT)

    assert running.ended() == 0
