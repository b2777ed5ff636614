"""Delivery to one sink: order, exact repeats, verdicts, proof before anything is buried."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import asynccontextmanager
from datetime import timedelta

import httpx
import pytest
import trio
from msgspec.structs import replace

from fleetd.errors import FullError, HeldError, TransientError
from fleetd.event import Safety
from fleetd.sinks.contract import Receipt, Sink
from fleetd.sinks.http import Config
from fleetd.store import SinkPlace
from fleetd.store.jobs import AddJob
from fleetd.taking import Taking
from tests.far_side import MORNING, FarSide, crash, fix, house_in, ids


@pytest.fixture
def far() -> FarSide:
    return FarSide()


async def test_everything_arrives_in_order_and_is_counted(
    autojump_clock, tmp_path, far
):
    async with house_in(tmp_path, far) as house:
        await house.append(*(fix(n) for n in range(25)))
        async with house.run():
            await house.rest()

        assert far.taken == ids("p", range(25))
        assert [len(one.ids) for one in far.asked] == [10, 10, 5]
        assert house.counts() == {"delivered": 25}
        assert house.health.state == "idle"


async def test_a_sink_told_to_wait_gets_the_same_batch_later(
    autojump_clock, tmp_path, far
):
    far.script = [503, httpx.Response(429, headers={"retry-after": "90"})]
    async with house_in(tmp_path, far) as house:
        await house.append(fix(1), fix(2))
        async with house.run():
            await house.until(lambda: len(far.asked) == 2)
            await house.append(fix(3))
            await house.rest()

        first, second, third, fourth = far.asked
        assert first.body == second.body == third.body
        assert first.key == second.key == third.key != fourth.key
        assert third.at - second.at >= 90
        assert far.taken == ["p1", "p2", "p3"]


async def test_two_copies_of_one_millisecond_have_a_key_each(
    autojump_clock, tmp_path, far
):
    async with house_in(tmp_path, far) as house:
        await house.append(crash(1))
        await house.append(replace(crash(1), text="airbag"))
        async with house.run(batch=1):
            await house.rest()

        assert len(set(house.rows("SELECT revision FROM events"))) == 1
        assert far.asked[0].key != far.asked[1].key


async def test_a_safety_event_goes_at_the_next_free_token(
    autojump_clock, tmp_path, far
):
    async with house_in(tmp_path, far) as house:
        await house.append(*(fix(n) for n in range(40)))
        async with house.run(batch=1, rate=1.0, burst=1):
            await house.until(lambda: len(far.asked) == 5)
            await house.append(crash(1))
            at = trio.current_time()
            await house.rest()

        alarm = next(one for one in far.asked if one.ids == ["s1"])
        assert far.asked.index(alarm) in (5, 6)
        assert alarm.at - at <= 2.0


async def test_the_reserved_share_lets_an_alarm_go_while_the_rest_waits_for_tokens(
    autojump_clock, tmp_path, far
):
    async with house_in(tmp_path, far) as house:
        await house.append(*(fix(n) for n in range(40)))
        async with house.run(batch=1, rate=0.01, burst=2):
            await house.until(lambda: len(far.asked) == 3)
            await house.append(crash(1))
            at = trio.current_time()
            await house.until(lambda: "s1" in far.taken)

        assert trio.current_time() - at < 1.0


async def test_an_alarm_does_not_wait_behind_a_batch_that_waits(
    autojump_clock, tmp_path, far
):
    far.answer = lambda asked: 500 if "p1" in asked.ids else 200
    async with house_in(tmp_path, far) as house:
        await house.append(fix(1))
        async with house.run():
            await trio.sleep(3 * 3600)
            await house.append(crash(1))
            at = trio.current_time()
            await house.until(lambda: "s1" in far.taken)

        assert trio.current_time() - at < 1.0


async def test_a_wait_that_the_far_side_asked_for_holds_for_alarms_too(
    autojump_clock, tmp_path, far
):
    far.script = [httpx.Response(429, headers={"retry-after": "600"})]
    async with house_in(tmp_path, far) as house:
        await house.append(fix(1))
        async with house.run():
            await house.until(lambda: len(far.asked) == 1)
            await house.append(crash(1))
            await house.rest()

        assert far.asked[1].at - far.asked[0].at >= 600
        assert far.taken == ["s1", "p1"]


async def test_a_wait_asked_for_is_kept_over_a_restart(autojump_clock, tmp_path, far):
    far.script = [httpx.Response(503, headers={"retry-after": "1800"})]
    async with house_in(tmp_path, far) as house:
        await house.append(fix(1), fix(2))
        async with house.run():
            await house.until(lambda: len(far.asked) == 1)
            await trio.sleep(60)
        await house.append(fix(3))
        async with house.run():
            await house.rest()

        first, again, *_ = far.asked
        assert again.at - first.at >= 1799.99
        assert (first.body, first.key) == (again.body, again.key)
        assert far.taken == ["p1", "p2", "p3"]


async def test_a_held_sink_stays_held_over_a_restart_and_tries_at_once(
    autojump_clock, tmp_path, far
):
    far.answer = lambda asked: 401
    async with house_in(tmp_path, far) as house:
        await house.append(fix(1))
        async with house.run():
            await house.until(lambda: house.health.state == "held")
        house.health.say("starting")
        far.answer = lambda asked: 200
        before = trio.current_time()
        async with house.run():
            await house.rest()

        assert trio.current_time() - before < 5
        assert house.health.state == "idle"
        assert house.store.recall("sink:ops") == {}


async def test_a_restart_begins_with_an_empty_bucket(autojump_clock, tmp_path, far):
    async with house_in(tmp_path, far) as house:
        await house.append(*(fix(n) for n in range(30)))
        for _ in range(10):
            async with house.run(batch=1, rate=0.5, burst=10):
                await trio.sleep(1.0)

        assert far.asked == []


async def test_a_stop_waits_for_the_write_and_the_cursor(autojump_clock, tmp_path, far):
    far.delay = lambda asked: 10.0
    async with house_in(tmp_path, far) as house:
        await house.append(fix(1))
        async with house.run():
            await house.until(lambda: len(far.asked) == 1)

        assert far.taken == ["p1"]
        assert house.waiting() == 0
        assert house.store.cursor("ops", 0) == 1


async def test_a_far_side_that_never_answers_delays_a_stop_by_its_patience_only(
    autojump_clock, tmp_path, far
):
    far.delay = lambda asked: 1e9
    async with house_in(tmp_path, far) as house:
        await house.append(fix(1))
        async with house.run():
            await house.until(lambda: len(far.asked) == 1)
            before = trio.current_time()

        assert trio.current_time() - before <= 30
        assert house.waiting() == 1


async def test_a_paused_sink_sends_nothing_until_it_is_resumed(
    autojump_clock, tmp_path, far
):
    async with house_in(tmp_path, far) as house:
        await house.store.pause("ops", paused=True)
        await house.append(fix(1))
        async with house.run():
            await trio.sleep(3600)

            assert far.asked == []
            assert house.health.state == "paused"
            await house.store.pause("ops", paused=False)
            await house.rest(within=5)

        assert far.taken == ["p1"]


async def test_a_skip_by_the_operator_drops_what_was_read(
    autojump_clock, tmp_path, far
):
    far.answer = lambda asked: 503
    async with house_in(tmp_path, far) as house:
        await house.append(*(fix(n) for n in range(10)))
        async with house.run():
            await house.until(lambda: len(far.asked) == 2)
            await house.store.skip("ops", house.store.newest, "skipped")
            await house.append(fix(99))
            far.answer = lambda asked: 200
            await house.rest()

        assert far.taken == ["p99"]
        assert house.counts() == {"skipped": 10, "delivered": 1}


async def test_what_a_sink_does_not_take_is_passed_over_and_counted(
    autojump_clock, tmp_path, far
):
    taking = Taking(kinds=frozenset({"safety"}))
    async with house_in(tmp_path, far, taking) as house:
        await house.append(*(fix(n) for n in range(20)), crash(1))
        async with house.run():
            await house.rest()

        assert far.taken == ["s1"]
        assert house.counts()["delivered"] == 1


async def test_a_sink_at_rest_stands_behind_all_that_came_meanwhile_and_is_not_for_it(
    autojump_clock, tmp_path, far
):
    far.delay = lambda asked: 5.0
    taking = Taking(kinds=frozenset({"safety"}))
    async with house_in(tmp_path, far, taking) as house:
        async with house.run():
            await house.append(crash(1))
            await house.until(lambda: len(far.asked) == 1)
            await house.append(*(fix(n) for n in range(5)))
            await house.append(*(fix(n) for n in range(5, 20)))
            await house.until(
                lambda: house.counts() == {"delivered": 1, "not_taken": 20}
            )

        cursors = [house.store.cursor("ops", lane) for lane in (0, 1)]
        assert cursors == [house.store.newest] * 2


async def test_a_batch_lingers_for_more_but_no_longer_than_told(
    autojump_clock, tmp_path, far
):
    async with house_in(tmp_path, far) as house:
        async with house.run(linger=5.0, batch=4):
            await trio.sleep(10)
            await house.append(fix(1))
            at = trio.current_time()
            await trio.sleep(3)
            await house.append(fix(2))
            await house.rest()
            lingered = far.asked[0].at - at
            await house.append(*(fix(n) for n in range(3, 7)))
            at = trio.current_time()
            await house.rest()

        assert [one.ids for one in far.asked] == [["p1", "p2"], ids("p", range(3, 7))]
        assert 4.9 <= lingered <= 5.1
        assert far.asked[1].at - at < 0.1


async def test_an_alarm_never_lingers(autojump_clock, tmp_path, far):
    async with house_in(tmp_path, far) as house:
        async with house.run(linger=600.0):
            await trio.sleep(10)
            await house.append(crash(1))
            at = trio.current_time()
            await house.rest()

        assert far.asked[0].at - at < 1.0


async def test_a_batch_is_bounded_in_bytes(autojump_clock, tmp_path, far):
    async with house_in(tmp_path, far) as house:
        await house.append(*(fix(n) for n in range(50)))
        async with house.run(batch=50, batch_bytes=2000):
            await house.rest()

        assert far.taken == ids("p", range(50))
        assert all(len(one.body) <= 2000 for one in far.asked)
        assert len(far.asked) < 40


async def test_a_sick_sink_never_holds_up_another(autojump_clock, tmp_path, far):
    sick, well = FarSide(), far
    sick.answer = lambda asked: 500
    async with house_in(tmp_path, far) as house:
        await house.store.register_sinks(
            {"ops": SinkPlace(Taking()), "sick": SinkPlace(Taking())}
        )
        await house.append(*(fix(n) for n in range(20)))
        async with house.run(), house.run(name="sick", far=sick):
            await house.rest(within=5)

        assert well.taken == ids("p", range(20))
        assert sick.taken == []


async def test_a_full_disk_stops_delivery_rather_than_repeating_it(
    autojump_clock, tmp_path, far
):
    async with house_in(tmp_path, far) as house:
        store = FullStore(house.store)
        await house.append(*(fix(n) for n in range(5)))
        async with house.run(store=store):
            await trio.sleep(3600)

            assert len(far.asked) == 1
            assert "disk" in house.health.why
            store.full = False
            await house.rest()

        assert far.taken == ids("p", range(5))
        assert len(far.asked) == 1


class FullStore:
    """A store whose cursors cannot move while it is full."""

    def __init__(self, store):
        self._store, self.full = store, True

    def __getattr__(self, name):
        return getattr(self._store, name)

    async def advance(self, *args, **kwargs):
        if self.full:
            raise FullError("the disk is full")
        return await self._store.advance(*args, **kwargs)


async def test_what_no_verdict_covers_is_the_supervisors_affair(
    autojump_clock, tmp_path, far
):
    far.answer = lambda asked: ZeroDivisionError("a bug")
    async with house_in(tmp_path, far) as house:
        await house.append(fix(1))
        with pytest.raises(BaseExceptionGroup) as caught:
            async with house.run():
                await trio.sleep(60)

        assert caught.group_contains(ZeroDivisionError)
        assert house.waiting() == 1


# what is too old to ring for


def bell(rung: list[str], down: Callable[[], bool] = lambda: False) -> Sink:
    """A sink that notifies: it keeps what it would have posted."""

    @asynccontextmanager
    async def opened(config, world, place):
        async def write(batch):
            if down():
                raise TransientError("nobody there", counts=False)
            rung.extend(
                [batch.digest] if batch.digest else [e.event.id for e in batch.entries]
            )
            return Receipt(200)

        yield write

    return Sink(config=Config, open=opened, batch=1, notifies=True, batch_bytes=0)


async def test_what_is_too_old_is_told_once_and_counted_as_skipped(
    autojump_clock, tmp_path, far
):
    rung: list[str] = []
    days = [MORNING - timedelta(days=n) for n in (9, 4, 3)]
    async with house_in(tmp_path, far) as house:
        await house.append(*(fix(n, at=days[n % 3]) for n in range(200)))
        await house.append(
            crash(1, at=days[0]), crash(2, at=MORNING - timedelta(hours=20))
        )
        await house.append(fix(900, at=MORNING - timedelta(minutes=50)))
        async with house.run(bell(rung), notifies=True, batch=1):
            await house.rest()
            await house.until(lambda: len(rung) == 3)

        told = "201 events from 12\u201318 Nov while offline: 1 crash, 200 position"
        assert rung == ["s2", told, "p900"]
        assert house.counts() == {"skipped": 201, "delivered": 2}


async def test_while_our_own_clock_is_suspect_nothing_is_too_old_to_ring(
    autojump_clock, tmp_path, far
):
    """It ran ahead of every device's; once it is right, what is old is summed up again."""
    rung: list[str] = []
    async with house_in(tmp_path, far) as house:
        real, suspect = house.world.now, True
        house.world.trusted = lambda: not suspect
        house.world.now = lambda: real() + suspect * timedelta(days=400)
        await house.append(crash(1), fix(1))
        async with house.run(bell(rung), notifies=True, batch=1):
            await house.rest()
            suspect = False
            await house.append(fix(2, at=MORNING - timedelta(days=3)))
            await house.rest()
            await house.until(lambda: len(rung) == 3)

        told = "1 event from 18 Nov while offline: 1 position"
        assert rung == ["s1", "p1", told]
        assert house.counts() == {"delivered": 2, "skipped": 1}


