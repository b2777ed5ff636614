"""A request as a simulator sees it, its answer, and the clock it is answered by."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import msgspec
from msgspec import Struct


class Asked(Struct, frozen=True):
    """A request as it came; header names are lower case."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes = b""

    def one(self, name: str, default: str = "") -> str:
        """The last value of a parameter."""
        return self.query[name][-1] if self.query.get(name) else default

    def all(self, name: str) -> list[str]:
        """Every value of a parameter, those in a comma list apart."""
        return [
            part for one in self.query.get(name, ()) for part in one.split(",") if part
        ]

    def json(self) -> Any:
        """The body, or None where it is no JSON."""
        try:
            return msgspec.json.decode(self.body)
        except msgspec.DecodeError:
            return None


class Reply(Struct, frozen=True):
    """An answer; `wait` seconds before it, `broken` in its middle or instead of it."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = {}
    wait: float = 0.0
    broken: bool = False


def reply(body: Any, status: int = 200, **headers: str) -> Reply:
    """An answer in JSON; bytes are taken as JSON that is written already."""
    data = body if isinstance(body, bytes) else msgspec.json.encode(body)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status, data, {"content-type": "application/json", **named})


class RefusedError(Exception):
    def __init__(self, answer: Reply) -> None:
        super().__init__(answer.status)
        self.answer = answer


def refuse(body: Any, status: int, **headers: str) -> Exception:
    """Raise this in a handler to end with an error's answer."""
    return RefusedError(reply(body, status, **headers))


def instant(text: str) -> int | None:
    """Seconds since 1970 of an RFC 3339 text, None where it is none."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return math.floor(found.timestamp()) if found.tzinfo else None


class Clock:
    """The simulator's now: from `start` on, `speed` times as fast; else the real one."""

    def __init__(
        self,
        start: datetime | None = None,
        speed: float = 1.0,
        steady: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.speed, self.steady = speed, steady
        self._began = steady()
        self._start = wall() if start is None else start.timestamp()

    def now(self) -> int:
        return int(self._start + (self.steady() - self._began) * self.speed)

    def set(self, at: float) -> None:
        """Let it be another time from now on."""
        self._start, self._began = at, self.steady()


def asked_of(request: httpx.Request) -> Asked:
    """A request of httpx as a simulator sees it."""
    target = request.url.raw_path.decode("ascii")
    headers = {name.lower(): value for name, value in request.headers.items()}
    return asked(request.method, target, headers, request.content)


def asked(method: str, target: str, headers: dict[str, str], body: bytes) -> Asked:
    """A request from its line, headers and body; the path stays percent-encoded."""
    parts = urlsplit(target)
    query = parse_qs(parts.query, keep_blank_values=True)
    return Asked(method, parts.path, query, headers, body)
