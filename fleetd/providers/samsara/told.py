"""What Samsara tells in one event or alert, before it is known what kind that is."""

from __future__ import annotations

from datetime import datetime
from typing import Any, TypeVar

from msgspec import Struct

from fleetd.event import Detail, millis, vin_of
from fleetd.providers.reading import (
    Wire,
    inner,
    moment,
    near,
    rest,
    snake,
    when_ms,
    words,
)

D = TypeVar("D", bound=Detail)
Who = dict[str, Any]  # the keys of `Event` that say whose it is
UNITS = ("vehicle", "pinnedVehicle", "device", "asset")
PEOPLE = ("driver", "submittedBy")
WHO = frozenset((*UNITS, *PEOPLE, "address", "trailer"))
PARTIES = ("vehicle", "pinnedVehicle", "device", "driver")  # told as who, not as detail
FLAT_UNITS, FLAT_PEOPLE = ("vehicleId", "assetId"), ("driverId",)


class Told(Struct, frozen=True):
    """One event: its type in snake_case, its payload, whose it is and what names it.

    An alert tells the same payloads as an event, under the alert's own id, revision and
    time, with the customer's words (`text`) and the page of the incident (`url`).
    """

    type: str
    data: Wire
    id: str
    who: Who
    at: datetime | None = None
    revision: int | None = None
    alert: bool = False
    text: str | None = None
    url: str | None = None
    resolved: bool | None = None
    ended_at: datetime | None = None

    def when(self, thing: Wire, *names: str) -> datetime | None:
        """When it happened: the alert's own time, else the first of these keys."""
        return self.at if self.alert else moment(thing, *names) or self.at

    def base(self, at: datetime | None = None) -> dict[str, Any]:
        """Id, time, revision and whose: of an event that happens once."""
        return {
            "id": self.id,
            "at": at or self.at,
            "revision": self.revision,
            **self.who,
        }

    def own(self, thing: Wire, *times: str) -> dict[str, Any]:
        """The same of a thing with an id of its own, whose changes are revisions."""
        at = self.when(thing, *times)
        if self.alert:
            return self.base(at)
        named = words(thing, "id") or self.id
        revision = self.revision_of(thing)
        return {"id": named, "at": at, "revision": revision, **self.who}

    def revision_of(self, thing: Wire) -> int | None:
        """Its updated-at; where it says none, the time of the telling orders its copies."""
        told_ms = None if self.at is None else millis(self.at)
        return when_ms(thing, "updatedAtTime") or told_ms

    def extra(self) -> dict[str, Any]:
        """What only an alert adds."""
        return {"text": self.text, "resolved": self.resolved, "url": self.url}


def detailed(told: Told, *, of: type[D], kind: str | None = None, **more: Any) -> D:
    """An event of a kind whose fields are words and the rest."""
    fields = {
        **told.base(told.when(told.data, "happenedAtTime", "time", "startTime")),
        **told.extra(),
        "type": kind or told.type,
        "started_at": moment(told.data, "startTime"),
        "ended_at": moment(told.data, "endTime") or told.ended_at,
        "detail": rest(told.data, *PARTIES),
    }
    return of(**fields | more)


def who(*layers: Wire) -> Who:
    """The nearest vehicle and driver in the payload: inside, beside or a level up."""
    unit: Who = {"vehicle": None, "number": None, "vin": None}
    person: Who = {"driver": None, "driver_name": None}
    for layer in layers:
        found = near(layer, WHO)
        if unit["vehicle"] is None:
            units = (vehicle_of(found[one]) for one in UNITS if one in found)
            unit = next((one for one in units if one["vehicle"]), unit)
        if person["driver"] is None:
            people = (driver_of(found[one]) for one in PEOPLE if one in found)
            person = next((one for one in people if one["driver"]), person)
    first = layers[0] if layers else {}
    unit["vehicle"] = unit["vehicle"] or words(first, *FLAT_UNITS)
    person["driver"] = person["driver"] or words(first, *FLAT_PEOPLE)
    return unit | person


def vehicle_of(thing: Wire) -> Who:
    """A vehicle's id, name and VIN; the VIN stands in any of three places."""
    return {
        "vehicle": words(thing, "id"),
        "number": words(thing, "name"),
        "vin": vin(thing),
    }


def vin(thing: Wire) -> str | None:
    """The first of three places that holds a real VIN."""
    places = (
        words(thing, "vin"),
        words(thing, "vehicleVin"),
        words(inner(thing, "externalIds"), "samsara.vin"),
    )
    return next((found for one in places if (found := vin_of(one))), None)


def driver_of(thing: Wire) -> Who:
    """A driver's id and name; the office's users and the id 0 are nobody's driver."""
    named = words(thing, "id")
    kind = snake(words(thing, "type") or "driver")
    if named == "0" or kind != "driver":
        named = None
    return {"driver": named, "driver_name": words(thing, "name") if named else None}
