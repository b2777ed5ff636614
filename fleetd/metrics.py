"""Counters, gauges and histograms, and the text in which Prometheus reads them.

What the log's own rows count is read from there and survives a restart; here is only
what no row knows: how long answers, commits and deliveries took.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, Literal

from msgspec import Struct

SECONDS: Final = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
)  # fmt: skip
CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
Labels = Mapping[str, str]


class Histogram:
    """How long something took; `observe` costs a halving of a short list."""

    def __init__(self, bounds: tuple[float, ...] = SECONDS) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    @property
    def count(self) -> int:
        return sum(self.counts)

    def observe(self, seconds: float) -> None:
        self.counts[bisect_left(self.bounds, seconds)] += 1
        self.sum += seconds

    def quantile(self, q: float) -> float | None:
        """The bound below which the share `q` lies; None before the first one."""
        wanted, seen = q * self.count, 0
        if not wanted:
            return None
        for bound, n in zip((*self.bounds, float("inf")), self.counts, strict=True):
            seen += n
            if seen >= wanted:
                return bound
        return None


class Family(Struct, frozen=True):
    """One metric with its samples, each (labels, value)."""

    name: str
    kind: Literal["counter", "gauge"]
    help: str
    samples: Iterable[tuple[Labels, float]]


class Metrics:
    """What is measured in memory; it begins at zero with the process."""

    def __init__(self) -> None:
        self.answer = Histogram()
        self.commit = Histogram()
        self.delivery: dict[str, Histogram] = {}
        self.answers: Counter[tuple[str, int]] = Counter()
        self.verdicts: Counter[tuple[str, str]] = Counter()

    def answered(self, source: str, status: int, seconds: float) -> None:
        """One webhook was answered."""
        self.answers[source, status] += 1
        self.answer.observe(seconds)

    def committed(self, seconds: float) -> None:
        """One group commit is on the disk."""
        self.commit.observe(seconds)

    def delivered(self, sink: str, verdict: str, seconds: float) -> None:
        """One delivery request came back, and what its answer meant."""
        self.verdicts[sink, verdict] += 1
        self.delivery.setdefault(sink, Histogram()).observe(seconds)

    def text(self) -> Iterator[str]:
        """The families measured here."""
        yield from histogram(
            "fleetd_answer_seconds",
            "Time from a whole webhook request to its answer.",
            [({}, self.answer)],
        )
        yield from histogram(
            "fleetd_commit_seconds",
            "Time of one group commit, its fsync included.",
            [({}, self.commit)],
        )
        yield from histogram(
            "fleetd_delivery_seconds",
            "Time of one delivery request.",
            [({"sink": name}, one) for name, one in sorted(self.delivery.items())],
        )
        verdicts = sorted(self.verdicts.items())
        yield from family(Family(
            "fleetd_requests_total", "counter", "Delivery requests, by verdict.",
            [({"sink": name, "verdict": verdict}, n) for (name, verdict), n in verdicts],
        ))  # fmt: skip
        yield from family(Family(
            "fleetd_answers_total", "counter", "Webhook requests answered, by status.",
            [({"source": name, "status": str(status)}, n)
             for (name, status), n in sorted(self.answers.items())],
        ))  # fmt: skip
        yield from family(Family(
            "fleetd_attempts_total", "counter", "Delivery requests, by verdict.",
            [({"sink": name, "verdict": verdict}, n)
             for (name, verdict), n in sorted(self.verdicts.items())],
        ))  # fmt: skip


def family(one: Family) -> Iterator[str]:
    """The lines of a counter or gauge; none at all while it has no sample."""
    samples = list(one.samples)
    if not samples:
        return
    yield f"# HELP {one.name} {one.help}"
    yield f"# TYPE {one.name} {one.kind}"
    for labels, value in samples:
        yield f"{one.name}{_labels(labels)} {number(value)}"


def histogram(
    name: str, help_: str, samples: Iterable[tuple[Labels, Histogram]]
) -> Iterator[str]:
    """The lines of a histogram."""
    listed = list(samples)
    if not listed:
        return
    yield f"# HELP {name} {help_}"
    yield f"# TYPE {name} histogram"
    for labels, one in listed:
        seen, counts = 0, list(one.counts)
        for bound, n in zip((*one.bounds, float("inf")), counts, strict=True):
            seen += n
            yield f"{name}_bucket{_labels({**labels, 'le': number(bound)})} {seen}"
        yield f"{name}_sum{_labels(labels)} {number(one.sum)}"
        yield f"{name}_count{_labels(labels)} {seen}"


def number(value: float) -> str:
    """A value as Prometheus reads it."""
    if value == float("inf"):
        return "+Inf"
    return str(int(value)) if value == int(value) else repr(float(value))


def _labels(labels: Labels) -> str:
    if not labels:
        return ""
    inner = ",".join(f'{key}="{_escaped(value)}"' for key, value in labels.items())
    return "{" + inner + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
