"""When a sink's next request may go: its own rate, and its account's that others share."""

from __future__ import annotations

from typing import Any

import trio

from fleetd.pace import Quota
from fleetd.sinks.contract import Sink
from fleetd.tasks.deliver.plan import Plan

ALARMS_IN_A_ROW = 9  # then the rest may use the alarms' share once
RESERVE = 1


class Accounts:
    """The budgets that sinks share because one credential pays for them all."""

    def __init__(self) -> None:
        self._budgets: dict[tuple[str, str], Quota] = {}

    def of(self, kind: str, sink: Sink, config: Any) -> Quota | None:
        """The budget of a sink's account; None for a sink that has its own."""
        if sink.account is None:
            return None
        key = (kind, sink.account(config))
        if key not in self._budgets:
            self._budgets[key] = quota(sink.per_second, sink.burst)
        return self._budgets[key]


def quota(rate: float, burst: int) -> Quota:
    return Quota(rate, burst, filled_at=trio.current_time(), reserve=RESERVE)


class Tokens:
    """One sink's way to its tokens; a share of them is kept for alarms.

    After so many alarms in a row the rest goes once: a flood of them delays it, and
    never stops it.
    """

    def __init__(self, plan: Plan, account: Quota | None) -> None:
        own = quota(plan.rate, plan.burst)
        self._buckets = [own] if account is None else [own, account]
        self._alarms = 0  # requests of the safety lane in a row

    @property
    def is_turn_of_the_rest(self) -> bool:
        """Whether there were so many alarms that something else goes now."""
        return self._alarms >= ALARMS_IN_A_ROW

    def wait(self, now: float, *, urgent: bool = False) -> float:
        """How long until a request may go; nothing is taken yet."""
        return max(one.wait(now, urgent=urgent) for one in self._buckets)

    def take(self, now: float, *, urgent: bool = False) -> None:
        """A request goes."""
        for one in self._buckets:
            one.take(now, urgent=urgent)
        self._alarms = self._alarms + 1 if urgent else 0

    def give_way(self) -> None:
        """The safety lane was put off, and all wait for it: next goes something else."""
        self._alarms = ALARMS_IN_A_ROW

    def owe(self, now: float, more: int) -> None:
        """A request was so many more of them than one: the next ones wait for it."""
        for one in self._buckets:
            for _ in range(more):
                one.take(now)

    def cut(self, now: float) -> None:
        """The far side says it is too much."""
        for one in self._buckets:
            one.cut(now)

    def landed(self, went: float, now: float) -> None:
        """The request that went then has been answered."""
        for one in self._buckets:
            one.landed(went, now)
