"""A daemon with simulated vendors before it: configured, filled, and held to the truth."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tests.harness import Fleetd
from tests.proofs.roads import PAIR, SECRET
from tests.vendors.base import COLUMNS

SIXTH = Path(__file__).with_name("sixth")
CLOSE = {"latitude": 1e-6, "longitude": 1e-6}  # what a vendor rounds, we cannot know
NEAR = 2e-3  # of anything else that is a number: a tenth of a km/h, a metre
UNITS = {"speed_mph", "odometer"}  # of a fix whose units nobody told, and that says so
Row = Mapping[str, Any]


class House(Fleetd):
    """A daemon that also knows the vendors of one more folder."""

    def __init__(self, folder: Path, config: str = "", **more: Any) -> None:
        providers = more.pop("providers", SIXTH)
        environ = {
            "PLUGGED_PROVIDERS": str(providers),
            "SIM_TOKEN": "key",
            "SIM_SECRET": SECRET,
            "SIM_PAIR": PAIR,
            **more.pop("environ", {}),
        }
        super().__init__(
            folder, config, environ=environ, program="tests.proofs.plugged", **more
        )

    def positions(self, *words: str) -> dict[str, Row]:
        """Every stored fix by id: the 14 columns, and its flags."""
        found: dict[str, Row] = {}
        for one in self.all("--kind", "position", *words):
            assert one["id"] not in found or one["revision"] > 0, one
            found[one["id"]] = {**one["data"], "flags": one["flags"]}
        return found

    def all(self, *words: str) -> list[dict[str, Any]]:
        """What `events --json` prints, all of it."""
        done = self.run("events", "--json", "-n", "0", *words)
        return [json.loads(one) for one in done.stdout.splitlines()]

    def asked_lines(self, *words: str) -> list[dict[str, Any]]:
        """What a command lists, an object a line."""
        done = self.run(*words, "--json")
        return [json.loads(one) for one in done.stdout.splitlines()]

    def stored(self, source: str = "north") -> int:
        return int(self.status()["sources"][source]["stored"])


def key_of(row: Row) -> tuple[str, str]:
    """What tells one fix from another in a table: vehicle and time."""
    return str(row["provider_vehicle_id"]), str(row["timestamp"])


def by_key(rows: Iterable[Row]) -> dict[tuple[str, str], Row]:
    return {key_of(one): one for one in rows}


def differences(
    found: Iterable[Row], truth: Iterable[Row], columns: Iterable[str] = COLUMNS
) -> list[str]:
    """What is missing, too much, or says something else, a line each."""
    ours, theirs = by_key(found), by_key(truth)
    lines = [f"missing {key}" for key in theirs.keys() - ours.keys()]
    lines += [f"never driven {key}" for key in ours.keys() - theirs.keys()]
    for key in sorted(ours.keys() & theirs.keys()):
        assumed = UNITS if "units_assumed" in ours[key].get("flags", ()) else set()
        for name in sorted(set(columns) - assumed):
            one, two = ours[key][name], theirs[key][name]
            if not same(name, one, two):
                lines.append(f"{key} {name}: {one!r}, driven {two!r}")
    return sorted(lines)


def same(name: str, one: Any, two: Any) -> bool:
    if isinstance(one, int | float) and isinstance(two, int | float):
        return math.isclose(one, two, rel_tol=1e-9, abs_tol=CLOSE.get(name, NEAR))
    return bool(one == two)
