"""A far side that lies: what each answer means, and that nothing is buried without proof."""

from __future__ import annotations

from contextlib import asynccontextmanager

import httpx
import pytest
import trio

from fleetd.errors import RejectedError
from fleetd.event import KINDS
from fleetd.sinks.contract import Receipt, Sink
from fleetd.sinks.http import SINK, Config
from fleetd.store.jobs import AddJob
from tests.far_side import FarSide, crash, fix, house_in, ids

MINUTE = 60.0
HOUR = 3600.0
DAY = 24 * HOUR


@pytest.fixture
def far() -> FarSide:
    return FarSide()


def refuses(*bad: str, status: int = 400):
    """Any request that holds one of these ids is refused whole."""
    return lambda asked: status if set(bad) & set(asked.ids) else 200


async def test_one_bad_record_is_set_aside_with_the_answer_and_the_rest_arrives(
    autojump_clock, tmp_path, far
):
    far.answer = lambda asked: (
        httpx.Response(422, content=b"no such unit") if "p7" in asked.ids else 200
    )
    async with house_in(tmp_path, far) as house:
        await house.append(*(fix(n, f"v{n}") for n in range(30)))
        async with house.run():
            await house.rest()
        took = trio.current_time()

        assert sorted(far.taken) == sorted(ids("p", set(range(30)) - {7}))
        assert [one for one, _ in house.dead()] == ["p7"]
        assert "422" in house.dead()[0][1]
        assert house.rows("SELECT answer FROM dead") == [(b"no such unit",)]
        assert house.counts() == {"delivered": 29, "dead": 1}
        assert took < MINUTE
        assert len(far.asked) < 20


@pytest.mark.parametrize("bad", [{0}, {29}, {0, 1}, {13, 14, 15}, {0, 9, 10, 29}])
async def test_only_the_guilty_are_set_aside_wherever_they_stand(
    autojump_clock, tmp_path, far, bad
):
    far.answer = refuses(*ids("p", bad))
    async with house_in(tmp_path, far) as house:
        await house.append(*(fix(n, f"v{n % 7}") for n in range(30)))
        async with house.run():
            await house.until(lambda: len(far.taken) == 30 - len(bad))
            await house.append(fix(99, "other"))  # the proof for one at the end
            await house.rest()

        assert [one for one, _ in house.dead()] == ids("p", sorted(bad))
        assert sorted(far.taken) == sorted(ids("p", {*range(30), 99} - bad))


async def test_a_mis_set_sink_that_refuses_everything_buries_nothing_and_is_held(
    autojump_clock, tmp_path, far
):
    far.answer = lambda asked: 400
    async with house_in(tmp_path, far) as house:
        await house.append(*(fix(n, f"v{n}") for n in range(200)))
        async with house.run():
            await trio.sleep(3 * DAY)

            assert house.health.state == "held"
            assert "400" in house.health.why
            assert "records in a row" in house.health.why
            assert house.waiting() == 200
            assert house.dead() == []
            tries = [one for one in far.asked if one.at > HOUR]
            assert len(tries) <= 3 * DAY / 300 + 1

            far.answer = lambda asked: 200  # the operator has corrected it
            await house.rest(within=HOUR)

        assert sorted(far.taken) == sorted(ids("p", range(200)))
        assert house.dead() == []


@pytest.mark.parametrize("batch", [1, 10, 500])
async def test_nothing_is_buried_by_a_sink_that_turns_bad_midway(
    autojump_clock, tmp_path, far, batch
):
    far.answer = lambda asked: 400 if len(far.taken) >= 40 else 200
    async with house_in(tmp_path, far) as house:
        await house.append(*(fix(n, f"v{n}") for n in range(40)))
        async with house.run(batch=batch):
            await house.rest()
            await house.append(*(fix(n, f"v{n}") for n in range(40, 140)))
            await trio.sleep(HOUR)

        assert house.dead() == []
        assert house.waiting() == 100
        assert house.health.state == "held"


