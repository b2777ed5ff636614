"""A destination of the test's own: slow to answer, and it remembers what it was sent."""

from __future__ import annotations

import json
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any, Self

SINK = """
[sinks.hub]
kind = "http"
url = "http://127.0.0.1:{port}/ingest"
batch = {batch}
"""


class FarSide:
    """Takes arrays of events; `pause` is how long each request takes.

    While `free` is not set, no request is answered at all.
    """

    def __init__(self, pause: float = 0.0) -> None:
        self.pause = pause
        self.free = Event()
        self.free.set()
        self.seqs: Counter[int] = Counter()
        far = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                size = int(self.headers["Content-Length"])
                body = self.rfile.read(size)
                if len(body) < size:  # whoever sent it was killed over it
                    return
                far.seqs.update(one["seq"] for one in json.loads(body))
                time.sleep(far.pause)
                far.free.wait()
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = Thread(target=self._server.serve_forever, daemon=True)

    def sink(self, batch: int = 500) -> str:
        """Its table in the config."""
        return SINK.format(port=self._server.server_address[1], batch=batch)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.free.set()
        self._server.shutdown()
        self._server.server_close()
