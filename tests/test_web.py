"""The door keeps its promises to one peer: order, limits, time, and a graceful end."""

from __future__ import annotations

import gzip
import socket
import struct

import msgspec
import pytest
import structlog
import trio
import trio.testing

from fleetd.errors import StoreError
from fleetd.web import Door, Limits, Request, Response, serve_stream
from tests.web_client import (
    ENOUGH,
    Memory,
    answers_in,
    everything,
    exchange,
    listening,
    one_answer,
    until,
)

GET = b"GET /webhooks/north?a=b HTTP/1.1\r\nHost: fleet\r\n\r\n"
LAST = b"GET / HTTP/1.1\r\nHost: fleet\r\nConnection: close\r\n\r\n"
POST = b"POST /webhooks/north HTTP/1.1\r\nHost: fleet\r\n"


def post(body: bytes, *headers: bytes) -> bytes:
    lines = b"".join(line + b"\r\n" for line in headers)
    return POST + lines + b"Content-Length: %d\r\n\r\n" % len(body) + body


async def connected(nursery, door):
    """The client's end of a memory stream that the door serves."""
    ours, theirs = trio.testing.memory_stream_pair()
    nursery.start_soon(serve_stream, theirs, door)
    return ours


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


# Time.


async def test_an_idle_peer_is_closed_without_a_word(autojump_clock):
    async with trio.open_nursery() as nursery:
        stream = await connected(nursery, Door(Memory(), Limits(idle_within=75)))
        told = await everything(stream)

    assert told == b""
    assert 75 <= trio.current_time() <= 77


async def test_a_slow_head_is_told_so(autojump_clock):
    async with trio.open_nursery() as nursery:
        stream = await connected(nursery, Door(Memory(), Limits(head_within=10)))
        for byte in GET[:20]:
            await stream.send_all(bytes((byte,)))
            await trio.sleep(0.4)
        (answer,) = answers_in(await everything(stream))

    assert answer.status == 408
    assert answer.headers["connection"] == "close"
    assert 10 <= trio.current_time() <= 14


@pytest.mark.parametrize(
    "start",
    [
        POST + b"Content-Length: 100\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\n",
    ],
)
async def test_a_slow_body_is_told_so_and_gives_its_bytes_back(autojump_clock, start):
    memory, door = Memory(), Door(Memory(), Limits(body_within=20))
    async with trio.open_nursery() as nursery:
        stream = await connected(nursery, door)
        await stream.send_all(start)
        (answer,) = answers_in(await everything(stream))

    assert answer.status == 408
    assert 20 <= trio.current_time() <= 24
    assert (door.in_flight, door.connections, memory.asked) == (0, 0, [])


async def test_the_time_of_a_head_begins_anew_with_each_request(autojump_clock):
    memory = Memory()
    async with trio.open_nursery() as nursery:
        stream = await connected(nursery, Door(memory, Limits(head_within=10)))
        for _ in range(5):
            await trio.sleep(30)
            await stream.send_all(GET[:9])
            await trio.sleep(8)
            await stream.send_all(GET[9:])
            assert (await one_answer(stream)).status == 200
        await stream.aclose()

    assert len(memory.asked) == 5


async def test_a_handler_may_take_its_time(autojump_clock):
    async def handler(request: Request) -> Response:
        await trio.sleep(3600)
        return Response(200)

    async with trio.open_nursery() as nursery:
        stream = await connected(nursery, handler)
        await stream.send_all(LAST)
        with trio.fail_after(4000):
            (answer,) = answers_in(await everything(stream))

    assert answer.status == 200


async def test_a_peer_that_does_not_read_its_answer_is_dropped(autojump_clock):
    async def handler(request: Request) -> Response:
        return Response(200, bytes(1000))

    door = Door(handler, Limits(body_within=20))
    ours, theirs = trio.testing.lockstep_stream_pair()
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve_stream, theirs, door)
            await ours.send_all(GET)
            await until(lambda: door.connections == 0)

    assert 20 <= trio.current_time() <= 23


# Faults.


async def test_a_handler_that_fails_costs_a_500_and_nothing_else():
    async def handler(request: Request) -> Response:
        if request.query:
            raise RuntimeError("token=hunter2")
        return Response(200)

    with structlog.testing.capture_logs() as logs:
        async with listening(handler) as (_, port):
            first, second = await exchange(
                port, GET.replace(b"north", b"north/key") + LAST
            )

    assert (first.status, second.status) == (500, 200)
    assert b"hunter2" not in first.body
    (entry,) = logs
    assert (entry["event"], entry["path"]) == ("request_failed", "/webhooks/north")


