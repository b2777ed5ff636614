"""A simulated Samsara's vehicle stats: the feed of changes and the history."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

from tests.vendors.base import DAY, Asked, Fix, Reply, refuse
from tests.vendors.driven import zulu
from tests.vendors.samsara_pages import Pages, paged, wrong
from tests.vendors.samsara_told import JSON, Teller, Told, vehicle_id

STEP = 3600  # of a feed's pages, at most
TYPES = frozenset(
    {"gps", "engineStates", "faultCodes", "obdOdometerMeters", "fuelPercents"}
)
ENGINES = {"drive": "On", "idle": "Idle", "off": "Off"}


class Stats(Pages):
    """`/fleet/vehicles/stats/...`."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.tell = Teller(self.truth)
        self._history = lru_cache(maxsize=2 * self.truth.vehicles + 8)(self._readings)

    def feed(self, asked: Asked) -> Reply:
        """First the newest of each vehicle, then what became known since, in steps."""
        cursor, types = self.cursor(asked), self.types(asked)
        now = self.now() + 1
        if cursor is None:
            cursor = {"first": 0, "t": now}
        if "first" in cursor:
            return self.newest(asked, types, cursor)
        since, until = cursor["t"], cursor.get("u", min(cursor["t"] + STEP, now))
        told, at, many = [], cursor.get("v", 0), 0
        while at < self.truth.vehicles and many < 512:
            if self.tagged(asked, at):
                fixes = self.known_between(at, since, until)
                one = self.spoken(asked, at, types, since, until, fixes)
                many += one[0]
                told.append(one[1])
            at += 1
        if at < self.truth.vehicles:
            after = self.after(asked, t=since, u=until, v=at)
            return paged(list(filter(None, told)), after, more=True)
        if not many and until == now:  # nothing new: the old cursor, or none at all
            return paged([], asked.one("after") if now % 2 else "", more=False)
        after = self.after(asked, t=until)
        return paged(list(filter(None, told)), after, more=until < now)

    def newest(self, asked: Asked, types: list[str], cursor: Told) -> Reply:
        told, start, now = [], cursor["first"], cursor["t"]
        for vehicle in range(start, min(start + 512, self.truth.vehicles)):
            if self.tagged(asked, vehicle):
                fixes = self.newest_of(vehicle, now)
                told.append(
                    self.spoken(
                        asked, vehicle, types, now - DAY, now, fixes, last=True
                    )[1]
                )
        more = start + 512 < self.truth.vehicles
        after = (
            self.after(asked, first=start + 512, t=now)
            if more
            else self.after(asked, t=now)
        )
        return paged(list(filter(None, told)), after, more=more)

    def newest_of(self, vehicle: int, now: int) -> list[Fix]:
        if not self.dice.tardy:
            return [self.truth.last(vehicle, now - 1)]
        return self.known(self.truth.fixes(vehicle, now - DAY, now))

    def spoken(
        self, asked: Asked, vehicle: int, types: list[str], since: int, until: int,
        fixes: list[Fix], *, last: bool = False,
    ) -> tuple[int, bytes]:  # fmt: skip
        """How many readings, and a vehicle with them; nothing where there is none."""
        found: dict[str, list[bytes]] = {
            "gps": self.gps(asked, self.mixed(fixes[-1:] if last else fixes)),
            "engineStates": self.engines(vehicle, since, until),
            "faultCodes": self.faults(vehicle, since, until),
        }
        said = {
            key: found[key][-1:] if last else found[key]
            for key in types
            if found.get(key)
        }
        if not said:
            return 0, b""
        parts = [b'"%b":[%b]' % (k.encode(), b",".join(v)) for k, v in said.items()]
        body = b"%b,%b}" % (self.tell.heads[vehicle], b",".join(parts))
        return sum(map(len, said.values())), body

    def gps(self, asked: Asked, fixes: Iterable[Fix]) -> list[bytes]:
        decorations = set(asked.all("decorations"))
        return [
            self.tell.gps(fix, decorations, poison=self.poisoned(fix)) for fix in fixes
        ]

    def engines(self, vehicle: int, since: int, until: int) -> list[bytes]:
        states, before = [], ""
        for one in self.truth.stretches(vehicle, since - DAY, until):
            state = ENGINES[one.kind]
            if state != before and since <= one.start < until:
                states.append(JSON.encode({"time": zulu(one.start), "value": state}))
            before = state
        return states

    def faults(self, vehicle: int, since: int, until: int) -> list[bytes]:
        troubles = self.truth.troubles(vehicle, since - DAY, until)
        times = {at for one in troubles for at in (one.start, one.end or 0)}
        return [
            self.tell.codes(
                at, [one for one in troubles if one.start <= at < (one.end or at + 1)]
            )
            for at in sorted(times)
            if since <= at < until
        ]

    def history(self, asked: Asked) -> Reply:
        """Readings by their own time; the cursor walks the vehicles."""
        since, until = self.window(asked, needed=True)
        cursor, types = self.cursor(asked), tuple(self.types(asked))
        limit = self.limit_of(asked, 512)
        vehicle, offset = (cursor["v"], cursor["n"]) if cursor else (0, 0)
        beside, wanted = (
            tuple(sorted(asked.all("decorations"))),
            asked.all("vehicleIds"),
        )
        told, room, now = [], limit, self.now()
        while vehicle < self.truth.vehicles and room:
            readings: tuple[tuple[str, bytes], ...] = ()
            if self.tagged(asked, vehicle) and (
                not wanted or vehicle_id(vehicle) in wanted
            ):
                late = now if self.dice.tardy or until > now else 0
                readings = self._history(vehicle, since, until, types, beside, late)
            part = readings[offset : offset + room]
            if part:
                told.append(self.nested(vehicle, part))
            room -= len(part)
            offset += len(part)
            if offset >= len(readings):
                vehicle, offset = vehicle + 1, 0
        if vehicle >= self.truth.vehicles:
            return paged(told, "", more=False)
        return paged(told, self.after(asked, v=vehicle, n=offset), more=True)

    def nested(self, vehicle: int, part: Sequence[tuple[str, bytes]]) -> bytes:
        series: dict[str, list[bytes]] = {}
        for key, reading in part:
            series.setdefault(key, []).append(reading)
        parts = [b'"%b":[%b]' % (k.encode(), b",".join(v)) for k, v in series.items()]
        return b"%b,%b}" % (self.tell.heads[vehicle], b",".join(parts))

    def _readings(
        self, vehicle: int, since: int, until: int, types: tuple[str, ...],
        beside: tuple[str, ...], _now: int,
    ) -> tuple[tuple[str, bytes], ...]:  # fmt: skip
        until = min(until, self.now() + 1)
        found: list[tuple[str, bytes]] = []
        if "gps" in types:
            fixes = self.known(self.truth.fixes(vehicle, since, until))
            asked = Asked("GET", "", {"decorations": list(beside)}, {})
            found += [("gps", one) for one in self.gps(asked, fixes)]
        if "engineStates" in types:
            found += [
                ("engineStates", one) for one in self.engines(vehicle, since, until)
            ]
        if "faultCodes" in types:
            found += [("faultCodes", one) for one in self.faults(vehicle, since, until)]
        return tuple(found)

    def types(self, asked: Asked) -> list[str]:
        types, beside = asked.all("types"), asked.all("decorations")
        if not types or (bad := set(types + beside) - TYPES):
            raise refuse(
                wrong(f"Invalid stat type(s): {','.join(bad if types else [])}"), 400
            )
        if len(types) > 3 or len(beside) > 2:
            raise refuse(wrong("too many types"), 400)
        return types
