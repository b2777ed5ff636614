"""How long a sync takes in a folder, which no promise of durability can be faster than."""

from __future__ import annotations

import os
import time
from pathlib import Path

import msgspec

PAGE = b"x" * 8192


class Sync(msgspec.Struct, frozen=True):
    """In milliseconds."""

    count: int
    p50_ms: float
    p99_ms: float
    max_ms: float


def measure(folder: Path, count: int = 500, delay_ms: float = 0.0) -> Sync:
    """Append two pages and sync them, many times over, and add the delay the server is given."""
    path = folder / "sync.tmp"
    file = os.open(path, os.O_CREAT | os.O_WRONLY, 0o600)
    try:
        took = sorted(once(file) + delay_ms for _ in range(count))
    finally:
        os.close(file)
        path.unlink()
    return Sync(count, took[count // 2], took[count * 99 // 100], took[-1])


def once(file: int) -> float:
    os.write(file, PAGE)
    began = time.perf_counter()
    os.fdatasync(file)
    return (time.perf_counter() - began) * 1000