@pytest.mark.parametrize(
    "response",
    [
        Response(200, b"secret", headers=(("X", "a\r\nSet-Cookie: b"),)),
        Response(200, b"secret", headers=(("X: y\nZ", "a"),)),
        Response(200, b"secret", content_type="text/plain\r\nX: y"),
    ],
)
async def test_an_answer_that_would_split_is_not_sent(response):
    async def handler(request: Request) -> Response:
        return response

    with structlog.testing.capture_logs() as logs:
        async with listening(handler) as (_, port):
            first, second = await exchange(port, GET + LAST)

    assert first.status == second.status == 500
    assert "error" in msgspec.json.decode(first.body)
    assert [entry["event"] for entry in logs] == ["response_not_sendable"] * 2


@pytest.mark.parametrize("grouped", [False, True])
async def test_a_store_error_comes_through(grouped):
    broken = StoreError("fsync failed")

    async def handler(request: Request) -> Response:
        raise ExceptionGroup("within", [broken]) if grouped else broken

    ours, theirs = trio.testing.memory_stream_pair()
    await ours.send_all(GET)
    with pytest.raises(ExceptionGroup) as caught:
        await serve_stream(theirs, handler)

    assert caught.value.subgroup(lambda fault: fault is broken) is not None
    assert await everything(ours) == b""


async def test_a_peer_that_resets_disturbs_no_other():
    async def handler(request: Request) -> Response:
        await trio.sleep(0.02)
        return Response(200, bytes(100_000))

    async with listening(handler) as (door, port):
        for data in (b"", b"GET", GET, post(bytes(100))[:-50], GET * 50):
            with socket.create_connection(("127.0.0.1", port)) as rude:
                rude.setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
                )
                rude.sendall(data)
                await trio.sleep(0.01)
        (answer,) = await exchange(port, LAST)
        with trio.fail_after(ENOUGH):
            await until(lambda: door.connections == 0)

    assert answer.status == 200


async def test_over_the_cap_a_peer_gets_503_and_the_others_go_on():
    async with listening(Memory(), Limits(connections=2)) as (door, port):
        first = await trio.open_tcp_stream("127.0.0.1", port)
        second = await trio.open_tcp_stream("127.0.0.1", port)
        await until(lambda: door.connections >= 2)
        (refused,) = await exchange(port, GET)
        await first.send_all(GET)
        served = await one_answer(first)
        await second.aclose()
        await until(lambda: door.connections <= 1)
        (taken,) = await exchange(port, LAST)
        await first.aclose()

    assert (refused.status, served.status, taken.status) == (503, 200, 200)
    assert refused.headers["retry-after"] == "1"


# The end.


async def test_closing_answers_what_is_in_flight_and_hangs_up_on_the_idle():
    begun, release = trio.Event(), trio.Event()

    async def handler(request: Request) -> Response:
        begun.set()
        await release.wait()
        return Response(200)

    async with listening(handler) as (door, port), trio.open_nursery() as nursery:
        idle = await trio.open_tcp_stream("127.0.0.1", port)
        busy = await trio.open_tcp_stream("127.0.0.1", port)
        await busy.send_all(GET + GET)
        await begun.wait()
        nursery.start_soon(door.close)
        with trio.fail_after(ENOUGH):
            assert await everything(idle) == b""
            with pytest.raises(OSError, match="connect"):
                await trio.open_tcp_stream("127.0.0.1", port)
            release.set()
            (answer,) = answers_in(await everything(busy))
        await idle.aclose()
        await busy.aclose()

    assert answer.status == 200
    assert answer.headers["connection"] == "close"
    assert door.connections == 0


async def test_closing_waits_no_longer_than_it_was_told(autojump_clock):
    async def handler(request: Request) -> Response:
        await trio.sleep(3600)
        return Response(200)

    door = Door(handler)
    async with trio.open_nursery() as nursery:
        stream = await connected(nursery, door)
        await stream.send_all(GET)
        await trio.sleep(1)
        await door.close(within=5)
        assert await everything(stream) == b""

    assert 6 <= trio.current_time() <= 7
    assert door.connections == 0


async def test_the_door_keeps_no_count_of_those_who_left():
    async with listening(Memory()) as (door, port):
        for _ in range(20):
            await exchange(port, LAST)
        with trio.fail_after(ENOUGH):
            await until(lambda: door.connections == 0)

        assert (door.connections, door.in_flight) == (0, 0)
