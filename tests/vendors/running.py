"""A simulator as a process of its own, for tests with a real daemon."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

ROOT = Path(__file__).parents[2]


class Running:
    """`with Running("samsara", vehicles=5, faults="heavy") as sim: sim.url ...`"""

    def __init__(self, vendor: str, **wishes: object) -> None:
        words = [
            f"--{name.replace('_', '-')}={value}" for name, value in wishes.items()
        ]
        self.child = subprocess.Popen(
            [sys.executable, "-m", f"tests.vendors.{vendor}", *words],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            cwd=ROOT,
        )
        assert self.child.stdout is not None
        line = self.child.stdout.readline()
        if not line:
            raise AssertionError(f"{vendor} did not start: {self.child.wait()}")
        told = json.loads(line)
        self.port: int = told["port"]
        self.url: str = told["url"]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self.child.kill()
        self.child.wait()
        if self.child.stdout is not None:
            self.child.stdout.close()

    def faults(self, **knobs: Any) -> Any:
        """Turn knobs while it runs."""
        return json.loads(self._ask("POST", "/_sim/faults", knobs))

    def clock(self, **told: Any) -> Any:
        """Set its time (`at`) or its `speed`; what it is."""
        return json.loads(self._ask("POST", "/_sim/clock", told))

    def counts(self) -> Any:
        """Requests by path and status, `over` limits, and how far each limit was used."""
        return json.loads(self._ask("GET", "/_sim/counts"))

    def truth(self, since: int, until: int) -> list[dict[str, Any]]:
        """What was driven, as unified rows, as far as it can be known by now."""
        text = self._ask("GET", f"/_sim/truth?since={since}&until={until}")
        return [json.loads(line) for line in text.splitlines()]

    def _ask(self, method: str, path: str, told: object = None) -> bytes:
        door = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            body = None if told is None else json.dumps(told)
            door.request(method, path, body=body)
            answer = door.getresponse()
            found = answer.read()
        finally:
            door.close()
        assert answer.status == 200, (answer.status, found[:500])
        return found
