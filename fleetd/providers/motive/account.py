"""Motive's account: whose key it is, what it refuses, and the webhooks that it keeps.

Its list of webhooks (https://developer.gomotive.com/reference/company-webhooks-overview)
takes a secret of our choice; on every change it posts a signed probe, and keeps a
webhook off that is not answered 200 or 201. No more than two webhooks may be active for
an action: another product may hold both places. It repeats the secrets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from urllib.parse import quote as percent

from fleetd.errors import AbsentError, HeldError, PayloadError
from fleetd.event import text
from fleetd.providers.contract import (
    Answer,
    Ask,
    Hooks,
    Probe,
    Registered,
    Turn,
)
from fleetd.providers.motive.history import PATH as HISTORY
from fleetd.providers.motive.paging import (
    complaint,
    paged,
    sheet,
    token_of,
    walk_of,
    went,
)
from fleetd.providers.reading import Wire, flag, inner, loads, objects, words

WEBHOOKS = "/v1/company_webhooks"
JUDGED_ELSEWHERE = frozenset({401, 403, 408, 425, 429})
quote = partial(percent, safe="")
ACTIONS = (  # `vehicle_location_updated` says nothing that `received` does not
    "vehicle_location_received", "vehicle_geofence_event", "asset_geofence_event",
    "fault_code_opened", "fault_code_closed", "hos_violation_upserted",
    "user_upserted", "vehicle_upserted", "user_duty_status_updated",
    "inspection_report_upserted", "driver_performance_event_created",
    "driver_performance_event_updated", "speeding_event_created",
    "speeding_event_updated", "engine_toggle_event", "vehicle_gateway_disconnected",
    "vehicle_gateway_disconnect_ended", "ai_coach_recap_created",
)  # fmt: skip


def authorize(token: str) -> Mapping[str, str]:
    """The headers of a request for the token of a company."""
    return {"X-Api-Key": token}


def judge(ask: Ask, answer: Answer) -> None:
    """Say what Motive says of a refusal (`error_message`); an unknown vehicle is no fault.

    Wrong keys and limits are told by the status alone.
    """
    status = answer.status
    if not 400 <= status < 500 or status in JUDGED_ELSEWHERE:
        return
    why = complaint(answer.body)
    if status == 404 and ask.path.startswith(HISTORY):
        raise AbsentError(f"{ask.path}: Motive knows no such vehicle{why}")
    raise HeldError(f"{ask.path}: answered {status}{why}", status=status)


def owners(body: bytes) -> Sequence[str]:
    """Ids and names of the companies that a key speaks for."""
    told = loads(body)
    listed = [inner(one, "company") or one for one in objects(told, "companies")]
    found = listed or [inner(told, "company")]
    names = [
        name
        for one in found
        for key in ("id", "company_id", "name", "company_name")
        if (name := words(one, key))
    ]
    if not names:
        raise PayloadError(f"no company in it{complaint(body)}")
    return tuple(dict.fromkeys(names))


def list_hooks(turn: Turn) -> Ask:
    return paged(WEBHOOKS, walk_of(turn.bookmark), {})


def read_hooks(
    _ask: Ask, body: bytes, turn: Turn
) -> tuple[Sequence[Registered], str | None]:
    """One page of what is registered, without the secrets in it."""
    page = sheet(body, "company_webhooks", "company_webhook")
    onward = went(walk_of(turn.bookmark), page, tries=1).onward
    found = [registered(loads(one)) for one in page.items]
    return found, None if onward is None else token_of(onward)


def registered(told: Wire) -> Registered:
    """A webhook as the list has it; it has no name there."""
    listed = told.get("actions")
    actions = (text(one) for one in listed) if isinstance(listed, list) else ()
    return Registered(
        id=words(told, "id") or "",
        url=words(told, "url") or "",
        enabled=flag(told, "enabled"),
        actions=tuple(one for one in actions if one),
    )


def add_hook(url: str, _name: str, secret: str) -> Ask:
    """Every action there is, some of which only companies on version 2 have."""
    return Ask(WEBHOOKS, method="POST", json=asked_for(url, secret))


def change_hook(id_: str, url: str, _name: str, secret: str) -> Ask:
    """Another URL or secret; the probe comes again, signed with the new one."""
    return Ask(f"{WEBHOOKS}/{quote(id_)}", method="PUT", json=asked_for(url, secret))


def asked_for(url: str, secret: str) -> Wire:
    """A webhook as Motive wants it said."""
    told: Wire = {
        "url": url,
        "format": "json",
        "actions": list(ACTIONS),
        "enabled": True,
    }
    return told | ({"secret": secret} if secret else {})


def made_hook(body: bytes) -> Registered:
    """The answer to a webhook that was made or changed."""
    told = loads(body)
    found = registered(inner(told, "company_webhook") or told)
    if not found.id:
        raise PayloadError(f"no company_webhook in it{complaint(body)}")
    return found


def remove_hook(id_: str) -> Ask:
    return Ask(f"{WEBHOOKS}/{quote(id_)}", method="DELETE")


WHOAMI = Probe(Ask("/v1/companies"), owners)
HOOKS = Hooks(
    listing=list_hooks,
    read=read_hooks,
    add=add_hook,
    made=made_hook,
    remove=remove_hook,
    change=change_hook,
    scope="company_webhooks.manage",
    actions=ACTIONS,
    slots=2,
)
