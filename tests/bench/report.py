"""The one JSON document a bench prints: the machine, the budgets, the figures behind them."""

from __future__ import annotations

import os
import platform
import sqlite3
import statistics
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import apsw
import msgspec


class Budget(msgspec.Struct, frozen=True):
    name: str
    budget: str
    measured: float
    met: bool


class Spread(msgspec.Struct, frozen=True):
    min: float
    median: float
    max: float
    values: list[float]


class Machine(msgspec.Struct, frozen=True):
    cpu: str
    cores: int
    memory_mb: int
    kernel: str
    python: str
    sqlite: str
    sqlite_of_python: str
    filesystem: str


class Report(msgspec.Struct, frozen=True):
    name: str
    machine: Machine
    options: dict[str, Any]
    budgets: list[Budget]
    figures: dict[str, Spread]
    notes: list[str]
    raw: list[dict[str, Any]]


def at_least(name: str, budget: float, measured: float) -> Budget:
    return Budget(name, f">= {budget:g}", round(measured, 3), measured >= budget)


def at_most(name: str, budget: float, measured: float) -> Budget:
    return Budget(name, f"<= {budget:g}", round(measured, 3), measured <= budget)


def spread(values: Iterable[float]) -> Spread:
    every = [round(value, 3) for value in values]
    return Spread(min(every), round(statistics.median(every), 3), max(every), every)


def machine(folder: Path) -> Machine:
    pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    return Machine(
        cpu=cpu_model(),
        cores=len(os.sched_getaffinity(0)),
        memory_mb=pages * size // 1_000_000,
        kernel=platform.release(),
        python=platform.python_version(),
        sqlite=apsw.sqlite_lib_version(),
        sqlite_of_python=sqlite3.sqlite_version,
        filesystem=filesystem(folder),
    )


def cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def filesystem(folder: Path) -> str:
    """Name the type of the filesystem a folder lies on."""
    device = folder.stat().st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        facts, _, rest = line.partition(" - ")
        if facts.split()[2] == wanted:
            return rest.split()[0]
    return "unknown"


def say(text: str) -> None:
    """Progress goes to stderr; stdout is for the document."""
    print(text, file=sys.stderr, flush=True)
