"""The postgres sink against a real PostgreSQL: what is in the tables, whatever came in which order."""

from __future__ import annotations

import random
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
import trio

from fleetd.errors import HeldError, TransientError
from fleetd.event import CLASSES, OWN, Entry, Position, Trip, row_of
from fleetd.event.kinds import Event
from fleetd.sinks.postgres import SINK, Config
from fleetd.sinks.postgres.columns import shape_of
from fleetd.tables import TABLES
from fleetd.world import World
from tests.postgres import BOSS, GIS, PLAIN, USER, Postgres
from tests.sinks.databases import Place
from tests.sinks.things import DAY, alarm, batch, entries, entry, position

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
FULL = Position(
    id="v1@12:00:00.000", at=NOON + timedelta(microseconds=123_000), vehicle="v1",
    number="T-001", vin="1FUJHHDR3MLMT2101", driver="d1", driver_name="Dana Öz",
    latitude=32.78, longitude=-96.8, speed_mph=61.5, heading_degrees=359.9,
    engine_state="On", location_description="I-35\t\\N 'here'", odometer=12345.6,
    flags=("old_stamp",),
)  # fmt: skip


def fix(
    seq: int, at: datetime = NOON, *, of: str = "", revision: int = 0, **more: Any
) -> Entry:
    told: dict[str, Any] = {"vehicle": "v1", "latitude": 1.0, "longitude": 2.0, **more}
    event = Position(id=of or f"p{seq}", at=at, **told)
    return msgspec.structs.replace(entry(seq, event), revision=revision)


def minutes(count: int) -> datetime:
    return NOON + timedelta(minutes=count)


@pytest.fixture(params=[GIS, PLAIN])
def place(request, postgres: Postgres) -> Place:
    return Place(postgres, request.param)


@pytest.fixture
def gis(postgres: Postgres) -> Place:
    return Place(postgres)


async def test_a_position_is_a_row_of_the_14_columns_and_what_tells_whose_copy(place):
    one = msgspec.structs.replace(entry(7, FULL), revision=3)
    await place.write([one])

    (row,) = place.rows()
    told = row_of(one)
    stamp = told.pop("timestamp")
    assert row["timestamp"] == datetime.fromisoformat(stamp)
    assert {name: row[name] for name in told} == told
    assert list(row)[:14] == list(row_of(one))
    assert (row["id"], row["source"], row["seq"], row["revision"]) == (
        "v1@12:00:00.000", "north", 7, 3,
    )  # fmt: skip
    assert row["received_at"] == DAY
    assert row["flags"] == ["old_stamp"]


async def test_a_position_has_a_point_where_there_is_postgis(postgres):
    with_points, without = Place(postgres, GIS), Place(postgres, PLAIN)
    for one in (with_points, without):
        await one.write([entry(1, FULL), fix(2, latitude=None, longitude=None)])

    where = "SELECT ST_X(geog::geometry), ST_Y(geog::geometry) FROM {} ORDER BY seq"
    assert with_points.do(where) == [(-96.8, 32.78), (None, None)]
    assert with_points.do(where, "latest_positions")[0] == (-96.8, 32.78)
    assert with_points.do(
        "SELECT seq FROM {} WHERE ST_DWithin(geog, ST_MakePoint(-96.8, 32.79), 1200)"
    ) == [(1,)]
    assert "geog" not in without.rows()[0]
    index = "SELECT indexdef FROM pg_indexes WHERE schemaname = '{}' ORDER BY 1"
    found = gist_of(postgres, index.format(with_points.schema))
    assert any("USING gist (geog)" in one for one in found)


def gist_of(postgres: Postgres, query: str) -> list[str]:
    return [str(one[0]) for one in postgres.rows(query)]  # type: ignore[arg-type]


@pytest.mark.parametrize("of", CLASSES, ids=lambda one: one.kind)
async def test_every_kind_has_a_table_of_its_own_with_all_its_fields(gis, of):
    event = filled(of)
    await gis.write([entry(1, event), entry(2, of(id="bare"))])

    row, bare = gis.rows(TABLES[of.kind])
    if of is not Position:
        for name in OWN[of]:
            value = getattr(event, name)
            assert row[name] == ([*value] if isinstance(value, tuple) else value), name
    assert (row["timestamp"], row["provider_vehicle_id"]) == (event.at, "v9")
    assert (row["driver_id"], row["driver_name"]) == ("d9", "Dana")
    assert bare["timestamp"] is None
    assert bare["id"] == "bare"


