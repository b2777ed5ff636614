"""Delivery under load: a backlog under a limit, sick neighbours, a week offline, memory."""

from __future__ import annotations

import json
import math
from bisect import bisect_left
from datetime import timedelta
from itertools import pairwise

import httpx
import pytest
import trio

from fleetd.event import Alert, millis, pack
from fleetd.lines import Lines
from fleetd.store import SinkPlace
from fleetd.store.jobs import AddJob
from fleetd.taking import Taking
from fleetd.tasks.deliver.digest import APART
from fleetd.tasks.deliver.plan import WINDOW_BYTES
from tests.far_side import MORNING, FarSide, crash, fix, house_in, ids
from tests.test_deliver import bell

DAY = 86_400.0
BACKLOG = 2000
LONG = 600


@pytest.fixture
def far() -> FarSide:
    return FarSide()


def times(far: FarSide) -> list[float]:
    return [one.at for one in far.asked]


def fullest(times: list[float], span: float) -> int:
    """The most that came within so many seconds."""
    return max(n + 1 - bisect_left(times, at - span) for n, at in enumerate(times))


def p99(waits: list[float]) -> float:
    return sorted(waits)[math.ceil(len(waits) * 0.99) - 1]


async def feed(house, sent: dict[str, float], every: float) -> None:
    """Live positions of vehicles of their own, an alarm among forty."""
    for number in range(100_000, 1_000_000):
        event = crash(number, "v-live") if number % 40 == 39 else fix(number, "v-live")
        await house.append(event)
        sent[event.id] = trio.current_time()
        await trio.sleep(every)


def whole_log(house, **spec: object) -> AddJob:
    upto = house.store.newest
    return AddJob("replay", "ops", spec, 0, upto, upto, millis(house.world.now()))


# a backlog under a limit


