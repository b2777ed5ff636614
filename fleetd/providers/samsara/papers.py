"""Samsara's paperwork: inspections, issues, services, documents and forms."""

from __future__ import annotations

from fleetd.event import MILES_PER_METRE, Document, Inspection, Maintenance
from fleetd.providers.reading import (
    Wire,
    flag,
    inner,
    moment,
    number,
    objects,
    rest,
    snake,
    texts,
    words,
)
from fleetd.providers.samsara.told import PARTIES, Told, Who, detailed, driver_of


def inspection(told: Told) -> Inspection:
    """A driver's inspection, with driver and vehicle inside it or beside it."""
    report = inner(told.data, "dvir") or told.data
    metres = number(report, "odometerMeters")
    kind = words(report, "type", "inspectionType")
    status = words(report, "safetyStatus")
    times = ("endTime", "dvirSubmissionTime", "startTime")
    return Inspection(
        **told.own(report, *times) | signer(told, report),
        type=snake(kind) if kind else None,
        status=snake(status) if status else None,
        defects=tuple(defect(one) for one in objects(report, "defects"))
        or tuple(f"defect {one}" for one in texts(report, "defectIds")),
        odometer=None if metres is None else metres * MILES_PER_METRE,
        place_name=words(report, "formattedLocation", "formattedAddress"),
        text=words(report, "mechanicNotes") or told.text,
        url=told.url,
    )


def signer(told: Told, report: Wire) -> Who:
    """The driver who signed, where no driver is named; a mechanic is none."""
    signature = inner(report, "authorSignature")
    if told.who["driver"] or words(signature, "type") != "driver":
        return {}
    return driver_of(inner(signature, "signatoryUser"))


def defect(one: Wire) -> str:
    """`Tires: tread low`, and whether it has been mended."""
    name, comment = words(one, "defectType", "name", "id"), words(one, "comment")
    text = ": ".join(part for part in (name, comment) if part) or "defect"
    return f"{text} (resolved)" if flag(one, "isResolved") else text


def missing_inspection(told: Told) -> Inspection:
    """An inspection that is past due: not the report, so not under the report's id."""
    return Inspection(
        **told.base(),
        type="missing",
        status="missing",
        text=told.text,
        url=told.url,
    )


def issue(told: Told) -> Maintenance:
    """Something that a driver or an inspection found to mend."""
    thing = inner(told.data, "issue") or told.data
    state = snake(words(thing, "status") or "") or None
    return detailed(
        told,
        of=Maintenance,
        kind="issue",
        **told.own(thing, "submittedAtTime", "createdAtTime"),
        text=words(thing, "title") or told.text,
        state=state,
        resolved=state in ("resolved", "dismissed") if state else told.resolved,
        started_at=moment(thing, "createdAtTime"),
        detail=rest(thing, "id", "title", "status", "asset"),
    )


def maintenance(told: Told, *, kind: str | None = None, key: str = "") -> Maintenance:
    """A service that is due, a work order, a prediction."""
    thing = inner(told.data, key) if key else {}
    named = told.own(thing, "updatedAtTime") if thing else {}
    text = words(thing or told.data, "title", "name", "description")
    state = words(thing or told.data, "status", "state")
    return detailed(
        told,
        of=Maintenance,
        kind=kind,
        **named,
        text=text or told.text,
        state=snake(state) if state else None,
    )


def document(told: Told) -> Document:
    """A document that a driver handed in."""
    thing = inner(told.data, "document") or told.data
    kind = inner(thing, "documentType")
    return detailed(
        told,
        of=Document,
        kind="document",
        **told.own(thing, "submittedAtTime", "createdAtTime"),
        text=words(thing, "name") or words(kind, "name") or told.text,
        state=words(thing, "state"),
        detail=rest(thing, "id", "name", "state", *PARTIES),
    )


def form(told: Told) -> Document:
    """A form. Its location is where it was sent from, so it stays among the details."""
    thing = inner(told.data, "form") or told.data
    return detailed(
        told,
        of=Document,
        kind="form",
        **told.own(thing, "submittedAtTime", "createdAtTime"),
        text=words(thing, "title") or told.text,
        state=words(thing, "status"),
        started_at=moment(thing, "createdAtTime"),
        ended_at=moment(thing, "submittedAtTime"),
        detail=rest(thing, "id", "title", "status", "asset"),
    )
