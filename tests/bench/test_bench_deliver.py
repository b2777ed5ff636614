"""The bench of delivery runs, each part of it, and says what it is to say."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.bench.deliver import parts
from tests.bench.servers import ROOT


@pytest.mark.parametrize("part", parts())
def test_each_part_carries_a_log_to_its_end(part: str) -> None:
    command = [sys.executable, "-m", "tests.bench", "deliver", "--only", part]
    done = subprocess.run(
        [*command, "--rows", "3000", "--rounds", "1"],
        cwd=ROOT, capture_output=True, check=True, timeout=240,
    )  # fmt: skip

    found = json.loads(done.stdout)
    assert found["name"] == "deliver"
    assert all(one["name"].startswith(f"{part}: ") for one in found["budgets"])
    assert found["figures"][f"{part}_events_per_s"]["median"] > 0
    assert {one["events"] for one in found["raw"]} == {300, 3000}