def filled(of: type[Event]) -> Event:
    """One with every field set, each to something of its own."""
    told: dict[str, Any] = {
        "id": "x1", "at": NOON, "vehicle": "v9", "driver": "d9", "driver_name": "Dana",
    }  # fmt: skip
    texts = {"engine_state": "Idle", "units": "us", "severity": "low"}
    for number, name in enumerate(OWN[of]):
        column = next((c for c in shape_of(of.kind).columns if c.name == name), None)
        kind = column.type if column else "text"
        told[name] = {
            "text": texts.get(name, f"{name}-é"), "double precision": number + 0.5,
            "bigint": number, "boolean": True, "timestamptz": minutes(number),
            "text[]": ("a,b", 'c"d'), "jsonb": {"deep": [{"er": "x"}], "n": None},
        }[kind]  # fmt: skip
    return of(**told)


def test_each_kind_goes_to_a_table_of_its_own():
    assert set(TABLES) == {one.kind for one in CLASSES}
    assert len({*TABLES.values(), "latest_positions"}) == len(TABLES) + 1
    for one in CLASSES:
        names = [column.name for column in shape_of(one.kind).columns]
        assert len(names) == len(set(names)), one.kind


async def test_a_repeat_writes_nothing(place):
    await place.write(entries(1, 2, 3), entries(3, 4))
    before = place.rows(), place.rows("latest_positions")
    await place.write(entries(1, 2), entries(3, 4), entries(4))

    assert (place.rows(), place.rows("latest_positions")) == before
    assert [row["seq"] for row in before[0]] == [1, 2, 3, 4]


async def test_a_newer_copy_replaces_and_an_older_one_does_not(place):
    first, second, third = (
        fix(seq, of="p", revision=revision, driver=name)
        for seq, revision, name in ((1, 0, None), (5, 1, "Dana"), (9, 2, "Max"))
    )
    await place.write([first], [second])
    assert [row["driver_id"] for row in place.rows()] == ["Dana"]

    await place.write([third], [first], [second], [second, first])
    assert [(row["seq"], row["driver_id"]) for row in place.rows()] == [(9, "Max")]
    latest = place.rows("latest_positions")
    assert [(row["seq"], row["driver_id"]) for row in latest] == [(9, "Max")]


async def test_of_copies_in_one_batch_the_newest_stays(place):
    for number, order in enumerate(((0, 1, 2), (2, 1, 0), (1, 2, 0))):
        ident = f"p{number}"
        copies = [fix(10 * number + one, of=ident, revision=one) for one in order]
        await place.write(copies)

    assert [row["revision"] for row in place.rows()] == [2, 2, 2]


async def test_a_trip_that_ends_replaces_the_one_that_was_open(place):
    opened = entry(1, Trip(id="t1", at=NOON, vehicle="v1", started_at=NOON))
    ended = entry(
        2, Trip(id="t1", at=minutes(-5), vehicle="v1", started_at=NOON, ended_at=NOON)
    )
    await place.write([opened], [msgspec.structs.replace(ended, revision=7)])

    (row,) = place.rows("trips")
    assert row["ended_at"] == NOON
    assert row["timestamp"] == minutes(-5)


async def test_the_latest_row_never_goes_back(place):
    await place.write([fix(1, minutes(0)), fix(2, minutes(10))])
    there = place.rows("latest_positions")
    await place.write([fix(3, minutes(5)), fix(4, minutes(-60))])  # a late backfill
    await place.write([fix(1, minutes(0))], [fix(2, minutes(10))])  # a replay

    assert place.rows("latest_positions") == there
    assert [row["seq"] for row in there] == [2]
    assert len(place.rows()) == 4


