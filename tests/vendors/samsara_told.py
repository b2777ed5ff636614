"""What a simulated fleet drove, in Samsara's words: one function a record."""

from __future__ import annotations

import uuid
from typing import Any

import msgspec

from tests.vendors import driven
from tests.vendors.driven import draw, zulu
from tests.vendors.people import Person, Spot, Unit
from tests.vendors.truth import DAY, Truth

FIRST_UNIT, FIRST_PERSON, FIRST_SPOT = 281474979112001, 53418801, 171440281
ORG = 4100237
SINCE = 1_708_365_802  # 2024-02-19T18:03:22Z: when its units were made
CHANGED = 1_760_000_000
PANIC = "4875f0f2-906b-5b67-bdd8-a4fbf70e407f"
SPEED = "d6110b60-04ee-5879-bd0b-be580c5651ef"
GROUPS = ({"id": "3914", "name": "West"}, {"id": "3915", "name": "East"})
LABELS = {
    "harsh_brake": "Braking",
    "harsh_acceleration": "Acceleration",
    "harsh_turn": "HarshTurn",
    "speeding": "ModerateSpeeding",
    "crash": "Crash",
}
STATUSES = {"driving": "driving", "on_duty": "onDuty", "off_duty": "offDuty"}
REVIEWED_S = 3600
MENDED_S = 4 * 3600
SETTLED_S = 30  # from the end of a trip to its last change
JSON = msgspec.json.Encoder()
Told = dict[str, Any]


def uuid_of(*what: object) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_OID, repr(what)))


def vehicle_id(n: int) -> str:
    return str(FIRST_UNIT + n)


def driver_id(n: int) -> str:
    return str(FIRST_PERSON + n)


