"""A simulated Verizon Connect Reveal: tokens of twenty minutes, bulk calls, tracks, segments.

`--key` is the password of the integration user. Numbers hold blanks and slashes, a
fifth of the vehicles writes its keys in small letters, a listing is bare or in `items`.
The password `<key>-narrow` lacks trouble codes. Pushes are raw deliveries of SNS with
Basic credentials (`--secret` is `user:password`); with `wrapped` they are messages,
signed with the key of `tests.providers.verizon_sns`.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from tests.vendors.base import (
    COLUMNS,
    DAY,
    Asked,
    Fix,
    Reply,
    Sending,
    Simulator,
    Tier,
    refuse,
    reply,
)
from tests.vendors.driven import Trip, Trouble, zulu
from tests.vendors.server import main

USER, APP = "REST_Delta_1@123456.com", "fleetmatics-p-us-simulated"
LIFE = 1200
PLAN = 395 * DAY  # how far back this customer's data plan goes
BULK = 100
AUTHORITY = re.compile(r"Atmosphere atmosphere_app_id=([\w.-]+), Bearer ([\w.-]+)")
STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d")
STATES = {"On": "Moving", "Idle": "Idle", "Off": "Stop"}
POINTS = ("North", "Northeast", "East", "Southeast", "South", "Southwest", "West",
          "Northwest")  # fmt: skip
ENDED = Reply(
    400, b"The provided token has an invalid format.", {"content-type": "text/plain"}
)
Told = dict[str, Any]


class Verizon(Simulator):
    """Reveal as its fact sheet has it."""

    vendor = "verizon"
    carries = COLUMNS - {"odometer"}
    pushes = COLUMNS - {"odometer", "vin", "driver_name"}
    retries = (1.0, 20.0, 20.0, 60.0)
    wrapped = False

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.tokens: dict[str, tuple[int, bool]] = {}
        self.logins = self.listings = 0
        self.named = {self.vehicle_id(n): n for n in range(self.truth.vehicles)}

    def routes(self) -> dict[str, Callable[..., Reply]]:
        vehicle = "/rad/v1/vehicles/{number}"
        return {
            "GET /token": self.token,
            "GET /cmd/v1/vehicles": self.vehicles,
            "GET /cmd/v1/drivers": self.drivers,
            "POST /rad/v1/vehicles/locations": self.locations,
            "POST /rad/v1/vehicles/statuses": self.statuses,
            "GET /rad/v1/vehicles/getvehiclesactivedtcs": self.active,
            f"GET {vehicle}/location": self.location,
            f"GET {vehicle}/status": self.status,
            f"GET {vehicle}/status/history": self.history,
            f"GET {vehicle}/segments": self.segments,
            f"GET {vehicle}/getecmstatusbyvehiclenumber": self.ecm,
            f"GET {vehicle}/getdtchistorybyvehiclenumber": self.codes,
        }

    # who asks

    def token(self, asked: Asked) -> Reply:
        for password, narrow in ((self.key, False), (f"{self.key}-narrow", True)):
            pair = base64.b64encode(f"{USER}:{password}".encode()).decode()
            if asked.headers.get("authorization") == f"Basic {pair}":
                self.logins += 1
                seed = f"{self.logins} {self.dice.faults.seed}".encode()
                parts = hashlib.shake_256(seed).hexdigest(740)
                made = f"eyJhbGciOiJSUzI1NiJ9.{parts[:1000]}.{parts[1000:]}"
                self.tokens[made] = (self.now() + LIFE, narrow)
                return Reply(200, made.encode(), {"content-type": "text/plain"})
        why = {"Message": "The user name or password is incorrect."}
        return reply(why, 401)

    def refused(self, asked: Asked) -> Reply | None:
        if asked.path == "/token":
            return None
        found = AUTHORITY.fullmatch(asked.headers.get("authorization", ""))
        if found is None or found[1] != APP or found[2] not in self.tokens:
            return reply({"Message": "Authorization has been denied."}, 401)
        until, narrow = self.tokens[found[2]]
        if until <= self.now():
            return ENDED
        if narrow and ("dtc" in asked.path or "ecm" in asked.path):
            return reply({"Message": "The app has no access to this API."}, 403)
        return None

    def credential(self, asked: Asked) -> str:
        return USER

    def tiers(self, asked: Asked) -> Sequence[Tier]:
        return (Tier("all", 10),)

    def busy(self, after: float) -> Reply:
        return reply({"Message": "Too many requests."}, 429, retry_after=f"{after:.3f}")

    def unknown(self, asked: Asked) -> Reply:
        return reply({"Message": f"No HTTP resource was found: {asked.path}"}, 404)

    # names

    def vehicle_id(self, vehicle: int) -> str:
        number = self.truth.units[vehicle].number
        return (number, f"{number} / spare", f"Van {number}#{vehicle}")[vehicle % 3]

    def driver_id(self, driver: int) -> str:
        return f"D-{driver}"

    def row(self, fix: Fix) -> Told:
        return super().row(fix) | {"fleet_number": self.vehicle_id(fix.vehicle)}

    def vehicle(self, number: str) -> int:
        if number not in self.named:
            raise refuse({"Message": f"Vehicle number {number} was not found."}, 400)
        return self.named[number]

    def cased(self, vehicle: int, told: Told) -> Told:
        """Casing is not stable."""
        return lowered(told) if vehicle % 5 == 3 else told

    # directories

    def vehicles(self, asked: Asked) -> Reply:
        self.listings += 1
        units = [
            {
                "Name": f"Truck {one.n}",
                "VehicleNumber": self.vehicle_id(one.n),
                "RegistrationNumber": one.plate,
                "VIN": one.vin,
                "Make": one.make,
                "Model": one.model,
                "Year": one.year,
                "TankCapacity": None,
                "HasTachograph": False,
            }
            for one in self.listed(self.truth.units)
        ]
        spare = {"Name": "Not installed", "VehicleNumber": "", "VIN": None}
        every = [*units, spare]
        return reply({"items": every} if self.listings % 2 else every)

    def drivers(self, asked: Asked) -> Reply:
        people = [
            {
                "DriverNumber": self.driver_id(one.n),
                "FirstName": one.first,
                "LastName": one.last,
                "PhoneNumber": one.phone,
            }
            for one in self.listed(self.truth.people)
        ]
        return reply(people)

    # where they are

    def locations(self, asked: Asked) -> Reply:
        return self.bulk(asked, self.last_place)

    def statuses(self, asked: Asked) -> Reply:
        return self.bulk(asked, self.last_status)

    def bulk(self, asked: Asked, tell: Callable[[int], Told | None]) -> Reply:
        numbers = asked.json()
        if (
            not isinstance(numbers, list)
            or not 0 < len(numbers) <= BULK
            or not all(isinstance(one, str) and one for one in numbers)
        ):
            raise refuse({"Message": "The request is invalid."}, 400)
        return reply(self.mixed([self.one_of(number, tell) for number in numbers]))

    def one_of(self, number: str, tell: Callable[[int], Told | None]) -> Told:
        vehicle = self.named.get(number)
        value = None if vehicle is None else tell(vehicle)
        if vehicle is None or value is None:
            code = 400 if vehicle is None else 204
            return {
                "VehicleNumber": number,
                "StatusCode": code,
                "ContentResource": None,
            }
        told = {
            "VehicleNumber": number,
            "StatusCode": 200,
            "ContentResource": {"Value": value},
        }
        return self.cased(vehicle, told)

    def newest(self, vehicle: int) -> Fix | None:
        now = self.now() + 1
        found = self.known(self.truth.fixes(vehicle, now - DAY, now))
        return found[-1] if found else None

    def last_place(self, vehicle: int) -> Told | None:
        fix = self.newest(vehicle)
        if fix is None:
            return None
        who = None if fix.driver is None else self.truth.people[fix.driver]
        return {
            "VehicleNumber": self.vehicle_id(vehicle),
            "VehicleName": f"Truck {vehicle}",
            **self.place(fix),
            "OdometerInKM": fix.odometer_m / 1000,
            "UpdateUtc": stamp(fix.at),
            "DriverNumber": None if who is None else self.driver_id(who.n),
            "FirstName": None if who is None else who.first,
            "LastName": None if who is None else who.last,
            "BatteryLevel": None,
        }

    def place(self, fix: Fix) -> Told:
        return {
            "Latitude": "north" if self.poisoned(fix) else fix.lat,
            "Longitude": fix.lon,
            "Speed": fix.kph,
            "IsPrivate": False,
            "Address": {
                "AddressLine1": fix.place,
                "AddressLine2": "",
                "Locality": "",
                "AdministrativeArea": "",
                "PostalCode": "",
                "Country": "USA",
            },
        }

    def last_status(self, vehicle: int) -> Told | None:
        fix = self.newest(vehicle)
        if fix is None:
            return None
        return {
            "DeviceTimeZoneOffset": -8,
            "DisplayState": STATES[fix.engine],
            "DriverNumber": None if fix.driver is None else self.driver_id(fix.driver),
            "Speed": fix.kph,
            "UpdateUTC": stamp(fix.at),
            "EngineMinutes": fix.odometer_m // 700,
            "CurrentOdometer": fix.odometer_m / 1000,
            "IdleTime": 0,
            "SensorValues": [],
        }

    def location(self, asked: Asked, number: str) -> Reply:
        return reply(self.last_place(self.vehicle(number)))

    def status(self, asked: Asked, number: str) -> Reply:
        return reply(self.last_status(self.vehicle(number)))

    # where they were

    def history(self, asked: Asked, number: str) -> Reply:
        vehicle = self.vehicle(number)
        since = self.moment(asked, "startdatetimeutc")
        until = self.moment(asked, "enddatetimeutc")
        if not since < until <= since + 30 * DAY:
            raise refuse({"Message": "The dates are not valid."}, 400)
        fixes = self.known(self.truth.fixes(vehicle, since, until + 1))
        points = [self.point(one) for one in self.mixed(fixes)]
        return reply([self.cased(vehicle, one) for one in points])

    def point(self, fix: Fix) -> Told:
        return {
            "UpdateUTC": stamp(fix.at),
            **self.place(fix),
            "Direction": fix.heading,
            "Heading": POINTS[(fix.heading * 8 + 180) // 360 % 8],
            "DisplayState": STATES[fix.engine],
            "DeltaDistance": 0.5,
            "DeltaTime": 60,
            "DeviceTimeZoneOffset": -8,
            "DeviceTimeZoneUseDST": True,
            "GeoFenceName": None,
            "DriverNumber": None if fix.driver is None else self.driver_id(fix.driver),
        }

    def segments(self, asked: Asked, number: str) -> Reply:
        """What lies in 24 hours, and of what reaches over an edge the part inside."""
        vehicle = self.vehicle(number)
        since = self.moment(asked, "startdateutc")
        now, until = self.now(), since + DAY
        if now - since > 366 * DAY:
            raise refuse({"Message": "The start is too old."}, 400)
        found = [
            self.segment(one, since, until)
            for one in self.truth.trips(vehicle, since - DAY, until, now)
            if (one.end or now) > since
        ]
        envelope = {
            "Driver": None,
            "Vehicle": {"Name": f"Truck {vehicle}", "Number": number},
            "Segments": self.mixed(found),
        }
        return reply(self.cased(vehicle, envelope))

    def segment(self, one: Trip, since: int, until: int) -> Told:
        start, end = max(one.start, since), min(one.end or self.now(), until)
        whole = one.end is not None and one.end <= until
        a, b = self.truth.spots[one.origin], self.truth.spots[one.destination]
        length = (one.end or self.now()) - one.start or 1
        metres = one.metres or 0
        return {
            "StartDateUtc": stamp(start),
            "EndDateUtc": stamp(end),
            "IsComplete": whole,
            "DistanceKilometers": metres / 1000 * (end - start) / length,
            "StartLocation": {"AddressLine1": a.name, "Latitude": a.lat, "Longitude": a.lon},
            "EndLocation": {"AddressLine1": b.name, "Latitude": b.lat, "Longitude": b.lon},
            "StartLocationIsPrivate": False,
            "EndLocationIsPrivate": False,
        }  # fmt: skip

    # engines

    def troubles(self, vehicle: int) -> list[Trouble]:
        now = self.now()
        return self.truth.troubles(vehicle, now - 2 * DAY, now + 1, now)

    def active(self, asked: Asked) -> Reply:
        found = []
        for vehicle in range(self.truth.vehicles):
            codes = sorted({x.code for x in self.troubles(vehicle) if x.end is None})
            if codes:
                told = {
                    "VehicleNumber": self.vehicle_id(vehicle),
                    "VehicleName": f"Truck {vehicle}",
                    "ActiveDTCs": ", ".join(codes),
                    "LastUpdatedDateTime": stamp(self.now()),
                }
                found.append(told)
        return reply(found)

    def codes(self, asked: Asked, number: str) -> Reply:
        vehicle = self.vehicle(number)
        codes = [
            {
                "DTC": one.code,
                "IsActive": one.end is None,
                "LastUpdatedDateTime": stamp(one.end or one.start),
            }
            for one in self.troubles(vehicle)
        ]
        told = {"VehicleNumber": number, "VehicleName": "", "DTCs": codes}
        return reply(self.cased(vehicle, told))

    def ecm(self, asked: Asked, number: str) -> Reply:
        vehicle = self.vehicle(number)
        status = self.last_status(vehicle) or {}
        minutes = status.pop("EngineMinutes", 0)
        told = {
            **status,
            "VIN": self.truth.units[vehicle].vin,
            "EngineMintutes": minutes,
            "FuelLevelPercentage": 50.0,
            "TotalFuelUsed": 1000.0,
            "DTCs": [x.code for x in self.troubles(vehicle) if x.end is None],
        }
        return reply(self.cased(vehicle, told))

    def moment(self, asked: Asked, name: str) -> int:
        text = asked.one(name)
        if not STAMP.fullmatch(text):
            raise refuse({"Message": f"{name} is not yyyy-MM-ddTHH:mm:ss"}, 400)
        from datetime import datetime

        found = int(datetime.fromisoformat(f"{text}+00:00").timestamp())
        if found < self.now() - PLAN:
            raise refuse({"Message": "Outside of the data plan."}, 400)
        return found

    # what it pushes

    def push_fix(self, fix: Fix) -> Sending | None:
        told = {"vehicleNumber": self.vehicle_id(fix.vehicle)}
        told |= {camel(name): one for name, one in self.point(fix).items()}
        told["updateUTC"] = zulu(fix.at)
        told["address"] = {camel(k): v for k, v in told["address"].items()}
        return self.sending(fix.at, told)

    def push_others(self, vehicle: int, since: int, until: int) -> Iterable[Sending]:
        for one in self.truth.harsh(vehicle, since, until):
            kind = {"speeding": "Speeding", "sos": "Panic"}.get(
                one.kind, "Harsh Driving"
            )
            told = {
                "AlertType": kind,
                "Description": one.kind.replace("_", " "),
                "VehicleNumber": self.vehicle_id(vehicle),
                "DriverNumber": self.driver_id(one.driver),
                "AlertTimeUtc": stamp(one.start),
                "Speed": one.kph,
                "Latitude": one.lat,
                "Longitude": one.lon,
            }
            yield Sending(one.end, json.dumps(told).encode())

    def sending(self, at: int, told: Told) -> Sending:
        body, kind = (
            json.dumps(told).encode(),
            {"x-amz-sns-message-type": "Notification"},
        )
        if not self.wrapped:
            return Sending(at, body, {**kind, "x-amz-sns-rawdelivery": "true"})
        from tests.providers.verizon_sns import message

        named = hashlib.blake2b(body, digest_size=16).hexdigest()
        return Sending(at, message(body.decode(), MessageId=named), kind)

    def sign(self, body: bytes, secret: str) -> Mapping[str, str]:
        pair = base64.b64encode(secret.encode()).decode()
        return {"authorization": f"Basic {pair}"}


def stamp(at: int) -> str:
    """UTC without the letter."""
    return zulu(at)[:-1]


def camel(name: str) -> str:
    return name[:1].lower() + name[1:]


def lowered(value: Any) -> Any:
    if isinstance(value, dict):
        return {key.lower(): lowered(one) for key, one in value.items()}
    return [lowered(one) for one in value] if isinstance(value, list) else value


if __name__ == "__main__":
    main(Verizon)
