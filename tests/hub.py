"""A destination over real sockets, that remembers what it was sent and answers as it is told."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple


class Asked(NamedTuple):
    """One request as a hub saw it."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    def events(self) -> list[dict[str, Any]]:
        return list(json.loads(self.body or b"[]"))


class Hub:
    """An HTTP endpoint that remembers what it was sent, and answers as `answer` says.

    A status of 0 sends the bytes as they are, and hangs up.
    """

    def __init__(self, secured: ssl.SSLContext | None = None) -> None:
        self.asked: list[Asked] = []
        self.answer: Callable[[Asked], tuple[int, bytes]] = lambda asked: (200, b"{}")
        self.more: Mapping[str, str] = {}
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                size = int(self.headers.get("Content-Length", 0))
                headers = {name.lower(): one for name, one in self.headers.items()}
                body = self.rfile.read(size)
                if len(body) < size:  # whoever sent it was killed over it
                    return
                asked = Asked(self.command, self.path, headers, body)
                outer.asked.append(asked)
                status, said = outer.answer(asked)
                if status == 0:
                    self.wfile.write(said)
                    self.close_connection = True
                    return
                self.send_response(status)
                for name, value in outer.more.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(said)))
                self.end_headers()
                self.wfile.write(said)

            do_GET = do_OPTIONS = do_POST  # noqa: N815  their names

            def log_message(self, *_words: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        if secured is not None:
            self._server.socket = secured.wrap_socket(
                self._server.socket, server_side=True
            )
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def events(self, path: str = "") -> list[dict[str, Any]]:
        """Every event that was sent here, in order of arrival."""
        return [
            event
            for one in tuple(self.asked)
            if one.path.startswith(path)
            for event in one.events()
        ]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
