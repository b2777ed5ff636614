"""Events as printed lines, each rendered once however many sinks carry it."""

from __future__ import annotations

from collections.abc import Iterable
from weakref import WeakKeyDictionary

from fleetd.event import Entry, render

KEPT = 4096  # lines; the sinks that keep up read the same stretch of the log
KEPT_BYTES = 8 << 20


class Lines:
    """The last lines rendered of one log, by seq: what stands there never changes."""

    def __init__(self, kept: int = KEPT, most: int = KEPT_BYTES) -> None:
        self._kept, self._most = kept // 2, most // 2
        self._bytes = 0  # of the new ones
        self._new: dict[int, bytes] = {}
        self._old: dict[int, bytes] = {}

    def line(self, entry: Entry) -> bytes:
        """One line of NDJSON, without the newline."""
        seq = entry.seq
        line = self._new.get(seq) or self._old.get(seq)
        if line is None:
            line = self._new[seq] = render(entry)
            self._bytes += len(line)
            if len(self._new) >= self._kept or self._bytes >= self._most:
                self._old, self._new, self._bytes = self._new, {}, 0
        return line


_of_log: WeakKeyDictionary[object, Lines] = WeakKeyDictionary()


def lines_of(log: object) -> Lines:
    """The lines of a log, shared by the sinks that read it."""
    return _of_log.setdefault(log, Lines())


def printed(entries: Iterable[Entry]) -> list[bytes]:
    """A line for each, with no memory."""
    return [render(entry) for entry in entries]
