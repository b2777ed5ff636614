"""The C helpers of the bench, compiled when they are needed: the load, the black hole, the slow sync."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import msgspec

HERE = Path(__file__).parent
FLAGS = {"slowsync": ["-shared", "-fPIC", "-ldl"]}


class Latency(msgspec.Struct, frozen=True):
    """In milliseconds, from the moment each request was due."""

    count: int
    min: float
    mean: float
    p50: float
    p90: float
    p99: float
    p999: float
    max: float


class Load(msgspec.Struct, frozen=True):
    """What the load generator saw."""

    sent: int
    unsent: int
    answered: int
    broken: int
    malformed: int
    unanswered: int
    reconnected: int
    exhausted: bool
    seconds: float
    in_window: int
    rate_per_s: float
    statuses: dict[str, int]
    latency_ms: Latency
    own_cpu_s: float

    @property
    def wrong(self) -> int:
        """Everything that did not end in a 200."""
        refused = self.answered - self.statuses.get("200", 0)
        return refused + self.broken + self.malformed + self.unanswered + self.unsent


def load(
    port: int,
    requests: Path,
    *,
    connections: int = 64,
    warmup: float = 1.0,
    seconds: float = 8.0,
    rate: float = 0.0,
) -> Load:
    """Send the requests for a while; a rate of 0 means as fast as the answers come."""
    told = [port, requests, connections, warmup, seconds, rate]
    run = subprocess.run(
        [tool("load"), *map(str, told)], stdout=subprocess.PIPE, check=True
    )
    return msgspec.json.decode(run.stdout, type=Load)


@contextmanager
def black_hole(status: int = 200) -> Iterator[int]:
    """Answer every request of the sinks the same, on the port given."""
    hole = subprocess.Popen([tool("hole"), str(status)], stdout=subprocess.PIPE)
    try:
        assert hole.stdout is not None
        yield int(hole.stdout.readline())
    finally:
        hole.terminate()
        hole.communicate()


@cache
def tool(name: str) -> Path:
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise SystemExit(
            "bench: no C compiler (cc); install one, e.g. `apt-get install gcc`"
        )
    made = folder() / name
    command = [compiler, "-O2", "-Wall", "-Wextra", "-o", str(made)]
    source = str(HERE / f"{name}.c")
    subprocess.run([*command, source, *FLAGS.get(name, [])], check=True)
    return made


@cache
def folder() -> Path:
    """A place for what was compiled; it is removed when the process ends."""
    keeper = tempfile.TemporaryDirectory(prefix="fleetd-bench-tools-")
    kept.append(keeper)
    return Path(keeper.name)


kept: list[tempfile.TemporaryDirectory[str]] = []
