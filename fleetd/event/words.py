"""Texts, times and units as every vendor's file reads them."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import lru_cache

MPH_PER_KPH = 1 / 1.609344
MPH_PER_MPS = 2.2369362921
MILES_PER_METRE = 1 / 1609.344
VIN = re.compile(r"[A-HJ-NPR-Z0-9]{17}")
LONG = 100  # of a text: what is longer is not remembered as a VIN, or as none
DAY_MS = 86_400_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def text(value: object) -> str | None:
    """A vendor's text or number as trimmed text; empty is null."""
    if value is None or isinstance(value, bool):
        return None
    return str(value).strip() or None


def vin_of(value: object) -> str | None:
    """A VIN in upper case, or null where it is none; a novel is not remembered."""
    novel = isinstance(value, str) and len(value) > LONG
    return _vin.__wrapped__(value) if novel else _vin(value)


@lru_cache(maxsize=16384)  # the same few thousand come with every position
def _vin(value: object) -> str | None:
    found = text(value)
    return found.upper() if found and VIN.fullmatch(found.upper()) else None


def millis(moment: datetime) -> int:
    """Whole milliseconds since 1970, UTC."""
    passed = moment - EPOCH
    return (passed.days * 86_400 + passed.seconds) * 1000 + passed.microseconds // 1000


def moment_of(ms: int) -> datetime:
    """The aware UTC moment of so many milliseconds since 1970."""
    return datetime.fromtimestamp(ms // 1000, UTC).replace(microsecond=ms % 1000 * 1000)


@lru_cache(maxsize=4096)  # the times of a batch repeat, and printing one takes 1.4 us
def stamp(moment: datetime | None) -> str | None:
    """`2026-11-21T22:05:03.120Z`, the one way a time is printed."""
    if moment is None:
        return None
    return moment.astimezone(UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


@lru_cache(maxsize=4096)
def stamp_ms(ms: int) -> str | None:
    """The same of so many milliseconds since 1970."""
    return stamp(moment_of(ms))
