"""What makes two copies one event: by any road, in any order, over restarts."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import asdict, replace

from fleetd.event import (
    DAY_MS,
    Position,
    Safety,
    dedupe_key,
    filled,
    merged,
    millis,
    pack,
    tag_of,
    unpack,
)
from tests.conftest import MORNING, virtual_world
from tests.store.deeds import (
    appended,
    committed,
    counted,
    fix,
    opened,
    put,
    rows,
    stored,
)

maybe = st.none() | st.floats(0, 90)
copies = st.builds(
    Position,
    id=st.just("p1"),
    at=st.just(MORNING),
    vehicle=st.just("v1"),
    latitude=st.just(1.0),
    longitude=st.just(2.0),
    speed_mph=st.none() | st.just(30.0),
    heading_degrees=st.none() | st.just(90.0),
    odometer=st.none() | st.just(5.0),
)


def run(main, *arguments):
    clock = trio.testing.MockClock(autojump_threshold=0)
    return trio.run(main, *arguments, clock=clock)


@settings(max_examples=60, deadline=None)
@given(
    groups=st.lists(st.lists(copies, min_size=1, max_size=4), min_size=1, max_size=5)
)
def test_copies_by_any_road_end_in_one_event_with_every_column(groups):
    """Each group is one request or page; how copies share them changes nothing."""

    async def main(folder: Path) -> None:
        async with opened(folder, virtual_world()) as store:
            for group in groups:
                await put(store, *group)
            found = rows(store, "SELECT revision, body FROM events ORDER BY seq")
            everything = [one for group in groups for one in group]
            newest = unpack(found[-1][1])

            assert [revision for revision, _ in found] == list(range(len(found)))
            assert len(found) == 1 + growths(everything)
            for name, value in asdict(newest).items():
                said = [
                    v for one in everything if (v := getattr(one, name)) is not None
                ]
                assert value == (said[0] if said else None)
            counts = counted(store, "north", "source")
            assert counts["made"] == len(everything)
            assert counts["made"] == counts["stored"] + counts.get("duplicate", 0)

    with tempfile.TemporaryDirectory() as folder:
        run(main, Path(folder))


def growths(copies: Sequence[Position]) -> int:
    """How often a later copy filled a null."""
    known, n = filled(copies[0]), 0
    for one in copies[1:]:
        if filled(one) & ~known:
            known |= filled(one)
            n += 1
    return n


@given(first=copies, later=copies)
def test_a_merge_keeps_every_word_of_the_first(first, later):
    both = merged(first, later)

    assert filled(both) == filled(first) | filled(later)
    assert all(
        getattr(both, name) == value
        for name, value in asdict(first).items()
        if value is not None
    )


@given(
    source=st.sampled_from(["north", "south"]),
    id_=st.text(max_size=5),
    kind=st.sampled_from([Position, Safety]),
    revision=st.none() | st.integers(0, 1 << 62),
    day=st.integers(0, 0xFFFF),
)
def test_an_identity_is_source_kind_id_and_revision_and_nothing_else(
    source, id_, kind, revision, day
):
    event = kind(id=id_, at=MORNING, revision=revision, vehicle="v1")
    key = dedupe_key(source, event, tag_of(event), day)
    other = replace(event, id=id_ + "x")

    assert len(key) == 12
    assert int.from_bytes(key[:2], "big") == day
    assert dedupe_key(source, other, tag_of(other), day) != key
    assert dedupe_key(source + "x", event, tag_of(event), day) != key
    if revision is not None or kind is Position:
        moved = replace(event, vehicle="v2")
        assert dedupe_key(source, moved, tag_of(moved), day) == key


@given(a=st.text(max_size=3), b=st.text(max_size=3), c=st.text(max_size=3))
def test_no_two_identities_run_into_each_other(a, b, c):
    """What stands between the parts cannot be part of one (names hold no NUL)."""
    one = Safety(id=a, revision=1)
    two = Safety(id=b, revision=1)
    if a != b:
        assert dedupe_key("x", one, "1", 0) != dedupe_key("x", two, "1", 0)
    if "\0" not in c:
        assert dedupe_key("x", one, c, 0) != dedupe_key("x", one, c + "1", 0)


async def test_push_and_poll_join_within_a_source_and_not_across(
    autojump_clock, tmp_path, world
):
    async with opened(tmp_path, world) as store:
        await put(store, fix(1), raw=True)
        polled = await put(store, fix(1), fix(2), bookmark=("gps", "b"))
        other = await put(store, fix(1), source="south")

        assert (polled.stored, polled.duplicate) == (1, 1)
        assert other.stored == 1
        assert stored(store) == ["p1", "p2", "p1"]


async def test_the_same_request_twice_at_once_is_stored_once(
    autojump_clock, tmp_path, world
):
    """Both copies in one commit, before either is on the disk."""
    async with opened(tmp_path, world) as store:
        twice = [appended(store, fix(1)), appended(store, fix(1))]
        counts = committed(store, twice)

        assert [(one.stored, one.duplicate) for one in counts] == [(1, 0), (0, 1)]


async def test_a_repeat_after_a_restart_is_a_duplicate(autojump_clock, tmp_path, world):
    async with opened(tmp_path, world) as store:
        await put(store, fix(1))
    async with opened(tmp_path, world) as store:
        assert (await put(store, fix(1))).duplicate == 1


async def test_a_fuller_copy_amends_also_after_the_first_is_long_delivered(
    autojump_clock, tmp_path, world
):
    async with opened(tmp_path, world) as store:
        await put(store, fix(1))
        read = await store.next_batch("ops", 0, limit=9)
        await store.advance(read, delivered=read.entries)
        await put(store, fix(1, speed_mph=30.0))
        read = await store.next_batch("ops", 0, limit=9)

        assert [one.revision for one in read.entries] == [1]
        assert read.entries[0].event.speed_mph == 30.0


async def test_what_the_directory_filled_is_no_reason_for_an_amendment(
    autojump_clock, tmp_path, world
):
    async with opened(tmp_path, world) as store:
        await put(store, fix(1, vin="1FTFW1ET5DFC10312"))
        await put(store, fix(2, at=MORNING + timedelta(seconds=5)))
        again = await put(store, fix(2, at=MORNING + timedelta(seconds=5)))
        same = await put(
            store, fix(2, at=MORNING + timedelta(seconds=5), vin="1FTFW1ET5DFC10312")
        )

        assert (again.duplicate, same.duplicate) == (1, 1)


async def test_a_device_clock_years_off_is_kept_and_filed_under_its_arrival(
    autojump_clock, tmp_path, world
):
    async with opened(tmp_path, world) as store:
        for n, years in enumerate((-40, -10, 10)):
            await put(store, fix(n, at=MORNING + timedelta(days=365 * years)))
        found = [unpack(body) for (body,) in rows(store, "SELECT body FROM events")]
        days = {
            int.from_bytes(key[:2], "big")
            for (key,) in rows(store, "SELECT key FROM seen")
        }

        assert [one.flags for one in found] == [
            ("clock_suspect",), (), ("clock_suspect",),
        ]  # fmt: skip
        assert days == {
            millis(MORNING) // DAY_MS, millis(MORNING - timedelta(days=3650)) // DAY_MS,
        }  # fmt: skip


@given(event=copies)
def test_what_is_packed_is_unpacked_the_same(event):
    assert unpack(pack(event)) == event
