"""A simulator on a port: HTTP/1.1 kept alive, and `python -m tests.vendors.<vendor>`."""

from __future__ import annotations

import argparse
import gzip
import json
import socket
import struct
import traceback
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from http import HTTPStatus

import trio

from tests.vendors.base import Clock, Reply, Simulator
from tests.vendors.faults import named
from tests.vendors.pushing import push
from tests.vendors.truth import Truth
from tests.vendors.wire import Asked, asked

HEAD, BODY = 64 << 10, 64 << 20
RST = struct.pack("ii", 1, 0)  # linger on, no seconds: close with a reset


class BadRequestError(Exception):
    """What came is no request that we understand."""


async def serve(
    sim: Simulator,
    port: int = 0,
    *,
    gzipped: bool = False,
    task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Answer on 127.0.0.1 for ever; started with the port it listens on."""
    (listener,) = await trio.open_tcp_listeners(port, host="127.0.0.1", backlog=512)
    async with trio.open_nursery() as nursery:
        handler = partial(_peer, sim, gzipped=gzipped)
        nursery.start_soon(trio.serve_listeners, handler, [listener])
        task_status.started(int(listener.socket.getsockname()[1]))


async def _peer(sim: Simulator, stream: trio.SocketStream, *, gzipped: bool) -> None:
    peer = _Peer(sim, stream, gzipped=gzipped)
    try:
        async with stream:
            while await peer.once():
                pass
    except (trio.BrokenResourceError, trio.ClosedResourceError, BadRequestError):
        pass


class _Peer:
    """One connection."""

    def __init__(
        self, sim: Simulator, stream: trio.SocketStream, *, gzipped: bool
    ) -> None:
        self.sim, self.stream, self.gzipped = sim, stream, gzipped
        self.buffer = bytearray()

    async def once(self) -> bool:
        """One request and its answer; whether another may come."""
        head = await self._until(b"\r\n\r\n")
        if head is None:
            return False
        first, *lines = head.decode("latin-1").split("\r\n")
        method, target, _version = first.split(" ", 2)
        headers = {
            name.strip().lower(): value.strip()
            for name, _, value in (line.partition(":") for line in lines)
        }
        if "transfer-encoding" in headers:
            raise BadRequestError
        body = await self._exactly(int(headers.get("content-length", "0")))
        found = self._answer(asked(method, target, headers, body))
        if found.wait:
            await trio.sleep(found.wait)
        if found.broken:
            await self._break(found)
            return False
        wants = "gzip" in headers.get("accept-encoding", "")
        await self._send(method, found, zipped=self.gzipped and wants)
        return headers.get("connection", "").lower() != "close"

    def _answer(self, request: Asked) -> Reply:
        try:
            return self.sim.answer(request)
        except Exception:  # noqa: BLE001  a bug of the simulator's own is shown, and counted as such
            traceback.print_exc()
            self.sim.bugs += 1
            return Reply(500, b"a bug of the simulator")

    async def _until(self, mark: bytes) -> str | bytes | None:
        while (end := self.buffer.find(mark)) < 0:
            if len(self.buffer) > HEAD:
                raise BadRequestError
            more = await self.stream.receive_some(65536)
            if not more:
                return None
            self.buffer += more
        head = bytes(self.buffer[:end])
        del self.buffer[: end + len(mark)]
        return head

    async def _exactly(self, size: int) -> bytes:
        if size > BODY:
            raise BadRequestError
        while len(self.buffer) < size:
            more = await self.stream.receive_some(65536)
            if not more:
                raise BadRequestError
            self.buffer += more
        body = bytes(self.buffer[:size])
        del self.buffer[:size]
        return body

    async def _send(self, method: str, found: Reply, *, zipped: bool) -> None:
        body, headers = found.body, dict(found.headers)
        if zipped and len(body) > 1024:
            body, headers["content-encoding"] = gzip.compress(body, 1), "gzip"
        headers["content-length"] = str(len(body))
        phrase = HTTPStatus(found.status).phrase
        lines = [f"HTTP/1.1 {found.status} {phrase}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        head = "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"
        await self.stream.send_all(head if method == "HEAD" else head + body)

    async def _break(self, found: Reply) -> None:
        """Send half of it, if anything, and reset the connection."""
        if found.status:
            size = len(found.body)
            head = f"HTTP/1.1 {found.status} OK\r\ncontent-length: {size}\r\n\r\n"
            await self.stream.send_all(head.encode() + found.body[: size // 2])
        self.stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RST)


def arguments(title: str) -> argparse.ArgumentParser:
    """What every simulator takes on its command line."""
    parser = argparse.ArgumentParser(prog=f"python -m tests.vendors.{title}")
    add = parser.add_argument
    add("--port", type=int, default=0, help="on 127.0.0.1; 0 takes a free one")
    add("--vehicles", type=int, default=25)
    add("--seed", type=int, default=7)
    add("--every", type=int, default=60, help="seconds from fix to fix while driving")
    add("--parked", type=int, default=3600, help="the same while parked")
    add("--faults", default="none", help="none, light, heavy, or knobs as JSON")
    add("--limit", type=float, default=1.0, help="times the vendor's own limits")
    add("--key", default="key", help="the token (user:password) that it accepts")
    add("--secret", default="", help="what its pushes are signed with")
    add("--start", default="", help="its date and time at the start; else now")
    add("--speed", type=float, default=1.0, help="how fast its time runs")
    add("--gzip", action="store_true", help="compress answers")
    add("--push", default="", metavar="URL", help="push to it what happens from now on")
    return parser


def made(kind: type[Simulator], chosen: argparse.Namespace) -> Simulator:
    """The simulator that a command line asks for."""
    start = datetime.fromisoformat(chosen.start) if chosen.start else None
    if start is not None and start.tzinfo is None:
        start = start.replace(tzinfo=UTC)
    return kind(
        Truth(chosen.vehicles, chosen.seed, chosen.every, chosen.parked),
        named(chosen.faults),
        Clock(start, chosen.speed),
        key=chosen.key,
        secret=chosen.secret,
        limit=chosen.limit,
    )


def main(kind: type[Simulator], words: Sequence[str] | None = None) -> None:
    """Run a simulator until it is interrupted; its first line tells the port."""
    chosen = arguments(kind.vendor).parse_args(words)
    sim = made(kind, chosen)
    with suppress(KeyboardInterrupt):
        trio.run(partial(_run, sim, chosen))


async def _run(sim: Simulator, chosen: argparse.Namespace) -> None:
    async with trio.open_nursery() as nursery:
        listening = partial(serve, sim, chosen.port, gzipped=chosen.gzip)
        port = await nursery.start(listening)
        print(json.dumps({"port": port, "url": f"http://127.0.0.1:{port}"}), flush=True)
        if chosen.push:
            nursery.start_soon(partial(push, sim, chosen.push, since=sim.now()))
