"""Asking a vendor for a past window: what can be asked, and the job that does it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from fleetd import when
from fleetd.errors import UsageError
from fleetd.event import millis, stamp
from fleetd.providers.contract import Feed, Past, Provider
from fleetd.store.jobs import AddJob
from fleetd.tasks.backfill import pieces
from fleetd.tasks.control.order import Order, known

if TYPE_CHECKING:
    from fleetd.tasks.board import Board


async def backfill(board: Board, order: Order) -> dict[str, Any]:
    """Begin to ask a vendor for a past window (device time) of one feed."""
    source = known(order.text("source"), board.house.sources, "source")
    provider = board.providers[source]
    feed = feed_of(provider, order.text("feed"), source)
    past = past_of(provider, feed, source)
    table = board.house.sources[source]
    if table.token is None and provider.answer is None:
        raise UsageError(f"{source} is not polled: it has no `token` to ask with")
    now, zone = board.world.now(), board.house.daemon.timezone.info
    since = when.resolve(order.text("since"), now, zone)
    typed = order.text("until", "")
    until = min(when.resolve(typed, now, zone), now) if typed else now
    judge_window(feed, past, since, until, now)
    parts = board.store.directory.ids(source, "vehicle") if past.parts else ()
    if past.parts and not parts:
        raise UsageError(
            f"{source}: no vehicle is known yet, and {past.call or feed.name} is asked "
            "vehicle by vehicle; wait until its `vehicles` feed has been read"
        )
    job = await board.store.add_job(
        add_job(source, feed, (since, until), parts, millis(now))
    )
    return {
        "job": job.id, "source": source, "feed": feed.name, "since": stamp(since),
        "until": stamp(until), "pieces": job.total, "call": past.call,
        "window": when.spell((since, until), zone),
    }  # fmt: skip


def add_job(
    source: str, feed: Feed, window: tuple[datetime, datetime], parts: Sequence[str],
    now_ms: int, *, origin: str = "backfill", repair: bool = False,
) -> AddJob:  # fmt: skip
    """The job that asks for a window of a feed that has a past.

    A `repair` goes before what somebody asked for, whether or not it recovers anything.
    """
    assert feed.past is not None
    since, until = (one.replace(microsecond=0) for one in window)
    total = len(pieces(feed.past, since, until, parts))
    spec: dict[str, Any] = {
        "feed": feed.name, "since": since.isoformat(), "until": until.isoformat(),
        "origin": origin, "parts": list(parts),
    }  # fmt: skip
    if repair:
        spec["repair"] = True
    return AddJob("backfill", source, spec, 0, 0, total, now_ms)


def feed_of(provider: Provider, name: str, source: str) -> Feed:
    """The feed of that name, also one that is not polled by default."""
    feeds = {feed.name: feed for feed in provider.feeds}
    return feeds[known(name, feeds, f"feed of {source}")]


def past_of(provider: Provider, feed: Feed, source: str) -> Past:
    """How its past is asked for, or which feeds have one."""
    if feed.past is not None:
        return feed.past
    able = ", ".join(one.name for one in provider.feeds if one.past) or "none"
    raise UsageError(
        f"{source}: {provider.title or provider.name} cannot be asked for a past window "
        f"of {feed.name}: its answer is always the present one. Feeds with a past: {able}"
    )


def judge_window(
    feed: Feed, past: Past, since: datetime, until: datetime, now: datetime
) -> None:
    """Refuse a window that is empty, or that the vendor no longer has."""
    if since >= until:
        raise UsageError("that window is empty: --since is not before --until")
    if since < now - past.within - timedelta(minutes=1):
        raise UsageError(
            f"{feed.name}: the vendor goes back {past.within.days} days, to "
            f"{stamp(now - past.within)}; begin there or later"
        )
