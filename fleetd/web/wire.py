"""The bytes of one peer, over a plain socket or any trio stream."""

from __future__ import annotations

import socket
from typing import Final, Protocol

import trio

READ_AT_MOST: Final = 1 << 16
GONE: Final = "the peer is gone"


class Wire(Protocol):
    """Receive gives b"" at the end; what broke raises trio.BrokenResourceError."""

    peer: str

    async def greet(self) -> None: ...
    async def receive(self) -> bytes: ...
    async def send(self, data: bytes) -> None: ...
    async def finish(self) -> None: ...
    async def close(self) -> None: ...


def wire_of(stream: trio.abc.Stream) -> Wire:
    if isinstance(stream, trio.SocketStream):
        return SocketWire(stream)
    return StreamWire(stream)


class SocketWire:
    """A socket taken out of its trio stream: one system call a send, one a receive.

    trio's own methods pass the scheduler once more a send and translate errors through
    two context managers: together about a third of a small request's whole cost.
    """

    __slots__ = ("_descriptor", "_socket", "peer")

    def __init__(self, stream: trio.SocketStream) -> None:
        self.peer = _peer(stream.socket)
        self._socket = socket.socket(fileno=stream.socket.detach())
        self._socket.setblocking(False)
        self._descriptor = self._socket.fileno()

    async def greet(self) -> None:
        pass

    async def receive(self) -> bytes:
        while True:
            await trio.lowlevel.wait_readable(self._descriptor)
            try:
                return self._socket.recv(READ_AT_MOST)
            except BlockingIOError:
                continue
            except OSError as gone:
                raise trio.BrokenResourceError(GONE) from gone

    async def send(self, data: bytes) -> None:
        sent = self._send(data)
        if sent < len(data):
            rest = memoryview(data)
            while sent < len(data):
                await trio.lowlevel.wait_writable(self._descriptor)
                sent += self._send(rest[sent:])

    def _send(self, data: bytes | memoryview) -> int:
        try:
            return self._socket.send(data)
        except BlockingIOError:
            return 0
        except OSError as gone:
            raise trio.BrokenResourceError(GONE) from gone

    async def finish(self) -> None:
        """Say that nothing more will come, so that an answer survives unread bytes."""
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError as gone:
            raise trio.BrokenResourceError(GONE) from gone

    async def close(self) -> None:
        self._socket.close()


class StreamWire:
    """Any other trio stream: TLS, or memory in a test."""

    __slots__ = ("_stream", "peer")

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        inner = getattr(stream, "transport_stream", stream)
        self.peer = _peer(inner.socket) if isinstance(inner, trio.SocketStream) else ""

    async def greet(self) -> None:
        if isinstance(self._stream, trio.SSLStream):
            await self._stream.do_handshake()

    async def receive(self) -> bytes:
        return bytes(await self._stream.receive_some(READ_AT_MOST))

    async def send(self, data: bytes) -> None:
        await self._stream.send_all(data)

    async def finish(self) -> None:
        if isinstance(self._stream, trio.abc.HalfCloseableStream):
            await self._stream.send_eof()

    async def close(self) -> None:
        await trio.aclose_forcefully(self._stream)


def _peer(sock: trio.socket.SocketType) -> str:
    if sock.family == socket.AF_UNIX:
        return "unix"
    try:
        address = str(sock.getpeername()[0])
    except OSError:
        return ""
    return address.removeprefix("::ffff:") if "." in address else address
