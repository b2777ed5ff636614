"""What a sink that tells people remembers, read by many of them at the same time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
AT_ONCE = """
import sys
import threading
from pathlib import Path
from fleetd.sinks.telling.memory import Hushed, Mark, Memory, recalled

sys.setswitchinterval(1e-6)
kept = Memory({"live": [1]}, {"x": Mark(1, "a", "active")}, {"x": 1}, Hushed(1, 2, {}))
path = Path(sys.argv[1])
path.write_bytes(__import__("msgspec").json.encode(kept))
begin, found = threading.Barrier(8), []

def read():
    begin.wait()
    found.append(recalled(path))

readers = [threading.Thread(target=read) for _ in range(8)]
for one in readers:
    one.start()
for one in readers:
    one.join()
assert found == [kept] * 8
"""


def test_four_sinks_that_start_at_once_read_what_they_noted_each_in_a_thread(tmp_path):
    """A struct that two threads are the first to decode ended the process."""
    for number in range(5):
        command = [sys.executable, "-c", AT_ONCE, str(tmp_path / str(number))]
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=60)
