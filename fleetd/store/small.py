"""The small writes: names, kept states, heartbeats, refused requests, unverified bodies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import msgspec
from msgspec import Struct

from fleetd.store.jobs import job_of
from fleetd.store.log import Tx

REGISTER = (
    "INSERT INTO names(side, name, provider) VALUES (?, ?, ?)"
    " ON CONFLICT DO UPDATE SET provider = excluded.provider RETURNING id"
)
RENAME = "UPDATE OR IGNORE names SET name = ? WHERE side = ? AND name = ?"
RETARGET = "UPDATE jobs SET target = ? WHERE target = ? AND kind = ? RETURNING id"
KEPT_OF = (  # `word:NAME` and `word:NAME/more`
    "SELECT name, value FROM kept WHERE name GLOB '*:' || ? OR name GLOB '*:' || ? || '/*'"
)
NOT_OF = {"source": {"sink", "heard", "whole"}, "sink": {"source", "heard"}}
KEEP = "INSERT OR REPLACE INTO kept(name, value) VALUES (?, ?)"
DROP = "DELETE FROM kept WHERE name = ?"
BEAT = "INSERT OR REPLACE INTO minutes(minute, state) VALUES (?, ?)"
UNVERIFIED = (
    "INSERT INTO unverified(source, received_ms, peer, why, headers, body)"
    " VALUES (:source, :now, :peer, :why, :headers, :body)"
)
HELD_BYTES = (
    "SELECT coalesce(sum(length(body) + length(headers) + 256), 0) FROM unverified"
    " WHERE source = ?"
)
OLDEST = (
    "DELETE FROM unverified WHERE id ="
    " (SELECT min(id) FROM unverified WHERE source = ?)"
    " RETURNING length(body) + length(headers) + 256"
)
UNVERIFIED_BYTES = 16 << 20
ROW_BYTES = 256  # of a row beside its body: a flood of empty bodies is bounded too


class Register(Struct, frozen=True):
    """Give sources and sinks their numbers; `was` keeps what a renamed one had."""

    side: str
    names: Mapping[str, str]  # name → provider or kind
    was: Mapping[str, str] = {}

    def apply(self, tx: Tx) -> None:
        fresh = dict(tx.log.names)
        for name, before in self.was.items():
            if (self.side, before) in fresh and (self.side, name) not in fresh:
                self._rename(tx, before, name)
                fresh[self.side, name] = fresh.pop((self.side, before))
        for name, provider in self.names.items():
            number: int = tx.db.execute(REGISTER, (self.side, name, provider)).get
            fresh[self.side, name] = number
        tx.after(lambda: tx.log.know(fresh))

    def _rename(self, tx: Tx, before: str, name: str) -> None:
        tx.db.execute(RENAME, (name, self.side, before))
        kind = "replay" if self.side == "sink" else "backfill"
        jobs = [row[0] for row in tx.db.execute(RETARGET, (name, before, kind))]
        tx.landed.jobs += [job_of(tx.db, number) for number in jobs]
        for kept, value in kept_of(tx, self.side, before):
            word, _, rest = kept.partition(":")
            Keep(kept, None).apply(tx)
            renamed = f"{word}:{name}{rest.removeprefix(before)}"
            Keep(renamed, msgspec.json.decode(value)).apply(tx)
        if self.side == "sink":
            tx.after(lambda: tx.log.rename(before, name))


def kept_of(tx: Tx, side: str, name: str) -> list[tuple[str, str]]:
    """Every small state of a source or sink, by whatever word."""
    rows = tx.db.execute(KEPT_OF, (name, name)).fetchall()
    found = [(str(kept), str(value)) for kept, value in rows]
    return [one for one in found if one[0].partition(":")[0] not in NOT_OF[side]]


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
        tx.landed.kept[self.name] = None if self.value is None else dict(self.value)


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

    grows: ClassVar[bool] = True
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
        self._bound(tx, source)

    def _bound(self, tx: Tx, source: int) -> None:
        """The sum is kept in memory: anybody may send these, they must cost little."""
        apart = tx.log.apart
        if source in apart:
            apart[source] += len(self.body) + len(self.headers) + ROW_BYTES
        else:
            apart[source] = tx.db.execute(HELD_BYTES, (source,)).get
        while apart[source] > UNVERIFIED_BYTES:
            freed = tx.db.execute(OLDEST, (source,)).get
            if freed is None:
                apart.pop(source)  # others were taken in meanwhile: count anew
                return
            apart[source] -= freed


class Nothing(Struct, frozen=True):
    """A write that changes no row: whether the writer still answers."""

    def apply(self, tx: Tx) -> None:
        del tx
