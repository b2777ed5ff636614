"""What each place holds, beside what the log says it should: differences, a line each."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import psycopg
from psycopg.rows import dict_row
from psycopg.sql import SQL, Identifier
from pyarrow import dataset

from fleetd.event import COLUMNS
from fleetd.sinks.sheets.columns import moment_in
from tests.proofs.everywhere import RINGS, TAKES, Everywhere
from tests.sinks.sheeted import rows

Event = Mapping[str, Any]
Row = dict[str, Any]
TABLES = {
    "position": "positions", "trip": "trips", "safety": "safety_events", "fault": "faults",
    "engine": "engine_events", "geofence": "geofence_events", "duty": "duty_events",
}  # fmt: skip
OURS = ("id", "source", "seq", "revision")
FOOT = re.compile(r"events (\d+) to (\d+)|fleetd show (\d+)")
BY_DATE = dataset.HivePartitioning.discover()


def wrong(of: Everywhere, log: Sequence[Event]) -> Iterator[str]:
    """Everything that any destination which knows repeats has otherwise than the log."""
    yield from differ("files", lines_in(of.daemon.folder / "files"), lines_of(log))
    yield from differ(
        "log", sheet_of_log(of), {one["seq"]: cells(one) for one in taken(log, "log")}
    )
    yield from differ("latest", latest_in(of), last(log, seq_of))
    yield from differ("trips", trips_in(of), {
        key: (one["revision"], one["seq"]) for key, one in newest(log, "trip").items()
    })  # fmt: skip
    for kind, table in TABLES.items():
        meant = {key: told(one) for key, one in newest(log, kind).items()}
        yield from differ(f"base.{table}", once(in_database(of, table), meant), meant)
        if kind == "position":  # there a row is the 14 columns, and nothing else
            meant = {key_of(one): {**one["data"]} for one in newest(log, kind).values()}
        yield from differ(f"lake.{table}", once(in_lake(of, table), meant), meant)
        yield from differ(f"{table} by DuckDB", counted(of, table), len(meant))
    yield from differ("base.latest", whereabouts(of), last(log, seq_of))


def differ(name: str, found: Any, meant: Any) -> Iterator[str]:
    """Nothing, or what is different, at some length."""
    if found == meant:
        return
    if not isinstance(found, dict):
        yield f"{name}: {found!r}, not {meant!r}"
        return
    missing, more = meant.keys() - found.keys(), found.keys() - meant.keys()
    other = [key for key in meant.keys() & found.keys() if meant[key] != found[key]]
    said = (
        f"{name}: {len(missing)} missing, {len(more)} too much, {len(other)} otherwise"
    )
    yield f"{said}: {[*missing][:3]} {[*more][:3]} " + " | ".join(
        f"{key}: {found[key]!r}, not {meant[key]!r}" for key in other[:2]
    )


# the log


def taken(log: Iterable[Event], sink: str) -> list[Event]:
    kinds = TAKES.get(sink)
    return [one for one in log if kinds is None or one["kind"] in kinds]


def newest(log: Iterable[Event], kind: str) -> dict[str, Event]:
    """The newest copy of each event of a kind."""
    found: dict[str, Event] = {}
    for one in log:
        if one["kind"] == kind:
            held = found.get(one["id"], one)
            found[one["id"]] = max(
                held, one, key=lambda it: (it["revision"], it["seq"])
            )
    return found


def last(log: Iterable[Event], value: Any) -> dict[str, Any]:
    """Of each vehicle's last fix: by when it was, then by revision and seq."""
    found: dict[str, tuple[Any, ...]] = {}
    for one in log:
        if one["kind"] == "position":
            truck = one["vehicle"]["id"]
            stamp = one["at"], one["revision"], one["seq"], value(one)
            found[truck] = max(found.get(truck, stamp), stamp)
    return {truck: stamp[3] for truck, stamp in found.items()}


def seq_of(one: Event) -> int:
    return int(one["seq"])


def told(one: Event) -> Row:
    """The row of an event in a table."""
    ours = {name: one[name] for name in OURS}
    if one["kind"] == "position":
        return ours | one["data"]
    data = {name: plain(value) for name, value in one["data"].items()}
    return ours | data | {"timestamp": one["at"]}


def plain(value: Any) -> Any:
    if isinstance(value, str) and value[:1] == "[":  # a list, where a table holds text
        value = json.loads(value)
    if value == []:
        return None
    if not isinstance(value, datetime):
        return value
    stamp = value.astimezone(UTC).isoformat(timespec="milliseconds")
    return stamp.replace("+00:00", "Z")


def once(found: Iterable[Row], meant: Mapping[str, Row]) -> dict[str, Row]:
    """Rows by their id, none of them twice, in the columns that are meant."""
    names = next((one.keys() for one in meant.values()), ())
    rows_of: dict[str, Row] = {}
    for row in found:
        key = str(row.get("id") or key_of({"data": row}))
        assert key not in rows_of, f"{key} is there twice"
        rows_of[key] = {name: plain(row[name]) for name in names}
    return rows_of


def key_of(one: Event) -> str:
    """What tells one fix from another: vehicle and time."""
    data = one["data"]
    return f"{data['provider_vehicle_id']} {plain(data['timestamp'])}"