async def test_a_fix_without_a_clock_a_vehicle_or_a_believable_time_is_nobodys_latest(
    place,
):
    flagged = fix(3, minutes(30), flags=("clock_suspect",))
    ahead = fix(5, DAY + timedelta(days=2))  # come while our own clock was suspect
    nowhere = [entry(2, Position(id="no", vehicle="v2")), fix(4, vehicle=None)]
    await place.write([fix(1), flagged, ahead, *nowhere])

    assert [row["seq"] for row in place.rows("latest_positions")] == [1]
    assert len(place.rows()) == 5


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_in_whatever_order_and_however_often_the_tables_end_the_same(gis, seed):
    chance = random.Random(seed)
    every = [
        fix(
            seq, minutes(chance.randrange(40)), of=f"p{chance.randrange(120)}",
            revision=chance.randrange(3), vehicle=f"v{chance.randrange(9)}",
            driver=f"d{seq}",
        )
        for seq in range(1, 301)
    ]  # fmt: skip
    sent = [*every, *chance.sample(every, 150)]
    chance.shuffle(sent)
    async with gis.open() as write:
        while sent:
            size = chance.randrange(1, 60)
            await write(batch(sent[:size]))
            del sent[:size]

    rows = newest(every, lambda one: one.event.id, lambda one: (one.revision, one.seq))
    assert {row["id"]: row["driver_id"] for row in gis.rows()} == rows
    last = newest(
        every,
        lambda one: one.event.vehicle,
        lambda one: (one.event.at, one.revision, one.seq),
    )
    found = gis.rows("latest_positions")
    assert {row["provider_vehicle_id"]: row["driver_id"] for row in found} == last


def newest(every: Iterable[Entry], key: Any, order: Any) -> dict[str, str | None]:
    best: dict[str, Entry] = {}
    for one in every:
        held = best.get(key(one))
        if held is None or order(held) < order(one):
            best[key(one)] = one
    return {name: one.event.driver for name, one in best.items()}


# tables


async def test_a_table_of_an_older_fleetd_gets_the_columns_it_lacks(place):
    await place.write(entries(1))
    place.do("ALTER TABLE {} DROP COLUMN odometer")
    await place.write([entry(2, FULL)])

    assert [row["odometer"] for row in place.rows()] == [None, 12345.6]


async def test_a_column_that_goes_while_connected_comes_back_at_the_next_try(place):
    async with place.open() as write:
        await write(batch(entries(1)))
        place.do("ALTER TABLE {} DROP COLUMN vin")
        with pytest.raises(HeldError, match="vin"):
            await write(batch([entry(2, FULL)]))
        await write(batch([entry(2, FULL)]))

    assert [row["vin"] for row in place.rows()] == [None, "1FUJHHDR3MLMT2101"]


async def test_somebody_elses_table_is_left_alone(place):
    place.server.do(f"CREATE SCHEMA {place.schema}", database=place.database)
    place.do("CREATE TABLE {} (id text, spot text)")
    with pytest.raises(HeldError, match=r"fleetd did not make it.*`schema`"):
        await place.write(entries(1))

    assert place.do("SELECT count(*) FROM {}") == [(0,)]


async def test_postgis_that_comes_later_gives_points_from_then_on(postgres):
    postgres.do("DROP DATABASE IF EXISTS late")
    postgres.do(f"CREATE DATABASE late OWNER {USER}")  # type: ignore[arg-type]
    place = Place(postgres, "late")
    await place.write(entries(1))
    postgres.do(
        "CREATE SCHEMA gis; CREATE EXTENSION postgis SCHEMA gis", database="late"
    )
    await place.write(entries(2))  # not for us yet
    postgres.do(f"GRANT USAGE ON SCHEMA gis TO {USER}", database="late")  # type: ignore[arg-type]
    await place.write(entries(3))

    assert [row["geog"] is None for row in place.rows()] == [True, True, False]


@pytest.mark.parametrize(
    "name", ["Größe Nord-1", "select", "fleetd$x", "Größe" + "ß" * 28]
)
async def test_any_name_will_do_for_a_schema(postgres, name):
    place = Place(postgres, PLAIN, schema=name)
    await place.write(entries(1))

    assert len(place.rows()) == 1


async def test_who_may_only_write_to_tables_that_are_there_can(gis):
    await gis.write(entries(1))
    name = f"writer_{gis.schema}"
    for right in (
        f"CREATE ROLE {name} LOGIN",
        f"GRANT USAGE ON SCHEMA {gis.schema} TO {name}",
        f"GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA {gis.schema} TO {name}",
    ):
        gis.server.do(right)
    humble = Place(gis.server, GIS, gis.schema, url=secret(gis.server.url(GIS, name)))
    await humble.write(entries(1, 2))

    assert len(gis.rows()) == 2


