"""A simulated Samsara: feeds, streams, windows, its list of webhooks, and what it pushes.

A cursor lives for 30 days and only with the parameters it was given for. The token
`<key>-narrow` lacks every scope but those of vehicles and their stats.
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from tests.vendors.base import COLUMNS, DAY, Asked, Reply, Sending, refuse, reply
from tests.vendors.driven import Harsh, zulu
from tests.vendors.samsara_pages import Changes, paged, wrong
from tests.vendors.samsara_stats import STEP, Stats
from tests.vendors.samsara_told import JSON, ORG, Told, uuid_of
from tests.vendors.server import main

SECRET = base64.b64encode(b"fleetd-simulated-samsara-secret!").decode()


class Samsara(Stats):
    vendor = "samsara"
    carries = COLUMNS - {"driver_id", "driver_name"}
    retries = (1.0, 5.0, 20.0, 60.0)

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.secret = self.secret or SECRET
        self.hooks: dict[str, Told] = {}
        self.made = 0

    def routes(self) -> dict[str, Callable[..., Reply]]:
        return {
            "GET /me": self.me,
            "GET /fleet/vehicles": self.vehicles,
            "GET /fleet/drivers": self.drivers,
            "GET /addresses": self.addresses,
            "GET /fleet/vehicles/stats/feed": self.feed,
            "GET /fleet/vehicles/stats/history": self.history,
            "GET /fleet/driver-vehicle-assignments": self.assignments,
            "GET /trips/stream": self.trips,
            "GET /safety-events/stream": self.safety,
            "GET /fleet/hos/logs": self.logs,
            "GET /fleet/hos/violations": self.violations,
            "GET /dvirs/stream": self.inspections,
            "GET /idling/events": self.idling,
            "GET /alerts/incidents/stream": self.incidents,
            "GET /webhooks": self.list_hooks,
            "POST /webhooks": self.add_hook,
            "GET /webhooks/{named}": self.show_hook,
            "PATCH /webhooks/{named}": self.change_hook,
            "DELETE /webhooks/{named}": self.remove_hook,
        }

    def me(self, _asked: Asked) -> Reply:
        return reply({"data": {"id": str(ORG), "name": "Delta Basin Haulage"}})

    # directories

    def vehicles(self, asked: Asked) -> Reply:
        units = [
            one for one in self.listed(self.truth.units) if self.tagged(asked, one.n)
        ]
        return self.listing(asked, [self.tell.unit(one) for one in units])

    def drivers(self, asked: Asked) -> Reply:
        status = asked.one("driverActivationStatus", "active")
        if status not in ("active", "deactivated"):
            raise refuse(wrong(f"Invalid driverActivationStatus: {status}"), 400)
        every = [self.tell.person(one) for one in self.listed(self.truth.people)]
        some = [one for one in every if one["driverActivationStatus"] == status]
        return self.listing(asked, some)

    def addresses(self, asked: Asked) -> Reply:
        spots = self.listed(self.truth.spots)
        return self.listing(asked, [self.tell.spot(one) for one in spots])

    # windows

    def assignments(self, asked: Asked) -> Reply:
        """All that overlap; fifty a page, whatever the limit says."""
        if asked.one("filterBy") not in ("drivers", "vehicles"):
            raise refuse(
                wrong('value of filterBy must be one of "drivers", "vehicles"'), 400
            )
        since, until = self.window(asked)
        now, found = self.now(), []
        for vehicle in range(self.truth.vehicles):
            if not self.tagged(asked, vehicle, "vehicleTagIds"):
                continue
            for one in self.truth.assignments(vehicle, since - 2 * DAY, until, now):
                if (one.end or now + 1) > since:
                    told = self.tell.assignment(one, planned=now + STEP)
                    found.append(told)
                    if one.id % 5 == 0:
                        beside = {
                            "isPassenger": True,
                            "driver": {"id": "99", "name": "Guest"},
                        }
                        found.append(told | beside)
        cursor = self.cursor(asked)
        start = cursor["n"] if cursor else 0
        on = start + 50 < len(found)
        after = self.after(asked, n=start + 50) if on else ""
        return paged(found[start : start + 50], after, more=on)

    def logs(self, asked: Asked) -> Reply:
        since, until = self.window(asked)
        now, by_driver = self.now(), dict[int, list[Told]]()
        for one in self.everyone("duties", since - 2 * DAY, until, now):
            if (one.end or now + 1) > since:
                by_driver.setdefault(one.driver, []).append(self.tell.duty(one))
        items = [
            {"driver": self.tell.who(who), "hosLogs": logs}
            for who, logs in sorted(by_driver.items())
        ]
        return self.listing(asked, items)

    def violations(self, asked: Asked) -> Reply:
        since, until = self.window(asked)
        now = self.now()
        shifts = self.everyone("assignments", since - 2 * DAY, until, now)
        found = [told for one in shifts if (told := self.tell.violation(one, now))]
        listed = [told for at, told in found if at < until]
        return self.listing(asked, [{"violations": listed}] if listed else [])

    def idling(self, asked: Asked) -> Reply:
        """By their start, once they are over; 200 at most, and less than three months."""
        since, until = self.window(asked, needed=True)
        if until - since > 92 * DAY:
            raise refuse(wrong("Total duration must be less than 3 months."), 400)
        done = [
            self.tell.idling(one)
            for one in self.everyone("idlings", since, until, self.now())
            if one.end is not None
        ]
        return self.listing(asked, done, most=200)

    def everyone(self, what: str, since: int, until: int, now: int) -> Iterator[Any]:
        for vehicle in range(self.truth.vehicles):
            yield from getattr(self.truth, what)(vehicle, since, until, now)

    # streams

    def trips(self, asked: Asked) -> Reply:
        by_start = asked.one("queryBy", "updatedAtTime") == "tripStartTime"
        now = self.now()
        changes: Changes = []
        for one in self.everyone("trips", *self.around(asked), now):
            updated, told = self.tell.trip(one, now)
            when = one.start if by_start else updated
            changes.append((when, str(one.id), told))
        return self.stream(asked, changes)

    def safety(self, asked: Asked) -> Reply:
        by_made = asked.one("queryByTimeField", "updatedAtTime") == "createdAtTime"
        now = self.now()
        changes: Changes = []
        for one in self.everyone("harsh", *self.around(asked), now):
            if one.kind != "sos" and one.end + 10 <= now:
                updated, told = self.tell.safety(one, now)
                when = one.end + 10 if by_made else updated
                changes.append((when, str(one.id), told))
        return self.stream(asked, changes)

    def inspections(self, asked: Asked) -> Reply:
        now = self.now()
        every = self.everyone("inspections", *self.around(asked), now)
        changes = [(*self.tell.inspection(one, now), one.id) for one in every]
        return self.stream(
            asked, [(at, str(id_), told) for at, told, id_ in changes], 200
        )

    def incidents(self, asked: Asked) -> Reply:
        wanted, now = asked.all("configurationIds"), self.now()
        if not wanted:
            raise refuse(wrong("configurationIds is required"), 400)
        changes: Changes = []
        for one in self.everyone("harsh", *self.around(asked), now + DAY):
            found = self.tell.incident(one, now) if one.start + 5 <= now else None
            if found and found[1]["configurationId"] in wanted:
                changes.append((found[0], str(one.id), found[1]))
        return self.stream(asked, changes)

    def around(self, asked: Asked) -> tuple[int, int]:
        """A window wide enough for all that may have changed in the one asked for."""
        since, until = self.window(asked, needed=False, start=True)
        cursor = self.cursor(asked)
        since = max(since, cursor["k"][0]) if cursor else since
        return since - 2 * DAY, until

    # its list of webhooks

    def list_hooks(self, asked: Asked) -> Reply:
        return self.listing(asked, list(self.hooks.values()))

    def add_hook(self, asked: Asked) -> Reply:
        told = asked.json() or {}
        if not told.get("name") or not str(told.get("url", "")).startswith("http"):
            raise refuse(wrong("name and url are required"), 400)
        if set(told) - {"name", "url", "eventTypes", "version", "customHeaders"}:
            raise refuse(wrong("unknown field"), 400)
        self.made += 1
        named = str(1520947713004681 + self.made)
        secret = base64.b64encode(uuid_of("secret", named).encode()).decode()
        self.hooks[named] = {"version": "2024-02-27", "eventTypes": []} | told | {
            "id": named,
            "secretKey": secret,
        }  # fmt: skip
        self.secret = secret
        return reply(self.hooks[named])

    def show_hook(self, _asked: Asked, named: str) -> Reply:
        if named not in self.hooks:
            raise refuse(wrong("webhook not found"), 404)
        return reply(self.hooks[named])

    def change_hook(self, asked: Asked, named: str) -> Reply:
        self.show_hook(asked, named)
        told = asked.json() or {}
        if set(told) - {"name", "url", "customHeaders", "version"}:
            raise refuse(wrong("unknown field"), 400)
        self.hooks[named] |= told
        return reply(self.hooks[named])

    def remove_hook(self, asked: Asked, named: str) -> Reply:
        self.show_hook(asked, named)
        del self.hooks[named]
        return Reply(204)

    # what it pushes: everything but where a vehicle is

    def push_others(self, vehicle: int, since: int, until: int) -> Iterator[Sending]:
        truth, tell = self.truth, self.tell
        for visit in truth.visits(vehicle, since, until):
            yield event("GeofenceEntry", visit.id, visit.start, tell.crossing(visit))
        for visit in truth.exits(vehicle, since, until):
            yield event("GeofenceExit", visit.id, visit.end or 0, tell.crossing(visit))
        for report in truth.inspections(vehicle, since, until):
            told = tell.pushed_inspection(report)
            yield event("DvirSubmitted", report.id, report.at + 2, told)
        yield from self.troubles(vehicle, since, until)
        for harsh in truth.harsh(vehicle, since, until):
            yield from self.alerts(harsh)
        if vehicle % 10 == 0:
            for day in range(since // DAY, until // DAY + 1):
                yield from self.directory(vehicle, day * DAY + 8 * 3600, since, until)

    def troubles(self, vehicle: int, since: int, until: int) -> Iterator[Sending]:
        for one in self.truth.troubles(vehicle, since, until):
            told = self.tell.pushed_fault(one)
            yield event("EngineFaultOn", one.id, one.start + 3, told)
            if one.end is not None:
                yield event("EngineFaultOff", one.id, one.end + 3, told)

    def alerts(self, harsh: Harsh) -> Iterator[Sending]:
        for at in (harsh.start + 5, harsh.end + 5):
            if found := self.tell.incident(harsh, at):
                yield event("AlertIncident", (harsh.id, at), at + 1, found[1])
        if harsh.severity == "severe" and harsh.kind == "speeding":
            yield from self.speeding(harsh.id, harsh.vehicle, harsh.start, harsh.end)

    def speeding(
        self, named: int, vehicle: int, start: int, end: int
    ) -> Iterator[Sending]:
        said = {"startTime": zulu(start, ms=True), "vehicle": self.tell.whose(vehicle)}
        yield event("SevereSpeedingStarted", named, start + 1, {"data": said})
        ended = said | {"endTime": zulu(end, ms=True)}
        yield event("SevereSpeedingEnded", named, end + 1, {"data": ended})

    def directory(
        self, vehicle: int, at: int, since: int, until: int
    ) -> Iterator[Sending]:
        if since <= at < until:
            unit = self.tell.unit(self.truth.unit(vehicle))
            yield event("VehicleUpdated", (vehicle, at), at, {"vehicle": unit})
            person = self.tell.person(self.truth.person(vehicle))
            yield event("DriverUpdated", (vehicle, at), at, {"driver": person})

    def sign(self, body: bytes, secret: str) -> Mapping[str, str]:
        stamp = str(self.now())
        message = b"v1:" + stamp.encode() + b":" + body
        proof = hmac.digest(base64.b64decode(secret), message, "sha256").hex()
        return {"x-samsara-timestamp": stamp, "x-samsara-signature": f"v1={proof}"}


def event(kind: str, named: object, at: int, data: Told) -> Sending:
    """A webhook of the second generation."""
    told = {
        "eventId": uuid_of(kind, named),
        "eventTime": zulu(at, ms=True),
        "eventType": kind,
        "orgId": ORG,
        "webhookId": "1520947713004682",
        "data": data,
    }
    return Sending(at, JSON.encode(told), {"x-samsara-event-type": kind})


if __name__ == "__main__":
    main(Samsara)
