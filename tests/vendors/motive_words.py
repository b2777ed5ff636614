"""How Motive words what was driven: each record's keys, nulls and empty texts as seen."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import date, datetime
from typing import Any

from msgspec import Struct

from tests.vendors.base import Asked, instant, refuse
from tests.vendors.truth import DAY, Fix, Truth, draw, zulu

EPOCH, PEOPLE, FENCES = 2_060_101, 10_769_630, 1_259_590
TYPES = {"On": "vehicle_moving", "Idle": "vehicle_stopped", "Off": "ignition_off"}
HARSH = {
    "harsh_brake": "hard_brake", "harsh_acceleration": "hard_accel",
    "harsh_turn": "hard_corner", "crash": "crash", "sos": "sos_button",
}  # fmt: skip
GRADES = {"severe": "critical"}
Item = dict[str, Any]
KM = 1000.0
MILE = 1609.344


class Broken(Struct, frozen=True):
    """A rule of hours of service that a driver broke."""

    id: int
    vehicle: int
    driver: int
    start: int
    end: int | None


def moment_text(at: int | None) -> str | None:
    return None if at is None else zulu(at)


def positive(asked: Asked, name: str, default: int) -> int:
    text = asked.one(name, str(default))
    if not text.isdecimal() or not int(text):
        raise refuse({"error_message": f"{name} is invalid"}, 400)
    return int(text)


def a_day(asked: Asked, name: str, default: date) -> date:
    text = asked.one(name, default.isoformat())
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise refuse({"error_message": f"{name} is invalid"}, 400) from None


def a_time(asked: Asked, name: str, default: int) -> int:
    text = asked.one(name)
    if not text:
        return default
    found = instant(text if "T" in text else f"{text}T00:00:00Z")
    if found is None:
        raise refuse({"error_message": f"{name} is invalid"}, 400)
    return found


def midnight(day: date, zone: Any) -> int:
    """When a day begins in a zone."""
    return int(datetime(day.year, day.month, day.day, tzinfo=zone).timestamp())


class Words:
    """The records of every list and push, over a truth."""

    truth: Truth

    def vehicle_id(self, vehicle: int) -> str:
        return str(EPOCH + vehicle)

    def driver_id(self, driver: int) -> str:
        return str(PEOPLE + driver)

    def metric(self, vehicle: int) -> bool:
        """Nobody can tell from a push: a fleet of an odd seed has none of these."""
        return self.truth.seed % 2 == 0 and vehicle % 7 == 5

    def is_active(self, vehicle: int) -> bool:
        return vehicle % 23 != 22

    # people and things, in full and in short

    def unit(self, vehicle: int) -> Item:
        """A vehicle inside other records."""
        one = self.truth.unit(vehicle)
        return {
            "id": EPOCH + vehicle, "number": one.number,
            "year": "" if one.bare else str(one.year),
            "make": "" if one.bare else one.make, "model": "" if one.bare else one.model,
            "vin": None if one.bare else one.vin, "metric_units": self.metric(vehicle),
        }  # fmt: skip

    def vehicle(self, vehicle: int) -> Item:
        one = self.truth.unit(vehicle)
        driver = self.aboard(vehicle, self.now())  # type: ignore[attr-defined]
        device = {
            "id": 951_101 + vehicle,
            "identifier": one.serial,
            "model": "lbb-3.6ca",
        }
        return self.unit(vehicle) | {
            "company_id": 40077, "ifta": True, "license_plate_state": "CA",
            "status": "active" if self.is_active(vehicle) else "deactivated",
            "license_plate_number": one.plate, "license_plate_country_code": "US",
            "fuel_type": "diesel", "notes": None, "group_ids": [7012 + vehicle % 2],
            "created_at": "2023-02-01T10:00:00Z", "updated_at": "2026-05-12T11:59:30Z",
            "permanent_driver": None, "eld_device": None if one.bare else device,
            "current_driver": None if driver is None else self.person(driver),
            "driver_facing_camera": -1, "external_ids": [],
        }  # fmt: skip

    def person(self, driver: int) -> Item:
        """A user inside other records."""
        one = self.truth.person(driver)
        return {
            "id": PEOPLE + driver, "first_name": one.first, "last_name": one.last,
            "username": one.username, "email": None, "driver_company_id": f"D-{driver}",
            "status": "active", "role": "driver",
        }  # fmt: skip

    def user(self, driver: int) -> Item:
        one = self.truth.person(driver)
        return self.person(driver) | {
            "phone": one.phone, "time_zone": "Pacific Time (US & Canada)",
            "group_ids": [7012], "metric_units": False, "duty_status": "off_duty",
            "created_at": "2022-03-01T00:00:00Z", "updated_at": "2026-05-12T12:00:09Z",
            "eld_mode": "logs", "cycle": "70_8", "cycle2": None, "joined_at": "2022-03-01",
        }  # fmt: skip

    def admin(self) -> Item:
        """Without any of the keys that only drivers have."""
        return {
            "id": 10_700_001, "first_name": "Pat", "last_name": "Nguyen", "phone": None,
            "email": "pat.nguyen@example.com", "role": "admin", "status": "active",
            "group_ids": [], "time_zone": None, "created_at": "2021-01-01T00:00:00Z",
            "updated_at": "2026-02-12T12:00:09Z",
        }  # fmt: skip

    def fence(self, spot: Any) -> Item:
        """A ring of eight corners; its middle is the spot."""
        north = spot.radius_m / 111_320.0
        east = north / math.cos(math.radians(spot.lat))
        ring = [
            {"lat": spot.lat + north * math.sin(math.pi * n / 4),
             "lon": spot.lon + east * math.cos(math.pi * n / 4)}
            for n in range(8)
        ]  # fmt: skip
        return {
            "id": FENCES + spot.n, "name": spot.name, "address": spot.address,
            "category": "Terminal" if spot.yard else "Customer", "status": "active",
            "geofence_locations": ring,
        }  # fmt: skip

    # points

    def aboard(self, vehicle: int, at: int) -> int | None:
        """Who is logged in; nobody where the vehicle stands for the night."""
        bare = self.truth.unit(vehicle).bare
        return None if bare else self.truth.driver(vehicle, at)

    def driver_of(self, fix: Fix) -> int | None:
        return None if self.truth.unit(fix.vehicle).bare else fix.driver

    def point_id(self, fix: Fix) -> str:
        return f"{fix.vehicle:08x}-0000-5000-8000-{fix.at:012x}"

    def measured(self, fix: Fix) -> Item:
        """What a point says by any road; speeds are null now and then."""
        metric = self.metric(fix.vehicle)
        speed = fix.kph if metric else fix.kph / 1.609344
        silent = fix.engine != "On" and draw("silent", fix.vehicle, fix.at) < 0.1
        poisoned = self.poisoned(fix)  # type: ignore[attr-defined]
        return {
            "id": self.point_id(fix), "located_at": zulu(fix.at),
            "lat": "north" if poisoned else fix.lat, "lon": fix.lon,
            "type": self.kind(fix), "description": fix.place,
            "speed": None if silent else speed, "bearing": float(fix.heading),
            "odometer": fix.odometer_m / (KM if metric else MILE),
            "engine_hours": 9213.6, "fuel": 55209.9,
        }  # fmt: skip

    def kind(self, fix: Fix) -> str:
        """The type; a fast one is a breadcrumb every other time."""
        if fix.engine == "On" and fix.kph > 8 and fix.at // 60 % 2:
            return "breadcrumb"
        return TYPES[fix.engine]

    def point(self, fix: Fix) -> Item:
        """A point as it is listed; a third of the fleet has a corrected odometer too."""
        said = self.measured(fix)
        driver = self.driver_of(fix)
        exact = said["odometer"] if fix.vehicle % 3 == 0 else None
        return said | {
            "true_odometer": exact, "true_engine_hours": 9219.9, "battery_voltage": None,
            "driver": None if driver is None else self.person(driver), "veh_range": None,
            "fuel_primary_remaining_percentage": None, "hvb_charge_status": None,
        }  # fmt: skip

    def pushed(self, fix: Fix) -> Item:
        """A point as it is pushed: by its vehicle's id and number, without a driver."""
        whose = {
            "vehicle_id": EPOCH + fix.vehicle,
            "vehicle_number": self.truth.unit(fix.vehicle).number,
        }
        return self.measured(fix) | whose | {"trigger": "created"}

    # what lasts

    def who(self, one: Any) -> Item:
        bare = self.truth.unit(one.vehicle).bare
        driver = None if bare else self.person(one.driver)
        return {"driver": driver, "vehicle": self.unit(one.vehicle)}

    def period(self, one: Any) -> Item:
        a, b = self.truth.spot(one.origin), self.truth.spot(one.destination)
        over = one.end is not None
        until = one.end if over else self.now()  # type: ignore[attr-defined]
        ended = (one.odometer_m + one.metres) / KM if over else None
        metres = one.metres or 0
        return self.who(one) | {
            "id": one.id, "start_time": zulu(one.start), "end_time": moment_text(one.end),
            "status": "complete" if over else "in_progress", "type": "driving",
            "annotation_status": None, "notes": None, "duration": float(until - one.start),
            "start_kilometers": one.odometer_m / KM, "end_kilometers": ended,
            "origin": a.name, "origin_lat": a.lat, "origin_lon": a.lon,
            "destination": b.name if over else "",
            "destination_lat": b.lat if over else None,
            "destination_lon": b.lon if over else None,
            "distance": f"{metres / MILE:.1f} mi" if over else None, "source": None,
        }  # fmt: skip

    def idle(self, one: Any) -> Item:
        spot = self.truth.spot(one.spot)
        return self.who(one) | {
            "id": one.id, "start_time": zulu(one.start), "end_time": moment_text(one.end),
            "veh_fuel_start": None, "veh_fuel_end": None, "lat": spot.lat, "lon": spot.lon,
            "city": spot.town, "state": "CA", "rg_match": True, "location": spot.name,
            "end_type": None if one.end is None else "engine_stop",
        }  # fmt: skip

    def broken(
        self, vehicle: int, since: int, until: int, now: int | None
    ) -> Iterator[Broken]:
        """About one shift in eight goes over its limit, in its last quarter."""
        for one in self.truth.assignments(vehicle, since - DAY, until, None):
            assert one.end is not None
            start = one.start + (one.end - one.start) * 3 // 4
            seen = now is None or start <= now
            if draw("broken", one.id) < 0.12 and since <= start < until and seen:
                over = now is None or one.end <= now
                end = one.end if over else None
                yield Broken(one.id, vehicle, one.driver, start, end)

    def violation(self, one: Broken) -> Item:
        return {
            "id": one.id, "type": "driving_11", "name": "11 Hour Driving Limit",
            "start_time": zulu(one.start), "user": self.person(one.driver),
            "end_time": moment_text(one.end),
        }  # fmt: skip

    def log_of(self, driver: int, day: str, duties: list[Any]) -> Item:
        units = sorted({one.vehicle for one in duties})
        events = [
            {"event": {
                "id": one.id, "type": one.status, "notes": None, "location": None,
                "start_time": zulu(one.start), "end_time": moment_text(one.end),
            }}
            for one in duties
        ]  # fmt: skip
        return {
            "id": duties[0].id, "date": day, "total_miles": 300, "metric_units": False,
            "cycle": "70_8", "driver": self.person(driver), "remarks": [],
            "vehicles": [{"vehicle": self.unit(one)} for one in units], "events": events,
        }  # fmt: skip

    def fault(self, one: Any) -> Item:
        closed = one.end is not None
        return {
            "id": one.id, "code": str(one.spn), "code_label": f"SPN {one.spn}",
            "code_description": one.text, "source_address": "0", "type": "constant",
            "status": "closed" if closed else "opened", "fmi": str(one.fmi),
            "first_observed_at": zulu(one.start), "network": "j1939",
            "last_observed_at": zulu(one.end if closed else one.start),
            "occurrence_count": None, "num_observations": 1, "is_sid": False,
            "fmi_description": None, "dtc_status": None, "vehicle": self.unit(one.vehicle),
        }  # fmt: skip

    def inspection(self, one: Any) -> Item:
        metric = self.metric(one.vehicle)
        defects = [
            {"defect": {"id": n, "area": "tractor", "category": what, "notes": None}}
            for n, what in enumerate(one.defects)
        ]
        return self.who(one) | {
            "id": one.id, "date": zulu(one.at)[:10], "time": zulu(one.at),
            "odometer": round(one.odometer_m / (KM if metric else MILE)),
            "carrier_name": "Prairie Line LLC", "trailer_nums": [], "location": None,
            "vehicle_number": self.truth.unit(one.vehicle).number, "city": None,
            "state": None, "status": "satisfactory" if one.safe else "unsafe",
            "mechanic_signed_at": None, "driver_signed_at": zulu(one.at + 60),
            "defects": defects, "mechanic": None,
        }  # fmt: skip

    # what happens

    def whose(self, one: Any, *, push: bool) -> Item:
        """Whose a safety event is: in lists and pushes under different keys."""
        if not push:
            return self.who(one)
        who = self.who(one)
        driver = who["driver"]
        return {
            "vehicle_id": EPOCH + one.vehicle, "driver_id": driver and driver["id"],
            "current_vehicle": who["vehicle"], "current_driver": driver,
        }  # fmt: skip

    def performance(self, one: Any, *, push: bool = False) -> Item:
        return self.whose(one, push=push) | {
            "id": one.id, "type": HARSH[one.kind], "start_time": zulu(one.start),
            "end_time": zulu(one.end), "start_speed": one.kph, "end_speed": one.kph / 2,
            "acceleration": -one.g, "intensity": str(-one.g), "lat": one.lat,
            "lon": one.lon, "location": None, "coaching_status": "pending_review",
            "metadata": {"severity": GRADES.get(one.severity, one.severity)},
        }  # fmt: skip

    def speeding(self, one: Any, *, push: bool = False) -> Item:
        return self.whose(one, push=push) | {
            "id": one.id, "start_time": zulu(one.start), "end_time": zulu(one.end),
            "duration": one.end - one.start, "coaching_status": "coachable",
            "max_over_speed_in_kph": one.kph - one.limit_kph, "avg_vehicle_speed": one.kph,
            "max_vehicle_speed": one.kph, "max_posted_speed_limit_in_kph": one.limit_kph,
            "min_posted_speed_limit_in_kph": one.limit_kph, "nominatim_location": None,
            "metadata": {"severity": GRADES.get(one.severity, one.severity)},
        }  # fmt: skip

    def visit(self, one: Any) -> Item:
        bare = self.truth.unit(one.vehicle).bare
        over = one.end is not None
        return {
            "id": one.id, "geofence_id": FENCES + one.spot,
            "start_time": zulu(one.start), "end_time": moment_text(one.end),
            "duration": one.end - one.start if over else None,
            "vehicle": self.unit(one.vehicle),
            "start_driver": None if bare else self.person(one.driver),
            "end_driver": self.person(one.next_driver) if over and not bare else None,
        }  # fmt: skip

    def fence_events(self, one: Any) -> Iterator[tuple[int, str, Item]]:
        """A visit as it is pushed: the entry with an open end, later the exit."""
        whole = self.visit(one)
        nothing = {"end_time": None, "duration": None, "end_driver": None}
        entry = whole | nothing | {"event_type": "geofence_entry"}
        yield one.start, "vehicle_geofence_event", entry
        if one.end is not None:
            left = whole | {"event_type": "geofence_exit"}
            yield one.end, "vehicle_geofence_event", left

    def toggle(self, trip: Any, way: str) -> Item:
        at = trip.start if way == "on" else trip.end
        spot = self.truth.spot(trip.origin if way == "on" else trip.destination)
        unit = self.unit(trip.vehicle)
        kept = {key: unit[key] for key in ("vin", "make", "model", "year")}
        return kept | {
            "trigger": way, "vehicle_id": EPOCH + trip.vehicle, "located_at": zulu(at),
            "lat": spot.lat, "lon": spot.lon,
        }  # fmt: skip

    def bought(self, vehicle: int, since: int, until: int) -> Iterator[Item]:
        """Fuel every third day at noon; amounts are texts."""
        for day in range(since // DAY, until // DAY + 1):
            at = day * DAY + DAY // 2
            if day % 3 == vehicle % 3 and since <= at < until:
                driver = self.aboard(vehicle, at)
                person = None if driver is None else self.person(driver)
                yield {
                    "id": day * 1000 + vehicle, "purchased_at": zulu(at),
                    "jurisdiction": "CA", "fuel_type": "diesel", "ref_no": f"A-{day}",
                    "vendor": "Truck Stop 12", "total_cost": "412.88", "currency": "USD",
                    "fuel": "112.4", "fuel_unit": "gal", "odometer_unit": "MI",
                    "odometer": round(self.truth.odometer(vehicle, at) / MILE),
                    "uploader": person, "driver": person, "vehicle": self.unit(vehicle),
                }  # fmt: skip
