"""The mark that fleetd leaves in each row of a sheet: whose row it is, and what we wrote.

It stands in a hidden column of its own and moves with the row when people sort. A print
of each cell tells what a person typed since from what fleetd wrote there.
"""

from __future__ import annotations

import base64
import hashlib
import sys
from collections.abc import Iterable
from functools import lru_cache

from msgspec import Struct

MARK = "fleetd"  # the header of the hidden column
HEAD = "~1"
NAMED, VALUED = 2, 4  # characters of base64 for the column, and for what stands there
PRINT = NAMED + VALUED  # one edit in 16 million goes unseen
LEFT = "~" * VALUED
KEY = 10
WIDEST = sys.float_info.max  # what is beyond is no number of a cell
DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


class Mark(Struct, frozen=True):
    """Whose row this is, which copy of it stands there, and prints of its cells."""

    key: str
    first: int = 0
    second: int = 0
    seq: int = 0
    prints: frozenset[str] = frozenset()

    @property
    def stamp(self) -> tuple[int, int, int]:
        """What is compared: newer is greater."""
        return self.first, self.second, self.seq

    def written(self) -> str:
        """As it stands in the cell."""
        numbers = ".".join(_base36(one) for one in self.stamp)
        return f"{HEAD}.{self.key}.{numbers}.{''.join(sorted(self.prints))}"

    def knows(self, header: str) -> bool:
        """Whether that column was ours when this row was written."""
        name = _name(header)
        return any(one.startswith(name) for one in self.prints)

    def holds(self, header: str, value: object) -> bool:
        """Whether that is what we wrote there; two headers may have one name."""
        return print_of(header, value) in self.prints

    def left(self, header: str) -> bool:
        """Whether what stands there was left to a person."""
        return left_of(header) in self.prints

    @staticmethod
    def whose(value: object) -> str:
        """The key in what is a mark, without reading the rest of it; else nothing."""
        if not isinstance(value, str) or not value.startswith(f"{HEAD}."):
            return ""
        key, dot, _ = value[len(HEAD) + 1 :].partition(".")
        return key if dot and len(key) == KEY else ""

    @staticmethod
    def read(value: object) -> Mark | None:
        """The mark in a cell; None for whatever else stands there."""
        parts = value.split(".") if isinstance(value, str) else []
        if len(parts) != 6 or parts[0] != HEAD or len(parts[1]) != KEY:
            return None
        try:
            first, second, seq = (int(one, 36) for one in parts[2:5])
        except ValueError:
            return None
        text = parts[5]
        cut = range(0, len(text) - PRINT + 1, PRINT)
        prints = frozenset(text[at : at + PRINT] for at in cut)
        return Mark(parts[1], first, second, seq, prints)


def key_of(parts: Iterable[object]) -> str:
    """What tells a row from all others, in ten characters."""
    return _hash("\0".join(canonical(one) for one in parts), KEY)


def print_of(header: str, value: object) -> str:
    """What tells one content of a column from another; where the column stands is no part."""
    return _name(header) + _hash(f"{header}\0{canonical(value)}", VALUED)


def left_of(header: str) -> str:
    """In place of a print: what stands there is a person's, and stays."""
    return _name(header) + LEFT


def origin_of(spreadsheet: str, tab: str) -> str:
    """The flag that records bear which were read from this tab."""
    return f"sheet:{_hash(f'{spreadsheet}{tab.lower()}', KEY)}"


def canonical(value: object) -> str:
    """A value as text, the same whether we write it or read it back."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, int | float):
        return format(float(value), ".12g") if -WIDEST <= value <= WIDEST else ""
    return str(value)


@lru_cache(maxsize=1024)  # a few columns, and a row for each vehicle
def _name(header: str) -> str:
    return _hash(header, NAMED)


def _hash(text: str, length: int) -> str:
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=12)
    return base64.urlsafe_b64encode(digest.digest()).decode()[:length]


def _base36(number: int) -> str:
    number, text = max(number, 0), ""
    while number:
        number, rest = divmod(number, 36)
        text = DIGITS[rest] + text
    return text or "0"
