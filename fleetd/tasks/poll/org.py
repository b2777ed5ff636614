"""Whose account a credential opens: one for the wrong company is worse than none."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import trio

from fleetd.errors import HeldError
from fleetd.tasks.poll.plan import Account

DAILY = timedelta(days=1)
SOON = timedelta(hours=1)
TOLD = 5


class Org:
    """When it was last seen that the account is the right one."""

    def __init__(self) -> None:
        self.lock = trio.Lock()
        self.judged = False
        self._due: datetime | None = None

    def due(self, now: datetime) -> bool:
        """Whether it is to be asked (again)."""
        return not self.judged or self._due is None or now >= self._due

    def later(self, now: datetime) -> None:
        """It could not be asked; it was right before."""
        self._due = now + SOON

    def judge(self, account: Account, names: Sequence[str], now: datetime) -> None:
        """Raise `HeldError` where none of its names and ids is the one configured."""
        wanted = account.org.strip().lower()
        self.judged = any(name.strip().lower() == wanted for name in names)
        self._due = now + DAILY
        if not self.judged:
            seen = ", ".join(repr(one[:80]) for one in names[:TOLD]) or "nobody"
            still = " Webhooks still arrive." if account.receives else ""
            raise HeldError(
                f"{account.source}: this token opens the account of {seen}, not of "
                f"{account.org!r}: nothing is taken from it.{still} Fix sources."
                f"{account.source}.token or .org.",
                status=401,
            )
