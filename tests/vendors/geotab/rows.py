"""What a simulated Geotab fleet did, as rows that become known one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

from tests.vendors.base import DAY, Fix, Simulator
from tests.vendors.truth import draw, zulu

OPEN = "2050-01-01T00:00:00.000Z"
NOBODY = "UnknownDriverId"
RULES = {
    "harsh_brake": "RuleHarshBrakingId",
    "harsh_acceleration": "RuleJackrabbitStartsId",
    "harsh_turn": "RuleHarshCorneringId",
    "speeding": "RulePostedSpeedingId",
    "crash": "RuleEnhancedMajorCollisionId",
    "sos": "aVvwIBkjCTk-5tv6s384rUw",
}
STATUS = {"driving": "D", "on_duty": "ON", "off_duty": "OFF"}
Wire = dict[str, Any]


class Step(NamedTuple):
    """Something that became known: `at` is when it happened, `key` whose state it is."""

    known: int
    vehicle: int
    at: int
    key: str
    make: Callable[[str], Any]  # the row, given its version


class Fleet(Simulator):
    """The rows of each type, by when they became known."""

    def vehicle_id(self, vehicle: int) -> str:
        return f"b{vehicle + 1:X}"

    def driver_id(self, driver: int) -> str:
        return f"b{driver + 0x1000:X}"

    # what became known

    def steps(
        self, kind: str, since: int, until: int, vehicles: Sequence[int] | None = None,
        happened: int | None = None,
    ) -> Iterator[Step]:  # fmt: skip
        """What became known in a window, of some vehicles or all.

        `happened` ends what is worth looking at, where the past is asked for.
        """
        until = min(until, self.now() + 1)
        for vehicle in vehicles or range(self.truth.vehicles):
            for one in KINDS[kind](self, vehicle, since, until, happened or until):
                if since <= one.known < until:
                    yield one

    def log_records(
        self, vehicle: int, since: int, until: int, happened: int
    ) -> Iterator[Step]:
        if happened < until:
            fixes = self.known(self.truth.fixes(vehicle, since, happened + 1))
        else:
            fixes = self.known_between(vehicle, since, until)
        for fix in fixes:
            known = self.dice.known_at(vehicle, fix.at)
            yield Step(known, vehicle, fix.at, f"{fix.at}", partial(self._log, fix))

    def _log(self, fix: Fix, _version: str) -> Wire:
        row = {"id": f"b{fix.id:X}", **self._placed(fix)}
        return row | {"latitude": "north"} if self.poisoned(fix) else row

    def _placed(self, fix: Fix) -> Wire:
        return {
            "device": {"id": self.vehicle_id(fix.vehicle)},
            "dateTime": zulu(fix.at, ms=True),
            "latitude": fix.lat,
            "longitude": fix.lon,
            "speed": fix.kph,
        }

    def status_data(
        self, vehicle: int, since: int, until: int, happened: int
    ) -> Iterator[Step]:
        runs = False
        for one in self.truth.stretches(vehicle, since - DAY, min(until, happened + 1)):
            now_runs = one.kind != "off"
            if now_runs != runs:
                yield self._read(
                    vehicle, one.start, "DiagnosticIgnitionId", int(now_runs)
                )
            runs = now_runs
        for fix in self.truth.fixes(vehicle, since, min(until, happened + 1)):
            if fix.why == "moving":
                yield self._read(vehicle, fix.at, "DiagnosticEngineSpeedId", 1400.5)
            if fix.at % 600 < self.truth.every:
                metres = fix.odometer_m
                name = "DiagnosticOdometerAdjustmentId"
                yield self._read(vehicle, fix.at, name, float(metres))

    def _read(self, vehicle: int, at: int, diagnostic: str, data: float) -> Step:
        def make(version: str) -> Wire:
            return {
                "id": f"b{at:X}{vehicle:X}{len(diagnostic):X}",
                "device": {"id": self.vehicle_id(vehicle)},
                "diagnostic": {"id": diagnostic},
                "controller": "ControllerNoneId",
                "dateTime": zulu(at, ms=True),
                "data": data,
                "version": version,
            }

        known = self.dice.known_at(vehicle, at)
        return Step(known, vehicle, at, f"{at} {diagnostic}", make)

    def driver_changes(
        self, vehicle: int, since: int, until: int, happened: int
    ) -> Iterator[Step]:
        del happened
        for one in self.truth.assignments(vehicle, since - DAY, until):
            assert one.end is not None
            for at, driver in ((one.start, one.driver), (one.end, None)):
                yield self._change(vehicle, at, driver)

    def _change(self, vehicle: int, at: int, driver: int | None) -> Step:
        def make(version: str) -> Wire:
            return {
                "id": f"a{at:X}{vehicle:X}",
                "device": {"id": self.vehicle_id(vehicle)},
                "driver": self._driver(driver),
                "dateTime": zulu(at, ms=True),
                "type": "None" if driver is None else "Driver",
                "version": version,
            }

        return Step(at, vehicle, at, f"{at} {driver}", make)

    def trips(
        self, vehicle: int, since: int, until: int, happened: int
    ) -> Iterator[Step]:
        """Under way it is told again and again; over once it has stood for 5 minutes."""
        del happened
        for one in self.truth.trips(vehicle, since - 2 * DAY, until):
            assert one.end is not None
            for known in range(one.start + 300, one.end, 1200):
                yield self._trip(one, known, known, 0)
            yield self._trip(one, one.end + 300, one.end, 300)

    def _trip(self, one: Any, known: int, stop: int, stood: int) -> Step:
        metres = self.truth.odometer(one.vehicle, stop) - one.odometer_m
        spot = self.truth.spot(one.destination)

        def make(version: str) -> Wire:
            return {
                "id": f"b{known:X}{one.vehicle:X}",
                "device": {"id": self.vehicle_id(one.vehicle)},
                "driver": self._driver(one.driver),
                "start": zulu(one.start, ms=True),
                "stop": zulu(stop, ms=True),
                "nextTripStart": zulu(stop + stood, ms=True),
                "distance": metres / 1000,
                "drivingDuration": _span(stop - one.start),
                "idlingDuration": "00:00:00",
                "stopDuration": _span(stood),
                "stopPoint": {"x": spot.lon, "y": spot.lat},
                "version": version,
            }

        return Step(known, one.vehicle, stop, f"trip {one.id}", make)

    def exceptions(
        self, vehicle: int, since: int, until: int, happened: int
    ) -> Iterator[Step]:
        del happened
        for one in self.truth.harsh(vehicle, since - DAY, until):
            rule = RULES[one.kind]
            yield self._exception(one, rule, one.start, None)
            yield self._exception(one, rule, one.end, one.end)
            if draw("taken back", one.id) < 0.1:
                yield self._exception(one, rule, one.end + 600, one.end, valid=False)
        for idling in self.truth.idlings(vehicle, since - DAY, until):
            yield self._exception(idling, "RuleIdlingId", idling.start, None)
            yield self._exception(idling, "RuleIdlingId", idling.end or 0, idling.end)

    def _exception(
        self, one: Any, rule: str, known: int, end: int | None, *, valid: bool = True
    ) -> Step:
        def make(version: str) -> Wire:
            state = "Valid" if valid else "Invalid"
            return {
                "id": f"a{rule[4:6]}{one.id:X}",
                "rule": {"id": rule},
                "device": {"id": self.vehicle_id(one.vehicle)},
                "driver": self._driver(one.driver),
                "activeFrom": zulu(one.start, ms=True),
                "activeTo": OPEN if end is None else zulu(end, ms=True),
                "duration": _span((end or known) - one.start),
                "diagnostic": "NoDiagnosticId",
                "state": f"ExceptionEventState{state}Id",
                "version": version,
            }

        return Step(known, one.vehicle, one.start, f"{rule} {one.id}", make)

    def faults(
        self, vehicle: int, since: int, until: int, happened: int
    ) -> Iterator[Step]:
        del happened
        for one in self.truth.troubles(vehicle, since - 2 * DAY, until):
            assert one.end is not None
            for at, state in ((one.start, "Active"), (one.end, "Inactive")):
                yield self._fault(one, at, state)

    def _fault(self, one: Any, at: int, state: str) -> Step:
        def make(_version: str) -> Wire:
            return {
                "id": f"b{at:X}{one.vehicle:X}F",
                "device": {"id": self.vehicle_id(one.vehicle)},
                "dateTime": zulu(at, ms=True),
                "diagnostic": {
                    "id": f"aSpn{one.spn}", "code": one.spn, "name": one.text,
                    "diagnosticType": "SuspectParameter",
                },
                "failureMode": {"id": f"aFmi{one.fmi}", "code": one.fmi},
                "controller": "ControllerNoneId",
                "faultState": state,
                "count": 1,
                "redStopLamp": one.spn == 190,
                "amberWarningLamp": True,
                "malfunctionLamp": False,
            }  # fmt: skip

        return Step(at, one.vehicle, at, f"{one.id} {state}", make)

    def duties(
        self, vehicle: int, since: int, until: int, happened: int
    ) -> Iterator[Step]:
        del happened
        for one in self.truth.duties(vehicle, since - DAY, until):
            yield self._duty(one, one.start, edited=False)
            if draw("edited", one.id) < 0.1:
                yield self._duty(one, one.start + 3600, edited=True)

    def _duty(self, one: Any, known: int, *, edited: bool) -> Step:
        def make(version: str) -> Wire:
            row = {
                "id": f"b{one.id:X}D",
                "device": {"id": self.vehicle_id(one.vehicle)},
                "driver": self._driver(one.driver),
                "dateTime": zulu(one.start, ms=True),
                "status": STATUS[one.status],
                "state": "Active",
                "origin": "Driver",
                "version": version,
            }
            return row | ({"verifyDateTime": zulu(known, ms=True)} if edited else {})

        return Step(known, one.vehicle, one.start, f"{one.id}", make)

    def inspections(
        self, vehicle: int, since: int, until: int, happened: int
    ) -> Iterator[Step]:
        del happened
        for one in self.truth.inspections(vehicle, since - DAY, until):

            def make(version: str, one: Any = one) -> Wire:
                return {
                    "id": f"b{one.id:X}V",
                    "device": {"id": self.vehicle_id(one.vehicle)},
                    "driver": self._driver(one.driver),
                    "dateTime": zulu(one.at, ms=True),
                    "logType": "PreTrip",
                    "isSafeToOperate": one.safe,
                    "dVIRDefects": [
                        {"id": "a1", "defect": {"id": "bD1", "name": name}}
                        for name in one.defects
                    ],
                    "version": version,
                }

            yield Step(one.at, vehicle, one.at, f"{one.id}", make)

    def _driver(self, driver: int | None) -> str | Wire:
        if driver is None:
            return NOBODY
        return {"id": self.driver_id(driver), "isDriver": True}


KINDS: dict[str, Callable[..., Iterator[Step]]] = {
    "LogRecord": Fleet.log_records,
    "StatusData": Fleet.status_data,
    "DriverChange": Fleet.driver_changes,
    "Trip": Fleet.trips,
    "ExceptionEvent": Fleet.exceptions,
    "FaultData": Fleet.faults,
    "DutyStatusLog": Fleet.duties,
    "DVIRLog": Fleet.inspections,
}


def _span(seconds: int) -> str:
    """Seconds as .NET writes them."""
    days, rest = divmod(seconds, DAY)
    text = f"{rest // 3600:02}:{rest // 60 % 60:02}:{rest % 60:02}"
    return f"{days}.{text}" if days else text
