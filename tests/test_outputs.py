"""Where what fleetd says goes: full disks, closed files, narrow alphabets."""

from __future__ import annotations

import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import structlog

from fleetd import logs
from fleetd.cli._client import Remote
from fleetd.errors import UnreachableError, said

CONFIG = '[daemon]\ndata = "data"\n[sources.demo]\nprovider = "demo"\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "fleetd.toml").write_text(CONFIG)
    return tmp_path


def typed(
    folder: Path, line: str, **environ: str
) -> subprocess.CompletedProcess[bytes]:
    """A line of a shell, `$F` being fleetd."""
    script = f'F="{sys.executable} -m fleetd"; {line}'
    environ |= {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(Path(__file__).parents[1])}
    return subprocess.run(
        ["sh", "-c", script],
        check=False,
        cwd=folder,
        env=environ,
        capture_output=True,
        timeout=60,
    )


@pytest.mark.parametrize("command", ["check", "check --json", "help"])
def test_an_output_on_a_full_disk_is_one_line_and_exit_74(command, folder):
    done = typed(folder, f"$F {command} > /dev/full")

    assert done.returncode == 74
    assert done.stderr == b"fleetd: the output: No space left on device\n"


def test_a_closed_output_is_no_fault(folder):
    assert typed(folder, "$F check >&- 2>&- <&-").returncode == 0


def test_who_stops_reading_is_not_told_of_it(folder):
    done = typed(folder, "{ $F help; echo $? >&2; } | true")

    assert done.stderr in {b"141\n", b"0\n"}  # 0: all of it was in the pipe before


def test_an_alphabet_without_a_letter_shows_another_in_its_place(folder):
    (folder / "fleetd.toml").write_text(CONFIG.replace('"data"', '"dätä"'))
    (folder / "dätä").touch()

    done = typed(folder, "$F check", PYTHONIOENCODING="ascii")

    assert b"d?t? is not a folder" in done.stdout
    assert done.returncode == 78


def test_a_file_that_nobody_may_write_is_one_line(folder):
    done = typed(folder, f"$F init /proc/none/{'x' * 300}")

    assert done.returncode == 1
    assert b"Traceback" not in done.stderr
    assert done.stderr.count(b"\n") == 1


def test_a_sample_that_does_not_fit_on_the_disk_is_no_file(folder):
    done = typed(folder, "ulimit -f 1; $F init half.toml")

    assert done.returncode == 74
    assert done.stderr == b"fleetd: half.toml: File too large\n"
    assert not (folder / "half.toml").exists()


def test_help_of_a_command_is_its_own(folder):
    assert b"usage: fleetd status" in typed(folder, "$F help status").stdout
    assert typed(folder, "$F help nosuch").returncode == 2


def test_a_log_that_cannot_be_written_stops_nobody():
    before = structlog.get_config()
    full = Path("/dev/full").open("w")  # noqa: SIM115  closing it fails
    try:
        logs.setup("info", "json", full)
        structlog.get_logger().warning("told", n=1)
        structlog.get_logger().exception("told_of_a_fault", exc_info=OSError(5))
        with suppress(OSError):
            full.close()
        structlog.get_logger().info("told_to_nobody")
    finally:
        structlog.configure(**before)


def test_what_a_system_says_is_told_without_its_number():
    assert said(ConnectionRefusedError(111, "Connection refused")) == (
        "Connection refused"
    )
    assert "/etc/x" in said(FileNotFoundError(2, "No such file or directory", "/etc/x"))
    assert said(OSError("all of them failed")) == "all of them failed"


def test_a_daemon_that_hangs_is_told_with_what_comes_of_it(tmp_path):
    place = tmp_path / "control.sock"
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(place))
        silent.listen()
        with pytest.raises(UnreachableError, match="hangs, or its disk does"):
            Remote(place).get("/api/status", within=0.05)
