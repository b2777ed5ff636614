"""How a source's account is reached and how each of its feeds is polled, as data."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from msgspec import Struct

from fleetd.providers.contract import Feed, Provider
from fleetd.reach import Way

LOGIN_KEYS = ("database", "user", "app_id", "region")  # that a login says beside it
DAWN = datetime.min.replace(tzinfo=UTC)


class Account(Struct, frozen=True):
    """One source's account at its vendor, and the way there.

    `tags` narrow what it takes (`wanted` as they are compared), `org` is whose account
    it has to be. `receives` says that its webhooks arrive as well.
    """

    source: str
    provider: Provider
    base_url: str = ""
    token: Callable[[], str] | None = None
    way: Way = Way()
    receives: bool = False
    tags: tuple[str, ...] = ()
    wanted: frozenset[str] = frozenset()
    org: str = ""
    remove_after: int = 3
    remove_brake: float = 0.1

    @property
    def title(self) -> str:
        """The vendor's name for people."""
        return self.provider.title or self.provider.name

    @property
    def fix(self) -> str:
        """What to do where the credential is refused, and what goes on meanwhile."""
        still = "Webhooks still arrive. " if self.receives else ""
        settings = self.provider.settings if self.provider.session else None
        own = [key for key in LOGIN_KEYS if hasattr(settings, key)]
        more = f", or {', '.join(f'.{key}' for key in own)}" if own else ""
        return f"{still}Fix sources.{self.source}.token{more}."


class Plan(Struct, frozen=True):
    """How one feed of one source is polled.

    `after` are the listings that come before its very first question, so that what it
    brings can be filled from them. `behind` is how far behind its bookmark it reads again.
    """

    source: str
    feed: Feed
    every: float
    since: Callable[[datetime], datetime] | None = None
    behind: timedelta = timedelta(0)
    after: frozenset[str] = frozenset()

    def begins(self, now: datetime) -> datetime:
        """Where a feed begins that was never read."""
        if self.since is not None:
            return self.since(now)
        return DAWN if self.feed.begins is None else now - self.feed.begins
