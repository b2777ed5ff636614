"""What an HTTP answer means: taken, later, never this record, never us."""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from datetime import datetime
from functools import lru_cache
from http import HTTPStatus
from typing import Any, Literal, cast
from urllib.parse import urlsplit

import httpx
import msgspec
import trio
from msgspec import Struct

from fleetd.errors import HeldError, RejectedError, TransientError, said
from fleetd.event import Entry
from fleetd.masking import MASK
from fleetd.pace import http_date, retry_after
from fleetd.sinks.contract import Receipt

KEPT = 2048  # bytes of an answer that are kept
READ = 64 * 1024  # that are read at all
JUDGED = 4 << 20  # that are read where `disagrees` looks at them: a word for each entry
BODY_WITHIN = 5.0  # seconds for a body once the status is there
LATER = frozenset({408, 425, 429})
UNBLAMED = frozenset({408, 429, 503})  # these say nothing about the records
OUT_OF_SIZE = 413
BLANK = b"\xef\xbb\xbf \t\r\n"  # a mark of UTF-8, and what JSON may begin with
PAGE = re.compile(rb"(?i)<(!doctype html|html|head|script|meta http-equiv)\b")
NOTHING = frozenset({b"null", b"[]", b"{}", b"", b"false", b"0"})
FAILED = frozenset({b"false", b"error", b"fail", b"failed", b"failure"})
PACKED = frozenset({"gzip", "x-gzip", "deflate"})
TAKING_BACK = frozenset({"ok", "success", "status", "error", "errors"})
Disagrees = Callable[[bytes], "str | None"]
Cut = Literal["", "too long", "too slow", "packed"]
_object = msgspec.json.Decoder(dict[str, msgspec.Raw])


class Answer(Struct, frozen=True):
    """As much of an answer as a verdict needs; of the URL only `host` is told.

    `cut` says why its body is not whole, if it is not.
    """

    host: str
    status: int
    headers: httpx.Headers
    body: bytes
    cut: Cut = ""


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
    answer = await ask(
        http, "POST", url, within=within, most=JUDGED if disagrees else READ,
        body_within=BODY_WITHIN, **request,
    )  # fmt: skip
    return judge(answer, entries, now(), disagrees)


async def ask(
    http: httpx.AsyncClient, method: str, url: str, *, within: float,
    most: int = READ, body_within: float | None = None, **request: Any,
) -> Answer:  # fmt: skip
    """One request and the first of its answer; what is no answer raises a verdict.

    No more than `most` bytes of it are read; where it is asked for more than usual, a
    body that takes too long is no answer, and not the beginning of one, unless
    `body_within` says how long it may take.
    """
    if body_within is None:
        body_within = BODY_WITHIN if most == READ else math.inf
    host = _host(url) or "the far side"
    headers = {**request.pop("headers", {}), "Accept-Encoding": "identity"}
    try:
        with trio.fail_after(within):
            address = _address(url)
            async with http.stream(
                method, address, headers=headers, **request
            ) as reply:
                body, cut = await _read(reply, most, body_within)
                return Answer(host, reply.status_code, reply.headers, body, cut)
    except trio.TooSlowError as bad:
        why = f"{host} did not answer within {within:g} s"
        raise TransientError(why, counts=False, slow=True) from bad
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as bad:
        raise _fault(host, bad) from None  # the request it holds has secrets in it


@lru_cache(maxsize=16)
def _address(url: str) -> httpx.URL:
    """A sink has one address, or few: reading it costs as much as sending to it."""
    return httpx.URL(url)


