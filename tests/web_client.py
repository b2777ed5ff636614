"""A blunt HTTP client and a listening door, for the tests of fleetd.web."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import NamedTuple

import trio

from fleetd.web import Door, Handler, Limits, Request, Response, open_listeners

ENOUGH = 30.0  # a test that waits longer hangs
GET = b"GET /webhooks/north?a=b HTTP/1.1\r\nHost: fleet\r\n\r\n"
LAST = b"GET / HTTP/1.1\r\nHost: fleet\r\nConnection: close\r\n\r\n"
POST = b"POST /webhooks/north HTTP/1.1\r\nHost: fleet\r\n"


class Answer(NamedTuple):
    status: int
    headers: Mapping[str, str]
    body: bytes


class Memory:
    """A handler that keeps what it was asked and answers 200 with the body's length."""

    def __init__(self) -> None:
        self.asked: list[Request] = []

    async def __call__(self, request: Request) -> Response:
        self.asked.append(request)
        return Response(200, b'{"length":%d}' % len(request.body))


@asynccontextmanager
async def listening(
    handler: Handler,
    limits: Limits | None = None,
    **how: object,
) -> AsyncIterator[tuple[Door, int]]:
    listeners = await open_listeners(["127.0.0.1:0"], **how)
    door, inner = (
        Door(handler, limits or Limits()),
        getattr(listeners[0], "inner", listeners[0]),
    )
    port = inner.socket.getsockname()[1]
    async with trio.open_nursery() as nursery:
        await nursery.start(door.serve, listeners)
        yield door, port
        nursery.cancel_scope.cancel()


def post(body: bytes, *headers: bytes) -> bytes:
    lines = b"".join(line + b"\r\n" for line in headers)
    return POST + lines + b"Content-Length: %d\r\n\r\n" % len(body) + body


async def exchange(port: int, data: bytes, *, eof: bool = False) -> list[Answer]:
    """Send everything and read until the far side hangs up."""
    with trio.fail_after(ENOUGH):
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            await stream.send_all(data)
            if eof:
                await stream.send_eof()
            return answers_in(await everything(stream))


async def until(condition: Callable[[], bool]) -> None:
    with trio.fail_after(ENOUGH):
        while not condition():  # noqa: ASYNC110
            await trio.sleep(0.01)


async def everything(stream: trio.abc.ReceiveStream) -> bytes:
    data = b""
    while part := await stream.receive_some():
        data += part
    return data


async def one_answer(
    stream: trio.abc.ReceiveStream, *, headless: bool = False
) -> Answer:
    """The next whole answer of a connection that goes on."""
    data = b""
    with trio.fail_after(ENOUGH):
        while not is_whole(data, headless=headless):
            part = await stream.receive_some()
            if not part:
                raise EOFError(f"hung up after {data!r}")
            data += part
    (answer,) = answers_in(data, headless=headless)
    return answer


def is_whole(data: bytes, *, headless: bool) -> bool:
    head, blank, body = data.partition(b"\r\n\r\n")
    if not blank:
        return False
    status, headers = head_of(head)
    bare = headless or status in (204, 304) or status < 200
    return bare or len(body) >= int(headers["content-length"])


def answers_in(data: bytes, *, headless: bool = False) -> list[Answer]:
    answers = []
    while data:
        head, blank, data = data.partition(b"\r\n\r\n")
        assert blank, f"an answer is cut short: {head!r}"
        status, headers = head_of(head)
        length = int(headers.get("content-length", 0))
        if headless:
            length = 0
        answers.append(Answer(status, headers, data[:length]))
        assert len(data) >= length, "a body is cut short"
        data = data[length:]
    return answers


def head_of(head: bytes) -> tuple[int, dict[str, str]]:
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    return int(first.split(" ")[1]), {name.lower(): headers[name] for name in headers}
