"""Starts what is measured: fleetd and its peers, each in a folder of its own, and ends them again."""

from __future__ import annotations

import http.client
import math
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec

from tests.bench import proc
from tests.bench.corpus import SECRET
from tests.bench.options import Options
from tests.bench.tools import black_hole, tool

ROOT = Path(__file__).parents[2]
PATIENCE_S = 20
PORTS = range(10_000, 32_000)  # Linux gives outgoing connections those from 32 768 on
_ports = iter(random.sample(PORTS, len(PORTS)))


class Running(msgspec.Struct, frozen=True):
    """A server that accepts webhooks on a port, and the processes that make it up."""

    name: str
    port: int
    roots: tuple[int, ...]
    folder: Path
    status_port: int = 0

    def cpu_seconds(self) -> float:
        return proc.cpu_seconds(self.roots)

    def kill(self) -> None:
        """As a power cut would, but for the page cache."""
        for pid in self.roots:
            os.kill(pid, signal.SIGKILL)

    def memory_mb(self, field: str = "VmRSS") -> float:
        return proc.memory_mb(self.roots, field)


class Setup(msgspec.Struct, frozen=True):
    """The conditions that all contenders share, and the ones only fleetd has."""

    sync_delay_ms: float = 0.0
    files: int = 1
    hubs: int = 0
    start: str = "oldest"
    keep_raw: str = "7d"
    max_disk: str = "20GiB"
    hole_status: int = 200


def setup_of(options: Options) -> Setup:
    """The first sink is a file, every further one posts to the black hole."""
    return Setup(
        sync_delay_ms=options.sync_delay_ms,
        files=min(options.sinks, 1),
        hubs=max(options.sinks - 1, 0),
    )


CONFIG = """
[daemon]
data = "{folder}/data"
log_level = "warning"

[webhooks]
bind = ["127.0.0.1:{port}"]

[status]
bind = ["127.0.0.1:{status_port}"]

[store]
max_disk = "{setup.max_disk}"
keep_raw = "{setup.keep_raw}"

[sources.north]
provider = "motive"
webhook_secret = "env:BENCH_SECRET"

"""
FILE = """
[sinks.archive{number}]
kind = "file"
path = "{folder}/archive{number}"
start = "{setup.start}"
"""
HUB = """
[sinks.hub{number}]
kind = "http"
url = "http://127.0.0.1:{hole}/ingest"
start = "{setup.start}"
"""


@contextmanager
def fleetd(folder: Path, setup: Setup, *, wait: bool = True) -> Iterator[Running]:
    """Run the daemon with everything on: signature, dedupe, raw kept, ledger, one file sink or more sinks."""
    with ExitStack() as stack:
        hole = stack.enter_context(black_hole(setup.hole_status))
        sinks = sinks_of(folder, setup, hole)
        yield stack.enter_context(fleetd_with(folder, setup, sinks, wait=wait))


@contextmanager
def fleetd_with(
    folder: Path, setup: Setup, sinks: str, *, wait: bool = True
) -> Iterator[Running]:
    """The same with sinks of the caller's own, as the config file has them."""
    port, status_port = free_port(), free_port()
    file = folder / "fleetd.toml"
    head = CONFIG.format(folder=folder, setup=setup, port=port, status_port=status_port)
    file.write_text(head + sinks)
    command = [sys.executable, "-m", "fleetd", "-c", str(file), "run"]
    with process(command, folder, setup) as child:
        if wait:
            wait_for_port(port, child, folder)
        yield Running("fleetd", port, (child.pid,), folder, status_port)


def sinks_of(folder: Path, setup: Setup, hole: int) -> str:
    parts = [*[FILE] * setup.files, *[HUB] * setup.hubs]
    return "".join(
        part.format(folder=folder, setup=setup, hole=hole, number=number)
        for number, part in enumerate(parts)
    )


