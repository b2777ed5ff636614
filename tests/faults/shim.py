"""Steers the faults of a daemon's disk calls while it runs (see `faults.c`)."""

from __future__ import annotations

import mmap
import shutil
import struct
import subprocess
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

SYNC, WRITE, OPEN = 1, 2, 4
LOG_ONLY = 8  # with SYNC or WRITE: what a checkpoint does
READ = 16
FIELDS = (
    "kinds",
    "error",
    "after",
    "times",
    "delay_us",
    "clock",
    "calls",
    "failed",
)
FOR_EVER = 1 << 40


class Faults:
    """The plan in shared memory; `environ` is what the daemon needs to follow it."""

    def __init__(self, folder: Path, under: Path) -> None:
        path = folder / "faults.plan"
        path.write_bytes(bytes(8 * len(FIELDS)))
        with path.open("r+b") as file:
            self._plan = mmap.mmap(file.fileno(), 0)
        self.environ = {
            "LD_PRELOAD": str(library()),
            "FAULTS_PLAN": str(path),
            "FAULTS_UNDER": str(under),
        }

    def _put(self, name: str, value: int) -> None:
        struct.pack_into("q", self._plan, 8 * FIELDS.index(name), value)

    def _get(self, name: str) -> int:
        found: int = struct.unpack_from("q", self._plan, 8 * FIELDS.index(name))[0]
        return found

    def fail(
        self, kinds: int, error: int, *, after: int = 0, times: int = FOR_EVER
    ) -> None:
        """From now on `after` such calls go well, and then so many fail."""
        self.mend()
        for name, value in (("kinds", kinds), ("after", after), ("times", times)):
            self._put(name, value)
        self._put("error", error)  # last: this arms it

    def mend(self) -> None:
        """Nothing fails any more."""
        for name in ("error", "calls", "failed"):
            self._put(name, 0)

    def slow_syncs(self, seconds: float) -> None:
        """Let every sync wait so long first."""
        self._put("delay_us", int(seconds * 1e6))

    def clock(self, *, kept: bool) -> None:
        """Let the kernel say whether NTP keeps the clock."""
        self._put("clock", 2 if kept else 1)

    @property
    def failed(self) -> int:
        """How many calls were made to fail since the plan was made."""
        return self._get("failed")

    @property
    def calls(self) -> int:
        """How many such calls there were since the plan was made."""
        return self._get("calls")


@cache
def library() -> Path:
    """Compile the shim, once a run of the tests."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise RuntimeError("no C compiler: apt-get install gcc libc6-dev")
    folder = TemporaryDirectory(prefix="fleetd-faults-")
    kept.append(folder)
    made = Path(folder.name) / "faults.so"
    source = Path(__file__).with_name("faults.c")
    flags = ["-O2", "-Wall", "-Wextra", "-shared", "-fPIC", "-o", str(made)]
    subprocess.run([compiler, *flags, str(source), "-ldl"], check=True)
    return made


kept: list[TemporaryDirectory[str]] = []  # removed when the run ends
