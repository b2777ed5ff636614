"""Entries that keep their order: what goes next, and what an answer changes.

Pure: no clock, no network. An accused record is one that was refused, or got *later*,
standing alone. It is set aside only with proof that the far side takes others: a probe,
one record beyond it, goes in between, of another vehicle if there is one. What was under
way by then proves nothing: the far side may have turned bad meanwhile.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from msgspec import Struct

from fleetd.errors import RejectedError, TransientError
from fleetd.event import Entry
from fleetd.pace import Backoff
from fleetd.tasks.deliver.plan import (
    LATERS,
    LONE_LONGEST,
    STUCK_AFTER,
    STUCK_LATERS,
    Plan,
)

NEVER = float("inf")
PATIENT = 4  # refusals before a probe may be of the same vehicle
Print = Callable[[Entry], bytes]


class Try(Struct, frozen=True):
    """One request to be made; `probe` when it only shows whether others are taken.

    `lines` are its entries printed, where batches are bounded by bytes.
    """

    entries: Sequence[Entry]
    probe: bool = False
    lines: Sequence[bytes] = ()


class Takes:
    """How many requests of a sink went, and the newest of them that was taken."""

    def __init__(self) -> None:
        self.sent = self.newest = 0

    def goes(self) -> int:
        """Another one goes: its number."""
        self.sent += 1
        return self.sent


class Accused:
    """A record that failed alone; `sent` is how many requests had gone by then."""

    def __init__(self, takes: Takes, now: float, chance: random.Random) -> None:
        self.sent = takes.sent
        self.since = now
        self.tries = 0
        self.laters = 0
        self.status: int | None = None
        self.refused = False
        self.put_off = False  # by its last answer
        self.proved = False
        self.probed = False
        self.doubted: set[int] = set()  # put off as well when they were to prove it
        self.again_at = now
        self._backoff = Backoff(chance, longest=LONE_LONGEST)

    def hopeless(self, now: float) -> bool:
        if self.refused:
            return self.tries >= PATIENT
        return self.tries >= STUCK_LATERS and now - self.since >= STUCK_AFTER

    def convicted(self, now: float, takes: Takes) -> bool:
        """Whether another was taken since it was refused: it goes once more, for proof."""
        due = not self.put_off or now >= self.again_at
        return due and self.refused and takes.newest > self.sent

    def failed(self, now: float, takes: Takes, after: float | None) -> None:
        self.tries += 1
        self.sent, self.probed = takes.sent, False
        self.again_at = now + max(after or 0.0, self._backoff.failed())


class Track:
    """Entries of one order, undecided, and the trouble with the first of them."""

    def __init__(self, plan: Plan, chance: random.Random, line: Print) -> None:
        self.queue: list[Entry] = []
        self.busy = False
        self.request = 0  # the number of the one under way, or the last
        self.not_before = 0.0
        self.again = 0  # entries of the request that is repeated exactly
        self._plan, self._chance, self._line = plan, chance, line
        self._size = self._ceiling = plan.batch
        self._bound = 0  # the seq up to which a halved batch is gone through
        self._laters = 0
        self._backoff = Backoff(chance)
        self._accused: dict[int, Accused] = {}

    def next(self, now: float, takes: Takes, *, front: bool = False) -> Try | float:
        """What may go now, else when to ask again; `front`: the first record only."""
        if self.busy or not self.queue:
            return NEVER
        if now < self.not_before:
            return self.not_before
        first = self.queue[0]
        accused = self._accused.get(first.seq)
        if accused is None:
            return self._first()
        if front or accused.convicted(now, takes):
            return self._try([first])
        probe = None if accused.probed else self._probe(accused, now)
        if probe is not None:
            return self._try([probe], probe=True)
        return self._try([first]) if now >= accused.again_at else accused.again_at

    def _first(self) -> Try:
        """As many from the front as one request may hold."""
        if self.again:
            return self._try(self.queue[: self.again])
        found = self.queue[: min(self._size, self._ceiling)]
        if self._accused:
            end = next((i for i, e in enumerate(found) if e.seq in self._accused), None)
            found = found[:end]
        most = self._plan.batch_bytes
        if not most:
            return Try(found)
        lines: list[bytes] = []
        size, line = 0, self._line
        for entry in found:
            text = line(entry)
            size += len(text) + 1
            if size > most and lines:
                break
            lines.append(text)
        return Try(found[: len(lines)], lines=lines)

    def _try(self, entries: Sequence[Entry], *, probe: bool = False) -> Try:
        bounded = self._plan.batch_bytes
        lines = [self._line(entry) for entry in entries] if bounded else ()
        return Try(entries, probe, lines)

    def _probe(self, accused: Accused, now: float) -> Entry | None:
        """A record beyond, itself not accused, of a vehicle that is not either.

        One that was put off itself goes again when all others were, and before any other
        of its vehicle. If there is no such vehicle, one of any, once there is little hope
        left for the accused one: taken after all, it would come out of order.
        """
        hopeless = accused.hopeless(now)
        fair = [entry for entry in self.queue if entry.seq not in self._accused]
        kept = {whose(entry) for entry in self.queue if entry.seq in self._accused}
        late = {whose(entry) for entry in fair if entry.seq in accused.doubted}
        barred = kept | late
        fresh = [entry for entry in fair if whose(entry) not in barred]
        if hopeless and not fresh:
            fresh = [entry for entry in fair if entry.seq not in accused.doubted]
        if not fresh:
            accused.doubted.clear()
            fresh = [entry for entry in fair if hopeless or whose(entry) not in kept]
        return next(iter(fresh), None)

    @property
    def accused(self) -> int:
        """How many records stand accused."""
        return len(self._accused)

    # what an answer changes

    def drop(self, entries: Sequence[Entry]) -> None:
        """These go no more: they are too old to."""
        gone = {entry.seq for entry in entries}
        self.queue = [entry for entry in self.queue if entry.seq not in gone]
        self.again = self._laters = 0
        for seq in gone & self._accused.keys():
            del self._accused[seq]

    def took(self, entries: Sequence[Entry], *, probe: bool = False) -> None:
        """These were decided: they leave the line."""
        for entry in entries if self._accused else ():
            self._accused.pop(entry.seq, None)
        if probe:
            self.queue.remove(entries[0])
            self._probed()
            return
        if not entries:
            return
        if self.queue[len(entries) - 1] is entries[-1]:
            del self.queue[: len(entries)]  # all but a probe come from the front
        else:  # some of the request were left for the next
            gone = {entry.seq for entry in entries}
            self.queue = [entry for entry in self.queue if entry.seq not in gone]
        self.again = self._laters = 0
        self.not_before = 0.0
        self._backoff.succeeded()
        self._grow()

    def _grow(self) -> None:
        left = (
            sum(1 for one in self.queue if one.seq <= self._bound) if self._bound else 0
        )
        if left:
            self._size = max(1, min(self._size, (left + 1) // 2))
            return
        self._bound = 0
        self._size = min(self._plan.batch, self._size * 2)
        self._ceiling = min(self._plan.batch, self._ceiling + 1)

    def _probed(self, *doubted: int) -> None:
        accused = self._accused.get(self.queue[0].seq) if self.queue else None
        if accused is not None:
            accused.probed = True
            accused.doubted.update(doubted)

    def refused(
        self, tried: Try, error: RejectedError, now: float, takes: Takes
    ) -> bool:
        """The far side wants none of these; True: a lone record is proven guilty."""
        self.again = self._laters = 0
        if len(tried.entries) > 1:
            self._halve(tried.entries, blameless=error.blameless)
            return False
        seq = tried.entries[0].seq
        accused = self._accused.get(seq)
        if accused is not None and accused.refused and takes.newest > accused.sent:
            return True
        if accused is None or not accused.refused:
            accused = Accused(takes, now, self._chance)
            self._accused[seq] = accused
        accused.refused, accused.put_off = True, False
        accused.failed(now, takes, None)
        if tried.probe and not self._accused[self.queue[0].seq].refused:
            self._probed()  # once a try; a refused one asks until it knows
        return False

    def later(
        self, tried: Try, error: TransientError, now: float, takes: Takes
    ) -> bool:
        """The far side is unwell; True: a lone record is proven to be the reason."""
        if tried.probe:
            self._probed(tried.entries[0].seq)
            return False
        self._laters += 1
        self.again = len(tried.entries)
        if len(tried.entries) > 1:
            if self._laters >= LATERS and (error.counts or error.slow):
                self._halve(tried.entries, blameless=False)
                self.again = self._laters = 0
                self._backoff.succeeded()
            self.not_before = now + (error.after or self._backoff.failed())
            return False
        return self._lone_later(tried.entries[0].seq, error, now, takes)

    def _lone_later(
        self, seq: int, error: TransientError, now: float, takes: Takes
    ) -> bool:
        accused = self._accused.get(seq)
        if accused is None:
            if not error.counts or self._laters < 2:  # once is chance
                self.not_before = now + (error.after or self._backoff.failed())
                return False
            accused = self._accused[seq] = Accused(takes, now, self._chance)
            accused.laters = 1
        accused.put_off = True
        alone = self._probe(accused, now) is None
        stuck = error.counts and self._counts(accused, error, takes, alone=alone)
        accused.failed(now, takes, error.after)
        stuck = stuck and now - accused.since >= STUCK_AFTER
        return stuck and accused.laters >= STUCK_LATERS

    @staticmethod
    def _counts(
        accused: Accused, error: TransientError, takes: Takes, *, alone: bool
    ) -> bool:
        """Count a *later* against the record: only where others are taken meanwhile.

        With nobody left to ask, the same answer again counts too: by an outage that
        begins just then nothing is set aside, for it answers otherwise, or not at all.
        """
        fresh = takes.newest > accused.sent
        same = error.status is not None and error.status == accused.status
        accused.proved = accused.proved or fresh
        accused.laters += fresh or (accused.proved and alone and same)
        accused.status = error.status
        return accused.proved

    def _halve(self, entries: Sequence[Entry], *, blameless: bool) -> None:
        self._size = max(1, len(entries) // 2)
        if blameless:
            self._ceiling = self._size
        else:
            self._bound = entries[-1].seq


def whose(entry: Entry) -> tuple[str, str | None]:
    """Whose order an entry belongs to."""
    return entry.source, entry.event.vehicle
