"""What the keys of [sinks.NAME] change, those of the file and http sinks among them."""

from __future__ import annotations

import base64
import hmac
import json
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.end_to_end.showing import shows
from tests.harness import Fleetd
from tests.hub import Asked, Hub

ELSEWHERE = "tests.end_to_end.elsewhere"
GATE = """
[sources.gate]
provider = "generic"
id = "id"
at = "at"
vehicle = "truck"
auth = { key = "env:KEY" }
"""
TO_HUB = '\n[sinks.%s]\nkind = "http"\nurl = "http://127.0.0.1:$hub/%s"\n%s\n'
EXTRAS = {
    "usual": "",
    "rare": "rate = 0.0001",
    "small": "batch = 2",
    "linger": 'linger = "1h"',
    "lone": "batch = 1",
    "many": "batch = 1\nparallel = 4",
    "lines": 'format = "ndjson"',
    "named": 'headers = { X-Fleet = "seven" }',
    "signed": 'signing_secret = "env:SIGNING"',
    "hasty": 'timeout = "500ms"',
}
OTHERS = """
[sinks.archive]
kind = "file"
path = "./archive"
rotate = "64KiB"
batch = 10

[sinks.whole]
kind = "file"
path = "./whole"

[sinks.bell]
kind = "bell"
path = "./bell"
start = "oldest"

[sinks.patient]
kind = "bell"
path = "./patient"
start = "oldest"
max_age = "3650d"
"""
EVENTS = 60
KEY = b"signing with this"


class Crowd:
    """How many requests of each path were being answered at a time, at most."""

    def __init__(self) -> None:
        self.most: dict[str, int] = {}
        self._now: dict[str, int] = {}
        self._alone = threading.Lock()

    def answer(self, asked: Asked) -> tuple[int, bytes]:
        self._count(asked.path, 1)
        time.sleep(1.2 if asked.path == "/hasty" else 0.05)
        self._count(asked.path, -1)
        return 200, b"{}"

    def _count(self, path: str, more: int) -> None:
        with self._alone:
            self._now[path] = self._now.get(path, 0) + more
            self.most[path] = max(self.most.get(path, 0), self._now[path])


@pytest.fixture(scope="module")
def crowd() -> Crowd:
    return Crowd()


@pytest.fixture(scope="module")
def daemon(make: Callable[..., Fleetd], hub: Hub, crowd: Crowd) -> Fleetd:
    """Every sink paused until all the events are there, so that each finds the same."""
    hub.answer = crowd.answer
    sinks = "".join(TO_HUB % (name, name, extra) for name, extra in EXTRAS.items())
    signing = f"whsec_{base64.b64encode(KEY).decode()}"
    one = make(environ={"KEY": "key-1", "SIGNING": signing}, program=ELSEWHERE)
    one.configure(GATE, hub=str(hub.port))
    one.begin()
    for number in range(EVENTS):
        told = {"id": f"e{number}", "truck": f"t{number % 8}", "more": "x" * 4000}
        told["at"] = "2026-05-12T14:00:00Z" if number == 0 else None
        body = json.dumps(told).encode()
        assert one.post("gate/key-1", body).json()["stored"] == 1
    one.configure(GATE + sinks + OTHERS, hub=str(hub.port))
    one.reload()
    one.until(lambda: all_but_slow(one), "all that may be delivered")
    return one


def all_but_slow(daemon: Fleetd) -> bool:
    sinks = daemon.status()["sinks"]
    slow = {"rare", "linger", "hasty"}
    return bool(sinks) and not any(
        one["waiting"] for name, one in sinks.items() if name not in slow
    )


def batches(hub: Hub, name: str) -> list[int]:
    return [len(one.events()) for one in tuple(hub.asked) if one.path == f"/{name}"]


def asked(hub: Hub, name: str) -> Asked:
    return next(one for one in tuple(hub.asked) if one.path == f"/{name}")


@shows("sinks.NAME.kind", "sinks.NAME (http).url", "sinks.NAME (file).path")
def test_events_go_where_it_says(daemon, hub):
    there = {one["id"] for one in hub.events("/usual")}
    lines = [
        json.loads(line)["id"]
        for path in (daemon.folder / "whole").iterdir()
        for line in path.read_bytes().splitlines()
    ]

    assert there == set(lines) == {f"e{number}" for number in range(EVENTS)}


@shows("sinks.NAME.rate")
def test_no_more_requests_go_than_the_rate_allows(daemon, hub):
    assert sum(batches(hub, "usual")) == EVENTS
    assert batches(hub, "rare") == []
    assert daemon.status()["sinks"]["rare"]["waiting"] == EVENTS


@shows("sinks.NAME.batch")
def test_no_request_holds_more_events_than_it_says(daemon, hub):
    assert max(batches(hub, "small")) == 2
    assert sum(batches(hub, "small")) == EVENTS
    assert max(batches(hub, "usual")) > 2


