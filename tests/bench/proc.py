"""What the kernel says of a process and its children: processor time and memory."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(roots: Iterable[int]) -> float:
    """Sum user and system time of whole process trees, with all threads."""
    return sum(ticks(pid) for pid in family(roots)) / TICKS


def memory_mb(roots: Iterable[int], field: str = "VmRSS") -> float:
    """Sum VmRSS (now) or VmHWM (the peak) of whole process trees, in 10^6 bytes."""
    return sum(kilobytes(pid, field) for pid in family(roots)) * 1024 / 1e6


class Busy:
    """How busy the machine is from now on, whoever keeps it so."""

    def __init__(self) -> None:
        self._began, self._ticks = time.monotonic(), busy_ticks()

    def cores(self, ours_s: float) -> float:
        """Cores that were busy with anything but our own seconds."""
        seconds = time.monotonic() - self._began
        return ((busy_ticks() - self._ticks) / TICKS - ours_s) / seconds


def busy_ticks() -> int:
    fields = Path("/proc/stat").read_text().splitlines()[0].split()
    user, nice, system, _idle, _iowait, *rest = map(int, fields[1:9])
    return user + nice + system + sum(rest)


def family(roots: Iterable[int]) -> set[int]:
    found, parents = set(roots), {pid: parent(pid) for pid in all_pids()}
    while more := {pid for pid, of in parents.items() if of in found} - found:
        found |= more
    return found


def all_pids() -> list[int]:
    return [int(one.name) for one in Path("/proc").iterdir() if one.name.isdigit()]


def stat(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return ["?"] * 50


def parent(pid: int) -> int:
    said = stat(pid)[1]
    return int(said) if said != "?" else 0


def ticks(pid: int) -> int:
    fields = stat(pid)
    return int(fields[11]) + int(fields[12]) if fields[0] != "?" else 0


def kilobytes(pid: int, field: str) -> int:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    lines = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    return int(lines.get(field, "0 kB").split()[0])
