"""Motive (once KeepTruckin): webhooks signed with HMAC-SHA1 over the raw body.

The signature holds no time, so nothing but the identity of events defends against a
replay. A 403 is final for Motive and the event lost to it; every other refusal is
sent again for hours. Records say neither their units nor their VIN in a location:
the directory fills those.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime

import msgspec
from msgspec import Raw, Struct

from fleetd.errors import PayloadError
from fleetd.event import Record
from fleetd.providers.contract import Provider, Unpacked, Webhook
from fleetd.providers.motive.positions import position
from fleetd.providers.motive.records import SECRETS, record
from fleetd.providers.reading import UNREADABLE, loads, short, words
from fleetd.providers.signing import check_hmac, from_hex
from fleetd.web import Request

SIGNATURE = "x-kt-webhook-signature"
PROBE = Unpacked((), empty=1)
UNQUOTED = re.compile(rb"\s*\[\s*['\w.]+(\s*,\s*['\w.]+)*\s*\]\s*")
POINTS = frozenset({"vehicle_location_received", "vehicle_location_updated"})


def verify(request: Request, secrets: Sequence[str]) -> None:
    """Check the signature; there is no time in it."""
    claimed = from_hex(request.header(SIGNATURE))
    check_hmac((one.encode() for one in secrets), request.body, claimed, digest="sha1")


def sign(body: bytes, secret: str, _now: datetime) -> Mapping[str, str]:
    """The headers Motive would send with this body."""
    signature = hmac.digest(secret.encode(), body, "sha1").hex()
    return {"Content-Type": "application/json", "X-KT-Webhook-Signature": signature}


class Head(Struct, frozen=True):
    """As much of a record as says who reads it."""

    action: str | None = None


_head = msgspec.json.Decoder(Head).decode
_items = msgspec.json.Decoder(list[Raw]).decode
_any = msgspec.json.Decoder().decode


def unpack(request: Request) -> Unpacked:
    """One object is one record, an array of objects a batch.

    Anything signed that holds no object is the activation probe (also the one that is
    no JSON, `[vehicle_location_updated]`): it says nothing, and must be answered 200.
    """
    body = request.body
    first = body.lstrip()[:1]
    if first == b"{":
        return batch([body])
    if first == b"[":
        return listed(body)
    if not first:
        return PROBE
    try:
        _any(body)
    except UNREADABLE as bad:
        raise PayloadError(f"not JSON: {short(bad)}") from bad
    return PROBE


def listed(body: bytes) -> Unpacked:
    """An array: of objects, or a probe that names actions."""
    try:
        items = [bytes(one) for one in _items(body)]
    except UNREADABLE as bad:
        if UNQUOTED.fullmatch(body):
            return PROBE
        raise PayloadError(f"not JSON: {short(bad)}") from bad
    if any(one[:1] in (b"{", b"[") for one in items):
        return batch(items)
    return PROBE


def batch(items: Sequence[bytes]) -> Unpacked:
    """The records of a body, probes among them counted out."""
    records = []
    for item in items:
        action = action_of(item)
        if action is None or action.strip().lower() != "test":
            feed = "positions" if action in POINTS else "records"
            records.append(Record(feed, item))
    return Unpacked(records, empty=len(items) - len(records))


def action_of(item: bytes) -> str | None:
    """The action of one record; None leaves the complaint to its normalizer."""
    try:
        action = _head(item).action
    except msgspec.ValidationError:
        action = None
    except UNREADABLE as bad:
        raise PayloadError(f"not JSON: {short(bad)}") from bad
    return action or _action_anyhow(item)


def _action_anyhow(item: bytes) -> str | None:
    with suppress(PayloadError):
        return words(loads(item), "action")
    return None


def authorize(token: str) -> Mapping[str, str]:
    """The headers of a request for the token of a company."""
    return {"X-Api-Key": token}


PROVIDER = Provider(
    name="motive",
    title="Motive",
    base_url="https://api.gomotive.com",
    normalize={"positions": position, "records": record},
    webhook=Webhook(
        verify=verify,
        unpack=unpack,
        sign=sign,
        refusal=403,
        keep=("content-type", "user-agent", SIGNATURE),
    ),
    authorize=authorize,
    secret_fields=SECRETS,
    where="make a company webhook there, with a secret of your own choice",
)
