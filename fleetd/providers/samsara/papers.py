"""Samsara's paperwork: inspections, issues, services, documents and forms."""

from __future__ import annotations

from datetime import datetime

from fleetd.event import MILES_PER_METRE, Document, Inspection, Maintenance, millis
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
    when_ms,
    words,
)
from fleetd.providers.samsara.told import PARTIES, Told, Who, detailed, driver_of

SIGNATURES = ("authorSignature", "secondSignature", "thirdSignature")
WRITTEN_MS = 60_000  # so soon after the last signature it is written, and told


def inspection(told: Told) -> Inspection:
    """A driver's inspection, with driver and vehicle inside it or beside it.

    A poll names defects by id alone. Their words are `text` as well: where the poll came
    first, the push still fills that in.
    """
    report = inner(told.data, "dvir") or told.data
    metres = number(report, "odometerMeters")
    kind = words(report, "type", "inspectionType")
    status = words(report, "safetyStatus")
    base = told.own(report, "endTime", "dvirSubmissionTime", "startTime")
    if not told.alert and base["at"] and base["revision"]:
        base["revision"] = revised(report, base["at"], base["revision"])
    defects = tuple(defect(one) for one in objects(report, "defects"))
    return Inspection(
        **base | signer(told, report),
        type=snake(kind) if kind else None,
        status=snake(status) if status else None,
        defects=defects or tuple(f"defect {one}" for one in texts(report, "defectIds")),
        odometer=None if metres is None else metres * MILES_PER_METRE,
        place_name=words(report, "formattedLocation", "formattedAddress"),
        text=words(report, "mechanicNotes") or told.text or "; ".join(defects) or None,
        url=told.url,
    )


def revised(report: Wire, at: datetime, told_ms: int) -> int:
    """The second it was last signed: of its telling both roads say another time.

    What is told a minute later or more has changed since, and that is its revision.
    Resolved without a signature, it is newer than it was in the same second.
    """
    times = (when_ms(inner(report, one), "signedAtTime") or 0 for one in SIGNATURES)
    signed = max(millis(at), *times) // 1000 * 1000
    if abs(told_ms - signed) >= WRITTEN_MS:
        return told_ms
    return signed + ((words(report, "safetyStatus") or "").lower() == "resolved")


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
