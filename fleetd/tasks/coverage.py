"""Which feeds can say, after the fact, what came while nobody listened."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from msgspec import Struct

from fleetd.event import DIRECTORY_KINDS
from fleetd.providers.contract import Feed, Provider


def caught(source: str, feed: str) -> str:
    """The name of the state that says up to when a feed has told everything."""
    return f"caught:{source}/{feed}"


def covers(source: str) -> str:
    """The name of the state that keeps a source's coverage."""
    return f"covers:{source}"


class Coverage(Struct, frozen=True):
    """What makes up for a gap of one source: kind by kind, the feeds that do.

    `unlisted` are the kinds that are only pushed, or only shown as they stand: of a gap
    nobody can say what they held. `compared` are the feeds asked for what was missed.
    """

    title: str
    receives: bool
    kinds: dict[str, tuple[str, ...]] = {}
    unlisted: tuple[str, ...] = ()
    compared: tuple[str, ...] = ()


def coverage(
    provider: Provider, polled: Iterable[str], *, receives: bool, asks: bool
) -> Coverage:
    """What the vendor's file says of its own past, for a source as it is configured."""
    live = frozenset(polled)
    pushed = provider.webhook.kinds if receives and provider.webhook else ()
    again = compared(provider, live, pushed) if asks else []
    kinds: dict[str, list[str]] = {kind: [] for kind in pushed}
    for feed in provider.feeds:
        if feed.name in live:
            lasts = not feed.snapshot
            for kind in feed.kinds:
                sure = lasts or kind in DIRECTORY_KINDS
                kinds.setdefault(kind, []).extend([feed.name] if sure else [])
    for feed in again:
        for kind in feed.kinds:
            if kind in kinds and feed.name not in kinds[kind]:
                kinds[kind].append(feed.name)
    return Coverage(
        provider.title or provider.name,
        receives,
        {kind: tuple(feeds) for kind, feeds in kinds.items() if feeds},
        tuple(kind for kind, feeds in kinds.items() if not feeds),
        tuple(feed.name for feed in again),
    )


def compared(
    provider: Provider, polled: frozenset[str], pushed: Iterable[str]
) -> list[Feed]:
    """The feeds whose past is asked for to find what the live roads missed.

    A feed that is polled and goes on where it stopped misses nothing by itself.
    """
    live = [feed for feed in provider.feeds if feed.name in polled]
    sure = {kind for feed in live if not feed.snapshot for kind in feed.kinds}
    shown = {kind for feed in live if feed.snapshot for kind in feed.kinds}
    doubted = (frozenset(pushed) | shown) - sure
    return [
        feed
        for feed in provider.feeds
        if feed.past is not None and doubted & frozenset(feed.kinds)
    ]


def kept(found: Coverage) -> dict[str, Any]:
    """As it lies in the log, for whoever reads the ledger without the daemon."""
    return {
        "title": found.title,
        "receives": found.receives,
        "kinds": {kind: list(feeds) for kind, feeds in found.kinds.items()},
        "unlisted": list(found.unlisted),
        "compared": list(found.compared),
    }
