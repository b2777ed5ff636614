"""The words of what a fleet drove: fixes, drives, visits, events, each a plain struct."""

from __future__ import annotations

from datetime import UTC, datetime
from hashlib import blake2b

from msgspec import Struct


def draw(*what: object) -> float:
    """A number in [0, 1) that is always the same for the same words."""
    digest = blake2b(repr(what).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def moment(at: int) -> datetime:
    return datetime.fromtimestamp(at, UTC)


def zulu(at: int, *, ms: bool = False) -> str:
    """`2026-11-20T14:03:22Z`, or with `.000`."""
    text = datetime.fromtimestamp(at, UTC).isoformat()[:19]
    return f"{text}.000Z" if ms else f"{text}Z"


class Fix(Struct, frozen=True, gc=False):
    """Where a vehicle was. `why` is start, moving, idle, stop or parked."""

    vehicle: int
    at: int
    lat: float
    lon: float
    kph: float
    heading: int
    engine: str  # On, Idle, Off
    odometer_m: int
    driver: int | None
    place: str
    why: str

    @property
    def id(self) -> int:
        return self.at * 100_000 + self.vehicle


class Stretch(Struct, frozen=True):
    """A part of a vehicle's day, half-open: drive, idle or off."""

    id: int
    vehicle: int
    kind: str
    start: int
    end: int
    origin: int  # spots; the same where it stands
    destination: int
    odometer_m: int
    metres: float
    driver: int | None


class Trip(Struct, frozen=True):
    id: int
    vehicle: int
    driver: int
    start: int
    end: int | None
    origin: int
    destination: int
    odometer_m: int
    metres: int | None


class Assignment(Struct, frozen=True):
    """Who drove a vehicle, from its first drive to the end of the last."""

    id: int
    vehicle: int
    driver: int
    start: int
    end: int | None


class Visit(Struct, frozen=True):
    """A vehicle inside a spot's fence; `start` is the entry, `end` the exit."""

    id: int
    vehicle: int
    spot: int
    driver: int  # who came
    next_driver: int  # who leaves
    start: int
    end: int | None


class Idling(Struct, frozen=True):
    id: int
    vehicle: int
    driver: int
    spot: int
    start: int
    end: int | None


class Harsh(Struct, frozen=True):
    """Something a camera or a sensor reports; `kind` as fleetd words it."""

    id: int
    vehicle: int
    driver: int
    kind: str  # harsh_brake harsh_acceleration harsh_turn speeding crash sos
    severity: str
    start: int
    end: int
    lat: float
    lon: float
    kph: float
    limit_kph: float
    g: float


class Trouble(Struct, frozen=True):
    """A fault code that went on and off."""

    id: int
    vehicle: int
    spn: int
    fmi: int
    code: str
    text: str
    start: int
    end: int | None


class Duty(Struct, frozen=True):
    """A driver's status from then until the next; `status` driving, on_duty, off_duty."""

    id: int
    driver: int
    vehicle: int
    status: str
    start: int
    end: int | None


class Inspection(Struct, frozen=True):
    id: int
    vehicle: int
    driver: int
    at: int
    safe: bool
    defects: tuple[str, ...]
    odometer_m: int
