"""A webhook whose proof must be fetched: from whom, how often, and what is answered meanwhile."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio

from fleetd import config, providers, sinks
from fleetd.clock import Clock
from fleetd.providers.contract import Ask
from fleetd.store import Rules, open_store
from fleetd.tasks.errands import LARGEST, MOST, SPARED_S, WITHIN_S, Errands
from fleetd.tasks.listen import Gate, Reception
from fleetd.web import Request, Response
from fleetd.world import World
from tests.conftest import virtual_world
from tests.providers.verizon_sns import (
    CONFIRM,
    HOST,
    NOTE,
    PATH,
    TOKEN,
    certificate,
    message,
    signed,
)

HOUSE = """
[daemon]
data = "data"
[sources.reveal]
provider = "verizon"
auth = { header = { Authorization = "plain:Basic cmV2ZWFsOnBhc3M=" } }
"""
BASIC = {"authorization": "Basic " + base64.b64encode(b"reveal:pass").decode()}
POINT = {"vehicleNumber": "TX-104", "latitude": 32.7791, "longitude": -96.8,
         "updateUTC": "2026-11-20T14:03:22Z"}  # fmt: skip
BODY = message(POINT)
Answers = Callable[[httpx.Request], httpx.Response]


class Amazon:
    """What is asked of the outside, and the answer; `wait` seconds before it."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.wait = 0.0
        self.answer: Answers = lambda _request: httpx.Response(
            200, content=certificate()
        )
        self.under_way = self.most = 0

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(str(request.url))
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            await trio.sleep(self.wait)
            return self.answer(request)
        finally:
            self.under_way -= 1


@pytest.fixture
def amazon() -> Amazon:
    return Amazon()


def world_of(amazon: Amazon) -> World:
    world = virtual_world()
    world._transport = httpx.MockTransport(amazon)
    return world


@asynccontextmanager
async def door(folder: Path, amazon: Amazon, text: str = HOUSE):
    world = world_of(amazon)
    house = config.fitted(
        config.parse(text, folder / "fleetd.toml"), providers.load, sinks.load
    )
    source = house.sources["reveal"]
    provider = config.configured(source, providers.load)
    async with open_store(folder / "data", world, Rules(max_disk=1 << 30)) as store:
        await store.register_sources({"reveal": "verizon"})
        gate = Gate("reveal", source, provider, verified=False)
        yield store, Reception({"reveal": gate}, store, Clock(world))


def post(body: bytes, headers: dict[str, str] | None = None, kind="Notification"):
    told = {**BASIC, "x-amz-sns-message-type": kind, **(headers or {})}
    return Request("POST", "/webhooks/reveal", "", told, body, "192.0.2.1")


def rows(store: Any, sql: str) -> list[Any]:
    return list(store.log.db.execute(sql))


async def test_the_certificate_is_fetched_once_for_all_who_wait_and_kept_a_day(
    tmp_path, amazon, autojump_clock
):
    amazon.wait = 2.0
    async with door(tmp_path, amazon) as (_, reception):
        statuses: list[int] = []

        async def one(n: int) -> None:
            body = message({**POINT, "vehicleNumber": f"T{n}"}, "1" if n % 2 else "2")
            statuses.append((await reception.receive(post(body))).status)

        async with trio.open_nursery() as nursery:
            for n in range(20):
                nursery.start_soon(one, n)
        await trio.sleep(86_000)
        await one(20)
        before = list(amazon.asked)
        await trio.sleep(1_000)
        await one(21)

    assert statuses == [200] * 22
    assert before == [HOST + PATH]
    assert amazon.asked == [HOST + PATH] * 2


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(500), httpx.Response(404), httpx.Response(204),
        httpx.Response(302, headers={"location": "https://evil.example/x.pem"}),
        httpx.Response(200, content=b"<html>"), httpx.Response(200),
        httpx.Response(200, content=b"x" * (LARGEST + 1)),
        httpx.ConnectError("no route"), httpx.ReadTimeout("slow"),
    ],
    ids=repr,
)  # fmt: skip
async def test_while_nobody_can_tell_it_is_a_503_and_never_a_refusal(
    tmp_path, amazon, autojump_clock, answer
):
    def bad(_request: httpx.Request) -> httpx.Response:
        if isinstance(answer, Exception):
            raise answer
        return answer

    good, amazon.answer = amazon.answer, bad
    async with door(tmp_path, amazon) as (store, reception):
        first = await reception.receive(post(BODY))
        second = await reception.receive(post(BODY))
        asked = list(amazon.asked)
        kept = rows(store, "SELECT count(*) FROM unverified")
        amazon.answer = good
        await trio.sleep(SPARED_S + 1)
        third = await reception.receive(post(BODY))

    assert (first.status, second.status, third.status) == (503, 503, 200)
    assert dict(first.headers)["Retry-After"]
    assert asked == [HOST + PATH], "a far side that fails is spared for a while"
    assert kept == [(0,)]
    assert json.loads(third.body)["stored"] == 1


