"""Reading a vendor's JSON leniently: missing, null, in other case, numbers as text."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, TypeAlias

import msgspec

from fleetd.errors import PayloadError
from fleetd.event import millis

Wire: TypeAlias = dict[str, Any]
DEEPEST = 40  # vendors nest some six levels; a log that keeps more cannot be read back
WIDEST = 2**63
LONGEST_KEY = 200
FIRST_MS = 1e11  # as ms that is 1973, as seconds the year 5138
LATEST_MS = 1e14  # and above: some write 2**63 - 1 for what is still open
FULL_TURN = 360.0
MASKED = "***"
UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_decode = msgspec.json.Decoder().decode


def loads(body: bytes, secrets: frozenset[str] = frozenset()) -> Wire:
    """The one object of a body, tidied, or `PayloadError`."""
    try:
        value = _decode(body)
    except UNREADABLE as bad:
        raise PayloadError(f"not JSON: {short(bad)}") from bad
    if not isinstance(value, dict):
        raise PayloadError("not a JSON object")
    return tidied(value, secrets)


def short(bad: Exception) -> str:
    """What is wrong in a few words, without the payload."""
    return str(bad)[:80]


def tidied(
    record: Wire, secrets: frozenset[str] = frozenset(), room: int = DEEPEST
) -> Wire:
    """The record, secrets masked, `ID` as `id`, `Number` as `number`, depth bounded."""
    if not room:
        raise PayloadError(f"nested deeper than {DEEPEST} levels")
    for key in list(record):
        value = record[key]
        if key in secrets:
            record[key] = MASKED
        elif isinstance(value, dict | list | int):
            record[key] = _tidied(value, secrets, room - 1)
        if key.islower() or len(key) > LONGEST_KEY:  # which nobody asks for
            continue
        if record.get(plain := recased(key)) is None:
            record[plain] = record.pop(key)
    return record


def _tidied(value: Any, secrets: frozenset[str], room: int) -> Any:
    if isinstance(value, dict):
        return tidied(value, secrets, room)
    if isinstance(value, list):
        if not room:
            raise PayloadError(f"nested deeper than {DEEPEST} levels")
        return [_tidied(one, secrets, room - 1) for one in value]
    if isinstance(value, int) and not -WIDEST <= value < WIDEST:
        return str(value)  # the log's integers have 64 bits
    return value


@lru_cache(maxsize=2048)
def recased(key: str) -> str:
    """`ID` as `id`, `Vehicle_ID` as `vehicle_id`, `ExternalIds` as `externalIds`."""
    plain = key.isupper() or "_" in key
    return key.lower() if plain else key[:1].lower() + key[1:]


def ident(value: object) -> str | None:
    """An id or a text as trimmed text; empty is null, and so is what holds others."""
    if isinstance(value, str):
        return value.strip() or None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if isinstance(value, float) and value.is_integer() and abs(value) < WIDEST:
        return str(int(value))
    return str(value)


def trimmed(text: str | None) -> str | None:
    """A text without blanks around it; of blanks alone it is null."""
    return (text.strip() or None) if text else None


def silent(value: object) -> bool:
    """Whether a value says nothing where a text or a number stands: null, or blank."""
    return value is None or (isinstance(value, str) and not value.strip())


def words(record: Wire, *names: str) -> str | None:
    """The first of these keys that holds a text (or a number, as text)."""
    for name in names:
        found = ident(record.get(name))
        if found is not None:
            return found
    return None


def number(record: Wire, *names: str) -> float | None:
    """The first of these keys that holds a finite number, as a number or as text."""
    for name in names:
        found = as_number(record.get(name))
        if found is not None:
            return found
    return None


def as_number(value: object) -> float | None:
    """A finite number, from a number or its text."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


def count(record: Wire, *names: str) -> int | None:
    """The first of these keys that holds a whole number the log can keep."""
    found = number(record, *names)
    return int(found) if found is not None and abs(found) < WIDEST else None


def flag(record: Wire, *names: str) -> bool | None:
    """The first of these keys that says yes or no, also as text or as 0 and 1."""
    for name in names:
        said = str(record.get(name, "")).strip().lower()
        if said in ("true", "1", "yes"):
            return True
        if said in ("false", "0", "no"):
            return False
    return None


def moment(record: Wire, *names: str) -> datetime | None:
    """The first of these keys that holds a time."""
    for name in names:
        found = as_moment(record.get(name))
        if found is not None:
            return found
    return None


def as_moment(value: object) -> datetime | None:
    """An aware UTC time from RFC 3339 text, a date, or seconds or ms since 1970.

    Text without an offset is UTC; the year 1 is how some vendors write "never".
    """
    said = as_number(value)
    if said is not None:
        return from_epoch(said)
    if not isinstance(value, str):
        return None
    try:
        return aware(iso(value.strip().removesuffix(" UTC")))
    except (ValueError, OverflowError):
        return None


