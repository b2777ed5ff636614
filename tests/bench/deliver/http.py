"""To an HTTP endpoint that takes everything: a small C program, so that it costs little."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.bench.deliver.part import Far
from tests.bench.tools import black_hole

BUDGET = 0  # none is set: 50 requests a second of at most 1 MiB are its limit
SINK = """
kind = "http"
url = "http://127.0.0.1:{port}/ingest"
batch = 2000
"""


@contextmanager
def far(folder: Path) -> Iterator[Far]:
    del folder
    with black_hole() as port:
        yield Far(SINK.format(port=port))
