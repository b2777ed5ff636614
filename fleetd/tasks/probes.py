"""Requests of our own through the webhook door, each told from a forged one and taken once.

A vendor's request costs one look into a dict; a probe leaves nothing in the log.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import trio
from msgspec import Struct

from fleetd.web import Request, Response, complaint

HEADER = "x-fleetd-probe"
FOREIGN = 421  # Misdirected Request: what a fleetd answers to the probe of another one
WELCOME = Response(200, b'{"fleetd":"probe"}')


class Arrival(Struct, frozen=True):
    """How a probe came in, compared with how it left."""

    at: float
    path: str
    method: str
    came_from: str
    for_whom: str  # as trusted proxies tell it
    behind: bool  # somebody on the way named whom it was for
    lost: tuple[str, ...] = ()  # headers that are gone or changed
    body_changed: bool = False
    refused: str = ""  # why a webhook would be refused just now


class Probe:
    """One probe under way."""

    def __init__(self, path: str, headers: Mapping[str, str], body: bytes) -> None:
        self.path, self.headers, self.body = path, dict(headers), body
        self.arrival: Arrival | None = None
        self.arrived = trio.Event()

    def meet(self, request: Request, for_whom: str, refused: str) -> Response:
        """Take note of how it came, and answer as a webhook would be answered."""
        lost = tuple(
            name
            for name, value in self.headers.items()
            if request.header(name.lower()) != value
        )
        self.arrival = Arrival(
            trio.current_time(), request.path, request.method, request.peer, for_whom,
            bool(request.header("x-forwarded-for")), lost, request.body != self.body,
            refused,
        )  # fmt: skip
        self.arrived.set()
        if refused:
            return complaint(503, refused)
        if request.method != "POST":
            return complaint(405, "post it")
        return WELCOME if request.path == self.path else complaint(404, "another path")


class Probes:
    """The probes of one process. Nobody without its key can make one."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)
        self._open: dict[str, Probe] = {}

    @contextmanager
    def sending(
        self, path: str, headers: Mapping[str, str], body: bytes
    ) -> Iterator[tuple[Probe, str]]:
        """A probe and what to write into its header; forgotten afterwards."""
        probe, nonce = Probe(path, headers, body), secrets.token_hex(16)
        self._open[nonce] = probe
        try:
            yield probe, f"{nonce}.{self._proof(nonce)}"
        finally:
            self._open.pop(nonce, None)

    def claim(self, told: str) -> Probe | None:
        """The probe that a header speaks of; None for a forged one, or the second time."""
        nonce, _, proof = told.partition(".")
        if not hmac.compare_digest(proof.encode(), self._proof(nonce).encode()):
            return None
        return self._open.pop(nonce, None)

    def _proof(self, nonce: str) -> str:
        return hmac.digest(self._key, nonce.encode(), "sha256").hex()
