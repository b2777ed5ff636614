"""The http sink: what is sent, how it is signed, and what an answer is taken for."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json

import httpx
import pytest
import trio

from fleetd.config import Seconds
from fleetd.errors import HeldError, RejectedError, TransientError
from fleetd.event import render
from fleetd.masking import MASK
from fleetd.secrets import Secret, Text
from fleetd.sinks import answers
from fleetd.sinks.http import SINK, Config
from fleetd.world import World
from tests.sinks.things import DAY, batch, entries, world

URL = "https://hub.example/in?tenant=7"


class Hub:
    def __init__(self, *answers) -> None:
        self.answers, self.asked = list(answers), []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        found = self.answers.pop(0) if self.answers else 200
        if isinstance(found, Exception):
            raise found
        return httpx.Response(found) if isinstance(found, int) else found


async def sent(hub: Hub, **more) -> httpx.Request:
    async with SINK.open(Config(url=Text(URL), **more), world(hub), "") as write:
        await write(batch(entries(1, 2)))
    return hub.asked[-1]


async def test_json_is_an_array_of_printed_events():
    request = await sent(Hub())

    assert str(request.url) == URL
    assert request.method == "POST"
    assert request.headers["content-type"] == "application/json"
    assert request.content == b"[" + b",".join(render(e) for e in entries(1, 2)) + b"]"
    assert [one["seq"] for one in json.loads(request.content)] == [1, 2]


async def test_ndjson_is_a_line_for_each():
    request = await sent(Hub(), format="ndjson")

    assert request.headers["content-type"] == "application/x-ndjson"
    assert request.content.endswith(b"\n")
    assert request.content.splitlines() == [render(e) for e in entries(1, 2)]


async def test_a_repeat_is_the_same_request_and_a_replay_is_not():
    hub = Hub()
    async with SINK.open(Config(url=Text(URL)), world(hub), "") as write:
        for generation in (0, 0, 7):
            await write(batch(entries(1, 2), generation))

    keys = [one.headers["idempotency-key"] for one in hub.asked]
    assert keys[0] == keys[1] != keys[2]
    assert len({one.content for one in hub.asked}) == 1


async def test_headers_come_from_secrets():
    secret = Secret("plain:Bearer abcdef")
    request = await sent(Hub(), headers={"Authorization": secret, "X-Fleet": Text("7")})

    assert request.headers["authorization"] == "Bearer abcdef"
    assert request.headers["x-fleet"] == "7"


@pytest.mark.parametrize(
    ("secret", "key"),
    [
        (
            "whsec_" + base64.b64encode(b"0123456789abcdef").decode(),
            b"0123456789abcdef",
        ),
        ("just words", b"just words"),
        ("whsec_not base64!", b"whsec_not base64!"),
    ],
)
async def test_the_signature_is_that_of_standard_webhooks(secret, key):
    request = await sent(Hub(), signing_secret=Secret(f"plain:{secret}"))

    stamp = str(int(DAY.timestamp()))
    id_ = request.headers["webhook-id"]
    text = f"{id_}.{stamp}.".encode() + request.content
    digest = hmac.new(key, text, hashlib.sha256).digest()
    assert id_ == request.headers["idempotency-key"]
    assert request.headers["webhook-timestamp"] == stamp
    assert (
        request.headers["webhook-signature"]
        == f"v1,{base64.b64encode(digest).decode()}"
    )


def test_the_published_vector_of_standard_webhooks():
    from fleetd.sinks.http import key_of, signature

    key = key_of(Secret("plain:whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"))
    found = signature(
        key, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", b'{"test": 2432232314}'
    )

    assert (
        found["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    )


@pytest.mark.parametrize(
    ("answer", "verdict", "words", "about"),
    [
        (408, TransientError, "408", {"counts": False, "slow": True}),
        (425, TransientError, "425", {"counts": True}),
        (429, TransientError, "429 Too Many", {"counts": False}),
        (500, TransientError, "500", {"counts": True}),
        (502, TransientError, "502", {"counts": True}),
        (503, TransientError, "503", {"counts": False}),
        (599, TransientError, "599", {"counts": True}),
        (
            httpx.ReadTimeout("x"),
            TransientError,
            "ReadTimeout",
            {"counts": False, "slow": True},
        ),
        (
            httpx.ConnectTimeout("x"),
            TransientError,
            "Connect",
            {"counts": False, "slow": False},
        ),
        (httpx.ConnectError("no route"), TransientError, "no route", {"counts": False}),
        (httpx.ReadError("reset"), TransientError, "reset", {"counts": True}),
        (httpx.RemoteProtocolError("bad"), TransientError, "bad", {"counts": True}),
        (httpx.LocalProtocolError("bad"), HeldError, "header", {}),
        (httpx.UnsupportedProtocol("x"), HeldError, "URL", {}),
        (301, HeldError, "final address", {}),
        (304, HeldError, "304", {}),
        (401, HeldError, "credentials", {"status": 401}),
        (402, HeldError, "paid", {}),
        (403, HeldError, "right", {}),
        (404, HeldError, "address", {}),
        (405, HeldError, "POST", {}),
        (407, HeldError, "proxy", {}),
        (410, HeldError, "given up", {}),
        (400, RejectedError, "400", {"blameless": False, "proven": False}),
        (409, RejectedError, "409", {"blameless": False}),
        (413, RejectedError, "413", {"blameless": True}),
        (415, RejectedError, "415", {"blameless": False}),
        (422, RejectedError, "422", {"status": 422}),
    ],
)
async def test_each_answer_is_one_verdict(answer, verdict, words, about):
    with pytest.raises(verdict, match=words) as caught:
        await sent(Hub(answer))

    for name, value in about.items():
        assert getattr(caught.value, name) == value, name
    if verdict is RejectedError:
        assert set(caught.value.reasons) == {1, 2}
    assert "tenant" not in str(caught.value)
    assert caught.value.__cause__ is None or not isinstance(
        caught.value.__cause__, httpx.HTTPError
    )


@pytest.mark.parametrize("status", [200, 201, 202, 204])
async def test_any_2xx_is_taken(status):
    assert (await sent(Hub(status))).method == "POST"


async def test_an_answer_is_kept_bounded_and_without_secrets():
    MASK.add("hunter2-hunter2")
    body = b"you sent hunter2-hunter2 " + b"x" * 100_000
    with pytest.raises(TransientError) as caught:
        await sent(Hub(httpx.Response(500, content=body)))

    assert len(caught.value.answer) == 2048
    assert b"hunter2" not in caught.value.answer


async def test_of_several_waits_that_proxies_ask_for_the_longest_counts():
    headers = [("retry-after", "120"), ("retry-after", "600"), ("retry-after", "soon")]
    with pytest.raises(TransientError) as caught:
        await sent(Hub(httpx.Response(503, headers=headers)))

    assert caught.value.after == 600.0


async def test_a_2xx_that_says_no_is_waited_for_as_long_as_it_says():
    answer = httpx.Response(200, json={"ok": False}, headers={"retry-after": "30"})
    with pytest.raises(TransientError) as caught:
        await sent(Hub(answer))

    assert caught.value.after == 30.0


async def test_their_own_clock_counts_for_a_retry_date():
    """Ours says noon; theirs is a day ahead, and their date is a minute after it."""
    headers = {
        "date": "Sun, 22 Nov 2026 12:00:00 GMT",
        "retry-after": "Sun, 22 Nov 2026 12:01:00 GMT",
    }
    with pytest.raises(TransientError) as caught:
        await sent(Hub(httpx.Response(503, headers=headers)))

    assert caught.value.after == 60.0


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ({"url": Text("ftp://x.example")}, "url"),
        ({"url": Text("hub.example/in")}, "url"),
        ({"url": Text(URL), "timeout": Seconds(60)}, "timeout"),
        ({"url": Text(URL), "headers": {"content-TYPE": Text("x")}}, "set by fleetd"),
        ({"url": Text("https://[::1/in")}, "url"),
        ({"url": Text("https://caf\u00e9..example/in")}, "url"),
        ({"url": Text(URL), "headers": {"X-Site": Text("Z\u00fcrich")}}, "X-Site"),
        ({"url": Text(URL), "headers": {"X-Site": Text("a\nb: c")}}, "X-Site"),
        ({"url": Text(URL), "headers": {"X Site": Text("a")}}, "X Site"),
        ({"url": Text(URL), "headers": {"Stra\u00dfe": Text("a")}}, "Stra"),
    ],
)
def test_what_cannot_work_is_refused_before_it_runs(config, why):
    with pytest.raises(ValueError, match=why):
        Config(**config)


async def test_the_check_asks_for_options_and_says_what_it_saw():
    hub = Hub(405)
    said = await SINK.check(Config(url=Text(URL)), world(hub))

    assert hub.asked[0].method == "OPTIONS"
    assert hub.asked[0].content == b""
    assert said == "hub.example answers (OPTIONS 405); nothing was written"
    with pytest.raises(HeldError, match="credentials"):
        await SINK.check(Config(url=Text(URL)), world(Hub(401)))
    with pytest.raises(TransientError, match="ConnectError"):
        await SINK.check(Config(url=Text(URL)), world(Hub(httpx.ConnectError("x"))))


@pytest.mark.parametrize(
    "config",
    [
        {"url": Secret("plain:https://[::1/in")},
        {"url": Secret(f"plain:https://{'a' * 70}.invalid/in")},
        {"headers": {"Authorization": Secret("plain:Bearer caf\u00e9")}},
    ],
)
async def test_a_secret_that_cannot_be_sent_holds_and_is_not_told(config):
    async with SINK.open(
        Config(**{"url": Text(URL), **config}), World(environ={}), ""
    ) as write:
        with pytest.raises(HeldError, match="correct it") as caught:
            await write(batch(entries(1)))

    assert "caf" not in str(caught.value)


@pytest.mark.parametrize("place", ["http://[x", "//[x"])
async def test_a_redirect_to_nowhere_holds_too(place):
    headers = [(b"location", place.encode())]
    with pytest.raises(HeldError, match="sends us on; set the final address"):
        await sent(Hub(httpx.Response(302, headers=headers)))


async def test_no_cookie_is_kept_or_sent_back():
    baked = [{"set-cookie": f"a{n}=1"} for n in range(3)]
    hub = Hub(*(httpx.Response(200, headers=one) for one in baked))
    async with world(hub).client() as http:
        for _ in baked:
            await http.get(URL)

        assert len(http.cookies.jar) == 0
    assert not any("cookie" in one.headers for one in hub.asked)


# a real server, over loopback, that does not behave


async def serve(
    answer: bytes, drip: bytes = b"", *, task_status=trio.TASK_STATUS_IGNORED
):
    async def one(stream: trio.SocketStream) -> None:
        await stream.receive_some(65536)
        await stream.send_all(answer)
        while drip:
            try:
                await stream.send_all(drip)
                await trio.sleep(0.01)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return

    await trio.serve_tcp(one, 0, host="127.0.0.1", task_status=task_status)


async def post_to(nursery: trio.Nursery, *server: bytes):
    listeners = await nursery.start(serve, *server)
    port = listeners[0].socket.getsockname()[1]
    async with World().client(timeout=None) as http:
        try:
            return await answers.post(
                http, f"http://127.0.0.1:{port}/x", entries(1), now=lambda: DAY,
                within=20, content=b"[]",
            )  # fmt: skip
        finally:
            nursery.cancel_scope.cancel()


async def test_a_body_that_never_ends_is_read_no_further_than_a_verdict_needs():
    async with trio.open_nursery() as nursery:
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        receipt = await post_to(nursery, head, b"1000\r\n" + b"x" * 4096 + b"\r\n")

    assert receipt.status == 200
    assert len(receipt.answer) == 2048


async def test_a_redirect_is_not_followed():
    async with trio.open_nursery() as nursery:
        with pytest.raises(HeldError, match="sends us on to 127"):
            await post_to(
                nursery,
                b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\n"
                b"Content-Length: 0\r\n\r\n",
            )


async def test_an_answer_that_is_not_http_is_later():
    async with trio.open_nursery() as nursery:
        with pytest.raises(TransientError, match="RemoteProtocolError"):
            await post_to(nursery, b"SSH-2.0-OpenSSH\r\n\r\n")
