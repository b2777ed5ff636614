"""A stop and a start, clean or by force, change no count, last success or lag (P12)."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.harness import Fleetd, by_motive
from tests.hub import Asked, Hub

SECRET = "a secret of the south"
CONFIG = """
[sources.south]
provider = "motive"
webhook_secret = "env:SOUTH"

[sources.demo]
provider = "demo"

[sources.gate]
provider = "generic"
auth = { key = "env:KEY" }

[sinks.archive]
kind = "file"
path = "./archive"

[sinks.hub]
kind = "http"
url = "http://127.0.0.1:$hub/hub"
sources = ["south"]
batch = 1

[sinks.later]
kind = "http"
url = "http://127.0.0.1:$hub/later"

[sinks.passed]
kind = "http"
url = "http://127.0.0.1:$hub/passed"
"""
MOVES = {  # with the time that passes, or with the process
    "log": {"disk_bytes", "wal_bytes", "free_bytes", "fsync_p99_ms", "full_in_hours"},
    "sinks": {"rate_per_s", "empty_at", "oldest_waiting_s"},
    "feeds": {"bookmark_age_s", "state", "why"},
}
EVENTS = 8


def answer(asked: Asked) -> tuple[int, bytes]:
    poisoned = any(one["id"] == "3" for one in asked.events())
    return (400, b"no") if poisoned and asked.path == "/hub" else (200, b"{}")


def person(number: int) -> bytes:
    told = {"action": "user_upserted", "id": number, "first_name": "Ada"}
    return json.dumps(told).encode()


def nowhere() -> bytes:
    """A point without a fix: counted out."""
    told = {
        "action": "vehicle_location_received",
        "id": "85d58917-2ba3-57ca-a55c-b7f2812b7e84",
        "vehicle_id": 9,
        "located_at": "2026-11-12T14:00:31Z",
        "lat": 0.0,
        "lon": 0.0,
        "type": "vehicle_moving",
    }
    return json.dumps(told).encode()


@pytest.fixture(scope="module")
def daemon(make: Callable[..., Fleetd], hub: Hub) -> Fleetd:
    """One that has something of every count, one sink behind and one skipped."""
    hub.answer = answer
    one = make(CONFIG, hub=str(hub.port), environ={"SOUTH": SECRET, "KEY": "key-1"})
    one.begin()
    one.until(lambda: one.get("/api/status").json()["log"]["events"] > 100, "events")
    for name in ("demo", "later", "passed"):
        one.run("pause", name)
    for body in [person(number) for number in range(EVENTS)] + [nowhere(), b"{", b""]:
        assert one.post("south", body, by_motive(body, SECRET)).status == 200
    one.run("skip", "passed", "--until", "now", "--yes")
    job = one.asked("replay", "archive", "--last", "3")["job"]
    one.until(lambda: done(one, job), "the replay")
    again = person(0)
    assert one.post("gate/wrong", again).status == 401
    assert one.post("south", again, by_motive(again, "another")).status == 403
    assert one.post("south", again, by_motive(again, SECRET)).json()["duplicate"] == 1
    one.until(lambda: counts(one, "hub")["dead"] == 1, "a dead letter")
    return one


def counts(daemon: Fleetd, sink: str) -> Any:
    return daemon.status()["sinks"][sink]


def done(daemon: Fleetd, job: int) -> bool:
    return {one["id"]: one["state"] for one in daemon.status()["jobs"]}[job] == "done"


def rested(daemon: Fleetd) -> Any:
    """The status once only what is paused has anything left."""

    def rests() -> Any:
        doc = daemon.status()
        left = [one for one in doc["sinks"].values() if one["waiting"]]
        return doc if all(one["state"] == "paused" for one in left) else None

    return daemon.until(rests, "delivery to rest")


def lasting(doc: Any) -> Any:
    """What a restart must not change."""
    kept = {name: doc[name] for name in ("version", "config", "jobs")}
    kept["log"] = without(doc["log"], "log")
    kept["sinks"] = {name: without(one, "sinks") for name, one in doc["sinks"].items()}
    kept["sources"] = {}
    for name, one in doc["sources"].items():
        feeds = {key: without(feed, "feeds") for key, feed in one["feeds"].items()}
        kept["sources"][name] = {**one, "feeds": feeds}
    return kept


def without(part: Any, name: str) -> Any:
    return {key: one for key, one in part.items() if key not in MOVES[name]}


def differences(before: Any, after: Any, where: str = "") -> list[str]:
    if isinstance(before, dict) and isinstance(after, dict):
        keys = sorted({*before, *after})
        return [
            told
            for key in keys
            for told in differences(before.get(key), after.get(key), f"{where}.{key}")
        ]
    same = before == after or (where.endswith("_success_at") and close(before, after))
    return [] if same else [f"{where}: {before!r} became {after!r}"]


def close(before: str | None, after: str | None) -> bool:
    """The same success, told by the task at first and by its row in the log later."""
    if before is None or after is None:
        return False
    apart = datetime.fromisoformat(before) - datetime.fromisoformat(after)
    return abs(apart) < timedelta(seconds=0.5)


def test_every_count_says_something_before_it_is_compared(daemon):
    doc = rested(daemon)

    south, demo = doc["sources"]["south"], doc["sources"]["demo"]
    keys = ("received", "stored", "duplicate", "filtered", "dead", "unverified")
    assert {key: south[key] for key in keys} == {
        "received": EVENTS + 4,
        "stored": EVENTS,
        "duplicate": 1,
        "filtered": 1,
        "dead": 1,
        "unverified": 1,
    }
    assert all(feed["last_success_at"] for feed in demo["feeds"].values())
    sinks = doc["sinks"]
    assert sinks["hub"]["delivered"] == EVENTS - 1
    assert sinks["later"]["waiting"] >= EVENTS
    assert sinks["later"]["oldest_waiting_s"] > 0
    assert sinks["passed"]["skipped"] >= EVENTS
    assert [one["state"] for one in doc["jobs"]] == ["done"]


def test_a_clean_restart_changes_nothing_but_flushes_what_was_refused(daemon):
    before = rested(daemon)
    assert daemon.stop() == 0
    stopped = daemon.asked("status", code=69)
    daemon.begin()
    after = rested(daemon)

    refused = {name: one["refused"] for name, one in after["sources"].items()}
    assert refused == {"south": 1, "demo": 0, "gate": 1}
    for doc in (before, after, stopped):
        for source in doc["sources"].values():
            del source["refused"]  # counted in memory until the next minute or the end
    assert differences(lasting(before), lasting(after)) == []
    assert waited(before) <= waited(after)
    for name in ("sources", "sinks"):
        assert differences(numbers(before[name]), numbers(stopped[name])) == []


def test_a_kill_and_a_new_start_change_nothing(daemon):
    before = rested(daemon)
    daemon.kill()
    daemon.begin()
    after = rested(daemon)

    assert differences(lasting(before), lasting(after)) == []
    assert waited(before) <= waited(after)


def test_a_kill_right_after_work_changes_nothing_of_what_was_seen(daemon):
    body = person(100)
    assert daemon.post("south", body, by_motive(body, SECRET)).json()["stored"] == 1
    rested(daemon)
    assert daemon.post("south", body, by_motive(body, SECRET)).json()["duplicate"] == 1
    before = rested(daemon)
    daemon.kill()
    daemon.begin()
    after = rested(daemon)

    assert differences(lasting(before), lasting(after)) == []


def test_what_waited_is_delivered_once_after_all_that(daemon, hub):
    for name in ("later", "passed"):
        daemon.run("resume", name)
    daemon.until_idle()

    sent = [one["seq"] for one in hub.events("/later")]
    assert len(sent) == len(set(sent)) == daemon.settled()["log"]["events"]
    assert daemon.run("ledger").returncode == 0


def waited(doc: Any) -> float:
    return float(doc["sinks"]["later"]["oldest_waiting_s"])


def numbers(part: Any) -> Any:
    """Only the counts, and where each sink stands."""
    names = {"received", "stored", "duplicate", "filtered", "dead", "unverified"}
    names |= {"cursor", "waiting", "delivered", "skipped", "last_success_at"}
    return {
        name: {key: value for key, value in one.items() if key in names}
        for name, one in part.items()
    }