@pytest.mark.parametrize("rate", [50.0, 200.0])
async def test_a_backlog_drains_at_98_percent_of_the_limit_with_live_events_beside(
    autojump_clock, tmp_path, far, rate
):
    """No second and no minute holds more, and an alarm is the very next to go."""
    far.delay = lambda asked: 0.003
    sent: dict[str, float] = {}
    async with house_in(tmp_path, far) as house:
        await house.append(*(fix(n, f"v{n % 50}") for n in range(BACKLOG)))
        begin = trio.current_time()
        async with (
            house.run(batch=1, rate=rate, burst=10),
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(feed, house, sent, 10 / rate)
            await house.until(lambda: f"p{BACKLOG - 1}" in far.taken[-200:])
            nursery.cancel_scope.cancel()

    spent = far.asked[-1].at - begin
    went = {one.ids[0]: one.at for one in far.asked}
    alarms = {id_: at for id_, at in sent.items() if id_[0] == "s" and id_ in went}
    assert len(far.asked) / spent >= 0.98 * rate
    assert fullest(times(far), 1.0) <= rate
    assert fullest(times(far), 60.0) <= rate * 60
    backlog = set(ids("p", range(BACKLOG)))
    assert [one for one in far.taken if one in backlog] == ids("p", range(BACKLOG))
    assert len(alarms) >= 5
    assert all(
        not any(at + 0.003 < other < went[id_] for other in went.values())
        for id_, at in alarms.items()
    )


@pytest.mark.parametrize("rate", [50.0, 200.0])
async def test_a_replay_takes_what_live_events_leave_and_they_do_not_wait_for_it(
    autojump_clock, tmp_path, far, rate
):
    far.delay = lambda asked: 0.003
    sent: dict[str, float] = {}
    async with house_in(tmp_path, far) as house:
        await house.append(*(fix(n, f"v{n % 50}") for n in range(BACKLOG)))
        await house.store.skip("ops", house.store.newest, "asked")
        await house.store.add_job(whole_log(house))
        begin = trio.current_time()
        async with (
            house.run(batch=1, rate=rate, burst=10),
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(feed, house, sent, 10 / rate)
            await house.until(lambda: not house.store.replays("ops"))
            nursery.cancel_scope.cancel()

    went = {one.ids[0]: one.at for one in far.asked}
    waits = [went[id_] - at for id_, at in sent.items() if id_ in went]
    ended = went[f"p{BACKLOG - 1}"]
    assert sum(at <= ended for at in times(far)) / (ended - begin) >= 0.98 * rate
    assert fullest(times(far), 1.0) <= rate
    assert len(waits) > 150
    assert p99(waits) <= 2.0
    assert max(waits) <= 0.1


async def test_after_a_429_the_rate_comes_back_by_a_tenth_a_minute(
    autojump_clock, tmp_path, far
):
    far.script = [200] * 300 + [429]
    async with house_in(tmp_path, far) as house:
        await house.append(*(fix(n) for n in range(3900)))
        async with house.run(batch=1, rate=10.0, burst=1):
            await house.rest()

    cut = far.asked[300].at
    minutes = [
        sum(cut + 60 * n < at <= cut + 60 * (n + 1) for at in times(far))
        for n in range(7)
    ]
    assert minutes[0] <= 300
    assert all(later > before for before, later in pairwise(minutes[:6]))
    assert minutes[6] >= 0.97 * 600


async def test_a_far_side_with_a_lower_limit_of_its_own_is_soon_rarely_offended(
    autojump_clock, tmp_path, far
):
    """It allows 30 a second where we were told 50."""
    seen: list[float] = []

    def allow(asked) -> int:
        if sum(at > asked.at - 1 for at in seen[-60:]) >= 30:
            return 429
        seen.append(asked.at)
        return 200

    far.answer = allow
    async with house_in(tmp_path, far) as house:
        await house.append(*(fix(n) for n in range(6000)))
        async with house.run(batch=1, rate=50.0, burst=10):
            await house.rest()

    spent = far.asked[-1].at
    assert 6000 / spent >= 0.6 * 30
    assert len(far.asked) - 6000 <= spent / 60 + 1
    assert far.taken == ids("p", range(6000))


# sick neighbours


async def test_a_well_sink_keeps_its_latency_beside_three_that_are_sick(
    autojump_clock, tmp_path, far
):
    """One slow, one that answers 500, one that never answers."""
    slow, broken, hole = FarSide(), FarSide(), FarSide()
    slow.delay = lambda asked: 10.0
    broken.answer = lambda asked: 500
    hole.delay = lambda asked: math.inf
    sick = {"slow": slow, "broken": broken, "hole": hole}
    sent: dict[str, float] = {}
    async with house_in(tmp_path, far) as house:
        places = {name: SinkPlace(Taking()) for name in ("ops", *sick)}
        await house.store.register_sinks(places)
        async with trio.open_nursery() as nursery:
            for name, one in sick.items():
                nursery.start_soon(stay, house.run(name=name, far=one, batch=5))
            nursery.start_soon(stay, house.run(batch=5))
            nursery.start_soon(feed, house, sent, 0.5)
            await trio.sleep(LONG)
            nursery.cancel_scope.cancel()

    went = {id_: one.at for one in far.asked for id_ in one.ids}
    waits = [went[id_] - at for id_, at in sent.items() if at < LONG - 10]
    assert len(waits) > 2 * LONG - 100
    assert max(waits) <= 0.05
    assert not broken.taken
    assert len(broken.asked) < LONG / 15
    assert len(hole.asked) < LONG / 15
    assert len(slow.taken) > 5 * LONG / 20


async def stay(running) -> None:
    async with running:
        await trio.sleep_forever()


# a week offline


def down_for_a_week(asked) -> object:
    """Refused, reset, silent or ill, hour by hour; then well."""
    ills = [httpx.ConnectError("refused"), 503, httpx.ReadError("reset"), 500, 429]
    return 200 if asked.at > 7 * DAY else ills[int(asked.at // 3600) % len(ills)]


async def test_a_week_offline_loses_nothing_and_ends_oldest_first(
    autojump_clock, tmp_path, far
):
    far.answer = down_for_a_week
    async with house_in(tmp_path, far) as house:
        async with house.run(batch=20):
            for hour in range(7 * 24):
                made = range(hour * 10, hour * 10 + 10)
                await house.append(*(fix(n, f"v{n % 7}") for n in made))
                await trio.sleep(3600)
            tries = len(far.asked)
            await house.rest(within=600)

        assert far.taken == ids("p", range(1680))
        assert house.counts() == {"delivered": 1680}
        assert house.dead() == []
        assert tries < 7 * DAY / 45


async def test_a_week_offline_is_one_digest_to_those_who_would_be_rung(
    autojump_clock, tmp_path, far
):
    """What is fresh at its end still rings by itself, and alarms for a day."""
    rung: list[str] = []
    asked: list[float] = []

    def is_down() -> bool:
        asked.append(trio.current_time())
        return trio.current_time() < 7 * DAY

    async with house_in(tmp_path, far) as house:
        async with house.run(bell(rung, is_down), notifies=True, batch=1):
            for hour in range(7 * 24):
                at = MORNING + timedelta(hours=hour)
                await house.append(*(fix(hour * 10 + n, at=at) for n in range(10)))
                await house.append(crash(hour, at=at))
                await trio.sleep(3600)
            tries = len(asked)
            await house.rest(within=600)
            await trio.sleep(7200)

        digests = [one for one in rung if "while offline" in one]
        alarms = [one for one in rung if one[0] == "s"]
        assert len(digests) == 1
        assert digests[0].startswith("1 8")
        assert (
            "from 21\u201327 Nov" in digests[0] or "from 21\u201328 Nov" in digests[0]
        )
        assert alarms == ids("s", range(168 - len(alarms), 168))
        assert 23 <= len(alarms) <= 24
        assert len(rung) <= 1 + 24 + 10
        assert tries < 2 * 7 * DAY / 100
        counts = house.counts()
        assert counts["skipped"] + counts["delivered"] == 11 * 168
        assert counts["delivered"] == len(rung) - 1
        told = int(digests[0].split(" events")[0].replace(" ", ""))
        assert told == counts["skipped"]


# digests


async def test_old_data_that_trickles_in_makes_few_digests_that_hold_all_of_it(
    autojump_clock, tmp_path, far
):
    rung: list[str] = []
    async with house_in(tmp_path, far) as house:
        async with house.run(bell(rung), notifies=True, batch=1):
            for n in range(240):  # as a backfill brings it, page by page
                await house.append(fix(n, at=MORNING - timedelta(days=3)))
                await trio.sleep(30)
            await trio.sleep(2 * APART)

        told = [int(one.split(" event")[0]) for one in rung]
        assert sum(told) == 240 == house.counts()["skipped"]
        assert len(told) <= 240 * 30 / APART + 2


async def test_what_a_digest_will_tell_is_kept_in_the_very_step_that_skips_it(
    autojump_clock, tmp_path, far
):
    """Seen after each commit, as a power cut would leave it."""
    seen: list[tuple[int, int]] = []
    far.answer = lambda asked: 503
    async with house_in(tmp_path, far) as house:

        def look(_landed: object) -> None:
            kept = house.rows("SELECT value FROM kept WHERE name = 'sink:ops'")
            digest = json.loads(kept[0][0]).get("digest") if kept else None
            skipped = house.counts().get("skipped", 0)
            seen.append((skipped, digest["count"] if digest else 0))

        house.store.listeners.add(look)
        old = MORNING - timedelta(days=2)
        async with house.run(notifies=True, batch=3):
            for n in range(40):
                await house.append(fix(n, at=old))
                await trio.sleep(60)

        assert len({skipped for skipped, _ in seen}) == 41
        assert all(skipped == told for skipped, told in seen)


async def test_what_stands_behind_a_record_that_waits_is_in_one_digest_only(
    autojump_clock, tmp_path, far
):
    """A restart sifts it again: it had not been passed."""
    rung: list[str] = []
    old = MORNING - timedelta(days=2)
    async with house_in(tmp_path, far) as house:
        await house.append(fix(0, "a"), *(fix(n, "b", at=old) for n in range(1, 6)))
        async with house.run(bell(rung, lambda: True), notifies=True, batch=1):
            await trio.sleep(30)

        assert house.counts() == {}
        async with house.run(bell(rung), notifies=True, batch=1):
            await house.rest()
            await trio.sleep(APART)

        assert rung == ["p0", "5 events from 19 Nov while offline: 5 position"]


# memory


class Weighed:
    """A store that notes how much was read and not yet passed."""

    def __init__(self, store) -> None:
        self._store = store
        self.held = self.most = 0

    def __getattr__(self, name):
        return getattr(self._store, name)

    async def next_batch(self, *args, **words):
        read = await self._store.next_batch(*args, **words)
        self.held += sum(len(pack(one.event)) for one in read.entries)
        self.most = max(self.most, self.held)
        return read

    async def advance(self, read, **words):
        self.held -= sum(len(pack(one.event)) for one in words["delivered"])
        return await self._store.advance(read, **words)


@pytest.mark.parametrize("parallel", [1, 4])
async def test_huge_records_fill_no_memory_however_many_wait(
    autojump_clock, tmp_path, far, parallel
):
    text = "x" * 300_000
    async with house_in(tmp_path, far) as house:
        for n in range(60):
            await house.append(
                Alert(id=f"a{n}", at=MORNING, vehicle=f"v{n % 5}", type="t", text=text)
            )
        weighed = Weighed(house.store)
        async with house.run(batch=500, parallel=parallel, store=weighed):
            await house.rest()

        assert sorted(far.taken) == sorted(ids("a", range(60)))
        assert weighed.most <= WINDOW_BYTES + WINDOW_BYTES // 2 + 2 * 300_000


async def test_a_window_does_not_grow_with_the_backlog(autojump_clock, tmp_path, far):
    far.answer = lambda asked: 503
    async with house_in(tmp_path, far) as house:
        for n in range(20):
            await house.append(*(fix(n * 500 + m) for m in range(500)))
        weighed = Weighed(house.store)
        async with house.run(batch=100, store=weighed):
            await trio.sleep(DAY)

        assert weighed.held <= 2 * 100 * len(pack(fix(10_000)))


def test_lines_are_kept_by_what_they_weigh():
    from fleetd.event import Entry

    lines = Lines(kept=1000, most=100_000)
    for seq in range(1, 200):
        alert = Alert(id="a", at=MORNING, vehicle="v", type="t", text="x" * 10_000)
        lines.line(Entry(seq, "north", "motive", alert, 0, 0, "push", 0))

        kept = [*lines._new.values(), *lines._old.values()]
        assert sum(map(len, kept)) <= 100_000 + 20_000
