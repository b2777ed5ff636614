"""Events as printed lines, each rendered once however many sinks carry it."""

from __future__ import annotations

from collections.abc import Iterable

from fleetd.event import Entry, render

KEPT = 4096  # lines; the sinks that keep up read the same stretch of the log


class Lines:
    """The last lines rendered, by seq; a hit only for the very same entry."""

    def __init__(self, kept: int = KEPT) -> None:
        self._kept = kept // 2
        self._new: dict[int, tuple[Entry, bytes]] = {}
        self._old: dict[int, tuple[Entry, bytes]] = {}

    def line(self, entry: Entry) -> bytes:
        """One line of NDJSON, without the newline."""
        seq = entry.seq
        found = self._new.get(seq) or self._old.get(seq)
        if found is not None and (found[0] is entry or found[0] == entry):
            return found[1]
        line = render(entry)
        self._new[seq] = entry, line
        if len(self._new) >= self._kept:
            self._old, self._new = self._new, {}
        return line

    def of(self, entries: Iterable[Entry]) -> list[bytes]:
        """A line for each, in their order."""
        line = self.line
        return [line(entry) for entry in entries]


LINES = Lines()  # the one of the process: what one sink renders, the next one finds
