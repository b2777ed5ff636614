"""What is known of each vehicle and driver, each fact with its time; filling events from it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from typing import Any, TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from fleetd.event import (
    CODES,
    GONE,
    MPH_PER_KPH,
    AnyEvent,
    Driver,
    Duty,
    Engine,
    Position,
    Vehicle,
    millis,
)

USUAL = "usual_driver"  # whose vehicle it is, where nothing tells who drives it now
KEPT = 64  # facts of one name and vehicle; the oldest go
MILES_PER_KM = MPH_PER_KPH
LASTING = frozenset({"vin", "number", "plate", "metric", "groups"})
STATES = {"on": "On", "off": "Off", "idle": "Idle"}


class Learned(Struct, frozen=True):
    """One fact: from `at_ms` on, `name` of `vehicle` is `value`."""

    vehicle: str
    name: str
    at_ms: int
    value: str


class Unit(Struct, frozen=True):
    """What the operator's own list says of a vehicle; empty where it does not."""

    number: str = ""
    vin: str = ""
    plate: str = ""


class Standing(Struct, frozen=True):
    """A directory record as it stands: a hash of what it says, and where it was said."""

    content: str
    revision: int | None
    seq: int

    @property
    def gone(self) -> bool:
        """Whether what stands is that it was removed."""
        return self.content.startswith(GONE)

    @property
    def taken_for_gone(self) -> bool:
        """Whether it was we who said so, by listings without it."""
        return self.revision is None and self.gone


NOBODY = Standing("", None, 0)
Facts: TypeAlias = "Mapping[str, list[tuple[int, str]]]"
NOTHING: Facts = {}
Untold: TypeAlias = "Mapping[str, tuple[int, str]]"  # by name: from when on, what
UNTOLD: Untold = {}
Fresh: TypeAlias = "dict[str, dict[str, tuple[int, str]]]"  # by vehicle


