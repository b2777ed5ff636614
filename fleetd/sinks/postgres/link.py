"""One connection, and a batch over it: in a thread, within its time, given up at a cancel."""

from __future__ import annotations

import select
import struct
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING, Any, TypeVar

import psycopg
import trio
from psycopg.abc import PQGen
from psycopg.sql import SQL, Literal
from psycopg.waiting import Ready, Wait

from fleetd.errors import HeldError
from fleetd.event import DAY_MS, Entry, millis
from fleetd.sinks.contract import Batch
from fleetd.sinks.postgres import address, verdicts
from fleetd.sinks.postgres.columns import LATEST, Shape, shape_of
from fleetd.sinks.postgres.tables import Tables, gis_of, look
from fleetd.tables import TABLES

if TYPE_CHECKING:
    from fleetd.sinks.postgres import Config

T = TypeVar("T")
GLANCE = 0.1  # seconds between two looks whether we are to stop
CANCEL_WITHIN = 2.0
IDLE = 60.0  # then a firewall may have dropped the connection: a new one is sure
LIMITS = SQL(
    "SET LOCAL statement_timeout = {}; SET LOCAL lock_timeout = {};"
    " SET LOCAL idle_in_transaction_session_timeout = {}"
)
RIGHTS = """
SELECT current_setting('server_version'),
    has_database_privilege(current_database(), 'TEMPORARY'),
    has_database_privilege(current_database(), 'CREATE'),
    (SELECT has_schema_privilege(oid, 'USAGE') FROM pg_namespace WHERE nspname = %s)
"""
SUSPECT = "clock_suspect"


class LateError(Exception):
    """The time for a batch is over, and the server has not answered."""


FAULTS = (psycopg.Error, LateError, UnicodeError, OverflowError, struct.error)


class Session(psycopg.Connection[tuple[Any, ...]]):
    """A connection that waits until a deadline, or until a cancel of who asked."""

    deadline = float("inf")

    def wait(
        self, gen: PQGen[T], interval: float = GLANCE, timeout: float | None = None
    ) -> T:
        """Do what the driver's own does, and look up from it now and then."""
        del interval, timeout
        try:
            wanted = next(gen)
            while True:
                wanted = gen.send(self._ready(wanted))
        except StopIteration as done:
            found: T = done.value
            return found

    def _ready(self, wanted: Wait) -> Ready:
        poll = select.poll()
        poll.register(self.pgconn.socket, EVENTS[wanted])
        while not (found := poll.poll(GLANCE * 1000)):
            if is_cancelled() or time.monotonic() > self.deadline:
                raise LateError
        events = found[0][1]
        gone = events & ~(select.POLLIN | select.POLLOUT)
        reads, writes = events & select.POLLIN or gone, events & select.POLLOUT or gone
        ready = (Ready.R if reads else 0) | (Ready.W if writes else 0)
        return Ready(ready & wanted) or Ready.R

    def give_up(self) -> None:
        """Have the server stop what it does for us, and leave it."""
        with suppress(psycopg.Error, OSError):
            self.cancel_safe(timeout=CANCEL_WITHIN)
        self.pgconn.finish()


EVENTS = {
    Wait.R: select.POLLIN,
    Wait.W: select.POLLOUT,
    Wait.RW: select.POLLIN | select.POLLOUT,
}


def is_cancelled() -> bool:
    """Whether whoever waits for this thread does so no longer."""
    try:
        trio.from_thread.check_cancelled()
    except trio.Cancelled:
        return True
    except RuntimeError:  # nobody does: not a thread of trio's
        return False
    return False


