"""Delivery at its limits: the whole allowed rate and no more, many at once, replays behind."""

from __future__ import annotations

from contextlib import AsyncExitStack
from itertools import count

import httpx
import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fleetd.config import SinkTable
from fleetd.event import millis
from fleetd.pace import Quota
from fleetd.sinks.contract import Sink
from fleetd.sinks.http import SINK, Config, open_http
from fleetd.store import SinkPlace
from fleetd.store.jobs import AddJob
from fleetd.taking import Taking
from fleetd.tasks.deliver import Accounts
from fleetd.tasks.deliver.plan import STUCK_LATERS, plan_of
from fleetd.tasks.deliver.tokens import RESERVE, quota
from tests.far_side import FarSide, crash, fix, house_in, ids

FOLDER = count()
SLOWLY = settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@pytest.fixture
def far() -> FarSide:
    return FarSide()


def breach(times: list[float], rate: float, burst: int) -> bool:
    return any(
        n > burst + rate * (last - first) + 1e-3
        for i, first in enumerate(times)
        for n, last in enumerate(times[i : i + 200], start=1)
    )


@pytest.mark.parametrize(
    ("rate", "burst", "delay"), [(5.0, 3, 0.05), (50.0, 10, 0.001)]
)
async def test_a_drain_uses_98_percent_of_the_allowed_rate_and_never_more(
    autojump_clock, tmp_path, far, rate, burst, delay
):
    far.delay = lambda asked: delay
    async with house_in(tmp_path, far) as house:
        await house.append(*(fix(n) for n in range(600)))
        before = trio.current_time()
        async with house.run(batch=1, rate=rate, burst=burst):
            await house.rest()

        took = far.asked[-1].at - before
        assert 600 / took >= 0.98 * rate
        assert not breach([one.at for one in far.asked], rate, burst)
        assert far.taken == ids("p", range(600))


async def test_parallel_requests_reach_a_rate_that_one_at_a_time_could_not(
    autojump_clock, tmp_path, far
):
    far.delay = lambda asked: 1.0
    async with house_in(tmp_path, far) as house:
        await house.append(*(fix(n, f"v{n}") for n in range(970)))
        before = trio.current_time()
        async with house.run(batch=1, rate=20.0, burst=5, parallel=40):
            await house.rest()

        assert 970 / (far.asked[-1].at - before) >= 0.95 * 20
        assert not breach([one.at for one in far.asked], 20.0, 5)
        assert far.most_at_once > 10


async def test_a_429_slows_the_sink_down_for_minutes(autojump_clock, tmp_path, far):
    far.script = [200] * 50 + [429]
    async with house_in(tmp_path, far) as house:
        await house.append(*(fix(n) for n in range(700)))
        async with house.run(batch=1, rate=10.0, burst=1):
            await house.rest()

        cut = far.asked[50].at
        minute = [one for one in far.asked if cut < one.at <= cut + 50]
        assert len(minute) <= 5 * 50
        assert far.taken == ids("p", range(700))


@SLOWLY
@given(
    vehicles=st.lists(st.integers(0, 6), min_size=1, max_size=80),
    parallel=st.integers(2, 8),
    batch=st.integers(1, 5),
    sick=st.sets(st.integers(0, 120), max_size=STUCK_LATERS - 1),
    delays=st.lists(st.floats(0, 5), min_size=1, max_size=10),
)
async def test_parallel_keeps_the_order_of_each_vehicle_and_loses_nothing(
    autojump_clock, tmp_path, vehicles, parallel, batch, sick, delays
):
    far = FarSide()
    far.delay = lambda asked: delays[len(far.asked) % len(delays)]
    far.answer = lambda asked: (
        [503, 500, 429][len(far.asked) % 3] if (len(far.asked) in sick) else 200
    )
    async with house_in(tmp_path / str(next(FOLDER)), far) as house:
        await house.append(*(fix(n, f"v{v}") for n, v in enumerate(vehicles)))
        async with house.run(parallel=parallel, batch=batch):
            await house.rest()

        assert sorted(far.taken) == sorted(ids("p", range(len(vehicles))))
        for one in set(vehicles):
            mine = ids("p", (n for n, v in enumerate(vehicles) if v == one))
            assert [id_ for id_ in far.taken if id_ in set(mine)] == mine
        assert house.counts() == {"delivered": len(vehicles)}


