"""One peer: its requests answered in order, and its faults kept to itself."""

from __future__ import annotations

import math
from email.utils import formatdate
from typing import Final

import structlog
import trio

from fleetd.errors import StoreError, leaves
from fleetd.web import body
from fleetd.web.head import CHUNKED, Head, hopeless, read_head
from fleetd.web.messages import (
    Handler,
    Limits,
    RefusedError,
    Request,
    Response,
    complaint,
    render,
)
from fleetd.web.wire import Wire

TICK: Final = 0.5
IDLE, HEAD, BODY, HANDLING, SENDING, GREETING = range(6)
SLOW: Final = {
    HEAD: "the head of the request came too slowly",
    BODY: "the body of the request came too slowly",
}
LINE_END: Final = b"\r\n"
BLANK: Final = b"\r\n\r\n"
CONTINUES: Final = "100-continue"
CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
FAREWELL: Final = 2.0
GONE: Final = (trio.BrokenResourceError, trio.ClosedResourceError)
FULL: Final = (("Retry-After", "1"),)

logger = structlog.get_logger()


class Shared:
    """What the peers of one door have in common.

    Its clock stands still between two ticks of the sweeper: exact enough for limits of
    seconds, and free.
    """

    def __init__(self, handler: Handler, limits: Limits) -> None:
        self.handler, self.limits = handler, limits
        self.in_flight, self.closing = 0, False
        most = limits.max_in_flight
        self.promised = max(most * 3 // 4, min(limits.max_body, most))
        self.allowed = (  # in the order of the phases
            limits.idle_within + TICK,
            limits.head_within + TICK,
            limits.body_within + TICK,
            math.inf,
            limits.body_within + TICK,
            limits.head_within + TICK,
        )
        self.now, self.tail, self.closing_tail = 0.0, b"\r\n", b"\r\n"

    def tick(self) -> None:
        self.now = trio.current_time()
        self.tail = b"Date: %b\r\n\r\n" % formatdate(usegmt=True).encode()
        self.closing_tail = b"Connection: close\r\n" + self.tail


class Peer:
    """A connection. The door's sweeper ends it when its phase has lasted too long."""

    __slots__ = (
        "_held",
        "_limits",
        "_shared",
        "_wire",
        "at",
        "buffer",
        "late",
        "phase",
        "scope",
        "since",
    )

    def __init__(self, wire: Wire, shared: Shared) -> None:
        self._wire, self._shared, self._limits = wire, shared, shared.limits
        self._held = 0
        self.buffer, self.at = b"", 0
        self.scope, self.late = trio.CancelScope(), False
        self.phase, self.since = GREETING, trio.current_time()

    async def run(self) -> None:
        """Serve until either side has had enough; only a StoreError comes out."""
        answer: Response | None = None
        with self.scope:
            try:
                await self._wire.greet()
                await self._converse()
            except RefusedError as refused:
                answer = refused.response  # its traceback would keep the body alive
            except GONE:
                return
            finally:
                self._release()
        if self.late and self.phase in SLOW:
            answer = complaint(408, SLOW[self.phase])
        if answer is not None:
            await self.part(answer)

    async def part(self, last: Response) -> None:
        """Say why, and read on for a moment lest a reset swallow the answer."""
        self.buffer, self.at = b"", 0
        answer = render(last, self._shared.closing_tail)
        with trio.move_on_after(FAREWELL):
            try:
                await self._wire.send(answer)
                await self._wire.finish()
                while await self._wire.receive():
                    pass
            except GONE:
                pass

    def expire(self) -> None:
        self.late = True
        self.scope.cancel()

    async def more(self) -> None:
        """Add what the peer says next to the buffer."""
        if not await self._listen():
            raise RefusedError(400, "the request ended early")

    def hold(self, count: int, *, arrived: bool = False) -> None:
        """Count bytes against the door's budget until this request is answered.

        Bytes still awaited may take three quarters of it: slow bodies cannot shut out
        those that came whole.
        """
        most = self._limits.max_in_flight if arrived else self._shared.promised
        if self._shared.in_flight + count > most:
            raise RefusedError(503, "too many bytes in flight, come back soon", FULL)
        self._shared.in_flight += count
        self._held += count

    async def _converse(self) -> None:
        shared, wire = self._shared, self._wire
        while (head := await self._head()) is not None:
            content = await self._body(head) if head.length else b""
            request = Request(
                head.method, head.path, head.query, head.headers, content, wire.peer
            )
            self.phase = HANDLING
            response = await self._answer(request)
            del request, content
            self._release()
            keep = head.keep and not shared.closing
            data = self._rendered(response, head, keep=keep)
            self.phase, self.since = SENDING, shared.now
            await wire.send(data)
            if not keep:
                return

    async def _head(self) -> Head | None:
        """The next head, or None when the peer leaves between two requests."""
        self._skip_empty_line()
        if self.at < len(self.buffer):
            await trio.lowlevel.checkpoint()  # a long pipeline shares the loop
        while self.at == len(self.buffer):
            self.buffer, self.at = b"", 0
            self.phase, self.since = IDLE, self._shared.now
            if not await self._listen():
                return None
            self._skip_empty_line()
        end = self.buffer.find(BLANK, self.at)
        if end < 0:
            end = await self._rest_of_head()
        start, self.at = self.at, end + 4
        if self.at - start > self._limits.max_head:
            raise self._long_head()
        return read_head(self.buffer, start, self.at, self._limits.max_headers)

    async def _rest_of_head(self) -> int:
        """Where the blank line stands, once it came."""
        self.phase, self.since = HEAD, self._shared.now
        if self.buffer[self.at :] == b"\r":
            await self.more()
            self._skip_empty_line()
        known = 0  # so many bytes were looked at: a crawling head is not read anew
        while (end := self.buffer.find(BLANK, self.at + max(known - 3, 0))) < 0:
            if why := hopeless(self.buffer, self.at, known):
                raise RefusedError(400, why)
            known = len(self.buffer) - self.at
            if known > self._limits.max_head:
                raise self._long_head()
            await self.more()
        return end

    def _skip_empty_line(self) -> None:
        """Old clients end a body with one line end too many."""
        if self.buffer.startswith(LINE_END, self.at):
            self.at += len(LINE_END)

    def _long_head(self) -> RefusedError:
        most = self._limits.max_head
        return RefusedError(431, f"the head is longer than {most} bytes")

    async def _body(self, head: Head) -> bytes:
        limits, headers = self._limits, head.headers
        if limits.admits is not None and not limits.admits(head.method, head.path):
            raise RefusedError(404, "nothing is served at this path")
        if head.length > limits.max_body:
            raise body.too_big(limits.max_body)
        zipped = "content-encoding" in headers and body.is_zipped(headers)
        if headers.get("expect", CONTINUES).lower() != CONTINUES:
            raise RefusedError(417, "of expectations only 100-continue is met")
        end = self.at + head.length
        if head.length > 0 and end <= len(self.buffer):
            self.hold(head.length, arrived=True)
            content, self.at = self.buffer[self.at : end], end
            if end == len(self.buffer):
                self.buffer, self.at = b"", 0
        else:
            content = await self._slow_body(head)
        return body.inflated(self, content, limits.max_body) if zipped else content

    async def _slow_body(self, head: Head) -> bytes:
        if head.length != CHUNKED:
            self.hold(head.length)
        if "expect" in head.headers and not head.old:
            await self._encourage()
        self.phase, self.since = BODY, self._shared.now
        if head.length == CHUNKED:
            return await body.chunked(self, self._limits.max_body)
        return await body.sized(self, head.length)

    async def _encourage(self) -> None:
        if self.at == len(self.buffer):
            self.phase, self.since = SENDING, self._shared.now
            await self._wire.send(CONTINUE)

    async def _answer(self, request: Request) -> Response:
        try:
            return await self._shared.handler(request)
        except Exception as fault:
            if any(isinstance(one, StoreError) for one in leaves(fault)):
                raise
            logger.exception("request_failed", path=public(request.path))
            return complaint(500, "this request met a fault in fleetd; it is logged")

    def _rendered(self, response: Response, head: Head, *, keep: bool) -> bytes:
        tail = self._shared.tail if keep else self._shared.closing_tail
        if keep and head.old:
            tail = b"Connection: keep-alive\r\n" + tail
        try:
            return render(response, tail, headless=head.method == "HEAD")
        except ValueError:
            logger.exception("response_not_sendable", path=public(head.path))
            return render(complaint(500, "fleetd made a malformed answer"), tail)

    async def _listen(self) -> bool:
        data = await self._wire.receive()
        if self.late:
            await trio.sleep_forever()  # the sweeper has cancelled this scope
        if self.at == len(self.buffer):
            self.buffer, self.at = data, 0
        else:
            self.buffer, self.at = self.buffer[self.at :] + data, 0
        return bool(data)

    def _release(self) -> None:
        self._shared.in_flight -= self._held
        self._held = 0


def public(path: str) -> str:
    """The path without what may be a key."""
    return "/".join(path.split("/")[:3])
