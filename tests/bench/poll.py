"""How fast polled GPS history goes into the log, and how much memory that takes.

600 vehicles, three days, a fix each every five minutes: 518 400 records in pages of 512
from the vendor's own history, asked for with `fleetd backfill` of a running daemon.
`--rows` asks for more days: ten times as many must not take more memory.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from fleetd import config
from fleetd.cli import _client
from tests.bench import servers
from tests.bench.options import Options, folder_in
from tests.bench.report import Report, at_least, at_most, machine, say, spread
from tests.bench.servers import Running, Setup, free_port, process, status
from tests.vendors import running

VEHICLES, EVERY, DAYS = 600, 300, 3
A_DAY = VEHICLES * 86_400 // EVERY
ROWS = DAYS * A_DAY
PATIENCE_S = 3600.0
NOTES = [
    "A real daemon and a real simulator, a process each, over loopback on the same cores.",
    "Rate: records of the job over the time from the first request to the last commit.",
    "Requests stay under the vendor's own limit (Samsara: 150 a second and token).",
    "peak_mb is VmHWM of the daemon when the last record is on the disk.",
]
CONFIG = """
[daemon]
data = "{folder}/data"
log_level = "warning"

[webhooks]
bind = ["127.0.0.1:{port}"]

[status]
bind = ["127.0.0.1:{status_port}"]

[store]
max_disk = "40GiB"
keep_raw = "7d"

[sources.north]
provider = "{vendor}"
token = "env:BENCH_TOKEN"
base_url = "{url}"
feeds = ["vehicles"]
"""


class Round(msgspec.Struct, frozen=True):
    records: int
    stored: int
    seconds: float
    records_per_s: float
    peak_mb: float
    daemon_cpu_s: float
    simulator_cpu_s: float
    requests: int
    over: int
    disk_bytes: int


def run(options: Options) -> Report:
    vendor = options.only or "samsara"
    days = max((options.rows or ROWS) // A_DAY, 1)
    rounds = []
    for number in range(options.rounds):
        with folder_in(options) as name:
            rounds.append(one_round(Path(name), vendor, days))
        say(f"round {number + 1}: {rounds[-1]}")
    rates = [one.records_per_s for one in rounds]
    peaks = [one.peak_mb for one in rounds]
    return Report(
        name="poll",
        machine=machine(Path(options.dir)),
        options=msgspec.to_builtins(options),
        budgets=[
            at_least("polled records a second", 60_000, spread(rates).median),
            at_most("peak memory, MB", 150, max(peaks)),
        ],
        figures={
            "records_per_s": spread(rates),
            "peak_mb": spread(peaks),
            "daemon_cpu_s": spread(one.daemon_cpu_s for one in rounds),
            "disk_bytes_a_record": spread(
                one.disk_bytes / one.records for one in rounds
            ),
        },
        notes=NOTES,
        raw=[msgspec.to_builtins(one) for one in rounds],
    )


def one_round(folder: Path, vendor: str, days: int) -> Round:
    """Fetch so many days into an empty log."""
    wishes = {"vehicles": VEHICLES, "every": EVERY, "parked": EVERY}
    with ExitStack() as stack:
        sim = stack.enter_context(running.Running(vendor, **wishes))
        daemon = stack.enter_context(fleetd(folder, vendor, sim.url))
        wait_for(lambda: stored(daemon) >= VEHICLES, "the directory")
        until = int(time.time()) // 3600 * 3600
        before = daemon.cpu_seconds(), sim_cpu(sim), requests(sim)
        job = asked(folder, "backfill", source="north", feed="positions",
                    since=stamp(until - days * 86_400), until=stamp(until))  # fmt: skip
        began = time.monotonic()
        ended = wait_for(lambda: final(folder, job["job"]), "the job")
        spent = seconds(ended["created_at"], ended["changed_at"])
        assert abs(spent - (time.monotonic() - began)) < 1.0, (spent, ended)
        records, found = days * A_DAY, status(daemon)
        assert ended["state"] == "done", ended
        assert stored(daemon) >= records, (stored(daemon), records)
        return Round(
            records=records,
            stored=stored(daemon),
            seconds=round(spent, 3),
            records_per_s=round(records / spent, 1),
            peak_mb=round(daemon.memory_mb("VmHWM"), 1),
            daemon_cpu_s=round(daemon.cpu_seconds() - before[0], 2),
            simulator_cpu_s=round(sim_cpu(sim) - before[1], 2),
            requests=requests(sim) - before[2],
            over=sim.counts()["over"],
            disk_bytes=found["log"]["disk_bytes"],
        )


@contextmanager
def fleetd(folder: Path, vendor: str, url: str) -> Iterator[Running]:
    """The daemon with one source, its feeds but for the directory left out."""
    port, status_port = free_port(), free_port()
    file = folder / "fleetd.toml"
    text = CONFIG.format(
        folder=folder, port=port, status_port=status_port, vendor=vendor, url=url
    )
    file.write_text(text)
    more = {
        "BENCH_TOKEN": "key",
        "PLUGGED_PROVIDERS": str(servers.ROOT / "tests" / "proofs" / "sixth"),
    }
    module = "tests.proofs.plugged" if vendor == "example" else "fleetd"
    command = [servers.sys.executable, "-m", module, "-c", str(file), "run"]
    with process(command, folder, Setup(), more) as child:
        servers.wait_for_port(port, child, folder)
        yield Running("fleetd", port, (child.pid,), folder, status_port)


def asked(folder: Path, path: str, **told: Any) -> Any:
    """An order to the daemon, through its control socket."""
    os.environ.setdefault("BENCH_TOKEN", "key")
    return _client.changer(config.load(str(folder / "fleetd.toml"))).post(path, **told)


def final(folder: Path, number: int) -> Any:
    reader = _client.reader(config.load(str(folder / "fleetd.toml")))
    (job,) = [one for one in reader.get("/api/jobs")["jobs"] if one["id"] == number]
    return job if job["state"] not in {"running", "paused"} else None


def seconds(since: str, until: str) -> float:
    one, two = (datetime.fromisoformat(stamp) for stamp in (since, until))
    return (two - one).total_seconds()


def stored(daemon: Running) -> int:
    return int(status(daemon)["sources"]["north"]["stored"])


def requests(sim: running.Running) -> int:
    return sum(sim.counts()["requests"].values())


def sim_cpu(sim: running.Running) -> float:
    return servers.proc.cpu_seconds([sim.child.pid])


def wait_for(ready: Any, what: str) -> Any:
    until = time.monotonic() + PATIENCE_S
    while not (found := ready()):
        if time.monotonic() > until:
            raise SystemExit(f"bench: waited in vain for {what}")
        time.sleep(0.1)
    return found


def stamp(at: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))
