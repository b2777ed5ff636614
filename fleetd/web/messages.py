"""What a request and an answer are, and the bounds within which they are taken."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Final

import msgspec
from msgspec import Struct


class Request(Struct, frozen=True, gc=False):
    """One whole request: framed without doubt, de-chunked and inflated."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes
    peer: str

    def header(self, name: str) -> str:
        """One header by its lower-case name, "" when it is absent."""
        return self.headers.get(name, "")


class Response(Struct, frozen=True):
    status: int
    body: bytes = b""
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()


Handler = Callable[[Request], Awaitable[Response]]
Admits = Callable[[str, str], bool]


class Limits(Struct, frozen=True):
    """What one peer, and all of them together, may ask for.

    `admits` sees method and path as soon as the head is there: what it turns away is a
    404 before its body is read.
    """

    max_body: int = 1 << 20
    max_in_flight: int = 32 << 20
    max_head: int = 16 << 10
    max_headers: int = 100
    connections: int = 1024
    head_within: float = 10.0
    body_within: float = 20.0
    idle_within: float = 75.0
    admits: Admits | None = None


class RefusedError(Exception):
    """Answer the request with this, here and now, and close its connection."""

    def __init__(
        self, status: int, why: str, headers: tuple[tuple[str, str], ...] = ()
    ) -> None:
        super().__init__(why)
        self.response = complaint(status, why, headers)


def complaint(
    status: int, why: str, headers: tuple[tuple[str, str], ...] = ()
) -> Response:
    """An error as JSON."""
    return Response(status, msgspec.json.encode({"error": why}), headers=headers)


BARE: Final = frozenset((204, 304))
MANY: Final = 256
UNSAFE: Final = re.compile(r"[\r\n\0]")
_openings: dict[tuple[int, str], bytes] = {}


def render(response: Response, tail: bytes, *, headless: bool = False) -> bytes:
    """The bytes of an answer; `tail` ends its head (Date, Connection, the blank line).

    `headless` leaves the body away, as HEAD asks, but not its length.
    """
    opening = _openings.get((response.status, response.content_type))
    if opening is None:
        opening = _opening(response.status, response.content_type)
    if response.headers:
        opening += _fields(response.headers)
    if response.status in BARE:
        return opening + tail
    body = b"" if headless else response.body
    length = len(response.body)
    return b"%bContent-Length: %d\r\n%b%b" % (opening, length, tail, body)


def _opening(status: int, content_type: str) -> bytes:
    """Status line and content type, kept for the next answer of their kind."""
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = ""
    made = f"HTTP/1.1 {status} {phrase}\r\n".encode()
    if status not in BARE:
        made += _fields((("Content-Type", content_type),))
    if len(_openings) < MANY:
        _openings[status, content_type] = made
    return made


def _fields(headers: tuple[tuple[str, str], ...]) -> bytes:
    for name, value in headers:
        if UNSAFE.search(name + value) or ":" in name:
            raise ValueError(f"response header {name!r} would break the head")
    return "".join(f"{name}: {value}\r\n" for name, value in headers).encode("latin-1")
