"""Motive: numbered pages, history by days, no cursors, signed pushes and their log.

`python -m tests.vendors.motive --port 9100 --vehicles 600`. The company's days are those
of Los Angeles. A key like `key-without-vehicles` is good, but lacks the scope of every
path with that word in it. With an even seed every seventh vehicle is metric. A bare one
names no driver and has no VIN. What could not be pushed stands in the log of deliveries.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, ClassVar
from zoneinfo import ZoneInfo

import msgspec

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
from tests.vendors.motive_hooks import Account
from tests.vendors.motive_words import (
    EPOCH,
    Words,
    a_day,
    a_time,
    midnight,
    moment_text,
    positive,
)
from tests.vendors.server import main

PER_PAGE, MOST = 25, 100
HISTORY_DAYS, DRIVING_DAYS = 92, 30
Item = dict[str, Any]


class Motive(Account, Words, Simulator):
    """See the fact sheet; every refusal is `{"error_message": …}`."""

    vendor = "motive"
    carries = COLUMNS
    pushes = COLUMNS - {"vin", "driver_id", "driver_name"}
    retries = (60.0, 3600.0, 21600.0)
    accepted = frozenset({200, 201})
    final = frozenset({403})
    zone: ClassVar[ZoneInfo] = ZoneInfo("America/Los_Angeles")

    def routes(self) -> dict[str, Callable[..., Reply]]:
        return self.account_routes() | {
            "GET /v1/companies": self.companies,
            "GET /v1/vehicles": self.vehicles,
            "GET /v1/users": self.users,
            "GET /v1/geofences": self.geofences,
            "GET /v3/vehicle_locations": self.newest,
            "GET /v3/vehicle_locations/{named}": self.history,
            "GET /v1/driving_periods": self.driving_periods,
            "GET /v1/idle_events": self.idle_events,
            "GET /v1/hos_violations": self.hos_violations,
            "GET /v1/logs": self.logs,
            "GET /v1/fault_codes": self.fault_codes,
            "GET /v1/inspection_reports": self.inspection_reports,
            "GET /v1/speeding_events": self.speeding_events,
            "GET /v2/driver_performance_events": self.performance_events,
            "GET /v1/geofences/events": self.geofence_events,
            "GET /v1/fuel_purchases": self.fuel_purchases,
        }

    # who may, and how often

    def refused(self, asked: Asked) -> Reply | None:
        given = asked.headers.get("x-api-key", "")
        key, _, missing = given.partition("-without-")
        if key != self.key:
            return reply({"error_message": "Invalid API key"}, 401)
        if missing and missing in asked.path:
            return reply({"error_message": "Insufficient scope"}, 403)
        return None

    def credential(self, asked: Asked) -> str:
        return asked.headers.get("x-api-key", "")

    def tiers(self, _asked: Asked) -> Sequence[Tier]:
        return (Tier("key", 5),)  # not published: as modest as fleetd is

    def busy(self, _after: float) -> Reply:
        return reply({"error_message": "Too many requests"}, 429)

    def unknown(self, _asked: Asked) -> Reply:
        return reply({"error_message": "Not found"}, 404)

    # pages

    def paged(
        self, asked: Asked, plural: str, singular: str, found: Sequence[Item],
        *, bare: bool = False,
    ) -> Reply:  # fmt: skip
        """One page of a list; `bare` counters stand at top level, as they once did."""
        number = positive(asked, "page_no", 1)
        size = min(positive(asked, "per_page", PER_PAGE), MOST)
        some = self.mixed(found[(number - 1) * size : number * size])
        counts = {"per_page": size, "page_no": number, "total": len(found)}
        listed = {plural: [{singular: one} for one in some]}
        return reply(listed | (counts if bare else {"pagination": counts}))

    def fleet(self) -> range:
        return range(self.truth.vehicles)

    # directory

    def companies(self, _asked: Asked) -> Reply:
        company = {"id": 40077, "name": "PRAIRIE LINE LLC", "time_zone": "Pacific Time"}
        return reply({"companies": [{"company": company}]})

    def vehicles(self, asked: Asked) -> Reply:
        units = [self.vehicle(one) for one in self.listed(self.fleet())]
        return self.paged(asked, "vehicles", "vehicle", units)

    def users(self, asked: Asked) -> Reply:
        people = [self.user(one.n) for one in self.listed(self.truth.people)]
        return self.paged(asked, "users", "user", [*people, self.admin()])

    def geofences(self, asked: Asked) -> Reply:
        fences = [self.fence(one) for one in self.listed(self.truth.spots)]
        return self.paged(asked, "geofences", "geofence", fences)

    # where they are and were

    def newest(self, asked: Asked) -> Reply:
        """Active vehicles only; dates are ignored."""
        units = [self.located(one) for one in self.fleet() if self.is_active(one)]
        return self.paged(asked, "vehicles", "vehicle", units)

    def located(self, vehicle: int) -> Item:
        hours = self.dice.tardy // 3600 + 2 if self.dice.tardy else 0
        now = self.now()
        fixes = self.known(self.truth.fixes(vehicle, now - DAY - hours * 3600, now + 1))
        point = self.point(fixes[-1]) if fixes else None
        if point:
            point.pop("driver")
        driver = self.aboard(vehicle, now)
        return self.unit(vehicle) | {
            "current_location": point,
            "current_driver": None if driver is None else self.person(driver),
        }

    def history(self, asked: Asked, named: str) -> Reply:
        """Whole UTC days, both ends inclusive, unpaged; the answer names no vehicle."""
        vehicle = int(named) - EPOCH if named.isdecimal() else -1
        if vehicle not in self.fleet():
            raise refuse({"error_message": "Vehicle not found"}, 404)
        first, last = self.days(asked, UTC, "3 months", HISTORY_DAYS)
        since, until = midnight(first, UTC), midnight(last + timedelta(days=1), UTC)
        fixes = self.known(self.truth.fixes(vehicle, since, until))
        points = self.mixed([self.point(one) for one in fixes])
        return reply({"vehicle_locations": [{"vehicle_location": p} for p in points]})

    def days(
        self, asked: Asked, zone: Any, longest: str, most: int
    ) -> tuple[date, date]:
        """`start_date` and `end_date`, as the vendor insists on them."""
        today = datetime.fromtimestamp(self.now(), UTC).date()
        first, last = (a_day(asked, one, today) for one in ("start_date", "end_date"))
        if last < first or last > today:
            raise refuse({"error_message": "Invalid date range"}, 400)
        if (last - first).days + 1 > most:
            why = f"Date range cannot be greater than {longest}"
            raise refuse({"error_message": why}, 400)
        return first, last

    def span(self, asked: Asked, zone: Any = None) -> tuple[int, int]:
        """The company's days as a window of seconds."""
        zone = zone or self.zone
        first, last = self.days(asked, zone, "1 year", 366)
        return midnight(first, zone), midnight(last + timedelta(days=1), zone)

    # what happened

    def driving_periods(self, asked: Asked) -> Reply:
        """By start on UTC days, newest first."""
        first, last = self.days(asked, UTC, "30 days", DRIVING_DAYS)
        span = midnight(first, UTC), midnight(last + timedelta(days=1), UTC)
        found = self.begun(lambda v: self.truth.trips(v, *span, self.now()))
        found.sort(key=lambda one: (-one.start, one.id))
        periods = [self.period(one) for one in found]
        return self.paged(asked, "driving_periods", "driving_period", periods)

    def begun(self, of: Callable[[int], Iterable[Any]]) -> list[Any]:
        """What the vendor knows by now of every vehicle."""
        every = [one for v in self.fleet() for one in self.known(of(v))]
        return sorted(every, key=lambda one: one.id)

    def idle_events(self, asked: Asked) -> Reply:
        """By overlap with the company's days."""
        since, until = self.span(asked)
        found = [
            one
            for one in self.begun(
                lambda v: self.truth.idlings(v, since - DAY, until, self.now())
            )
            if one.end is None or one.end > since
        ]
        events = [self.idle(one) for one in found]
        return self.paged(asked, "idle_events", "idle_event", events)

    def hos_violations(self, asked: Asked) -> Reply:
        now = self.now()
        since = a_time(asked, "min_start_time", now - DAY)
        until = a_time(asked, "max_start_time", now)
        found = self.begun(lambda v: self.broken(v, since, until, now))
        listed = [self.violation(one) for one in found]
        return self.paged(asked, "hos_violations", "hos_violation", listed)

    def logs(self, asked: Asked) -> Reply:
        """A driver's day each, on the company's days."""
        since, until = self.span(asked)
        days: dict[tuple[int, str], list[Any]] = {}
        for one in self.begun(lambda v: self.truth.duties(v, since, until, self.now())):
            local = datetime.fromtimestamp(one.start, self.zone).date().isoformat()
            days.setdefault((one.driver, local), []).append(one)
        logs = [self.log_of(*key, days[key]) for key in sorted(days)]
        return self.paged(asked, "logs", "log", logs)

    def fault_codes(self, asked: Asked) -> Reply:
        now = self.now()
        found = self.begun(lambda v: self.truth.troubles(v, now - 30 * DAY, now, now))
        codes = [self.fault(one) for one in found]
        return self.paged(asked, "fault_codes", "fault_code", codes)

    def inspection_reports(self, asked: Asked) -> Reply:
        since, until = self.span(asked)
        found = self.begun(
            lambda v: self.truth.inspections(v, since, until, self.now())
        )
        listed = [self.inspection(one) for one in found]
        return self.paged(
            asked, "inspection_reports", "inspection_report", listed, bare=True
        )

    def harsh(self, asked: Asked, *, speeding: bool) -> list[Any]:
        since, until = self.span(asked)
        found = self.begun(lambda v: self.truth.harsh(v, since, until, self.now()))
        return [one for one in found if (one.kind == "speeding") is speeding]

    def speeding_events(self, asked: Asked) -> Reply:
        found = [self.speeding(one) for one in self.harsh(asked, speeding=True)]
        return self.paged(asked, "speeding_events", "speeding_event", found)

    def performance_events(self, asked: Asked) -> Reply:
        found = [self.performance(one) for one in self.harsh(asked, speeding=False)]
        named = "driver_performance_event"
        return self.paged(asked, f"{named}s", named, found)

    def geofence_events(self, asked: Asked) -> Reply:
        """Entry and exit in one; a visit belongs to the days it reaches into."""
        since, until = self.span(asked)
        found = [
            one
            for one in self.begun(
                lambda v: self.truth.visits(v, since - 2 * DAY, until, self.now())
            )
            if one.end is None or one.end > since
        ]
        visits = [self.visit(one) for one in found]
        return self.paged(asked, "geofence_events", "geofence_event", visits)

    def fuel_purchases(self, asked: Asked) -> Reply:
        since, until = self.span(asked)
        found = [
            bought
            for vehicle in self.fleet()
            for bought in self.bought(vehicle, since, min(until, self.now() + 1))
        ]
        return self.paged(asked, "fuel_purchases", "fuel_purchase", found)

    # what is pushed

    def push_fix(self, fix: Fix) -> Sending | None:
        return Sending(fix.at, body_of("vehicle_location_received", self.pushed(fix)))

    def push_others(self, vehicle: int, since: int, until: int) -> Iterable[Sending]:
        for at, action, told in self.happenings(vehicle, since, until):
            if since <= at < until:
                yield Sending(at, body_of(action, told))

    def happenings(
        self, vehicle: int, since: int, until: int
    ) -> Iterator[tuple[int, str, Item]]:
        """(when, action, record) of everything but points."""
        first = -(-since // DAY) * DAY
        unit = self.vehicle(vehicle) | {"current_driver": None, "trigger": "updated"}
        yield first, "vehicle_upserted", unit
        yield from self.safety(vehicle, since, until)
        yield from self.hours(vehicle, since, until)
        truth = self.truth
        for visit in truth.visits(vehicle, since - 2 * DAY, until):
            yield from self.fence_events(visit)
        for code in truth.troubles(vehicle, since - DAY, until):
            opened = msgspec.structs.replace(code, end=None)
            yield code.start, "fault_code_opened", self.fault(opened)
            if code.end is not None:
                yield code.end, "fault_code_closed", self.fault(code)
        for report in truth.inspections(vehicle, since, until):
            yield report.at, "inspection_report_upserted", self.inspection(report)
        for trip in truth.trips(vehicle, since - DAY, until):
            yield trip.start, "engine_toggle_event", self.toggle(trip, "on")
            if trip.end is not None:
                yield trip.end, "engine_toggle_event", self.toggle(trip, "off")

    def safety(
        self, vehicle: int, since: int, until: int
    ) -> Iterator[tuple[int, str, Item]]:
        for one in self.truth.harsh(vehicle, since - 3600, until):
            if one.kind == "speeding":
                yield one.end, "speeding_event_created", self.speeding(one, push=True)
            else:
                told = self.performance(one, push=True)
                yield one.end, "driver_performance_event_created", told

    def hours(
        self, vehicle: int, since: int, until: int
    ) -> Iterator[tuple[int, str, Item]]:
        for bad in self.broken(vehicle, since - DAY, until, None):
            begun = msgspec.structs.replace(bad, end=None)
            yield bad.start, "hos_violation_upserted", self.violation(begun)
        for duty in self.truth.duties(vehicle, since, until):
            told = self.user(duty.driver) | {"duty_status": duty.status}
            told |= {"updated_at": moment_text(duty.start), "trigger": "updated"}
            yield duty.start, "user_duty_status_updated", told

    def sign(self, body: bytes, secret: str) -> Mapping[str, str]:
        digest = hmac.digest(secret.encode(), body, "sha1").hex()
        return {
            "X-KT-Webhook-Signature": digest,
            "User-Agent": "Go-http-client/1.1",
        }

    def row(self, fix: Fix) -> dict[str, Any]:
        row = super().row(fix)
        unit = self.truth.unit(fix.vehicle)
        driver = self.driver_of(fix)
        row["vin"] = None if unit.bare else unit.vin
        row["driver_id"] = None if driver is None else self.driver_id(driver)
        row["driver_name"] = None if driver is None else self.truth.person(driver).name
        point = self.point(fix)
        row["speed_mph"], row["odometer"] = (
            None if of is None else of * (1 / 1.609344) if self.metric(fix.vehicle) else of
            for of in (point["speed"], point["odometer"])
        )  # fmt: skip
        return row


def body_of(action: str, told: Item) -> bytes:
    """A push: the record's own keys, its action among them, last as it is seen live."""
    return msgspec.json.encode(told | {"action": action})


if __name__ == "__main__":
    main(Motive)
