"""`fleetd export`: a part of the log in every form, whole or not there at all."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import openpyxl
import pytest
from pyarrow import parquet

from fleetd.cli._export import open_writer
from fleetd.cli._export.columns import picked, value_of
from fleetd.cli._export.texts import cell
from fleetd.cli._export.xlsx import Xlsx
from fleetd.errors import UsageError
from fleetd.event import COLUMNS
from tests.bench.fill import fill
from tests.harness import ROOT, Fleetd

EVENTS = 3000
CONFIG = """
[sources.north]
provider = "motive"
webhook_secret = "env:SECRET"
"""
FORMS = ("csv", "ndjson", "geojson", "parquet", "xlsx")


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleetd]:
    folder = tmp_path_factory.mktemp("export")
    one = Fleetd(folder / "one", CONFIG, environ={"SECRET": "for a test alone"})
    fill(one.folder / "data", EVENTS)
    yield one
    one.close()


@pytest.fixture(scope="module")
def log(house: Fleetd) -> list[dict]:
    done = house.run("events", "--json", "-n", "0")
    return [json.loads(one) for one in done.stdout.splitlines()]


def export(house: Fleetd, *words: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "fleetd", "-c", str(house.file), "export", *words],
        env={**os.environ, **house.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        check=False,
    )


def exported(house: Fleetd, *words: str) -> bytes:
    done = export(house, *words)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_kind_is_its_table_as_csv(house, log):
    text = exported(house, "--kind", "position").decode()

    rows = list(csv.DictReader(io.StringIO(text)))
    fixes = [one["data"] for one in log if one["kind"] == "position"]
    assert list(rows[0]) == list(COLUMNS)
    assert [one["timestamp"] for one in rows] == [one["timestamp"] for one in fixes]
    assert [float(one["latitude"]) for one in rows] == [
        one["latitude"] for one in fixes
    ]
    assert [one["vin"] or None for one in rows] == [one["vin"] for one in fixes]


def test_all_kinds_have_the_columns_that_all_events_have(house, log):
    rows = list(csv.DictReader(io.StringIO(exported(house).decode())))

    assert [int(one["seq"]) for one in rows] == [one["seq"] for one in log]
    assert [one["kind"] for one in rows] == [one["kind"] for one in log]
    assert [json.loads(one["data"]) for one in rows] == [one["data"] for one in log]


def test_ndjson_is_what_events_prints(house, log):
    lines = exported(house, "--format", "ndjson").splitlines()

    assert [json.loads(one) for one in lines] == log


def test_columns_are_those_that_are_named_in_their_order(house, log):
    words = ("--kind", "position", "--columns", "speed_mph,seq,id")
    lines = exported(house, "--format", "ndjson", *words).splitlines()
    heads = exported(house, *words).split(b"\r\n", 1)[0]

    fixes = [one for one in log if one["kind"] == "position"]
    assert [json.loads(one) for one in lines] == [
        {"speed_mph": one["data"]["speed_mph"], "seq": one["seq"], "id": one["id"]}
        for one in fixes
    ]
    assert heads == b"speed_mph,seq,id"


def test_geojson_is_a_point_for_each_position(house, log):
    found = json.loads(exported(house, "--format", "geojson", "--kind", "position"))

    assert found["type"] == "FeatureCollection"
    fixes = [one["data"] for one in log if one["kind"] == "position"]
    assert [one["geometry"]["coordinates"] for one in found["features"]] == [
        [one["longitude"], one["latitude"]] for one in fixes
    ]
    assert set(found["features"][0]["properties"]) == set(COLUMNS) - {
        "latitude",
        "longitude",
    }


def test_parquet_has_the_types_of_the_table(house, log, tmp_path):
    target = tmp_path / "out.parquet"
    exported(house, "--kind", "position", "-o", str(target))
    piped = exported(house, "--kind", "position", "--format", "parquet")

    table = parquet.read_table(target)
    fixes = [one["data"] for one in log if one["kind"] == "position"]
    assert table.schema.names == list(COLUMNS)
    assert str(table.schema.field("timestamp").type) == "timestamp[us, tz=UTC]"
    assert table.column("speed_mph").to_pylist() == [one["speed_mph"] for one in fixes]
    assert target.read_bytes() == piped


def test_a_workbook_holds_numbers_as_numbers_and_times_as_times(house, log, tmp_path):
    target = tmp_path / "out.xlsx"
    exported(house, "--kind", "position", "-o", str(target))

    heads, *rows = openpyxl.load_workbook(target, read_only=True).active.values
    fixes = [one["data"] for one in log if one["kind"] == "position"]
    assert list(heads) == list(COLUMNS)
    assert len(rows) == len(fixes)
    first, fix = dict(zip(heads, rows[0], strict=True)), fixes[0]
    assert math.isclose(first["latitude"], fix["latitude"])
    stamp = first["timestamp"].isoformat(timespec="milliseconds") + "Z"
    assert stamp == fix["timestamp"]


def test_a_running_daemon_gives_the_same_as_a_stopped_one(house, log):
    stopped = exported(house, "--format", "ndjson")
    house.begin()
    try:
        running = exported(house, "--format", "ndjson")
    finally:
        house.stop()

    assert running == stopped
    assert len(running.splitlines()) == len(log)


def test_filters_are_those_of_events(house, log):
    low, high = log[100]["seq"], log[200]["seq"]
    span = exported(house, "--seq", f"{low}:{high}", "--columns", "seq").split()
    number = log[0]["vehicle"]["number"]
    of_one = exported(house, "--vehicle", number, "--columns", "fleet_number").split()
    done = export(house, "--since", "2001-01-01", "--until", "2001-01-02")

    assert [int(one) for one in span[1:]] == list(range(low, high + 1))
    assert set(of_one[1:]) == {number.encode()}
    assert len(done.stdout.splitlines()) == 1
    assert b"up to" in done.stderr


@pytest.mark.parametrize("form", FORMS)
def test_nothing_at_all_is_a_whole_file_too(house, tmp_path, form):
    target = tmp_path / f"out.{form}"
    done = export(house, "--until", "2001-01-02", "-o", str(target))

    assert done.returncode == 0, done.stderr
    assert b"0 events to" in done.stderr
    assert [one.name for one in tmp_path.iterdir()] == [target.name]


MEASURED = """
import resource, sys
from fleetd.__main__ import main
status = main(sys.argv[1:])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)
sys.exit(status)
"""


@pytest.mark.parametrize("form", FORMS)
def test_the_length_of_the_log_costs_no_memory(house, long, tmp_path, form):
    def peak(of: Fleetd) -> int:
        target = tmp_path / f"out.{form}"
        words = ["-c", str(of.file), "export", "-o", str(target)]
        done = subprocess.run(
            [sys.executable, "-c", MEASURED, *words],
            env={**os.environ, **of.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            check=True,
        )
        return int(done.stderr.split()[-1])

    assert peak(long) < 1.2 * peak(house) + 10_000  # KB; a row group is 50 000 rows


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleetd]:
    """Twenty times as many events."""
    folder = tmp_path_factory.mktemp("long")
    one = Fleetd(folder / "one", CONFIG, environ={"SECRET": "for a test alone"})
    fill(one.folder / "data", 20 * EVENTS)
    yield one
    one.close()


# what goes wrong


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("--kind", "rocket"), 2, b"no kind 'rocket'"),
        (("--columns", "speed"), 2, b"speed_mph"),
        (("--columns", "seq,seq"), 2, b"twice"),
        (("-o", "out.doc"), 2, b"which --format"),
        (("-o", "/nowhere/at/all/out.csv"), 2, b"No such file"),
        (("-o", "/tmp/", "--format", "csv"), 2, b"is a folder"),
        (("--source", "nobody"), 2, b"no source"),
    ],
)
def test_what_cannot_be_meant_is_refused(house, words, status, said):
    done = export(house, *words)

    assert done.returncode == status, done.stderr
    assert said in done.stderr


def test_a_refusal_leaves_what_was_there(house, tmp_path):
    target = tmp_path / "out.csv"
    target.write_text("before")
    done = export(house, "-o", str(target), "--source", "nobody")

    assert done.returncode == 2
    assert target.read_text() == "before"
    assert [one.name for one in tmp_path.iterdir()] == ["out.csv"]


@pytest.mark.parametrize("form", FORMS)
def test_a_reader_that_goes_away_ends_it_quietly(house, form):
    line = f"{sys.executable} -m fleetd -c {house.file} export --format {form} | head -c 10"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", line],
        env={**os.environ, **house.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        check=False,
    )

    assert b"Traceback" not in done.stderr
    assert done.returncode in {0, 141}


@pytest.mark.parametrize(("sign", "status"), [("INT", 130), ("TERM", 143)])
@pytest.mark.parametrize("form", FORMS)
def test_one_that_is_ended_leaves_nothing_and_says_nothing(
    house, tmp_path, form, sign, status
):
    """The signal comes in the middle of it, however fast the machine is."""
    words = ["fleetd", "-c", str(house.file), "export", "-o", str(tmp_path / "x")]
    found = subprocess.run(
        [sys.executable, "-c", ENDING, sign, *words, "--format", form],
        env={**os.environ, **house.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        check=False,
    )

    assert (found.returncode, found.stderr) == (status, b"")
    assert list(tmp_path.iterdir()) == []


ENDING = """
import os, signal, sys
from fleetd import __main__
from fleetd.cli.export import Pages

