"""What happens to a fleet as LocoNav knows it, and how it pushes that: nobody signs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, ClassVar
from zoneinfo import ZoneInfo

import msgspec
from msgspec import Struct

from tests.vendors.base import (
    DAY,
    Fix,
    Sending,
    Simulator,
)
from tests.vendors.truth import draw

HARSH = {  # the API's name; those that last are pushed with begin and end
    "harsh_brake": "SuddenBrakingAlert",
    "harsh_acceleration": "SuddenAccelerationAlert",
    "harsh_turn": "SharpTurnAlert",
    "speeding": "OverspeedAlert",
    "crash": "CrashDuringOverspeedAlert",
    "sos": "SosAlert",
}
PUSHED = {"VehicleIdleAlert": "IdlingAlert"}
LASTING = {"OverspeedAlert", "VehicleIdleAlert", "GeofenceAlert", "IgnitionAlert"}


class Told(Struct, frozen=True):
    """An alert as LocoNav knows it; `end` is None while it is open."""

    kind: str
    id: int
    vehicle: int
    start: int
    end: int | None
    lat: float
    lon: float
    kph: float | None = None
    spot: int | None = None


class Pushes(Simulator):
    """The push half: fixes as live locations, alerts in one message or in two."""

    zone: ClassVar[str] = "UTC"  # of times that say none

    def vehicle_id(self, vehicle: int) -> str:
        return self.truth.unit(vehicle).number

    def told_of(
        self, vehicle: int, since: int, until: int, now: int | None
    ) -> Iterator[Told]:
        """Every alert of a vehicle that began in a window."""
        truth = self.truth
        for one in truth.harsh(vehicle, since, until, now):
            lasts = one.kind == "speeding"
            yield Told(
                HARSH[one.kind], one.id, vehicle, one.start,
                one.end if lasts else None, one.lat, one.lon, one.kph,
            )  # fmt: skip
        for idle in truth.idlings(vehicle, since, until, now):
            spot = truth.spot(idle.spot)
            yield Told(
                "VehicleIdleAlert",
                idle.id,
                vehicle,
                idle.start,
                idle.end,
                spot.lat,
                spot.lon,
            )
        for visit in truth.visits(vehicle, since, until + DAY, now):
            if visit.start >= until:  # asked for longer: it knows its stay only so
                continue
            spot = truth.spot(visit.spot)
            yield Told(
                "GeofenceAlert", visit.id, vehicle, visit.start, visit.end, spot.lat,
                spot.lon, None, visit.spot,
            )  # fmt: skip
        for trip in truth.trips(vehicle, since, until, now):
            spot = truth.spot(trip.origin)
            yield Told(
                "IgnitionAlert",
                trip.id,
                vehicle,
                trip.start,
                trip.end,
                spot.lat,
                spot.lon,
            )

    def push_fix(self, fix: Fix) -> Sending | None:
        body = {
            "imei": imei(fix.vehicle),
            "vehiclenumber": self.vehicle_id(fix.vehicle),
            "speed": fix.kph,
            "gpstime": self.local(fix.at).strftime("%d-%m-%Y %H:%M:%S"),
            "ignition": "0" if fix.engine == "Off" else "1",
            "latitude": "north" if self.poisoned(fix) else fix.lat,
            "longitude": fix.lon,
            "orientation": float(fix.heading or 360),
            "sharpTurn": "0", "harshBraking": "0", "harshAcceleration": "0",
            "rockBreakerPedal": "0",
        }  # fmt: skip
        return Sending(fix.at, msgspec.json.encode(body))

    def push_others(self, vehicle: int, since: int, until: int) -> Iterable[Sending]:
        for one in self.told_of(vehicle, since, until, None):
            if one.kind not in LASTING:
                yield Sending(one.start, msgspec.json.encode(self.a_point(one)))
                continue
            begin = self.about(one) | self.phase("active", one, one.start)
            yield Sending(one.start, msgspec.json.encode(begin))
            if one.end is not None:
                both = draw("both", one.kind, one.id) < 0.5
                end = (begin if both else self.about(one)) | self.phase(
                    "inactive", one, one.end
                )
                yield Sending(one.end, msgspec.json.encode(end))

    def about(self, one: Told) -> dict[str, Any]:
        told: dict[str, Any] = {
            "id": one.id,
            "kind": PUSHED.get(one.kind, one.kind),
            "vehicle_number": self.vehicle_id(one.vehicle),
            "created_at": self.written(one.start + 4, one.id),
        }
        if one.kph is not None:
            told["speed"] = one.kph
        if one.spot is not None:
            told |= {"polygon_id": one.spot, "event_key": "geofence_enter"}
        return told

    def a_point(self, one: Told) -> dict[str, Any]:
        when = self.written(one.start, one.id)
        return self.about(one) | {
            "event_time": when,
            "latitude": one.lat,
            "longitude": one.lon,
        }

    def phase(self, name: str, one: Told, at: int) -> dict[str, Any]:
        return {
            f"{name}_event_time": self.written(at, one.id),
            f"{name}_event_latitude": one.lat,
            f"{name}_event_longitude": one.lon,
        }

    def written(self, at: int, salt: int) -> str:
        """A time in one of the three forms of alerts."""
        form = int(draw("form", salt, at) * 3)
        if form == 0:
            return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        if form == 1:
            india = timezone(timedelta(hours=5, minutes=30))
            return datetime.fromtimestamp(at, india).isoformat(timespec="milliseconds")
        return self.local(at).strftime("%Y-%m-%dT%H:%M:%S")

    def local(self, at: int) -> datetime:
        return datetime.fromtimestamp(at, ZoneInfo(self.zone))

    def sign(self, _body: bytes, secret: str) -> Mapping[str, str]:
        """Nothing is signed; a fixed header goes along where one was agreed."""
        return {"authorization": f"Bearer {secret}"} if secret else {}


def imei(vehicle: int) -> str:
    return f"{350_000_000_000_000 + vehicle:016}"
