"""Daemons and simulators that end with the test that has them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.proofs.house import House
from tests.vendors.running import Running


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
