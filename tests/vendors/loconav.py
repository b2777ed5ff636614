"""LocoNav as it was documented: pages and windows, 20 requests a minute, unsigned pushes.

`python -m tests.vendors.loconav --port 9100 --vehicles 600`. It keeps no history of
fixes: `last_known` is all there is of positions, and the push. Alerts are listed for six
months under the names of the API, and pushed under those of the webhooks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from tests.vendors.base import (
    COLUMNS,
    DAY,
    Asked,
    Fix,
    Reply,
    Tier,
    refuse,
    reply,
)
from tests.vendors.loconav_pushes import LASTING, Pushes, Told, imei
from tests.vendors.server import main
from tests.vendors.truth import draw

PREFIX = "/integration/api/v1"
LARGEST = 100  # records a page, whatever was asked for
HALF_YEAR = 181 * DAY
SENSORS = {"gps", "odometer", "vehicleBatteryLevel", "numberOfSatellites"}
SORTS = {"", "should_start_at", "created_at", "shouldStartAt", "createdAt"}
UNSAID = {"driver_id", "driver_name", "location_description", "odometer"}


class LocoNav(Pushes):
    """See the fact sheet: envelopes, traps and limits are its."""

    vendor = "loconav"
    carries = COLUMNS - UNSAID
    pushes = COLUMNS - UNSAID - {"vin"}
    apart: ClassVar[float] = 0.0  # share of fixes whose speed is from 271 s later

    def routes(self) -> dict[str, Callable[..., Reply]]:
        every: dict[str, Callable[..., Reply]] = {
            "GET /user": self.user,
            "GET /vehicles": self.vehicles,
            "POST /vehicles/telematics/last_known": self.last_known,
            "GET /drivers": self.drivers,
            "GET /polygons": self.polygons,
            "GET /alerts": self.alerts,
            "GET /trips": self.trips,
        }
        longer = {one.replace(" ", f" {PREFIX}", 1): of for one, of in every.items()}
        return every | longer

    # who may, and how often

    def refused(self, asked: Asked) -> Reply | None:
        if asked.headers.get("user-authentication") == self.key:
            return None
        return reply(failed("Authentication failed"), 401)

    def credential(self, asked: Asked) -> str:
        return asked.headers.get("user-authentication", "")

    def tiers(self, _asked: Asked) -> Sequence[Tier]:
        return (Tier("token", 20, 60.0),)

    def busy(self, _after: float) -> Reply:
        body = failed({"message": "TOO MANY REQUESTS", "code": "too_many_requests"})
        headers = {"x_rate_limit_limit": "20", "x_rate_limit_remaining": "0"}
        return reply(body, 429, **headers)

    def unknown(self, _asked: Asked) -> Reply:
        return reply(failed({"message": "no such path", "code": "not_found"}), 404)

    # how it names things

    def uuid(self, vehicle: int) -> str:
        return f"00000000-0000-4000-8000-{vehicle:012}"

    def row(self, fix: Fix) -> dict[str, Any]:
        row = super().row(fix)
        row["engine_state"] = "Off" if fix.engine == "Off" else "On"  # the ignition
        if self.truth.unit(fix.vehicle).bare:
            row["vin"] = None
        if self.is_apart(fix):
            row["speed_mph"] = row["heading_degrees"] = None
        return row

    def is_apart(self, fix: Fix) -> bool:
        return draw("apart", fix.vehicle, fix.at) < self.apart

    # lists

    def user(self, _asked: Asked) -> Reply:
        account = {"id": 77, "name": "Test Haulage", "email": "a@example.com"}
        return done({"id": 5521, "name": "Ops", "role": "User", "account": account})

    def vehicles(self, asked: Asked) -> Reply:
        units = []
        for one in self.listed(self.truth.units):
            told: dict[str, Any] = {
                "number": one.number,
                "displayNumber": one.number,
                "vehicleUuid": self.uuid(one.n),
                "vehicleType": "truck_generic",
                "status": True,
            }
            if not one.bare:  # whole blocks are left out
                told |= {
                    "make": one.make,
                    "model": one.year if one.n % 3 == 0 else one.model,
                    "chassisNumber": one.vin,
                    "subscription": {"expiresAt": "2027-08-26T15:54:21.000+05:30"},
                    "currentDevice": {"serialNumber": imei(one.n), "countryCode": "NG"},
                }
            units.append(told)
        return paged(asked, "vehicles", units, total="totalCount")

    def drivers(self, asked: Asked) -> Reply:
        brief = asked.one("getIdAndName", "true") != "false"
        people = []
        for one in self.listed(self.truth.people):
            told: dict[str, Any] = {"id": one.n, "name": one.name}
            if not brief:
                told |= {"phoneNumber": one.phone, "licenseNumber": one.licence}
            people.append(told)
        return paged(asked, "values", people)

    def polygons(self, asked: Asked) -> Reply:
        places = [
            {
                "id": one.n, "name": one.name, "lat": str(one.lat), "long": str(one.lon),
                "active": True, "address": one.address, "radius": one.radius_m,
                "boundingBox": [], "updatedAt": 1_772_440_000_123,
                "geofenceCategory": "yard" if one.yard else None,
            }
            for one in self.listed(self.truth.spots)
        ]  # fmt: skip
        return paged(asked, "values", places, total="count")

    # where they are

    def last_known(self, asked: Asked) -> Reply:
        wanted = asked.json()
        if not isinstance(wanted, dict):
            raise refuse(bad("malformed body"), 400)
        sensors = wanted.get("sensors") or ["gps"]
        if len(sensors) > 3:
            raise refuse(bad("Only 3 sensors supported at a time"), 400)
        for one in sensors:
            if one not in SENSORS:
                raise refuse(bad(f"Sensor type {one} not supported"), 400)
        ids = set(wanted.get("vehicleIds") or ())
        units = [
            one.n
            for one in self.truth.units
            if not ids or self.uuid(one.n) in ids
        ]  # fmt: skip
        page, some, more = cut(asked, units)
        fixes = self.mixed([self.last(vehicle) for vehicle in some])
        values = [self.known_row(one, sensors) for one in fixes]
        return done(
            {"values": values, "pagination": page | {"count": len(units), "more": more}}
        )

    def last(self, vehicle: int) -> Fix:
        """The newest fix that has come by now."""
        now, away = self.now(), self.dice.tardy
        hours = away // 3600 + 2 if away else 0
        found = self.known(self.truth.fixes(vehicle, now - hours * 3600, now + 1))
        return found[-1] if found else self.truth.last(vehicle, now - hours * 3600)

    def known_row(self, fix: Fix, sensors: Sequence[str]) -> dict[str, Any]:
        read = fix.at + (271 if self.is_apart(fix) else 0)
        lat = "north" if self.poisoned(fix) else fix.lat
        found: dict[str, Any] = {
            "vehicleNumber": self.vehicle_id(fix.vehicle),
            "vehicleId": self.uuid(fix.vehicle),
        }
        if "gps" in sensors:
            ignition = "OFF" if fix.engine == "Off" else "ON"
            found["gps"] = {
                "speed": leaf("Speed", fix.kph, read, "km/h"),
                "ignition": {"displayName": "Ignition", "value": ignition},
                "orientation": leaf("Orientation Value", str(fix.heading or 360), read),
                "currentLocationCoordinates": {
                    "lat": leaf("Latitude", lat, fix.at, "degrees"),
                    "long": leaf("Longitude", fix.lon, fix.at, "degrees"),
                },
            }
        if "odometer" in sensors:
            km = fix.odometer_m / 1000
            found["odometer"] = leaf("Odometer", km, fix.at, "km")
        return found

    # what happened

    def alerts(self, asked: Asked) -> Reply:
        since, until = self.span(asked)
        wanted = asked.one("alertType")
        found = [
            one
            for vehicle in range(self.truth.vehicles)
            for one in self.known(self.told_of(vehicle, since, until, self.now()))
            if not wanted or one.kind == wanted
        ]
        found.sort(key=lambda one: (-one.start, one.id))
        page, some, more = cut(asked, found)
        values = [self.alert(one) for one in self.mixed(some)]
        page |= {"page": 0, "more": more, "total": len(found)}  # as it is printed
        return done({"values": values, "pagination": page, "metadata": {}})

    def span(self, asked: Asked) -> tuple[int, int]:
        since, until = asked.one("startTime"), asked.one("endTime")
        if not (since.isdecimal() and until.isdecimal()):
            raise refuse(bad("startTime and endTime in epoch seconds"), 400)
        length = int(until) - int(since)
        if not 60 < length < DAY:
            raise refuse(bad("difference should be over a minute and under a day"), 400)
        if int(since) < self.now() - HALF_YEAR:
            raise refuse(bad("history is available for the last 6 months"), 400)
        return int(since), int(until)

    def alert(self, one: Told) -> dict[str, Any]:
        lasts = one.kind in LASTING
        over = one.end if lasts else one.start
        nowhere = {"lat": 0, "long": 0, "address": None}
        here = {"lat": one.lat, "long": one.lon, "address": "1 Test Way"}
        told: dict[str, Any] = {
            "id": one.id, "eventTime": one.start, "eventType": one.kind,
            "localizeEventType": one.kind, "startedTs": one.start, "startLocation": here,
            "comments": [], "supportsVt": False, "videoDetail": None, "endedTs": over,
            "endLocation": nowhere if over is None else here,
            "vehicle": {"uuid": self.uuid(one.vehicle), "number": self.vehicle_id(one.vehicle)},
        }  # fmt: skip
        if one.kph is not None:
            told["valueWithUnit"] = {"value": one.kph, "unit": "km/h"}
        if one.spot is not None:
            told["value"] = {"id": one.spot, "name": self.truth.spot(one.spot).name}
        return told

    def trips(self, asked: Asked) -> Reply:
        if asked.one("sortColumn") not in SORTS:
            raise refuse(bad("sortColumn is invalid"), 400)
        since, until = self.span(asked)
        found = [
            one
            for vehicle in range(self.truth.vehicles)
            for one in self.known(self.truth.trips(vehicle, since, until, self.now()))
        ]
        page, some, more = cut(asked, found)
        values = [
            {
                "id": one.id, "uniqueId": f"trip_{one.id}",
                "vehicleNumber": self.vehicle_id(one.vehicle), "vehicleId": 9000 + one.vehicle,
                "shouldStartTs": one.start, "createdAt": one.start - 3600,
                "state": "ongoing" if one.end is None else "completed",
                "driver": {"id": one.driver, "name": self.truth.person(one.driver).name},
                "completionPercentage": 40 if one.end is None else 100, "expectedDistance": 30,
                "checkPoints": [{"name": self.truth.spot(s).name} for s in (one.origin, one.destination)],
            }
            for one in self.mixed(some)
        ]  # fmt: skip
        return done({"values": values, "pagination": page | {"more": more}})


def leaf(name: str, value: Any, at: int, unit: str | None = None) -> dict[str, Any]:
    return {
        "displayName": name, "description": f"{name} of the vehicle", "unit": unit,
        "value": value, "timestamp": at,
    }  # fmt: skip


def done(data: Any) -> Reply:
    return reply({"success": True, "data": data})


def failed(*errors: Any) -> dict[str, Any]:
    return {"success": False, "data": {"errors": list(errors)}}


def bad(message: str) -> dict[str, Any]:
    return failed({"message": message, "code": "bad_request"})


def cut(
    asked: Asked, items: Sequence[Any]
) -> tuple[dict[str, Any], Sequence[Any], bool]:
    """The page asked for, its items, and whether more follow."""
    page, size = asked.one("page", "1"), asked.one("perPage", "10")
    if not (page.isdecimal() and int(page) and size.isdecimal() and int(size)):
        raise refuse(bad('{:page=>["must be greater than 0"]}'), 400)
    many = min(int(size), LARGEST)
    first = (int(page) - 1) * many
    told = {"page": int(page), "perPage": many}
    return told, items[first : first + many], first + many < len(items)


def paged(asked: Asked, name: str, items: Sequence[Any], *, total: str = "") -> Reply:
    page, some, more = cut(asked, items)
    page["more"] = more
    if total:
        page[total] = len(items)
    return done({name: some, "pagination": page})


if __name__ == "__main__":
    main(LocoNav)
