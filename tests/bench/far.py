"""A hub in a process of its own: takes batches, and remembers when each came and what was in it.

    python -m tests.bench.far FILE [WAIT] [STATUS]

Its port goes to stdout. What came goes to FILE as it ends: `monotonic path events id ...` a
request, the clock that all processes of a machine share; of big batches only how many events
they held. With a WAIT every answer takes so long; a STATUS of 0 never answers.
"""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingTCPServer
from threading import Event, Thread

import msgspec

IDS = re.compile(rb'"kind":"[a-z]+","id":"([^"]*)"')
EVENT = b'"received_at":'
SMALL = 16 << 10  # bytes: what is bigger is counted only
FOREVER_S = 3600.0
SWITCH_S = 0.0005  # or a request is seen 5 ms late while another is read


class Came(msgspec.Struct, frozen=True):
    """One request, as the far side saw it."""

    at: float
    path: str
    events: int
    ids: list[str]


class Server(ThreadingTCPServer):
    daemon_threads = True
    request_queue_size = 128
    came: list[list[bytes]]
    wait: float
    status: int


class Handler(StreamRequestHandler):
    server: Server
    disable_nagle_algorithm = True

    def handle(self) -> None:
        while line := self.rfile.readline():
            at, length = time.monotonic(), 0
            while (head := self.rfile.readline()) not in (b"\r\n", b""):
                if head.lower().startswith(b"content-length:"):
                    length = int(head.split(b":")[1])
            body = self.rfile.read(length)
            if self.server.status == 0:
                time.sleep(FOREVER_S)
            time.sleep(self.server.wait)
            status = self.server.status
            self.wfile.write(b"HTTP/1.1 %d x\r\nContent-Length: 2\r\n\r\n{}" % status)
            if status < 300:
                ids = IDS.findall(body) if len(body) < SMALL else []
                count = b"%d" % body.count(EVENT)
                self.server.came.append([b"%.6f" % at, line.split()[1], count, *ids])


def main() -> None:
    file, wait, status, *_ = [*sys.argv[1:], "0", "200"]
    sys.setswitchinterval(SWITCH_S)
    with Server(("127.0.0.1", 0), Handler) as server:
        server.came, server.wait, server.status = [], float(wait), int(status)
        Thread(target=server.serve_forever, daemon=True).start()
        ended = Event()
        signal.signal(signal.SIGTERM, lambda *_: ended.set())
        print(server.server_address[1], flush=True)
        ended.wait()
        with Path(file).open("wb") as out:
            out.writelines(b" ".join(words) + b"\n" for words in server.came)


class Far:
    """Where it listens, and what came once it has ended."""

    def __init__(self, port: int, file: Path, pid: int) -> None:
        self.port, self.file, self.pid = port, file, pid

    def came(self) -> list[Came]:
        lines = (line.split() for line in self.file.read_text().splitlines())
        found = (Came(float(at), path, int(n), ids) for at, path, n, *ids in lines)
        return sorted(found, key=lambda one: one.at)


@contextmanager
def far(file: Path, wait: float = 0.0, status: int = 200) -> Iterator[Far]:
    """Run one until the block ends."""
    words = [sys.executable, "-m", "tests.bench.far", str(file), str(wait), str(status)]
    child = subprocess.Popen(words, stdout=subprocess.PIPE)
    try:
        assert child.stdout is not None
        yield Far(int(child.stdout.readline()), file, child.pid)
    finally:
        child.terminate()
        child.communicate()


if __name__ == "__main__":
    main()
