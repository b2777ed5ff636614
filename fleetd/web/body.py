"""Reading the body of a request within its bounds: by length, by chunks, inflated."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Mapping
from io import BytesIO
from typing import Final, Protocol

from fleetd.web.messages import RefusedError

CHUNK: Final = re.compile(rb"([0-9A-Fa-f]{1,15})(?:;[\t\x20-\x7e\x80-\xff]*+)?")
TRAILER: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]++:[\t\x20-\x7e\x80-\xff]*+")
LONGEST_LINE: Final = 1024
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
    whole = BytesIO()
    await _move(source, length, whole)
    return whole.getvalue()


async def chunked(source: Source, most: int) -> bytes:
    whole = BytesIO()
    while size := await _chunk_size(source):
        if whole.tell() + size > most:
            raise too_big(most)
        source.hold(size)
        await _move(source, size, whole)
        if await _line(source) != b"":
            raise RefusedError(400, "a chunk is longer than it says")
    await _trailers(source)
    return whole.getvalue()


def inflated(source: Source, packed: bytes, most: int) -> bytes:
    """The whole of one gzip member: never more than `most`, never less than it says."""
    whole = BytesIO()
    try:
        for part in _unpacked(packed):
            source.hold(len(part), arrived=True)
            whole.write(part)
            if whole.tell() > most:
                raise too_big(most)
    except zlib.error as bad:
        raise RefusedError(400, "the body is not gzip") from bad
    return whole.getvalue()


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


async def _move(source: Source, count: int, whole: BytesIO) -> None:
    while count > (have := len(source.buffer) - source.at):
        whole.write(memoryview(source.buffer)[source.at :])
        source.at = len(source.buffer)
        count -= have
        await source.more()
    whole.write(memoryview(source.buffer)[source.at : source.at + count])
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
            raise RefusedError(400, "a line between chunks is too long")
        await source.more()
    line = source.buffer[source.at : end]
    source.at = end + 2
    return line
