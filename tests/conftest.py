"""What tests share: a world of virtual time, where nothing runs beside the loop."""

from __future__ import annotations

import inspect
import random
import shutil
from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import trio
from hypothesis import HealthCheck, settings

from fleetd.masking import GRANTS, MASK
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

MEMORY = Path("/dev/shm")
ROOM = 4 << 30
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


@pytest.fixture
def tmp_path(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """Nothing in virtual time proves a disk: with room in memory no sync has to be waited for."""
    virtual = "autojump_clock" in request.fixturenames
    if not virtual or not MEMORY.is_dir() or shutil.disk_usage(MEMORY).free < ROOM:
        yield tmp_path
        return
    with TemporaryDirectory(dir=MEMORY, prefix="fleetd-tests-") as folder:
        yield Path(folder)


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    """A test's secrets end with it: every next one would be masked for all of them."""
    kept = set(MASK._lasting), {key: deque(of) for key, of in MASK._passing.items()}
    yield
    if kept != (MASK._lasting, MASK._passing):
        MASK._lasting = kept[0]
        MASK._passing = {key: deque(of, GRANTS) for key, of in kept[1].items()}
        MASK._settle()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A real PostgreSQL, with PostGIS and without."""
    with Postgres() as server:
        yield server
