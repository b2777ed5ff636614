"""What a sink has told, noted in its own folder so that a crash does not tell it again."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec
from msgspec import Struct, field

from fleetd.event import SAFETY, Detail, Entry
from fleetd.sinks.contract import Batch
from fleetd.sinks.wording import is_over, what

KEPT_MS = 7 * 86_400_000  # how long a message may still be edited
MOST_THINGS, MOST_RUNG, MOST_TOLD, MOST_LABELS = 2000, 10_000, 5000, 64
MOST_LATE = 50  # digests of one night
MOST_PASSES = 8  # live lanes and replays whose last messages are known
LARGEST = 4 << 20
NUMBER = re.compile(r"[0-9]+")


class Mark(Struct, array_like=True):
    """The last that was told of a thing; `handle` is where its message can be edited."""

    ms: int
    id: str
    state: str
    handle: str = ""


class Hushed(Struct):
    """What quiet hours kept back, until it is told."""

    count: int = 0
    upto: int = 0
    labels: dict[str, int] = field(default_factory=dict)
    late: list[str] = field(default_factory=list)  # digests

    def __bool__(self) -> bool:
        return bool(self.count or self.late)

    def wait(self, digest: str) -> None:
        """Keep this one back as well."""
        self.late = [*self.late, digest][-MOST_LATE:]


class Memory(Struct):
    """Bounded in all its parts: what is forgotten is told again rather than not."""

    told: dict[str, list[int]] = field(default_factory=dict)
    things: dict[str, Mark] = field(default_factory=dict)
    rung: dict[str, int] = field(default_factory=dict)
    hushed: Hushed = field(default_factory=Hushed)

    def tell(self, walk: str, entries: Iterable[Entry]) -> None:
        """These were told on that walk over the log."""
        seqs = [*self.told.pop(walk, ()), *(one.seq for one in entries)]
        self.told[walk] = seqs[-MOST_TOLD:]
        for old in list(self.told)[:-MOST_PASSES]:
            del self.told[old]

    def mark(self, entries: Iterable[Entry], handle: str, now: int) -> None:
        """This is now the last that was told of what they are about."""
        for entry in entries:
            key = thing(entry)
            self.things.pop(key, None)  # to the end: the newest
            self.things[key] = Mark(now, entry.event.id, state_of(entry), handle)
        self.things = {
            key: one
            for key, one in [*self.things.items()][-MOST_THINGS:]
            if now - one.ms < KEPT_MS
        }

    def ring(self, entries: Iterable[Entry], now: int, within_ms: float) -> None:
        """From now on it is silent about these for so long."""
        for entry in entries:
            self.rung.pop(subject(entry), None)
            self.rung[subject(entry)] = now
        self.rung = {
            key: ms
            for key, ms in [*self.rung.items()][-MOST_RUNG:]
            if now - ms < within_ms
        }

    def hush(self, entries: Iterable[Entry]) -> None:
        """Sum these up, each once."""
        hushed = self.hushed
        for entry in entries:
            if entry.seq <= hushed.upto:
                continue
            label = what(entry.event)
            if label in hushed.labels or len(hushed.labels) < MOST_LABELS:
                hushed.labels[label] = hushed.labels.get(label, 0) + 1
            hushed.count, hushed.upto = hushed.count + 1, entry.seq


_read = msgspec.json.Decoder(Memory).decode


def recalled(path: Path) -> Memory:
    """What an earlier run has noted; nothing where that cannot be read."""
    with suppress(OSError, msgspec.MsgspecError):
        with path.open("rb") as file:
            body = file.read(LARGEST + 1)
        if len(body) <= LARGEST:
            return _read(body)
    return Memory()


def keep(path: Path, body: bytes) -> None:
    """Put it on the disk, whole; on a full one it is only known until the next start."""
    fresh = path.with_suffix(".new")
    with suppress(OSError):
        path.parent.mkdir(0o750, parents=True, exist_ok=True)
        with fresh.open("wb") as file:
            file.write(body)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)


def walk_of(batch: Batch) -> str:
    """Which walk over the log a batch is of: a live lane, or a replay."""
    if batch.generation or not batch.entries:
        return str(batch.generation)
    return f"live.{batch.entries[0].lane}"


def thing(entry: Entry) -> str:
    """The one thing that an entry is about: a fault code of a vehicle, or its own id."""
    event = entry.event
    if event.kind == "fault" and (code := getattr(event, "code", None)):
        return hashed("fault", entry.source, event.vehicle, code)
    return hashed(event.kind, entry.source, event.id)


def subject(entry: Entry) -> str:
    """What `repeat` holds back: the same said again of the same vehicle."""
    event = entry.event
    told = [
        getattr(event, name, None)
        for name in ("type", "code", "rule", "place", "status", "asset")
    ]
    if isinstance(event, Detail):  # their words say what it is: its numbers may change
        told.append(NUMBER.sub("", event.text or ""))
    whose = event.vehicle or event.number or event.driver
    return hashed(event.kind, entry.source, whose, is_over(event), *told)


def state_of(entry: Entry) -> str:
    """What must differ for the same event to be news; of an alarm its time as well."""
    event = entry.event
    times = (event.at,) if entry.lane == SAFETY else ()
    names = ("type", "severity", "status", "state", "resolved", "removed")
    ended = getattr(event, "ended_at", None) is not None
    return hashed(ended, *(getattr(event, name, None) for name in names), *times)


def key_of(generation: int, entries: Sequence[Entry]) -> str:
    """The name of a message: the same for every repeat of it."""
    ids = (f"{one.source}\t{one.kind}\t{one.event.id}\t{one.seq}" for one in entries)
    return hashed(generation, *ids)


def hashed(*parts: object) -> str:
    text = "\0".join("" if one is None else str(one) for one in parts)
    return hashlib.blake2b(text.encode(), digest_size=9).hexdigest()
