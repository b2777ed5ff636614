"""P6: records, events and deliveries each balance, by hour, to the id."""

from __future__ import annotations

import tempfile
from pathlib import Path

import trio
import trio.testing
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fleetd.event import has_fix
from fleetd.store import Burial, SinkPlace
from fleetd.taking import Taking
from tests.conftest import virtual_world
from tests.store.deeds import crash, fix, imbalances, opened, put, rows

HOUR_S = 3600.0
records = st.one_of(
    st.builds(fix, st.integers(0, 8)),
    st.builds(fix, st.integers(0, 8), latitude=st.just(0.0), longitude=st.just(0.0)),
    st.builds(crash, st.integers(0, 3)),
    st.sampled_from([b"bad 1", b"bad 2", b""]),
)
pages = st.lists(st.lists(records, max_size=6), min_size=1, max_size=8)
SINKS = {"all": SinkPlace(Taking()), "calm": SinkPlace(Taking(frozenset({"safety"})))}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(pages=pages, odd=st.integers(0, 3))
def test_every_equation_holds_for_every_hour(pages, odd):
    async def main(folder: Path) -> None:
        world = virtual_world()
        async with opened(folder, world, SINKS) as store:
            for n, page in enumerate(pages):
                counts = await put(store, *page, raw=n % 2 == 0)
                made = counts.stored + counts.duplicate + counts.filtered + counts.dead

                assert made == sum(1 for one in page if one)
                await trio.sleep(HOUR_S / 2)
                if n % 3 == odd:
                    await deliver(store, "all", odd)
            await deliver(store, "all", odd)
            await deliver(store, "calm", 0)

            assert await imbalances(store) == []
            assert equations(store) == []

    with tempfile.TemporaryDirectory() as folder:
        trio.run(main, Path(folder), clock=trio.testing.MockClock(autojump_threshold=0))


async def deliver(store, sink, odd):
    for lane in (1, 0):
        while store.cursor(sink, lane) < store.newest:
            read = await store.next_batch(sink, lane, limit=3)
            first, rest = read.entries[:1], read.entries[1:]
            await store.advance(
                read,
                delivered=rest if odd in (1, 2) else read.entries,
                buried=[Burial(one, "no") for one in first if odd == 1],
                skipped=[(one, "old") for one in first if odd == 2],
            )


PER_HOUR = (
    "SELECT side, name, hour, kind > 0, outcome, sum(n) FROM totals"
    " JOIN names ON names.id = scope GROUP BY 1, 2, 3, 4, 5"
)


def equations(store, sinks=SINKS):
    """By hand and for every hour, also those at the edges; what does not hold."""
    n: dict[tuple, dict[str, int]] = {}
    for side, name, hour, _, outcome, count in rows(store, PER_HOUR):
        of = n.setdefault((side, name, hour), {})
        of[outcome] = of.get(outcome, 0) + count
    bad = []
    stored: dict[int, int] = {}
    for (side, name, hour), of in n.items():
        if side == "source":
            get = lambda *words, of=of: sum(of.get(word, 0) for word in words)  # noqa: E731
            stored[hour] = stored.get(hour, 0) + get("stored")
            if get("received") != get("normalized", "empty", "dead"):
                bad.append((name, hour, "records", of))
            if get("made") != get("stored", "duplicate", "filtered"):
                bad.append((name, hour, "events", of))
    for sink in sinks:
        for hour, came in stored.items():
            of = n.get(("sink", sink, hour), {})
            if sum(of.values()) != came:
                bad.append((sink, hour, "deliveries", came, of))
    return bad


async def test_each_total_can_be_followed_to_its_ids(autojump_clock, tmp_path, world):
    async with opened(tmp_path, world) as store:
        nowhere = fix(7, latitude=0.0, longitude=0.0)
        assert not has_fix(nowhere)
        await put(store, fix(1), fix(1), nowhere, b"bad", b"", raw=True)
        asides = rows(store, "SELECT outcome, why, event FROM asides ORDER BY id")
        dead = rows(store, "SELECT why, body FROM dead")

        assert sorted(asides) == [("duplicate", "", "p1"), ("filtered", "no_fix", "p7")]
        assert dead == [("it is bad", b"bad")]
        assert rows(store, "SELECT count(*) FROM events") == [(1,)]
        assert equations(store, ()) == []


async def test_a_record_that_cannot_be_read_is_buried_once(
    autojump_clock, tmp_path, world
):
    async with opened(tmp_path, world) as store:
        first = await put(store, b"bad")
        again = await put(store, b"bad")

        assert (first.dead, again.duplicate) == (1, 1)
        assert equations(store, ()) == []


async def test_sums_are_the_totals_of_all_hours(autojump_clock, tmp_path, world):
    async with opened(tmp_path, world) as store:
        for n in range(5):
            await put(store, fix(n), crash(n))
            await trio.sleep(HOUR_S)
        totals = rows(
            store,
            "SELECT scope, kind, outcome, why, sum(n) FROM totals GROUP BY 1, 2, 3, 4"
            " ORDER BY 1, 2, 3, 4",
        )

        assert totals == rows(
            store, "SELECT scope, kind, outcome, why, n FROM sums ORDER BY 1, 2, 3, 4"
        )
