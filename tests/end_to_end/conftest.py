"""Daemons and hubs that end with the tests that share them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.harness import Fleetd
from tests.hub import Hub


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Fleetd]]:
    """Daemons in folders of their own, none of them left behind."""
    with ExitStack() as stack:

        def make(config: str = "", **wishes: object) -> Fleetd:
            daemon = Fleetd(tmp_path_factory.mktemp("d"), config, **wishes)  # type: ignore[arg-type]
            stack.callback(daemon.close)
            return daemon

        yield make


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    """Somewhere to deliver to."""
    hub = Hub()
    try:
        yield hub
    finally:
        hub.close()
