"""What Motive's records share: whose they are, and where their time may stand."""

from __future__ import annotations

from typing import Any

from fleetd.event import vin_of
from fleetd.providers.reading import Wire, flag, inner, words

Who = dict[str, Any]  # the keys of `Event` that say whose it is
HAPPENED = (
    "located_at", "start_time", "time", "occurred_at", "timestamp", "event_time",
    "end_time", "date", "updated_at", "created_at",
)  # fmt: skip


def who(record: Wire, *drivers: str) -> Who:
    """The vehicle and driver of a record, as an event takes them.

    `drivers` are the keys to look for a driver under, the likeliest first.
    """
    return vehicle_of(record) | driver_of(record, *drivers)


def vehicle_of(record: Wire) -> Who:
    """The vehicle under `vehicle` or `current_vehicle`, or flat (`vehicle_id`)."""
    unit = inner(record, "vehicle", "current_vehicle")
    return {
        "vehicle": words(unit, "id") or words(record, "vehicle_id"),
        "number": words(unit, "number") or words(record, "vehicle_number"),
        "vin": vin_of(words(unit, "vin")) or vin_of(words(record, "vin")),
    }


def driver_of(record: Wire, *names: str) -> Who:
    """The driver under one of `names`, or flat (`driver_id`)."""
    person = inner(record, *(names or ("driver", "current_driver", "user")))
    return {
        "driver": words(person, "id") or words(record, "driver_id"),
        "driver_name": full_name(person),
    }


def full_name(person: Wire) -> str | None:
    """First and last name, or the one name there is."""
    parts = (words(person, "first_name"), words(person, "last_name"))
    return " ".join(one for one in parts if one) or words(person, "name")


def metric(record: Wire) -> bool | None:
    """Whether the record's numbers are metric, if it or its vehicle says so."""
    unit = inner(record, "vehicle", "current_vehicle")
    found = flag(unit, "metric_units")
    return flag(record, "metric_units") if found is None else found
