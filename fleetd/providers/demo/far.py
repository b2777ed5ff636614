"""The demo vendor's far side: any question answered from the time it speaks of."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from itertools import chain

import msgspec
from msgspec import Struct

from fleetd.errors import PayloadError
from fleetd.providers.contract import Ask
from fleetd.providers.demo import fleet
from fleetd.providers.demo.diary import diary, moment
from fleetd.providers.demo.land import KPH
from fleetd.providers.demo.plan import VEHICLES, Leg, day_of, odometer, plan
from fleetd.providers.demo.wire import Fix, Ignition

EVERY, PARKED = 5, 300  # seconds between two fixes, on shift and in the yard at night
_encode = msgspec.json.Encoder().encode
LISTINGS: Mapping[str, Callable[[], Sequence[Struct]]] = {
    "/vehicles": fleet.units,
    "/drivers": fleet.people,
    "/places": fleet.spots,
}


def answer(ask: Ask, _now: datetime) -> bytes:
    """What this vendor would send; the same question always has the same answer."""
    if ask.path in LISTINGS:
        return _page(ask.path, [_encode(one) for one in LISTINGS[ask.path]()])
    since, upto = (
        int(str(ask.params["after_ms"])) // 1000,
        int(str(ask.params["until_ms"])) // 1000,
    )
    if ask.path == "/positions":
        return _page(ask.path, track(since, upto))
    if ask.path == "/activity":
        return _page(ask.path, activity(since, upto))
    raise PayloadError(f"the demo vendor has no {ask.path}")


def track(since: int, upto: int) -> list[bytes]:
    """Every fix after `since` and not after `upto`, oldest first."""
    found = chain.from_iterable(_fixes(one, since, upto) for one in range(VEHICLES))
    return [body for _, _, body in sorted(found)]


def activity(since: int, upto: int) -> list[bytes]:
    """Every note after `since` and not after `upto`, oldest first."""
    found = []
    for vehicle in range(VEHICLES):
        for day in range(day_of(vehicle, since), day_of(vehicle, upto) + 1):
            book = diary(vehicle, day)
            first, last = (
                bisect_right(book.times, since),
                bisect_right(book.times, upto),
            )
            chosen = zip(book.times[first:last], book.notes[first:last], strict=True)
            found += [(time, vehicle, note) for time, note in chosen]
    return [note for _, _, note in sorted(found)]


def _page(path: str, items: Sequence[bytes]) -> bytes:
    return b'{"feed":"%s","items":[%s]}' % (path[1:].encode(), b",".join(items))


def _fixes(vehicle: int, since: int, upto: int) -> list[tuple[int, int, bytes]]:
    found = []
    first = since + 1 + (vehicle - since - 1) % EVERY
    for time in range(first, upto + 1, EVERY):
        day = day_of(vehicle, time)
        leg = plan(vehicle, day).leg(time)
        # 11 leaves the same rest as 1 when divided by 5: both rhythms meet
        if leg.driver is not None or (time - 11 * vehicle) % PARKED == 0:
            found.append((time, vehicle, _encode(fix(vehicle, day, leg, time))))
    return found


def fix(vehicle: int, day: int, leg: Leg, time: int) -> Fix:
    """Where a vehicle is."""
    driver = leg.driver
    lat, lon, speed, heading, place = (
        leg.origin.lat,
        leg.origin.lon,
        0.0,
        leg.heading,
        "",
    )
    ignition: Ignition = "idle" if time < leg.idle_until else "off"
    metres = odometer(vehicle, day) + leg.metres
    if leg.motion:
        state, path = leg.motion.state(time - leg.start), leg.motion.path
        lat, lon = leg.motion.point(state)
        speed, heading, ignition = state.speed, path.headings[state.piece], "on"
        metres, place = metres + state.metres, path.labels[state.piece]
    return Fix(
        vehicle_id=fleet.vehicle_id(vehicle),
        unit=fleet.number_of(vehicle),
        time=moment(time),
        lat=round(lat, 6),
        lon=round(lon, 6),
        speed_kph=round(speed / KPH, 1),
        heading=round(heading, 1) % 360,
        ignition=ignition,
        odometer_km=round(metres / 1000, 3),
        place=place or leg.origin.name,
        driver_id=None if driver is None else fleet.driver_id(driver),
        driver_name=None if driver is None else fleet.name_of(driver),
    )