@pytest.mark.parametrize("parallel", [2, 4, 8])
async def test_what_was_under_way_when_a_sink_turned_bad_proves_nothing(
    autojump_clock, tmp_path, far, parallel
):
    far.answer = lambda asked: 200 if asked.at < 10 else 400
    far.delay = lambda asked: 3.0 if asked.at < 10 else 0.05
    async with house_in(tmp_path, far) as house:
        await house.append(*(fix(n, f"v{n}") for n in range(100)))
        async with house.run(batch=1, parallel=parallel):
            await trio.sleep(HOUR)

        assert house.dead() == []
        assert house.waiting() == 100 - len(far.taken)


async def test_dead_letters_that_are_refused_again_hold_no_alarm_back(
    autojump_clock, tmp_path, far
):
    far.answer = refuses(*ids("p", range(30)))
    async with house_in(tmp_path, far) as house:
        await house.append(*(fix(n, f"v{n}") for n in range(31)))
        async with house.run():
            await house.rest()
            house.health.said.clear()
            retry = AddJob("replay", "ops", {"seqs": [*range(1, 31)]}, 0, 30, 30, 0)
            await house.store.add_job(retry)
            await trio.sleep(HOUR)
            await house.append(crash(1))
            await house.rest(within=1)
            await house.until(lambda: not house.store.replays("ops"), within=2 * HOUR)

        assert len(house.dead()) == 30
        assert "held" not in {state for state, _ in house.health.said}


async def test_more_than_twenty_bad_ones_in_a_row_do_not_hold_the_rest_for_good(
    autojump_clock, tmp_path, far
):
    bad = set(range(25))
    far.answer = refuses(*ids("p", bad))
    async with house_in(tmp_path, far) as house:
        await house.append(*(fix(n, f"v{n}") for n in range(40)))
        async with house.run():
            await house.until(lambda: house.health.state == "held")
            await house.rest(within=2 * HOUR)

        assert [one for one, _ in house.dead()] == ids("p", sorted(bad))
        assert sorted(far.taken) == sorted(ids("p", range(25, 40)))


async def test_one_vehicles_day_of_bad_ones_delays_the_others_by_minutes(
    autojump_clock, tmp_path, far
):
    """As a page of its history brings them: nobody else was in sight for days."""
    far.answer = refuses(*ids("p", range(700)))
    async with house_in(tmp_path, far) as house:
        await house.append(*(fix(n, "new") for n in range(700)))
        await house.append(*(fix(n, f"v{n}") for n in range(700, 760)))
        async with house.run(batch=100):
            await house.until(lambda: bool(far.taken), within=HOUR)


async def test_a_lone_refused_record_is_kept_until_another_proves_it(
    autojump_clock, tmp_path, far
):
    far.answer = refuses("p1")
    async with house_in(tmp_path, far) as house:
        await house.append(fix(1))
        async with house.run():
            await trio.sleep(DAY)

            assert house.dead() == []
            assert house.waiting() == 1
            assert house.health.state == "waiting"
            assert "400" in house.health.why
            assert len(far.asked) < DAY / 60
            await house.append(fix(2, "v2"))
            await house.rest(within=MINUTE)

        assert [one for one, _ in house.dead()] == ["p1"]
        assert far.taken == ["p2"]


async def test_a_record_refused_once_and_then_taken_is_delivered(
    autojump_clock, tmp_path, far
):
    far.script = [400, 400]
    async with house_in(tmp_path, far) as house:
        await house.append(fix(1))
        async with house.run():
            await house.rest()

        assert far.taken == ["p1"]
        assert house.dead() == []


async def test_a_batch_that_is_too_big_is_halved_and_nobody_is_blamed(
    autojump_clock, tmp_path, far
):
    far.answer = lambda asked: 413 if len(asked.ids) > 3 else 200
    async with house_in(tmp_path, far) as house:
        await house.append(*(fix(n) for n in range(60)))
        async with house.run():
            await house.rest()

        assert far.taken == ids("p", range(60))
        assert house.dead() == []
        refusals = [one for one in far.asked if len(one.ids) > 3]
        assert len(refusals) < len(far.asked) / 2


