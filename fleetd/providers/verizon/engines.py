"""What a vehicle's engine says: its state and hours, its fuel, its trouble codes.

Field names: the status and ECM objects of the vendor's pages, `EngineMintutes` as it is
misspelt on the wire. Paths and shapes of the code lists: two open clients (C1).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any, Literal

from fleetd.event import DAY_MS, AnyEvent, Engine, Fault, Fuel, millis, vin_of
from fleetd.providers.reading import (
    Wire,
    flag,
    ident,
    number,
    said,
    snake,
    words,
)
from fleetd.providers.verizon.positions import MILES_PER_KM, content, state_of
from fleetd.providers.verizon.wire import (
    SHORT,
    moment_in,
    named,
    number_of,
    person,
    plain,
)

SINCE = ("lastupdateddatetime", "lastupdatedutc", "updateutc", "lastupdateddatetimeutc")
MOST_CODES = 200
J1939 = re.compile(r"(?i)SPN\W*(\d{1,7})\W+FMI\W*(\d{1,2})")
PAIR = re.compile(r"(\d{1,7})[-/](\d{1,2})")
OBD = re.compile(r"(?i)\b([PBCU][0-9A-F]{4})(?:-?([0-9A-F]{2}))?\b")
Network = Literal["j1939", "obdii"]


def status(metric: bool, body: bytes) -> Iterator[AnyEvent]:
    """One vehicle's answer in the bulk call for statuses."""
    whose, told = content(body)
    if told:
        yield from engine(metric, {**told, "_vehicle": whose})


def ecm(metric: bool, body: bytes) -> Iterator[AnyEvent]:
    """What the engine's computer says: state and hours, fuel, codes."""
    told = plain(body)
    yield from engine(metric, told)
    whose = number_of(told)
    at = moment_in(told, whose)
    amounts = said(
        level_percent=number(told, "fuellevelpercentage"),
        total_used=number(told, "totalfuelused"),
        total_idle=number(told, "totalidlefuel"),
        total_pto=number(told, "totalptofuel"),
        pto_time=number(told, "totalptotime"),
    )
    if amounts:
        yield Fuel(
            id=named(whose, at), type="level", detail=amounts, **_whose(told, at)
        )
    yield from faults(whose, told.get("dtcs"), at, revision=_day(at))


def engine(metric: bool, told: Wire) -> Iterator[AnyEvent]:
    """On, idle or off, with its hours and its odometer, in the unit of the account."""
    whose = number_of(told)
    at, state = moment_in(told, whose), state_of(told)
    minutes = number(told, "engineminutes", "enginemintutes")
    odometer = number(told, "currentodometer")
    said_so = snake(words(told, "displaystate") or "")
    if not said_so and minutes is None and odometer is None:
        return
    yield Engine(
        id=named(whose, at),
        type=state.lower() if state else said_so or None,
        hours=None if minutes is None else minutes / 60,
        odometer=None
        if odometer is None
        else odometer * MILES_PER_KM
        if metric
        else odometer,
        **_whose(told, at),
    )


def _whose(told: Wire, at: datetime) -> dict[str, Any]:
    number, (driver, name) = number_of(told), person(told)
    return {
        "at": at,
        "vehicle": number,
        "number": number,
        "vin": vin_of(words(told, "vin")),
        "driver": driver,
        "driver_name": name,
    }


def active_codes(body: bytes) -> Iterator[AnyEvent]:
    """The codes of one vehicle that are on now, all with the vehicle's own time.

    That time moves with every report: a code that stays on is said once a day.
    """
    told = plain(body)
    whose = number_of(told)
    at = moment_in(told, whose, *SINCE)
    found = told.get("activedtcs") or told.get("dtcs")
    yield from faults(whose, found, at, revision=_day(at))


def code_history(body: bytes) -> Iterator[AnyEvent]:
    """One code of one vehicle: since when it is on, or off again."""
    told = plain(body)
    whose = number_of(told)
    at = moment_in(told, whose, *SINCE)
    kind = "off" if flag(told, "isactive") is False else "on"
    found = words(told, "dtc", "code", "_item")
    yield from faults(whose, found, at, revision=millis(at), kind=kind)


def _day(at: datetime) -> int:
    return millis(at) // DAY_MS * DAY_MS


def faults(
    whose: str, told: object, at: datetime, *, revision: int, kind: str = "on"
) -> Iterator[Fault]:
    """A fault for each code that is told."""
    for code, network, spn, fmi, text in list(codes(told))[:MOST_CODES]:
        yield Fault(
            id=f"{whose}:{code}",
            at=at,
            revision=revision,
            vehicle=whose,
            number=whose,
            type=kind,
            network=network,
            code=code,
            spn=spn,
            fmi=fmi,
            text=text,
        )


Code = tuple[str, Network | None, int | None, int | None, str | None]


def codes(told: object) -> Iterator[Code]:
    """Trouble codes of a list, of a text with commas, of objects."""
    if isinstance(told, list):
        for one in told:
            yield from codes(one)
        return
    if isinstance(told, dict):
        yield from codes(words(told, "dtc", "code", "name"))
        return
    rest = ident(told) or ""
    for match in J1939.finditer(rest):
        yield _j1939(match)
    for part in re.split(r"[,;|\n]", J1939.sub(",", rest)):
        if part.strip():
            yield _code(part.strip())


def _j1939(match: re.Match[str]) -> Code:
    spn, fmi = int(match[1]), int(match[2])
    return f"SPN {spn} FMI {fmi}", "j1939", spn, fmi, None


def _code(part: str) -> Code:
    if pair := PAIR.fullmatch(part):
        return _j1939(pair)
    if found := OBD.search(part):
        text = None if found[0] == part else part
        return found[0].upper(), "obdii", None, None, text
    return part[:SHORT], None, None, None, None
