"""One signed webhook at a time, for the moment a daemon first answers."""

from __future__ import annotations

import socket
import time

from tests.bench.corpus import bodies, request

PATIENCE_S = 60.0
BREATH_S = 0.002


def first_2xx(port: int, number: int) -> float:
    """Try until a webhook gets its 2xx; seconds it took, measured here."""
    whole = request(next(bodies(number)))
    began = time.monotonic()
    while not said_yes(port, whole):
        if time.monotonic() - began > PATIENCE_S:
            raise SystemExit("bench: the daemon never answered 2xx")
        time.sleep(BREATH_S)
    return time.monotonic() - began


def said_yes(port: int, whole: bytes) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), PATIENCE_S) as far:
            far.sendall(whole)
            return far.recv(4096).startswith(b"HTTP/1.1 200")
    except OSError:
        return False
