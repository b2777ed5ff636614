"""Carries one sink's part of the log to it: token, lane, write, verdict, cursor."""

from __future__ import annotations

from typing import Any

from fleetd.sinks.contract import Sink
from fleetd.store import Store
from fleetd.tasks.deliver.courier import Courier
from fleetd.tasks.deliver.plan import Plan, plan_of
from fleetd.tasks.deliver.standing import Watcher
from fleetd.world import World

__all__ = ["Plan", "deliver", "plan_of"]


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
    metrics: Any = None,
) -> None:
    """Deliver to one sink for ever; a stop never falls between a write and its cursor.

    `config` is the sink's own, its secrets found. What no verdict covers is raised:
    the supervisor's affair. `metrics.delivered(name, verdict, seconds)` hears of each
    request.
    """
    async with sink.open(config, world, place) as write:
        courier = Courier(name, plan, write, store=store, world=world, health=health)
        if metrics is not None:
            courier.tell = metrics.delivered
        await courier.run()
