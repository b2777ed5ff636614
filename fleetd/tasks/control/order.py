"""What a command asks of the daemon: plain JSON, read with care."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any

import msgspec
from msgspec import Struct

from fleetd.errors import UsageError

LONGEST = 200
LARGEST = (1 << 63) - 1  # an id in the log


class Order(Struct, frozen=True):
    """The body of a request to the control socket."""

    values: Mapping[str, Any]

    @classmethod
    def read(cls, body: bytes) -> Order:
        """From JSON; an empty body asks for nothing in particular."""
        try:
            found = msgspec.json.decode(body or b"{}", type=dict[str, Any])
        except (msgspec.DecodeError, RecursionError) as bad:
            raise UsageError(f"not a JSON object: {bad}") from bad
        return cls(found)

    def text(self, name: str, default: str | None = None) -> str:
        """A text that has to be there unless there is a default."""
        value = self.values.get(name, default)
        if not isinstance(value, str) or (not value and default is None):
            raise UsageError(f"{name!r} is missing")
        return value

    def number(self, name: str) -> int | None:
        """A whole number, if given."""
        value = self.values.get(name)
        if value is None:
            return None
        if not isinstance(value, int) or isinstance(value, bool):
            raise UsageError(f"{name!r} takes a whole number")
        return value

    def rate(self, name: str) -> float | None:
        """A number above zero, if given."""
        value = self.values.get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
            raise UsageError(f"{name!r} takes a number above zero")
        return float(value)

    def flag(self, name: str) -> bool:
        return self.values.get(name) is True

    def numbers(self, name: str) -> list[int]:
        """A list of whole numbers."""
        value = self.values.get(name, [])
        if not isinstance(value, list) or not all(type(one) is int for one in value):
            raise UsageError(f"{name!r} takes a list of whole numbers")
        if any(abs(one) > LARGEST for one in value):
            raise UsageError(f"{name!r} takes no numbers as large as that")
        return value

    def told(self) -> dict[str, str]:
        """For the log: short, and without bodies."""
        return {k: str(v)[:LONGEST] for k, v in self.values.items() if k != "body"}


def known(name: str, there: Iterable[str], what: str) -> str:
    """The name itself, or `UsageError` with what may have been meant."""
    names = sorted(there)
    if name in names:
        return name
    close = get_close_matches(name, names, n=1)
    hint = (
        f"did you mean {close[0]!r}?"
        if close
        else f"there are: {', '.join(names) or 'none'}"
    )
    raise UsageError(f"no {what} {name!r}; {hint}")
