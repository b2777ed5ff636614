"""Replays and backfills as they are printed."""

from __future__ import annotations

from collections.abc import Sequence

from fleetd.config import House
from fleetd.event import moment_of, stamp
from fleetd.store import Job
from fleetd.store.jobs import absent_of
from fleetd.tasks.report.shape import JobDoc

MOST_JOBS = 50
TOLD = 3  # names of pieces
ENDED = frozenset({"done", "cancelled", "failed"})


def jobs_of(jobs: Sequence[Job], house: House) -> list[JobDoc]:
    """Jobs as they are printed: what runs, and the newest of what ended."""
    ended = [job for job in jobs if job.state in ENDED][-MOST_JOBS:]
    shown = sorted(
        [*ended, *(job for job in jobs if job.state not in ENDED)],
        key=lambda job: job.id,
    )
    return [_job(job, house) for job in shown]


def _job(job: Job, house: House) -> JobDoc:
    state, why = standing(job, house)
    spent = (job.changed_ms - job.created_ms) / 1000
    left = None
    if state == "running" and job.done:
        left = round(spent / job.done * (job.total - job.done), 1)
    records = job.cursor if job.kind == "backfill" else None
    spec = {key: one for key, one in job.spec.items() if key != "parts"}
    return JobDoc(
        job.id, job.kind, job.target, state, why, job.done, job.total,
        stamp(moment_of(job.created_ms)), stamp(moment_of(job.changed_ms)), spec, records, left,
    )  # fmt: skip


def standing(job: Job, house: House) -> tuple[str, str]:
    """Its state and why: one whose source or sink is gone from the file waits for it."""
    side = "source" if job.kind == "backfill" else "sink"
    there = house.sources if side == "source" else house.sinks
    if job.state == "running" and job.target not in there:
        gone = f"{side} {job.target} is no longer in {house.path.name}"
        return "waiting", f"{gone}; fleetd jobs cancel {job.id}"
    return job.state, "; ".join(one for one in (job.why, absent(job)) if one)


def absent(job: Job) -> str:
    """What to say of pieces that the vendor had nothing to tell of."""
    count, names = absent_of(job)
    if not count:
        return ""
    more = f" and {count - TOLD} more" if count > TOLD else ""
    return f"{count} of {job.total} not at the vendor: {', '.join(names[:TOLD])}{more}"
