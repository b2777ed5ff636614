"""Samsara's alerts, of both payload generations: one incident, one event."""

from __future__ import annotations

from fleetd.event import AnyEvent
from fleetd.providers.reading import (
    Wire,
    count,
    flag,
    inner,
    link,
    moment,
    near,
    objects,
    rest,
    snake,
    when_ms,
    words,
)
from fleetd.providers.samsara.kinds import alert
from fleetd.providers.samsara.readers import CONDITIONS, READERS, TRIGGER_IDS
from fleetd.providers.samsara.told import WHO, Told, who

URGENT = frozenset({"panic_button", "worker_safety_sos"})
PARTS = {  # of older details, which stand there without their trigger's key
    "data", "document", "dvir", "form", "issue", "location", "route", "routeStopDetails",
}  # fmt: skip
BESIDE = WHO | PARTS | {"tags"}


def incident(body: Wire, named: str) -> AnyEvent:
    """An `AlertIncident`: told again when it changes, then a revision of the same id.

    Of several conditions the urgent one says what it is, else the first we know.
    """
    data = inner(body, "data")
    conditions = objects(data, "conditions")
    trigger, details = leading(conditions)
    every = [inner(one, "details") for one in conditions]
    at = moment(data, "happenedAtTime") or moment(body, "eventTime")
    said = (words(one, "description") for one in conditions)
    whose = who(details, *every, data)
    told = Told(
        type=trigger,
        data=payload(trigger, details),
        id=identity(data, (details, *every, data), whose["vehicle"] or whose["driver"])
        or named,
        who=whose,
        at=at,
        revision=when_ms(data, "updatedAtTime") or when_ms(body, "eventTime"),
        alert=True,
        text=" and ".join(one for one in said if one) or None,
        url=link(data, "incidentUrl"),
        resolved=flag(data, "isResolved"),
        ended_at=moment(data, "resolvedAtTime"),
    )
    return READERS.get(trigger, alert)(told)


def identity(data: Wire, layers: tuple[Wire, ...], known: str | None) -> str | None:
    """`configurationId@happenedAtTime@object`: vehicle, driver, or what there is."""
    rule, ms = words(data, "configurationId"), when_ms(data, "happenedAtTime")
    if rule is None or ms is None:
        return None
    things = (one for layer in layers for one in near(layer, ABOUT).values())
    ids = (found for one in things if (found := words(one, "id")))
    return f"{rule}@{ms}@{known or next(ids, '')}"


ABOUT = WHO | {
    "sensor",
    "machineInput",
    "site",
    "onvifCameraStream",
    "workforceCameraDevice",
}


def leading(conditions: list[Wire]) -> tuple[str, Wire]:
    """The trigger that says what an incident is, and its details."""
    found = [(trigger_of(one), inner(one, "details")) for one in conditions]
    for wanted in (URGENT, READERS.keys()):
        for trigger, details in found:
            if trigger in wanted:
                return trigger, details
    return found[0] if found else ("alert", {})


def trigger_of(condition: Wire) -> str:
    """The key in `details` that is no party to it, else what the number stands for.

    A null names it where it stands alone, or where the number says the same.
    """
    details = inner(condition, "details")
    inside = {snake(k): one for k, one in details.items() if k not in BESIDE}
    keys = [key for key, one in inside.items() if isinstance(one, dict)]
    bare = [key for key, one in inside.items() if one is None and key in READERS]
    known = next((one for one in keys if one in READERS), None)
    said = TRIGGER_IDS.get(count(condition, "triggerId") or 0)
    if known is None and said in bare:
        return said
    alone = bare[0] if len(bare) == 1 and not keys else None
    return known or next(iter(keys), None) or alone or said or "alert"


def payload(trigger: str, details: Wire) -> Wire:
    """What stands under the trigger's key, or `details` itself in older webhooks."""
    under = next((key for key in details if snake(key) == trigger), None)
    inside = details.get(under) if under else None
    return inside if isinstance(inside, dict) else details


def first_generation(body: Wire, named: str) -> AnyEvent:
    """A webhooks 1.0 alert; its words are localised, only the condition's id counts."""
    event = inner(body, "event")
    condition = snake(words(event, "alertConditionId") or "alert")
    trigger = CONDITIONS.get(condition, condition)
    told = Told(
        type=trigger,
        data=rest(event, *ELSEWHERE),
        id=words(body, "eventId") or named,
        who=who(event),
        at=moment(event, "startMs") or moment(body, "eventMs"),
        alert=True,
        text=words(event, "details", "summary", "alertConditionDescription"),
        url=link(event, "alertEventUrl"),
        resolved=flag(event, "resolved"),
        ended_at=moment(event, "endMs"),
    )
    return READERS.get(trigger, alert)(told)


ELSEWHERE = ("details", "alertEventUrl", "orgId", "resolved", "startMs", "endMs")