async def test_a_certificate_that_never_comes_is_waited_for_so_long_and_no_longer(
    tmp_path, amazon, autojump_clock
):
    amazon.wait = 3600.0
    async with door(tmp_path, amazon) as (_, reception):
        began = trio.current_time()
        found = await reception.receive(post(BODY))
        took = trio.current_time() - began

    assert found.status == 503
    assert took == pytest.approx(WITHIN_S)


async def test_who_waits_for_a_fetch_whose_peer_hung_up_fetches_it_himself(
    tmp_path, amazon, autojump_clock
):
    amazon.wait = 2.0
    async with door(tmp_path, amazon) as (_, reception):
        statuses = []

        async def stays() -> None:
            await trio.sleep(0.5)
            statuses.append((await reception.receive(post(BODY))).status)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(stays)
            with trio.move_on_after(1.0):
                await reception.receive(post(BODY))

    assert statuses == [200]
    assert len(amazon.asked) == 2
    assert amazon.most == 1


async def test_strangers_have_nothing_fetched(tmp_path, amazon, autojump_clock):
    async with door(tmp_path, amazon) as (store, reception):
        wrong = await reception.receive(post(BODY, {"authorization": "Basic eDp5"}))
        nameless = await reception.receive(
            Request("POST", "/webhooks/reveal", "", {}, BODY, "192.0.2.1")
        )
        kept = rows(store, "SELECT count(*) FROM unverified")

    assert (wrong.status, nameless.status) == (401, 401)
    assert dict(nameless.headers)["WWW-Authenticate"] == 'Basic realm="fleetd"'
    assert "WWW-Authenticate" not in dict(wrong.headers)
    assert kept == [(1,)], "what came without any password is only asked for it"
    assert amazon.asked == []


@pytest.mark.parametrize(
    "url",
    [
        "https://169.254.169.254/latest/meta-data/a.pem",
        "https://sns.us-east-1.amazonaws.com.evil.example/a.pem",
        "http://sns.us-east-1.amazonaws.com/a.pem",
    ],
)
async def test_a_foreign_place_is_never_asked_and_the_message_refused(
    tmp_path, amazon, autojump_clock, url
):
    body = json.dumps({**signed(NOTE), "SigningCertURL": url}).encode()
    async with door(tmp_path, amazon) as (_, reception):
        found = await reception.receive(post(body))

    assert found.status == 401
    assert amazon.asked == []


async def test_a_forged_message_is_refused_and_kept_apart(
    tmp_path, amazon, autojump_clock
):
    forged = json.dumps(signed({**NOTE}, name="mallory")).encode()
    async with door(tmp_path, amazon) as (store, reception):
        found = await reception.receive(post(forged))
        kept = rows(store, "SELECT count(*) FROM unverified")
        events = rows(store, "SELECT count(*) FROM events")

    assert found.status == 401
    assert kept == [(1,)]
    assert events == [(0,)]


@pytest.mark.parametrize(
    "ask",
    [
        Ask("/x", host="https://evil.example"), Ask("/x", host="http://sns.us-east-1.amazonaws.com"),
        Ask("/x"), Ask("x", host=HOST), Ask("/x", host=HOST, method="POST"),
        Ask("/x", host=HOST + ":8443"), Ask("/x", host=HOST + "@evil.example"),
        Ask("/x\n", host=HOST), Ask("/" + "x" * 70_000, host=HOST),
    ],
    ids=range(9),
)  # fmt: skip
async def test_whatever_a_vendors_file_says_other_hosts_are_not_asked(
    amazon, autojump_clock, ask
):
    from fleetd.errors import SignatureError
    from fleetd.providers.verizon.sns import HOST as PATTERN

    errands = Errands("reveal", (PATTERN,), dict, world_of(amazon))
    for go in (errands.needed([ask]), errands.visit(ask)):
        with pytest.raises(SignatureError):
            await go
    assert amazon.asked == []


async def test_many_certificates_do_not_fill_the_memory(amazon, autojump_clock):
    from fleetd.providers.verizon.sns import HOST as PATTERN

    errands = Errands("reveal", (PATTERN,), dict, world_of(amazon))
    for n in range(5 * MOST):
        await errands.needed([Ask(f"/{n}.pem", host=HOST)])

    assert len(errands._kept) <= MOST
    assert len(errands._locks) <= MOST + 1