class Directory:
    """Facts by source and vehicle, and the content of each directory record.

    Changed only from what is on the disk: a fact is known once it was committed.
    """

    def __init__(self) -> None:
        self._facts: dict[tuple[str, str], dict[str, list[tuple[int, str]]]] = {}
        self._records: dict[tuple[str, int, str], Standing] = {}
        self._ids: dict[tuple[str, int], dict[str, None]] = {}  # in order of coming
        self._roster: Mapping[tuple[str, str], Unit] = {}

    def adopt(self, roster: Mapping[tuple[str, str], Unit]) -> None:
        """Go by the operator's own list from now on: (source, vehicle) → what it says.

        Its fleet number wins, since it is the fleet that gives them; its VIN fills in
        where the vendor has none.
        """
        self._roster = roster

    def put(
        self, source: str, vehicle: str, name: str, at_ms: int, value: str | None
    ) -> None:
        """Take in a fact that is on the disk."""
        facts = self._facts.setdefault((source, vehicle), {}).setdefault(name, [])
        at = bisect_right(facts, at_ms, key=lambda fact: fact[0])
        if at and facts[at - 1][0] == at_ms:
            facts[at - 1] = (at_ms, value or "")
        else:
            facts.insert(at, (at_ms, value or ""))
        if len(facts) > KEPT:
            del facts[0]

    def put_record(
        self, source: str, kind: int, id_: str, content: str, revision: int | None,
        seq: int,
    ) -> None:  # fmt: skip
        """Take in the directory record that stands now."""
        before = self._records.get((source, kind, id_))
        if before and (before.revision or 0) > (revision or before.revision or 0):
            return  # an older copy came late
        record = Standing(content, revision, seq)
        self._records[source, kind, id_] = record
        ids = self._ids.setdefault((source, kind), {})
        if record.gone:
            ids.pop(id_, None)
        else:
            ids[id_] = None

    def record(self, source: str, kind: int, id_: str) -> Standing:
        """The record that stands; without content when there is none."""
        return self._records.get((source, kind, id_), NOBODY)

    def ids(self, source: str, kind: str) -> tuple[str, ...]:
        """The ids of every record of a kind that stands and was not removed."""
        return tuple(self._ids.get((source, CODES[kind]), ()))

    def known(self, source: str, vehicle: str, name: str, at_ms: int) -> str | None:
        """The newest fact with a time no later than `at_ms`."""
        facts = self._facts.get((source, vehicle))
        return _at(facts.get(name), at_ms) if facts else None

    def settle(
        self, source: str, event: AnyEvent, at_ms: int, *, nobody: bool = False
    ) -> dict[str, Any]:
        """What is known and the event does not say: its gaps, and its units settled.

        `nobody` says that it has no driver, and is not just silent about one.
        """
        changes: dict[str, Any] = {}
        if event.vehicle is not None:
            self._fill_vehicle(source, event, at_ms, changes, nobody=nobody)
        if event.driver_name is None and not changes.get("driver_name"):
            driver = changes.get("driver", event.driver)
            name = driver and self.known(source, f"driver:{driver}", "name", at_ms)
            if name:
                changes["driver_name"] = name
        return changes

    def _fill_vehicle(
        self, source: str, event: AnyEvent, at_ms: int, changes: dict[str, Any], *,
        nobody: bool,
    ) -> None:  # fmt: skip
        assert event.vehicle is not None
        facts = self._facts.get((source, event.vehicle), NOTHING)
        if event.vin is None and (vin := _at(facts.get("vin"), at_ms)):
            changes["vin"] = vin
        if event.number is None and (number := _at(facts.get("number"), at_ms)):
            changes["number"] = number
        if self._roster and (unit := self._roster.get((source, event.vehicle))):
            if unit.number:
                changes["number"] = unit.number
            if unit.vin and event.vin is None:
                changes.setdefault("vin", unit.vin)
        if type(event) is not Position:
            return
        if event.driver is None and not nobody:
            changes |= _driver(facts, at_ms)
        if event.engine_state is None and (state := _at(facts.get("engine"), at_ms)):
            changes["engine_state"] = state
        if event.units != "us":
            changes |= _units(event, _at(facts.get("metric"), at_ms))

    def groups(self, source: str, vehicle: str) -> tuple[str, ...] | None:
        """What a vehicle belongs to, by the newest word of it; None where there is none."""
        facts = self._facts.get((source, vehicle), NOTHING).get("groups")
        if not facts:
            return None
        return tuple(one for one in facts[-1][1].split("\n") if one)

    def learn(
        self, source: str, event: AnyEvent, at_ms: int, *, whole: bool = False,
        fresh: Fresh | None = None, nobody: bool = False,
    ) -> list[Learned]:  # fmt: skip
        """The facts in an event that are not known yet; nothing is changed here.

        `whole` says that a record holds all there is: what it does not name is not so.
        `fresh` is what the events before it in the same page taught, by vehicle;
        `nobody` as in `settle`.
        """
        if isinstance(event, Driver):
            return self._names(source, event, at_ms)
        vehicle = event.vehicle
        if vehicle is None:
            return []
        facts = self._facts.get((source, vehicle), NOTHING)
        if self._roster and (unit := self._roster.get((source, vehicle))):
            event = _without(event, unit)
        if type(event) is Duty and event.type == "assignment":
            return _assigned(vehicle, event, facts)
        new = fresh.get(vehicle, UNTOLD) if fresh else UNTOLD
        if nobody and _told(facts.get("driver"), new.get("driver"), at_ms):
            left = [Learned(vehicle, "driver", at_ms, "")]
        else:
            left = []
        if type(event) is Position and _old_news(event, facts, new, at_ms):
            return left
        first = _first(event, at_ms)
        return left + [
            Learned(vehicle, name, _since(name, when, first, facts), value)
            for name, when, value in _said(event, at_ms, whole=whole)
            if (_told(facts.get(name), new.get(name), when) or "") != value
            or not (name in facts or name in new)
        ]

    def _names(self, source: str, driver: Driver, at_ms: int) -> list[Learned]:
        key, name = f"driver:{driver.id}", driver.driver_name
        if not name or self.known(source, key, "name", at_ms) == name:
            return []
        first = (source, key) not in self._facts  # that was the name before, too
        return [Learned(key, "name", 0 if first else at_ms, name)]


def _at(facts: list[tuple[int, str]] | None, at_ms: int) -> str | None:
    if not facts:
        return None
    if facts[-1][0] <= at_ms:
        return facts[-1][1] or None
    found = bisect_right(facts, at_ms, key=lambda fact: fact[0])
    return (facts[found - 1][1] or None) if found else None


def _told(
    facts: list[tuple[int, str]] | None, new: tuple[int, str] | None, at_ms: int
) -> str | None:
    """The same, with what was taught a moment ago and is not on the disk yet."""
    if new is None or new[0] > at_ms:
        return _at(facts, at_ms)
    if facts and facts[-1][0] > new[0]:
        found = bisect_right(facts, at_ms, key=lambda fact: fact[0])
        if found and facts[found - 1][0] > new[0]:
            return facts[found - 1][1] or None
    return new[1] or None