# files


def lines_of(log: Iterable[Event]) -> dict[int, str]:
    return {one["seq"]: json.dumps(one, sort_keys=True) for one in log}


def lines_in(folder: Path, prefix: str = "2") -> dict[int, str]:
    found: dict[int, str] = {}
    for path in sorted(folder.glob(f"{prefix}*.ndjson")):
        for line in path.read_text().splitlines():
            one = json.loads(line)
            assert one["seq"] not in found, f"{one['seq']} stands there twice"
            found[one["seq"]] = json.dumps(one, sort_keys=True)
    return found


# sheets


def sheet_of_log(of: Everywhere, tab: str = "log") -> dict[int, Row]:
    found: dict[int, Row] = {}
    for row in rows(of.book, tab):
        row.pop("fleetd")
        seq = row["seq"]
        assert seq not in found, f"{seq} is in '{tab}' twice"
        found[seq] = row | {"at": plain(moment_in(row["at"], UTC))}
    return found


def cells(one: Event) -> Row:
    """What the row of an event has to say in the tab 'log'."""
    data = one["data"]
    said = {
        "seq": one["seq"], "id": one["id"], "kind": one["kind"], "at": one["at"],
        "vehicle": one["vehicle"]["id"], "latitude": data.get("latitude"),
        "speed_mph": data.get("speed_mph"),
        "location_description": data.get("location_description"),
    }  # fmt: skip
    return {name: value for name, value in said.items() if value is not None}


def latest_in(of: Everywhere) -> dict[str, int]:
    found = rows(of.book, "latest")
    assert len(found) == len({row["truck"] for row in found})
    return {row["truck"]: row["seq"] for row in found}


def trips_in(of: Everywhere) -> dict[str, tuple[int, int]]:
    found = rows(of.book, "trips")
    assert len(found) == len({row["id"] for row in found})
    return {row["id"]: (row["revision"], row["seq"]) for row in found}


# tables


def in_database(of: Everywhere, table: str, more: str = "") -> list[Row]:
    query = SQL("SELECT *, xmin::text FROM {} ORDER BY 1, 2, 3, 4, 5" + more)
    with psycopg.connect(of.server.url(), row_factory=dict_row) as one:
        return one.execute(query.format(Identifier(of.schema, table))).fetchall()


def whereabouts(of: Everywhere) -> dict[str, int]:
    found = in_database(of, "latest_positions")
    return {row["provider_vehicle_id"]: row["seq"] for row in found}


def in_lake(of: Everywhere, table: str) -> list[Row]:
    place = of.daemon.folder / "lake" / table
    if not place.exists():
        return []
    found = dataset.dataset(place, format="parquet", partitioning=BY_DATE)
    return found.to_table().to_pylist()


def counted(of: Everywhere, table: str) -> int:
    """Rows that DuckDB sees, none of them twice."""
    place = of.daemon.folder / "lake" / table
    if not place.exists():
        return 0
    key = "(provider_vehicle_id, timestamp)" if table == "positions" else "id"
    ((count, keys),) = duckdb.execute(
        f"SELECT count(*), count(DISTINCT {key}) FROM read_parquet(?, hive_partitioning = true)",
        [f"{place}/**/*.parquet"],
    ).fetchall()
    assert count == keys, table
    return int(count)


# what rings, and http


def told_by(
    texts: Sequence[str], log: Sequence[Event], sink: str
) -> tuple[Counter[int], int]:
    """How often each event was told of, and how many messages told of any again.

    A message about an alarm is about one event; any other about all of its stretch but those.
    """
    lanes = {one["seq"]: one["lane"] for one in taken(log, sink)}
    said: Counter[int] = Counter()
    again = 0
    for text in texts:
        *_, found = FOOT.finditer(text)
        if found[3]:
            seqs = [int(found[3])]
        else:
            span = range(int(found[1]), int(found[2]) + 1)
            seqs = [seq for seq in span if lanes.get(seq) == "normal"]
        again += any(said[seq] for seq in seqs)
        said.update(seqs)
    return said, again


def messages(of: Everywhere) -> dict[str, list[str]]:
    return {
        name: list(of.mail.texts() if name == "mail" else getattr(of, name).told)
        for name in RINGS
    }


# all of it, as it stands


def snapshot(of: Everywhere) -> dict[str, Any]:
    """Every destination that knows a repeat, to the byte or the row."""
    files = of.daemon.folder / "files"
    return {
        "files": {one.name: one.read_bytes() for one in files.glob("2*.ndjson")},
        "lake": state_of(of.daemon.folder / "lake"),
        "base": {
            name: in_database(of, name)
            for name in (*TABLES.values(), "latest_positions")
        },
        **{name: rows(of.book, name) for name in ("log", "latest", "trips")},
    }


def state_of(lake: Path) -> dict[str, tuple[int, int, bytes]]:
    return {
        str(one): (one.stat().st_ino, one.stat().st_mtime_ns, one.read_bytes())
        for one in lake.rglob("*")
        if one.is_file()
    }


assert {"provider", "timestamp"} <= set(COLUMNS)
