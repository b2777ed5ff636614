"""LocoNav: polls within twenty requests a minute, and pushes that nobody signs.

Whoever pushes proves himself by `auth` (a key in the path, a fixed header, addresses):
no document of LocoNav knows a signature. Pushes cannot be listed again for positions,
while alerts can, for six months. Sources: the copy of LocoNav's developer documents in
`IkechukwuAbuah/watch-tower-1` (docs/loconav), the capture of developers.loconav.com in
`api-evangelist/loconav`, the gateway's own source `loconav-tech/loconav-developer-apis`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, ClassVar

import msgspec
from msgspec import Raw, Struct

from fleetd.errors import (
    ConfigError,
    HeldError,
    PayloadError,
    SignatureError,
    TransientError,
)
from fleetd.event import Record
from fleetd.providers import reading
from fleetd.providers.contract import (
    Answer,
    Ask,
    Feed,
    Limits,
    Normalize,
    Past,
    Probe,
    Provider,
    Unpacked,
    Webhook,
)
from fleetd.providers.loconav import alerts, directory, pages, positions
from fleetd.providers.reading import Wire, inner, loads, words
from fleetd.web import Request
from fleetd.when import Zone

MOST_ITEMS = 10_000  # records in one body
WINDOW_S = 60.0  # the limit slides over a minute; a 429 says nothing of when
LONGEST_WHY = 160
UNSIGNED = "LocoNav signs nothing: leave webhook_secret out and give auth"


class Settings(Struct, frozen=True, forbid_unknown_fields=True):
    """The keys of `[sources.x]` that only this provider has."""

    docs: ClassVar[dict[str, str]] = {
        "zone": "the timezone of pushed times that say none, as `Africa/Lagos`; without"
        " it they are read as UTC and fixes are flagged `zone_assumed`",
        "per_page": "records a page; LocoNav documents no maximum",
        "per_minute": "requests a minute: 20 unless LocoNav granted this token more",
        "odometer": "ask for the odometer sensor beside each fix",
    }
    zone: Zone | None = None
    per_page: int = 100
    per_minute: int = 20
    odometer: bool = False


PLAIN = Settings()


def verify(_request: Request, _secrets: Sequence[str]) -> datetime | None:
    """There is nothing to verify, and so nothing that a secret could prove."""
    raise SignatureError(UNSIGNED)


def sign(_body: bytes, _secret: str, _now: datetime) -> Mapping[str, str]:
    return {}


class Head(Struct, frozen=True):
    """As much of a push as says who reads it."""

    kind: Any = None
    gpstime: Any = None


_head = msgspec.json.Decoder(Head).decode
_items = msgspec.json.Decoder(list[Raw]).decode


def unpack(request: Request) -> Unpacked:
    """One object is one record; a list of them is taken too, though none was ever seen."""
    body = request.body.strip()
    if not body:
        return Unpacked((), empty=1)
    if body[:1] == b"{":
        items = [body]
    else:
        try:
            items = [bytes(one).strip() for one in _items(body)]
        except reading.UNREADABLE as bad:
            raise PayloadError(f"no object and no list: {reading.short(bad)}") from bad
    if len(items) > MOST_ITEMS:
        raise PayloadError(f"more than {MOST_ITEMS} items in one body")
    told = [Record(feed_of(one), one) for one in items if one != b"{}"]
    return Unpacked(told, empty=len(items) - len(told) if items else 1)


def feed_of(item: bytes) -> str:
    """`live` for what has the time of a fix and no kind, else `pushed`: an alert."""
    head = Head()
    try:
        head = _head(item)
        if head.kind is None and head.gpstime is None:
            told = loads(item)  # in other case, perhaps
            head = Head(told.get("kind"), told.get("gpstime"))
    except (*reading.UNREADABLE, PayloadError) as bad:
        if item[:1] == b"{" and not isinstance(bad, PayloadError):
            raise PayloadError(f"not JSON: {reading.short(bad)}") from bad
    return "live" if head.kind is None and head.gpstime is not None else "pushed"


def authorize(token: str) -> Mapping[str, str]:
    """The header of a user's token."""
    return {"User-Authentication": token}


class Verdict(Struct, frozen=True):
    """As much of an answer as says whether it is one; some calls write `status`."""

    success: Any = None
    status: Any = None


_verdict = msgspec.json.Decoder(Verdict).decode


def judge(ask: Ask, answer: Answer) -> None:
    """Raise where LocoNav says no in its own way: `success: false`, a bare 429."""
    if answer.status == 429 and "retry-after" not in answer.headers:
        why = "LocoNav: too many requests; a whole minute is waited"
        raise TransientError(why, after=WINDOW_S, status=429, counts=False)
    if answer.status in (400, 404, 405, 422):
        why = f"{ask.path}: answered {answer.status}: {reasons(answer.body)}"
        raise HeldError(why, status=answer.status, answer=answer.body[:2048])
    if answer.status != 200 or not refused(answer.body):
        return
    why = reasons(answer.body)
    said = why.lower()
    if "authenticat" in said or "unauthorized" in said or "token" in said:
        raise HeldError(f"LocoNav refused the token ({why})", status=401)
    if "too many" in said or "internal" in said or "unavailable" in said:
        after = WINDOW_S if "too many" in said else None
        raise TransientError(
            f"LocoNav: {why}", after=after, status=429 if after else 503
        )
    raise PayloadError(f"LocoNav says no in a 200: {why}")