class Ending(Pages):
    def __iter__(self):
        for page in super().__iter__():
            yield page
            os.kill(os.getpid(), getattr(signal, "SIG" + sign))

signal.signal(signal.SIGINT, signal.default_int_handler)
sign = sys.argv.pop(1)
sys.modules["fleetd.cli.export"].Pages = Ending
del sys.argv[0]
sys.exit(__main__.main())
"""


def test_a_device_is_written_to_as_it_is(house):
    assert export(house, "-o", "/dev/null", "--format", "csv").returncode == 0
    assert Path("/dev/null").is_char_device()


def test_without_a_log_there_is_nothing_to_reach(tmp_path):
    nowhere = Fleetd(tmp_path / "none", CONFIG, environ={"SECRET": "x"})

    assert export(nowhere).returncode == 69


# the writers themselves


def event(**more) -> dict:
    return {
        "seq": 1, "source": "north", "provider": "generic", "kind": "alert", "id": "a1",
        "revision": 0, "at": "2026-11-21T12:00:00.120Z", "received_at": None,
        "origin": "push", "lane": "normal", "flags": [],
        "vehicle": {"id": "v1", "number": None, "vin": None},
        "driver": {"id": None, "name": None}, "data": {"text": None, "detail": {}, **more},
    }  # fmt: skip


def written(form: str, *events: dict, columns: str = "text") -> bytes:
    file = io.BytesIO()
    open_writer(form, file, picked("alert", columns)).take([events])
    return file.getvalue()


@pytest.mark.parametrize(
    "text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\uff1d1", "\uff201"]
)
def test_no_text_is_a_formula_in_csv(text):
    (_, row) = csv.reader(io.StringIO(written("csv", event(text=text)).decode()))

    assert row == [f"'{text}"]
    assert cell(-1.5) == -1.5


def test_text_with_commas_quotes_and_lines_comes_back_as_it_was():
    text = 'a "b", c\nd é'
    found = written("csv", event(text=text)).decode()

    assert list(csv.reader(io.StringIO(found, newline="")))[1] == [text]


def test_a_workbook_takes_any_text_and_none_of_it_is_a_formula(tmp_path):
    texts = [
        "=1+1",
        'a<b>&"c"',
        "\x00\x08bell",
        " spaces ",
        "é\U0001f69a",
        "x" * 40_000,
    ]
    path = tmp_path / "out.xlsx"
    path.write_bytes(written("xlsx", *(event(text=one) for one in texts)))

    sheet = openpyxl.load_workbook(path).active
    found = [one.value for one in sheet["A"][1:]]
    assert found[:2] == texts[:2]
    assert found[2] == "��bell"
    assert found[3:5] == texts[3:5]
    assert len(found[5]) == 32_767
    assert {one.data_type for one in sheet["A"]} <= {"s", "inlineStr"}


def test_rows_that_fill_a_sheet_go_on_in_the_next(tmp_path):
    path = tmp_path / "out.xlsx"
    with path.open("wb") as file:
        writer = Xlsx(file, picked("alert", "seq"), most_rows=4)
        writer.take([[event() for _ in range(7)]])

    book = openpyxl.load_workbook(path)
    assert book.sheetnames == ["events", "events 2", "events 3"]
    assert [sheet.max_row for sheet in book] == [4, 4, 2]
    assert zipfile.ZipFile(path).testzip() is None


def test_bytes_that_fill_a_sheet_go_on_in_the_next(tmp_path):
    """Before they are so many that the zip's own limit ends the export."""
    path = tmp_path / "out.xlsx"
    with path.open("wb") as file:
        writer = Xlsx(file, picked("alert", "text"), most_bytes=3000)
        writer.take([[event(text="x" * 1000) for _ in range(5)]])

    book = openpyxl.load_workbook(path)
    assert [sheet.max_row for sheet in book] == [4, 3]
    assert zipfile.ZipFile(path).testzip() is None