def _old_news(event: Position, facts: Facts, new: Untold, at_ms: int) -> bool:
    """Whether a fix says nothing of its vehicle that is not known: as nearly all do."""
    vin, number, driver = event.vin, event.number, event.driver
    if vin is not None and _told(facts.get("vin"), new.get("vin"), at_ms) != vin:
        return False
    if number is not None:
        known = _told(facts.get("number"), new.get("number"), at_ms)
        if known != number:
            return False
    state = event.engine_state
    if state is not None:
        known = _told(facts.get("engine"), new.get("engine"), at_ms)
        if known != state:
            return False
    if driver is None:
        return True
    known = _told(facts.get("driver"), new.get("driver"), at_ms)
    return known == f"{driver}\n{event.driver_name or ''}"


def _since(name: str, when: int, first: int, facts: Facts) -> int:
    return min(when, first) if name in LASTING and name not in facts else when


def _first(event: AnyEvent, at_ms: int) -> int:
    """From when on the first fact of a name holds that a directory record tells.

    It held before it was told: since the vendor knew the unit, or ever since where the
    record has no time at all. What a record tells later holds from then on.
    """
    if type(event) is not Vehicle:
        return at_ms
    if event.since is not None:
        return millis(event.since)
    return at_ms if event.at is not None else 0


def _without(event: AnyEvent, unit: Unit) -> AnyEvent:
    """The event less what our own list put into it: that is no fact of the vendor's."""
    changes: dict[str, Any] = {}
    if event.number is not None and event.number == unit.number:
        changes["number"] = None
    if event.vin is not None and event.vin == unit.vin:
        changes["vin"] = None
    return replace(event, **changes) if changes else event


def _assigned(vehicle: str, event: Duty, facts: Facts) -> list[Learned]:
    """Who drives from when on, and that nobody does from its end on.

    Unless somebody else is known to drive by then. One of nobody has an end alone.
    """
    if event.driver is None:
        return _left(vehicle, event, facts) if event.started_at is None else []
    if event.started_at is None:
        return []
    who, start = f"{event.driver}\n{event.driver_name or ''}", millis(event.started_at)
    drives = facts.get("driver")
    learned = []
    if _person(_at(drives, start)) != event.driver:
        learned.append(Learned(vehicle, "driver", start, who))
    if event.ended_at is not None and (end := millis(event.ended_at)) > start:
        later = next((one for one in drives or () if start < one[0] <= end), None)
        if later is None or (
            _person(_at(drives, end)) == event.driver and later[0] != end
        ):
            learned.append(Learned(vehicle, "driver", end, ""))
    return learned


def _left(vehicle: str, event: Duty, facts: Facts) -> list[Learned]:
    """That nobody drives from then on, unless that is what was said last before it."""
    if event.ended_at is None:
        return []
    end = millis(event.ended_at)
    before = [who for at_ms, who in facts.get("driver", ()) if at_ms <= end]
    if before and not before[-1]:
        return []
    return [Learned(vehicle, "driver", end, "")]


def _person(both: str | None) -> str | None:
    return both.partition("\n")[0] if both else None


def _said(
    event: AnyEvent, at_ms: int, *, whole: bool = False
) -> list[tuple[str, int, str]]:
    """(name, from when, value) of everything an event says of its vehicle."""
    said: list[tuple[str, int, str]] = []
    if isinstance(event, Vehicle):
        if event.groups or (whole and not event.removed):
            said.append(("groups", at_ms, "\n".join(event.groups)))
        if event.metric_units is not None:
            said.append(("metric", at_ms, "1" if event.metric_units else "0"))
    elif isinstance(event, Engine) and event.type in STATES:
        said.append(("engine", at_ms, STATES[event.type]))
    if event.vin is not None:
        said.append(("vin", at_ms, event.vin))
    if event.number is not None:
        said.append(("number", at_ms, event.number))
    if isinstance(event, Vehicle) and event.plate is not None:
        said.append(("plate", at_ms, event.plate))
    if isinstance(event, Position) and event.engine_state is not None:
        said.append(("engine", at_ms, event.engine_state))
    if event.driver is not None and isinstance(event, Position | Vehicle):
        name = USUAL if isinstance(event, Vehicle) else "driver"
        said.append((name, at_ms, f"{event.driver}\n{event.driver_name or ''}"))
    return said


def _driver(facts: Facts, at_ms: int) -> dict[str, Any]:
    """Who drives then: whoever was told last, else whose vehicle it is."""
    both = _at(facts.get("driver"), at_ms) or _at(facts.get(USUAL), at_ms)
    if not both:
        return {}
    driver, _, name = both.partition("\n")
    return {"driver": driver, "driver_name": name or None}


def _units(event: Position, metric: str | None) -> dict[str, Any]:
    changes: dict[str, Any] = {"units": "us"}
    if event.units == "metric" or metric == "1":
        for name in ("speed_mph", "odometer"):
            value = getattr(event, name)
            if value is not None:
                changes[name] = value * MILES_PER_KM
    elif metric is None:
        changes["flags"] = (*event.flags, "units_assumed")
    return changes