@contextmanager
def flask(folder: Path, setup: Setup) -> Iterator[Running]:
    """Run two sync workers: threads, more workers and fewer were all measured slower."""
    port = free_port()
    command = [
        *(sys.executable, "-m", "gunicorn", "--bind", f"127.0.0.1:{port}"),
        *("--workers", "2", "--worker-class", "sync"),
        *("--log-level", "warning", "--backlog", "2048"),
        "tests.bench.peers.flask_sqlite:app",
    ]
    more = {"BENCH_DATABASE": str(folder / "events.db")}
    with process(command, folder, setup, more) as child:
        wait_for_port(port, child, folder)
        yield Running("flask", port, (child.pid,), folder)


@contextmanager
def fastapi(folder: Path, setup: Setup, workers: int = 2) -> Iterator[Running]:
    """Run two workers: on two cores they take in half as much again as one."""
    if shutil.which("redis-server") is None:
        raise SystemExit("bench: no redis-server; install Debian's `redis-server`")
    port, door = free_port(), folder / "redis.sock"
    redis = [
        *("redis-server", "--port", "0", "--unixsocket", str(door)),
        *("--dir", str(folder), "--appendonly", "yes", "--appendfsync", "always"),
        *("--save", "", "--auto-aof-rewrite-percentage", "0"),
    ]
    command = [
        *(sys.executable, "-m", "uvicorn", "tests.bench.peers.fastapi_redis:app"),
        *("--host", "127.0.0.1", "--port", str(port), "--loop", "uvloop"),
        *("--http", "httptools", "--workers", str(workers), "--backlog", "2048"),
        *("--no-access-log", "--log-level", "warning"),
    ]
    more = {"BENCH_REDIS": f"unix://{door}"}
    with process(redis, folder, setup) as store:
        wait_for(door.exists, store, folder)
        with process(command, folder, Setup(), more) as child:
            wait_for_port(port, child, folder)
            yield Running("fastapi", port, (store.pid, child.pid), folder)


@contextmanager
def process(
    command: Sequence[str],
    folder: Path,
    setup: Setup,
    more: Mapping[str, str] | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command with its output in a file; at the end it and its children are gone."""
    env = {
        **os.environ,
        "BENCH_SECRET": SECRET,
        "PYTHONPATH": str(ROOT),
        **(more or {}),
    }
    if setup.sync_delay_ms:
        env["LD_PRELOAD"] = str(tool("slowsync"))
        env["BENCH_SYNC_DELAY_US"] = str(int(setup.sync_delay_ms * 1000))
    with (folder / "output.log").open("ab") as output:
        child = subprocess.Popen(
            command, env=env, stdout=output, stderr=output, start_new_session=True
        )
    try:
        yield child
    finally:
        end(child)


def end(child: subprocess.Popen[bytes]) -> None:
    """Ask nicely, then end the whole group that was started here."""
    if child.poll() is None:
        child.terminate()
    try:
        child.wait(PATIENCE_S)
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def wait_for_port(port: int, child: subprocess.Popen[bytes], folder: Path) -> None:
    def open_now() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    wait_for(open_now, child, folder)


def wait_for(
    ready: Callable[[], bool], child: subprocess.Popen[bytes], folder: Path
) -> None:
    until = time.monotonic() + PATIENCE_S
    while not ready():
        if child.poll() is not None or time.monotonic() > until:
            last = (folder / "output.log").read_text(errors="replace")[-2000:]
            raise SystemExit(f"bench: {child.args!r} did not start\n{last}")
        time.sleep(0.01)


def free_port() -> int:
    """A port that nobody listens on: never given twice, nor to an outgoing connection."""
    for port in _ports:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with suppress(OSError):
                probe.bind(("127.0.0.1", port))
                return port
    raise RuntimeError("every port is taken")


def drained(server: Running, within: float = 60.0) -> float:
    """Wait until the sinks of fleetd have everything; a peer has none. Seconds, or infinity."""
    if not server.status_port:
        return 0.0
    began = time.monotonic()
    while any(sink["waiting"] for sink in status(server)["sinks"].values()):
        if time.monotonic() - began > within:
            return math.inf
        time.sleep(0.2)
    return time.monotonic() - began


def status(server: Running) -> dict[str, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", server.status_port, timeout=10)
    try:
        connection.request("GET", "/api/status")
        answer: dict[str, Any] = msgspec.json.decode(connection.getresponse().read())
    finally:
        connection.close()
    return answer
