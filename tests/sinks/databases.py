"""A schema of a test's own in a real database, and the sink that writes to it."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from psycopg import connect
from psycopg.rows import dict_row
from psycopg.sql import SQL, Identifier

from fleetd.event import Entry
from fleetd.secrets import Secret
from fleetd.sinks.contract import Write
from fleetd.sinks.postgres import SINK, Config
from fleetd.world import World
from tests.postgres import BOSS, GIS, Postgres
from tests.sinks.things import batch


class Place:
    """Where one test writes: a database, a schema, and a look at what is there."""

    def __init__(
        self, server: Postgres, database: str = GIS, schema: str = "", **config: Any
    ) -> None:
        self.server, self.database = server, database
        self.schema = schema or f"t_{uuid.uuid4().hex[:12]}"
        told = {"url": Secret(f"plain:{server.url(database)}"), **config}
        self.config = Config(**told, schema=self.schema)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Write]:
        async with SINK.open(self.config, World(), "") as write:
            yield write

    async def write(self, *batches: Sequence[Entry]) -> None:
        """Each batch in turn, over one connection."""
        async with self.open() as write:
            for one in batches:
                await write(batch(list(one)))

    def rows(self, table: str = "positions") -> list[dict[str, Any]]:
        """The rows in order of seq, with what tells whether they were written again."""
        query = SQL("SELECT *, xmin::text FROM {} ORDER BY seq")
        with connect(self.server.url(self.database, BOSS), row_factory=dict_row) as one:
            return one.execute(query.format(Identifier(self.schema, table))).fetchall()

    def do(self, query: str, table: str = "positions") -> list[tuple[Any, ...]]:
        """Run SQL by who may do everything; `{}` is the table."""
        told = SQL(query).format(Identifier(self.schema, table))  # type: ignore[arg-type]
        with connect(self.server.url(self.database, BOSS), autocommit=True) as one:
            found = one.execute(told)
            return found.fetchall() if found.description else []

    def columns(self, kind: str) -> str:
        """The columns of a kind's table as SQL declares them."""
        from fleetd.sinks.postgres.columns import shape_of

        return ", ".join(f'"{one.name}" {one.type}' for one in shape_of(kind).columns)
