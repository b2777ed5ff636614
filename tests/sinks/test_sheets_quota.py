"""One service account, several tabs: together they keep to Google's quota, and share it evenly."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio

from fleetd.config import Seconds, SinkTable
from fleetd.sinks.sheets import SINK
from fleetd.sinks.sheets.config import Config
from fleetd.store import SinkPlace
from fleetd.taking import Taking
from fleetd.tasks.deliver import Plan, deliver
from fleetd.tasks.deliver.plan import plan_of
from fleetd.tasks.deliver.tokens import Accounts, Tokens, quota
from fleetd.world import World, inline
from tests.conftest import MORNING
from tests.far_side import FarSide, House, Watch, fix, house_in
from tests.providers.sheet_far import Google, google
from tests.sinks.sheeted import config_of, some
from tests.sinks.things import entries

MINUTE, ALLOWED = 60.0, 60
UPSERT = {"mode": "upsert", "every": Seconds(1), "key": ("vehicle",), "columns": {"vehicle": "vehicle", "id": "id"}}  # fmt: skip
APPEND = {"columns": {"id": "id"}}
BATCH = 5


@pytest.fixture
def far() -> Iterator[Google]:
    with google() as one:
        one.cloud.per_minute = ALLOWED
        yield one


class Desk:
    """Sinks that write to tabs of one spreadsheet, by one key or by copies of it."""

    def __init__(self, far: Google, house: House, folder: Path, *modes: Any) -> None:
        self.far, self.house, self.folder = far, house, folder
        self.accounts = Accounts()
        self.configs = {
            f"s{n}": config_of(far.cloud, tab=f"Tab {n}", **mode)
            for n, mode in enumerate(modes)
        }

    async def run(self, nursery: trio.Nursery, minutes: float, count: int) -> None:
        """Deliver a backlog that is longer than that takes."""
        store = self.house.store
        places = {name: SinkPlace(Taking()) for name in self.configs}
        await store.register_sinks(places)
        for at in range(0, count, 500):
            await self.house.append(*(fix(n, f"v{n}") for n in range(at, at + 500)))
        for name, config in self.configs.items():
            nursery.start_soon(self._deliver, name, config)
        await trio.sleep(minutes * MINUTE)
        nursery.cancel_scope.cancel()

    async def _deliver(self, name: str, config: Config) -> None:
        store, world = self.house.store, self.house.world
        world = World(
            now=world.now, chance=world.chance, transport=httpx.MockTransport(self.far),
            in_thread=inline, threads=False,
        )  # fmt: skip
        plan = plan_of(SINK, SinkTable("sheets", batch=BATCH, settings=config))
        await deliver(
            name, SINK.shaped(config), plan, config=config, store=store, world=world,
            health=Watch(), place=f"{self.folder}/{name}",
            account=self.accounts.of("sheets", SINK, config),
        )  # fmt: skip

    def delivered(self, count: int) -> list[int]:
        return [count - self.house.store.waiting(name, 0) for name in self.configs]


def busiest(times: list[float]) -> int:
    """The most in any minute."""
    return max(sum(at <= one < at + MINUTE for one in times) for at in times)


@pytest.mark.parametrize(
    "modes",
    [(APPEND, APPEND), (UPSERT, UPSERT), (APPEND, UPSERT, APPEND, UPSERT)],
    ids=["logs", "currents", "four"],
)
async def test_tabs_of_one_account_stay_within_its_quota_and_share_it_evenly(
    autojump_clock, tmp_path, far, modes
):
    writes: list[float] = []
    reads: list[float] = []

    def note(call) -> str:
        (writes if call.write else reads).append(trio.current_time())
        return ""

    far.cloud.fault = note
    count, minutes = 2000, 12
    async with house_in(tmp_path, FarSide()) as house:
        desk = Desk(far, house, tmp_path, *modes)
        async with trio.open_nursery() as nursery:
            await desk.run(nursery, minutes, count)
        done = desk.delivered(count)

    assert far.cloud.refused == []  # no 429, nor anything else
    assert busiest(writes) <= ALLOWED
    assert busiest(reads) <= ALLOWED
    assert len(writes) >= 0.9 * 24 * minutes  # and hardly a turn is left unused
    assert min(done) >= 0.6 * max(done) > 0


def test_what_took_more_calls_than_one_is_paid_for_by_all_of_the_account():
    async def waits() -> tuple[float, float]:
        account = quota(1.0, 1)
        plan = Plan(rate=1.0, burst=1)
        mine, others = Tokens(plan, account), Tokens(plan, account)
        mine.take(trio.current_time())
        before = others.wait(trio.current_time())
        mine.owe(trio.current_time(), 3)
        return before, others.wait(trio.current_time())

    before, after = trio.run(waits)

    assert after - before >= 3.0


async def test_a_first_write_that_looks_at_its_tab_tells_what_it_cost(
    autojump_clock, far
):
    config = config_of(far.cloud, **UPSERT)
    world = World(
        now=lambda: MORNING + timedelta(seconds=trio.current_time()), transport=httpx.MockTransport(far), in_thread=inline,
        threads=False,
    )  # fmt: skip
    async with SINK.open(config, world, "") as write:
        costs = [(await write(some(entries(n)))).cost for n in (1, 2, 3)]

    assert costs == [2, 1, 1]
