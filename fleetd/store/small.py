"""The small writes: names, kept states, heartbeats, refused requests, unverified bodies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct

from fleetd.store.log import Tx

REGISTER = (
    "INSERT INTO names(side, name, provider) VALUES (?, ?, ?)"
    " ON CONFLICT DO UPDATE SET provider = excluded.provider RETURNING id"
)
RENAME = "UPDATE OR IGNORE names SET name = ? WHERE side = ? AND name = ?"
KEEP = "INSERT OR REPLACE INTO kept(name, value) VALUES (?, ?)"
DROP = "DELETE FROM kept WHERE name = ?"
BEAT = "INSERT OR REPLACE INTO minutes(minute, state) VALUES (?, ?)"
UNVERIFIED = (
    "INSERT INTO unverified(source, received_ms, peer, why, headers, body)"
    " VALUES (:source, :now, :peer, :why, :headers, :body)"
)
HELD_BYTES = "SELECT coalesce(sum(length(body)), 0) FROM unverified WHERE source = ?"
OLDEST = (
    "DELETE FROM unverified WHERE id ="
    " (SELECT min(id) FROM unverified WHERE source = ?)"
)
UNVERIFIED_BYTES = 16 << 20


class Register(Struct, frozen=True):
    """Give sources and sinks their numbers; `was` keeps what a renamed one had."""

    side: str
    names: Mapping[str, str]  # name → provider or kind
    was: Mapping[str, str] = {}

    def apply(self, tx: Tx) -> dict[str, int]:
        for name, before in self.was.items():
            if (self.side, name) not in tx.log.names:
                tx.db.execute(RENAME, (name, self.side, before))
        found = {
            name: tx.db.execute(REGISTER, (self.side, name, provider)).get
            for name, provider in self.names.items()
        }
        tx.log.names.update({(self.side, name): n for name, n in found.items()})
        return found


class Keep(Struct, frozen=True):
    """Remember a small state by name; None forgets it."""

    name: str
    value: Mapping[str, Any] | None

    def apply(self, tx: Tx) -> None:
        if self.value is None:
            tx.db.execute(DROP, (self.name,))
        else:
            text = msgspec.json.encode(self.value).decode()
            tx.db.execute(KEEP, (self.name, text))


class Beat(Struct, frozen=True):
    """The heartbeat of a minute: `up`, `refusing` or `offline`."""

    minute: int
    state: str

    def apply(self, tx: Tx) -> None:
        tx.db.execute(BEAT, (self.minute, self.state))


class Refused(Struct, frozen=True):
    """Requests answered without being taken in, counted beside the ledger by status."""

    counts: Mapping[tuple[str, int, int], int]  # source, hour, status → n

    def apply(self, tx: Tx) -> None:
        for (name, hour, status), n in self.counts.items():
            scope = tx.log.names.get(("source", name), 0)
            tx.count(scope, hour, 0, "refused", n, why=str(status))


class Unverified(Struct, frozen=True):
    """Keep a body whose signature failed, apart, the oldest out beyond 16 MiB a source."""

    source: str
    received_ms: int
    peer: str
    why: str
    headers: str
    body: bytes

    def apply(self, tx: Tx) -> None:
        source = tx.log.scope("source", self.source)
        tx.db.execute(UNVERIFIED, {
            "source": source, "now": self.received_ms, "peer": self.peer,
            "why": self.why, "headers": self.headers, "body": self.body,
        })  # fmt: skip
        hour = self.received_ms // 3_600_000
        tx.count(source, hour, 0, "refused", why="unverified")
        while tx.db.execute(HELD_BYTES, (source,)).get > UNVERIFIED_BYTES:
            tx.db.execute(OLDEST, (source,))


class Nothing(Struct, frozen=True):
    """A write that changes no row: whether the writer still answers."""

    def apply(self, tx: Tx) -> None:
        del tx
