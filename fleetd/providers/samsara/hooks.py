"""What Samsara says no with, whose token it is, and its own list of webhooks.

The list: https://developers.samsara.com/docs/webhooks. Samsara makes the secret itself
and shows it in the answer that made the webhook; PATCH changes no event types.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

import msgspec
from msgspec import Struct

from fleetd.errors import ExpiredError, HeldError, PayloadError, TransientError
from fleetd.providers.contract import Answer, Ask, Hooks, Probe, Registered, Turn
from fleetd.providers.reading import UNREADABLE
from fleetd.providers.samsara.cutting import Pagination, complaint, no_page
from fleetd.providers.samsara.pages import following, moment_in

# Those that need not be enabled by Samsara first; an unknown one would spoil the call.
EVENT_TYPES = (
    "AddressCreated", "AddressDeleted", "AddressUpdated", "AlertIncident",
    "DocumentSubmitted", "DriverCreated", "DriverUpdated", "DvirSubmitted",
    "FormSubmitted", "FormUpdated", "GeofenceEntry", "GeofenceExit", "IssueCreated",
    "RouteStopArrival", "RouteStopDeparture", "SevereSpeedingEnded",
    "SevereSpeedingStarted", "SpeedingEventEnded", "SpeedingEventStarted",
    "SuddenFuelLevelDrop", "SuddenFuelLevelRise", "VehicleCreated", "VehicleUpdated",
)  # fmt: skip
MISSING = ("scope", "permission", "licen")  # of a token that is right, but not for this


def judge(ask: Ask, answer: Answer) -> None:
    """A cursor that is too old is a 400 like any other, so any with a cursor begins anew.

    What an expired one is answered with is not documented (a page that a gateway makes
    of a 404 says nothing of cursors); they live for 30 days. What
    has an end was asked for from its beginning, and no cursor is needed to do it again. A
    token without the scope or the licence of a call holds that call alone.
    """
    said = complaint(answer.body) if 400 <= answer.status < 500 else ""
    ours = answer.status in (400, 410) or (answer.status in (404, 422) and said)
    if ours and "after" in ask.params:
        since = moment_in(ask, "startTime") if "endTime" in ask.params else None
        why = said or "no reason given"
        raise ExpiredError(f"{ask.path}: the cursor is not taken ({why})", since=since)
    if answer.status == 409 and ask.method == "GET":  # Samsara's own client tries again
        raise TransientError(f"{ask.path}: answered 409 {said}".rstrip(), status=409)
    if answer.status == 401 and any(one in said.lower() for one in MISSING):
        raise HeldError(f"Samsara forbids {ask.path} to this token: {said}", status=403)
    if answer.status in (400, 404) and said:
        raise HeldError(f"{ask.path}: Samsara says: {said}", status=answer.status)


class Org(Struct, frozen=True):
    id: str | int | None = None
    name: str | None = None


class Me(Struct, frozen=True):
    """An organisation, under `data`."""

    data: Org


_me = msgspec.json.Decoder(Me).decode


def whose(body: bytes) -> Sequence[str]:
    """Id and name of the organisation whose token it is."""
    try:
        org = _me(body).data
    except UNREADABLE as bad:
        raise no_page(body, bad) from bad
    return [text for one in (org.id, org.name) if one and (text := str(one).strip())]


WHOAMI = Probe(ask=Ask("/me"), read=whose)


class Hook(Struct, frozen=True, rename="camel"):
    """A webhook as Samsara tells it; one it was made with shows its secret."""

    id: str
    url: str = ""
    name: str = ""
    secret_key: str = ""
    event_types: list[str] | None = None

    def registered(self) -> Registered:
        actions = tuple(self.event_types or ())
        return Registered(
            self.id, self.url, self.name, actions=actions, secret=self.secret_key
        )


class HookList(Struct, frozen=True):
    data: list[Hook]
    pagination: Pagination


_hook = msgspec.json.Decoder(Hook).decode
_hooks = msgspec.json.Decoder(HookList).decode


def ask_hooks(turn: Turn) -> Ask:
    """The next page of what is registered; of 512, which is the most and the default."""
    params = {"limit": "512"} | ({"after": turn.bookmark} if turn.bookmark else {})
    return Ask("/webhooks", params=params, tier="webhooks")


def read_hooks(
    ask: Ask, body: bytes, _turn: Turn
) -> tuple[Sequence[Registered], str | None]:
    """The webhooks of a page, and where the next one is."""
    try:
        page = _hooks(body)
    except UNREADABLE as bad:
        raise no_page(body, bad) from bad
    return [one.registered() for one in page.data], following(ask, page.pagination)


def add_hook(url: str, name: str, _secret: str) -> Ask:
    """Make one; the secret is Samsara's to choose."""
    wished = {"name": name, "url": url, "eventTypes": list(EVENT_TYPES)}
    return Ask("/webhooks", method="POST", json=wished, tier="writes")


def made_hook(body: bytes) -> Registered:
    """The webhook that an answer made, with its secret."""
    try:
        hook = _hook(body).registered()
    except UNREADABLE as bad:
        raise no_page(body, bad) from bad
    if not hook.secret:
        raise PayloadError("the webhook was made, and its secretKey not told")
    return hook


def remove_hook(named: str) -> Ask:
    return Ask(f"/webhooks/{quote(named, safe='')}", method="DELETE", tier="writes")


def change_hook(named: str, url: str, name: str, _secret: str) -> Ask:
    """Point it elsewhere; what it is told stays as it is."""
    path = f"/webhooks/{quote(named, safe='')}"
    return Ask(path, method="PATCH", json={"name": name, "url": url}, tier="writes")


HOOKS = Hooks(
    listing=ask_hooks,
    read=read_hooks,
    add=add_hook,
    made=made_hook,
    remove=remove_hook,
    change=change_hook,
    chooses_secret=True,
    scope="Read Webhooks and Write Webhooks",
    actions=EVENT_TYPES,
)