def refused(body: bytes) -> bool:
    """Whether an answer says of itself that it is none; unpacking judges the rest."""
    try:
        told = _verdict(body)
    except reading.UNREADABLE:
        return False
    said = reading.flag({"success": told.success}, "success")
    return said is False or told.status is False


def reasons(body: bytes) -> str:
    """What the vendor says is wrong, in a few words: its errors are objects or texts."""
    try:
        told = loads(body)
    except PayloadError:
        return "no reason given"
    data = inner(told, "data") or told
    errors = data.get("errors") or data.get("error") or told.get("message")
    found = [_reason(one) for one in (errors if isinstance(errors, list) else [errors])]
    why = "; ".join(one for one in found if one)
    return " ".join(why[:LONGEST_WHY].split()) or "no reason given"


def _reason(error: object) -> str:
    if not isinstance(error, dict):
        return reading.ident(error) or ""
    told: Wire = error
    both = (words(told, "code"), words(told, "message"))
    return ": ".join(one for one in both if one)


def owner(body: bytes) -> Sequence[str]:
    """The account and the user of `GET /user`, by id and name."""
    told = loads(body)
    user = inner(told, "data") or told
    user = inner(user, "user") or user
    account = inner(user, "account")
    found = [words(one, key) for one in (account, user) for key in ("id", "name")]
    return [one for one in found if one]


def configured(settings: Settings | None) -> Provider:
    """The provider as one source shapes it; a `ConfigError` names the wrong key."""
    settings = settings or PLAIN
    for key, most in (("per_page", 1000), ("per_minute", 500)):
        if not 1 <= getattr(settings, key) <= most:
            raise ConfigError(f"{key}: takes something between 1 and {most}")
    zone = UTC if settings.zone is None else settings.zone.info
    normalize: dict[str, Normalize] = {
        "live": partial(positions.live, zone, settings.zone is not None),
        "pushed": partial(alerts.pushed, zone),
        "vehicles": partial(directory.vehicle, zone),
        "drivers": partial(directory.driver, zone),
        "places": partial(directory.site, zone),
        "positions": partial(positions.last_known, zone),
        "alerts": partial(alerts.listed, zone),
        "trips": partial(directory.trip, zone),
    }
    return Provider(
        name="loconav",
        title="LocoNav",
        base_url="https://api.a.loconav.com/integration/api/v1",
        normalize=normalize,
        webhook=WEBHOOK,
        feeds=feeds(settings),
        authorize=authorize,
        judge=judge,
        limits=Limits(per_second=settings.per_minute / 60),
        whoami=Probe(Ask("/user"), owner),
        secret_fields=directory.SECRETS,
        settings=Settings,
        configured=configured,
        where="mail the URL to your LocoNav contact; alert kinds are chosen by them, or"
        " by the subscription API; ask for a fixed header and the sending addresses too",
    )


TOLD = (
    "safety", "engine", "geofence", "fault", "fuel", "device", "maintenance", "route",
    "alert",
)  # fmt: skip
WEBHOOK = Webhook(
    verify=verify,
    unpack=unpack,
    sign=sign,
    good_secret=lambda _secret: UNSIGNED,
    kinds=("position", *TOLD),
    signs=False,
)


def feeds(settings: Settings) -> tuple[Feed, ...]:
    """What is asked: some ten requests a minute for a fleet of 600."""
    size = settings.per_page
    sensors = ["gps", "odometer"] if settings.odometer else ["gps"]
    path = "/vehicles/telematics/last_known"
    fixes = partial(pages.ask_posted, path, size, {"sensors": sensors})
    return (
        listing("vehicles", "vehicle", "/vehicles", size),
        listing("drivers", "driver", "/drivers", size, getIdAndName="false"),
        listing("places", "place", "/polygons", size),
        Feed(
            "positions",
            60.0,
            fixes,
            partial(pages.unpack_list, "positions"),
            kinds=("position",),
            snapshot=True,
        ),
        windowed("alerts", 60.0, timedelta(minutes=10), TOLD, size),
        late_alerts(size),
        windowed("trips", 1800.0, timedelta(days=2), ("trip",), size),
    )


def listing(name: str, kind: str, path: str, size: int, **extra: str) -> Feed:
    return Feed(
        name,
        3600.0,
        partial(pages.ask_list, path, size, extra),
        partial(pages.unpack_list, name),
        kinds=(kind,),
        listing=kind,
        begins=None,
    )


def windowed(
    name: str, every: float, lookback: timedelta, kinds: tuple[str, ...], size: int
) -> Feed:
    """A list of what began in a window, for the last six months."""
    ask = partial(pages.ask_window, f"/{name}", size)
    read = partial(pages.unpack_window, name)
    call, half = f"GET /{name}", timedelta(hours=12)
    return Feed(
        name,
        every,
        ask,
        read,
        kinds=kinds,
        lookback=lookback,
        begins=timedelta(hours=1),
        past=Past(ask, read, within=pages.OLDEST, call=call, chunk=half),
    )


def late_alerts(size: int) -> Feed:
    """The last three days of alerts, read again.

    An alert is listed where it began, so its end is found there too, hours later, and
    what a device told only when it was back. It brings no kind that `alerts` does not.
    """
    return Feed(
        "late_alerts",
        6 * 3600.0,
        partial(pages.ask_late, "/alerts", size),
        partial(pages.unpack_late, "alerts"),
        lookback=timedelta(days=3),
    )


PROVIDER = configured(PLAIN)
