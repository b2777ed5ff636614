"""Signed Motive location webhooks, made beforehand: about 940 bytes each, every one a point of its own."""

from __future__ import annotations

import hmac
import os
import random
import struct
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import count, islice
from pathlib import Path

SECRET = "b2f5b1b0c3d24e7a9a1f"
VEHICLES = 600
BEGIN = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=8)

BODY = (
    '{"id":"%s","vehicle_id":%d,"vehicle_number":"T-%04d","trigger":"created",'
    '"located_at":"%s","lat":%.6f,"lon":%.6f,"bearing":%.1f,"engine_hours":%.2f,'
    '"speed":%.1f,"odometer":%.2f,"fuel":%.2f,"primary_fuel_level":%.1f,'
    '"secondary_fuel_level":null,"true_odometer":%.2f,"true_engine_hours":%.2f,'
    '"battery_voltage":%.2f,"fuel_primary_remaining_percentage":%.1f,'
    '"fuel_secondary_remaining_percentage":null,"veh_range":null,'
    '"hvb_state_of_charge":null,"hvb_charge_status":null,'
    '"eld_device":{"id":%d,"identifier":"AABL36%06d",'
    '"model":"lbb-3.6ca"},"type":"%s","description":"%.1f mi SE of %s",'
    '"group_ids":[40118,40125,40131],"metric_units":false,"source":"vehicle_gateway",'
    '"company_id":120044,"event_sequence":%d,"satellites":%d,"hdop":%.1f,'
    '"action":"vehicle_location_received"}'
)
HEAD = (
    "POST /webhooks/north HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    "User-Agent: Go-http-client/1.1\r\nContent-Length: %d\r\n"
    "Content-Type: application/json\r\nX-Kt-Webhook-Signature: %s\r\n"
    "Accept-Encoding: identity\r\n\r\n"
)
PLACES = (
    "Itasca, IL near the Thorndale Avenue distribution yard, dock doors 14 to 30",
    "Bolingbrook, IL on Interstate 55 southbound past the weigh station",
    "Fort Wayne, IN by the fuel stop at Lima Road and Interstate 69",
    "Hammond, IN at the Calumet Avenue rail crossing, queue for gate two",
)
KINDS = ("vehicle_moving", "vehicle_moving", "breadcrumb", "vehicle_stopped")


def bodies(
    first: int = 0, begin: datetime = BEGIN, apart_s: int = 1
) -> Iterator[bytes]:
    """Give endless bodies: 600 vehicles in turn, each later than the last time round."""
    chance = random.Random(first)
    for number in count(first):
        later = timedelta(seconds=(number - first) // VEHICLES * apart_s)
        yield body(number, begin + later, chance).encode()


def body(number: int, at: datetime, chance: random.Random) -> str:
    some, vehicle = chance.random(), number % VEHICLES
    return BODY % (
        uuid(number), 2_060_000 + vehicle, vehicle, at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        41 + some, -88 + some, some * 359.9, 9000 + some * 100,
        some * 70, 400_000 + some * 9000, 55_000 + some * 900, some * 100,
        401_000 + some * 9000, 9100 + some * 100, 12 + some * 2, some * 100,
        770_000 + vehicle, vehicle, KINDS[number % 4], some * 9, PLACES[number % 4],
        number, 6 + number % 9, 0.6 + some,
    )  # fmt: skip


def uuid(number: int) -> str:
    digits = hmac.digest(b"point", struct.pack("<Q", number), "sha1").hex()
    return (
        f"{digits[:8]}-{digits[8:12]}-5{digits[13:16]}-a{digits[17:20]}-{digits[20:32]}"
    )


def request(body: bytes, secret: str = SECRET) -> bytes:
    signature = hmac.digest(secret.encode(), body, "sha1").hex()
    return (HEAD % (len(body), signature)).encode() + body


@contextmanager
def corpus(size: int, first: int = 0) -> Iterator[Path]:
    """Write so many whole requests for the load generator, in memory where the system allows it.

    On the disk they would still be on their way to it while syncs are measured.
    """
    shared = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.NamedTemporaryFile(prefix="fleetd-bench-", dir=shared) as file:
        for one in islice(bodies(first), size):
            whole = request(one)
            file.write(struct.pack("<I", len(whole)) + whole)
        file.flush()
        yield Path(file.name)
