"""The SQL of the tables, every name in it quoted by the driver."""

from __future__ import annotations

import hashlib
from typing import LiteralString

from msgspec import Struct
from psycopg import sql
from psycopg.sql import SQL, Composed, Identifier

from fleetd.sinks.postgres.columns import LATEST, Column, Shape

KEY = ("id", "source")  # what tells more comes first: that is a tenth of a write
LATEST_KEY = ("source", "provider_vehicle_id")
ORDER = ("revision", "seq")
LATEST_ORDER = ("timestamp", "revision", "seq")
NEEDED = frozenset({*KEY, "seq", "revision", "received_at"})
MARK = "Made and kept by fleetd; columns may be added, these stay."
POINT = "geog"
MADE = SQL("CREATE TABLE {table} ({columns}, PRIMARY KEY ({key}))")
# A row a vehicle, written again and again: in place, as long as no index has to know.
LATEST_MADE = SQL(
    "CREATE TABLE {table} ({columns}, PRIMARY KEY ({key})) WITH (fillfactor = 40)"
)
MARKED = SQL("COMMENT ON TABLE {table} IS {mark}")
ADDED = SQL("ALTER TABLE {table} ADD COLUMN IF NOT EXISTS {column}")
POINTED = SQL("CREATE INDEX ON {table} USING gist ({point})")
BY_TIME = SQL('CREATE INDEX ON {table} USING brin ("timestamp")')
STAGE = SQL(
    "CREATE TEMPORARY TABLE IF NOT EXISTS {stage} ({columns}) ON COMMIT DELETE ROWS"
)
COPIED = SQL("COPY pg_temp.{stage} ({names}) FROM STDIN (FORMAT BINARY)")
PUT = SQL(
    "INSERT INTO {table} AS t ({names}) SELECT {values} FROM pg_temp.{stage}"
    " WHERE {which} ORDER BY {key} ON CONFLICT ({key}) DO UPDATE SET {changes}"
    " WHERE ({old}) < ({new})"
)
WHERE_ON_EARTH = SQL(
    "CASE WHEN latitude BETWEEN -90 AND 90 AND longitude BETWEEN -180 AND 180 THEN"
    " {gis}.ST_SetSRID({gis}.ST_MakePoint(longitude, latitude), 4326)::{gis}.geography"
    " END"
)
NOT_OLDER: LiteralString = "seq <> ALL (%(seqs)s)"
NEWEST: LiteralString = "seq = ANY (%(seqs)s)"
comma = SQL(", ").join


class Statements(Struct, frozen=True):
    """How the rows of a kind are written; `latest` for positions alone."""

    stage: Composed
    copy: Composed
    put: Composed
    latest: Composed | None


def statements_of(schema: str, shape: Shape, gis: str, latest_gis: str) -> Statements:
    """`gis` is the schema of PostGIS, empty where there is no point to write."""
    stage = Identifier(stage_name(shape))
    columns = comma(declared(one) for one in shape.columns)
    put = put_of(schema, shape.table, shape, gis, (KEY, ORDER, NOT_OLDER))
    latest = None
    if shape.kind == "position":
        ways = (LATEST_KEY, LATEST_ORDER, NEWEST)
        latest = put_of(schema, LATEST, shape, latest_gis, ways)
    return Statements(
        stage=STAGE.format(stage=stage, columns=columns),
        copy=COPIED.format(stage=stage, names=comma(map(Identifier, names_of(shape)))),
        put=put,
        latest=latest,
    )


Ways = tuple[tuple[str, ...], tuple[str, ...], LiteralString]


def put_of(schema: str, table: str, shape: Shape, gis: str, ways: Ways) -> Composed:
    """From the stage into a table: what is there stays, unless what comes is newer."""
    key, order, which = ways
    names = [*names_of(shape), *([POINT] if gis else [])]
    values: list[sql.Composable] = [Identifier(one) for one in names_of(shape)]
    if gis:
        values.append(WHERE_ON_EARTH.format(gis=Identifier(gis)))
    changed = [one for one in names if one not in key]
    change = SQL("{name} = excluded.{name}")
    return PUT.format(
        table=Identifier(schema, table),
        stage=Identifier(stage_name(shape)),
        names=comma(map(Identifier, names)),
        values=comma(values),
        which=SQL(which),
        key=comma(map(Identifier, key)),
        changes=comma(change.format(name=Identifier(one)) for one in changed),
        old=comma(Identifier("t", one) for one in order),
        new=comma(Identifier("excluded", one) for one in order),
    )


def names_of(shape: Shape) -> list[str]:
    return [one.name for one in shape.columns]


def stage_name(shape: Shape) -> str:
    """Another version's stage, left in a pooled connection, has another name."""
    told = " ".join(f"{one.name} {one.type}" for one in shape.columns)
    digest = hashlib.blake2b(told.encode(), digest_size=4).hexdigest()
    return f"fleetd_{shape.kind}_{digest}"


def declared(column: Column) -> Composed:
    return SQL("{} {}").format(Identifier(column.name), SQL(column.type))


def made(
    schema: str, table: str, shape: Shape, key: tuple[str, ...], gis: str
) -> list[Composed]:
    """What makes a table, its point and its indexes."""
    whole = Identifier(schema, table)
    must = {*NEEDED, *key} | ({"timestamp"} if table == LATEST else set())
    columns = [
        SQL("{} NOT NULL").format(declared(one)) if one.name in must else declared(one)
        for one in shape.columns
    ]
    make = LATEST_MADE if table == LATEST else MADE
    keys = comma(map(Identifier, key))
    found = [
        make.format(table=whole, columns=comma(columns), key=keys),
        MARKED.format(table=whole, mark=sql.Literal(MARK)),
    ]
    if table != LATEST:
        found.append(BY_TIME.format(table=whole))
    return found + (pointed(schema, table, gis) if gis and shape.point else [])


def pointed(schema: str, table: str, gis: str) -> list[Composed]:
    """What gives a table its point."""
    whole, point = Identifier(schema, table), Identifier(POINT)
    column = SQL("{} {}.geography({}, 4326)").format(
        point, Identifier(gis), Identifier("point")
    )
    found = [ADDED.format(table=whole, column=column)]
    if table != LATEST:
        found.append(POINTED.format(table=whole, point=point))
    return found


def added(schema: str, table: str, column: Column) -> Composed:
    """What gives a table a column that a newer fleetd writes."""
    return ADDED.format(table=Identifier(schema, table), column=declared(column))
