"""Replays and backfills as they are printed."""

from __future__ import annotations

from collections.abc import Sequence

from fleetd.event import moment_of, stamp
from fleetd.store import Job
from fleetd.tasks.report.shape import JobDoc

MOST_JOBS = 50
ENDED = frozenset({"done", "cancelled", "failed"})


def jobs_of(jobs: Sequence[Job]) -> list[JobDoc]:
    """Jobs as they are printed: what runs, and the newest of what ended."""
    ended = [job for job in jobs if job.state in ENDED][-MOST_JOBS:]
    shown = sorted(
        [*ended, *(job for job in jobs if job.state not in ENDED)],
        key=lambda job: job.id,
    )
    return [_job(job) for job in shown]


def _job(job: Job) -> JobDoc:
    spent = (job.changed_ms - job.created_ms) / 1000
    left = None
    if job.state == "running" and job.done:
        left = round(spent / job.done * (job.total - job.done), 1)
    records = job.cursor if job.kind == "backfill" else None
    spec = {key: one for key, one in job.spec.items() if key != "parts"}
    return JobDoc(
        job.id, job.kind, job.target, job.state, job.why, job.done, job.total,
        stamp(moment_of(job.created_ms)), stamp(moment_of(job.changed_ms)), spec, records, left,
    )  # fmt: skip
