"""The metrics page: what the log's rows count, what runs now, and what memory measured."""

from __future__ import annotations

import os
import resource
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Literal

from fleetd import __version__
from fleetd.event import KINDS
from fleetd.metrics import Family, Labels, Metrics, family
from fleetd.store.stats import Snapshot
from fleetd.tasks.report.rows import Live
from fleetd.tasks.report.shape import Document

Sample = tuple[Labels, float]
STATES = ("healthy", "degraded", "unhealthy")
RECORDS = frozenset({"received", "normalized", "empty"})
EVENTS = frozenset({"made", "stored", "duplicate", "filtered"})
SETTLED = frozenset({"delivered", "skipped", "dropped", "not_taken"})


def page(doc: Document, snap: Snapshot, live: Live, metrics: Metrics) -> bytes:
    """Everything, in the text format of Prometheus."""
    lines: list[str] = []
    for one in (*_counts(snap), *_states(doc), *_places(doc), *_box(doc, live)):
        lines.extend(family(one))
    lines.extend(metrics.text())
    return ("\n".join(lines) + "\n").encode()


def _counts(snap: Snapshot) -> Iterator[Family]:
    """The ledger's sums: they go on counting over a restart."""
    named = {one.id: one for one in snap.scopes}
    found: dict[str, Counter[tuple[tuple[str, str], ...]]] = {
        name: Counter() for name in ("records", "events", "deliveries", "requests")
    }
    for scope, kind, outcome, why, n in snap.sums.rows:
        one = named.get(scope)
        if outcome == "refused" and why != "unverified":
            name = one.name if one else ""
            found["requests"][("source", name), ("status", why)] += n
        elif one is None:
            continue
        elif one.side == "source" and outcome in RECORDS:
            found["records"][("source", one.name), ("outcome", outcome)] += n
        elif one.side == "source" and outcome in EVENTS:
            labels = ("source", one.name), ("kind", KINDS[kind]), ("outcome", outcome)
            found["events"][labels] += n
        elif one.side == "sink" and outcome in SETTLED:
            labels = ("sink", one.name), ("kind", KINDS[kind]), ("outcome", outcome)
            found["deliveries"][labels] += n
    helps = {
        "records": "Vendor records, by what became of them.",
        "events": "Events made of records, by what became of them.",
        "deliveries": "Events that a sink's cursor passed, by what became of them.",
        "requests": "Webhook requests that were refused, by status.",
    }
    names = {"requests": "fleetd_refused_requests_total"}
    for name, counts in found.items():
        yield Family(
            names.get(name, f"fleetd_{name}_total"), "counter", helps[name],
            [(dict(labels), n) for labels, n in sorted(counts.items())],
        )  # fmt: skip


def _states(doc: Document) -> Iterator[Family]:
    yield _gauge("fleetd_build_info", "Which fleetd this is.", [
        ({"version": __version__, "sqlite": doc.log.sqlite}, 1),
    ])  # fmt: skip
    yield _gauge("fleetd_state", "1 for the state fleetd is in.", [
        ({"state": one}, float(doc.state == one)) for one in STATES
    ])  # fmt: skip
    yield _gauge("fleetd_source_state", "1 for the state each source is in.", [
        ({"source": name, "state": one.state}, 1) for name, one in doc.sources.items()
    ])  # fmt: skip
    yield _gauge("fleetd_sink_state", "1 for the state each sink is in.", [
        ({"sink": name, "state": one.state}, 1) for name, one in doc.sinks.items()
    ])  # fmt: skip
    yield _counter("fleetd_task_restarts_total", "Times a task was run again.", [
        ({"task": name}, one.restarts) for name, one in doc.tasks.items()
    ])  # fmt: skip
    yield _gauge("fleetd_clock_trusted", "Whether this box's clock can be believed.", [
        ({}, float(doc.clock.state != "suspect")),
    ])  # fmt: skip


def _places(doc: Document) -> Iterator[Family]:
    sinks, sources = doc.sinks.items(), doc.sources.items()
    yield _gauge("fleetd_waiting_events", "Events a sink takes and has not decided.", [
        ({"sink": name}, one.waiting) for name, one in sinks
    ])  # fmt: skip
    yield _gauge("fleetd_oldest_waiting_seconds", "Age of the first event that waits.", [
        ({"sink": name}, one.oldest_waiting_s or 0.0) for name, one in sinks
    ])  # fmt: skip
    yield _gauge("fleetd_dead_letters", "Records and events set aside.", [
        *(({"side": "source", "name": name}, float(one.dead)) for name, one in sources),
        *(({"side": "sink", "name": name}, float(one.dead)) for name, one in sinks),
    ])  # fmt: skip
    yield _gauge("fleetd_unverified_bodies", "Bodies kept whose signature failed.", [
        ({"source": name}, one.unverified) for name, one in sources
    ])  # fmt: skip


def _box(doc: Document, live: Live) -> Iterator[Family]:
    log = doc.log
    yield _gauge("fleetd_last_received_timestamp_seconds", "When a source last spoke.", [
        ({"source": name}, ms / 1000) for name, ms in sorted(live.received.items())
        if name in doc.sources
    ])  # fmt: skip
    yield _gauge("fleetd_last_delivered_timestamp_seconds", "When a sink last took.", [
        ({"sink": name}, ms / 1000) for name, ms in sorted(live.taken.items())
        if name in doc.sinks
    ])  # fmt: skip
    yield _gauge(
        "fleetd_newest_seq", "The newest place in the log.", [({}, log.newest_seq)]
    )
    for name, help_, value in (
        ("fleetd_log_bytes", "Size of the log on the disk.", log.disk_bytes),
        ("fleetd_log_limit_bytes", "What the log may take.", log.max_disk_bytes),
        ("fleetd_wal_bytes", "Size of the write-ahead log.", log.wal_bytes),
        ("fleetd_free_bytes", "What is free on the log's filesystem.", log.free_bytes),
        ("fleetd_start_timestamp_seconds", "When fleetd started.",
         (live.started_ms or 0) / 1000),
    ):  # fmt: skip
        yield _gauge(name, help_, [({}, float(value))])
    yield from _process()


def _process() -> Iterator[Family]:
    yield _counter("fleetd_cpu_seconds_total", "Processor time used.", [
        ({}, round(time.process_time(), 3)),
    ])  # fmt: skip
    yield _gauge("fleetd_resident_memory_bytes", "Memory in use.", [({}, _resident())])
    with suppress(OSError):
        held = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
        yield _gauge("fleetd_open_descriptors", "File descriptors open.", [({}, held)])


def _resident() -> float:
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0
    return float(pages * resource.getpagesize())


def _gauge(name: str, help_: str, samples: list[Sample]) -> Family:
    return _family(name, "gauge", help_, samples)


def _counter(name: str, help_: str, samples: list[Sample]) -> Family:
    return _family(name, "counter", help_, samples)


def _family(
    name: str, kind: Literal["counter", "gauge"], help_: str, samples: list[Sample]
) -> Family:
    return Family(name, kind, help_, samples)
