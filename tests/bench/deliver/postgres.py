"""To a real PostgreSQL with PostGIS: 14 columns, a point, its indexes and the latest table."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.bench.deliver.part import Far
from tests.postgres import Postgres

BUDGET = 50_000
SAFE = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"}
SINK = """
kind = "postgres"
url = "file:{url}"
schema = "s{schema}"
parallel = 2
batch = 2000
"""


@contextmanager
def far(folder: Path) -> Iterator[Far]:
    """Two requests at a time, so that neither side waits for the other.

    A server with the settings it comes with, but for a port of its own and room.
    """
    with Postgres(**SAFE, shared_buffers="256MB", max_wal_size="4GB") as server:
        url = folder / "url"
        url.touch(0o600)
        url.write_text(server.url())
        name = uuid.uuid4().hex[:8]
        yield Far(
            SINK.format(url=url, schema=name),
            (server.pid,),
        )