async def test_the_cursor_stands_at_the_lowest_unfinished_request(
    autojump_clock, tmp_path, far
):
    far.delay = lambda asked: 14.0 if "p5" in asked.ids else 0.1
    async with house_in(tmp_path, far) as house:
        await house.append(*(fix(n, f"v{n}") for n in range(20)))
        async with house.run(parallel=8, batch=1):
            await trio.sleep(10)

            assert len(far.taken) >= 15  # all but what waits behind it
            assert house.store.cursor("ops", 0) == 5
            await house.rest()

        assert house.store.cursor("ops", 0) == 20


async def test_a_stop_with_many_under_way_waits_for_them_all(
    autojump_clock, tmp_path, far
):
    far.delay = lambda asked: 9.0
    async with house_in(tmp_path, far) as house:
        await house.append(*(fix(n, f"v{n}") for n in range(6)))
        async with house.run(parallel=6, batch=1):
            await house.until(lambda: len(far.asked) >= 4)
            sent = len(far.asked)

        assert len(far.taken) == sent
        assert house.waiting() == 6 - house.store.cursor("ops", 0)


async def test_a_bad_record_among_parallel_ones_is_found_and_set_aside(
    autojump_clock, tmp_path, far
):
    far.answer = lambda asked: 422 if {"p3", "p40"} & set(asked.ids) else 200
    async with house_in(tmp_path, far) as house:
        await house.append(*(fix(n, f"v{n % 9}") for n in range(60)))
        async with house.run(parallel=4, batch=5):
            await house.rest()

        assert [one for one, _ in house.dead()] == ["p3", "p40"]
        assert house.counts() == {"delivered": 58, "dead": 2}


# replays


def replay(house, first: int, last: int, **spec: object) -> AddJob:
    return AddJob(
        "replay",
        "ops",
        spec,
        first - 1,
        last,
        last - first + 1,
        millis(house.world.now()),
    )


async def test_a_replay_runs_behind_live_delivery_with_keys_of_its_own(
    autojump_clock, tmp_path, far
):
    async with house_in(tmp_path, far) as house:
        await house.append(*(fix(n) for n in range(30)), crash(1))
        async with house.run():
            await house.rest()
            live = {one.key for one in far.asked}
            await house.append(*(fix(n) for n in range(30, 60)))
            job = await house.store.add_job(replay(house, 1, 31))
            await house.until(lambda: not house.store.replays("ops"))

        again = far.taken[31 + 30 :]
        assert far.taken[31:61] == ids("p", range(30, 60))
        assert again == [*ids("p", range(30)), "s1"]
        assert not live & {one.key for one in far.asked if one.ids[0] == "p0"} - live
        assert [one.key for one in far.asked].count(far.asked[0].key) == 1
        done = next(one for one in house.store.jobs() if one.id == job.id)
        assert (done.state, done.done) == ("done", 31)
        assert house.counts() == {"delivered": 61}


async def test_a_replay_keeps_to_its_own_rate(autojump_clock, tmp_path, far):
    async with house_in(tmp_path, far) as house:
        await house.append(*(fix(n) for n in range(20)))
        async with house.run(batch=1):
            await house.rest()
            before = trio.current_time()
            await house.store.add_job(replay(house, 1, 20, rate=0.5))
            await house.until(lambda: not house.store.replays("ops"))

        assert trio.current_time() - before >= 38


async def test_live_events_overtake_a_long_replay(autojump_clock, tmp_path, far):
    async with house_in(tmp_path, far) as house:
        await house.append(*(fix(n) for n in range(200)))
        async with house.run(batch=1, rate=5.0, burst=2):
            await house.rest()
            await house.store.add_job(replay(house, 1, 200))
            await house.until(lambda: len(far.asked) == 220)
            await house.append(fix(999))
            at = trio.current_time()
            await house.until(lambda: "p999" in far.taken)

        assert trio.current_time() - at <= 1.0


