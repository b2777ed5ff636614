"""One question and its answer: a page into the log with its bookmark, in one commit."""

from __future__ import annotations

from contextlib import suppress

import structlog
from msgspec import Struct
from msgspec.structs import replace

from fleetd.clock import Clock
from fleetd.errors import HeldError, PayloadError
from fleetd.event import Origin
from fleetd.providers.contract import Ask, AskNext, Page, Turn, UnpackPage
from fleetd.store import Append, Raw, Store
from fleetd.store.dead import crowded
from fleetd.tasks.budget import LIVE
from fleetd.tasks.intake import Arrival, cleaned, dead_whole, take_in_turns
from fleetd.tasks.poll.credential import Credential
from fleetd.tasks.poll.mend import mended
from fleetd.tasks.poll.wire import LONGEST, UNREADABLE, UnreadableError

ALWAYS = ((0, 1 << 62),)
DEAD_BYTES = 1 << 20  # of a page that cannot be read: enough to see what it is
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
    """What a page held, as the log took it."""

    page: Page
    append: Append


async def turn_page(
    question: Question, turn: Turn, credential: Credential, store: Store, clock: Clock
) -> Taken | None:
    """Ask once and keep the page; None where there is nothing to ask now."""
    ask = question.ask(turn)
    if ask is None:
        return None
    answer = await credential.ask(ask, rank=question.rank, scope=question.scope)
    page = read(question.unpack, ask, answer.body, turn)
    append = await _append(question, page, answer.body, credential, store, clock)
    source = credential.account.source
    if append.dead and ("source", source) in store.crowded:
        raise HeldError(crowded(source))
    await store.append(append)
    return Taken(page, append)


def read(unpack: UnpackPage, ask: Ask, body: bytes, turn: Turn) -> Page:
    """What an answer holds; where it is almost JSON, once that is put right."""
    try:
        return unpack(ask, body, turn)
    except UNREADABLE as bad:
        fault = bad
    better = mended(body)
    if better != body:
        with suppress(*UNREADABLE):
            page = unpack(ask, better, turn)
            logger.warning("page_mended", path=ask.path, why=str(fault)[:LONGEST])
            return page
    why = str(fault) if isinstance(fault, PayloadError) else repr(fault)
    raise UnreadableError(f"{ask.path}: {why}", body) from fault


async def _append(
    question: Question, page: Page, body: bytes, credential: Credential, store: Store,
    clock: Clock,
) -> Append:  # fmt: skip
    account = credential.account
    clean = cleaned(account.provider, body)
    arrival = arrival_of(credential, store, clock, question.origin)
    if clean is body:  # its records, cut out of it, hold no secret either
        arrival = replace(arrival, clean=True)
    return await take_in_turns(
        arrival,
        page.records,
        store.directory,
        raw=Raw(question.feed, clean, verdict="polled") if page.records else None,
        bookmark=(question.place, page.bookmark),
    )


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
