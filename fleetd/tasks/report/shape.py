"""What `status --json` holds: keys that stay."""

from __future__ import annotations

from typing import Any

from msgspec import Struct


class ClockDoc(Struct, frozen=True):
    """Whether the box's clock can be believed."""

    state: str = "ok"
    why: str = ""


class LogDoc(Struct, frozen=True):
    """The log and its disk."""

    id: str
    folder: str
    newest_seq: int
    oldest_seq: int | None
    oldest_received_at: str | None
    events: int
    disk_bytes: int
    max_disk_bytes: int
    free_bytes: int
    wal_bytes: int
    full_in_hours: float | None
    pinned_by: str | None
    durability: str
    sqlite: str
    fsync_p99_ms: float | None
    ballast: bool


class FeedDoc(Struct, frozen=True):
    """One polled feed of a source.

    `bookmark_age_s` is how long ago it last got a page; of one that is asked vehicle by
    vehicle, the vehicle that waits longest.
    """

    state: str
    why: str
    last_success_at: str | None
    records: int
    bookmark_age_s: float | None


class SourceDoc(Struct, frozen=True):
    """One source; the counts are of its whole life.

    `drift` are events of a type that its provider does not know, kept as `other`;
    `silent_vehicles` have told no position for longer than is their habit. `budget` is
    what it uses of the requests that its vendor allows, for what waits in which rank.
    """

    provider: str
    state: str
    why: str
    received: int
    stored: int
    duplicate: int
    filtered: int
    dead: int
    refused: int
    unverified: int
    drift: int
    last_received_at: str | None
    receives: bool
    feeds: dict[str, FeedDoc]
    silent_vehicles: int = 0
    budget: dict[str, Any] | None = None


class SinkDoc(Struct, frozen=True):
    """One sink; `waiting` counts what it takes and has not decided about."""

    kind: str
    state: str
    why: str
    cursor: int
    waiting: int
    waiting_safety: int
    oldest_waiting_s: float | None
    delivered: int
    skipped: int
    dead: int
    rate_per_s: float | None
    empty_at: str | None
    last_success_at: str | None


class TaskDoc(Struct, frozen=True):
    """One supervised loop."""

    state: str
    restarts: int
    why: str = ""


class JobDoc(Struct, frozen=True):
    """One replay or backfill.

    `done` and `total` count events of a replay, and windows of a backfill, of which
    `records` came so far; `left_s` is how long the rest takes if it goes on like that.
    """

    id: int
    kind: str
    target: str
    state: str
    why: str
    done: int
    total: int
    created_at: str | None
    changed_at: str | None
    spec: dict[str, Any]
    records: int | None = None
    left_s: float | None = None


class Document(Struct, frozen=True):
    """The whole of `status --json`, `/api/status` and `/health`."""

    state: str
    reasons: list[str]
    version: str
    pid: int | None
    config: str
    started_at: str | None
    now: str
    clock: ClockDoc
    log: LogDoc
    sources: dict[str, SourceDoc]
    sinks: dict[str, SinkDoc]
    tasks: dict[str, TaskDoc]
    jobs: list[JobDoc]
    config_refused: str = ""  # why the file was not taken at the last reload