async def test_a_replay_paused_while_its_last_batch_is_under_way_is_done_with_it(
    autojump_clock, tmp_path, far
):
    async with house_in(tmp_path, far) as house:
        await house.append(*(fix(n) for n in range(5)))
        async with house.run():
            await house.rest()
            far.delay = lambda asked: 5.0
            job = await house.store.add_job(replay(house, 1, 5))
            await house.until(lambda: len(far.asked) == 2)
            await house.store.change_job(job.id, "paused")
            await house.until(lambda: house.store.jobs()[0].cursor == 5)
            await house.until(lambda: house.health.state == "idle")

        assert [one.state for one in house.store.jobs()] == ["done"]


async def test_a_replay_resumed_while_its_request_is_under_way_sends_it_once(
    autojump_clock, tmp_path, far
):
    async with house_in(tmp_path, far) as house:
        await house.append(fix(1))
        async with house.run(parallel=2):
            await house.rest()
            far.delay = lambda asked: 5.0
            job = await house.store.add_job(replay(house, 1, 1))
            await house.until(lambda: len(far.asked) == 2)
            for state in ("paused", "running"):
                await house.store.change_job(job.id, state)
                await trio.sleep(1)
            await house.until(lambda: not house.store.replays("ops"))

        assert len(far.asked) == 2


async def test_a_replay_a_month_after_another_bears_a_key_of_its_own(
    autojump_clock, tmp_path, far
):
    async with house_in(tmp_path, far) as house:
        await house.append(fix(1))
        async with house.run():
            for _ in range(2):
                await house.store.add_job(replay(house, 1, 1))
                await house.until(lambda: not house.store.replays("ops"))
                await house.store.trim_jobs(before_ms=1 << 62)

        assert len(far.asked) == 3
        assert len({one.key for one in far.asked}) == 3


async def test_a_replay_goes_on_where_it_stood_after_a_restart(
    autojump_clock, tmp_path, far
):
    async with house_in(tmp_path, far) as house:
        await house.append(*(fix(n) for n in range(20)))
        async with house.run(batch=1):
            await house.rest()
            await house.store.add_job(replay(house, 1, 20, rate=1.0))
            await house.until(lambda: len(far.asked) == 28)
        async with house.run(batch=1):
            await house.until(lambda: not house.store.replays("ops"))

        assert far.taken[20:] == ids("p", range(20))


async def test_a_cancelled_replay_stops(autojump_clock, tmp_path, far):
    async with house_in(tmp_path, far) as house:
        await house.append(*(fix(n) for n in range(50)))
        async with house.run(batch=1):
            await house.rest()
            job = await house.store.add_job(replay(house, 1, 50, rate=1.0))
            await house.until(lambda: len(far.asked) == 55)
            await house.store.change_job(job.id, "cancelled")
            await trio.sleep(600)

        assert len(far.asked) <= 56


async def test_a_bad_record_in_a_replay_does_not_stop_it(autojump_clock, tmp_path, far):
    async with house_in(tmp_path, far) as house:
        await house.append(*(fix(n, f"v{n}") for n in range(20)))
        async with house.run():
            await house.rest()
            far.answer = lambda asked: 400 if "p4" in asked.ids else 200
            await house.store.add_job(replay(house, 1, 20))
            await house.until(lambda: not house.store.replays("ops"))

        assert sorted(far.taken[20:]) == sorted(ids("p", set(range(20)) - {4}))


async def test_a_far_side_that_resets_now_and_then_gets_everything_in_order(
    autojump_clock, tmp_path, far
):
    far.answer = lambda asked: (
        httpx.ReadError("reset") if len(far.asked) % 3 == 0 else 200
    )
    async with house_in(tmp_path, far) as house:
        await house.append(*(fix(n) for n in range(100)))
        async with house.run():
            await house.rest()

        assert far.taken == ids("p", range(100))


