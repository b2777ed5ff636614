"""Which events ring and when: alarms by themselves, the rest together, and what is counted out."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetd import event as events
from fleetd.config import Seconds
from fleetd.event import Entry, lane_of, millis
from fleetd.sinks.contract import Batch, Receipt
from fleetd.sinks.telling import Hours, Manners, Teller
from fleetd.sinks.telling import memory as kept
from fleetd.when import Zone
from fleetd.world import World, inline
from tests.sinks.things import alarm, batch

START = datetime(2026, 11, 21, 12, tzinfo=UTC)


class Clock:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now

    def pass_(self, **span: float) -> None:
        self.now += timedelta(**span)


@pytest.fixture
def clock() -> Clock:
    return Clock()


def teller(clock: Clock, place: Path | str = "", **manners) -> Teller:
    edits = manners.pop("edits", False)
    told = {"timezone": Zone("UTC"), **manners}
    world = World(now=clock, in_thread=inline, threads=False)
    return Teller(Manners(**told), world, str(place), edits=edits)


def entry(seq: int, event: events.AnyEvent) -> Entry:
    return Entry(
        seq, "north", "samsara", event, 0, millis(START), "push", lane_of(event)
    )


def brake(seq: int, vehicle: str = "v1", severity: str | None = "medium", **more):
    told = {"id": f"b{seq}", "at": START, "type": "harsh_brake", **more}
    return entry(seq, events.Safety(vehicle=vehicle, severity=severity, **told))


def fault(seq: int, state: str = "on", **more):
    told = {"id": f"f{seq}", "at": START, "vehicle": "v1", "code": "P0420", **more}
    return entry(seq, events.Fault(type=state, **told))


async def told(one: Teller, *entries: Entry, generation: int = 0, handle: str = ""):
    """What is said of a batch: its message's title, and what became of the others."""
    given = batch(list(entries), generation)
    choice = one.choose(given)
    receipt = await one.done(given, choice, Receipt(200), handle)
    title = choice.message.title if choice.message else ""
    return title, dict(receipt.skipped), set(receipt.left), choice.handle


# alarms


async def test_an_alarm_goes_by_itself_and_first_and_leaves_the_rest(clock):
    one = teller(clock)
    many = [brake(1), entry(2, alarm(2)), brake(3), entry(4, alarm(4))]

    assert await told(one, *many) == ("Crash · v1", {}, {1, 3, 4}, "")
    assert await told(one, *many) == ("Crash · v1", {}, {1, 3}, "")
    assert (await told(one, *many))[0] == "Harsh brake, 2 times · v1"


async def test_nothing_holds_an_alarm_back(clock):
    quiet = Hours.read("00:00-23:59", Path())
    one = teller(clock, severity="severe", repeat=Seconds(86400), quiet=quiet)
    violation = entry(3, events.Duty(id="d", type="violation", vehicle="v1"))

    assert (await told(one, entry(1, alarm(1))))[0] == "Crash · v1"
    assert (await told(one, entry(2, alarm(2))))[0] == "Crash · v1"
    assert (await told(one, violation))[0].startswith("Hours-of-service violation")


async def test_an_alarm_that_comes_by_the_other_road_as_well_rings_once(clock):
    one = teller(clock, severity="severe")
    sos = {"id": "s", "type": "sos", "severity": "low"}

    assert (await told(one, brake(1, **sos)))[0] == "Sos · v1"
    assert (await told(one, brake(2, **sos, driver_name="Ann")))[1] == {2: "unchanged"}
    assert (await told(one, brake(3, **sos), generation=7))[0] == "Sos · v1"
    again = {**sos, "at": START + timedelta(minutes=3)}
    assert (await told(one, brake(4, **again)))[0] == "Sos · v1"
    assert (await told(one, brake(5, **again, state="answered")))[0] == "Sos · v1"


# severity


@pytest.mark.parametrize(
    ("least", "rings"),
    [
        (None, {1, 2, 3, 4, 5, 6}),
        ("low", {1, 2, 3, 4, 5, 6, 7}),
        ("medium", {2, 3, 4, 5}),
        ("high", {3, 4}),
    ],
)
async def test_what_is_less_grave_than_it_says_is_counted_out(clock, least, rings):
    many = [
        brake(1, severity="low"),
        brake(2, severity="medium"),
        brake(3, severity="high"),
        brake(4, severity=None),  # its vendor does not say
        fault(5),
        entry(6, events.Geofence(id="g", type="exit")),
        entry(7, events.Duty(id="d", type="status", status="driving")),
    ]
    _, skipped, left, _ = await told(teller(clock, severity=least), *many)

    assert {e.seq for e in many} - set(skipped) == rings
    assert set(skipped.values()) <= {"severity"}
    assert left == set()


# repeat