async def test_a_record_too_big_by_itself_is_set_aside(autojump_clock, tmp_path, far):
    far.answer = refuses("p4", status=413)
    async with house_in(tmp_path, far) as house:
        await house.append(*(fix(n, f"v{n}") for n in range(9)))
        async with house.run():
            await house.rest()

        assert [one for one, _ in house.dead()] == ["p4"]


@pytest.mark.parametrize("status", [301, 401, 403, 404, 405, 410])
async def test_being_refused_as_a_sender_holds_the_sink_and_keeps_everything(
    autojump_clock, tmp_path, far, status
):
    far.answer = lambda asked: httpx.Response(
        status, headers={"location": "https://elsewhere.example/x?token=1"}
    )
    async with house_in(tmp_path, far) as house:
        await house.append(*(fix(n) for n in range(50)))
        async with house.run():
            await trio.sleep(DAY)

            assert house.health.state == "held"
            assert str(status) in house.health.why
            assert "hub.example" in house.health.why
            assert "token" not in house.health.why
            assert DAY / 300 - 2 <= len(far.asked) <= DAY / 300 + 2
            assert house.dead() == []
            assert house.waiting() == 50

            far.answer = lambda asked: 200
            await house.rest(within=600)

        assert far.taken == ids("p", range(50))
        assert house.health.state == "idle"


@pytest.mark.parametrize("sick", [500, httpx.ReadTimeout("slow")])
async def test_a_sink_that_was_held_is_not_held_by_one_sick_record(
    autojump_clock, tmp_path, far, sick
):
    """Its credentials are right again, and the first batch is too much for it."""
    far.answer = lambda asked: 401
    async with house_in(tmp_path, far) as house:
        await house.append(*(fix(n, f"v{n}") for n in range(40)))
        async with house.run():
            await house.until(lambda: house.health.state == "held")
            far.answer = lambda asked: (
                sick if "p3" in asked.ids and len(asked.ids) > 1 else 200
            )
            await house.rest(within=2 * HOUR)

        assert house.dead() == []
        assert sorted(far.taken) == sorted(ids("p", range(40)))


async def test_500_to_one_record_for_ever_delays_the_others_by_minutes(
    autojump_clock, tmp_path, far
):
    far.answer = refuses("p3", status=500)
    async with house_in(tmp_path, far) as house:
        await house.append(*(fix(n, f"v{n}") for n in range(100)))
        async with house.run(batch=50):
            await house.rest(within=45 * MINUTE)

        assert [one for one, _ in house.dead()] == ["p3"]
        assert house.dead()[0][1].startswith("stuck")
        assert sorted(far.taken) == sorted(ids("p", set(range(100)) - {3}))
        alone = [one.at for one in far.asked if one.ids == ["p3"]]
        assert len(alone) >= 8
        assert alone[-1] - alone[0] >= 15 * MINUTE


async def test_a_record_refused_once_and_then_put_off_is_not_asked_for_without_end(
    autojump_clock, tmp_path, far
):
    """Each probe that was taken had it go again at once, and the next probe after it."""
    far.answer = sick_of("p0", once=400, then=500)
    async with house_in(tmp_path, far) as house:
        await house.append(*(fix(n, f"v{n}") for n in range(400)))
        async with house.run(batch=1):
            await trio.sleep(MINUTE)
            assert sum(one.ids == ["p0"] for one in far.asked) < 12

            await house.rest(within=45 * MINUTE)

        assert [one for one, _ in house.dead()] == ["p0"]
        assert house.dead()[0][1].startswith("stuck")


def sick_of(one: str, *, once: int, then: int):
    """It is refused, and from then on something else is the matter with it."""
    answers = iter([once])
    return lambda asked: next(answers, then) if one in asked.ids else 200