async def test_an_outage_is_no_busier_for_a_sink_that_sends_in_parallel(
    autojump_clock, tmp_path, far
):
    far.answer = lambda asked: 502
    async with house_in(tmp_path, far) as house:
        await house.append(*(fix(n, f"v{n}") for n in range(300)))
        async with house.run(parallel=16, batch=2):
            await trio.sleep(12 * 3600)
            asked = len([one for one in far.asked if one.at > 3600])
            far.answer = lambda asked: 200
            await house.rest(within=1200)

        assert asked <= 11 * 3600 / 60
        assert sorted(far.taken) == sorted(ids("p", range(300)))


async def test_the_reserve_is_not_eaten_by_the_rest_while_an_alarm_waits(
    autojump_clock, tmp_path, far
):
    far.answer = lambda asked: 500 if asked.ids == ["s1"] else 200
    async with house_in(tmp_path, far) as house:
        await house.append(*(fix(n) for n in range(300)), crash(1, "v1"))
        async with house.run(batch=1, rate=0.05, burst=2):
            await trio.sleep(607)
            sick = [one.at for one in far.asked if one.ids == ["s1"]]
            await house.until(lambda: trio.current_time() - sick[-1] > 45)
            await house.append(crash(2, "v2"))
            at = trio.current_time()
            await house.until(lambda: "s2" in far.taken)

        assert trio.current_time() - at < 1.0
        assert house.waiting() > 50


async def test_a_flood_of_alarms_delays_the_rest_and_never_stops_it(
    autojump_clock, tmp_path, far
):
    async with house_in(tmp_path, far) as house:
        await house.append(*(fix(n) for n in range(20)))
        await house.append(*(crash(n) for n in range(400)))
        async with house.run(batch=1, rate=1.0, burst=2):
            await house.until(lambda: len(far.taken) >= 100)

        assert 5 <= sum(one.startswith("p") for one in far.taken) <= 15


async def test_a_held_sink_tries_at_once_when_an_operator_resumes_it(
    autojump_clock, tmp_path, far
):
    far.answer = lambda _asked: 401
    async with house_in(tmp_path, far) as house:
        await house.append(fix(1))
        async with house.run():
            await house.until(lambda: bool(far.asked))
            await trio.sleep(10)
            far.answer = lambda _asked: 200
            at = trio.current_time()
            house.store.nudge("ops")
            await house.until(lambda: bool(far.taken))

        assert trio.current_time() - at < 2


async def test_sinks_of_one_account_keep_to_its_rate_together(
    autojump_clock, tmp_path, far
):
    """Each alone would be allowed all of it; an alarm of one goes before all of both."""
    budget = quota(1.0, 2)
    async with house_in(tmp_path, far) as house:
        await house.store.register_sinks(
            {"ops": SinkPlace(Taking()), "more": SinkPlace(Taking())}
        )
        await house.append(*(fix(n) for n in range(100)))
        plan = {"batch": 1, "rate": 1.0, "burst": 2, "account": budget}
        async with house.run(**plan), house.run(name="more", far=far, **plan):
            await trio.sleep(100)
            await house.append(crash(1))
            await trio.sleep(20)
            await house.rest()
            await house.until(lambda: len(far.taken) == 202)

        times = [one.at for one in far.asked]
        alarms = [n for n, one in enumerate(far.asked) if one.ids == ["s1"]]
        assert not breach(times, 1.0, 2)
        assert 200 / (times[-1] - times[0]) >= 0.95
        assert alarms[0] <= sum(at <= 100 for at in times)


async def test_an_alarm_for_many_sinks_of_one_account_is_no_burst(
    autojump_clock, tmp_path, far
):
    names = ids("sink", range(6))
    places = {name: SinkPlace(Taking()) for name in names}
    async with house_in(tmp_path, far) as house:
        await house.store.register_sinks(places)
        await house.append(crash(1), crash(2))
    async with house_in(tmp_path, far) as house, AsyncExitStack() as sinks:
        await house.store.register_sinks(places)
        plan = {"batch": 1, "rate": 1.0, "burst": 3, "account": quota(1.0, 3)}
        for name in names:
            await sinks.enter_async_context(house.run(name=name, far=far, **plan))
        await house.until(lambda: len(far.taken) == 12)

    assert not breach([one.at for one in far.asked], 1.0, 3 + RESERVE)


