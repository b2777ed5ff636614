"""The tables as they are found in the database: made, and brought up to what is written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from psycopg.sql import SQL, Identifier

from fleetd.errors import HeldError
from fleetd.sinks.postgres import statements
from fleetd.sinks.postgres.columns import LATEST, Shape
from fleetd.sinks.postgres.statements import MARK, POINT, Statements

if TYPE_CHECKING:
    from psycopg import Connection

FOUND = """
SELECT c.relname, obj_description(c.oid, 'pg_class'), pg_has_role(c.relowner, 'USAGE'),
    array_agg(a.attname::text)
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE n.nspname = %(schema)s AND c.relname = ANY (%(tables)s)
GROUP BY c.oid
"""
GIS = """
SELECT n.nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
WHERE e.extname = 'postgis' AND has_schema_privilege(n.oid, 'USAGE')
"""
IS_THERE = "SELECT count(*) FROM pg_namespace WHERE nspname = %s"
ALONE = "SELECT pg_advisory_xact_lock(hashtextextended('fleetd ' || %s, 0))"


class Found(Struct, frozen=True):
    """A table as it is: who made it, whether we may change it, what it has."""

    ours: bool
    owned: bool
    columns: frozenset[str]


class Tables:
    """What is known of the tables over one connection."""

    def __init__(self, schema: str) -> None:
        self._schema = schema
        self._known: dict[str, Statements] = {}

    def forget(self) -> None:
        """Somebody changed them: look again."""
        self._known.clear()

    def prepare(self, link: Connection[Any], shapes: Sequence[Shape]) -> None:
        """Have the tables of these kinds be there, in a transaction of their own."""
        for shape in shapes:
            gis = {table: self._settled(link, shape, table) for table in named(shape)}
            self._known[shape.kind] = statements.statements_of(
                self._schema, shape, gis[shape.table], gis.get(LATEST, "")
            )
        link.commit()

    def lacks(self, shapes: Sequence[Shape]) -> list[Shape]:
        """Those of the kinds that were not looked at."""
        return [shape for shape in shapes if shape.kind not in self._known]

    def of(self, shape: Shape) -> Statements:
        """How a kind is written that was prepared."""
        return self._known[shape.kind]

    def _settled(self, link: Connection[Any], shape: Shape, table: str) -> str:
        """The schema of PostGIS where that table has a point, once it is as it should be."""
        gis = gis_of(link)
        found = look(link, self._schema, [table]).get(table)
        if self._lacks(found, shape, table, gis):
            self._mend(link, shape, table, gis)
            found = look(link, self._schema, [table])[table]
        has_point = found is not None and POINT in found.columns
        return gis if has_point else ""

    def _lacks(self, found: Found | None, shape: Shape, table: str, gis: str) -> bool:
        if found is None:
            return True
        names = set(statements.names_of(shape))
        if missing := sorted(names - found.columns):
            if not found.ours:
                whole = f"{self._schema}.{table}"
                why = f"{whole} is there, and fleetd did not make it"
                raise HeldError(
                    f"{why}: it has no {missing[0]}; set `schema` to another"
                )
            return True
        wanted = gis and shape.point and POINT not in found.columns
        return bool(wanted and found.ours and found.owned)

    def _mend(self, link: Connection[Any], shape: Shape, table: str, gis: str) -> None:
        """Make what is missing; two that begin at the same time do it one by one."""
        link.execute(ALONE, (self._schema,))
        there = link.execute(IS_THERE, (self._schema,)).fetchone()
        if there is None or not there[0]:
            link.execute(SQL("CREATE SCHEMA {}").format(Identifier(self._schema)))
        found = look(link, self._schema, [table]).get(table)
        if found is None:
            key = statements.LATEST_KEY if table == LATEST else statements.KEY
            todo = statements.made(self._schema, table, shape, key, gis)
        else:
            todo = [
                statements.added(self._schema, table, one)
                for one in shape.columns
                if one.name not in found.columns
            ]
            if gis and shape.point and POINT not in found.columns:
                todo += statements.pointed(self._schema, table, gis)
        for one in todo:
            link.execute(one)


def named(shape: Shape) -> list[str]:
    """The tables that a kind is written to."""
    return [shape.table, *([LATEST] if shape.kind == "position" else [])]


def gis_of(link: Connection[Any]) -> str:
    """The schema that PostGIS was put in; empty where it is not there for us."""
    found = link.execute(GIS).fetchone()
    return str(found[0]) if found else ""


def look(link: Connection[Any], schema: str, tables: Sequence[str]) -> dict[str, Found]:
    """The tables of these names that are there."""
    told = {"schema": schema, "tables": list(tables)}
    return {
        table: Found(comment == MARK, owned, frozenset(columns))
        for table, comment, owned, columns in link.execute(FOUND, told)
    }
