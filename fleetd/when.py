"""The words for times that an operator types, read in the timezone of the config."""

from __future__ import annotations

import os
import re
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from pathlib import Path
from typing import ClassVar, Final, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from fleetd.errors import UsageError

UNITS: Final = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
DURATION: Final = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(ms|s|m|h|d|w)")
DAY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
WORDS: Final = (
    "a duration (2h), today, yesterday, now, a date (2026-11-21)"
    " or RFC 3339 (2026-11-21T08:00:00Z)"
)
LOCALTIME: Final = Path("/etc/localtime")
EARLIEST: Final = datetime.min.replace(tzinfo=UTC) + timedelta(days=2)
LATEST: Final = datetime.max.replace(tzinfo=UTC) - timedelta(days=2)


class Zone(str):
    """A timezone by its name; `local` is the one of the box."""

    __slots__ = ()
    word: ClassVar[str] = "timezone"

    @classmethod
    def read(cls, value: object, _base: Path) -> Zone:
        if not isinstance(value, str):
            raise ValueError('takes a timezone, as "Europe/Berlin", "UTC" or "local"')  # noqa: TRY004
        zone(value)
        return cls(value)

    @property
    def info(self) -> tzinfo:
        return zone(self)


class Window(NamedTuple):
    """From `since` up to and without `until`; None is without end."""

    since: datetime | None
    until: datetime | None


def zone(name: str) -> tzinfo:
    """The timezone of that name, or `ValueError` saying what is wrong."""
    if name == "UTC":
        return UTC
    if name == "local":
        return local_zone()
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as bad:
        hint = "" if Path("/usr/share/zoneinfo").is_dir() else "; install tzdata"
        raise ValueError(
            f'no timezone {name!r} here{hint}; as "Europe/Berlin", "UTC" or "local"'
        ) from bad


def local_zone() -> tzinfo:
    """What $TZ says, else /etc/localtime, else UTC."""
    named = os.environ.get("TZ", "").removeprefix(":")
    if named and named != "local":
        try:
            return zone(named)
        except ValueError:
            return UTC
    try:
        if "zoneinfo/" in (target := str(LOCALTIME.resolve(strict=True))):
            return ZoneInfo(target.rpartition("zoneinfo/")[2])
        with LOCALTIME.open("rb") as file:
            return ZoneInfo.from_file(file, key="local")
    except (OSError, ValueError, ZoneInfoNotFoundError):
        return UTC


def seconds(text: str) -> float | None:
    """How long `30s`, `5m`, `2.5h`, `7d` or `2w` is; None for anything else."""
    found = DURATION.fullmatch(text.strip())
    return float(found[1]) * UNITS[found[2]] if found else None


def resolve(word: str, now: datetime, zone: tzinfo) -> datetime:
    """The moment a word means, UTC, or `UsageError`.

    A duration is that long ago; a day is its first moment; what has no offset is local.
    """
    word = word.strip()
    why = f"{word!r} is no time: {WORDS}"
    try:
        found = _meant(word, now.astimezone(UTC), zone).astimezone(UTC)
    except (ValueError, OverflowError) as bad:
        raise UsageError(why) from bad
    if not EARLIEST <= found <= LATEST:  # some timezone has no date for it
        raise UsageError(why)
    return found


def _meant(word: str, now: datetime, zone: tzinfo) -> datetime:
    if (long := seconds(word)) is not None:
        return now - timedelta(seconds=long)
    if word.lower() == "now":
        return now
    if (day := _day(word, now.astimezone(zone).date())) is not None:
        return datetime.combine(day, time(), zone)
    moment = datetime.fromisoformat(word.upper().replace(" ", "T"))
    return moment if moment.tzinfo else moment.replace(tzinfo=zone)


def _day(word: str, today: date) -> date | None:
    if word.lower() == "today":
        return today
    if word.lower() == "yesterday":
        return today - timedelta(days=1)
    return date.fromisoformat(word) if DAY.fullmatch(word) else None


def window(since: str | None, until: str | None, now: datetime, zone: tzinfo) -> Window:
    """The half-open window between two words, or `UsageError` if it holds nothing."""
    start = resolve(since, now, zone) if since else None
    end = resolve(until, now, zone) if until else None
    if start and end and start >= end:
        both = spell(Window(start, end), zone)
        raise UsageError(f"the window is empty: {both}")
    return Window(start, end)


def spell(
    window: Window | tuple[datetime | None, datetime | None], zone: tzinfo
) -> str:
    """`2026-11-21 00:00:00+01:00 up to 2026-11-22 00:00:00+01:00`."""
    start, end = window
    first = "the beginning" if start is None else _local(start, zone)
    return f"{first} up to {'now' if end is None else _local(end, zone)}"


def _local(moment: datetime, zone: tzinfo) -> str:
    return moment.astimezone(zone).isoformat(sep=" ", timespec="seconds")
