"""Many peers at once: bounded memory, slow ones beside busy ones, no descriptors left."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import trio

from tests.web_client import ENOUGH, exchange, one_answer, until

MIB = 1 << 20
ROOT = Path(__file__).parent.parent
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
LAST = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


class Server:
    def __init__(self, process: trio.Process) -> None:
        self.process, self.lines, self.port = process, b"", 0

    async def line(self) -> object:
        with trio.fail_after(ENOUGH):
            while b"\n" not in self.lines:
                part = await self.process.stdout.receive_some()
                assert part, "the server died"
                self.lines += part
        first, _, self.lines = self.lines.partition(b"\n")
        return json.loads(first)

    async def about(self) -> dict:
        await self.process.stdin.send_all(b"?")
        return await self.line()


@asynccontextmanager
async def server(*, env: dict | None = None, **asked: object) -> AsyncIterator[Server]:
    start = partial(
        trio.run_process,
        [sys.executable, "-m", "tests.web_server", json.dumps(asked)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        check=False,
        env=os.environ | (env or {}),
    )
    async with trio.open_nursery() as nursery:
        process = await nursery.start(start)
        one = Server(process)
        one.port = await one.line()
        yield one
        nursery.cancel_scope.cancel()


async def push(port: int, size: int, statuses: list[int], *, polite: bool) -> None:
    """Send one body until it is taken; `polite` waits to be asked for it."""
    head = b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n" % size
    while True:
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            await stream.send_all(head + b"Expect: 100-continue\r\n" * polite + b"\r\n")
            status = (await one_answer(stream)).status if polite else 100
            if status == 100:
                status = await send_and_listen(stream, size)
        statuses.append(status)
        if status == 200:
            return
        await trio.sleep(0.05)


async def send_and_listen(stream: trio.SocketStream, size: int) -> int:
    """The status, also when it comes before everything is sent."""

    async def send() -> None:
        part = bytes(65536)
        for at in range(0, size, len(part)):
            await stream.send_all(part[: size - at])

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        answer = await one_answer(stream)
        nursery.cancel_scope.cancel()
    return answer.status


async def test_a_hundred_bodies_of_10_mib_at_once_stay_within_the_budget():
    limits = {"max_body": 10 * MIB, "max_in_flight": 32 * MIB}
    statuses: list[int] = []
    async with server(limits=limits, env={"HOLD": "0.01"}) as one:
        before = await one.about()
        with trio.fail_after(120):
            async with trio.open_nursery() as nursery:
                for n in range(100):
                    nursery.start_soon(
                        lambda n=n: push(
                            one.port, 10 * MIB, statuses, polite=n % 2 == 0
                        )
                    )
        after = await one.about()

    assert statuses.count(200) == 100
    assert set(statuses) == {200, 503}
    assert 20 * MIB <= after["most_in_flight"] <= 32 * MIB
    assert (
        after["peak_kib"] - before["peak_kib"] <= (32 + 10 + 14) * 1024
    )  # and one body joined
    assert after["in_flight"] == 0


async def test_endless_chunks_and_zipped_bombs_stay_within_the_budget():
    limits = {"max_body": 10 * MIB, "max_in_flight": 32 * MIB}
    head = b"POST /x HTTP/1.1\r\nHost: a\r\n"
    chunk = b"%x\r\n" % MIB + bytes(MIB) + b"\r\n"
    endless = head + b"Transfer-Encoding: chunked\r\n\r\n" + chunk * 8
    zipped = gzip.compress(bytes(9 * MIB))
    length = b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(zipped)
    statuses: dict[bytes, list[int]] = {endless: [], head + length + zipped: []}

    async def flood(port: int, data: bytes) -> None:
        async with (
            await trio.open_tcp_stream("127.0.0.1", port) as stream,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(stream.send_all, data)
            statuses[data].append((await one_answer(stream)).status)
            nursery.cancel_scope.cancel()

    async with server(limits=limits, env={"HOLD": "0.05"}) as one:
        before = await one.about()
        for data, told in statuses.items():
            least = 36 if data is endless else 60  # 24 MiB of chunks may stay promised
            async with trio.open_nursery() as nursery:
                for _ in range(60):
                    nursery.start_soon(flood, one.port, data)
                await until(lambda told=told, n=least: len(told) >= n)
                nursery.cancel_scope.cancel()
        after = await one.about()

    chunks, bombs = statuses.values()
    assert set(chunks) == {503}
    assert set(bombs) == {200, 503}
    assert 20 * MIB <= after["most_in_flight"] <= 32 * MIB
    assert (
        after["peak_kib"] - before["peak_kib"] <= (32 + 10 + 14) * 1024
    )  # and one body joined


async def test_500_idle_peers_stand_beside_real_traffic():
    async with server() as one, trio.open_nursery() as nursery:
        port, idle = one.port, []

        async def stand(n: int) -> None:
            stream = await trio.open_tcp_stream("127.0.0.1", port)
            idle.append(stream)
            if n % 3 == 0:
                await stream.send_all(GET[:10])
            elif n % 3 == 1:
                await stream.send_all(GET)
                assert (await one_answer(stream)).status == 200

        with trio.fail_after(ENOUGH):
            async with trio.open_nursery() as standing:
                for n in range(500):
                    standing.start_soon(stand, n)

        async def work() -> None:
            async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
                for _ in range(50):
                    await stream.send_all(GET)
                    assert (await one_answer(stream)).status == 200

        with trio.fail_after(ENOUGH):
            async with trio.open_nursery() as working:
                for _ in range(8):
                    working.start_soon(work)
        about = await one.about()
        for n, stream in enumerate(idle):
            nursery.start_soon(stream.aclose)
            assert n < 500

    assert about["connections"] >= 500
    assert about["peak_kib"] < 80 * 1024


async def test_running_out_of_descriptors_does_not_end_the_accept_loop():
    async with server(descriptors=40) as one:
        port = one.port
        first = await trio.open_tcp_stream("127.0.0.1", port)
        await first.send_all(GET)
        assert (await one_answer(first)).status == 200
        crowd = [await trio.open_tcp_stream("127.0.0.1", port) for _ in range(60)]
        with trio.fail_after(ENOUGH):
            while (about := await one.about())["complaints"] == 0:  # noqa: ASYNC110
                await trio.sleep(0.02)
        await trio.sleep(0.5)  # so that accept has failed several times
        await first.send_all(GET)
        meanwhile = (await one_answer(first)).status
        for stream in [*crowd, first]:
            await stream.aclose()
        (answer,) = await exchange(port, LAST)
        complaints = (await one.about())["complaints"]

    assert about["connections"] < 60
    assert (meanwhile, answer.status) == (200, 200)
    assert complaints == 1
