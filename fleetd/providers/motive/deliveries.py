"""Motive's log of its own deliveries: what it could not hand over while we were away.

`GET /v1/company_webhook_requests` repeats every body it posted, with the answer that it
got (https://developer.gomotive.com/reference/company-webhooks-overview); 200 and 201
were taken, anything else, or none at all, were not. Those bodies go through the same
normalizers as when they are pushed, so that a later retry is a duplicate. Motive also
sends them again when told to (`POST /v1/company_webhook_requests/retry` with `ids`),
which needs us to be reachable; reading them here does not. The log repeats the secret.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import msgspec
from msgspec import Raw, Struct

from fleetd.errors import PayloadError
from fleetd.event import AnyEvent, Record
from fleetd.providers.contract import Ask, Page, Turn, Unpacked
from fleetd.providers.motive.feeds import Windowed, post_times
from fleetd.providers.motive.records import SECRETS
from fleetd.providers.reading import UNREADABLE, as_number, loads

TAKEN = frozenset({200, 201})
LOG = Windowed(
    "deliveries",
    "/v1/company_webhook_requests",
    "company_webhook_requests",
    "company_webhook_request",
    post_times,
    times=("posted_at",),
)


class Delivery(Struct, frozen=True):
    """As much of an entry as says whether it was taken, and its body as it was sent."""

    response_code: int | float | str | None = None
    payload: Raw = Raw(b"")


_delivery = msgspec.json.Decoder(Delivery).decode
_text = msgspec.json.Decoder(str).decode
Split = Callable[[bytes], Unpacked]


def unpack(split: Split, ask: Ask, body: bytes, turn: Turn) -> Page:
    """The bodies that nobody took, split as a webhook's body is."""
    page = LOG.unpack(ask, body, turn)
    records = [record for entry in page.records for record in missed(entry, split)]
    return msgspec.structs.replace(page, records=records)


def missed(entry: Record, split: Split) -> Sequence[Record]:
    """What an entry of the log has for us; one that cannot be read stays as it is."""
    try:
        found = _delivery(entry.body)
        if as_number(found.response_code) in TAKEN:
            return ()
        return split(said(found.payload)).records
    except (PayloadError, *UNREADABLE):
        return (entry,)


def said(payload: Raw) -> bytes:
    """The body that was posted: JSON, or the same as text."""
    body = bytes(payload)
    if body[:1] == b'"':
        return _text(body).encode()
    if body[:1] not in (b"{", b"["):
        raise PayloadError("no payload in it")
    return body


def unread(body: bytes) -> Iterator[AnyEvent]:
    """An entry whose payload could not be read: always a dead letter that names it."""
    told = loads(body, SECRETS)
    named = f"{told.get('id')} ({told.get('action')}, {told.get('posted_at')})"
    raise PayloadError(f"delivery {named[:120]}: its payload is no record")
    yield  # a normalizer is an iterator
