"""The demo vendor's own JSON: what its far side sends and its normalizers read."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta, Struct

Moment: TypeAlias = Annotated[datetime, Meta(tz=True)]
Said: TypeAlias = Annotated[str, Meta(pattern=r"\S")]  # not blank
Suspect: TypeAlias = Annotated[int, Meta(ge=0, le=524_287)]  # 19 bits, as J1939 has
Ignition: TypeAlias = Literal["on", "idle", "off"]


class Fix(Struct, frozen=True, rename="camel"):
    """A point of a vehicle's track, in km and km/h as this vendor has it."""

    vehicle_id: Said
    unit: Said
    time: Moment
    lat: float
    lon: float
    speed_kph: float
    heading: float
    ignition: Ignition
    odometer_km: float
    place: str | None = None
    driver_id: Said | None = None
    driver_name: Said | None = None


class Note(Struct, frozen=True, rename="camel", tag_field="type", kw_only=True):
    """Something that happened; `type` says which shape the rest has."""

    id: Said
    time: Moment
    vehicle_id: Said
    unit: Said
    driver_id: Said | None = None
    driver_name: Said | None = None


class TripNote(Note, frozen=True, tag="trip", rename="camel"):
    started_at: Moment
    start_site: str
    start_lat: float
    start_lon: float
    ended_at: Moment | None = None
    end_site: str | None = None
    end_lat: float | None = None
    end_lon: float | None = None
    distance_km: float | None = None


class IgnitionNote(Note, frozen=True, tag="ignition", rename="camel"):
    state: Ignition


class FenceNote(Note, frozen=True, tag="fence", rename="camel"):
    state: Literal["enter", "leave"]
    site_id: str
    site_name: str
    stayed_s: float | None = None


class SafetyNote(Note, frozen=True, tag="safety", rename="camel"):
    event: str
    severity: Literal["low", "medium", "high", "severe"]
    since: Moment
    speed_kph: float
    lat: float
    lon: float
    place: str
    limit_kph: float | None = None


class FaultNote(Note, frozen=True, tag="fault", rename="camel"):
    state: Literal["active", "cleared"]
    spn: Suspect
    fmi: Suspect
    text: str


class DutyNote(Note, frozen=True, tag="duty", rename="camel"):
    status: str
    violation: str | None = None


AnyNote: TypeAlias = (
    TripNote | IgnitionNote | FenceNote | SafetyNote | FaultNote | DutyNote
)


class Unit(Struct, frozen=True, rename="camel"):
    """A vehicle of the directory."""

    id: Said
    unit: Said
    vin: str
    make: str
    model: str
    year: str
    plate: str
    serial: str
    group: str
    since: Moment


class Person(Struct, frozen=True, rename="camel"):
    """A driver of the directory."""

    id: Said
    name: Said
    username: str
    employee_number: str
    phone: str
    group: str


class Spot(Struct, frozen=True, rename="camel"):
    """A yard or a customer of the directory."""

    id: Said
    name: Said
    address: str
    lat: float
    lon: float
    radius_m: float
    group: str


class Envelope(Struct, frozen=True):
    """Any answer, and any webhook body: items of one feed."""

    feed: str
    items: list[msgspec.Raw]