async def test_an_alarm_of_a_device_whose_clock_is_years_behind_rings(
    autojump_clock, tmp_path, far
):
    """GPS receivers count weeks to 1024: an old one is back in 2007."""
    rung: list[str] = []
    past = MORNING - timedelta(weeks=1024)
    sos = Safety(id="s1", at=past, type="sos", flags=("clock_suspect",))
    async with house_in(tmp_path, far) as house:
        await house.append(sos)
        async with house.run(bell(rung), notifies=True, batch=1):
            await house.rest()

        assert rung == ["s1"]
        assert house.counts() == {"delivered": 1}


async def test_live_events_ring_one_by_one(autojump_clock, tmp_path, far):
    rung: list[str] = []
    async with house_in(tmp_path, far) as house:
        await house.append(fix(1), fix(2), crash(1))
        async with house.run(bell(rung), notifies=True, batch=1):
            await house.rest()

        assert rung == ["s1", "p1", "p2"]


async def test_a_digest_outlives_a_restart(autojump_clock, tmp_path, far):
    rung: list[str] = []
    far.answer = lambda asked: 503
    async with house_in(tmp_path, far) as house:
        await house.append(*(fix(n, at=MORNING - timedelta(days=2)) for n in range(20)))
        async with house.run(notifies=True):
            await house.until(lambda: house.counts().get("skipped") == 20)
        async with house.run(bell(rung), notifies=True):
            await house.until(lambda: bool(rung))

        assert rung == ["20 events from 19 Nov while offline: 20 position"]
        assert house.store.recall("sink:ops") == {}