@shows("sinks.NAME.linger")
def test_a_batch_waits_to_be_fuller_for_as_long_as_it_says(daemon, hub):
    assert batches(hub, "linger") == []
    assert daemon.status()["sinks"]["linger"]["waiting"] == EVENTS


@shows("sinks.NAME.parallel")
def test_as_many_requests_go_at_a_time_as_it_says(daemon, hub, crowd):
    assert crowd.most["/lone"] == 1
    assert 1 < crowd.most["/many"] <= 4
    of_truck: dict[str, list[str]] = {}
    for event in hub.events("/many"):
        of_truck.setdefault(event["vehicle"]["id"], []).append(event["seq"])
    assert len(of_truck) == 8
    assert all(seqs == sorted(seqs) for seqs in of_truck.values())


@shows("sinks.NAME (http).format")
def test_a_body_is_an_array_or_lines(daemon, hub):
    assert asked(hub, "usual").body.startswith(b"[{")
    assert asked(hub, "usual").headers["content-type"] == "application/json"
    lines = next(one for one in hub.asked if one.path == "/lines")
    assert len([json.loads(one) for one in lines.body.splitlines()]) == EVENTS
    assert lines.headers["content-type"] == "application/x-ndjson"


@shows("sinks.NAME (http).headers")
def test_the_headers_it_names_go_along(daemon, hub):
    assert asked(hub, "named").headers["x-fleet"] == "seven"
    assert "x-fleet" not in asked(hub, "usual").headers


@shows("sinks.NAME (http).signing_secret")
def test_a_request_is_signed_as_standard_webhooks_are(daemon, hub):
    one = asked(hub, "signed")
    ident, stamp = one.headers["webhook-id"], one.headers["webhook-timestamp"]
    message = f"{ident}.{stamp}.".encode() + one.body
    digest = base64.b64encode(hmac.digest(KEY, message, "sha256")).decode()

    assert one.headers["webhook-signature"] == f"v1,{digest}"
    assert "webhook-signature" not in asked(hub, "usual").headers


@shows("sinks.NAME (http).timeout")
def test_a_request_is_given_up_when_it_says(daemon):
    def given_up() -> Any:
        found = daemon.status()["sinks"]["hasty"]
        return found if found["why"] else None

    assert "0.5 s" in daemon.until(given_up, "patience to end")["why"]


@shows("sinks.NAME (file).rotate")
def test_a_file_that_is_big_enough_is_followed_by_the_next(daemon):
    sizes = [path.stat().st_size for path in (daemon.folder / "archive").iterdir()]

    assert len(sizes) > 1
    assert sum(size >= 64 << 10 for size in sizes) >= len(sizes) - 1
    assert len(list((daemon.folder / "whole").iterdir())) == 1


@shows("sinks.NAME.max_age")
def test_what_is_older_than_it_says_is_summed_up_and_not_rung(daemon):
    rung = {
        name: (daemon.folder / name).read_text().splitlines()
        for name in ("bell", "patient")
    }

    assert "e0" in rung["patient"]
    assert "e0" not in rung["bell"]
    assert {"e1", "e2"} <= set(rung["bell"])
    assert daemon.status()["sinks"]["bell"]["skipped"] == 1


@shows("sinks.NAME.start", "sinks.NAME.was")
def test_a_new_sink_begins_where_it_says_and_a_renamed_one_goes_on(make, hub):
    def sink(name: str, extra: str) -> str:
        return TO_HUB % (name, name, extra)

    def post(number: int) -> None:
        body = b'{"id":"%d"}' % number
        assert one.post("gate/key-1", body).json()["stored"] == 1

    one = make(GATE, environ={"KEY": "key-1"}).begin()
    post(1)
    new = sink("newest", 'start = "now"') + sink("all", 'start = "oldest"')
    one.configure(GATE + new, hub=str(hub.port))
    one.reload()
    one.until(lambda: hub.events("/all"), "the oldest event")
    post(2)
    one.until(lambda: len(hub.events("/all")) == 2, "both events")
    one.until(lambda: hub.events("/newest"), "the second event")
    assert [event["id"] for event in hub.events("/newest")] == ["2"]
    one.until_idle()

    notes = one.folder / "data" / "sinks"
    (notes / "all").mkdir(parents=True)
    (notes / "all" / "told.json").write_text("{}")

    renamed = sink("renamed", 'was = "all"') + sink("fresh", "")
    one.configure(GATE + renamed, hub=str(hub.port))
    one.reload()
    one.until(lambda: len(hub.events("/fresh")) == 2, "all of it")
    post(3)
    one.until(lambda: hub.events("/renamed"), "the third event")

    assert [event["id"] for event in hub.events("/renamed")] == ["3"]
    assert (notes / "renamed" / "told.json").exists()
    assert not (notes / "all").exists()
