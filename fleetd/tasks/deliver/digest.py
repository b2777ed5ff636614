"""Old data never looks new: what is too old to ring at people for becomes one text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from fleetd.event import SAFETY, Entry, millis, moment_of
from fleetd.pace import Backoff
from fleetd.sinks.contract import Batch
from fleetd.tasks.deliver.keys import digest_of
from fleetd.world import World

SAFETY_AGE = 86_400.0
LABELS = 64  # kept; a text names the first few
NAMED = 8
TOO_OLD = "too_old"
APART = 900.0  # seconds between two digests: old data that trickles in is no storm


class Digest:
    """What was too old to ring for one by one, summed up until it is told.

    It holds what the cursor has passed, and nothing else: kept in the same step, an entry
    is told of once, whatever happens.
    """

    def __init__(self, max_age: float, world: World) -> None:
        self._age_ms = int(max_age * 1000)
        self._safety_ms = int(max(max_age, SAFETY_AGE) * 1000)
        self._world = world
        self._backoff = Backoff(world.chance)
        self.due_at = 0.0
        self.urgent = False  # whether alarms are among them
        self.count = self._first_ms = self._last_ms = self._newest = 0
        self._labels: Counter[str] = Counter()

    def old(self, entries: Sequence[Entry]) -> list[Entry]:
        """Those of the entries that are too old, by the earlier of their two times.

        None while our own clock is suspect: one that ran ahead would silence live alarms.
        """
        if not self._world.trusted():
            return []
        now_ms = millis(self._world.now())
        return [one for one in entries if now_ms - moment(one) > self._limit(one)]

    def _limit(self, entry: Entry) -> int:
        return self._safety_ms if entry.lane == SAFETY else self._age_ms

    def add(self, entries: Sequence[Entry]) -> None:
        """Sum these up."""
        for entry in entries:
            at = moment(entry)
            self._first_ms = min(self._first_ms or at, at)
            self._last_ms = max(self._last_ms, at)
            self._newest = max(self._newest, entry.seq)
            self.count += 1
            self.urgent = self.urgent or entry.lane == SAFETY
            label = getattr(entry.event, "type", None) or entry.kind
            if label in self._labels or len(self._labels) < LABELS:
                self._labels[label] += 1

    def batch(self, sink: str) -> Batch:
        """What to hand to the sink."""
        text = self.text()
        key = digest_of(f"{sink}\n{self._newest}\n{text}")  # two may say the same
        return Batch((), key, digest=text, urgent=self.urgent)

    def text(self) -> str:
        """`1 204 events from 12-18 Nov while offline: 3 crash, 2 sos, 900 position`."""
        named = ", ".join(
            f"{grouped(n)} {label.replace('_', ' ')}"
            for label, n in sorted(self._labels.items(), key=weight)[:NAMED]
        )
        more = ", …" if len(self._labels) > NAMED else ""
        events = "event" if self.count == 1 else "events"
        days = span(self._first_ms, self._last_ms)
        return (
            f"{grouped(self.count)} {events} from {days} while offline: {named}{more}"
        )

    def told(self, now: float) -> None:
        """It was sent: the next begins."""
        self.count = self._first_ms = self._last_ms = self._newest = 0
        self.urgent = False
        self._labels.clear()
        self._backoff.succeeded()
        self.due_at = now + APART

    def failed(self, now: float, after: float | None) -> None:
        """It could not be sent now."""
        self.due_at = now + (after or self._backoff.failed())

    def hurry(self, now: float) -> None:
        """The far side takes something again."""
        if self._backoff.failures:
            self.due_at = min(self.due_at, now)

    def kept(self) -> dict[str, Any] | None:
        """For a restart in between."""
        if not self.count:
            return None
        span_ms = [self._first_ms, self._last_ms]
        return {
            "count": self.count, "span_ms": span_ms, "labels": dict(self._labels),
            "urgent": self.urgent, "newest": self._newest,
        }  # fmt: skip

    def with_(self, entries: Sequence[Entry]) -> dict[str, Any] | None:
        """What is to be kept once these are passed as well."""
        more = Digest(0, self._world)
        if kept := self.kept():
            more.restore(kept)
        more.add(entries)
        return more.kept()

    def restore(self, kept: dict[str, Any]) -> None:
        self.count = kept["count"]
        self._first_ms, self._last_ms = kept["span_ms"]
        self._labels = Counter(kept["labels"])
        self.urgent = kept.get("urgent", False)
        self._newest = kept.get("newest", 0)


RARE = ("crash", "sos", "panic", "rollover")


def weight(label: tuple[str, int]) -> tuple[bool, int]:
    """What somebody must hear first, then the rarest."""
    return label[0] not in RARE, label[1]


def moment(entry: Entry) -> int:
    """The earlier of its two times; when it came, where its device's clock is wrong."""
    at = entry.event.at
    if at is None or "clock_suspect" in entry.event.flags:
        return entry.received_ms
    return min(millis(at), entry.received_ms)


def grouped(number: int) -> str:
    return f"{number:,}".replace(",", " ")


def span(first_ms: int, last_ms: int) -> str:
    """`12 Nov`, `12-18 Nov`, or over a change of month; UTC."""
    first, last = moment_of(first_ms), moment_of(last_ms)
    if first.date() == last.date():
        return f"{last.day} {last:%b}"
    if (first.year, first.month) == (last.year, last.month):
        return f"{first.day}–{last.day} {last:%b}"  # noqa: RUF001
    return f"{first.day} {first:%b} – {last.day} {last:%b}"  # noqa: RUF001
