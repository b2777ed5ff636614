"""What the keys of [daemon], [webhooks], [status] and [store] change."""

from __future__ import annotations

import array
import fcntl
import json
import re
import socket
import termios
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.bench.tools import tool
from tests.end_to_end.showing import shows
from tests.harness import Fleetd, by_motive

SECRET = "a secret of the south"
SOUTH = '\n[sources.south]\nprovider = "motive"\nwebhook_secret = "env:SOUTH"\n'
ELSEWHERE = "tests.end_to_end.elsewhere"
DAYS_S = 86_400


def person(number: int, size: int = 0) -> bytes:
    told: dict[str, Any] = {"action": "user_upserted", "id": number, "more": "x" * size}
    return json.dumps({**told, "updated_at": "2026-05-12T14:00:31Z"}).encode()


def send(daemon: Fleetd, body: bytes) -> Any:
    answer = daemon.post("south", body, by_motive(body, SECRET))
    assert answer.status == 200, answer
    return answer.json()


@pytest.fixture(scope="module")
def plain(make: Callable[..., Fleetd]) -> Fleetd:
    """As little as can be written."""
    return make(SOUTH, environ={"SOUTH": SECRET}).begin()


@pytest.fixture(scope="module")
def tuned(make: Callable[..., Fleetd]) -> Fleetd:
    """Every key that a single daemon can show."""
    one = make(environ={"SOUTH": SECRET, "TOKEN": "a-token-1"})
    one.configure(
        SOUTH,
        daemon='timezone = "Asia/Kolkata"\nlog_level = "warning"\nlog_format = "console"',
        webhooks='public_url = "https://fleet.example.com"\nmax_body = "16KiB"\n'
        'max_in_flight = "16KiB"',
        status='token = "env:TOKEN"',
    )
    text = one.file.read_text().replace('"1GiB"', '"100MiB"')
    one.file.write_text(text.replace(f"{one.folder}/data", "./elsewhere"))
    return one.begin()


@shows("daemon.data")
def test_the_log_and_the_control_socket_are_where_it_says(plain, tuned):
    for one, place in ((plain, "data"), (tuned, "elsewhere")):
        assert (one.folder / place / "log.sqlite").exists()
        assert (one.folder / place / "control.sock").is_socket()
    assert not (tuned.folder / "data").exists()


def test_the_folder_stays_where_it_is_while_it_runs(plain):
    good = plain.file.read_text()
    plain.file.write_text(good.replace(f"{plain.folder}/data", "./another"))

    why = plain.reload("config_refused")["why"]

    line = good[: good.index("data =")].count("\n") + 1
    assert f"{plain.file}:{line}: daemon.data" in why
    assert send(plain, person(0))["stored"] == 1
    assert not (plain.folder / "another").exists()
    plain.file.write_text(good)


@shows("daemon.timezone")
def test_typed_times_are_read_and_told_in_its_zone(tuned):
    assert "+05:30" in tuned.run("events", "--since", "today").stderr


@shows("daemon.log_level")
def test_what_is_less_grave_is_not_logged(plain, tuned):
    assert plain.logged("starting")
    assert "starting" not in tuned.told()


@shows("daemon.log_format")
def test_lines_are_json_or_for_people(plain, tuned):
    for one in (plain, tuned):
        spoilt = one.file.read_text()
        one.file.write_text(spoilt + "\n[nonsense]\n")
        one.signal(1)
        one.until(lambda one=one: "config_refused" in one.told(), "the refusal")
        one.file.write_text(spoilt)

    assert plain.logged("config_refused")
    (line,) = (one for one in tuned.told().splitlines() if "config_refused" in one)
    assert not line.startswith("{")
    assert re.match(r"\d{4}-\d\d-\d\dT", line)


@shows("webhooks.bind", "status.bind")
def test_each_door_is_where_it_says(plain):
    assert send(plain, person(1))["stored"] == 1
    assert plain.get("/healthz").status == 200
    assert plain.post("south", b"{}").status == 403
    before = plain.port, plain.status_port
    text = plain.file.read_text()
    fresh = Fleetd(plain.folder.parent / "ports")
    for old, new in zip(before, (fresh.port, fresh.status_port), strict=True):
        text = text.replace(f":{old}", f":{new}")
    plain.port, plain.status_port = fresh.port, fresh.status_port
    plain.file.write_text(text)
    plain.reload()

    plain.until(lambda: answers(plain.status_port), "the new doors")
    assert send(plain, person(1))["duplicate"] == 1
    assert not any(map(answers, before))


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@shows("webhooks.public_url")
def test_check_prints_what_vendors_are_given(plain, tuned):
    assert f"http://127.0.0.1:{plain.port}/webhooks/south" in plain.run("check").stdout
    assert "https://fleet.example.com/webhooks/south" in tuned.run("check").stdout


@shows("webhooks.max_body")
def test_a_larger_body_is_refused(plain, tuned):
    body = person(2, 20_000)

    assert plain.post("south", body, by_motive(body, SECRET)).status == 200
    assert tuned.post("south", body, by_motive(body, SECRET)).status == 413


@shows("webhooks.max_in_flight")
def test_more_bodies_at_a_time_wait_outside(plain, tuned):
    body = person(3, 9_000)

    assert {
        one: in_flight(one, body) for one in (plain, tuned)
    } == {plain: 200, tuned: 503}  # fmt: skip
    assert tuned.post("south", body, by_motive(body, SECRET)).status == 200