LEAP = re.compile(r"(?<=:\d\d):60(?=\D|$)")
OFFSET = re.compile(r" (?=[+-]\d\d:?\d\d$)")
DOT_NET = re.compile(r"/Date\((\d{12,14})(?:[+-]\d{4})?\)/", re.ASCII)


def iso(said: str) -> datetime:
    """ISO text, also with a small `z`, ` GMT`, a leap second, or as old .NET wrote it.

    Raises `ValueError` where it is none.
    """
    try:
        return datetime.fromisoformat(said)
    except ValueError:
        if old := DOT_NET.fullmatch(said):
            return datetime.fromtimestamp(int(old[1]) / 1000, UTC)
        said = OFFSET.sub("", LEAP.sub(":59", said.upper()))
        zone = "Z" if said.endswith(" GMT") else ""
        return datetime.fromisoformat(said.removesuffix(" GMT") + zone)


def aware(found: datetime) -> datetime | None:
    """The same moment in UTC, or null for the year 1."""
    if found.tzinfo is None:
        found = found.replace(tzinfo=UTC)
    found = found.astimezone(UTC)
    return found if found.year > 1 else None


def from_epoch(said: float) -> datetime | None:
    """Seconds since 1970, or ms where the number is too large for seconds."""
    if not 0 < said < LATEST_MS:
        return None
    ms = int(said) if said >= FIRST_MS else round(said * 1000)
    return datetime.fromtimestamp(ms // 1000, UTC).replace(microsecond=ms % 1000 * 1000)


def when_ms(record: Wire, *names: str) -> int | None:
    """The first of these keys that holds a time, as ms since 1970: a revision."""
    found = moment(record, *names)
    return None if found is None else millis(found)


def inner(record: Wire, *names: str) -> Wire:
    """The first of these keys that holds an object that is not empty, else `{}`."""
    for name in names:
        found = record.get(name)
        if isinstance(found, dict) and found:
            return found
    return {}


def objects(record: Wire, *names: str) -> list[Wire]:
    """The objects in the first of these keys that holds a list, or one of them alone."""
    return [one for one in _listed(record, names) if isinstance(one, dict)]


def _listed(record: Wire, names: tuple[str, ...]) -> list[Any]:
    for name in names:
        found = record.get(name)
        if isinstance(found, list):
            return found
        if isinstance(found, dict) and found:
            return [found]  # as some write a list of one
    return []


def texts(record: Wire, *names: str) -> tuple[str, ...]:
    """The texts in the first of these keys that holds a list; objects by name."""
    said = (
        words(one, "name", "id") if isinstance(one, dict) else ident(one)
        for one in _listed(record, names)
    )
    return tuple(one for one in said if one)


def link(record: Wire, *names: str) -> str | None:
    """The first of these keys that holds a web address."""
    for name in names:
        found = record.get(name)
        if isinstance(found, str) and found.startswith(("https://", "http://")):
            return found
    return None


def heading(degrees: float | None) -> float | None:
    """A heading from 0 up to 360."""
    if degrees is None:
        return None
    turned = degrees % FULL_TURN
    return 0.0 if turned == FULL_TURN else turned  # -1e-20 % 360 is 360


def rest(record: Wire, *without: str) -> Wire:
    """What else a record says, without nulls and the keys that are told elsewhere."""
    return {
        key: value
        for key, value in record.items()
        if key not in without and value not in ([], {}) and not silent(value)
    }


def said(**pairs: Any) -> Wire:
    """Only the pairs that say something."""
    return {
        key: value
        for key, value in pairs.items()
        if value not in ([], {}) and not silent(value)
    }


def near(record: Wire, names: frozenset[str], deepest: int = 6) -> Mapping[str, Wire]:
    """The nearest object under each of the names, looking level by level."""
    found: dict[str, Wire] = {}
    level = [record]
    while level and deepest:
        deepest -= 1
        below = []
        for one in level:
            for key, value in _inside(one):
                if key in names:
                    found.setdefault(key, value)
                else:
                    below.append(value)
        level = below
    return found


def _inside(record: Wire) -> Iterator[tuple[str, Wire]]:
    for key, value in record.items():
        if isinstance(value, dict) and value:
            yield key, value


SEAMS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|[^\w]+")


def snake(name: str) -> str:
    """`RouteStopETA` as `route_stop_eta`."""
    return _snake(name[:80])


@lru_cache(maxsize=1024)
def _snake(name: str) -> str:
    return re.sub(r"_+", "_", SEAMS.sub("_", name)).strip("_").lower()


def print_of(body: bytes) -> str:
    """An id for what has none: a hash of its bytes."""
    return hashlib.blake2b(body, digest_size=16).hexdigest()


def print_of_all(told: Wire) -> str:
    """The same of what a record says, whatever its blanks and the order of its keys."""
    return print_of(msgspec.json.encode(told, order="deterministic"))
