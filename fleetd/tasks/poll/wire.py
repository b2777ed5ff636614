"""One request over HTTP and its answer whole, bounded in size and time."""

from __future__ import annotations

import zlib
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any, TypeAlias

import httpx
import msgspec
import trio

from fleetd.errors import HeldError, PayloadError, TransientError
from fleetd.providers.contract import Answer, Ask
from fleetd.reach import told

PAGE_BYTES = 64 << 20
STEP = 1 << 18
MIB = 1 << 20
GZIP = 31
ZIPPED = frozenset({"gzip", "x-gzip"})
PLAIN = frozenset({"", "identity"})
ANSWER_BYTES = 2048
Trace: TypeAlias = "Callable[[str, Mapping[str, Any]], Awaitable[None]]"
LONGEST = 200


UNWELL = frozenset({408, 425, 429})
UNREADABLE = (  # what a vendor's file may meet in bytes that nobody promised
    PayloadError, msgspec.MsgspecError, LookupError, ValueError, TypeError,
    AttributeError, ArithmeticError, RecursionError,
)  # fmt: skip


class UnreadableError(HeldError):
    """A 200 that is not what was promised, with its bytes."""

    def __init__(self, why: str, body: bytes) -> None:
        if body.lstrip()[:1] == b"<":
            why += "; it is a web page: is a proxy or a login in between?"
        super().__init__(why, answer=body[:ANSWER_BYTES])
        self.body = body


async def exchange(
    http: httpx.AsyncClient, base: str, ask: Ask, headers: Mapping[str, str],
    within: float, trace: Trace | None = None, most: int = PAGE_BYTES,
) -> Answer:  # fmt: skip
    """Send what was asked; `TransientError` where no whole answer came in time."""
    try:
        request = _request(http, base, ask, headers, trace)
        with trio.fail_after(within):
            return await _answered(http, request, ask.path, most)
    except (
        httpx.InvalidURL,
        UnicodeError,
    ) as bad:  # a name or a token that none can be
        why = "its address or its token holds what none can hold"
        raise HeldError(f"{ask.path[:LONGEST]}: {why}") from bad
    except httpx.HTTPError as bad:
        raise TransientError(f"{ask.path}: {told(bad, request.url)}") from bad
    except trio.TooSlowError as bad:
        why = f"no whole answer in {within:g} s"
        raise TransientError(f"{ask.path}: {why}") from bad


def _request(
    http: httpx.AsyncClient, base: str, ask: Ask, headers: Mapping[str, str],
    trace: Trace | None,
) -> httpx.Request:  # fmt: skip
    packed = {"Accept-Encoding": "gzip"}
    typed = {} if ask.json is None else {"Content-Type": "application/json"}
    return http.build_request(
        ask.method,
        base + ask.path,
        params=dict(ask.params) or None,
        headers={**packed, **typed, **ask.headers, **headers},
        content=None if ask.json is None else msgspec.json.encode(ask.json),
        data=dict(ask.form) or None,
        extensions={"trace": trace} if trace else None,
    )


async def _answered(
    http: httpx.AsyncClient, request: httpx.Request, path: str, most: int
) -> Answer:
    response = await http.send(request, stream=True)
    try:
        body = await _body(response, path, most)
    finally:
        await response.aclose()
    headers = {name.lower(): value for name, value in response.headers.items()}
    return Answer(response.status_code, headers, body)


async def _body(response: httpx.Response, path: str, most: int) -> bytes:
    """All of it, inflated by hand: what is packed may be a thousand times bigger."""
    if response.is_stream_consumed:  # by a transport that is no network's
        return response.content
    coding = response.headers.get("content-encoding", "").strip().lower()
    if coding not in ZIPPED | PLAIN:
        raise TransientError(f"{path}: answered in {coding[:40]!r}, asked for gzip")
    pile, packed = bytearray(), Gzip() if coding in ZIPPED else None
    async for chunk in response.aiter_raw():
        if packed is None:
            pile += chunk
        for part in packed.parts(chunk, path) if packed else ():
            pile += part
            _bounded(pile, path, most)
        _bounded(pile, path, most)
    if packed is not None and not packed.whole:
        raise TransientError(f"{path}: the answer ends in the middle of its gzip")
    return bytes(pile)


class Gzip:
    """Members of gzip one after another, inflated in steps that a bound can stop."""

    def __init__(self) -> None:
        self._machine = zlib.decompressobj(GZIP)
        self.whole = True  # nothing at all is an empty body

    def parts(self, rest: bytes, path: str) -> Iterator[bytes]:
        """What these bytes inflate to."""
        try:
            while rest:
                if self._machine.eof:
                    if not rest.strip(b"\0"):  # padding
                        return
                    self._machine = zlib.decompressobj(GZIP)
                yield self._machine.decompress(rest, STEP)
                rest = self._machine.unconsumed_tail or self._machine.unused_data
                self.whole = self._machine.eof
        except zlib.error as bad:
            raise TransientError(f"{path}: the answer is not the gzip it says") from bad


def _bounded(pile: bytearray, path: str, most: int) -> None:
    if len(pile) > most:
        size = f"{most >> 20} MiB" if most >= MIB else f"{most >> 10} KiB"
        raise HeldError(f"{path}: answered more than {size} at once (max_page)")