async def test_a_sink_that_takes_a_digest_is_held_no_more(
    autojump_clock, tmp_path, far
):
    async with house_in(tmp_path, far) as house:
        await house.append(fix(1, at=MORNING - timedelta(days=2)))
        down = [HeldError("no such channel")]
        async with house.run(once(down), notifies=True):
            await house.until(lambda: house.health.state == "held")
            await house.until(lambda: not down)
            await trio.sleep(400)

        assert house.health.state == "idle"
        assert house.health.beats == 1
        assert house.store.recall("sink:ops") == {}


async def test_two_digests_that_say_the_same_are_no_repeat(
    autojump_clock, tmp_path, far
):
    keys: list[str] = []
    old = MORNING - timedelta(days=2)
    async with house_in(tmp_path, far) as house:
        async with house.run(once([], keys), notifies=True):
            for number in (1, 2):
                await house.append(crash(number, at=old))
                await trio.sleep(2000)

        assert len(set(keys)) == 2


def once(down: list[Exception], keys: list[str] | None = None) -> Sink:
    """A sink that notifies and answers so once each, then takes everything."""

    @asynccontextmanager
    async def opened(config, world, place):
        async def write(batch):
            if down:
                raise down.pop()
            if keys is not None:
                keys.append(batch.key)
            return Receipt(200)

        yield write

    return Sink(config=Config, open=opened, notifies=True)


