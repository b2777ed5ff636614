"""Vendors that send until they are answered, and remember every 200 outside the tested folder."""

from __future__ import annotations

import json
import os
import random
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any, Self

from tests.bench import corpus

PATIENCE_S = 15.0
REST_S = 0.02
PAGE = 250
Made = tuple[
    frozenset[str], bytes
]  # the events it makes, by kind and id, and the request
Make = Callable[[int], Made]


def mixed(number: int) -> Made:
    """Mostly points; now and then a violation (the safety lane) and a vehicle (the directory)."""
    if number % 100 == 7:
        return violation(number)
    if number % 100 == 13:
        return vehicle(number)
    return point(number)


def point(number: int, later: timedelta = timedelta()) -> Made:
    """One location."""
    at = datetime.now(UTC) + later
    body = corpus.body(number, at, random.Random(number)).encode()
    return frozenset({f"position {corpus.uuid(number)}"}), corpus.request(body)


def page(number: int) -> Made:
    """Many points of much text in one request, as Motive sends them when it catches up."""
    at, chance = datetime.now(UTC), random.Random(number)
    numbers = range(number * PAGE, (number + 1) * PAGE)
    bodies = [
        corpus.body(one, at, chance).replace(
            '"description":"', f'"description":"{chance.randbytes(1000).hex()} '
        )
        for one in numbers
    ]
    names = frozenset(f"position {corpus.uuid(one)}" for one in numbers)
    return names, corpus.request(f"[{','.join(bodies)}]".encode())


def violation(number: int) -> Made:
    told = {
        "action": "hos_violation_upserted",
        "id": number,
        "type": "driving_11",
        "name": "11 Hour Driving Limit",
        "start_time": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        "end_time": None,
        "user": {"id": 10769630, "first_name": "Dana", "last_name": "Whitfield"},
    }
    return frozenset({f"duty {number}"}), corpus.request(json.dumps(told).encode())


def vehicle(number: int) -> Made:
    told = {
        "action": "vehicle_upserted",
        "id": number,
        "number": f"V-{number}",
        "status": "active",
        "vin": "1FUJHHDR3MLMT2101",
        "updated_at": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        "trigger": "updated",
    }
    return frozenset({f"vehicle {number}"}), corpus.request(json.dumps(told).encode())


class Line:
    """One keep-alive connection, opened again when it is gone."""

    def __init__(self, port: int, patience: float = PATIENCE_S) -> None:
        self._port, self._patience = port, patience
        self._socket: socket.socket | None = None
        self._file: Any = None

    def post(self, request: bytes) -> tuple[int, dict[str, str], bytes]:
        """Send it whole and read the answer; an `OSError` says that none came."""
        try:
            if self._socket is None:
                address = ("127.0.0.1", self._port)
                self._socket = socket.create_connection(address, self._patience)
                self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._file = self._socket.makefile("rb")
            self._socket.sendall(request)
            return self._answer()
        except OSError:
            self.close()
            raise

    def _answer(self) -> tuple[int, dict[str, str], bytes]:
        first = self._file.readline()
        if not first.endswith(b"\n"):
            raise ConnectionResetError("the connection ended without an answer")
        headers = {}
        while (row := self._file.readline()) not in {b"\r\n", b""}:
            name, _, value = row.decode().partition(":")
            headers[name.strip().lower()] = value.strip()
        size = int(headers.get("content-length", 0))
        body = self._file.read(size)
        if len(body) < size:
            raise ConnectionResetError("the connection ended within an answer")
        if headers.get("connection", "").lower() == "close":
            self.close()
        return int(first.split()[1]), headers, body

    def close(self) -> None:
        if self._socket is not None:
            self._file.close()
            self._socket.close()
            self._socket = None


class Load:
    """Some vendors' worth of threads; each sends one body until it is answered with 200."""

    def __init__(
        self,
        port: int,
        record: Path,
        *,
        clients: int = 4,
        first: int = 0,
        make: Make = mixed,
        rest: float = 0.001,
        failed: Callable[[], int] = lambda: 0,
    ) -> None:
        self.acked: set[str] = set()
        self.acked_after: set[str] = set()  # sent when a call had failed already
        self.answers: Counter[int] = Counter()
        self.broken = 0  # requests that were sent whole and got no answer
        self.wrong: list[str] = []
        self.retry_after: set[str] = set()
        self.slowest = 0.0
        self._port, self._make, self._rest = port, make, rest
        self._failed = failed
        self._stop = threading.Event()
        self._record = os.open(record, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self._threads = [
            threading.Thread(target=self._run, args=(count(first + one, clients),))
            for one in range(clients)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def no_more(self) -> None:
        """Let each wait for the answer it waits for now, and then end."""
        self._stop.set()

    def __exit__(self, *_: object) -> None:
        self.no_more()
        for thread in self._threads:
            thread.join()
        os.close(self._record)

    def wait(self, seconds: float) -> None:
        """Let it go on for a while."""
        self._stop.wait(seconds)

    def until_acked(self, more: int, within: float = 60.0) -> None:
        """Wait until so many more were answered with 200."""
        wanted, end = len(self.acked) + more, time.monotonic() + within
        while len(self.acked) < wanted:
            assert time.monotonic() < end, f"only {self.answers} within {within} s"
            time.sleep(0.002)

    def so_far(self) -> set[str]:
        """What was acknowledged before this was called."""
        return self.acked.copy()  # one step under the interpreter's lock

    def _run(self, numbers: count[int]) -> None:
        line = Line(self._port)
        for number in numbers:
            made = self._make(number)
            while not self._stop.is_set() and not self._taken(line, made):
                time.sleep(REST_S)
            if self._stop.is_set():
                break
            time.sleep(self._rest)
        line.close()

    def _taken(self, line: Line, made: Made) -> bool:
        names, request = made
        began, after = time.monotonic(), self._failed() > 0
        try:
            status, headers, body = line.post(request)
        except ConnectionRefusedError:
            self.answers[0] += 1
            return False
        except OSError:
            self.answers[0] += 1
            self.broken += 1
            return False
        self.slowest = max(self.slowest, time.monotonic() - began)
        self.answers[status] += 1
        if status != 200:
            self.retry_after.add(headers.get("retry-after", ""))
            return False
        counts = json.loads(body)
        if counts["stored"] + counts["duplicate"] != len(names):
            self.wrong.append(f"{names}: {body.decode()}")
        os.write(self._record, "".join(f"{name}\n" for name in names).encode())
        self.acked |= names
        if after:
            self.acked_after |= names
        return True


def send(port: int, made: Made, patience: float = PATIENCE_S) -> int:
    """Send one; its status."""
    line = Line(port, patience)
    try:
        return line.post(made[1])[0]
    finally:
        line.close()