async def test_the_same_again_of_one_vehicle_is_counted_out_for_as_long_as_it_says(
    clock,
):
    one = teller(clock, repeat=Seconds(900))

    assert (await told(one, brake(1)))[0] == "Harsh brake · v1"
    clock.pass_(minutes=14)
    assert (await told(one, brake(2)))[1] == {2: "cooldown"}
    assert (await told(one, brake(3, "v2")))[0] == "Harsh brake · v2"
    assert (await told(one, brake(4, type="speeding")))[0] == "Speeding · v1"
    clock.pass_(minutes=2)
    assert (await told(one, brake(5)))[0] == "Harsh brake · v1"


async def test_another_thing_of_one_kind_is_no_repeat_of_it(clock):
    """Two things to mend are two, whatever both are called; a number more is the same."""
    one = teller(clock, repeat=Seconds(900))

    def issue(seq: int, text: str) -> Entry:
        return entry(seq, events.Maintenance(id=f"m{seq}", type="issue", text=text))

    assert (await told(one, issue(1, "Brake pads, 3 mm left")))[1] == {}
    assert (await told(one, issue(2, "Tail lamp broken")))[1] == {}
    assert (await told(one, issue(3, "Brake pads, 2 mm left")))[1] == {3: "cooldown"}


async def test_what_comes_together_is_told_together_and_not_held_back(clock):
    one = teller(clock, repeat=Seconds(900))

    assert (await told(one, brake(1), brake(2)))[0] == "Harsh brake, 2 times · v1"


async def test_a_clock_that_is_set_back_rings_rather_than_not(clock):
    one = teller(clock, repeat=Seconds(900))
    await told(one, brake(1))
    clock.pass_(days=-3)

    assert (await told(one, brake(2)))[1] == {}


# quiet hours


@pytest.mark.parametrize(
    ("hours", "at", "held"),
    [
        ("22:00-06:00", "21:59", False),
        ("22:00-06:00", "22:00", True),
        ("22:00-06:00", "05:59", True),
        ("22:00-06:00", "06:00", False),
        ("12:00-13:30", "12:00", True),
        ("12:00-13:30", "13:30", False),
    ],
)
def test_quiet_hours_go_over_midnight(hours, at, held):
    moment = datetime.combine(START.date(), datetime.strptime(at, "%H:%M").time())  # noqa: DTZ007

    assert Hours.read(hours, Path()).hold(moment) is held


@pytest.mark.parametrize("bad", ["22-6", "24:00-06:00", "06:00-06:00", "", 22, "a-b"])
def test_hours_that_are_none_are_refused(bad):
    with pytest.raises(ValueError, match="22:00-06:00"):
        Hours.read(bad, Path())


async def test_quiet_hours_are_those_of_its_own_zone_and_are_summed_up_after_them(
    clock,
):
    quiet = Hours.read("06:00-08:00", Path())
    one = teller(clock, quiet=quiet, timezone=Zone("America/Chicago"))  # 06:00 there

    assert (await told(one, brake(1), brake(2, "v2")))[1] == {1: "quiet", 2: "quiet"}
    assert (await told(one, brake(1), brake(2, "v2")))[1] == {1: "quiet", 2: "quiet"}
    assert (await told(one, fault(3)))[1] == {3: "quiet"}
    clock.pass_(hours=2)
    given = batch([brake(4)])
    choice = one.choose(given)
    assert choice.message.rows[-1].name == "In quiet hours"
    assert choice.message.rows[-1].text == "3 events: 2 harsh brake, 1 fault P0420"
    await one.done(given, choice, Receipt(200))
    assert one.choose(batch([brake(5)])).message.rows[-1].name != "In quiet hours"


async def test_a_digest_in_quiet_hours_waits_for_the_first_message_after_them(clock):
    one = teller(clock, quiet=Hours.read("11:00-13:00", Path()))
    late = Batch((), "k", digest="3 events from 20 Nov while offline: 3 fault")

    choice = one.choose(late)
    assert choice.message is None
    assert (await one.done(late, choice)).cost == 0  # so that nobody takes it for a yes
    alarms = Batch(
        (), "k", digest="1 event from 20 Nov while offline: 1 crash", urgent=True
    )
    assert one.choose(alarms).message is not None
    clock.pass_(hours=2)
    assert one.choose(late).message.title.startswith("3 events from 20 Nov")
    given = batch([brake(1)])
    choice = one.choose(given)
    assert [row.text for row in choice.message.rows if row.name == "Late"] == [
        late.digest
    ]
    await one.done(given, choice, Receipt(200))
    assert not one.memory.hushed


async def test_a_replay_was_asked_for_and_rings_at_any_hour(clock):
    quiet = Hours.read("00:00-23:59", Path())
    one = teller(clock, quiet=quiet, repeat=Seconds(900), severity="high")

    title, skipped, _, _ = await told(
        one, brake(1, severity="high"), brake(2, severity="low"), generation=7
    )
    assert title == "Harsh brake · v1"
    assert skipped == {2: "severity"}
    assert one.memory.things == {}


# the same thing again


async def test_a_copy_that_says_nothing_new_is_counted_out(clock):
    one = teller(clock)
    await told(one, brake(1))

    assert (await told(one, brake(2, id="b1", text="more is known")))[1] == {
        2: "unchanged"
    }
    assert (await told(one, brake(3, id="b1", state="dismissed")))[1] == {}