class Teller:
    """Every record of one truth, as Samsara tells it."""

    def __init__(self, truth: Truth) -> None:
        self.truth = truth
        self.heads = [self._head(one) for one in truth.units]

    # the directory

    def ids(self, unit: Unit) -> Told:
        return {"samsara.serial": unit.serial, "samsara.vin": unit.vin}

    def unit(self, unit: Unit) -> Told:
        """A listed vehicle; without a gateway in touch only a few keys are told."""
        few: Told = {
            "id": vehicle_id(unit.n),
            "name": unit.number,
            "serial": dashed(unit.serial),
            "externalIds": self.ids(unit),
            "notes": "",
            "createdAtTime": zulu(SINCE),
            "updatedAtTime": zulu(CHANGED),
        }
        if unit.bare:
            return few
        return few | {
            "vin": unit.vin.lower() if unit.n % 7 == 3 else unit.vin,
            "make": unit.make,
            "model": unit.model,
            "year": str(unit.year),
            "licensePlate": unit.plate,
            "gateway": {"model": "VG34", "serial": dashed(unit.serial)},
            "tags": [GROUPS[unit.n % 2]],
            "vehicleRegulationMode": "regulated",
        }

    def person(self, person: Person) -> Told:
        """A listed driver; one in nine was sent away."""
        gone = person.n % 9 == 8
        return {
            "id": driver_id(person.n),
            "name": person.name,
            "username": person.username,
            "phone": person.phone,
            "timezone": "America/Los_Angeles",
            "driverActivationStatus": "deactivated" if gone else "active",
            "licenseNumber": person.licence,
            "carrierSettings": {
                "carrierName": "Delta Basin Haulage",
                "dotNumber": 3120098,
            },
            "createdAtTime": zulu(SINCE, ms=True),
            "updatedAtTime": zulu(CHANGED, ms=True),
        }

    def spot(self, spot: Spot) -> Told:
        """A listed address, its fence round or a square."""
        circle = {
            "latitude": spot.lat,
            "longitude": spot.lon,
            "radiusMeters": spot.radius_m,
        }
        side = 0.002
        corners = [
            {"latitude": spot.lat + a * side, "longitude": spot.lon + b * side}
            for a, b in ((1, 1), (1, -1), (-1, -1), (-1, 1))
        ]
        fence = {"circle": circle} if spot.n % 3 else {"polygon": {"vertices": corners}}
        return {
            "id": str(FIRST_SPOT + spot.n),
            "name": spot.name,
            "formattedAddress": spot.address,
            "latitude": spot.lat,
            "longitude": spot.lon,
            "geofence": fence,
            "addressTypes": ["yard"] if spot.yard else [],
            "createdAtTime": zulu(SINCE, ms=True),
        }

    # parties

    def who(self, driver: int) -> Told:
        return {"id": driver_id(driver), "name": self.truth.person(driver).name}

    def whose(self, vehicle: int) -> Told:
        unit = self.truth.unit(vehicle)
        return {
            "id": vehicle_id(vehicle),
            "name": unit.number,
            "externalIds": self.ids(unit),
        }

    def asset(self, vehicle: int) -> Told:
        unit = self.truth.unit(vehicle)
        more = {} if unit.bare else {"vin": unit.vin}
        return {
            "id": vehicle_id(vehicle),
            "name": unit.number,
            "type": "vehicle",
            **more,
        }

    # stats

    def _head(self, unit: Unit) -> bytes:
        """What stands before the readings of a vehicle, as bytes."""
        told = {
            "id": vehicle_id(unit.n),
            "name": unit.number,
            "externalIds": self.ids(unit),
        }
        return JSON.encode(told)[:-1]

    def series(self, vehicle: int, key: str, readings: list[bytes]) -> bytes:
        head = self.heads[vehicle]
        return b'%b,"%b":[%b]}' % (head, key.encode(), b",".join(readings))

    def gps(self, fix: driven.Fix, decorations: set[str], *, poison: bool) -> bytes:
        beside: Told = {}
        if "engineStates" in decorations:
            beside["engineStates"] = {"value": fix.engine}
        if "obdOdometerMeters" in decorations:
            beside["obdOdometerMeters"] = {"value": fix.odometer_m}
        told: Told = {
            "time": zulu(fix.at, ms=bool(fix.at % 2)),
            "latitude": "north" if poison else fix.lat,
            "longitude": fix.lon,
            "headingDegrees": fix.heading,
            "speedMilesPerHour": fix.kph / 1.609344,
            "isEcuSpeed": fix.kph > 0,
            "reverseGeo": {"formattedLocation": fix.place},
        }
        return JSON.encode(told | {"decorations": beside} if beside else told)

    def codes(self, at: int, standing: list[driven.Trouble]) -> bytes:
        lights = dict.fromkeys(("emissionsIsOn", "protectIsOn", "stopIsOn"), False)
        told = {
            "time": zulu(at),
            "canBusType": "CANBUS_J1939_500KBPS",
            "j1939": {
                "checkEngineLights": lights | {"warningIsOn": bool(standing)},
                "diagnosticTroubleCodes": [self.code(one) for one in standing],
            },
        }
        return JSON.encode(told)

    def code(self, one: driven.Trouble) -> Told:
        return {
            "spnId": one.spn,
            "spnDescription": one.text,
            "fmiId": one.fmi,
            "fmiDescription": "as told",
            "txId": 0,
            "occurrenceCount": 1 + one.id % 5,
            "milStatus": 1,
        }

    # what lasts and what happens

    def trip(self, one: driven.Trip, now: int) -> tuple[int, Told]:
        """When it was last changed, and the trip as it is now."""
        over = one.end is not None and one.end + SETTLED_S <= now
        start, end = self.truth.spot(one.origin), self.truth.spot(one.destination)
        updated = (one.end or 0) + SETTLED_S if over else one.start + 2
        told: Told = {
            "asset": self.asset(one.vehicle),
            "completionStatus": "completed" if over else "inProgress",
            "createdAtTime": zulu(one.start + 2),
            "updatedAtTime": zulu(updated),
            "tripStartTime": zulu(one.start),
            "startLocation": {"latitude": start.lat, "longitude": start.lon},
        }
        if over:
            told |= {
                "tripEndTime": zulu(one.end or 0),
                "endLocation": {"latitude": end.lat, "longitude": end.lon},
                "finalDistanceMeters": one.metres,
            }
        return updated, told

    def safety(self, one: driven.Harsh, now: int) -> tuple[int, Told]:
        """An event in its latest state: needing review, then coached."""
        created = one.end + 10
        updated = created + REVIEWED_S if created + REVIEWED_S <= now else created
        told: Told = {
            "id": uuid_of("safety", one.id),
            "asset": self.asset(one.vehicle),
            "driver": self.who(one.driver),
            "behaviorLabels": [{"label": LABELS[one.kind], "source": "automated"}],
            "contextLabels": [],
            "createdAtTime": zulu(created),
            "updatedAtTime": zulu(updated),
            "startMs": zulu(one.start, ms=True),
            "endMs": zulu(one.end, ms=True),
            "eventState": "needsReview" if updated == created else "coached",
            "location": {"latitude": one.lat, "longitude": one.lon},
            "maxAccelerationGForce": one.g,
            "inboxEventUrl": f"https://cloud.samsara.com/o/{ORG}/safety/inbox/{one.id}",
        }
        if one.kind == "speeding":
            told["speedingMetadata"] = {
                "maxSpeedKilometersPerHour": one.kph,
                "postedSpeedLimitKilometersPerHour": one.limit_kph,
            }
        return updated, told

    def incident(self, one: driven.Harsh, now: int) -> tuple[int, Told] | None:
        """An alert on a panic button or on speed, open and then resolved."""
        if one.kind not in ("sos", "speeding"):
            return None
        parties = {"driver": self.who(one.driver), "vehicle": self.whose(one.vehicle)}
        parties["vehicle"]["serial"] = self.truth.unit(one.vehicle).serial
        if one.kind == "sos":
            rule, details = PANIC, {"panicButton": parties}
        else:
            speed = {
                "currentSpeedKilometersPerHour": one.kph,
                "thresholdSpeedKilometersPerHour": one.limit_kph,
                "minDurationMilliseconds": 30000,
                "operation": "GREATER",
            }
            rule, details = SPEED, {"speed": speed | parties}
        over = one.end + 5 <= now
        updated = one.end + 5 if over else one.start + 5
        condition = {"triggerId": 1000, "description": "Regel", "details": details}
        told: Told = {
            "configurationId": rule,
            "happenedAtTime": zulu(one.start),
            "updatedAtTime": zulu(updated),
            "isResolved": over,
            "incidentUrl": f"https://cloud.samsara.com/o/{ORG}/incidents/{rule}/{one.id}",
            "conditions": [condition],
        }
        return updated, told | ({"resolvedAtTime": zulu(one.end)} if over else {})

    def inspection(self, one: driven.Inspection, now: int) -> tuple[int, Told]:
        mended = not one.safe and one.at + MENDED_S <= now
        updated = one.at + MENDED_S if mended else one.at + 1
        defects = [str(one.id * 10 + n) for n, _ in enumerate(one.defects)]
        return updated, {
            "id": str(one.id),
            "type": "preTrip",
            "safetyStatus": "safe" if one.safe else "resolved" if mended else "unsafe",
            "dvirSubmissionBeginTime": zulu(one.at - 300),
            "dvirSubmissionTime": zulu(one.at),
            "updatedAtTime": zulu(updated),
            "odometerMeters": one.odometer_m,
            "defectIds": defects,
            "authorSignature": {
                "signatoryUser": {"id": driver_id(one.driver)},
                "signedAtTime": zulu(one.at),
                "type": "driver",
            },
            "vehicle": {"id": vehicle_id(one.vehicle)},
        }

    def pushed_inspection(self, one: driven.Inspection) -> Told:
        whole = {
            key: value
            for key, value in self.inspection(one, one.at)[1].items()
            if key
            in ("id", "type", "safetyStatus", "odometerMeters", "authorSignature")
        }
        defects = [
            {"id": str(one.id * 10 + n), "defectType": text, "isResolved": False}
            for n, text in enumerate(one.defects)
        ]
        whole |= {"startTime": zulu(one.at - 300), "endTime": zulu(one.at, ms=True)}
        both = {"driver": self.who(one.driver), "vehicle": self.whose(one.vehicle)}
        return both | {"dvir": whole | ({"defects": defects} if defects else {})}

    def duty(self, one: driven.Duty) -> Told:
        told: Told = {
            "hosStatusType": STATUSES[one.status],
            "logStartTime": zulu(one.start),
            "vehicle": {key: self.whose(one.vehicle)[key] for key in ("id", "name")},
            "codrivers": [],
        }
        return told | ({"logEndTime": zulu(one.end)} if one.end is not None else {})

    def violation(self, one: driven.Assignment, now: int) -> tuple[int, Told] | None:
        """One shift in twenty goes on for too long after its first hours."""
        start = one.start + 4 * 3600
        if draw("violation", one.id) >= 0.05 or start > now:
            return None
        end = min(one.end or now, now)
        if end <= start:
            return None
        day = one.start // DAY * DAY
        return start, {
            "type": "shiftDrivingHours",
            "description": "shift driving limit",
            "violationStartTime": zulu(start),
            "durationMs": (end - start) * 1000,
            "day": {"startTime": zulu(day), "endTime": zulu(day + DAY)},
            "driver": self.who(one.driver),
        }

    def assignment(self, one: driven.Assignment, *, planned: int) -> Told:
        """What goes on has no end, an empty one, or one that is only planned."""
        open_ends: tuple[Told, ...] = ({}, {"endTime": ""}, {"endTime": zulu(planned)})
        end = (
            {"endTime": zulu(one.end)} if one.end is not None else open_ends[one.id % 3]
        )
        return {
            "startTime": zulu(one.start),
            **end,
            "assignedAtTime": "",
            "assignmentType": "HOS" if one.id % 2 else "driverApp",
            "isPassenger": False,
            "driver": self.who(one.driver),
            "vehicle": self.whose(one.vehicle),
        }

    def idling(self, one: driven.Idling) -> Told:
        spot = self.truth.spot(one.spot)
        return {
            "eventUuid": uuid_of("idling", one.id),
            "startTime": zulu(one.start),
            "durationMilliseconds": ((one.end or one.start) - one.start) * 1000,
            "asset": {"id": FIRST_UNIT + one.vehicle},
            "operator": {"id": FIRST_PERSON + one.driver},
            "latitude": spot.lat,
            "longitude": spot.lon,
            "ptoState": "inactive",
            "address": {"id": str(FIRST_SPOT + one.spot)},
        }

    def crossing(self, one: driven.Visit) -> Told:
        return {
            "address": self.spot(self.truth.spot(one.spot)),
            "vehicle": self.whose(one.vehicle),
        }

    def pushed_fault(self, one: driven.Trouble) -> Told:
        spn = {"id": str(one.spn), "description": one.text}
        fmi = {"id": str(one.fmi), "description": "as told"}
        arm = {"spn": spn, "fmi": fmi, "occurrenceCount": 1 + one.id % 5, "txId": "0"}
        return {"vehicle": self.whose(one.vehicle), "fault": {"j1939": arm}}


def dashed(serial: str) -> str:
    """A serial as a gateway shows it."""
    return "-".join((serial[:4], serial[4:7], serial[7:]))
