"""A daemon as a process of its own, and the vendors before it: all over real sockets."""

from __future__ import annotations

import base64
import hmac
import http.client
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from string import Template
from typing import Any, NamedTuple

from tests.bench.servers import free_port

ROOT = Path(__file__).parents[1]
PATIENCE_S = 150.0
READING = ("status", "events", "show", "ledger", "check")
HEAD = """
[daemon]
data = "$folder/data"
$daemon
[webhooks]
bind = ["127.0.0.1:$port"]
$webhooks
[status]
bind = ["127.0.0.1:$status_port"]
$status
[store]
max_disk = "1GiB"
$store
"""


class Answer(NamedTuple):
    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Fleetd:
    """One data folder, one config file, ports that stay, and a daemon now and then.

    In the config `$folder`, `$port`, `$status_port` stand for this one's own, and so does
    whatever else is given by name.
    """

    def __init__(
        self,
        folder: Path,
        config: str = "",
        *,
        environ: Mapping[str, str] | None = None,
        program: str = "fleetd",
        **words: str,
    ) -> None:
        folder.mkdir(exist_ok=True)
        self.folder, self.file = folder, folder / "fleetd.toml"
        self.output = folder / "output.log"
        self.port, self.status_port = free_port(), free_port()
        self.environ, self.program = dict(environ or {}), program
        self.child: subprocess.Popen[bytes] | None = None
        self._seen: Any = None
        self.configure(config, **words)

    def configure(self, config: str, **words: str) -> None:
        """Write the config file: the usual head, its rooms filled by `words`, and this."""
        self.write(HEAD + config, **words)

    def write(self, text: str, **words: str) -> None:
        """Write the config file as it is given, and nothing before it."""
        rooms = dict.fromkeys(("daemon", "webhooks", "status", "store"), "")
        own = {
            "folder": self.folder,
            "port": self.port,
            "status_port": self.status_port,
        }
        self.file.write_text(Template(text).substitute({**rooms, **own, **words}))
        self.file.chmod(0o600)

    # its life

    def start(self) -> None:
        """Start it, and do not wait."""
        assert self.child is None
        with self.output.open("ab") as output:
            self.child = subprocess.Popen(
                self._command("run"),
                env=self._environ(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self.folder,
                start_new_session=True,
            )

    def begin(self) -> Fleetd:
        """Start it, if that is not done, and wait until it says that it is ready."""
        if self.child is None:
            self.start()
        self.until(self._is_ready, "its doors to open")
        return self

    def _is_ready(self) -> bool:
        try:
            return self.get("/readyz").status in {200, 401}
        except OSError:
            return False

    def stop(self) -> int:
        """Ask it to drain and end; its exit status."""
        self.signal(signal.SIGTERM)
        return self.ended()

    def kill(self) -> None:
        """End it as the kernel would: SIGKILL, with whatever it was doing."""
        assert self.child is not None
        os.killpg(self.child.pid, signal.SIGKILL)
        self.child.wait()
        self.child = None

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
        self._seen = None
        self.child.send_signal(number)

    def reload(self, verdict: str = "config_taken") -> dict[str, Any]:
        """Have it read its config again; the line in which it says what came of that."""
        before = len(self.logged(verdict))
        self.signal(signal.SIGHUP)
        self.until(lambda: len(self.logged(verdict)) > before, verdict)
        return self.logged(verdict)[-1]

    def close(self) -> None:
        """Leave no process behind, whatever the test did."""
        if self.child is not None:
            with suppress(ProcessLookupError):
                self.kill()

    # what it says

    def told(self, size: int = 6000) -> str:
        """The end of what it wrote."""
        text = self.output.read_text(errors="replace") if self.output.exists() else ""
        return text[-size:]

    def logged(self, event: str) -> list[dict[str, Any]]:
        """The lines of its log about one thing that happened."""
        lines = self.output.read_text(errors="replace").splitlines()
        found = [json.loads(one) for one in lines if f'"event":"{event}"' in one]
        return [one for one in found if one["event"] == event]

    def until(
        self, ready: Callable[[], Any], what: str, within: float = PATIENCE_S
    ) -> Any:
        """Wait for something, and say what was missing when it never came."""
        end, rest = time.monotonic() + within, 0.01
        while not (found := ready()):
            ended = self.child is not None and self.child.poll() is not None
            if ended or time.monotonic() > end:
                raise AssertionError(f"waited in vain for {what}\n{self.told()}")
            time.sleep(rest)
            rest = min(rest * 1.5, 0.2)
        return found

    # commands

    def run(
        self, *words: str, code: int | None = 0, stdin: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Run a command beside it, to its end, and hold it to its exit status."""
        if words[0] not in READING:
            self._seen = None
        done = subprocess.run(
            self._command(*words),
            env=self._environ(),
            cwd=self.folder,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        if code is not None:
            assert done.returncode == code, f"{words}: {done}\n{self.told()}"
        return done

    def asked(self, *words: str, code: int | None = 0) -> Any:
        """What a command prints as one JSON document."""
        return json.loads(self.run(*words, "--json", code=code).stdout)

    def events(self, *words: str) -> list[dict[str, Any]]:
        """What `events --json` prints, all of it unless told otherwise."""
        done = self.run("events", "--json", "-n", "1000", *words)
        return [json.loads(one) for one in done.stdout.splitlines()]

    def _command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", self.program, "-c", str(self.file), *words]

    def _environ(self) -> dict[str, str]:
        python = {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
        return {**os.environ, **python, **self.environ}

    # its doors

    def post(
        self,
        path: str,
        body: bytes,
        headers: Mapping[str, str] | None = None,
        method: str = "POST",
    ) -> Answer:
        """A request to the webhook port, below /webhooks/."""
        self._seen = None
        door = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        return ask(door, method, f"/webhooks/{path}", headers or {}, body)

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> Answer:
        """A question to the status port."""
        door = http.client.HTTPConnection(
            "127.0.0.1", self.status_port, timeout=PATIENCE_S
        )
        return ask(door, "GET", path, headers or {})

    def status(self) -> Any:
        """The status document as it is now, not as it was remembered a second ago."""
        asked = datetime.now(UTC) - timedelta(milliseconds=1)  # its `now` is cut to ms

        def fresh() -> Any:
            found = self.get("/api/status").json()
            return found if datetime.fromisoformat(found["now"]) >= asked else None

        return self.until(fresh, "a fresh status")

    def settled(self) -> Any:
        """The status after the last request or command, asked for once."""
        if self._seen is None:
            self._seen = self.status()
        return self._seen

    def until_idle(self) -> Any:
        """Wait until nothing waits for any sink; the status that says so."""

        def idle() -> Any:
            found = self.settled()
            if any(one["waiting"] for one in found["sinks"].values()):
                self._seen = found = None
            return found

        return self.until(idle, "the sinks to have everything")


def ask(
    door: http.client.HTTPConnection,
    method: str,
    path: str,
    headers: Mapping[str, str],
    body: bytes | None = None,
) -> Answer:
    """One request on a connection of its own."""
    try:
        door.request(method, path, body=body, headers=dict(headers))
        answer = door.getresponse()
        found = {name.lower(): value for name, value in answer.getheaders()}
        return Answer(answer.status, found, answer.read())
    finally:
        door.close()


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=PATIENCE_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(PATIENCE_S)
        self.sock.connect(str(self._path))


def certificate_at(port: int, trusted: ssl.SSLContext) -> bytes:
    """The certificate that a port shows, once it is believed."""
    with (
        socket.create_connection(("127.0.0.1", port), PATIENCE_S) as plain,
        trusted.wrap_socket(plain, server_hostname="localhost") as secured,
    ):
        return secured.getpeercert(binary_form=True) or b""


# the vendors' signatures, written down again: not by the code under test


def by_samsara(body: bytes, secret: str, at: float | None = None) -> dict[str, str]:
    stamp = str(int(at or time.time()))
    key = base64.b64decode(secret)
    message = b"v1:" + stamp.encode() + b":" + body
    signature = hmac.digest(key, message, "sha256").hex()
    return {
        "Content-Type": "application/json",
        "X-Samsara-Timestamp": stamp,
        "X-Samsara-Signature": f"v1={signature}",
    }


def by_motive(body: bytes, secret: str) -> dict[str, str]:
    signature = hmac.digest(secret.encode(), body, "sha1").hex()
    return {"Content-Type": "application/json", "X-KT-Webhook-Signature": signature}
