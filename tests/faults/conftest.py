"""Daemons and disks that end with their test, and how long the proofs go on."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.faults.daemon import Daemon
from tests.faults.disks import Disks

TOOLS = ("mkfs.xfs", "mkfs.ext4", "mount", "umount", "fsfreeze", "losetup")


def pytest_addoption(parser: pytest.Parser) -> None:
    add = parser.getgroup("faults").addoption
    add("--rounds", type=int, default=None, help="kills, cuts and calls that fail")
    add("--seed", type=int, default=None, help="of the moments, to repeat a failure")


def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Long forms take as long as they were asked to."""
    if config.getoption("rounds", None):
        for item in items:
            if Path(__file__).parent in item.path.parents:
                item.add_marker(pytest.mark.timeout(0))


@pytest.fixture
def rounds(request: pytest.FixtureRequest) -> Callable[[int], int]:
    """How many rounds: the option, else the test's own short form."""
    asked = request.config.getoption("rounds", None)
    return lambda short: asked or short


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """The seed of this run; pytest shows what is printed when a test fails."""
    asked = request.config.getoption("seed", None)
    found = int.from_bytes(os.urandom(4)) if asked is None else asked
    print(f"repeat with --seed {found}")
    return int(found)


@pytest.fixture
def make_daemon(tmp_path: Path) -> Iterator[Callable[..., Daemon]]:
    """Daemons in folders of their own, none of them left behind."""
    with ExitStack() as stack:

        def make(name: str = "one", **wishes: object) -> Daemon:
            daemon = Daemon(tmp_path / name, **wishes)  # type: ignore[arg-type]
            stack.callback(daemon.close)
            return daemon

        yield make


@pytest.fixture
def disks(tmp_path: Path) -> Iterator[Disks]:
    """Disks on loop devices; where they cannot be had the proof is missing, and CI says so."""
    missing = [f"no {one}" for one in TOOLS if shutil.which(one) is None]
    if not Path("/dev/loop-control").exists():
        missing.append("no /dev/loop-control")
    if os.geteuid() != 0:
        missing = ["not root"]
        if not os.environ.get("CI"):
            pytest.skip("loop devices need root")
    if missing:
        pytest.fail(f"the disks of this proof cannot be made: {', '.join(missing)}")
    disks = Disks(tmp_path)
    try:
        yield disks
    finally:
        disks.close()
