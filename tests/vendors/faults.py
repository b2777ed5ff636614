"""What goes wrong at a simulated vendor, how often, and from when to when."""

from __future__ import annotations

import random
import re
from typing import Any

import msgspec
from msgspec import Struct

from tests.vendors.truth import draw

PAGE = b"<!DOCTYPE html><html><head><title>502</title></head><body>Bad gateway</body></html>"


class Faults(Struct, kw_only=True, forbid_unknown_fields=True):
    """Rates are shares of all requests (0 to 1), but for those that say of what.

    Times are seconds since 1970 by the simulator's own clock. `only` is a pattern of
    the paths that rates and `fails` apply to.
    """

    seed: int = 1
    only: str = ""
    busy: float = 0.0  # 429, though no limit was reached
    busy_s: tuple[float, float] = (0.05, 0.6)  # its Retry-After
    failing: float = 0.0  # 500, 502, 503
    html: float = 0.0  # a page for people, with a 200
    cut: float = 0.0  # a 200 whose JSON ends in its middle
    reset: float = 0.0  # the connection breaks in the middle of the answer
    slow: float = 0.0
    slow_s: tuple[float, float] = (0.2, 1.0)
    outages: list[tuple[float, float]] = []  # from, to: connections are cut unanswered
    fails: dict[str, int] = {}  # pattern of "path?query": so many 500s to come
    twice: float = 0.0  # share of records that come twice in a page
    shuffled: float = 0.0  # share of pages whose records are out of order
    late: float = 0.0  # share of vehicle-hours whose records come `late_s` after
    late_s: int = 5400
    offline: dict[int, tuple[int, int]] = {}  # vehicle -> from when, until it is back
    missing: float = 0.0  # share that a listing leaves out
    empty: bool = False  # listings are empty
    poison: dict[int, list[int]] = {}  # vehicle -> times of fixes that cannot be read


NAMED: dict[str, dict[str, Any]] = {
    "none": {},
    "light": {"busy": 0.01, "failing": 0.01, "twice": 0.01, "shuffled": 0.1},
    "heavy": {
        "busy": 0.04, "failing": 0.04, "html": 0.01, "cut": 0.01, "reset": 0.02,
        "slow": 0.04, "twice": 0.02, "shuffled": 0.2, "late": 0.05, "late_s": 600,
    },
}  # fmt: skip


def named(text: str) -> Faults:
    """`none`, `light`, `heavy`, or knobs as JSON."""
    return msgspec.convert(NAMED.get(text) or _knobs(text), Faults, str_keys=True)


def _knobs(text: str) -> dict[str, Any]:
    found: dict[str, Any] = {} if text in NAMED else msgspec.json.decode(text)
    return found


def changed(faults: Faults, knobs: dict[str, Any]) -> Faults:
    """The same with some knobs turned."""
    every = {**msgspec.structs.asdict(faults), **knobs}
    return msgspec.convert(every, Faults, str_keys=True)


class Dice:
    """Chance from the seed of the faults, thrown once a request."""

    def __init__(self, faults: Faults) -> None:
        self.faults = faults
        self.chance = random.Random(faults.seed)

    def fell(self, path: str) -> str:
        """What goes wrong with this request: the name of a knob, or nothing."""
        faults = self.faults
        if faults.only and not re.search(faults.only, path):
            return ""
        for pattern, left in faults.fails.items():
            if left > 0 and re.search(pattern, path):
                faults.fails[pattern] = left - 1
                return "failing"
        luck = self.chance.random()
        for knob in ("busy", "failing", "html", "cut", "reset", "slow"):
            luck -= getattr(faults, knob)
            if luck < 0:
                return knob
        return ""

    def between(self, span: tuple[float, float]) -> float:
        return self.chance.uniform(*span)

    @property
    def tardy(self) -> int:
        """How late a record can come, at most."""
        faults = self.faults
        late = 3600 + faults.late_s if faults.late else 0
        away = max((to - since for since, to in faults.offline.values()), default=0)
        return max(late, away)

    def known_at(self, vehicle: int, at: int) -> int:
        """When the vendor has a record: at once, or late for a whole hour of a vehicle."""
        faults = self.faults
        away = faults.offline.get(vehicle)
        if away is not None and away[0] <= at < away[1]:
            return away[1]
        if not faults.late:
            return at
        hour = at // 3600
        if draw("late", faults.seed, vehicle, hour) < faults.late:
            return hour * 3600 + 3600 + faults.late_s
        return at