def in_flight(daemon: Fleetd, body: bytes) -> int:
    """The answer to a body while most of another one is there."""
    with half_sent(daemon, 15_000):
        return daemon.post("south", body, by_motive(body, SECRET)).status


@contextmanager
def half_sent(daemon: Fleetd, size: int) -> Iterator[None]:
    head = f"POST /webhooks/south HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", daemon.port), 60) as line:
        line.sendall(head.encode() + b"x" * (size - 1))
        daemon.until(lambda: arrived(line), "the bytes to be read")
        yield


def arrived(line: socket.socket) -> bool:
    """Whether the far side's kernel has taken everything and its process is told."""
    left = array.array("i", [0])
    fcntl.ioctl(line.fileno(), termios.TIOCOUTQ, left)
    return left[0] == 0


@shows("webhooks.answer_within")
def test_no_answer_comes_later_than_it_says(make):
    slow = {"LD_PRELOAD": str(tool("slowsync")), "BENCH_SYNC_DELAY_US": "300000"}
    daemons = {
        within: make(
            SOUTH,
            webhooks=f'answer_within = "{within}"',
            environ={"SOUTH": SECRET, **slow},
        )
        for within in ("100ms", "20s")
    }
    for one in daemons.values():
        one.start()
    body = person(4)
    statuses = {}
    for within, one in daemons.items():
        one.begin()
        statuses[within] = one.post("south", body, by_motive(body, SECRET)).status
        one.kill()

    assert statuses == {"100ms": 503, "20s": 200}


@shows("status.token")
def test_who_asks_must_know_the_token(plain, tuned):
    assert plain.get("/health").status == 200
    assert tuned.get("/health").status == 401
    token = {"Authorization": "Bearer a-token-1"}
    assert tuned.get("/health", token).status == 200


@shows("store.max_disk")
def test_the_law_is_what_it_says(plain, tuned):
    token = {"Authorization": "Bearer a-token-1"}

    assert plain.get("/health").json()["log"]["max_disk_bytes"] == 1 << 30
    assert tuned.get("/health", token).json()["log"]["max_disk_bytes"] == 100 << 20


# what only time shows

SHORT = """
keep = { default = "1d", safety = "30d" }
keep_raw = "1d"
dedupe_window = "1d"
keep_ledger = "1d"
"""
BEGAN = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
SINKS = """
[sinks.stuck]
kind = "file"
path = "./stuck"
takes = ["duty"]
hold = "%s"
"""


def speeding() -> bytes:
    told = {"action": "speeding_event_created", "id": 5, "severity": "severe"}
    return json.dumps({**told, "start_time": BEGAN}).encode()


def working() -> bytes:
    told = {"action": "user_duty_status_updated", "id": 6, "duty_status": "driving"}
    return json.dumps({**told, "start_time": BEGAN}).encode()


@pytest.fixture(scope="module")
def aged(make: Callable[..., Fleetd]) -> dict[str, Fleetd]:
    """Two logs with the same in them, three days later: one of short memory, one of long."""
    crash, duty = speeding(), working()
    found = {}
    for name, store, hold in (("short", SHORT, "1d"), ("long", "", "14d")):
        one = make(
            SOUTH + SINKS % hold,
            store=store,
            environ={"SOUTH": SECRET},
            program=ELSEWHERE,
        ).begin()
        one.run("pause", "stuck")
        send(one, person(1))
        send(one, crash)
        send(one, duty)
        assert one.stop() == 0
        one.environ["ELSEWHERE_LATER_S"] = str(3 * DAYS_S)
        found[name] = one.begin()
    short = found["short"]
    short.until(lambda: not short.events("--kind", "driver"), "events to expire")
    short.until(lambda: short.status()["sinks"]["stuck"]["skipped"], "the hold to end")
    return found


@shows("store.keep")
def test_events_go_when_their_kind_is_kept_no_longer(aged):
    kinds = {
        name: {event["kind"] for event in one.events()} for name, one in aged.items()
    }

    assert kinds == {"long": {"driver", "safety", "duty"}, "short": {"safety"}}


@shows("store.keep_raw")
def test_the_vendors_bytes_go_before_the_event(aged):
    for name, kept in (("long", True), ("short", False)):
        one = aged[name]
        (safety,) = one.events("--kind", "safety")
        shown = one.asked("show", str(safety["seq"]))
        assert (shown["received"] is not None) == kept
        assert shown["event"]["id"] == "5"


@shows("sinks.NAME.hold")
def test_a_sink_that_is_stuck_holds_what_it_waits_for_no_longer_than_it_may(aged):
    docs = {name: one.status()["sinks"]["stuck"] for name, one in aged.items()}

    assert (docs["long"]["waiting"], docs["long"]["skipped"]) == (1, 0)
    assert (docs["short"]["waiting"], docs["short"]["skipped"]) == (0, 1)


@shows("store.keep_ledger")
def test_the_hours_of_the_ledger_go_and_their_sums_stay(aged):
    rows = {
        name: one.asked("ledger", "--since", "10d", code=None)["rows"]
        for name, one in aged.items()
    }

    stored = {
        name: sum(one.get("stored", 0) for one in many) for name, many in rows.items()
    }
    assert stored == {"long": 3, "short": 0}
    assert aged["short"].status()["sources"]["south"]["stored"] == 3


@shows("store.dedupe_window")
def test_a_repeat_is_known_as_one_within_the_window(aged):
    told = {name: send(one, speeding()) for name, one in aged.items()}

    assert (told["long"]["stored"], told["long"]["duplicate"]) == (0, 1)
    assert (told["short"]["stored"], told["short"]["duplicate"]) == (1, 0)