async def test_what_is_resolved_takes_the_place_of_the_first_message(clock):
    one = teller(clock, edits=True)
    await told(one, fault(1), handle="C0/1.1")
    title, _, left, handle = await told(one, brake(2), fault(3, "off"), handle="C0/1.2")

    assert (title, left, handle) == ("Harsh brake · v1", {3}, "")
    title, _, _, handle = await told(one, fault(3, "off"), handle="C0/1.1")
    assert (title, handle) == ("Fault P0420 cleared · v1", "C0/1.1")
    assert (await told(one, fault(4)))[3] == ""  # it is on again: that is news


async def test_an_edit_is_made_in_quiet_hours_too_for_it_rings_at_nobody(clock):
    one = teller(clock, edits=True, quiet=Hours.read("13:00-23:00", Path()))
    await told(one, fault(1), handle="C0/1.1")
    clock.pass_(hours=2)

    assert (await told(one, fault(2, "off")))[3] == "C0/1.1"
    assert (await told(one, fault(3, code="P1")))[1] == {3: "quiet"}


async def test_a_message_about_several_things_is_not_edited(clock):
    one = teller(clock, edits=True)
    await told(one, fault(1), brake(2), handle="C0/1.1")

    assert (await told(one, fault(3, "off")))[3] == ""


# what is kept


async def test_what_was_told_is_known_after_a_crash(clock, tmp_path):
    one = teller(clock, tmp_path / "sinks" / "ops", repeat=Seconds(900), edits=True)
    await told(one, fault(1), handle="C0/1.1")
    again = teller(clock, tmp_path / "sinks" / "ops", repeat=Seconds(900), edits=True)
    await again.begin()

    choice = again.choose(batch([fault(1), fault(2, id="other")]))
    assert choice.message is None
    assert choice.skipped == {2: "cooldown"}  # and 1 counts as delivered
    assert again.choose(batch([fault(3, "off")])).handle == "C0/1.1"


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"told":7}', b"x" * (5 << 20)])
async def test_a_note_that_cannot_be_read_is_forgotten(clock, tmp_path, body):
    (tmp_path / "told.json").write_bytes(body)
    one = teller(clock, tmp_path)
    await one.begin()

    assert (await told(one, brake(1)))[0] == "Harsh brake · v1"
    assert json.loads((tmp_path / "told.json").read_bytes())["told"] == {"live.0": [1]}


async def test_a_place_that_cannot_be_written_delays_nothing(clock, tmp_path):
    (tmp_path / "file").write_text("")
    one = teller(clock, tmp_path / "file" / "ops")
    await one.begin()

    assert (await told(one, brake(1)))[0] == "Harsh brake · v1"


async def test_what_is_kept_is_bounded_and_what_is_forgotten_rings_again(clock):
    one = teller(clock, repeat=Seconds(86400))
    for start in range(0, 30_000, 1000):
        await told(one, *(brake(start + n, f"v{start + n}") for n in range(1000)))
    for job in range(1, 30):
        await told(one, brake(1), generation=job)

    memory = one.memory
    assert len(memory.things) <= kept.MOST_THINGS
    assert len(memory.rung) <= kept.MOST_RUNG
    assert len(memory.told) <= kept.MOST_PASSES
    assert sum(map(len, memory.told.values())) <= kept.MOST_TOLD * kept.MOST_PASSES
    assert (await told(one, brake(99_000, "v1")))[1] == {}
    clock.pass_(days=8)
    await told(one, brake(99_001, "v2"))
    assert len(memory.things) == len(memory.rung) == 1


kinds = st.sampled_from(["harsh_brake", "speeding", "crash"])


@given(
    st.lists(st.tuples(kinds, st.integers(0, 3), st.integers(0, 90)), max_size=30),
    st.booleans(),
)
async def test_each_event_is_told_or_counted_out_once_and_alarms_are_always_told(
    steps, quiet
):
    """Whatever comes: walked to its end, every entry is decided, and no alarm is skipped."""
    clock = Clock()
    hours = Hours.read("13:00-14:00", Path()) if quiet else None
    one = teller(clock, repeat=Seconds(1800), quiet=hours, edits=True)
    waiting, seq = [], 0
    alarms, rung, counted = set(), [], []
    for kind, vehicle, minutes in steps:
        seq += 1
        made = brake(seq, f"v{vehicle}", type=kind, severity=None)
        alarms |= {seq} if made.lane else set()
        waiting.append(made)
        clock.pass_(minutes=minutes)
        if minutes % 3:
            continue
        while waiting:
            given = batch(waiting)
            choice = one.choose(given)
            receipt = await one.done(given, choice, Receipt(200), f"C/{seq}")
            assert len({*receipt.left}) < len(waiting)
            rung += [e.seq for e in choice.entries]
            counted += receipt.skipped
            waiting = [e for e in waiting if e.seq in receipt.left]

    done = {*rung, *counted}
    assert len(rung) + len(counted) == len(done) == seq - len(waiting)
    assert alarms - {e.seq for e in waiting} <= set(rung)
