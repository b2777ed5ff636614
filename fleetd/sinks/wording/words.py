"""Values, times and numbers as people read them."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, tzinfo

from fleetd.event import Entry, moment_of

LONGEST = 300  # characters of one value


def clean(value: object, most: int = LONGEST) -> str:
    """A value on one line, without what could act: controls, direction marks, format."""
    text = " ".join(str(value)[: most * 4].split())
    if not text.isascii() or not text.isprintable():
        text = "".join(c for c in text if unicodedata.category(c)[0] != "C")
    return cut(text, most)


def cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"


def words(name: str) -> str:
    """`harsh_brake` as `Harsh brake`."""
    text = name.replace("_", " ").strip()
    return text[:1].upper() + text[1:]


def local(moment: datetime, zone: tzinfo) -> datetime:
    """The moment in a zone, in UTC at the edge of the calendar: some clocks say 9999."""
    try:
        return moment.astimezone(zone)
    except OverflowError:
        return moment.astimezone(UTC)


def when(moment: datetime, zone: tzinfo) -> str:
    """`21 Nov 2026, 06:00:03 CST`."""
    there = local(moment, zone)
    return f"{there.day} {there:%b %Y, %H:%M:%S %Z}".rstrip()


def span(entries: Sequence[Entry], zone: tzinfo) -> str:
    """From the first to the last of them."""
    times = [one.event.at or moment_of(one.received_ms) for one in entries]
    first, last = local(min(times), zone), local(max(times), zone)
    begin = f"{first.day} {first:%b, %H:%M}"
    if last - first < timedelta(minutes=1):
        return begin
    same = first.date() == last.date()
    return (
        f"{begin} to {last:%H:%M}"
        if same
        else f"{begin} to {last.day} {last:%b, %H:%M}"
    )


def grouped(number: int) -> str:
    return f"{number:,}".replace(",", " ")
