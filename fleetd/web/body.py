"""Reading the body of a request within its bounds: by length, by chunks, inflated."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Mapping
from typing import Final, Protocol

from fleetd.web.messages import RefusedError

CHUNK: Final = re.compile(rb"([0-9A-Fa-f]{1,15})(?:;[\t\x20-\x7e\x80-\xff]*+)?")
TRAILER: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]++:[\t\x20-\x7e\x80-\xff]*+")
LONGEST_LINE: Final = 1024
TOO_LONG: Final = "a line between chunks is too long"
MOST_TRAILERS: Final = 32
STEP: Final = 1 << 16
GZIP: Final = 31
PLAIN: Final = frozenset(("", "identity"))
ZIPPED: Final = frozenset(("gzip", "x-gzip"))


class Source(Protocol):
    """Where a body comes from; `hold` refuses bytes beyond the budget."""

    buffer: bytes
    at: int

    async def more(self) -> None: ...
    def hold(self, count: int, *, arrived: bool = False) -> None: ...


def is_zipped(headers: Mapping[str, str]) -> bool:
    """Whether the body is to be inflated; what cannot be is refused beforehand."""
    coding = headers["content-encoding"].lower()
    if coding in ZIPPED:
        return True
    if coding in PLAIN:
        return False
    raise RefusedError(
        415, "of content encodings only gzip is read", (("Accept-Encoding", "gzip"),)
    )


async def sized(source: Source, length: int) -> bytes:
    pile = Pile()
    await _move(source, length, pile)
    return pile.whole()


async def chunked(source: Source, most: int) -> bytes:
    pile = Pile()
    while size := await _chunk_size(source):
        if pile.size + size > most:
            raise too_big(most)
        source.hold(size)
        await _move(source, size, pile)
        if await _line(source) != b"":
            raise RefusedError(400, "a chunk is longer than it says")
    await _trailers(source)
    return pile.whole()


def inflated(source: Source, packed: bytes, most: int) -> bytes:
    """The whole of one gzip member: never more than `most`, never less than it says."""
    pile = Pile()
    try:
        for part in _unpacked(packed):
            source.hold(len(part), arrived=True)
            pile.add(part)
            if pile.size > most:
                raise too_big(most)
    except zlib.error as bad:
        raise RefusedError(400, "the body is not gzip") from bad
    return pile.whole()


class Pile:
    """Bytes put together from parts of any size.

    Many growing buffers side by side cost twice what they hold, and many tiny parts
    forty times: so the parts are evened out, and joined once.
    """

    __slots__ = ("_last", "_parts", "size")

    def __init__(self) -> None:
        self.size = 0
        self._parts: list[bytes] = []
        self._last = bytearray()

    def add(self, part: bytes | memoryview) -> None:
        self.size += len(part)
        self._last += part
        if len(self._last) >= STEP:
            self._parts.append(bytes(self._last))
            self._last.clear()

    def whole(self) -> bytes:
        return b"".join((*self._parts, self._last))


def _unpacked(packed: bytes) -> Iterator[bytes]:
    """In small steps on both sides, so that no step costs more than its own bytes."""
    machine = zlib.decompressobj(GZIP)
    for at in range(0, len(packed), STEP):
        rest, part = packed[at : at + STEP], b"more"
        while (rest or part) and not machine.eof:
            part = machine.decompress(rest, STEP)
            rest = machine.unconsumed_tail
            yield part
        if machine.eof:
            if machine.unused_data or at + STEP < len(packed):
                raise RefusedError(400, "more follows the end of the gzip body")
            return
    raise RefusedError(400, "the gzip body is cut short")


def too_big(most: int) -> RefusedError:
    return RefusedError(413, f"the body is bigger than {most} bytes")


async def _move(source: Source, count: int, pile: Pile) -> None:
    while count > (have := len(source.buffer) - source.at):
        pile.add(memoryview(source.buffer)[source.at :])
        source.buffer, source.at = b"", 0
        count -= have
        await source.more()
    pile.add(memoryview(source.buffer)[source.at : source.at + count])
    source.at += count


async def _chunk_size(source: Source) -> int:
    found = CHUNK.fullmatch(await _line(source))
    if found is None:
        raise RefusedError(400, "a chunk size is not plain hexadecimal")
    return int(found[1], 16)


async def _trailers(source: Source) -> None:
    """Trailers are checked and forgotten: nothing here is decided by them."""
    for _ in range(MOST_TRAILERS):
        line = await _line(source)
        if not line:
            return
        if TRAILER.fullmatch(line) is None:
            raise RefusedError(400, "a trailer line is not name: value")
    raise RefusedError(431, f"more than {MOST_TRAILERS} trailer lines")


async def _line(source: Source) -> bytes:
    while (end := source.buffer.find(b"\r\n", source.at)) < 0:
        rest = source.buffer[source.at :]
        if b"\n" in rest or b"\r" in rest[:-1]:
            raise RefusedError(400, "lines must end in CR LF")
        if len(rest) > LONGEST_LINE:
            raise RefusedError(400, TOO_LONG)
        await source.more()
    if end - source.at > LONGEST_LINE:
        raise RefusedError(400, TOO_LONG)
    line = source.buffer[source.at : end]
    source.at = end + 2
    return line