def secret(url: str) -> Any:
    from fleetd.secrets import Secret

    return Secret(f"plain:{url}")


async def test_what_two_begin_at_the_same_time_is_made_once(postgres):
    place = Place(postgres)
    async with trio.open_nursery() as nursery:
        for first in (1, 100, 200):
            nursery.start_soon(place.write, entries(first, first + 1))

    assert len(place.rows()) == 6


# time


async def test_several_batches_at_a_time_go_by_connections_of_their_own(gis):
    await gis.write(entries(1))
    async with gis.open() as write, trio.open_nursery() as nursery:
        for number in range(4):
            some = [
                fix(s, vehicle=f"v{number}") for s in range(number * 9, number * 9 + 9)
            ]
            nursery.start_soon(write, batch(some))

    assert len(gis.rows()) == 36


async def test_a_cancel_comes_back_at_once_and_leaves_nothing(gis):
    """The table is locked by another: the write would wait for many seconds."""
    await gis.write(entries(1))
    async with gis.open() as write:
        await write(batch(entries(2)))
        with Locked(gis):
            told = pytest.raises(TransientError, match="did not answer")
            with trio.move_on_after(0.3) as scope, told:  # no lock timeout, that is
                await write(batch(entries(3)))
            assert scope.cancel_called
            assert busy(gis) == []
        await write(batch(entries(3)))

    assert [row["seq"] for row in gis.rows()] == [1, 2, 3]


class Locked:
    """Another session has the table and keeps it."""

    def __init__(self, place: Place) -> None:
        self._place = place

    def __enter__(self) -> None:
        from psycopg import connect

        self._link = connect(self._place.server.url(self._place.database, BOSS))
        schema = self._place.schema
        self._link.execute(f"LOCK TABLE {schema}.positions IN EXCLUSIVE MODE")  # type: ignore[arg-type]

    def __exit__(self, *_: object) -> None:
        self._link.close()


def busy(place: Place) -> list[tuple[Any, ...]]:
    """Statements under way in this schema, once what was cancelled had a moment."""
    query = (
        "SELECT pid, query FROM pg_stat_activity WHERE state <> 'idle'"
        f" AND query LIKE '%{place.schema}%' AND pid <> pg_backend_pid()"
    )
    for _ in range(50):
        found = [
            one for one in place.do(query.replace("%", "%%")) if "LOCK" not in one[1]
        ]
        if not found:
            break
    return found


async def test_a_lock_of_somebody_else_is_waited_for_only_so_long(postgres):
    from fleetd.config import Seconds

    place = Place(postgres, timeout=Seconds(1))
    await place.write(entries(1))
    with Locked(place), pytest.raises(TransientError, match="lock") as caught:
        await place.write(entries(2))

    assert caught.value.slow
    assert not caught.value.counts


async def test_the_check_says_what_is_there_and_makes_nothing(place):
    said = await SINK.check(place.config, World())
    assert "no table of ours yet" in said
    assert ("PostGIS)" in said) == (place.database == GIS)
    assert place.do(
        f"SELECT count(*) FROM pg_namespace WHERE nspname = '{place.schema}'"
    ) == [(0,)]

    await place.write(entries(1), [entry(2, alarm(2))])
    said = await SINK.check(place.config, World())
    assert "latest_positions, positions, safety_events" in said


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ({"schema": 'x"; DROP TABLE y'}, "schema"),
        ({"schema": "pg_mine"}, "schema"),
        ({"schema": ""}, "schema"),
        ({"schema": "x" * 64}, "schema"),
        ({"schema": "Größe" + "ß" * 29}, "63 bytes"),
        ({"timeout": 0.5}, "timeout"),
        ({"timeout": 26.0}, "timeout"),
    ],
)
def test_what_cannot_work_is_refused_before_it_runs(config, why):
    with pytest.raises(ValueError, match=why):
        Config(url=secret("postgresql:///x"), **config)


def test_positions_alone_go_there_unless_more_is_asked_for():
    assert SINK.takes == ("position",)
    assert position(1).kind == "position"
