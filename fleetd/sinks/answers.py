"""What an HTTP answer means: taken, later, never this record, never us."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from datetime import datetime
from functools import lru_cache
from http import HTTPStatus
from typing import Any, cast
from urllib.parse import urlsplit

import httpx
import trio
from msgspec import Struct

from fleetd.errors import HeldError, RejectedError, TransientError, said
from fleetd.event import Entry
from fleetd.masking import MASK
from fleetd.pace import http_date, retry_after
from fleetd.sinks.contract import Receipt

KEPT = 2048  # bytes of an answer that are kept
READ = 64 * 1024  # that are read at all, for `disagrees` to look at
BODY_WITHIN = 5.0  # seconds for a body once the status is there
LATER = frozenset({408, 425, 429})
UNBLAMED = frozenset({408, 429, 503})  # these say nothing about the records
OUT_OF_SIZE = 413
Disagrees = Callable[[bytes], "str | None"]


class Answer(Struct, frozen=True):
    """As much of an answer as a verdict needs; of the URL only `host` is told."""

    host: str
    status: int
    headers: httpx.Headers
    body: bytes


async def post(
    http: httpx.AsyncClient,
    url: str,
    entries: Sequence[Entry],
    *,
    now: Callable[[], datetime],
    within: float = 20.0,
    disagrees: Disagrees | None = None,
    **request: Any,
) -> Receipt:
    """Send one request and judge what comes back; `request` is what httpx takes.

    `disagrees` reads the body of a 2xx and says why it is no yes after all, or None.
    """
    answer = await ask(http, "POST", url, within=within, **request)
    return judge(answer, entries, now(), disagrees)


async def ask(
    http: httpx.AsyncClient, method: str, url: str, *, within: float,
    most: int = READ, **request: Any,
) -> Answer:  # fmt: skip
    """One request and the first of its answer; what is no answer raises a verdict.

    No more than `most` bytes of it are read; where it is asked for more than usual, a
    body that takes too long is no answer, and not the beginning of one.
    """
    host = urlsplit(url).hostname or "the far side"
    headers = {**request.pop("headers", {}), "Accept-Encoding": "identity"}
    try:
        with trio.fail_after(within):
            address = _address(url)
            async with http.stream(
                method, address, headers=headers, **request
            ) as reply:
                body = await _read(reply, most)
                return Answer(host, reply.status_code, reply.headers, body)
    except trio.TooSlowError as bad:
        why = f"{host} did not answer within {within:g} s"
        raise TransientError(why, counts=False, slow=True) from bad
    except (httpx.HTTPError, httpx.InvalidURL) as bad:
        raise _fault(host, bad) from None  # the request it holds has secrets in it


@lru_cache(maxsize=16)
def _address(url: str) -> httpx.URL:
    """A sink has one address, or few: reading it costs as much as sending to it."""
    return httpx.URL(url)


def judge(
    answer: Answer,
    entries: Sequence[Entry],
    now: datetime,
    disagrees: Disagrees | None = None,
) -> Receipt:
    """The receipt of a request that was taken, or the verdict, raised."""
    status, host = answer.status, answer.host
    kept = MASK.mask(answer.body)[:KEPT]
    if 200 <= status < 300:
        why = disagrees(answer.body) if disagrees else None
        if why is None:
            return Receipt(status, kept)
        why = f"{host} answered {status}, but {MASK.mask(why)}"
        raise TransientError(why, status=status, answer=kept)
    why = f"{host} answered {_named(status)}"
    if status in LATER or status >= 500 or status < 200:
        raise TransientError(
            why,
            after=_after(answer, now),
            status=status,
            counts=status not in UNBLAMED,
            slow=status == 408,
            answer=kept,
        )
    if status < 400 or status in REFUSED:
        raise HeldError(f"{why}: {_advice(answer)}", status=status, answer=kept)
    raise RejectedError(
        {entry.seq: why for entry in entries},
        blameless=status == OUT_OF_SIZE,
        status=status,
        answer=kept,
    )


REFUSED = {
    401: "it does not know our credentials; correct them",
    402: "it wants to be paid first",
    403: "our credentials may not do this; give them the right, or use others",
    404: "there is nothing at this address; correct it",
    405: "this address takes no POST; correct it",
    407: "the proxy does not know our credentials; correct them",
    410: "this address was given up; set the new one",
}


def _advice(answer: Answer) -> str:
    if answer.status in REFUSED:
        return REFUSED[answer.status]
    place = urlsplit(answer.headers.get("location", "")[:500]).hostname
    return f"it sends us on{f' to {place}' if place else ''}; set the final address"


async def _read(reply: httpx.Response, most: int) -> bytes:
    """The beginning of a body; an endless or crawling one costs seconds at most."""
    if reply.headers.get("content-encoding", "identity") != "identity":
        return b""  # not asked for; unpacking what is not trusted has no bound
    body, seconds = bytearray(), BODY_WITHIN if most == READ else math.inf
    with trio.move_on_after(seconds):
        async with aclosing(cast(AsyncGenerator[bytes], reply.aiter_bytes())) as parts:
            async for part in parts:
                body += part
                if len(body) >= most:
                    break
    return bytes(body[:most])


def _fault(host: str, bad: Exception) -> Exception:
    """A request without an answer as a verdict; httpx may quote the URL, we do not."""
    if isinstance(bad, httpx.InvalidURL | httpx.UnsupportedProtocol):
        return HeldError("the address is not an http(s) URL; correct it")
    if isinstance(bad, httpx.LocalProtocolError):
        return HeldError("a header cannot be sent as it is; correct it")
    why = f"{host}: {_words(bad)}"
    if isinstance(bad, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout):
        return TransientError(why, counts=False)  # it never saw the records
    if isinstance(bad, httpx.TimeoutException):
        return TransientError(why, counts=False, slow=True)
    return TransientError(why)


def _words(bad: Exception) -> str:
    told = MASK.mask(said(bad))[:200]
    return f"{type(bad).__name__}: {told}" if told else type(bad).__name__


def _named(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def _after(answer: Answer, now: datetime) -> float | None:
    """The wait asked for, by their own clock where it is told: ours may be wrong."""
    theirs = http_date(answer.headers.get("date", "")[:64])
    return retry_after(answer.headers.get("retry-after"), theirs or now)
