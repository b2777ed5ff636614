"""The load generator sends what it was given, counts what came back, and waits for no one in an open loop."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Iterator

import pytest

from tests.bench.corpus import corpus
from tests.bench.tools import black_hole, load


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    refuse_every = 0
    bodies: set[bytes]
    turn: threading.Lock


class Handler(socketserver.StreamRequestHandler):
    server: Server

    def handle(self) -> None:
        while self.rfile.readline():
            length = 0
            while (line := self.rfile.readline()) not in (b"\r\n", b""):
                if line.lower().startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
            self.wfile.write(self.answer(self.rfile.read(length)))

    def answer(self, body: bytes) -> bytes:
        with self.server.turn:
            self.server.bodies.add(body)
            many, every = len(self.server.bodies), self.server.refuse_every
        status = 503 if every and many % every == 0 else 200
        return b"HTTP/1.1 %d x\r\nContent-Length: 3\r\n\r\nyes" % status


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Handler) as one:
        one.bodies, one.turn = set(), threading.Lock()
        threading.Thread(target=one.serve_forever, daemon=True).start()
        yield one
        one.shutdown()


def test_a_closed_loop_sends_each_request_once(server: Server) -> None:
    with corpus(500) as requests:
        seen = load(server.server_address[1], requests, warmup=0, seconds=60)

    assert len(server.bodies) == 500
    assert seen.statuses == {"200": 500}
    assert seen.exhausted
    assert seen.wrong == 0


def test_an_open_loop_sends_what_is_due(server: Server) -> None:
    with corpus(500) as requests:
        seen = load(server.server_address[1], requests, warmup=0, seconds=1, rate=200)

    assert seen.sent + seen.unsent == 200
    assert len(server.bodies) == seen.sent


def test_an_answer_that_is_no_200_is_counted(server: Server) -> None:
    server.refuse_every = 10
    with corpus(100) as requests:
        seen = load(
            server.server_address[1], requests, connections=1, warmup=0, seconds=60
        )

    assert seen.statuses == {"200": 90, "503": 10}
    assert seen.wrong == 10


def test_the_black_hole_answers_what_it_was_told() -> None:
    with corpus(100) as requests, black_hole(503) as port:
        seen = load(port, requests, warmup=0, seconds=60)

    assert seen.statuses == {"503": 100}
