"""One question and its answer: a page into the log with its bookmark, in one commit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import pairwise

import structlog
from msgspec import Struct
from msgspec.structs import replace

from fleetd.clock import Clock
from fleetd.errors import AbsentError, HeldError, PayloadError
from fleetd.event import CODES, DIRECTORY_KINDS, Origin, Record
from fleetd.providers.contract import (
    Ask,
    AskNext,
    Page,
    Provider,
    Turn,
    UnpackPage,
)
from fleetd.store import Raw, Store
from fleetd.store.dead import crowded
from fleetd.tasks.budget import LIVE
from fleetd.tasks.intake import Arrival, cleaned, dead_whole, take_in_turns
from fleetd.tasks.poll.credential import Credential
from fleetd.tasks.poll.mend import mended, shallow, text_of, too_deep
from fleetd.tasks.poll.wire import LONGEST, UNREADABLE, UnreadableError

ALWAYS = ((0, 1 << 62),)
DEAD_BYTES = 1 << 20  # of a page that cannot be read: enough to see what it is
LARGE = 1 << 20  # bytes from which a page is read beside the loop
AT_ONCE, AT_ONCE_BYTES = 5_000, 8 << 20  # records that one commit takes
LISTED = frozenset(CODES[kind] for kind in DIRECTORY_KINDS)
SLICE, SLICE_BYTES = 2_000, 4 << 20  # of what is more than that
logger = structlog.get_logger()


class Question(Struct, frozen=True):
    """How one turn of a feed, or of its past, is asked, read and kept."""

    feed: str
    ask: AskNext
    unpack: UnpackPage
    place: str  # the name of its bookmark
    scope: str = ""
    origin: Origin = "poll"
    rank: int = LIVE


class Taken(Struct, frozen=True):
    """What became of a page: whom it named (kind and id), how much of it was new."""

    page: Page
    named: frozenset[tuple[int, str]] = frozenset()
    dead: int = 0  # could not be read
    stored: int = 0


class Sheet(Struct, frozen=True):
    """A page as it was read: `raw` is all of it, None where it goes in slices.

    `clean` says that its records, cut out of it, hold no secret field.
    """

    page: Page
    raw: bytes | None
    clean: bool


async def turn_page(
    question: Question, turn: Turn, credential: Credential, store: Store, clock: Clock
) -> Taken | None:
    """Ask once and keep the page; None where there is nothing to ask now."""
    ask = question.ask(turn)
    if ask is None:
        return None
    sheet = await _asked(question, ask, turn, credential)
    arrival = arrival_of(credential, store, clock, question.origin)
    arrival = replace(arrival, clean=sheet.clean)
    source, place = arrival.source, question.place
    stands = store.bookmark(source, place)
    named: set[tuple[int, str]] = set()
    dead = stored = 0
    for records, body, bookmark in portions(sheet, place, stands, arrival.provider):
        raw = None if body is None else Raw(question.feed, body, verdict="polled")
        append = await take_in_turns(
            arrival, records, store.directory, raw=raw, bookmark=bookmark
        )
        if append.dead and ("source", source) in store.crowded:
            raise HeldError(crowded(source))
        stored += (await store.append(append)).stored
        named |= {(m.kind, m.event.id) for m in append.made if m.kind in LISTED}
        dead += len(append.dead)
    return Taken(sheet.page, frozenset(named), dead, stored)


async def _asked(
    question: Question, ask: Ask, turn: Turn, credential: Credential
) -> Sheet:
    """The answer, read: a large one beside the loop, which others need meanwhile."""
    try:
        answer = await credential.ask(ask, rank=question.rank, scope=question.scope)
    except AbsentError:
        if ask.absent is None:
            raise
        return Sheet(ask.absent, b"", clean=True)
    provider, body = credential.account.provider, answer.body

    def work() -> Sheet:
        page = read(question.unpack, ask, body, turn)
        clean = cleaned(provider, body)
        whole = len(page.records) <= AT_ONCE and len(body) <= AT_ONCE_BYTES
        return Sheet(page, clean if whole else None, clean is body)

    return work() if len(body) < LARGE else await credential.aside(work)


def read(unpack: UnpackPage, ask: Ask, body: bytes, turn: Turn) -> Page:
    """What an answer holds; where it is almost JSON, once that is put right."""
    text = text_of(body)
    try:
        return unpack(ask, text, turn)
    except UNREADABLE as bad:
        fault = bad
    better = mended(shallow(text) if too_deep(fault) else text)
    if better != text:
        with suppress(*UNREADABLE):
            page = unpack(ask, better, turn)
            logger.warning("page_mended", path=ask.path, why=str(fault)[:LONGEST])
            return page
    why = str(fault) if isinstance(fault, PayloadError) else repr(fault)
    raise UnreadableError(f"{ask.path}: {why}", body) from fault


def portions(
    sheet: Sheet, place: str, stands: str | None, provider: Provider
) -> Iterator[tuple[Sequence[Record], bytes | None, tuple[str, str | None]]]:
    """What goes into one commit each: records, their bytes, the bookmark.

    A page goes with its bookmark, whole. One that would keep everybody else waiting
    goes in slices, and the bookmark moves with the last: a crash repeats the page.
    """
    page = sheet.page
    onward = (place, page.bookmark)
    if sheet.raw is not None:
        yield page.records, sheet.raw if page.records else None, onward
        return
    cuts = [*_cuts(page.records), len(page.records)]
    for first, last in pairwise(cuts):
        some = page.records[first:last]
        raw = b"[" + b",\n".join(one.body for one in some) + b"]"
        raw = raw if sheet.clean else cleaned(provider, raw)
        yield some, raw, onward if last == cuts[-1] else (place, stands)


def _cuts(records: Sequence[Record]) -> Iterator[int]:
    """Where slices begin."""
    count, size = SLICE, 0
    for number, one in enumerate(records):
        count, size = count + 1, size + len(one.body)
        if count > SLICE or size > SLICE_BYTES:
            yield number
            count, size = 1, len(one.body)


def arrival_of(
    credential: Credential, store: Store, clock: Clock, origin: Origin = "poll"
) -> Arrival:
    """How what is polled now comes."""
    account = credential.account
    gaps: tuple[tuple[int, int], ...] = ()
    pushed: tuple[str, ...] = ()
    if origin == "recovered":
        gaps = ALWAYS
    elif origin == "poll" and account.receives and account.provider.webhook:
        gaps, pushed = store.outages, account.provider.webhook.kinds
    return Arrival(
        account.source, account.provider, store.next_received_ms(), origin,
        flags=account.provider.flags, trusted_clock=clock.trusted, gaps=gaps,
        pushed=pushed, tags=account.wanted,
    )  # fmt: skip


async def bury_page(
    feed: str, why: str, body: bytes, credential: Credential, store: Store, clock: Clock
) -> None:
    """Keep a page that cannot be read, for whoever mends it; its bookmark stays."""
    if ("source", credential.account.source) in store.crowded:
        return
    arrival = arrival_of(credential, store, clock)
    name, raw = f"page:{feed}", Raw(f"page:{feed}", b"", verdict="polled")
    await store.append(dead_whole(arrival, name, body[:DEAD_BYTES], why, raw))