async def test_a_sink_that_names_nobody_is_held_after_twenty_in_a_row_like_any_other(
    autojump_clock, tmp_path, far
):
    async with house_in(tmp_path, far) as house:
        await house.append(*(fix(n, f"v{n}") for n in range(100)))
        async with house.run(refusing()):
            await trio.sleep(HOUR)

            assert house.health.state == "held"
            assert house.counts() == {}


def refusing() -> Sink:
    @asynccontextmanager
    async def opened(config, world, place):
        async def write(batch):
            raise RejectedError({}, status=400)

        yield write

    return Sink(config=Config, open=opened)


@pytest.mark.parametrize("vehicles", [1, 20])
@pytest.mark.parametrize("other", [500, 503])
async def test_a_second_sick_record_does_not_shield_the_first(
    autojump_clock, tmp_path, far, vehicles, other
):
    """It proves nothing, so another one is asked."""
    far.answer = lambda asked: (
        500 if "p2" in asked.ids else other if "p7" in asked.ids else 200
    )
    async with house_in(tmp_path, far) as house:
        await house.append(*(fix(n, f"v{n % vehicles}") for n in range(150)))
        async with house.run(batch=3):
            await house.until(lambda: bool(house.dead()), within=2 * HOUR)

            assert [one for one, _ in house.dead()] == ["p2"]


async def test_a_record_that_is_put_off_as_a_probe_keeps_its_place_as_well(
    autojump_clock, tmp_path, far
):
    """The next of its vehicle was asked in its place, and went before it."""
    sick = sick_of("p1", once=500, then=200)
    far.answer = lambda asked: 500 if "p0" in asked.ids else sick(asked)
    async with house_in(tmp_path, far) as house:
        vehicles = ("a", "b", "b", "c")
        await house.append(*(fix(n, one) for n, one in enumerate(vehicles)))
        async with house.run(batch=1):
            await house.until(lambda: len(far.taken) == 3)

    assert far.taken == ["p3", "p1", "p2"]


@pytest.mark.parametrize("parallel", [1, 4])
async def test_many_sick_records_among_live_traffic_do_not_stop_it_for_good(
    autojump_clock, tmp_path, far, parallel
):
    """A quarter of an hour each; what proves it of one is used up for the next."""
    sick = set(ids("p", range(0, 60, 3)))
    far.answer = refuses(*sick, status=500)
    async with house_in(tmp_path, far) as house:
        await house.append(*(fix(n, f"v{n % 9}") for n in range(100)))
        async with house.run(parallel=parallel):
            n = 100
            while house.waiting() and trio.current_time() < 10 * HOUR:
                await house.append(fix(n, f"v{n % 9}"))
                n += 1
                await trio.sleep(MINUTE)

        assert {one for one, _ in house.dead()} == sick
        assert sorted(far.taken) == sorted({*ids("p", range(n))} - sick)


async def test_a_sick_record_is_found_as_fast_when_the_other_lines_have_run_dry(
    autojump_clock, tmp_path, far
):
    """They have nothing to say that the far side is well, and it is no outage."""
    far.answer = refuses("p5", status=500)
    async with house_in(tmp_path, far) as house:
        await house.append(*(fix(n, f"v{n % 90}") for n in range(3000)))
        async with house.run(batch=100, parallel=4):
            await house.rest(within=30 * MINUTE)

        assert [one for one, _ in house.dead()] == ["p5"]


async def test_a_stuck_record_is_seen_even_when_few_others_can_prove_it(
    autojump_clock, tmp_path, far
):
    far.answer = refuses("p2", status=500)
    async with house_in(tmp_path, far) as house:
        await house.append(fix(1, "a"), fix(2, "b"), fix(3, "c"))
        async with house.run():
            await house.rest(within=HOUR)

        assert [one for one, _ in house.dead()] == ["p2"]


