"""A door bounds a peer's time, keeps its faults from the others, and ends gracefully."""

from __future__ import annotations

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
    GET,
    LAST,
    POST,
    Memory,
    answers_in,
    everything,
    exchange,
    listening,
    one_answer,
    post,
    until,
)


async def connected(nursery, door):
    """The client's end of a memory stream that the door serves."""
    ours, theirs = trio.testing.memory_stream_pair()
    nursery.start_soon(serve_stream, theirs, door)
    return ours


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
