"""A question about the log: its parameters, as a command or a URL gives them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

from msgspec import Struct

from fleetd import when
from fleetd.config import House
from fleetd.errors import UsageError

MOST = 1000
USUAL = 50
END = 1 << 62

Params = Mapping[str, str]


class Asked(Struct, frozen=True):
    """A question: under which config, when, and with which parameters."""

    house: House
    now: datetime
    params: Params

    def get(self, name: str) -> str:
        return self.params.get(name, "").strip()

    def whole(self, name: str, default: int) -> int:
        """A parameter that is a whole number."""
        text = self.get(name)
        if not text:
            return default
        if not text.isascii() or not text.isdigit() or len(text) > 18:
            raise UsageError(f"{name}={text!r} is no whole number")
        return int(text)

    def listed(self, name: str) -> frozenset[str]:
        """A parameter that is a list: a,b."""
        words = (one.strip() for one in self.get(name).split(","))
        return frozenset(one for one in words if one)

    def sources(self, known: Iterable[str]) -> frozenset[str]:
        """The sources it is narrowed to; none: all."""
        there, found = {*known}, self.listed("source")
        for source in found:
            if source not in there and source not in self.house.sources:
                names = ", ".join(sorted(there)) or "none"
                raise UsageError(f"no source {source!r}; there are: {names}")
        return found

    @property
    def limit(self) -> int:
        """How many are wanted at once."""
        return max(1, min(self.whole("n", USUAL), MOST))

    def window(self) -> when.Window:
        """What `since` and `until` mean."""
        since, until = self.get("since"), self.get("until")
        zone = self.house.daemon.timezone.info
        return when.window(since or None, until or None, self.now, zone)

    def spelled(self) -> str:
        """The window as it was understood, with its offset; empty where none was given."""
        if not self.get("since") and not self.get("until"):
            return ""
        return when.spell(self.window(), self.house.daemon.timezone.info)


def span_of(text: str) -> tuple[int, int]:
    """`A:B`, `A:`, `:B` or `A` as first and last, both inclusive."""
    first, colon, last = text.partition(":")
    ends = [one.strip() for one in (first, last)]
    if not any(ends) or any(one and not _is_seq(one) for one in ends):
        raise UsageError(f"{text!r} is no span of seqs: FIRST:LAST")
    low = int(ends[0] or 1)
    high = int(ends[1]) if ends[1] else (END - 1 if colon else low)
    if low > high:
        raise UsageError(f"{text!r} is no span of seqs: the first is above the last")
    return low, high


def _is_seq(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 18
