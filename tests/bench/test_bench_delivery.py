"""The benches of a drain, of sick neighbours and of memory run to their end and lose nothing."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.bench.servers import ROOT

FORMS = {
    "drain": ["--only", "outage:twohundred", "--rows", "2000"],
    "isolate": ["--rounds", "1", "--seconds", "1", "--warmup", "0"],
    "memory": ["--rounds", "1", "--seconds", "4", "--rows", "2000"],
}


@pytest.mark.parametrize("name", FORMS)
def test_it_says_what_it_measured(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench", name, *FORMS[name]],
        cwd=ROOT, capture_output=True, check=True, timeout=240,
    )  # fmt: skip

    found = json.loads(done.stdout)
    assert found["name"] == name
    assert len(found["budgets"]) >= 3
    assert len(found["raw"]) >= 1
    assert all(one.get("missing", 0) == 0 for one in found["raw"])
