"""What must hold of a data folder whatever happened to it: nothing acknowledged is lost, nothing twice."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import apsw
import msgspec

from fleetd.event import KINDS, unpack

FILES = ("log.sqlite", "log.sqlite-wal")
TABLES_ENDED = "SELECT name FROM names WHERE side = 'source'"
SUMS = "SELECT scope, kind, outcome, why, n FROM sums WHERE n <> 0 ORDER BY 1, 2, 3, 4"
HOURS = (
    "SELECT scope, kind, outcome, why, sum(n) FROM totals"
    " GROUP BY 1, 2, 3, 4 HAVING sum(n) <> 0 ORDER BY 1, 2, 3, 4"
)
READ = ("normalized", "empty", "dead", "dropped")
KEPT = ("stored", "duplicate", "filtered")
PASSED = ("delivered", "skipped", "dead", "dropped", "not_taken")


class Seen(msgspec.Struct, frozen=True):
    """What a stopped log holds."""

    names: dict[int, str]  # seq → kind and id
    revisions: Counter[tuple[str, int]]
    cursors: dict[int, int]  # lane → seq, of the archive
    lanes: dict[int, int]  # seq → lane


def look(data: Path, scratch: Path) -> Seen:
    """Read a copy of a log that nobody holds; assert all that must hold of it by itself."""
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    for name in FILES:
        if (data / name).exists():
            shutil.copyfile(data / name, scratch / name)
    db = apsw.Connection(str(scratch / "log.sqlite"))
    try:
        assert db.pragma("integrity_check") == "ok"
        if not db.execute("SELECT count(*) FROM sqlite_schema").get:
            return Seen(
                {}, Counter(), {}, {}
            )  # killed before the first migration ended
        seen = read(db)
        check_once(seen)
        check_ledger(db, seen)
    finally:
        db.close()
    return seen


def read(db: apsw.Connection) -> Seen:
    names, revisions, lanes = {}, Counter[tuple[str, int]](), {}
    for seq, kind, lane, revision, body in db.execute(
        "SELECT seq, kind, lane, revision, body FROM events ORDER BY seq"
    ):
        names[seq] = f"{KINDS[kind]} {unpack(body).id}"
        revisions[names[seq], revision] += 1
        lanes[seq] = lane
    cursors = dict(
        db.execute(
            "SELECT lane, seq FROM cursors JOIN names ON id = sink AND name = 'archive'"
        )
    )
    return Seen(names, revisions, cursors, lanes)


def check_once(seen: Seen) -> None:
    """No event is in the log twice."""
    assert [one for one, n in seen.revisions.items() if n > 1] == []


def check_ledger(db: apsw.Connection, seen: Seen) -> None:
    """Every equation of the ledger, from the rows themselves."""
    assert list(db.execute(SUMS)) == list(db.execute(HOURS))
    of: dict[tuple[str, str], Counter[str]] = {}
    for side, name, outcome, n in db.execute(
        "SELECT side, name, outcome, n FROM sums JOIN names ON id = scope"
    ):
        of.setdefault((side, name), Counter())[outcome] += n
    stored = sum(n["stored"] for (side, _), n in of.items() if side == "source")
    newest, first = db.execute(
        "SELECT newest_seq, (SELECT min(seq) FROM events) FROM log"
    ).get
    for (side, name), n in of.items():
        if side == "source":
            assert n["received"] == sum(n[one] for one in READ), (name, n)
            assert n["made"] == sum(n[one] for one in KEPT), (name, n)
        else:
            passed = sum(n[one] for one in PASSED)
            assert passed + waiting(db, name) == stored, (name, n, stored)
    if seen.names:
        assert max(seen.names) == newest
    if first == 1:  # nothing was pruned yet
        assert stored == len(seen.names)


def waiting(db: apsw.Connection, sink: str) -> int:
    """What the log says is waiting, held against its rows (the archive takes everything)."""
    total = 0
    for lane, seq, said in db.execute(
        "SELECT lane, seq, waiting FROM cursors JOIN names ON id = sink AND name = ?",
        (sink,),
    ).fetchall():
        left = db.execute(
            "SELECT count(*) FROM events WHERE seq > ? AND lane = ?", (seq, lane)
        ).get
        assert said == left, (sink, lane, said, left)
        total += left
    return total


def lines(archive: Path, prefix: str = "2") -> Counter[int]:
    """How often each seq stands in the files of a folder; a torn last line does not count."""
    found: Counter[int] = Counter()
    for path in sorted(archive.glob(f"{prefix}*.ndjson")):
        for line in path.read_bytes().split(b"\n")[:-1]:
            found[json.loads(line)["seq"]] += 1
    return found


def named(archive: Path) -> dict[int, str]:
    """seq → kind and id, as the files of a folder say."""
    found = {}
    for path in sorted(archive.glob("2*.ndjson")):
        for line in path.read_bytes().split(b"\n")[:-1]:
            told = json.loads(line)
            found[told["seq"]] = f"{told['kind']} {told['id']}"
    return found


def check_archive(seen: Seen, archive: Path) -> None:
    """No line twice, and none missing of what the cursors say is delivered."""
    found = lines(archive)
    assert [seq for seq, n in found.items() if n > 1] == []
    delivered = {
        seq for seq, lane in seen.lanes.items() if seq <= seen.cursors.get(lane, 0)
    }
    assert delivered - set(found) == set()
    assert set(found) - set(seen.lanes) <= pruned(seen, found)


def pruned(seen: Seen, found: Iterable[int]) -> set[int]:
    """Lines of events that the log let go of, all older than what it holds."""
    oldest = min(seen.lanes, default=1 << 62)
    return {seq for seq in found if seq < oldest}


def lost(acked: set[str], seen: Seen, archive: Path | None = None) -> set[str]:
    """What was acknowledged and is neither in the log nor, being pruned, in the archive."""
    kept = set(seen.names.values())
    if archive is not None:
        kept |= set(named(archive).values())
    return acked - kept
