"""What the fakes that are posted to share: faults by script, over a socket or in virtual time."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

import httpx


class Asked(NamedTuple):
    """One request."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


class Reply(NamedTuple):
    """An answer; status 0 hangs up without one."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = {}


HANG_UP = Reply(0)


class Cloud(ABC):
    """Answers as `judge` says, but for what is scripted.

    A fault of `script` is a reply that is given instead of judging the request, or, in
    `after`, a reply given although the request was judged and did what it does.
    """

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.script: list[Reply | None] = []
        self.after: list[Reply | None] = []
        self.now: Callable[[], float] | None = None  # limits are kept where it is set
        self._alone = threading.Lock()
        self._server: ThreadingHTTPServer | None = None

    @abstractmethod
    def judge(self, asked: Asked) -> Reply:
        """What the real one would answer, having done it."""

    def answer(self, asked: Asked) -> Reply:
        with self._alone:
            self.asked.append(asked)
            instead = self.script.pop(0) if self.script else None
            if instead is not None:
                return instead
            judged = self.judge(asked)
            after = self.after.pop(0) if self.after else None
            return after if after is not None else judged

    # in virtual time

    def transport(self) -> httpx.MockTransport:
        def answer(request: httpx.Request) -> httpx.Response:
            path = request.url.raw_path.decode()
            headers = {name.lower(): one for name, one in request.headers.items()}
            reply = self.answer(Asked(request.method, path, headers, request.content))
            if reply.status == 0:
                raise httpx.ReadError("connection reset")
            return httpx.Response(
                reply.status, content=reply.body, headers=dict(reply.headers)
            )

        return httpx.MockTransport(answer)

    # over a socket

    def serve(self) -> int:
        """Open a port; what was opened is closed by `close`."""
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                size = int(self.headers.get("Content-Length", 0))
                headers = {name.lower(): one for name, one in self.headers.items()}
                body = self.rfile.read(size)
                if len(body) < size:  # whoever sent it was killed over it
                    return
                reply = outer.answer(Asked(self.command, self.path, headers, body))
                if reply.status == 0:
                    self.close_connection = True
                    return
                self.send_response(reply.status)
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(reply.body)))
                self.end_headers()
                self.wfile.write(reply.body)

            do_GET = do_OPTIONS = do_POST  # noqa: N815  their names

            def log_message(self, *_words: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            def handle_error(self, *_peer: Any) -> None:
                pass  # daemons are killed in the middle of a request

        self._server = Server(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return int(self._server.server_address[1])

    def close(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