def _host(url: str) -> str:
    """Whose address it is, if it is one."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def judge(
    answer: Answer,
    entries: Sequence[Entry],
    now: datetime,
    disagrees: Disagrees | None = None,
) -> Receipt:
    """The receipt of a request that was taken, or the verdict, raised."""
    status, host = answer.status, answer.host
    kept = MASK.mask(answer.body[: 4 * KEPT])[:KEPT]
    if 200 <= status < 300:
        why = (disagrees(answer.body) or _unread(answer)) if disagrees else None
        if why is None:
            return Receipt(status, kept)
        why, slow = f"{host} answered {status}, but {MASK.mask(why)}", _is_slow(answer)
        raise TransientError(
            why, after=after_of(answer, now), status=status, counts=not slow, slow=slow,
            answer=kept,
        )  # fmt: skip
    why = f"{host} answered {_named(status)}"
    if status in LATER or status >= 500 or status < 200:
        raise TransientError(
            why,
            after=after_of(answer, now),
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


def _unread(answer: Answer) -> str | None:
    """Why it is not known whether a body says no; one that is not JSON says nothing."""
    if answer.cut == "packed":
        return "its body is packed in a way that cannot be read"
    body = answer.body.lstrip(BLANK)
    if not answer.cut or body[:1] not in (b"", b"{") or _is_object(body):
        return None
    return f"its body was {answer.cut} to be read whole: it may say no"


def _is_object(body: bytes) -> bool:
    """Whether it is whole, though the far side has not ended it."""
    try:
        _object.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return True


def _is_slow(answer: Answer) -> bool:
    return answer.cut == "too slow"


def says_no(body: bytes) -> str | None:
    """Why a 2xx is no yes: it is a web page (a login, a portal), or it says so.

    The words by which endpoints take it back are ok, success, status, error and errors,
    or one word alone.
    """
    start = body[:1024].lstrip(BLANK)
    if start.startswith(b"<") and PAGE.search(start):
        return "with a web page: a login or a proxy stands in between"
    try:
        found = _object.decode(body.lstrip(BLANK))
    except (msgspec.DecodeError, UnicodeDecodeError):
        failed = _bare(body) in FAILED  # else its own words, or none
        return "the body says it failed" if failed else None
    except RecursionError:
        return "with a body that is nested too deep to be read"
    said = {
        word: _bare(value)
        for name, value in found.items()
        if (word := name.lower()) in TAKING_BACK
    }
    if (
        b"false" in (said.get("ok"), said.get("success"))
        or said.get("status") in FAILED
    ):
        return "the body says it failed"
    if not {said.get("error", b""), said.get("errors", b"")} <= NOTHING:
        return "the body names an error"
    return None


def _bare(value: bytes | msgspec.Raw) -> bytes:
    """The beginning of a value, however it is spaced, quoted and spelled."""
    return b"".join(bytes(value)[:64].strip(BLANK).split()).strip(b'"').lower()


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
    place = _host(answer.headers.get("location", "")[:500])
    return f"it sends us on{f' to {place}' if place else ''}; set the final address"


async def _read(reply: httpx.Response, most: int, within: float) -> tuple[bytes, Cut]:
    """A body, or its beginning; an endless or crawling one costs seconds at most."""
    packing = reply.headers.get("content-encoding", "").strip().lower()
    plain = packing in ("", "identity")
    opened, body = Opened(packing), bytearray()
    source = reply.aiter_bytes() if plain else reply.aiter_raw()
    with trio.move_on_after(within) as limit:
        async with aclosing(cast(AsyncGenerator[bytes], source)) as parts:
            async for part in parts:
                room = most + 1 - len(body)
                body += part[:room] if plain else opened.more(part, room)
                if len(body) > most or opened.bad:
                    break
    cut: Cut = "too slow" if limit.cancelled_caught else ""
    if len(body) > most:
        cut = "too long"
    elif opened.bad or not (cut or opened.over):
        cut = "packed"
    return bytes(body[:most]), cut


class Opened:
    """A packed body, not asked for: unpacked no further than there is room."""

    def __init__(self, packing: str) -> None:
        self._machine = zlib.decompressobj(wbits=47) if packing in PACKED else None
        self._begun = self.bad = False

    @property
    def over(self) -> bool:
        """Whether all of it is here."""
        return not self._begun or (self._machine is not None and self._machine.eof)

    def more(self, part: bytes, room: int) -> bytes:
        self._begun = self._begun or bool(part)
        if self._machine is None:
            self.bad = self._begun
            return b""
        try:
            said = self._machine.decompress(part, room)
        except zlib.error:
            self.bad = True
            return b""
        self.bad = bool(self._machine.unused_data)  # more is said after its end
        return said


def _fault(host: str, bad: Exception) -> Exception:
    """A request without an answer as a verdict; httpx may quote the URL, we do not."""
    if isinstance(bad, httpx.InvalidURL | httpx.UnsupportedProtocol):
        return HeldError("the address is not an http(s) URL; correct it")
    if isinstance(bad, httpx.LocalProtocolError):
        return HeldError("a header cannot be sent as it is; correct it")
    if isinstance(bad, ValueError):  # letters that neither takes
        return HeldError("the address or a header cannot be sent as it is; correct it")
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


def after_of(answer: Answer, now: datetime) -> float | None:
    """The wait asked for, by their own clock where it is told: ours may be wrong.

    Of several, as each proxy on the way may add its own, the longest.
    """
    theirs = http_date(answer.headers.get("date", "")[:64])
    asked = answer.headers.get_list("retry-after")
    waits = [retry_after(one, theirs or now) for one in asked]
    return max((one for one in waits if one is not None), default=None)
