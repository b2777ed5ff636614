"""Marks a test as the one that shows what a config key changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T", bound=Callable[..., Any])


def shows(*keys: str) -> Callable[[T], T]:
    """The keys, as `fleetd.config.keys` names them; of a plug-in as `sinks.NAME (http).url`."""

    def mark(test: T) -> T:
        test.shows = keys  # type: ignore[attr-defined]
        return test

    return mark
