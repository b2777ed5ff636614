"""What a peer sends reaches the handler as it was meant, and is answered in order."""

from __future__ import annotations

import gzip

import pytest
import trio
import trio.testing

from fleetd.web import Limits, Request, Response
from tests.web_client import (
    GET,
    LAST,
    POST,
    Memory,
    exchange,
    listening,
    one_answer,
    post,
    until,
)

# What a request is.


async def test_a_handler_sees_the_request_as_it_was_sent():
    memory = Memory()
    data = post(
        b"{}", b"X-Stamp:  12 ", b"Cookie: a", b"cookie: b", b"Connection: close"
    )
    async with listening(memory) as (_, port):
        await exchange(port, data.replace(b"/north", b"/n%20rth?x=%20y"))

    (request,) = memory.asked
    assert (request.method, request.path) == ("POST", "/webhooks/n rth")
    assert (request.query, request.body) == ("x=%20y", b"{}")
    assert (request.header("x-stamp"), request.header("x-other")) == ("12", "")
    assert request.header("cookie") == "a, b"
    assert request.peer == "127.0.0.1"


async def test_spaces_and_tabs_around_a_value_are_no_part_of_it():
    memory = Memory()
    async with listening(memory) as (_, port):
        await exchange(port, post(b"", b"X-Stamp: \t1\t2 \t", b"Connection: close"))

    assert memory.asked[0].header("x-stamp") == "1\t2"


async def test_an_answer_carries_its_headers_length_and_date_and_no_server():
    async def handler(request: Request) -> Response:
        return Response(202, b"later", "text/plain", (("Retry-After", "7"),))

    async with listening(handler) as (_, port):
        (answer,) = await exchange(port, LAST)

    assert (answer.status, answer.body) == (202, b"later")
    assert answer.headers["content-type"] == "text/plain"
    assert answer.headers["retry-after"] == "7"
    assert set(answer.headers) == {
        "content-type", "content-length", "retry-after", "date", "connection",
    }  # fmt: skip


async def test_204_says_neither_length_nor_type():
    async def handler(request: Request) -> Response:
        return Response(204)

    async with listening(handler) as (_, port):
        first, second = await exchange(port, GET + LAST)

    assert first.status == second.status == 204
    assert set(first.headers) == {"date"}


async def test_head_gets_the_length_without_the_body_and_goes_on():
    async with (
        listening(Memory()) as (_, port),
        await trio.open_tcp_stream("127.0.0.1", port) as stream,
    ):
        await stream.send_all(GET.replace(b"GET", b"HEAD"))
        answer = await one_answer(stream, headless=True)
        await stream.send_all(GET)
        following = await one_answer(stream)

    assert answer.headers["content-length"] == str(len(b'{"length":0}'))
    assert answer.body == b""
    assert following.body == b'{"length":0}'


async def test_pipelined_requests_are_answered_in_order():
    async def handler(request: Request) -> Response:
        await trio.sleep(0 if int(request.query) % 2 else 0.001)
        return Response(200, request.query.encode())

    asked = [GET.replace(b"a=b", b"%d" % n) for n in range(200)]
    async with listening(handler) as (_, port):
        answers = await exchange(
            port, b"".join(asked) + LAST.replace(b"/", b"/?200", 1)
        )

    assert [answer.body for answer in answers] == [b"%d" % n for n in range(201)]


async def test_http_1_0_closes_unless_it_asks_to_stay():
    plain = b"GET / HTTP/1.0\r\n\r\n"
    staying = b"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n"
    async with listening(Memory()) as (_, port):
        answers = await exchange(port, staying + staying + plain + plain)

    wishes = [answer.headers["connection"] for answer in answers]
    assert wishes == ["keep-alive", "keep-alive", "close"]


async def test_a_peer_that_asks_to_close_is_closed_after_its_answer():
    memory = Memory()
    async with listening(memory) as (_, port):
        (answer,) = await exchange(port, LAST + GET)

    assert answer.headers["connection"] == "close"
    assert len(memory.asked) == 1


# Bodies.


@pytest.mark.parametrize("size", [0, 1, 65535, 65536, 65537, 1 << 20])
async def test_a_body_up_to_the_bound_arrives_whole(size):
    memory, body = Memory(), bytes(n % 251 for n in range(size))
    async with listening(memory) as (door, port):
        (answer,) = await exchange(port, post(body, b"Connection: close"))
        assert door.in_flight == 0

    assert answer.status == 200
    assert memory.asked[0].body == body


