"""Budgets: who goes when, what a refusal pauses, and what a restart remembers."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetd.providers.contract import Limits
from fleetd.tasks.budget import BACKFILL, LIVE, REPAIR, Budget, Budgets
from fleetd.world import World
from tests.conftest import MORNING, virtual_world
from tests.test_pace import fullest

HOST, KEY = "api.acme.example", "a-token-of-acme"
SCALE = 1.008  # of a window: a far side's own jitter


class Kept:
    """What a store keeps of small states, and no more."""

    def __init__(self) -> None:
        self.rows: dict[str, Any] = {}

    def recall(self, name: str) -> dict[str, Any]:
        return dict(self.rows.get(name, {}))

    def note(self, name: str, value: Any) -> None:
        self.rows[name] = value


def budgets(kept: Kept | None = None, world: World | None = None) -> Budgets:
    return Budgets(world or virtual_world(), kept or Kept())


def budget(per_second: float, **tiers: float) -> Budget:
    return budgets().of(HOST, KEY, Limits(per_second, tiers))


def virtual(main: Callable[[], Awaitable[None]]) -> None:
    """Run in virtual time: for tests whose values hypothesis draws."""
    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


async def asking(
    one: Budget, count: int, went: list[float], *, tier: str = "", rank: int = LIVE,
    takes: float = 0.0, late: Callable[[], float] = lambda: 0.0,
) -> None:  # fmt: skip
    """Ask so many times in a row; each leaves so late, and its answer takes a while."""
    for _ in range(count):
        async with one.sending(tier, rank) as mine:
            await trio.sleep(late())
            mine.gone()
            went.append(trio.current_time())
            await trio.sleep(takes)


def within(went: list[float], limit: float) -> bool:
    return all(
        fullest(went, span * SCALE) <= math.ceil(limit * span - 1e-9)
        for span in (1.0, 60.0)
    )


# one a credential


async def test_the_same_credential_is_one_budget_by_whatever_name(autojump_clock):
    some = budgets()
    one = some.of(HOST, KEY, Limits(5.0))

    assert some.of(HOST.upper(), KEY, Limits(5.0)) is one
    assert some.of(HOST, "another-token", Limits(5.0)) is not one
    assert some.of("api.other.example", KEY, Limits(5.0)) is not one


async def test_two_sources_with_one_token_share_its_limit(autojump_clock):
    some, went = budgets(), []
    async with trio.open_nursery() as nursery:
        for _name in ("north", "south"):
            one = some.of(HOST, KEY, Limits(10.0))
            nursery.start_soon(asking, one, 100, went)

    assert within(went, 10.0)
    assert 199 / (went[-1] - went[0]) >= 9.8


async def test_the_lower_of_two_opinions_of_a_limit_holds(autojump_clock):
    some, went = budgets(), []
    one = some.of(HOST, KEY, Limits(50.0, {"a": 20.0}))
    some.of(HOST, KEY, Limits(10.0, {"a": 5.0, "b": 1.0}))
    await asking(one, 30, went)

    assert within(went, 10.0)
    assert one.use()["tiers"][""]["limit_per_s"] == 10.0


async def test_a_config_that_is_read_again_may_raise_a_limit(autojump_clock):
    some, went = budgets(), []
    one = some.of(HOST, KEY, Limits(1.0, {"a": 0.5}))
    await asking(one, 3, [], tier="a")
    some.renew()
    assert some.of(HOST, KEY, Limits(20.0, {"a": 10.0})) is one
    await asking(one, 50, went, tier="a")

    assert 49 / (went[-1] - went[0]) == pytest.approx(10.0, rel=0.02)


async def test_neither_the_name_nor_what_is_kept_tells_the_secret(autojump_clock):
    kept = Kept()
    one = budgets(kept).of(HOST, KEY, Limits())
    one.told("", 600.0)

    assert KEY not in repr(kept.rows)
    assert KEY not in one.name
    assert budgets(Kept()).of(HOST, KEY, Limits()).name != one.name  # keyed


# turns


async def test_a_budget_begins_empty_in_every_tier(autojump_clock):
    one, went = budget(10.0, slow=1 / 3), []
    await asking(one, 1, went)
    assert went[0] >= 0.1
    await asking(one, 2, went, tier="slow")

    assert went[1] >= 3.0
    assert went[2] - went[1] >= 3.0


async def test_a_tier_keeps_to_its_own_limit_and_leaves_the_rest_to_others(
    autojump_clock,
):
    one, slow, rest = budget(50.0, slow=5.0), [], []
    with trio.move_on_after(20):
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(partial_of(one, slow, "slow"))
                nursery.start_soon(partial_of(one, rest, ""))

    assert within(slow, 5.0)
    assert within(sorted(slow + rest), 50.0)
    assert len(slow) >= 20 * 5 * 0.98 - 1
    assert len(slow + rest) >= 20 * 50 * 0.98


def partial_of(one: Budget, went: list[float], tier: str, rank: int = LIVE):
    return lambda: asking(one, 10_000, went, tier=tier, rank=rank)


@pytest.mark.parametrize("limit", [20 / 60, 500 / 60, 5.0, 150.0])
async def test_almost_all_of_a_limit_is_used_while_there_is_work(autojump_clock, limit):
    one, went = budget(limit), []
    async with trio.open_nursery() as nursery:
        for _ in range(8):
            nursery.start_soon(
                lambda: asking(one, 100, went, rank=BACKFILL, takes=0.02)
            )

    assert 799 / (went[-1] - went[0]) >= limit * 0.98
    assert within(went, limit)


@settings(deadline=None, max_examples=40)
@given(
    st.sampled_from([20 / 60, 2.5, 5.0, 30.0]),
    st.integers(1, 12),
    st.integers(0, 2**32),
    st.sampled_from([0.0, 0.3, 5.0]),
)
def test_no_window_is_over_the_limit_however_late_requests_leave(
    limit, hands, seed, late
):
    chance, went = random.Random(seed), []

    async def main() -> None:
        one = budget(limit, a=limit / 2)

        def slowly() -> float:
            return late * chance.random() ** 4

        async with trio.open_nursery() as nursery:
            for n in range(hands):
                nursery.start_soon(
                    lambda n=n: asking(
                        one, 15, went, tier="a" if n % 3 else "", rank=n % 3,
                        takes=chance.random(), late=slowly,
                    )
                )  # fmt: skip

    virtual(main)

    assert len(went) == hands * 15
    assert within(sorted(went), limit)


async def test_a_live_poll_goes_before_backfill_that_waits_already(autojump_clock):
    one, order = budget(1.0), []

    async def ask(name: str, rank: int) -> None:
        await one.turn("", rank)
        order.append(name)

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(ask, "backfill", BACKFILL)
        await trio.sleep(0.1)
        nursery.start_soon(ask, "repair", REPAIR)
        nursery.start_soon(ask, "live", LIVE)

    assert order == ["live", "repair", "backfill", "backfill", "backfill"]


async def test_repair_and_backfill_get_a_tenth_each_where_live_could_use_it_all(
    autojump_clock,
):
    one, counts = budget(10.0), Counter()

    async def ask(rank: int) -> None:
        while True:
            await one.turn("", rank)
            counts[rank] += 1

    with trio.move_on_after(101.5):
        async with trio.open_nursery() as nursery:
            for rank in (LIVE, REPAIR, BACKFILL) * 4:
                nursery.start_soon(ask, rank)

    whole = sum(counts.values())
    assert whole >= 995
    assert 0.78 <= counts[LIVE] / whole <= 0.82
    assert counts[REPAIR] / whole >= 0.09
    assert counts[BACKFILL] / whole >= 0.09


async def test_one_who_stops_waiting_takes_nobodys_turn(autojump_clock):
    one, went = budget(2.0), []
    async with trio.open_nursery() as nursery:
        for n in range(6):
            nursery.start_soon(asking, one, 1, went)
            with trio.move_on_after(0.01 * n):
                await one.turn()
        await trio.sleep(0.1)

    assert went == pytest.approx([0.508 * (n + 1) for n in range(6)])


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32))
def test_whoever_gives_up_nobody_waits_for_ever(seed):
    chance, done = random.Random(seed), []

    async def main() -> None:
        one = budget(5.0, a=2.0)

        async def ask() -> None:
            await trio.sleep(chance.random() * 3)
            with trio.move_on_after(chance.choice([0.0, 0.1, 1.0, math.inf])):
                async with one.sending(chance.choice(["", "a"]), chance.randrange(3)):
                    await trio.sleep(chance.random() * 0.3)
            done.append(1)

        with trio.fail_after(120):
            async with trio.open_nursery() as nursery:
                for _ in range(40):
                    nursery.start_soon(ask)
        assert one.use()["waiting"] == {"live": 0, "repair": 0, "backfill": 0}
        with trio.fail_after(5):
            await one.turn("a")

    virtual(main)

    assert len(done) == 40


async def test_a_request_that_hangs_before_it_leaves_holds_its_place(autojump_clock):
    one, went = budget(2.0), []

    async def hangs() -> None:
        async with one.sending():
            await trio.sleep(20)
        went.append(trio.current_time())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(hangs)
        await trio.sleep(1)
        await asking(one, 12, went)

    assert within(sorted(went), 2.0)


async def test_a_request_counts_when_its_head_is_written_and_not_its_tunnel(
    autojump_clock,
):
    one = budget(1.0)

    class Head:
        def __init__(self, method: bytes) -> None:
            self.method = method

    async with one.sending() as mine:
        await mine.trace("connection.connect_tcp.started", {})
        await trio.sleep(3)
        await mine.trace(
            "http11.send_request_headers.started", {"request": Head(b"CONNECT")}
        )
        assert one.use()["tiers"][""]["last_minute"] == 0
        await mine.trace(
            "http11.send_request_headers.started", {"request": Head(b"GET")}
        )
        assert one.use()["tiers"][""]["last_minute"] == 1
    assert one.use()["tiers"][""]["last_minute"] == 1


# refusals


async def test_a_refusal_pauses_the_tier_it_belongs_to_and_no_other(autojump_clock):
    one, slow, rest = budget(10.0, slow=5.0), [], []
    one.told("slow", 30.0)
    await asking(one, 2, rest)
    await asking(one, 1, slow, tier="slow")

    assert rest[-1] < 1
    assert 30.0 <= slow[0] <= 34.0


async def test_a_refusal_without_a_tier_pauses_the_whole_token(autojump_clock):
    one, went = budget(10.0, slow=5.0), []
    one.told("", 30.0)
    await asking(one, 1, went, tier="slow")

    assert went[0] >= 30.0


async def test_fractions_of_a_second_are_waited_for_and_no_more(autojump_clock):
    one, went = budget(10.0), []
    await asking(one, 1, went)
    one.told("", 0.40235)
    await asking(one, 1, went)

    assert 0.402 <= went[1] - went[0] <= 0.5


@pytest.mark.parametrize("after", [1e9, math.inf, math.nan, -5.0, 0.0])
async def test_an_absurd_wait_is_capped(autojump_clock, after):
    one, went = budget(10.0), []
    one.told("", after)
    await asking(one, 1, went)

    assert went[0] <= 3700


async def test_without_a_wait_the_own_one_grows_and_a_calm_time_forgets_it(
    autojump_clock,
):
    one = budget(10.0)
    waits = []
    for _ in range(8):
        waits.append(one.told())
        await trio.sleep(waits[-1] + 1.5)
    await trio.sleep(400)

    assert waits[0] <= 3.0
    assert waits[-1] > 5 * waits[0]
    assert max(waits) <= 300
    assert one.told() <= 3.0


async def test_where_a_minute_is_counted_the_own_wait_is_a_minute(autojump_clock):
    assert budget(20 / 60).told() >= 60.0


async def test_refusals_slow_it_down_and_minutes_bring_it_back(autojump_clock):
    one, once, twice, after = budget(10.0), [], [], []
    one.told("", 1.0)
    await asking(one, 20, once)
    one.told("", 1.0)
    await asking(one, 20, twice)
    await trio.sleep(600)
    await asking(one, 20, after)

    assert 19 / (once[-1] - once[0]) == pytest.approx(9.4, rel=0.03)
    assert 19 / (twice[-1] - twice[0]) == pytest.approx(4.7, rel=0.03)
    assert 19 / (after[-1] - after[0]) == pytest.approx(9.9, rel=0.03)


async def test_many_refusals_of_requests_under_way_together_cut_once(autojump_clock):
    one = budget(16.0)
    for _ in range(40):
        one.told("", 3.0)
        await trio.sleep(0.05)

    assert one.use()["tiers"][""]["rate_per_s"] == 15.2


async def test_the_longest_pause_holds(autojump_clock):
    one, went = budget(10.0), []
    one.told("", 60.0)
    one.told("", 2.0)
    await asking(one, 1, went)

    assert went[0] >= 60.0


# restarts


async def restarted(
    after: float, ahead: timedelta, tier: str = "", *more: float
) -> float:
    """How long a budget of a new process waits, that long after a refusal (or several)."""
    kept, later = Kept(), timedelta(0)

    def now() -> datetime:
        return MORNING + timedelta(seconds=trio.current_time()) + later

    world = World(now=now, chance=random.Random(1), environ={})
    before = budgets(kept, world).of(HOST, KEY, Limits(10.0, {"a": 5.0}))
    for wait in (after, *more):
        before.told(tier, wait)
    later = ahead
    one, began = (
        budgets(kept, world).of(HOST, KEY, Limits(10.0, {"a": 5.0})),
        trio.current_time(),
    )
    await one.turn(tier)
    return trio.current_time() - began


async def test_a_long_pause_outlives_a_restart(autojump_clock):
    assert 540 <= await restarted(600.0, timedelta(minutes=1)) <= 600
    assert 540 <= await restarted(600.0, timedelta(minutes=1), "a") <= 600


async def test_the_longest_pause_holds_over_a_restart_too(autojump_clock):
    assert 540 <= await restarted(600.0, timedelta(minutes=1), "a", 10.0, 1.0) <= 600


async def test_a_pause_that_is_over_meanwhile_is_over(autojump_clock):
    assert await restarted(600.0, timedelta(minutes=12)) < 1


async def test_a_short_pause_is_not_worth_keeping(autojump_clock):
    assert await restarted(2.0, timedelta(0)) < 1


async def test_a_clock_that_went_back_makes_no_pause_for_ever(autojump_clock):
    assert await restarted(600.0, timedelta(days=-400)) <= 3601


@pytest.mark.parametrize(
    "rows",
    [{"pauses": 7}, {"salt": 5, "pauses": {"x": 1}}, {"pauses": {"x": {"": "soon"}}}],
)
async def test_what_cannot_be_read_of_the_past_is_none(autojump_clock, rows):
    kept = Kept()
    kept.rows["budgets"] = rows
    with trio.fail_after(5):
        await budgets(kept).of(HOST, KEY, Limits()).turn()


async def test_pauses_that_are_over_are_forgotten(autojump_clock):
    kept = Kept()
    some = budgets(kept)
    some.of(HOST, "one", Limits()).told("", 10.0)
    await trio.sleep(60)
    some.of(HOST, "two", Limits()).told("", 10.0)

    assert len(kept.rows["budgets"]["pauses"]) == 1


async def test_status_tells_who_waits_and_what_is_paused(autojump_clock):
    one = budget(1.0, a=0.5)
    one.told("a", 90.0)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(one.turn, "a", BACKFILL)
        await trio.sleep(1)
        told = one.use()
        nursery.cancel_scope.cancel()

    assert told["waiting"] == {"live": 0, "repair": 0, "backfill": 1}
    assert 88 <= told["tiers"]["a"]["paused_s"] <= 96
    assert told["tiers"]["a"]["rate_per_s"] == 0.475
    assert told["tiers"][""]["paused_s"] == 0
