"""The daemon as a process of its own: started, asked, killed."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tests.bench.corpus import SECRET
from tests.bench.servers import free_port

ROOT = Path(__file__).parents[2]
PATIENCE_S = 120.0
CONFIG = """
[daemon]
data = "{data}"

[webhooks]
bind = ["127.0.0.1:{port}"]
{webhooks}

[status]
bind = ["127.0.0.1:{status_port}"]

[store]
{store}

[sources.north]
provider = "motive"
webhook_secret = "env:FAULTS_SECRET"
{sinks}
"""
ARCHIVE = """
[sinks.archive]
kind = "file"
path = "{archive}"
"""


class Daemon:
    """One fleetd with one Motive source, on ports that it keeps over restarts."""

    def __init__(
        self,
        folder: Path,
        *,
        data: Path | None = None,
        archive: Path | None = None,
        sinks: str = "",
        store: str = 'max_disk = "2GiB"',
        webhooks: str = "",
        environ: Mapping[str, str] | None = None,
        program: tuple[str, ...] = ("-m", "fleetd"),
    ) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.data = data or folder / "data"
        self.archive = archive or folder / "archive"
        self.port, self.status_port = free_port(), free_port()
        self.environ = dict(environ or {})
        self.program, self.webhooks = program, webhooks
        self.output = folder / "output.log"
        self.file = folder / "fleetd.toml"
        self.child: subprocess.Popen[bytes] | None = None
        self.configure(ARCHIVE + sinks, store)

    def configure(self, sinks: str, store: str) -> None:
        """Write the config; a running daemon hears of it by SIGHUP."""
        sinks = sinks.format(archive=self.archive)
        text = CONFIG.format(
            data=self.data,
            port=self.port,
            status_port=self.status_port,
            store=store,
            webhooks=self.webhooks,
            sinks=sinks,
        )
        self.file.write_text(text)

    # its life

    def start(self) -> None:
        """Start it, and do not wait."""
        assert self.child is None
        with self.output.open("ab") as output:
            self.child = subprocess.Popen(
                self._command("run"),
                env=self._environ(),
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def begin(self) -> None:
        """Start it and wait until its doors are open."""
        self.start()
        self.wait_ready()

    def wait_ready(self) -> None:
        def is_ready() -> bool:
            assert self.child is not None
            if self.child.poll() is not None:
                code = self.child.returncode
                raise AssertionError(f"it ended with {code}\n{self.told()}")
            return self.is_open()

        self.until(is_ready, "its port to open")

    def is_open(self) -> bool:
        """Whether its webhook door can be knocked at."""
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def kill(self) -> None:
        """End it as the kernel would: SIGKILL, with whatever it was doing."""
        assert self.child is not None
        if self.child.poll() is None:
            os.killpg(self.child.pid, signal.SIGKILL)
            self.child.wait()
        self.child = None

    def stop(self) -> int:
        """Ask it to drain and end; its exit status."""
        self.signal(signal.SIGTERM)
        return self.ended()

    def ended(self) -> int:
        """Wait until it ended by itself; its exit status."""
        assert self.child is not None
        try:
            code = self.child.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it did not end\n{self.told()}") from None
        self.child = None
        return code

    def signal(self, number: int) -> None:
        assert self.child is not None
        self.child.send_signal(number)

    def close(self) -> None:
        """Leave no process behind, whatever the test did."""
        if self.child is not None:
            self.kill()

    # asking it

    def told(self) -> str:
        """The end of what it wrote."""
        return self.output.read_text(errors="replace")[-4000:]

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run another command beside it."""
        environ = {
            name: value
            for name, value in self._environ().items()
            if name not in {"LD_PRELOAD", "FAKETIME"}
        }
        return subprocess.run(
            self._command(*words),
            env=environ,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def get(self, path: str) -> tuple[int, bytes]:
        """Ask the status port."""
        door = http.client.HTTPConnection("127.0.0.1", self.status_port, timeout=15)
        try:
            door.request("GET", path)
            answer = door.getresponse()
            return answer.status, answer.read()
        finally:
            door.close()

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.get("/api/status")[1])
        return found

    def waiting(self) -> int:
        """Events that its sinks take and have not decided about."""
        return sum(int(sink["waiting"]) for sink in self.status()["sinks"].values())

    def until(
        self, ready: Callable[[], bool], what: str, within: float = PATIENCE_S
    ) -> None:
        """Wait for something, and say what was missing when it never came."""
        end = time.monotonic() + within
        while not ready():
            if time.monotonic() > end:
                raise AssertionError(f"waited in vain for {what}\n{self.told()}")
            time.sleep(0.01)

    def until_delivered(self) -> None:
        self.until(lambda: self.waiting() == 0, "the sinks to have everything")

    def _command(self, *words: str) -> list[str]:
        return [sys.executable, *self.program, "-c", str(self.file), *words]

    def _environ(self) -> dict[str, str]:
        python = {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
        return {**os.environ, **python, "FAULTS_SECRET": SECRET, **self.environ}
