"""A road to PostgreSQL that is cut when it hurts most: as a commit is under way."""

from __future__ import annotations

import random
import socket
import struct
import threading
from contextlib import suppress
from typing import Self

COMMIT = b"Q\x00\x00\x00\x0bCOMMIT\x00"
RESET = struct.pack("ii", 1, 0)  # close with a reset, not in peace
CHUNK = 1 << 16


class Cutter:
    """Carries bytes to and fro, and of every so many commits ends one badly.

    `lost` counts those that the server never saw; `unclear` those that it did, and
    answered, before the connection was reset.
    """

    def __init__(self, port: int, chance: random.Random, *, every: int) -> None:
        self.lost = self.unclear = self.passed = 0
        self._target, self._chance, self._every = port, chance, every
        self._alone = threading.Lock()
        self._door = socket.create_server(("127.0.0.1", 0))
        self.port = self._door.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._door.close()

    def calm(self) -> None:
        """From now on it cuts nothing."""
        self._every = 1 << 60

    def _serve(self) -> None:
        while True:
            try:
                peer, _ = self._door.accept()
            except OSError:
                return
            threading.Thread(target=self._carry, args=(peer,), daemon=True).start()

    def _carry(self, peer: socket.socket) -> None:
        try:
            server = socket.create_connection(("127.0.0.1", self._target))
        except OSError:  # it is not there just now
            peer.close()
            return
        with peer, server:
            back = threading.Thread(target=pump, args=(server, peer), daemon=True)
            back.start()
            with suppress(OSError):
                while part := peer.recv(CHUNK):
                    if COMMIT in part and (fate := self._fate()):
                        self._cut(fate, part, peer, server)
                        break
                    server.sendall(part)
            for one in (peer, server):
                with suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
            back.join(10)

    def _fate(self) -> str:
        with self._alone:
            if self._chance.randrange(self._every):
                self.passed += 1
                return ""
            fate = "lost" if self.lost < self.unclear else "unclear"
            setattr(self, fate, getattr(self, fate) + 1)
            return fate

    def _cut(
        self, fate: str, part: bytes, peer: socket.socket, server: socket.socket
    ) -> None:
        """Reset the client; before that, perhaps, let the server do it."""
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        if fate == "unclear":
            peer.shutdown(socket.SHUT_WR)  # it hears no answer, only that it is over
            server.sendall(part)
            server.shutdown(socket.SHUT_WR)
            with suppress(OSError):
                while server.recv(CHUNK):
                    pass


def pump(source: socket.socket, sink: socket.socket) -> None:
    """From one to the other until either ends."""
    with suppress(OSError):
        while part := source.recv(CHUNK):
            sink.sendall(part)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
