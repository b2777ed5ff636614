"""To Parquet files by day: 14 columns, zstd, each batch on the disk before the next."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.bench.deliver.part import Far

BUDGET = 100_000
MEMORY_MB = 160  # the daemon's 90, and 70 of its process while that writes
SINK = """
kind = "parquet"
path = "{path}"
linger = "0s"
"""


@contextmanager
def far(folder: Path) -> Iterator[Far]:
    """A folder on the same disk; the process that writes is counted with the daemon."""
    path = folder / f"lake-{uuid.uuid4().hex[:8]}"
    yield Far(SINK.format(path=path))
    shutil.rmtree(path, ignore_errors=True)
