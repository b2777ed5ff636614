"""Daemons and simulators that end with the test that has them."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.proofs.house import House
from tests.vendors.running import Running


def pytest_addoption(parser: pytest.Parser) -> None:
    add = parser.getgroup("proofs").addoption
    add("--kills", type=int, default=None, help="of a daemon that polls")
    add("--minutes", type=float, default=None, help="of the run with every vendor")
    add("--seed-of-kills", type=int, default=None, help="to repeat a failure")


def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Long forms take as long as they were asked to."""
    if config.getoption("kills", None) or config.getoption("minutes", None):
        for item in items:
            if Path(__file__).parent in item.path.parents:
                item.add_marker(pytest.mark.timeout(0))


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def make(tmp_path: Path, stack: ExitStack) -> Callable[..., House]:
    """Daemons in folders of their own."""
    made: list[House] = []

    def make(config: str = "", **more: object) -> House:
        daemon = House(tmp_path / f"d{len(made)}", config, **more)
        made.append(daemon)
        stack.callback(daemon.close)
        return daemon

    return make


@pytest.fixture
def simulate(stack: ExitStack) -> Callable[..., Running]:
    """Simulators as processes."""

    def simulate(vendor: str, **wishes: object) -> Running:
        return stack.enter_context(Running(vendor, **wishes))

    return simulate


@pytest.fixture
def kills(request: pytest.FixtureRequest) -> Callable[[int], int]:
    """How often a daemon is killed: the option, else the test's own short form."""
    asked = request.config.getoption("kills", None)
    return lambda short: asked or short


@pytest.fixture
def seconds(request: pytest.FixtureRequest) -> float:
    """How long the run with every vendor goes on."""
    return float(request.config.getoption("minutes", None) or 40 / 60) * 60


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """Of the moments; the report of a failure names it."""
    found = request.config.getoption("seed_of_kills", None)
    seed = random.randrange(10**6) if found is None else int(found)
    print(f"--seed-of-kills {seed}")
    return seed
