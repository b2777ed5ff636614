"""Replays and backfills: bounded work that survives a restart."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import apsw
import msgspec
from msgspec import Struct

from fleetd.errors import ConfigError
from fleetd.store.log import Tx
from fleetd.store.moves import Job
from fleetd.taking import Taking

COLUMNS = (
    "id, kind, target, spec, state, why, cursor, upto, done, total, created_ms,"
    " changed_ms"
)
ALL = f"SELECT {COLUMNS} FROM jobs ORDER BY id"
ONE = f"SELECT {COLUMNS} FROM jobs WHERE id = ?"
ADD = (
    "INSERT INTO jobs(kind, target, spec, state, why, cursor, upto, done, total,"
    " created_ms, changed_ms) VALUES (:kind, :target, :spec, 'running', '', :cursor,"
    " :upto, 0, :total, :now, :now) RETURNING id"
)
CHANGE = "UPDATE jobs SET state = :state, why = :why, changed_ms = :now WHERE id = :id"
PROGRESS = (
    "UPDATE jobs SET cursor = cursor + :records, done = :done, state = :state,"
    " changed_ms = :now WHERE id = :id"
)
SPEC = "UPDATE jobs SET spec = ? WHERE id = ?"
BOOKMARK = (
    "INSERT OR REPLACE INTO bookmarks(source, feed, value, success_ms)"
    " VALUES (?, ?, ?, ?)"
)
DROP = "DELETE FROM jobs WHERE id = ? AND state NOT IN ('running', 'paused')"
TIDY = "DELETE FROM bookmarks WHERE source = ? AND feed >= ? AND feed < ?"
WHOLE = "*"  # the bookmark of a piece that is done
FINAL = frozenset({"done", "cancelled", "failed"})
NAMED = 20  # pieces that a job names


class AddJob(Struct, frozen=True):
    """A new job; for a replay `cursor` and `upto` are seqs, (cursor, upto].

    For a backfill `cursor` counts records, `done` and `total` the pieces it is cut into.
    """

    kind: str
    target: str
    spec: Mapping[str, Any]
    cursor: int
    upto: int
    total: int
    now_ms: int

    def apply(self, tx: Tx) -> Job:
        spec = msgspec.json.encode(self.spec).decode()
        number = tx.db.execute(ADD, {
            "kind": self.kind, "target": self.target, "spec": spec,
            "cursor": self.cursor, "upto": self.upto, "total": self.total,
            "now": self.now_ms,
        }).get  # fmt: skip
        job = job_of(tx.db, number)
        tx.landed.jobs.append(job)
        return job


class ChangeJob(Struct, frozen=True):
    """Another state for a job that has not ended."""

    id: int
    state: str
    why: str
    now_ms: int

    def apply(self, tx: Tx) -> Job:
        row = tx.db.execute(ONE, (self.id,)).get
        if row is None:
            raise ConfigError(f"there is no job {self.id}; `fleetd jobs` lists them")
        job = _job(row)
        if job.state in FINAL:
            raise ConfigError(f"job {self.id} is {job.state} already")
        change = {"state": self.state, "why": self.why, "now": self.now_ms}
        tx.db.execute(CHANGE, {**change, "id": self.id})
        if self.state in FINAL and job.kind == "backfill":
            tidy(tx, job)
        job = job_of(tx.db, self.id)
        tx.landed.jobs.append(job)
        return job


class DropJob(Struct, frozen=True):
    """A job that ended leaves no row."""

    id: int

    def apply(self, tx: Tx) -> None:
        tx.db.execute(DROP, (self.id,))


class EndJob(Struct, frozen=True):
    """A job came to its end by itself; one that was ended meanwhile stays as it is."""

    id: int
    state: str
    why: str
    now_ms: int

    def apply(self, tx: Tx) -> Job:
        job = job_of(tx.db, self.id)
        if job.state in FINAL:
            return job
        return ChangeJob(self.id, self.state, self.why, self.now_ms).apply(tx)


class Tidy(Struct, frozen=True):
    """Drop what the pieces of a job noted after it had ended."""

    id: int

    def apply(self, tx: Tx) -> None:
        row = tx.db.execute(ONE, (self.id,)).get
        if row is not None and (job := _job(row)).state in FINAL:
            tidy(tx, job)


class Progress(Struct, frozen=True):
    """A backfill got on: so many records more, and one piece of it whole if `place`.

    The piece that makes it complete ends the job in the same commit, and what its
    pieces noted on the way goes. `absent` names one of which the vendor has nothing to
    tell: it counts as done, and the job says so.
    """

    id: int
    records: int
    now_ms: int
    place: str = ""
    absent: str = ""
    blind: ClassVar[bool] = True  # looks at no event of its own commit

    def apply(self, tx: Tx) -> Job:
        job = job_of(tx.db, self.id)
        if self.absent:
            spec = msgspec.json.encode(self._told(job)).decode()
            tx.db.execute(SPEC, (spec, self.id))
        if self.place:
            source = tx.log.scope("source", job.target)
            row = (source, self.place, WHOLE, self.now_ms)
            tx.db.execute(BOOKMARK, row)
            tx.landed.bookmarks[job.target, self.place] = WHOLE
        done = job.done + bool(self.place)
        ends = job.state == "running" and bool(self.place) and done >= job.total
        change = {"records": self.records, "done": done, "now": self.now_ms}
        state = "done" if ends else job.state
        tx.db.execute(PROGRESS, {**change, "state": state, "id": self.id})
        if ends:
            tidy(tx, job)
        job = job_of(tx.db, self.id)
        tx.landed.jobs.append(job)
        return job

    def _told(self, job: Job) -> dict[str, object]:
        names = [*absent_of(job)[1], self.absent][:NAMED]
        told = {"count": absent_of(job)[0] + 1, "names": names}
        return {**job.spec, "absent": told}


def absent_of(job: Job) -> tuple[int, list[str]]:
    """Of how many pieces the vendor had nothing to tell, and some of their names."""
    found = job.spec.get("absent")
    if not isinstance(found, dict):
        return 0, []
    return int(found["count"]), [str(one) for one in found["names"]]


def tidy(tx: Tx, job: Job) -> None:
    """Drop what the pieces of a backfill noted on the way."""
    source = tx.log.names.get(("source", job.target))
    first = place_of(job.id, "")
    tx.db.execute(TIDY, (source, first, first[:-1] + chr(ord(first[-1]) + 1)))


def place_of(job: int, piece: str) -> str:
    """Where a piece of a backfill keeps its bookmark."""
    return f"job:{job}/{piece}"


def job_of(db: apsw.Connection, number: int) -> Job:
    """One job as it stands."""
    return _job(db.execute(ONE, (number,)).get)


def rows_of_jobs(db: apsw.Connection) -> Iterator[Job]:
    """Every job, oldest first."""
    return (_job(row) for row in db.execute(ALL))


def _job(row: Any) -> Job:
    values = list(row)
    values[3] = msgspec.json.decode(values[3])
    return Job(*values)


def taking_of(job: Job, sink: Taking) -> Taking:
    """What a replay sends: what its sink takes, narrowed by the replay's own filters."""
    kinds = job.spec.get("kinds")
    sources = job.spec.get("sources")
    vehicles = job.spec.get("vehicles")
    units = job.spec.get("units")
    return Taking(
        kinds=sink.kinds & frozenset(kinds) if isinstance(kinds, list) else sink.kinds,
        sources=frozenset(sources) if isinstance(sources, list) else frozenset(),
        vehicles=tuple(vehicles) if isinstance(vehicles, list) else (),
        within=sink,
        units=frozenset((str(one), str(unit)) for one, unit in units)
        if isinstance(units, list)
        else frozenset(),
    )


def seqs_of(job: Job) -> list[int] | None:
    """The very events a replay sends (dead letters), if it names them."""
    found = job.spec.get("seqs")
    return [int(one) for one in found] if isinstance(found, list) else None
