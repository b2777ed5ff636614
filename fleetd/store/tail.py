"""The newest events of the log in memory: what a sink that keeps up reads from."""

from __future__ import annotations

from itertools import islice

from fleetd.event import Entry
from fleetd.store.reading import Stretch
from fleetd.taking import Taking

KEPT = 4096  # events: sinks that keep up are never further behind
KEPT_BYTES = 4 << 20  # of their bodies: some are a thousand times the usual size
EXAMINED = 4096


class Tail:
    """Events in the order of the log, without a gap, each with the size of its body.

    Four sinks at the end of the log would else read and decode each event four times.
    """

    def __init__(self, kept: int = KEPT, most: int = KEPT_BYTES) -> None:
        self._kept, self._most = kept, most
        self._bytes = 0
        self._entries: list[tuple[Entry, int]] = []

    def grow(self, entries: list[tuple[Entry, int]]) -> None:
        """Take in what a commit put into the log."""
        if not entries:
            return
        if self._entries and entries[0][0].seq != self._entries[-1][0].seq + 1:
            self._drop(len(self._entries))
        self._entries += entries
        self._bytes += sum(size for _, size in entries)
        if len(self._entries) > 2 * self._kept:
            self._drop(len(self._entries) - self._kept)
        if self._bytes > 2 * self._most:
            self._lighten()

    def _drop(self, count: int) -> None:
        self._bytes -= sum(size for _, size in self._entries[:count])
        del self._entries[:count]

    def _lighten(self) -> None:
        count, left = 0, self._bytes
        while left > self._most:
            left -= self._entries[count][1]
            count += 1
        self._drop(count)

    def forget(self, upto: int) -> None:
        """Events up to there may have been pruned: only the log knows which."""
        if self._entries and self._entries[0][0].seq <= upto:
            self._drop(upto + 1 - self._entries[0][0].seq)

    def stretch(
        self,
        after: int,
        upto: int,
        lane: int,
        taking: Taking,
        limit: int,
        max_bytes: int,
    ) -> Stretch | None:
        """What `taking` takes in (after, upto]; None where that reaches back too far."""
        if not self._entries or after + 1 < self._entries[0][0].seq:
            return None
        at = after + 1 - self._entries[0][0].seq
        found: list[Entry] = []
        size, last = 0, after
        for entry, body in islice(self._entries, at, at + EXAMINED):
            if entry.seq > upto:
                break
            last = entry.seq
            if entry.lane == lane and taking.takes(entry.source, entry.event):
                found.append(entry)
                size += body
                if len(found) >= limit or size >= max_bytes:
                    break
        return Stretch(tuple(found), last, size=size)
