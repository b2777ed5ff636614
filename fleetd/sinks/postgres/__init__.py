"""PostgreSQL, with PostGIS or without: a table a kind, and where each vehicle is now.

A repeat is harmless: a batch is one transaction, rows are keyed by (`source`, `id`), and
one is replaced only by a copy with a newer (`revision`, `seq`). `latest_positions` has
one row a vehicle, written only by a fix with a newer (`timestamp`, `revision`, `seq`):
neither a replay nor what comes late moves it back, and a fix whose device clock is
suspect never gets in. A connection that breaks while a commit is under way leaves open
whether it was done; the same batch again settles it.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from msgspec import Struct

from fleetd.config.units import Seconds
from fleetd.errors import HeldError, said
from fleetd.secrets import Secret
from fleetd.sinks.contract import Batch, Receipt, Sink, Write
from fleetd.world import World

if TYPE_CHECKING:
    from fleetd.sinks.postgres.link import Link

EXTRA = "pip install 'fleetd[postgres]'"
SCHEMA = re.compile(r"[^\W\d][\w$ -]*")
LONGEST = 63


class Config(Struct, frozen=True, forbid_unknown_fields=True):
    """`[sinks.NAME]` with `kind = "postgres"`."""

    docs: ClassVar[dict[str, str]] = {
        "url": "`postgresql://user:password@host/database`, or as libpq takes it",
        "schema": "where the tables are; made where it is missing",
        "tls": "none given: what `url` says, else nothing but loopback and sockets goes"
        " without a certificate that is checked",
        "ca": "certificates to believe instead of the system's, PEM",
        "timeout": "how long one batch may take, the connection included",
    }
    url: Secret
    schema: str = "fleetd"
    tls: Literal["verify-full", "verify-ca", "require", "prefer", "disable"] | None = (
        None
    )
    ca: Path | None = None
    timeout: Seconds = Seconds(20)

    def __post_init__(self) -> None:
        if not is_installed():
            raise ValueError(f"kind: postgres needs an extra: {EXTRA}")
        name = self.schema  # the server cuts what is longer, and then it is not found
        if not SCHEMA.fullmatch(name) or len(name.encode()) > LONGEST:
            raise ValueError("schema: takes up to 63 bytes of letters, digits and _")
        if name.startswith("pg_"):
            raise ValueError("schema: names that begin with pg_ are the server's own")
        if not 1 <= self.timeout <= 25:
            raise ValueError('timeout: between "1s" and "25s"')


def is_installed() -> bool:
    """Whether the driver is there; it is not loaded before it is needed."""
    try:
        return find_spec("psycopg") is not None
    except (ImportError, ValueError):
        return False


class Database:
    """The configured database, by as many connections as requests go at a time."""

    def __init__(self, config: Config, world: World) -> None:
        self._config, self._world = config, world
        self._idle: list[Link] = []

    async def write(self, batch: Batch) -> Receipt:
        """Have a batch committed; a cancel comes back at once, and nothing is left."""
        link = self._idle.pop() if self._idle else await self._world.in_thread(self.new)
        try:
            await self._world.in_thread(partial(link.put, batch))
        finally:
            self._idle.append(link)
        return Receipt()

    def new(self) -> Link:
        """A connection to be; the driver takes 25 MB, so it is loaded here."""
        try:
            from fleetd.sinks.postgres.link import Link
        except ImportError as bad:
            why = f"psycopg does not load ({said(bad)[:200]}): {EXTRA}"
            raise HeldError(why) from bad
        return Link(self._config)

    def close(self) -> None:
        while self._idle:
            self._idle.pop().close()


async def check(config: Config, world: World) -> str:
    """Connect, and look what is there and what we may do; nothing is made or written."""

    def look() -> str:
        link = Database(config, world).new()
        try:
            return link.look()
        finally:
            link.close()

    return str(await world.in_thread(look))


@asynccontextmanager
async def open_postgres(
    config: Config, world: World, place: str
) -> AsyncIterator[Write]:
    """Connections are made when there is something to write; `place` is not used."""
    del place
    database = Database(config, world)
    try:
        yield database.write
    finally:
        database.close()


SINK = Sink(
    config=Config,
    open=open_postgres,
    takes=("position",),
    batch=5000,
    batch_bytes=0,
    linger=0.2,
    per_second=50.0,
    burst=10,
    check=check,
)
