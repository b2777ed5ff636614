"""Which columns an export has, and what stands in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

import msgspec
from msgspec import Struct

from fleetd.config.units import nearest
from fleetd.errors import UsageError
from fleetd.event import KINDS
from fleetd.tables import Type, shape_of

Page: TypeAlias = Sequence[dict[str, Any]]  # events as they are printed
GENERAL: Final[Mapping[str, Type]] = {
    "seq": "whole", "source": "text", "provider": "text", "kind": "text", "id": "text",
    "revision": "whole", "timestamp": "time", "received_at": "time", "origin": "text",
    "lane": "text", "provider_vehicle_id": "text", "vin": "text", "fleet_number": "text",
    "driver_id": "text", "driver_name": "text", "data": "json", "flags": "json",
}  # fmt: skip
WHERE: Final[Mapping[str, tuple[str, ...]]] = {
    "timestamp": ("at",),
    "provider_vehicle_id": ("vehicle", "id"),
    "vin": ("vehicle", "vin"),
    "fleet_number": ("vehicle", "number"),
    "driver_id": ("driver", "id"),
    "driver_name": ("driver", "name"),
}


class Picked(Struct, frozen=True):
    """The columns of an export by name, with their types; `typed` where somebody named them."""

    columns: dict[str, Type]
    named: bool

    def row(self, event: dict[str, Any]) -> list[Any]:
        """What stands in them: text, numbers, times as text; lists and tables as JSON."""
        return [value_of(event, name) for name in self.columns]


def picked(kinds: str, names: str) -> Picked:
    """The columns of one kind's table, or those of all events, or those that were named."""
    chosen = [one.strip() for one in kinds.split(",") if one.strip()]
    for kind in chosen:
        if kind not in KINDS[1:]:
            there = ", ".join(KINDS[1:])
            raise UsageError(f"no kind {kind!r}; there are: {there}")
    known: dict[str, Type] = dict(GENERAL)
    for kind in chosen or KINDS[1:]:
        known |= {one.name: one.type for one in shape_of(kind).columns}
    if names:
        return Picked({one: known[one] for one in listed(names, known)}, named=True)
    if len(chosen) == 1:
        columns = {one.name: one.type for one in shape_of(chosen[0]).columns}
        return Picked(columns, named=False)
    return Picked(dict(GENERAL), named=False)


def listed(names: str, known: Mapping[str, Type]) -> list[str]:
    """The names that were typed, each known and there once."""
    found = [one.strip() for one in names.split(",") if one.strip()]
    for name in found:
        if name not in known:
            close = nearest(name, tuple(known))
            hint = (
                f"did you mean {close}?" if close else f"there are: {', '.join(known)}"
            )
            raise UsageError(f"no column {name!r}; {hint}")
        if found.count(name) > 1:
            raise UsageError(f"the column {name} is there twice")
    if not found:
        raise UsageError("--columns takes names: a,b,c")
    return found


def value_of(event: dict[str, Any], name: str) -> Any:
    """One value of a printed event, a list or a table as JSON."""
    found: Any = event
    for step in WHERE.get(name, (name,)):
        found = found.get(step) if step in found else event["data"].get(step)
    if isinstance(found, list | dict):
        return msgspec.json.encode(found).decode() if found else None
    return found
