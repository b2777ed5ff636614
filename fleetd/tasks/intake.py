"""Records into events, filled from the directory, and what cannot be read into dead letters."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import structlog
import trio
from msgspec import Struct
from msgspec.structs import replace

from fleetd.directory import Directory, Fresh
from fleetd.errors import PayloadError
from fleetd.event import (
    CODES,
    DAY_MS,
    DIRECTORY_KINDS,
    NOBODY,
    AnyEvent,
    Origin,
    Position,
    Record,
    Vehicle,
    bits_of,
    content_of,
    day_of,
    dedupe_key,
    filled,
    has_fix,
    lane_of,
    millis,
    pack,
    tag_of,
    tag_of_record,
    tidy,
)
from fleetd.masking import MASK, mask_fields
from fleetd.providers.contract import Provider
from fleetd.store import Append, Aside, DeadRecord, Fact, Made, Raw

EARLIEST_MS = 1_262_304_000_000  # 2010: no telematics device reports from before
WHY_BYTES = 300
TURN = 256  # records of a page between two looks at who else waits
WHOLE = frozenset({"poll", "backfill"})  # origins whose records say all there is

logger = structlog.get_logger()


class Arrival(Struct, frozen=True):
    """How records came: whose, when, by which road, and whether the clock can be judged.

    `tags` (lower case) narrow what is taken to vehicles that bear one of them, and to
    those of which nothing is known.
    `clean` says that the bytes hold no secret field any more. `gaps` are the times (ms,
    half-open) of which nothing was heard that should have been told: what turns up of
    them is recovered. `pushed` narrows that to these kinds, where it is not empty.
    """

    source: str
    provider: Provider
    received_ms: int
    origin: Origin
    flags: tuple[str, ...] = ()
    trusted_clock: bool = True
    clean: bool = False
    tags: frozenset[str] = frozenset()
    gaps: tuple[tuple[int, int], ...] = ()
    pushed: tuple[str, ...] = ()

    def missed(self, kind: str, at_ms: int | None) -> bool:
        """Whether it should have come before, and nobody was there to hear it."""
        if at_ms is None or (self.pushed and kind not in self.pushed):
            return False
        return any(low <= at_ms < high for low, high in self.gaps)


def take_in(
    arrival: Arrival,
    records: Sequence[Record],
    directory: Directory,
    *,
    raw: Raw | None = None,
    empty: int = 0,
    bookmark: tuple[str, str | None] | None = None,
) -> Append:
    """One request or page as the log takes it. A record that cannot be read stops nobody."""
    work = _Work(arrival, directory)
    for part, record in enumerate(records):
        work.read(part, record)
    return work.append(len(records) + empty, empty, raw, bookmark)


async def take_in_turns(
    arrival: Arrival,
    records: Sequence[Record],
    directory: Directory,
    *,
    raw: Raw | None,
    empty: int = 0,
    bookmark: tuple[str, str | None] | None = None,
) -> Append:
    """The same of a page of any size, with a turn for everybody else now and then."""
    work = _Work(arrival, directory)
    for part, record in enumerate(records, start=1):
        work.read(part - 1, record)
        if part % TURN == 0:
            await trio.lowlevel.checkpoint()
    return work.append(len(records) + empty, empty, raw, bookmark)


def dead_whole(arrival: Arrival, feed: str, body: bytes, why: str, raw: Raw) -> Append:
    """A body that could not even be split: one dead letter, and still a 200."""
    dead = [buried(arrival.provider, feed, body, why)]
    return Append(
        arrival.source, arrival.received_ms, arrival.origin, raw, dead=dead, received=1
    )


def cleaned(provider: Provider, body: bytes) -> bytes:
    """The body as it may be stored: secrets masked, what is private gone."""
    body = mask_fields(body, provider.secret_fields)
    return body if provider.hide is None else provider.hide(body)


def buried(provider: Provider, feed: str, body: bytes, why: str) -> DeadRecord:
    """A record as a dead letter, its secrets masked."""
    digest = hashlib.blake2b(body, digest_size=16).digest()
    body = cleaned(provider, body)
    return DeadRecord(feed, digest, MASK.mask(why)[:WHY_BYTES], MASK.mask(body))


class _Work:
    """What became of the records read so far."""

    def __init__(self, arrival: Arrival, directory: Directory) -> None:
        self.arrival = arrival
        self.directory = directory
        self.made: list[Made] = []
        self.filtered: list[Aside] = []
        self.dead: list[DeadRecord] = []
        self.facts: list[Fact] = []
        self._fresh: Fresh = {}
        self.normalized = self.empty = 0

    def append(
        self, received: int, empty: int, raw: Raw | None,
        bookmark: tuple[str, str | None] | None,
    ) -> Append:  # fmt: skip
        """All of it as the log takes it."""
        arrival = self.arrival
        return Append(
            arrival.source, arrival.received_ms, arrival.origin, raw, self.made,
            self.filtered, self.dead, self.facts, received, self.normalized,
            self.empty + empty, bookmark,
        )  # fmt: skip

    def read(self, part: int, record: Record) -> None:
        """Normalize one record: all of its events, or a dead letter."""
        provider, body = self.arrival.provider, record.body
        try:
            if not self.arrival.clean:
                body = cleaned(provider, body)
            ready = [
                self._settled(part, tidy(one))
                for one in provider.normalize[record.feed](body)
            ]
        except PayloadError as bad:
            self.dead.append(buried(provider, record.feed, record.body, str(bad)))
            return
        except Exception as bug:  # a vendor's file met what it did not foresee
            why = f"{type(bug).__name__}: {bug}"
            logger.warning(
                "normalizer_failed", source=self.arrival.source, feed=record.feed,
                exc_info=True,
            )  # fmt: skip
            self.dead.append(buried(provider, record.feed, record.body, why))
            return
        if not ready:
            self.empty += 1
            return
        self.normalized += 1
        for one in ready:
            if isinstance(one, Made):
                self.made.append(one)
                if "clock_suspect" not in one.event.flags:
                    self._teach(one.event, one.at_ms, nobody=one.nobody)
            else:
                self.filtered.append(one)

    def _settled(self, part: int, event: AnyEvent) -> Made | Aside:
        """The event as it goes into the log, or why it is counted out."""
        kind = CODES[event.kind]
        if type(event) is Position and not has_fix(event):
            return Aside("no_fix", kind, event.id, event.vehicle or "", part)
        arrival, source = self.arrival, self.arrival.source
        if arrival.tags and event.vehicle is not None and self._elsewhere(event):
            return Aside("tag", kind, event.id, event.vehicle, part)
        at_ms = None if event.at is None else millis(event.at)
        when = self._when(at_ms)
        nobody = event.driver == NOBODY
        if nobody:
            event = replace(event, driver=None)
        own, full = filled(event), event
        changes = self.directory.settle(source, event, when, nobody=nobody)
        every = own | bits_of(type(event), changes) if changes else own
        suspect = at_ms is not None and when != at_ms
        if suspect or arrival.flags:
            more = (*arrival.flags, *(("clock_suspect",) if suspect else ()))
            changes["flags"] = (*changes.get("flags", event.flags), *more)
        if changes:
            full = replace(event, **changes)
        if event.kind in DIRECTORY_KINDS:
            key, content = self._key_of_record(event, kind, when)
        else:
            key, content = dedupe_key(source, event, tag_of(event), day_of(when)), ""
        missed = bool(arrival.gaps) and arrival.missed(event.kind, at_ms)
        return Made(
            key, full, pack(full), kind, lane_of(full), at_ms, own, every,
            event.revision, part, content, missed, nobody,
        )  # fmt: skip

    def _elsewhere(self, event: AnyEvent) -> bool:
        """Whether a vehicle is known to bear none of the tags; what it says is learned."""
        groups = self.directory.groups(self.arrival.source, str(event.vehicle))
        if isinstance(event, Vehicle):
            if event.removed:
                return False
            if event.groups or self.arrival.origin in WHOLE:
                groups = event.groups
        if groups is None or any(one.lower() in self.arrival.tags for one in groups):
            return False
        if isinstance(event, Vehicle):
            self._teach(event, None if event.at is None else millis(event.at))
        return True

    def _when(self, at_ms: int | None) -> int:
        """The time to file the event under: its own, or of arrival where that is no time."""
        received = self.arrival.received_ms
        if at_ms is None:
            return received
        if not self.arrival.trusted_clock:
            return at_ms
        return at_ms if EARLIEST_MS <= at_ms <= received + DAY_MS else received

    def _key_of_record(
        self, event: AnyEvent, kind: int, when: int
    ) -> tuple[bytes, str]:
        content = content_of(event)
        stands = self.directory.record(self.arrival.source, kind, event.id)
        if content == stands.content:
            return b"", content
        tag = tag_of_record(event, content, stands.seq, back=stands.taken_for_gone)
        return dedupe_key(self.arrival.source, event, tag, day_of(when)), content

    def _teach(
        self, event: AnyEvent, at_ms: int | None, *, nobody: bool = False
    ) -> None:
        """What this event says of its vehicle that is not known yet."""
        arrival = self.arrival
        when = arrival.received_ms if at_ms is None else at_ms
        whole = arrival.origin in WHOLE
        learned = self.directory.learn(
            arrival.source, event, when, whole=whole, fresh=self._fresh, nobody=nobody
        )
        for one in learned:
            self.facts.append(Fact(one.vehicle, one.name, one.at_ms, one.value))
            told = self._fresh.setdefault(one.vehicle, {})
            if one.name not in told or told[one.name][0] <= one.at_ms:
                told[one.name] = (one.at_ms, one.value)
