"""Asking a vendor once, to look at what it answers: nothing is stored and no bookmark moves."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec.structs import replace

from fleetd import when
from fleetd.errors import (
    AbsentError,
    ExpiredError,
    FleetdError,
    UsageError,
)
from fleetd.event import KINDS, AnyEvent, Entry, Record, lane_of, line_of
from fleetd.providers.contract import Ask, Feed, Page, Turn, UnpackPage
from fleetd.store import Append
from fleetd.store.look import Filter
from fleetd.store.units import narrowed
from fleetd.tasks.control.backfill import feed_of, past_of
from fleetd.tasks.control.order import Order, known
from fleetd.tasks.intake import take_in
from fleetd.tasks.poll import Credential
from fleetd.tasks.poll.page import arrival_of, read

if TYPE_CHECKING:
    from fleetd.tasks.board import Board

MOST_PAGES = 20
MOST, USUAL = 1000, 20
HOUR = timedelta(hours=1)


async def fetch(board: Board, order: Order) -> dict[str, Any]:
    """The first records of one feed as they are now: as events, and what cannot be read."""
    source = known(order.text("source"), board.house.sources, "source")
    feed = feed_of(board.providers[source], order.text("feed"), source)
    credential = board.credentials.get(source)
    if credential is None:
        raise UsageError(f"{source} is not polled: it has no `token` to ask with")
    if credential.held:
        raise FleetdError(credential.held)
    turn = await _turn(board, order, source, feed)
    asked, records = await _walk(credential, feed, turn, most=_most(order))
    taken = take_in(  # read as it would be for the log, and not put there
        arrival_of(credential, board.store, board.clock),
        records,
        board.store.directory,
    )
    return {
        "source": source, "feed": feed.name, "asked": asked,
        "events": [_line(credential, one.event, taken) for one in taken.made],
        "filtered": [
            {"kind": KINDS[one.kind], "id": one.event, "why": one.why}
            for one in taken.filtered
        ],
        "unreadable": [
            {"why": one.why, "body": one.body.decode(errors="replace")}
            for one in taken.dead
        ],
    }  # fmt: skip


def _most(order: Order) -> int:
    """How many records are wanted."""
    typed = order.number("n")
    if typed is not None and typed < 1:
        raise UsageError("-n takes a whole number above zero")
    return min(typed or USUAL, MOST)


async def _turn(board: Board, order: Order, source: str, feed: Feed) -> Turn:
    """From the moment typed up to now through the feed's past, or as if it were new."""
    now, typed = board.world.now(), order.text("since", "")
    zone = board.house.daemon.timezone.info
    since = when.resolve(typed, now, zone) if typed else None
    if since and (feed.listing or feed.snapshot):
        past_of(board.providers[source], feed, source)
    by_vehicle = feed.past.parts if since and feed.past else feed.parts
    vehicle = order.text("vehicle", "")
    if vehicle and not by_vehicle:
        raise UsageError(f"{feed.name} of {source} is not asked by vehicle")
    return Turn(
        now, None, since or now - max(feed.begins or HOUR, HOUR),
        now if since and feed.past else None,
        part=await _part(board, source, vehicle) if by_vehicle else "",
        vehicles=board.store.directory.ids(source, "vehicle"),
        tags=board.credentials[source].account.tags,
    )  # fmt: skip


async def _walk(
    credential: Credential, feed: Feed, turn: Turn, *, most: int
) -> tuple[list[str], list[Record]]:
    """What was asked, and the first records of what came."""
    past = feed.past if turn.until else None
    ask, unpack = (past.ask, past.unpack) if past else (feed.ask, feed.unpack)
    asked: list[str] = []
    records: list[Record] = []
    while len(asked) < MOST_PAGES and len(records) < most:
        question = ask(turn)
        if question is None:
            break
        asked.append(f"{question.method} {question.path}")
        page = await _page(credential, question, unpack, turn, feed.scope)
        records += page.records
        if not page.more:
            break
        turn = replace(turn, bookmark=page.bookmark)
    return asked, records[:most]


async def _page(
    credential: Credential, question: Ask, unpack: UnpackPage, turn: Turn, scope: str
) -> Page:
    try:
        answer = await credential.ask(question, scope=scope)
        return read(unpack, question, answer.body, turn)
    except (ExpiredError, AbsentError) as bad:
        raise FleetdError(f"{question.path}: {bad}") from bad


async def _part(board: Board, source: str, typed: str) -> str:
    """The vehicle to ask about, where the vendor wants to be asked vehicle by vehicle."""
    vehicles = board.store.directory.ids(source, "vehicle")
    if not vehicles:
        raise UsageError(f"{source}: no vehicle is known yet")
    if not typed or typed in vehicles:
        return typed or vehicles[0]
    wanted = Filter(sources=frozenset({source}), vehicle=typed)
    found = await board.store.reading(lambda reader: narrowed(reader.db, wanted))
    meant = sorted(one for _, one in found.units or () if one in vehicles)
    if not meant:
        raise UsageError(f"{source} has told of no vehicle {typed!r}")
    return meant[0]


def _line(credential: Credential, event: AnyEvent, taken: Append) -> dict[str, Any]:
    account = credential.account
    entry = Entry(
        0, account.source, account.provider.name, event, event.revision or 0,
        taken.received_ms, "poll", lane_of(event),
    )  # fmt: skip
    found: dict[str, Any] = msgspec.to_builtins(line_of(entry))
    return found
