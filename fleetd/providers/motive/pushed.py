"""Motive's webhooks: their signature, and a body split into records."""

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
from fleetd.providers.contract import Unpacked
from fleetd.providers.reading import UNREADABLE, loads, short, words
from fleetd.providers.signing import check_hmac, from_hex
from fleetd.web import Request

SIGNATURE = "x-kt-webhook-signature"
PROBE = Unpacked((), empty=1)
UNQUOTED = re.compile(rb"\s*\[\s*['\w.]+(?:\s*,\s*['\w.]+)*+\s*\]\s*")
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
    """The records of a request."""
    return split(request.body)


def split(body: bytes) -> Unpacked:
    """One object is one record, an array of objects a batch.

    Anything signed that holds no object is the activation probe (also the one that is
    no JSON, `[vehicle_location_updated]`): it says nothing, and must be answered 200.
    """
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
    if any(one[:1] in (b"{", b"[") and b"{" in one for one in items):
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