@pytest.mark.parametrize("event", [fix, crash])
async def test_a_digest_says_whether_alarms_are_among_them_after_a_restart_too(
    autojump_clock, tmp_path, far, event
):
    seen: list[bool] = []

    @asynccontextmanager
    async def opened(config, world, place):
        async def write(batch):
            seen.append(batch.urgent)
            return Receipt(200)

        yield write

    async with house_in(tmp_path, far) as house:
        await house.append(event(1, at=MORNING - timedelta(days=2)))
        async with house.run(bell([], down=lambda: True), notifies=True):
            await house.until(lambda: house.counts() == {"skipped": 1})
        async with house.run(Sink(config=Config, open=opened), notifies=True):
            await house.until(lambda: bool(seen))

    assert seen == [event is crash]


async def test_a_digest_is_not_sent_to_what_no_longer_notifies(
    autojump_clock, tmp_path, far
):
    """The name is the same, its kind another: that would have been an empty request."""
    async with house_in(tmp_path, far) as house:
        await house.append(fix(1, at=MORNING - timedelta(days=2)))
        async with house.run(bell([], down=lambda: True), notifies=True):
            await house.until(lambda: house.counts() == {"skipped": 1})
        await house.append(fix(2))
        async with house.run():
            await house.rest()
            await trio.sleep(1000)

        assert [one.ids for one in far.asked] == [["p2"]]


async def test_a_sink_with_too_many_dead_letters_is_held_while_a_retry_still_goes(
    autojump_clock, tmp_path, far
):
    async with house_in(tmp_path, far) as house:
        await house.append(fix(1))
        async with house.run():
            await house.rest()
            house.store.crowded = {("sink", "ops")}
            await house.append(fix(2), crash(3))
            await trio.sleep(600)
            assert far.taken == ["p1"]
            assert house.health.state == "held"
            assert "fleetd dead list ops" in house.health.why
            await house.store.add_job(AddJob("replay", "ops", {}, 0, 1, 1, 0))
            await house.until(lambda: far.taken == ["p1", "p1"])
            house.store.crowded = set()
            await house.rest()

        assert sorted(far.taken) == ["p1", "p1", "p2", "s3"]
