"""What BigQuery asks of a Hive layout in Parquet, of every kind's table: names, types, folders."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from fleetd.event import CLASSES, COLUMNS
from fleetd.tables import TABLES, Row, catalog, shape_of
from tests.tables.lake import NOON, Lake, row

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,299}")
RESERVED = (
    "_table_",
    "_file_",
    "_partition",
    "_row_timestamp",
    "__root__",
    "_colidentifier",
)
READS = {"PLAIN", "PLAIN_DICTIONARY", "RLE_DICTIONARY", "RLE", "BIT_PACKED"}
TYPES = {
    "STRING": pa.string(),
    "FLOAT64": pa.float64(),
    "INT64": pa.int64(),
    "BOOL": pa.bool_(),
    "TIMESTAMP": pa.timestamp("us", tz="UTC"),
}
KINDS = pytest.mark.parametrize("kind", sorted(TABLES))


def example(kind: str, number: int) -> Row:
    of = next(one for one in CLASSES if one.kind == kind)
    at = NOON + timedelta(days=number)
    return row(of(id=f"e{number}", at=at, vehicle="v1"), number, 0)


@pytest.fixture
def lake(tmp_path: Path):
    one = Lake(tmp_path / "lake")
    yield one
    one.restart()


@KINDS
def test_names_are_names_there_and_unlike_each_other_in_any_case(kind):
    names = [one.name for one in shape_of(kind).columns]

    assert all(NAME.fullmatch(one) for one in (*names, TABLES[kind]))
    assert not [one for one in names if one.lower().startswith(RESERVED)]
    assert len({one.lower() for one in names}) == len(names)


@KINDS
def test_the_partition_key_is_no_column_of_the_files(kind):
    assert "date" not in {one.name.lower() for one in shape_of(kind).columns}


@KINDS
def test_files_have_the_types_that_the_catalog_names(lake, kind):
    lake.put(example(kind, 1), example(kind, 2))

    columns = catalog.columns_of(shape_of(kind))
    files = list(lake.folder.rglob("*.parquet"))
    for path in files:
        schema = parquet.read_schema(path)
        told = [(one["name"], TYPES[one["type"]]) for one in columns]
        assert list(zip(schema.names, schema.types, strict=True)) == told
    assert len(files) == (1 if shape_of(kind).whole else 2)


@KINDS
def test_times_are_utc_and_nothing_is_encoded_in_a_way_it_cannot_read(lake, kind):
    lake.put(example(kind, 1))
    (path,) = lake.folder.rglob("*.parquet")
    file = parquet.ParquetFile(path)

    group = file.metadata.row_group(0)
    columns = [group.column(at) for at in range(group.num_columns)]
    assert {one.compression for one in columns} == {"ZSTD"}
    assert {way for one in columns for way in one.encodings} <= READS
    at = file.schema.names.index("timestamp")
    assert "isAdjustedToUTC=true" in str(file.schema.column(at).logical_type).replace(
        "True", "true"
    )


def test_below_a_table_there_are_its_days_and_in_them_files_and_nothing_else(lake):
    lake.put(
        *(example("position", n) for n in range(5)),
        *(example("trip", n) for n in range(3)),
    )

    for table, days in (("positions", 5), ("trips", 3)):
        folders = sorted((lake.folder / table).iterdir())
        assert len(folders) == days
        assert all(re.fullmatch(r"date=\d{4}-\d\d-\d\d", one.name) for one in folders)
        inside = {file.suffix for one in folders for file in one.iterdir()}
        assert inside == {".parquet"}
    beside = {one.name for one in lake.folder.iterdir()} - {"positions", "trips"}
    assert beside == {"_metadata.json", ".lock", ".tmp"}


def test_a_position_is_the_fourteen_columns_in_their_order():
    assert tuple(one.name for one in shape_of("position").columns) == COLUMNS
