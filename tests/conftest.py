"""What tests share: a world of virtual time, where nothing runs beside the loop."""

from __future__ import annotations

import inspect
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
import trio
from hypothesis import HealthCheck, settings

from fleetd.world import World, inline
from tests.postgres import Postgres

# The gate tries the same examples every time, none that an earlier search has kept, and
# is in no hurry; `--hypothesis-profile=search` goes looking.
settings.register_profile(
    "gate",
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile(
    "search", settings.get_profile("gate"), derandomize=False, print_blob=True
)
settings.load_profile("gate")

MORNING = datetime(2026, 11, 21, 6, tzinfo=UTC)


@pytest.fixture
def world(request: pytest.FixtureRequest) -> World:
    """Hours pass in milliseconds: for tests that name `autojump_clock` themselves."""
    if "autojump_clock" not in inspect.signature(request.function).parameters:
        pytest.fail("name autojump_clock among the test's own arguments")
    return virtual_world()


def virtual_world(morning: datetime = MORNING) -> World:
    """A wall clock on trio's, chance from a seed, blocking work in line, NTP at hand."""
    return World(
        now=lambda: morning + timedelta(seconds=trio.current_time()),
        steady=trio.current_time,
        synchronised=lambda: True,
        chance=random.Random(7),
        in_thread=inline,
        environ={},
        threads=False,
    )


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A real PostgreSQL, with PostGIS and without."""
    with Postgres() as server:
        yield server