async def test_a_chunked_body_is_put_together():
    memory, body = Memory(), bytes(n % 251 for n in range(200_000))
    chunks = b"".join(
        b"%x\r\n%b\r\n" % (len(part), part)
        for part in (body[at : at + 997] for at in range(0, len(body), 997))
    )
    data = POST + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"
    async with listening(memory) as (_, port):
        answers = await exchange(port, data + LAST)

    assert [answer.status for answer in answers] == [200, 200]
    assert memory.asked[0].body == body


@pytest.mark.parametrize("size", [0, 1, 65536, 131072, 1 << 20])
async def test_a_zipped_body_up_to_the_bound_is_inflated(size):
    memory, body = Memory(), bytes(n % 251 for n in range(size))
    data = post(gzip.compress(body), b"Content-Encoding: gzip", b"Connection: close")
    async with listening(memory) as (door, port):
        (answer,) = await exchange(port, data)
        assert door.in_flight == 0

    assert answer.status == 200
    assert memory.asked[0].body == body


async def test_a_zipped_body_one_byte_over_the_bound_is_refused():
    memory = Memory()
    data = post(gzip.compress(bytes((1 << 20) + 1)), b"Content-Encoding: gzip")
    async with listening(memory) as (door, port):
        (answer,) = await exchange(port, data)
        assert door.in_flight == 0

    assert answer.status == 413
    assert memory.asked == []


async def test_a_body_that_will_be_taken_is_asked_for():
    memory = Memory()
    async with (
        listening(memory) as (_, port),
        await trio.open_tcp_stream("127.0.0.1", port) as stream,
    ):
        await stream.send_all(
            POST + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n"
        )
        first = await one_answer(stream)
        await stream.send_all(b"{}")
        second = await one_answer(stream)

    assert (first.status, second.status) == (100, 200)
    assert memory.asked[0].body == b"{}"


async def test_a_body_that_will_not_be_taken_is_never_asked_for():
    data = POST + b"Expect: 100-continue\r\nContent-Length: 1048577\r\n\r\n"
    async with listening(Memory()) as (_, port):
        (answer,) = await exchange(port, data)

    assert answer.status == 413


async def test_a_path_that_is_not_admitted_is_answered_before_its_body():
    memory, limits = Memory(), Limits(admits=lambda method, path: path == "/here")
    unread = POST + b"Content-Length: 1000\r\n\r\n"
    async with listening(memory, limits) as (_, port):
        (refused,) = await exchange(port, unread)
        (taken,) = await exchange(port, LAST.replace(b"/", b"/here", 1))

    assert (refused.status, taken.status) == (404, 200)
    assert len(memory.asked) == 1


async def test_a_refusal_reaches_a_peer_that_goes_on_sending():
    async with listening(Memory()) as (_, port):
        (answer,) = await exchange(
            port, POST + b"Content-Length: 3000000\r\n\r\n" + bytes(3_000_000)
        )

    assert answer.status == 413


async def test_bytes_in_flight_are_bounded_over_all_peers_and_given_back():
    release, limits = trio.Event(), Limits(max_in_flight=1000)

    async def handler(request: Request) -> Response:
        await release.wait()
        return Response(200)

    async with (
        listening(handler, limits) as (door, port),
        trio.open_nursery() as nursery,
    ):
        for _ in range(2):
            data = post(bytes(400), b"Connection: close")
            nursery.start_soon(exchange, port, data)
        await until(lambda: door.in_flight >= 800)
        (refused,) = await exchange(port, post(bytes(400)))
        release.set()
        await until(lambda: door.in_flight == 0)
        (taken,) = await exchange(port, post(bytes(400), b"Connection: close"))

    assert refused.status == 503
    assert refused.headers["retry-after"] == "1"
    assert taken.status == 200
    assert door.in_flight == 0


async def test_bodies_that_are_only_promised_cannot_shut_out_one_that_is_here():
    limits = Limits(max_body=300, max_in_flight=1000)
    promise = POST + b"Content-Length: 300\r\n\r\n"
    async with listening(Memory(), limits) as (door, port), trio.open_nursery() as slow:
        for _ in range(8):
            slow.start_soon(exchange, port, promise)
        await until(lambda: door.in_flight >= 600)
        (answer,) = await exchange(port, post(bytes(250), b"Connection: close"))
        assert door.in_flight == 600
        slow.cancel_scope.cancel()

    assert answer.status == 200
