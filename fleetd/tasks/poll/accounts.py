"""What the config says of polling, as accounts and plans."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta

from fleetd import when
from fleetd.config import House, Source
from fleetd.providers.contract import Feed, Provider
from fleetd.reach import Way
from fleetd.tasks.poll.plan import DAWN, Account, Plan

FILLING = frozenset({"vehicle", "driver"})  # what other events are filled from


def accounts_of(house: House, providers: Mapping[str, Provider]) -> Iterator[Account]:
    """One account for every source that polls."""
    for name, source in house.sources.items():
        provider = providers[name]
        if source.token is not None or provider.answer is not None:
            yield _account(name, source, provider)


def _account(name: str, source: Source, provider: Provider) -> Account:
    return Account(
        name,
        provider,
        str(source.base_url or provider.base_url),
        source.token.reveal if source.token else None,
        way=way_of(source, provider.patience),
        receives=source.receives,
        tags=source.tags,
        wanted=source.wanted,
        org=source.org or "",
        remove_after=source.remove_after,
        remove_brake=source.remove_brake,
    )


def plans_of(house: House, account: Account) -> Iterator[Plan]:
    """One plan for every feed of a source that is polled."""
    source = house.sources[account.source]
    since = _since(source.since, house)
    feeds = [feed for feed in account.provider.feeds if _wanted(feed, source)]
    listings = frozenset(feed.name for feed in feeds if feed.listing in FILLING)
    for feed in feeds:
        every = source.feeds.get(feed.name) if source.feeds else None
        after = frozenset() if feed.listing else listings
        behind = feed.lookback
        if source.lookback is not None:
            behind = timedelta(seconds=float(source.lookback))
        pace = float(every or feed.every)
        yield Plan(account.source, feed, pace, since, behind, after)


def _wanted(feed: Feed, source: Source) -> bool:
    return feed.standard if source.feeds is None else feed.name in source.feeds


def _since(word: str | None, house: House) -> Callable[[datetime], datetime] | None:
    """How far a feed that was never read goes back, if the config says."""
    if word is None:
        return None
    if word == "all":
        return lambda _now: DAWN
    zone = house.daemon.timezone.info
    return lambda now: when.resolve(word, now, zone)


def way_of(source: Source, patience: float = 30.0) -> Way:
    """How a source's vendor is reached; `patience` is the vendor's usual time-out."""
    return Way(
        timeout=patience if source.timeout is None else float(source.timeout),
        connect_timeout=float(source.connect_timeout),
        max_page=int(source.max_page),
        proxy=source.proxy.reveal() if source.proxy else "",
        ca=source.ca,
        ca_only=source.ca_only,
    )