def test_an_account_is_found_by_what_a_sink_says_of_its_config():
    shared = Sink(config=Config, open=open_http, account=lambda config: config["who"])
    accounts = Accounts()

    async def ask() -> list[Quota | None]:
        return [
            accounts.of("sheets", shared, {"who": "a"}),
            accounts.of("sheets", shared, {"who": "a"}),
            accounts.of("sheets", shared, {"who": "b"}),
            accounts.of("other", shared, {"who": "a"}),
            accounts.of("http", SINK, {}),
        ]

    first, again, second, other, none = trio.run(ask)

    assert first is again
    assert len({id(one) for one in (first, second, other)}) == 3
    assert none is None


def test_the_burst_goes_with_the_rate_that_an_operator_sets():
    """A halt of so many milliseconds is made up for at any rate."""
    bursts = {
        rate: plan_of(SINK, SinkTable("http", rate=rate, settings=None)).burst
        for rate in (None, 1.0, 25.0, 50.0, 200.0, 9000.0)
    }

    assert bursts == {None: 10, 1.0: 1, 25.0: 5, 50.0: 10, 200.0: 40, 9000.0: 200}


class SlowDisk:
    """A store whose cursors take a while to get to the disk; `most` counts what waited."""

    def __init__(self, store, seconds: float) -> None:
        self._store, self._seconds = store, seconds
        self.saved = 0

    def __getattr__(self, name):
        return getattr(self._store, name)

    async def advance(self, read, **words):
        await trio.sleep(self._seconds)
        moved = await self._store.advance(read, **words)
        self.saved += len(words["delivered"])
        return moved


async def test_a_disk_slower_than_the_far_side_costs_nothing_of_the_rate(
    autojump_clock, tmp_path, far
):
    far.delay = lambda asked: 0.006
    ahead = []
    async with house_in(tmp_path, far) as house:
        disk = SlowDisk(house.store, 0.012)
        far.answer = lambda asked: ahead.append(len(far.taken) + 1 - disk.saved) or 200
        await house.append(*(fix(n) for n in range(600)))
        before = trio.current_time()
        async with house.run(batch=1, rate=100.0, burst=10, store=disk):
            await house.rest()

        assert 600 / (far.asked[-1].at - before) >= 0.98 * 100
        assert far.taken == ids("p", range(600))
        assert far.most_at_once == 1
        assert 2 <= max(ahead) <= 4  # what a crash may repeat
        assert house.counts() == {"delivered": 600}
        assert len(house.rows("SELECT 1 FROM attempts")) == 600


async def test_a_stop_waits_for_every_cursor_on_its_way(autojump_clock, tmp_path, far):
    async with house_in(tmp_path, far) as house:
        disk = SlowDisk(house.store, 5.0)
        await house.append(*(fix(n) for n in range(20)))
        async with house.run(batch=1, store=disk):
            await house.until(lambda: len(far.taken) == 4)
        sent = len(far.taken)

        assert 4 <= sent < 20
        assert house.store.cursor("ops", 0) == sent


async def test_a_slow_disk_repeats_nothing_and_keeps_the_order_of_parallel_requests(
    autojump_clock, tmp_path, far
):
    """Other reasons to look at the log come while a cursor is on its way."""
    far.delay = lambda asked: 0.003 * (1 + len(far.asked) % 7)
    async with house_in(tmp_path, far) as house:
        disk = SlowDisk(house.store, 0.011)
        await house.append(*(fix(n, f"v{n % 9}") for n in range(300)))
        async with house.run(batch=2, parallel=4, rate=1000.0, burst=10, store=disk):
            for n in range(300, 360):
                await house.append(fix(n, f"v{n % 9}"))
                await trio.sleep(0.007)
            await house.rest()

        assert len(far.taken) == 360
        for one in range(9):
            mine = [id_ for id_ in far.taken if int(id_[1:]) % 9 == one]
            assert mine == ids("p", range(one, 360, 9))