class Link:
    """A place for one connection, made when it is needed and again when it broke."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._session: Session | None = None
        self._tables = Tables(config.schema)
        self._used = 0.0

    def put(self, batch: Batch) -> None:
        """Have the batch committed, or raise a verdict with nothing half done."""
        session = self._open()
        try:
            parts = [(shape_of(kind), some) for kind, some in by_kind(batch.entries)]
            if new := self._tables.lacks([shape for shape, _ in parts]):
                self._limit(session)
                self._tables.prepare(session, new)
            self._limit(session)
            for shape, entries in parts:
                self._copy(session, shape, entries)
            session.commit()
        except HeldError:
            self._back_out(session)
            raise
        except FAULTS as bad:
            self._back_out(session)
            within = float(self._config.timeout)
            raise verdicts.of_write(bad, batch.entries, session, within) from bad
        self._used = time.monotonic()

    def _copy(self, session: Session, shape: Shape, entries: Sequence[Entry]) -> None:
        """Into a stage, and from there where they belong."""
        said = self._tables.of(shape)
        session.execute(said.stage)
        with session.cursor().copy(said.copy) as copy:
            copy.set_types(shape.wires)
            for entry in sorted(entries, key=BY_ID):  # two writers lock in one order
                copy.write_row(shape.row(entry))
        session.execute(said.put, {"seqs": superseded(entries)})
        if said.latest is not None:
            session.execute(said.latest, {"seqs": newest(entries)})

    def _open(self) -> Session:
        now = time.monotonic()
        if self._session is not None and now - self._used > IDLE:
            self.close()
        if self._session is None or self._session.closed:
            self._session = self._connect()
            self._tables.forget()
        self._session.deadline = now + self._config.timeout
        return self._session

    def _connect(self) -> Session:
        way = address.way_of(self._config)
        try:
            return Session.connect(**way, prepare_threshold=None)
        except psycopg.Error as bad:
            raise verdicts.of_connect(bad, way) from None  # it may quote the URL

    def _limit(self, session: Session) -> None:
        """Begin, with what the server itself shall not take longer than."""
        ms = int(self._config.timeout * 1000)
        limits = map(Literal, (ms * 9 // 10, ms // 2, ms * 2))
        session.execute(LIMITS.format(*limits))

    def _back_out(self, session: Session) -> None:
        """Take back what was not committed, if the connection is good for that."""
        status = session.pgconn.transaction_status
        try:
            if status in CALM:
                session.rollback()
                self._tables.forget()
                return
        except (psycopg.Error, LateError):
            pass
        session.give_up()

    def look(self) -> str:
        """What is there, for `check`; a right that is missing is a verdict."""
        session = self._open()
        try:
            session.read_only = True
            self._limit(session)
            return self._seen(session)
        except (psycopg.Error, LateError) as bad:
            within = float(self._config.timeout)
            raise verdicts.of_write(bad, (), session, within) from bad

    def _seen(self, session: Session) -> str:
        schema, info = self._config.schema, session.info
        row = session.execute(RIGHTS, (schema,)).fetchone()
        assert row is not None
        version, temporary, create, usage = row
        if not temporary:
            raise HeldError(verdicts.grant("TEMPORARY", "DATABASE", info.dbname, info))
        if usage is None and not create:
            raise HeldError(verdicts.no_schema(schema, info))
        if usage is False:
            raise HeldError(verdicts.grant("USAGE, CREATE", "SCHEMA", schema, info))
        there = sorted(look(session, schema, [*TABLES.values(), LATEST]))
        has = f"has {', '.join(there)}" if there else "has no table of ours yet"
        gis = "with points (PostGIS)" if gis_of(session) else "no PostGIS, no points"
        return f"PostgreSQL {version} answers; schema {schema} {has}; {gis}"

    def close(self) -> None:
        """Leave at once: what was not committed is undone by the server."""
        if self._session is not None and not self._session.closed:
            self._session.pgconn.finish()
        self._session = None


CALM = frozenset(
    {
        psycopg.pq.TransactionStatus.IDLE,
        psycopg.pq.TransactionStatus.INTRANS,
        psycopg.pq.TransactionStatus.INERROR,
    }
)
BY_KIND, BY_ID = attrgetter("kind"), attrgetter("event.id")


def by_kind(entries: Sequence[Entry]) -> Iterator[tuple[str, list[Entry]]]:
    """The entries of each kind once, the kinds in one order for all writers."""
    once = {entry.seq: entry for entry in entries}.values()
    for kind, group in groupby(sorted(once, key=BY_KIND), key=BY_KIND):
        yield kind, [*group]


def superseded(entries: Sequence[Entry]) -> list[int]:
    """The seqs of copies that a newer one among these replaces."""
    kept: dict[tuple[str, str], Entry] = {}
    older = []
    for entry in entries:
        key = entry.source, entry.event.id
        other = kept.get(key)
        if other is None:
            kept[key] = entry
        elif (other.revision, other.seq) < (entry.revision, entry.seq):
            kept[key] = entry
            older.append(other.seq)
        else:
            older.append(entry.seq)
    return older


def newest(entries: Sequence[Entry]) -> list[int]:
    """The seq of each vehicle's last fix by its own time, where that can be believed.

    While our own clock was suspect nothing was flagged: a fix from beyond its arrival
    would stay the last for ever.
    """
    last: dict[tuple[str, str], tuple[datetime, int, int]] = {}
    for entry in entries:
        fix = entry.event
        if fix.vehicle is None or fix.at is None or SUSPECT in fix.flags:
            continue
        if millis(fix.at) > entry.received_ms + DAY_MS:
            continue
        key, order = (entry.source, fix.vehicle), (fix.at, entry.revision, entry.seq)
        if key not in last or last[key] < order:
            last[key] = order
    return [seq for _, _, seq in last.values()]
