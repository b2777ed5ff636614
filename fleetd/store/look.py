"""Looking into the log: events by what an operator knows of them, and one of them whole."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from heapq import merge
from itertools import islice
from typing import Any

import apsw
import msgspec
from msgspec import Struct

from fleetd.event import CODES, KINDS, ORIGINS, AnyEvent, Entry, unpack
from fleetd.store.moves import Attempt
from fleetd.store.rows import gather

EXAMINED = 20_000  # rows one look goes through before it says how far it came
HELD = 8 << 20  # bytes of events in one look, or little more: one may have a megabyte
AT_ONCE = 8  # rows that are fetched by their seqs, of a megabyte each at worst
AROUND = 5_000  # rows on either side in which revisions of an event are sought
COLUMNS = "seq, source, lane, origin, received_ms, revision, crc, body, kind, raw, part"
ONE = f"SELECT {COLUMNS} FROM events WHERE seq = ?"
PICK = f"SELECT {COLUMNS} FROM events WHERE seq IN"
UP = f"SELECT {COLUMNS} FROM events WHERE seq > ? AND seq < ? ORDER BY seq LIMIT ?"
DOWN = (
    f"SELECT {COLUMNS} FROM events WHERE seq > ? AND seq < ? ORDER BY seq DESC LIMIT ?"
)
KIND_UP = (
    "SELECT seq FROM events WHERE kind = ? AND seq > ? AND seq < ? ORDER BY seq LIMIT ?"
)
KIND_DOWN = (
    "SELECT seq FROM events WHERE kind = ? AND seq > ? AND seq < ?"
    " ORDER BY seq DESC LIMIT ?"
)
RAW = (
    "SELECT feed, received_ms, signed_ms, verdict, headers, packed, body FROM raw"
    " WHERE id = ?"
)
CARRIED = (
    "SELECT sink, job, lane, first, last, n, verdict, status, ms, at_ms, key, answer"
    " FROM (SELECT * FROM attempts WHERE last >= ? ORDER BY last LIMIT 20000)"
    " WHERE first <= ? ORDER BY id LIMIT 200"
)
ASIDES = (
    "SELECT id, source, hour, outcome, why, kind, event, vehicle, raw, part FROM asides"
    " WHERE id < ? AND id > ? ORDER BY id DESC LIMIT ?"
)
ASIDES_UP = (
    "SELECT id, source, hour, outcome, why, kind, event, vehicle, raw, part FROM asides"
    " WHERE id > ? ORDER BY id LIMIT ?"
)
NAMES = "SELECT id, name, provider FROM names WHERE side = 'source'"
SINKS = "SELECT id, name FROM names WHERE side = 'sink'"
FIRST_ASIDE = "SELECT id, hour FROM asides WHERE id >= ? ORDER BY id LIMIT 1"
EDGES_OF_ASIDES = "SELECT coalesce(min(id), 1), coalesce(max(id), 0) FROM asides"


class Filter(Struct, frozen=True):
    """Which events are meant; what is empty means all of them."""

    kinds: frozenset[str] = frozenset()
    sources: frozenset[str] = frozenset()
    vehicle: str = ""
    units: frozenset[tuple[str, str]] | None = None  # what `vehicle` names, if known

    def fits(self, source: str, event: AnyEvent) -> bool:
        """Whether this event is meant."""
        if self.kinds and event.kind not in self.kinds:
            return False
        if self.sources and source not in self.sources:
            return False
        if not self.vehicle:
            return True
        if self.units is not None and (source, event.vehicle) in self.units:
            return True
        names = (event.vehicle, event.number, event.vin, getattr(event, "plate", None))
        return any(same(self.vehicle, one) for one in names if one)

    @property
    def codes(self) -> list[int]:
        """The kinds as the log stores them."""
        return sorted(CODES[kind] for kind in self.kinds)


def same(wanted: str, name: str) -> bool:
    """Whether a name is what was typed: whole or glob, any case."""
    return fnmatchcase(name.lower(), wanted.lower())


class Found(Struct, frozen=True):
    """One look: entries oldest first; `low` and `high` are how far it went, exclusive."""

    entries: tuple[Entry, ...]
    low: int
    high: int
    damaged: tuple[int, ...] = ()


def source_names(db: apsw.Connection) -> dict[int, tuple[str, str]]:
    """Number → name and provider of every source the log knows."""
    return {n: (name, provider) for n, name, provider in db.execute(NAMES)}


def newest(
    db: apsw.Connection, wanted: Filter, low: int, high: int, limit: int
) -> Found:
    """The last `limit` events meant in (low, high), or fewer; `low` says how far it went."""
    found, seqs = _take(db, wanted, low, high, limit, down=True)
    reached = seqs if seqs is not None else low
    return Found(tuple(reversed(found.entries)), reached, high, found.damaged)


def oldest(
    db: apsw.Connection, wanted: Filter, low: int, high: int, limit: int
) -> Found:
    """The first `limit` events meant in (low, high), or fewer; `high` says how far it went."""
    found, seqs = _take(db, wanted, low, high, limit, down=False)
    return Found(found.entries, low, high if seqs is None else seqs + 1, found.damaged)


def _take(
    db: apsw.Connection, wanted: Filter, low: int, high: int, limit: int, *, down: bool
) -> tuple[Found, int | None]:
    """What fits, and the last seq looked at if the look ended early."""
    names = source_names(db)
    entries: list[Entry] = []
    damaged: list[int] = []
    examined = held = 0
    for row in _rows(db, wanted, low, high, down=down):
        examined += 1
        entry = entry_of(row, names)
        if entry is None:
            damaged.append(row[0])
        elif wanted.fits(entry.source, entry.event):
            entries.append(entry)
            held += len(row[7])
        if len(entries) >= limit or examined >= EXAMINED or held >= HELD:
            return Found(tuple(entries), low, high, tuple(damaged)), row[0]
    return Found(tuple(entries), low, high, tuple(damaged)), None


def _rows(
    db: apsw.Connection, wanted: Filter, low: int, high: int, *, down: bool
) -> Iterator[Any]:
    if not wanted.kinds:
        yield from db.execute(DOWN if down else UP, (low, high, EXAMINED))
        return
    query = KIND_DOWN if down else KIND_UP
    each = [
        (seq for (seq,) in db.execute(query, (code, low, high, EXAMINED)))
        for code in wanted.codes
    ]
    merged = islice(merge(*each, reverse=down), EXAMINED)
    while seqs := list(islice(merged, AT_ONCE)):
        yield from sorted(gather(db, PICK, seqs), reverse=down)


def entry_of(row: Sequence[Any], names: dict[int, tuple[str, str]]) -> Entry | None:
    """A row as an entry, or None where its bytes are damaged."""
    seq, source, lane, origin, received, revision, crc, body = row[:8]
    if zlib.crc32(body, seq & 0xFFFFFFFF) != crc:
        return None
    try:
        event = unpack(body)
    except msgspec.DecodeError:
        return None
    name, provider = names.get(source, ("?", ""))
    return Entry(seq, name, provider, event, revision, received, ORIGINS[origin], lane)


class Received(Struct, frozen=True):
    """The request or page an event came in, as it was received."""

    feed: str
    received_ms: int
    signed_ms: int | None
    verdict: str
    headers: dict[str, str]
    body: bytes


class Whole(Struct, frozen=True):
    """Everything the log knows of one event."""

    entry: Entry | None
    damaged: bool
    part: int
    received: Received | None
    revisions: tuple[Entry, ...]
    carried: tuple[Attempt, ...]


def whole(db: apsw.Connection, seq: int) -> Whole | None:
    """One event with its bytes, its revisions near by and the requests that carried it."""
    row = db.execute(ONE, (seq,)).get
    if row is None:
        return None
    entry = entry_of(row, source_names(db))
    raw = db.execute(RAW, (row[9],)).get if row[9] else None
    return Whole(
        entry,
        entry is None,
        row[10],
        _received(raw) if raw else None,
        tuple(_revisions(db, entry)) if entry else (),
        tuple(carried(db, seq)),
    )


def _received(row: Sequence[Any]) -> Received:
    feed, received, signed, verdict, headers, packed, body = row
    return Received(
        feed, received, signed, verdict, msgspec.json.decode(headers),
        zlib.decompress(body) if packed else body,
    )  # fmt: skip


def _revisions(db: apsw.Connection, entry: Entry) -> Iterator[Entry]:
    """Other copies of the same event, among the nearest of its kind."""
    names, code, seq = source_names(db), CODES[entry.kind], entry.seq
    before = db.execute(KIND_DOWN, (code, 0, seq, AROUND))
    after = db.execute(KIND_UP, (code, seq, 1 << 62, AROUND))
    near = sorted(one for (one,) in (*before, *after))
    for row in gather(db, PICK, near):
        other = entry_of(row, names)
        if other and (other.source, other.event.id) == (entry.source, entry.event.id):
            yield other


def carried(db: apsw.Connection, seq: int) -> Iterator[Attempt]:
    """The delivery requests whose range covers a seq, oldest first."""
    sinks = dict(db.execute(SINKS))
    for sink, *rest in db.execute(CARRIED, (seq, seq)):
        yield Attempt(sinks.get(sink, "?"), *rest)


class Out(Struct, frozen=True):
    """An event that was counted out, or was there already."""

    id: int
    source: str
    hour: int
    outcome: str
    why: str
    kind: str
    event: str
    vehicle: str
    raw: int
    part: int


class Outs(Struct, frozen=True):
    """One look at them, oldest first; `low` is how far it went, exclusive."""

    outs: tuple[Out, ...]
    low: int


def asides(
    db: apsw.Connection, wanted: Filter, outcome: str, span: tuple[int, int], limit: int
) -> Outs:
    """The last ones of an outcome with an id in the span (exclusive)."""
    low, high = span
    names = source_names(db)
    found: list[Out] = []
    examined = 0
    for row in db.execute(ASIDES, (high, low, EXAMINED)):
        examined += 1
        out = _out(row, names)
        if out.outcome == outcome and _meant(wanted, out):
            found.append(out)
        if len(found) >= limit or examined >= EXAMINED:
            return Outs(tuple(reversed(found)), out.id)
    return Outs(tuple(reversed(found)), low)


def _out(row: Sequence[Any], names: dict[int, tuple[str, str]]) -> Out:
    number, source, hour, outcome, why, kind, event, vehicle, raw, part = row
    name = names.get(source, ("?", ""))[0]
    return Out(number, name, hour, outcome, why, KINDS[kind], event, vehicle, raw, part)


def _meant(wanted: Filter, out: Out) -> bool:
    if wanted.kinds and out.kind not in wanted.kinds:
        return False
    if wanted.sources and out.source not in wanted.sources:
        return False
    if not wanted.vehicle:
        return True
    known = wanted.units is not None and (out.source, out.vehicle) in wanted.units
    return known or same(wanted.vehicle, out.vehicle)


def asides_of(
    db: apsw.Connection, hour: int, outcome: str, after: int, limit: int
) -> tuple[list[Out], int | None]:
    """Those of one hour, after id `after`, and where to go on (None at the end)."""
    names = source_names(db)
    found: list[Out] = []
    start = max(after, first_aside(db, hour) - 1)
    examined = 0
    for row in db.execute(ASIDES_UP, (start, EXAMINED)):
        examined += 1
        if row[2] > hour:
            return found, None
        if row[2] == hour and row[3] == outcome:
            found.append(_out(row, names))
        if len(found) >= limit or examined >= EXAMINED:
            return found, row[0]
    return found, None


def first_aside(db: apsw.Connection, hour: int) -> int:
    """The first id of that hour or a later one; hours never go backwards."""
    low, newest_id = db.execute(EDGES_OF_ASIDES).get
    high = newest_id + 1
    while low < high:
        middle = (low + high) // 2
        row = db.execute(FIRST_ASIDE, (middle,)).get
        if row is None or row[1] >= hour:
            high = middle
        else:
            low = row[0] + 1
    return int(low)
