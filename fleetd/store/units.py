"""The vehicles that the log knows, by all of their names; which one a typed name means."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import apsw
import msgspec
from msgspec import Struct

from fleetd.errors import UsageError
from fleetd.store.look import Filter, same, source_names

GLOB = frozenset("*?[")
NAMED = (
    "SELECT source, vehicle, name, value FROM facts"
    " WHERE name IN ('vin', 'number', 'plate') AND value IS NOT NULL ORDER BY at_ms"
)
ROSTER = "roster"  # where the fleet's own list of vehicles is kept
LISTED = "SELECT value FROM kept WHERE name = ?"


class Unit(Struct, frozen=True):
    """A vehicle as the directory knows it; `truck` is its number in the fleet's own list."""

    source: str
    id: str
    number: str = ""
    vin: str = ""
    plate: str = ""
    truck: str = ""


def units(db: apsw.Connection) -> list[Unit]:
    """Every vehicle the directory knows, by its newest names."""
    sources = source_names(db)
    found: dict[tuple[int, str], dict[str, str]] = {}
    for source, vehicle, name, value in db.execute(NAMED):
        found.setdefault((source, vehicle), {})[name] = value
    known = {
        (sources.get(source, ("?", ""))[0], vehicle): names
        for (source, vehicle), names in found.items()
    }
    for source, vehicle, number, vin, plate in roster(db):
        names = known.setdefault((source, vehicle), {})
        names["truck"] = number
        for name, value in (("number", number), ("vin", ""), ("plate", plate)):
            names[name] = value or names.get(name, "")
        names["vin"] = names["vin"] or vin
    return [Unit(*key, **names) for key, names in sorted(known.items())]


def roster(db: apsw.Connection) -> list[list[str]]:
    """Source, id, number, VIN and plate of each vehicle in the fleet's own list."""
    found = db.execute(LISTED, (ROSTER,)).get
    return list(msgspec.json.decode(found)["units"]) if found else []


def narrowed(db: apsw.Connection, wanted: Filter) -> Filter:
    """The filter with its vehicle looked up; a whole name that fits several is refused."""
    if not wanted.vehicle:
        return wanted
    meant = [
        one
        for one in units(db)
        if (not wanted.sources or one.source in wanted.sources)
        and any(
            same(wanted.vehicle, n) for n in (one.id, one.number, one.vin, one.plate)
        )
    ]
    if len(meant) > 1 and not GLOB & set(wanted.vehicle) and not _one(meant):
        raise UsageError(
            f"{wanted.vehicle!r} names {len(meant)} vehicles; say which by its id, "
            f"or add --source: {'; '.join(_spelled(meant))}"
        )
    pairs = frozenset((one.source, one.id) for one in meant)
    return msgspec.structs.replace(wanted, units=pairs)


def _one(meant: Iterable[Unit]) -> bool:
    """Whether all of them are one vehicle that several sources know: one VIN or number."""
    by_vin = {one.vin or (one.source, one.id) for one in meant}
    by_list = {one.truck or (one.source, one.id) for one in meant}
    return len(by_vin) == 1 or len(by_list) == 1


def _spelled(meant: Sequence[Unit]) -> Iterator[str]:
    for one in meant[:20]:
        names = ", ".join(name for name in (one.number, one.vin, one.plate) if name)
        yield f"{one.source} {one.id} ({names})"