async def test_a_stuck_record_of_the_only_vehicle_does_not_stop_it_for_good(
    autojump_clock, tmp_path, far
):
    far.answer = refuses("p3", status=500)
    async with house_in(tmp_path, far) as house:
        await house.append(*(fix(n) for n in range(30)))
        async with house.run():
            await house.rest(within=90 * MINUTE)

        assert [one for one, _ in house.dead()] == ["p3"]


@pytest.mark.parametrize(
    "sick", [503, 429, 408, httpx.ReadTimeout("slow"), httpx.ConnectError("refused")]
)
async def test_what_says_nothing_about_a_record_never_buries_it(
    autojump_clock, tmp_path, far, sick
):
    far.answer = lambda asked: sick if "p3" in asked.ids else 200
    async with house_in(tmp_path, far) as house:
        await house.append(*(fix(n, f"v{n}") for n in range(10)))
        async with house.run(batch=1):
            await trio.sleep(2 * DAY)

        assert house.dead() == []
        assert "p3" not in far.taken


async def test_an_outage_of_days_loses_nothing_and_ends_by_itself(
    autojump_clock, tmp_path, far
):
    long = 2 * DAY
    kinds = [500, 503, httpx.ConnectError("refused"), httpx.ReadError("reset"), 502]
    far.answer = lambda asked: (
        kinds[int(asked.at // (5 * HOUR)) % len(kinds)] if asked.at < long else 200
    )
    async with house_in(tmp_path, far) as house:
        await house.append(*(fix(n, f"v{n % 20}") for n in range(100)))
        async with house.run(batch=40):
            await trio.sleep(long / 2)
            await house.append(*(fix(n, f"v{n % 20}") for n in range(100, 200)))
            await trio.sleep(long / 2)
            asked = len(far.asked)
            await house.rest(within=10 * MINUTE)

        assert sorted(far.taken) == sorted(ids("p", range(200)))
        assert house.dead() == []
        assert asked < 2 * long / 100


async def test_5_later_answers_halve_the_batch_and_success_makes_it_whole(
    autojump_clock, tmp_path, far
):
    far.answer = lambda asked: 500 if len(asked.ids) > 4 else 200
    async with house_in(tmp_path, far) as house:
        await house.append(*(fix(n) for n in range(8)))
        async with house.run(batch=8):
            await house.rest()

        assert [len(one.ids) for one in far.asked[:7]] == [8, 8, 8, 8, 8, 4, 2]
        assert far.taken == ids("p", range(8))


async def test_a_far_side_that_says_slow_down_gets_the_same_batch_however_long(
    autojump_clock, tmp_path, far
):
    far.script = [503] * 12 + [429] * 12
    async with house_in(tmp_path, far) as house:
        await house.append(*(fix(n) for n in range(8)))
        async with house.run(batch=8):
            await house.rest()

        assert {len(one.ids) for one in far.asked} == {8}
        assert len({one.key for one in far.asked}) == 1


async def test_a_reset_after_applying_repeats_the_very_same_request(
    autojump_clock, tmp_path, far
):
    far.script = [httpx.ReadError("reset")]
    async with house_in(tmp_path, far) as house:
        await house.append(*(fix(n) for n in range(5)))
        async with house.run():
            await house.rest()

        first, second = far.asked
        assert (first.key, first.body) == (second.key, second.body)


@pytest.mark.parametrize(
    "body",
    [
        b'{"ok": false, "error": "quota"}',
        b'{"success":false}',
        b'{"errors":[{"row":1}]}',
        b"<!DOCTYPE html><title>Sign in</title>",
        b" \n<HTML>welcome to the hotel",
    ],
)
async def test_a_2xx_whose_body_disagrees_is_no_delivery(
    autojump_clock, tmp_path, far, body
):
    far.script = [httpx.Response(200, content=body)]
    async with house_in(tmp_path, far) as house:
        await house.append(fix(1))
        async with house.run():
            await house.until(lambda: len(far.asked) == 1)
            await trio.sleep(0.1)

            assert house.waiting() == 1
            assert house.counts() == {}
            await house.rest()

        assert len(far.asked) == 2


@pytest.mark.parametrize(
    ("header", "least", "most"),
    [
        ("0.4", 0.4, 0.5),
        ("Sat, 21 Nov 2026 06:02:00 GMT", 118.0, 121.0),
        ("-1", 1.0, 5.0),
        ("0", 1.0, 5.0),
        ("31536000", 3600.0, 3601.0),
        ("whenever", 1.0, 5.0),
    ],
)
async def test_retry_after_is_obeyed_and_no_more_than_that(
    autojump_clock, tmp_path, far, header, least, most
):
    far.script = [httpx.Response(503, headers={"retry-after": header})]
    async with house_in(tmp_path, far) as house:
        await house.append(fix(1), crash(1))
        async with house.run():
            await house.rest()

        waited = far.asked[1].at - far.asked[0].at
        assert least <= waited <= most or far.asked[1].ids != far.asked[0].ids
        if least > 5:
            assert waited >= least


async def test_the_longest_wait_that_requests_under_way_ask_for_is_kept(
    autojump_clock, tmp_path, far
):
    def answer(asked):
        wait = "600" if "p0" in asked.ids else "1"
        return (
            200
            if asked.at > 500
            else httpx.Response(503, headers={"retry-after": wait})
        )

    far.answer = answer
    far.delay = lambda asked: 0.1 if "p0" in asked.ids else 0.3
    async with house_in(tmp_path, far) as house:
        await house.append(*(fix(n, f"v{n}") for n in range(8)))
        async with house.run(batch=1, parallel=4):
            await house.rest()

        assert not [one for one in far.asked if 1 < one.at < 600]


@pytest.mark.parametrize(
    ("answer", "state", "why"),
    [
        (httpx.Response(503, headers={"retry-after": "600"}), "waiting", "T06:10:0"),
        (httpx.Response(401), "held", "credentials"),
    ],
)
async def test_a_restart_says_why_nothing_goes_yet(
    autojump_clock, tmp_path, far, answer, state, why
):
    far.answer, far.delay = lambda asked: answer, lambda asked: 5.0
    async with house_in(tmp_path, far) as house:
        await house.append(fix(1))
        async with house.run():
            await house.until(lambda: bool(house.store.recall("sink:ops")))
        house.health.say("ok")
        async with house.run():
            await trio.sleep(1)

            assert (house.health.state, why in house.health.why) == (state, True)


async def test_an_alarm_that_is_always_put_off_leaves_every_other_turn_to_the_rest(
    autojump_clock, tmp_path, far
):
    far.answer = lambda asked: (
        httpx.Response(429, headers={"retry-after": "60"}) if "s1" in asked.ids else 200
    )
    async with house_in(tmp_path, far) as house:
        await house.append(crash(1), *(fix(n) for n in range(50)))
        async with house.run():
            await house.until(lambda: len(far.taken) == 50, within=10 * MINUTE)

        assert far.taken == ids("p", range(50))


async def test_a_slow_far_side_is_given_up_on_and_asked_again(
    autojump_clock, tmp_path, far
):
    far.delay = lambda asked: 3600.0 if len(far.asked) == 1 else 0.0
    async with house_in(tmp_path, far) as house:
        await house.append(fix(1))
        async with house.run():
            await house.rest()

        assert far.asked[1].at - far.asked[0].at < 60
        assert house.rows("SELECT verdict, count(*) FROM attempts GROUP BY 1") == [
            ("later", 1),
            ("taken", 1),
        ]


async def test_every_request_leaves_a_row_with_what_was_said(
    autojump_clock, tmp_path, far
):
    far.script = [httpx.Response(500, content=b"x" * 9000), 401, 400]
    async with house_in(tmp_path, far) as house:
        await house.append(fix(1), fix(2, "v2"))
        async with house.run():
            await house.rest()

        rows = house.rows("SELECT verdict, status, n, length(answer) FROM attempts")
        assert [row[:3] for row in rows] == [
            ("later", 500, 2),
            ("held", 401, 2),
            ("never", 400, 2),
            ("taken", 200, 1),
            ("taken", 200, 1),
        ]
        assert rows[0][3] == 2048


def naming(bad: set[str]) -> Sink:
    """A sink whose far side names the records it does not want."""
    from contextlib import asynccontextmanager

    @asynccontextmanager
    async def opened(config, world, place):
        async def write(batch):
            why = {e.seq: "no such unit" for e in batch.entries if e.event.id in bad}
            if why:
                raise RejectedError(why, proven=True, status=200)
            return Receipt(200)

        yield write

    return Sink(config=Config, open=opened, takes=KINDS[1:], batch=10)


async def test_records_that_are_named_beside_others_that_were_taken_are_set_aside_at_once(
    autojump_clock, tmp_path, far
):
    async with house_in(tmp_path, far) as house:
        await house.append(*(fix(n) for n in range(10)))
        async with house.run(naming({"p2", "p5"})):
            await house.rest(within=10)

        assert [one for one, _ in house.dead()] == ["p2", "p5"]
        assert house.counts() == {"delivered": 8, "dead": 2}


async def test_a_far_side_that_names_every_record_is_held_not_believed(
    autojump_clock, tmp_path, far
):
    everything = set(ids("p", range(60)))
    async with house_in(tmp_path, far) as house:
        await house.append(*(fix(n) for n in range(60)))
        async with house.run(naming(everything), batch=30):
            await trio.sleep(DAY)

        assert house.dead() == []
        assert house.health.state == "held"
        assert house.waiting() == 60


def test_the_sink_under_test_is_the_real_one():
    assert SINK.config is Config


async def test_an_outage_that_begins_beside_a_sick_record_buries_nothing(
    autojump_clock, tmp_path, far
):
    """Sick, while one other was taken; then everything is, for days; then nothing."""
    far.answer = lambda asked: (
        200
        if asked.at > 2 * DAY or (asked.ids == ["p1"] and asked.at < MINUTE)
        else 500
    )
    async with house_in(tmp_path, far) as house:
        await house.append(*(fix(n, f"v{n}") for n in range(30)))
        async with house.run(batch=1):
            await trio.sleep(2 * DAY)

            assert far.taken == ["p1"]
            await house.rest()

        assert house.dead() == []
        assert sorted(far.taken) == sorted(ids("p", range(30)))


async def test_a_record_that_is_sick_for_a_while_keeps_its_place_among_its_vehicles(
    autojump_clock, tmp_path, far
):
    far.answer = lambda asked: (
        500 if asked.ids == ["p0"] and asked.at < 10 * MINUTE else 200
    )
    async with house_in(tmp_path, far) as house:
        await house.append(fix(0, "a"), fix(1, "a"), fix(2, "b"), fix(3, "a"))
        async with house.run(batch=1):
            await house.rest()

        assert far.taken == ["p2", "p0", "p1", "p3"]


async def test_many_bad_records_among_good_ones_never_hold_the_sink(
    autojump_clock, tmp_path, far
):
    bad = set(range(0, 80, 2))
    far.answer = refuses(*ids("p", bad))
    async with house_in(tmp_path, far) as house:
        await house.append(*(fix(n, f"v{n}") for n in range(81)))
        async with house.run():
            await house.rest()

        assert "held" not in {state for state, _ in house.health.said}
        assert [one for one, _ in house.dead()] == ids("p", sorted(bad))


async def test_even_a_long_row_of_bad_records_ends_at_the_first_good_one(
    autojump_clock, tmp_path, far
):
    """Longer than the window: it grows with each that stands accused."""
    bad = set(range(70))
    far.answer = refuses(*ids("p", bad))
    async with house_in(tmp_path, far) as house:
        await house.append(*(fix(n, f"v{n}") for n in range(75)))
        async with house.run():
            await house.rest(within=DAY)

        assert [one for one, _ in house.dead()] == ids("p", sorted(bad))