# confirming


CONFIRMING = HOUSE + "confirm = true\n"


def confirmation() -> Request:
    body = json.dumps(signed(CONFIRM)).encode()
    return post(body, kind="SubscriptionConfirmation")


async def test_a_subscription_is_confirmed_once_it_is_kept(
    tmp_path, amazon, autojump_clock
):
    seen = []

    def answer(request: httpx.Request) -> httpx.Response:
        if "Action" in request.url.params:
            seen.append(rows(store, "SELECT count(*) FROM events"))
            return httpx.Response(200, content=b"<ConfirmSubscriptionResponse/>")
        return httpx.Response(200, content=certificate())

    amazon.answer = answer
    async with door(tmp_path, amazon, CONFIRMING) as (store, reception):
        found = await reception.receive(confirmation())

    assert found.status == 200
    url = httpx.URL(amazon.asked[-1])
    assert (url.scheme, url.host, url.path) == (
        "https",
        "sns.us-east-1.amazonaws.com",
        "/",
    )
    assert url.params["Token"] == TOKEN
    assert seen == [[(1,)]], "the alert was on the disk before anything was visited"


async def test_a_confirmation_that_fails_is_asked_for_again(
    tmp_path, amazon, autojump_clock
):
    fails = [True]

    def answer(request: httpx.Request) -> httpx.Response:
        if "Action" in request.url.params:
            return httpx.Response(500 if fails.pop() else 200)
        return httpx.Response(200, content=certificate())

    amazon.answer = answer
    async with door(tmp_path, amazon, CONFIRMING) as (store, reception):
        first = await reception.receive(confirmation())
        fails.append(False)
        second = await reception.receive(confirmation())
        events = rows(store, "SELECT count(*) FROM events")

    assert (first.status, second.status) == (503, 200)
    assert json.loads(second.body)["duplicate"] == 1
    assert events == [(1,)]


async def test_without_the_setting_nothing_is_visited(tmp_path, amazon, autojump_clock):
    async with door(tmp_path, amazon) as (store, reception):
        found = await reception.receive(confirmation())
        events = rows(store, "SELECT count(*) FROM events")

    assert found.status == 200
    assert events == [(1,)]
    assert amazon.asked == [HOST + PATH]


async def test_what_the_disk_refuses_is_not_followed(tmp_path, amazon, autojump_clock):
    class Slow(Reception):
        async def _keep(self, gate: Gate, append: Any) -> Response:
            return Response(503)

    async with door(tmp_path, amazon, CONFIRMING) as (store, usual):
        reception = Slow(usual.gates, store, Clock(store.world))
        found = await reception.receive(confirmation())

    assert found.status == 503
    assert amazon.asked == [HOST + PATH]


async def test_a_raw_push_and_an_alert_need_no_certificate(
    tmp_path, amazon, autojump_clock
):
    raw = {"x-amz-sns-rawdelivery": "true"}
    alarm = json.dumps({"AlertType": "Panic", "VehicleNumber": "T"}).encode()
    async with door(tmp_path, amazon) as (store, reception):
        first = await reception.receive(post(json.dumps(POINT).encode(), raw))
        second = await reception.receive(
            Request("POST", "/webhooks/reveal", "", BASIC, alarm, "192.0.2.1")
        )
        third = await reception.receive(post(BODY))
        verdicts = rows(store, "SELECT verdict FROM raw ORDER BY rowid")

    assert (first.status, second.status, third.status) == (200, 200, 200)
    assert json.loads(third.body)["duplicate"] == 1, "by whichever way, one event"
    assert amazon.asked == [HOST + PATH]
    assert [one for (one,) in verdicts][:2] == ["not signed", "not signed"]


async def test_a_private_place_that_is_pushed_reaches_no_disk(
    tmp_path, amazon, autojump_clock
):
    secret = {**POINT, "latitude": 31.41592, "isPrivate": True}
    poison = {**secret, "updateUTC": "never"}
    async with door(tmp_path, amazon) as (store, reception):
        for told in (secret, poison):
            assert (await reception.receive(post(message(told)))).status == 200
        raw = rows(store, "SELECT body FROM raw")
        dead = rows(store, "SELECT body FROM dead")

    assert len(raw) == 2
    assert len(dead) == 1
    for (body,) in [*raw, *dead]:
        text = bytes(body)
        for one in (text, zlib.decompress(text) if text[:1] == b"\x78" else b""):
            assert b"31.4" not in one
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or b"31.41592" not in path.read_bytes()