@pytest.mark.parametrize("truck", range(2))
def test_a_text_is_cut_as_excel_counts_and_never_within_a_character(tmp_path, truck):
    path = tmp_path / "out.xlsx"
    path.write_bytes(written("xlsx", event(text="x" * truck + "\U0001f69a" * 32_767)))

    found = openpyxl.load_workbook(path).active["A2"].value
    assert found == "x" * truck + "\U0001f69a" * 16_383


def test_what_excel_would_read_as_a_code_stays_the_text_it_is(tmp_path):
    path = tmp_path / "out.xlsx"
    path.write_bytes(written("xlsx", event(text="a_x000D_b _x41_ __x00e9_")))

    sheet = zipfile.ZipFile(path).read("xl/worksheets/sheet1.xml").decode()
    assert ">a_x005F_x000D_b _x41_ __x005F_x00e9_<" in sheet


def test_lists_and_tables_are_json_and_empty_ones_nothing():
    assert value_of(event(detail={"a": [1]}), "detail") == '{"a":[1]}'
    assert value_of(event(detail={}), "detail") is None
    assert value_of(event(), "provider_vehicle_id") == "v1"


def test_an_event_without_a_place_is_a_feature_without_one():
    (found,) = json.loads(written("geojson", event(text="x")))["features"]

    assert found == {"type": "Feature", "geometry": None, "properties": {"text": "x"}}


def test_columns_of_several_kinds_may_be_named_together():
    assert list(picked("fault,trip", "code,distance_miles").columns) == [
        "code",
        "distance_miles",
    ]
    with pytest.raises(UsageError, match="no column"):
        picked("fault", "distance_miles")


# with a daemon


@pytest.fixture(scope="module")
def running(house: Fleetd) -> Iterator[Fleetd]:
    """A daemon that is asked: the limit below would hit a reader of the log as well."""
    house.begin()
    yield house
    house.stop()


@pytest.mark.parametrize("form", FORMS)
def test_a_full_disk_is_told_and_leaves_nothing(running, house, tmp_path, form):
    script = (
        "import resource, signal, sys; from fleetd.__main__ import main;"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096));"
        "sys.exit(main(sys.argv[1:]))"
    )
    target = tmp_path / f"out.{form}"
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            script,
            "-c",
            str(house.file),
            "export",
            "-o",
            str(target),
        ],
        env={**os.environ, **house.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        check=False,
    )

    assert done.returncode == 74, done.stderr
    assert b"File too large" in done.stderr
    assert b"Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []
