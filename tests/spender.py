"""Spend a budget on the example vendor for ever: `python -m tests.spender URL`."""

from __future__ import annotations

import sys

import httpx
import trio

from fleetd.providers.contract import Ask, Limits
from fleetd.reach import Way
from fleetd.tasks.budget import BACKFILL, LIVE, Budget, Budgets
from fleetd.tasks.poll.wire import exchange
from fleetd.world import World

LIMITS = Limits(50.0, {"vehicles": 5.0, "history": 20.0})
TOKEN = {"Authorization": "Token key"}
ASKS = {
    "": Ask("/v1/nothing"),
    "vehicles": Ask("/v1/vehicles", tier="vehicles"),
    "history": Ask("/v1/history", tier="history"),
}


class Nothing:
    """A store that keeps nothing: every start is a first one."""

    def recall(self, _name: str) -> dict[str, object]:
        return {}

    def note(self, _name: str, _value: object) -> None:
        return None


async def spend(budget: Budget, http: httpx.AsyncClient, base: str, tier: str) -> None:
    rank = LIVE if tier == "vehicles" else BACKFILL
    while True:
        async with budget.sending(tier, rank) as mine:
            await exchange(http, base, ASKS[tier], TOKEN, 30.0, mine.trace)


async def main(base: str) -> None:
    world = World()
    budgets = Budgets(world, Nothing())  # type: ignore[arg-type]
    async with (
        world.client(**Way().options({})) as http,
        trio.open_nursery() as nursery,
    ):
        for name in ("north", "south"):  # two sources with one token
            budget = budgets.of(base, "key", LIMITS)
            for tier in ("", "", "", "vehicles", "vehicles", "history", "history"):
                nursery.start_soon(spend, budget, http, base, tier, name=name)


if __name__ == "__main__":
    trio.run(main, sys.argv[1])
