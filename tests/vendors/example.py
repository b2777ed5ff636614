"""An invented vendor, as small as one can be: what the base does is tested with it."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

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
    instant,
    refuse,
    reply,
)
from tests.vendors.server import main
from tests.vendors.truth import zulu

LIMIT, FIXES = 100, 512


class Example(Simulator):
    """Vehicles in pages, and a feed of fixes that goes on where its cursor says."""

    vendor = "example"
    carries = COLUMNS - {"driver_id", "driver_name", "location_description"}
    pushes = COLUMNS - {"driver_id", "driver_name", "odometer"}
    retries = (1.0, 10.0)

    def routes(self) -> dict[str, Callable[..., Reply]]:
        return {
            "GET /v1/vehicles": self.vehicles,
            "GET /v1/vehicles/{named}": self.vehicle,
            "GET /v1/fixes": self.fixes,
            "GET /v1/history": self.history,
        }

    def refused(self, asked: Asked) -> Reply | None:
        if asked.headers.get("authorization") == f"Token {self.key}":
            return None
        return reply({"message": "who are you?"}, 401)

    def credential(self, asked: Asked) -> str:
        return asked.headers.get("authorization", "")

    def tiers(self, asked: Asked) -> Sequence[Tier]:
        every = Tier("all", 50)
        for name, limit in (("vehicles", 5), ("history", 20)):
            if name in asked.path:
                return (every, Tier(name, limit))
        return (every,)

    def vehicles(self, asked: Asked) -> Reply:
        page = int(asked.one("page", "1"))
        listed = self.listed(self.truth.units)
        some = listed[(page - 1) * LIMIT : page * LIMIT]
        units = [
            {"id": self.vehicle_id(one.n), "unit": one.number, "vin": one.vin}
            for one in some
        ]
        return reply({"vehicles": units, "more": page * LIMIT < len(listed)})

    def vehicle(self, asked: Asked, named: str) -> Reply:
        if not named.isdecimal() or int(named) >= self.truth.vehicles:
            raise refuse({"message": "no such vehicle"}, 404)
        one = self.truth.unit(int(named))
        return reply({"id": named, "unit": one.number, "vin": one.vin})

    def fixes(self, asked: Asked) -> Reply:
        cursor = asked.one("after")
        if not cursor.isdecimal():
            raise refuse({"message": "after is missing"}, 400)
        now = self.now() + 1
        until = min(int(cursor) + 3600, now)
        every = [
            fix
            for vehicle in range(self.truth.vehicles)
            for fix in self.known_between(vehicle, int(cursor), until)
        ]
        records = b",".join(self.record(one) for one in self.mixed(every))
        more = b"true" if until < now else b"false"
        return reply(b'{"fixes":[%b],"next":"%d","more":%b}' % (records, until, more))

    def history(self, asked: Asked) -> Reply:
        """Fixes by their own time, vehicle after vehicle, in numbered pages."""
        since, until = instant(asked.one("from")), instant(asked.one("to"))
        if since is None or until is None or until - since > DAY:
            raise refuse({"message": "from and to, a day apart at most"}, 400)
        page = int(asked.one("page", "1"))
        every = self._between(since, min(until, self.now() + 1))
        some = every[(page - 1) * FIXES : page * FIXES]
        records = b",".join(self.record(one) for one in self.mixed(some))
        more = b"true" if page * FIXES < len(every) else b"false"
        return reply(
            b'{"fixes":[%b],"next":"%d","more":%b}' % (records, page + 1, more)
        )

    @lru_cache(maxsize=8)  # noqa: B019  one simulator a process
    def _between(self, since: int, until: int) -> list[Fix]:
        return [
            fix
            for vehicle in range(self.truth.vehicles)
            for fix in self.known(self.truth.fixes(vehicle, since, until))
        ]

    def record(self, fix: Fix) -> bytes:
        said: dict[str, Any] = {
            "vehicle": self.vehicle_id(fix.vehicle),
            "time": zulu(fix.at),
            "lat": "north" if self.poisoned(fix) else fix.lat,
            "lon": fix.lon,
            "kph": fix.kph,
            "heading": fix.heading,
            "engine": fix.engine,
            "metres": fix.odometer_m,
        }
        return msgspec.json.encode(said)

    def push_fix(self, fix: Fix) -> Sending | None:
        return Sending(fix.at, self.record(fix))

    def sign(self, body: bytes, secret: str) -> Mapping[str, str]:
        return {"x-example": hmac.digest(secret.encode(), body, "sha256").hex()}


if __name__ == "__main__":
    main(Example)
