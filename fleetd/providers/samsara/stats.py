"""Samsara's other vehicle stats: engine states and the fault codes a vehicle reports.

The feed of `faultCodes` is taken rather than the list of maintenance: it has a cursor,
so what came and went while nobody asked is still told. A reading is the whole list of
codes that stand at its time; an empty one says that none does any more.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any, Literal

from fleetd.errors import PayloadError
from fleetd.event import AnyEvent, Engine, Fault, millis
from fleetd.providers.reading import (
    Wire,
    count,
    flag,
    inner,
    loads,
    moment,
    objects,
    snake,
    words,
)
from fleetd.providers.samsara.cutting import Series
from fleetd.providers.samsara.kinds import CODE_LISTS, fault_id, j1939, lamp, obd
from fleetd.providers.samsara.told import Who, vehicle_of

CARRIED = ("id", "name", "externalIds")
split_engine = Series("engine", "engineStates", *CARRIED)
split_faults = Series("faults", "faultCodes", *CARRIED)


def engine(body: bytes) -> Iterator[AnyEvent]:
    """The engine went on, off or idle; vehicle and time name it."""
    told = loads(body)
    whose, reading, at = head(told, "engineStates")
    state = words(reading, "value")
    if state is None:
        raise PayloadError(
            f"engineStates.value is missing (vehicle {whose['vehicle']})"
        )
    yield Engine(
        **whose, id=f"{whose['vehicle']}@{millis(at)}@engine", at=at, type=snake(state)
    )


def faults(body: bytes) -> Iterator[AnyEvent]:
    """Each code of a reading; the same code later is a revision of it."""
    told = loads(body)
    whose, reading, at = head(told, "faultCodes")
    found: dict[str, dict[str, Any]] = {}
    for one in codes(whose["vehicle"], reading):
        found.setdefault(one["id"], one)
    for one in found.values():
        yield Fault(**whose, **one, at=at, revision=millis(at), type="on")
    if not found:
        named = f"{whose['vehicle']}@{millis(at)}@no_codes"
        yield Fault(**whose, id=named, at=at, revision=millis(at), type="off")


def codes(vehicle: str, reading: Wire) -> Iterator[dict[str, Any]]:
    """Every code that stands, whichever network it comes from."""
    arm = inner(reading, "j1939")
    lit = lamps(inner(arm, "checkEngineLights", "checkEngineLight"))
    for one in objects(arm, "diagnosticTroubleCodes"):
        yield from told_as(vehicle, "j1939", one, j1939(one), lit)
    arm = inner(reading, "obdii", "passenger")
    lit = ("check_engine",) if flag(arm, "checkEngineLightIsOn") else ()
    for group in objects(arm, "diagnosticTroubleCodes"):
        listed = [one for name in CODE_LISTS for one in objects(group, name)]
        for one in listed or ([group] if obd(group)["code"] else []):
            tx = {"txId": words(one, "txId") or words(group, "txId")}
            yield from told_as(vehicle, "obdii", one | tx, obd(one), lit)
    for one in objects(inner(reading, "oem"), "diagnosticTroubleCodes"):
        code = {
            "code": words(one, "codeIdentifier"),
            "text": words(one, "codeDescription"),
        }
        yield from told_as(vehicle, None, one, code, ())


def told_as(
    vehicle: str, network: Literal["j1939", "obdii"] | None, one: Wire,
    code: dict[str, Any], lit: tuple[str, ...],
) -> Iterator[dict[str, Any]]:  # fmt: skip
    """One code as the fields of a fault; one without a number or a name says nothing."""
    if code["code"] is None:
        return
    yield {
        "id": fault_id(vehicle, code["code"], words(one, "txId")),
        "network": network,
        "count": count(one, "occurrenceCount"),
        "lamps": lit,
        **code,
    }


def lamps(lights: Wire) -> tuple[str, ...]:
    """The lamps that are lit."""
    return tuple(sorted(lamp(one) for one in lights if flag(lights, one)))


def head(told: Wire, key: str) -> tuple[Who, Wire, datetime]:
    """Whose reading it is, the reading and its time."""
    whose, reading = vehicle_of(told), inner(told, key)
    if whose["vehicle"] is None:
        raise PayloadError("id of the vehicle is missing")
    at = moment(reading, "time")
    if at is None:
        why = f"{key}.time is missing or unreadable (vehicle {whose['vehicle'][:40]})"
        raise PayloadError(why)
    return whose, reading, at
