"""Samsara: webhooks of both generations, and everything its API lists.

What is pushed is signed over a timestamp and the raw body.

The secret is given in base64 and used decoded; the timestamp is signed as the text it
came as. Which generation a body is, its own keys say, since one URL can receive both.
No webhook carries a position: `vehicle` facts and events arrive here, fixes are polled.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import ClassVar

import msgspec
from msgspec import Raw, Struct

from fleetd.errors import ConfigError, PayloadError, SignatureError
from fleetd.event import AnyEvent, Other, Record
from fleetd.providers.contract import Provider, Unpacked, Webhook
from fleetd.providers.reading import (
    UNREADABLE,
    Wire,
    as_moment,
    inner,
    loads,
    moment,
    objects,
    print_of,
    rest,
    short,
    snake,
    words,
)
from fleetd.providers.samsara.alerts import first_generation, incident
from fleetd.providers.samsara.feeds import (
    FEEDS,
    LIMITS,
    NORMALIZERS,
    incidents,
)
from fleetd.providers.samsara.hooks import HOOKS, WHOAMI, judge
from fleetd.providers.samsara.readers import DIRECTORY, READERS
from fleetd.providers.samsara.told import PARTIES, Told, who
from fleetd.providers.signing import check_hmac, decoded, from_hex
from fleetd.web import Request

STAMP, SIGNATURE = "x-samsara-timestamp", "x-samsara-signature"
SECRETS = frozenset({"secretKey"})
EVENTS = READERS | DIRECTORY


def verify(request: Request, secrets: Sequence[str]) -> datetime | None:
    """When it was signed, by the header as it can be read: seconds or RFC 3339."""
    stamp = request.header(STAMP)
    if not stamp:
        raise SignatureError("the timestamp header is missing")
    claimed = from_hex(request.header(SIGNATURE), prefix="v1=")
    check_hmac(decoded(secrets), message(stamp, request.body), claimed)
    return as_moment(stamp)


def message(stamp: str, body: bytes) -> bytes:
    """The bytes that are signed."""
    return b"v1:" + stamp.encode("latin-1", "replace") + b":" + body


def sign(body: bytes, secret: str, now: datetime) -> Mapping[str, str]:
    """The headers Samsara would send with this body at this time."""
    keys = decoded([secret])
    if not keys:
        raise ConfigError(good_secret(secret))
    stamp = str(int(now.timestamp()))
    signature = hmac.digest(keys[0], message(stamp, body), "sha256").hex()
    return {
        "Content-Type": "application/json",
        "X-Samsara-Timestamp": stamp,
        "X-Samsara-Signature": f"v1={signature}",
    }


def good_secret(secret: str) -> str | None:
    """What is wrong with a secret as it was pasted, or nothing."""
    if decoded([secret]):
        return None
    return "is not base64: paste the webhook's secretKey as Samsara shows it"


class Head(Struct, frozen=True, rename={"type": "eventType"}):
    """As much of a body as says whether it is a test."""

    type: str | None = None


_head = msgspec.json.Decoder(Head).decode
_items = msgspec.json.Decoder(list[Raw]).decode


def unpack(request: Request) -> Unpacked:
    """One body, one record; a ping from the dashboard says nothing.

    A list of them is taken too, though none was ever seen.
    """
    body = request.body
    if body.lstrip()[:1] != b"[":
        says = not ping(body)
        return Unpacked([Record("webhook", body)] if says else (), empty=not says)
    try:
        items = [bytes(one) for one in _items(body)]
    except UNREADABLE as bad:
        raise PayloadError(f"not JSON: {short(bad)}") from bad
    if not any(one.strip(b"{} \r\n\t") for one in items if one[:1] == b"{"):
        raise PayloadError("not a JSON object, and no list of them")
    told = [Record("webhook", one) for one in items if not silent(one)]
    return Unpacked(told, empty=len(items) - len(told))


def silent(item: bytes) -> bool:
    """The same of one of many; what cannot be read is for its normalizer to complain of."""
    with suppress(PayloadError):
        return ping(item)
    return False


def ping(body: bytes) -> bool:
    """Whether it is the test that the dashboard sends."""
    try:
        kind = _head(body).type
    except msgspec.ValidationError:
        kind = None
    except UNREADABLE as bad:
        raise PayloadError(f"not JSON: {short(bad)}") from bad
    kind = kind or words(loads(body), "eventType") or ""
    return kind.strip().lower() == "ping"


def webhook(body: bytes) -> Iterator[AnyEvent]:
    """What one body tells, by the keys of its generation."""
    told = loads(body, SECRETS)
    named = words(told, "eventId") or print_of(body)
    kind = words(told, "eventType")
    data, older = inner(told, "data"), inner(told, "event")
    newer = data or (not older and {"data", "eventTime"} & told.keys())
    if not newer and ("alertConditionId" in older or snake(kind or "") == "alert"):
        yield first_generation(told, named)
    elif kind is None:
        raise PayloadError("eventType is missing")
    elif snake(kind) == "alert_incident" or objects(data, "conditions"):
        yield incident(told, named)
    else:
        yield event(told, snake(kind), named)


def event(body: Wire, kind: str, named: str) -> AnyEvent:
    """A subscribed event; of a type we do not know, whatever it says."""
    data = inner(body, "data", "event") or rest(body, *ENVELOPE)
    told = Told(
        type=kind,
        data=data,
        id=named,
        who=who(data),
        at=moment(body, "eventTime", "eventMs"),
    )
    return EVENTS.get(kind, other)(told)


ENVELOPE = (
    "eventId",
    "eventTime",
    "eventMs",
    "eventType",
    "orgId",
    "webhookId",
    "data",
)


def other(told: Told) -> Other:
    """A type we do not know, with the vehicle and driver found in it."""
    return Other(
        **told.base(told.when(told.data, "happenedAtTime", "time", "startTime")),
        type=told.type or "unknown",
        detail=rest(told.data, *PARTIES),
    )


def authorize(token: str) -> Mapping[str, str]:
    """The headers of a request for the token of an account."""
    return {"Authorization": f"Bearer {token}"}


class Settings(Struct, frozen=True, forbid_unknown_fields=True):
    """The keys of `[sources.x]` that only this provider has."""

    docs: ClassVar[dict[str, str]] = {
        "alert_configurations": "ids of the alerts whose incidents are polled as well",
    }
    alert_configurations: tuple[str, ...] = ()


KINDS = (
    "alert", "device", "document", "driver", "duty", "engine", "fault", "fuel",
    "geofence", "inspection", "maintenance", "place", "route", "safety", "vehicle",
)  # fmt: skip
INCIDENTS = tuple(one for one in KINDS if one not in ("driver", "place", "vehicle"))


def configured(settings: Settings | None) -> Provider:
    """The provider as one source shapes it: incidents are only listed by their alerts."""
    wanted = settings.alert_configurations if settings else ()
    for one in wanted:
        if not one.strip() or "," in one:
            raise ConfigError(
                f"alert_configurations: {one[:80]!r} is no id of an alert"
            )
    more = (incidents(wanted, INCIDENTS),) if wanted else ()
    return Provider(
        name="samsara",
        title="Samsara",
        base_url="https://api.samsara.com",
        regions={
            "EU": "https://api.eu.samsara.com",
            "Canada": "https://api.ca.samsara.com",
            "US": "https://api.samsara.com",
        },
        normalize={"webhook": webhook, **NORMALIZERS},
        webhook=WEBHOOK,
        feeds=(*FEEDS, *more),
        authorize=authorize,
        judge=judge,
        limits=LIMITS,
        whoami=WHOAMI,
        hooks=HOOKS,
        secret_fields=SECRETS,
        settings=Settings,
        configured=configured,
        where="make a webhook there; the secretKey it shows goes into webhook_secret",
    )


WEBHOOK = Webhook(
    verify=verify,
    unpack=unpack,
    sign=sign,
    keep=(
        "content-type",
        "user-agent",
        STAMP,
        SIGNATURE,
        "x-samsara-request",
        "x-samsara-event-type",
        "x-samsara-org-id",
    ),
    good_secret=good_secret,
    kinds=KINDS,
)
PROVIDER = configured(None)
