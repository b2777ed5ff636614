"""Carries one sink's part of the log to it: token, lane, write, verdict, cursor."""

from __future__ import annotations

from typing import Any

from fleetd.pace import Quota
from fleetd.sinks.contract import Sink
from fleetd.store import Store
from fleetd.tasks.deliver.courier import Courier
from fleetd.tasks.deliver.plan import Plan, plan_of
from fleetd.tasks.deliver.standing import Watcher
from fleetd.tasks.deliver.tokens import Accounts
from fleetd.world import World

__all__ = ["Accounts", "Plan", "deliver", "plan_of"]


async def deliver(
    name: str,
    sink: Sink,
    plan: Plan,
    *,
    config: Any,
    store: Store,
    world: World,
    health: Watcher,
    place: str = "",
    account: Quota | None = None,
    metrics: Any = None,
) -> None:
    """Deliver to one sink for ever; a stop never falls between a write and its cursor.

    `config` is the sink's own, its secrets found. What no verdict covers is raised:
    the supervisor's affair. `metrics.delivered(name, verdict, seconds)` hears of each
    request. `account` is the budget it shares with other sinks.
    """
    async with sink.open(config, world, place) as write:
        courier = Courier(
            name, plan, write, store=store, world=world, health=health, account=account
        )
        if metrics is not None:
            courier.tell = metrics.delivered
        await courier.run()
