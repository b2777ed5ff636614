"""A sheet as a source: what people wrote becomes records, and what cannot be read takes nothing away."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from fleetd.errors import ConfigError, HeldError, PayloadError
from fleetd.google import MARK, Spreadsheet, origin_of
from fleetd.google.books import corner
from fleetd.google.marks import canonical
from fleetd.providers.contract import Turn
from fleetd.providers.sheets import Cells, Settings, configured
from fleetd.providers.sheets.headers import Columns
from tests.providers.sheet_far import (
    BOOK,
    MINUTE,
    Google,
    google,
    kept,
    listed,
    reading,
    told,
    written,
)

VIN = "1FUJHHDR3MLMT2101"
HEADER = ("Vehicle ID", "Unit", "VIN", "License plate", "Group")
KEPT = ("id", "number", "vin", "Depot", MARK)


@pytest.fixture
def far() -> Iterator[Google]:
    with google() as one:
        yield one


def fleet(far: Google, count: int = 3) -> None:
    far.fill(
        HEADER, *((f"v{n}", f"T-{n}", None, f"TX {n}") for n in range(1, count + 1))
    )


def known(source) -> set[str]:
    return set(source.store.directory.ids("north", "vehicle"))


def gone(source) -> list[str]:
    return [one["id"] for one in told(source) if one.get("removed")]


def why(source) -> str:
    (health,) = source.healths.values()
    return f"{health.state}: {health.why}"


def dead(source) -> list[str]:
    return [reason for _feed, reason, _body in source.dead()]


# what is read


async def test_rows_are_vehicles_by_what_people_usually_call_their_columns(
    autojump_clock, tmp_path, far
):
    far.fill(
        ("Trucks of the northern depot",),
        (),
        HEADER,
        ("v1", "T-1", VIN.lower(), " TX 1 ", "North, Reefer"),
        (),
        (281474979112001, 104, None, None, "North"),
        ("007", None, "no VIN at all"),
        ("v4", True),
    )
    async with reading(tmp_path, far) as source:
        await listed(source)

        assert told(source) == [
            {"id": "v1", "number": "T-1", "vin": VIN, "plate": "TX 1", "groups": ("North", "Reefer")},
            {"id": "281474979112001", "number": "104", "groups": ("North",)},
            {"id": "007"},
            {"id": "v4", "number": "TRUE"},
        ]  # fmt: skip
        flags = [one.event.flags for one in source.entries("vehicle")]
        assert [one[:-1] for one in flags] == [(), (), ("vin_unread",), ()]
        assert {one[-1] for one in flags} == {origin_of(BOOK, "Fleet")}
        assert source.balanced()


async def test_drivers_are_read_by_the_columns_that_the_config_names(
    autojump_clock, tmp_path, far
):
    far.fill(("Name", "Badge", "Site"), ("Ann", 12, "x"), ("Bob", "12b"))
    columns = {"badge ": "id", "NAME": "driver_name"}
    async with reading(tmp_path, far, kind="driver", columns=columns) as source:
        await listed(source)

        assert told(source, "driver") == [
            {"id": "12", "driver_name": "Ann"},
            {"id": "12b", "driver_name": "Bob"},
        ]


async def test_several_columns_may_tell_rows_apart_together(
    autojump_clock, tmp_path, far
):
    far.fill(("Provider", "Id", "Unit"), ("motive", 7, "T-1"), ("samsara", 7, "T-2"))
    async with reading(tmp_path, far, key=("Provider", "Id")) as source:
        await listed(source)

        assert [one["id"] for one in told(source)] == ["motive/7", "samsara/7"]
        assert dead(source) == []


async def test_only_the_cells_of_the_range_are_read(autojump_clock, tmp_path, far):
    far.fill(
        ("id", "", "id", "number"), ("x", "", "v1", "T-1"), ("y", "", "v2", "T-2"),
        ("", "", "", "Total: 2"),
    )  # fmt: skip
    async with reading(tmp_path, far, range="C1:D3") as source:
        await listed(source)

        assert [one["id"] for one in told(source)] == ["v1", "v2"]
        assert dead(source) == []


async def test_a_cell_merged_over_rows_holds_for_each_of_them(
    autojump_clock, tmp_path, far
):
    far.fill(("id", "group"), ("v1", "North"), ("v2", None), ("v3", "South"))
    far.tab.merge(1, 1, 3, 2)
    async with reading(tmp_path, far) as source:
        await listed(source)

        groups = {one["id"]: one["groups"] for one in told(source)}
        assert groups == {"v1": ("North",), "v2": ("North",), "v3": ("South",)}


# what changes


async def test_what_a_person_edits_is_told_once_and_what_stays_never(
    autojump_clock, tmp_path, far
):
    fleet(far)
    async with reading(tmp_path, far) as source:
        await listed(source, 2)
        assert len(told(source)) == 3

        far.tab.type(2, 1, "T-2b")
        await listed(source, 3)
        assert told(source)[3:] == [{"id": "v2", "number": "T-2b", "plate": "TX 2"}]

    async with reading(tmp_path, far) as source:  # a restart
        await listed(source, 2)
        assert len(told(source)) == 4


async def test_sorting_and_inserting_rows_and_columns_changes_nothing(
    autojump_clock, tmp_path, far
):
    fleet(far, 20)
    async with reading(tmp_path, far) as source:
        await listed(source)
        far.tab.sort(1, reverse=True)
        await listed(source)
        for dimension, at in (("ROWS", 0), ("COLUMNS", 0), ("ROWS", 9)):
            place = {
                "sheetId": 0,
                "dimension": dimension,
                "startIndex": at,
                "endIndex": at + 2,
            }
            far.book.batch_update([{"insertDimension": {"range": place}}])
        await listed(source, 4)

        assert len(told(source)) == 20
        assert dead(source) == []


async def test_columns_that_move_between_two_questions_mix_nothing_up(
    autojump_clock, tmp_path, far
):
    fleet(far)

    def insert(book) -> None:
        if len(far.cloud.reads()) == 2:  # the header was read, its rows come next
            place = {
                "sheetId": 0,
                "dimension": "COLUMNS",
                "startIndex": 0,
                "endIndex": 1,
            }
            book.batch_update([{"insertDimension": {"range": place}}])

    far.cloud.after_read = insert
    async with reading(tmp_path, far) as source:
        await listed(source, 2)

        assert dead(source) == []
        assert told(source) == [
            {"id": f"v{n}", "number": f"T-{n}", "plate": f"TX {n}"} for n in (1, 2, 3)
        ]


async def test_what_fleetd_wrote_itself_is_no_news_and_what_a_person_wrote_beside_it_is(
    autojump_clock, tmp_path, far
):
    far.fill(KEPT)
    for row in range(1, 6):
        written(far.tab, row, (*KEPT[:3], MARK), (f"v{row}", f"T-{row}", None))
        mark = far.tab.value(row, 3)
        far.tab.type(row, 3, None)
        far.tab.type(row, 4, mark)
    kept(far.book, far.tab, ["id"], KEPT[:3])
    columns = {"id": "id", "number": "number", "vin": "vin", "Depot": "groups"}
    async with reading(tmp_path, far, columns=columns) as source:
        await listed(source, 2)
        assert told(source) == []

        far.tab.type(1, 1, "T-1b")  # over a cell of ours
        far.tab.type(2, 3, "North")  # in a column of their own
        far.tab.type(9, 0, "v9")  # a row of their own
        far.tab.type(9, 1, "T-9")
        await listed(source, 2)
        assert told(source) == [
            {"id": "v1", "number": "T-1b"},
            {"id": "v2", "groups": ("North",)},
            {"id": "v9", "number": "T-9"},
        ]

        far.tab.type(1, 1, "T-1c")  # and the sink writes over what they typed
        mark = written_again(far, 1, ("v1", "T-1c", VIN))
        assert mark
        await listed(source, 5)
        assert len(told(source)) == 3
        assert known(source) == {"v1", "v2", "v9"}
        assert gone(source) == []
        assert source.balanced()


def written_again(far: Google, row: int, values: tuple[str, ...]) -> str:
    """The sink brings its three cells of a row up to date."""
    depot = far.tab.value(row, 3)
    written(far.tab, row, (*KEPT[:3], MARK), values)
    mark = str(far.tab.value(row, 3))
    far.tab.type(row, 3, depot)
    far.tab.type(row, 4, mark)
    return mark


async def test_rows_that_people_sorted_in_part_tell_nothing_until_they_are_put_right(
    autojump_clock, tmp_path, far
):
    header = ("id", "number", MARK)
    far.fill(header)
    for row in (1, 2, 3, 4):
        written(far.tab, row, header, (f"v{row}", f"T-{row}"))
    kept(far.book, far.tab, ["id"], header[:2])
    async with reading(tmp_path, far, remove_after=1) as source:
        far.tab.type(1, 1, "by hand")
        await listed(source)
        assert [one["id"] for one in told(source)] == ["v1"]

        below = {n: [far.tab.value(n, at) for at in (1, 2)] for n in (1, 2, 3)}
        for row, (one, two) in below.items():  # all but the key moves down by one
            far.tab.type(row % 3 + 1, 1, one)
            far.tab.type(row % 3 + 1, 2, two)
        await listed(source, 4)

        assert len(told(source)) == 1
        assert gone(source) == []


# what is gone, and what only seems so


async def test_a_row_that_people_delete_is_removed_after_three_whole_listings(
    autojump_clock, tmp_path, far
):
    fleet(far)
    async with reading(tmp_path, far) as source:
        await listed(source)
        for at in range(5):
            far.tab.type(3, at, None)
        await listed(source, 2)
        assert gone(source) == []

        await listed(source)
        assert gone(source) == ["v3"]
        tombstone = source.entries("vehicle")[-1].event
        assert tombstone.flags == (
            origin_of(BOOK, "Fleet"),
        )  # so no sink writes it back


FAULTS = ("503", "500", "429", "reset", "half")


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("question", [0, 1, 2])
async def test_a_read_that_fails_in_the_middle_removes_nothing(
    autojump_clock, tmp_path, far, fault, question
):
    fleet(far, 12)
    async with reading(tmp_path, far, remove_after=1) as source:
        await listed(source)
        kinds = ("GET", "head", "rows")
        failed = []

        def fail(call) -> str:
            filters = (call.body or {}).get("dataFilters", [])
            kind = (
                "GET"
                if call.method == "GET"
                else "rows"
                if len(filters) > 1
                else "head"
            )
            if kind != kinds[question]:
                return ""
            failed.append(kind)
            return fault

        far.cloud.fault = fail
        await source.until(lambda: len(failed) >= 5)
        assert known(source) == {f"v{n}" for n in range(1, 13)}
        assert len(told(source)) == 12
        (health,) = source.healths.values()
        assert health.state == "failing"

        far.cloud.fault = lambda _call: ""
        await listed(source, 2)
        assert gone(source) == []
        assert source.balanced()


async def test_an_emptied_sheet_and_a_mass_of_missing_rows_are_taken_for_a_mistake(
    autojump_clock, tmp_path, far
):
    fleet(far, 40)
    async with reading(tmp_path, far) as source:
        await listed(source)
        rows = far.tab.rows
        far.tab.rows = rows[:11] + [{} for _ in rows[11:]]
        await listed(source, 4)
        assert "30 of 40 known" in why(source)

        far.tab.rows = rows[:1] + [{} for _ in rows[1:]]
        await listed(source, 4)
        assert "held no vehicle at all" in why(source)
        assert gone(source) == []

        far.tab.rows = rows
        await listed(source)
        assert len(told(source)) == 40


def clear(far: Google) -> None:
    far.tab.rows = [{} for _ in far.tab.rows]


def rename(far: Google) -> None:
    far.tab.type(0, 1, "Truck no.")


def double(far: Google) -> None:
    far.tab.type(0, 7, "VIN")


def drop(far: Google) -> None:
    far.book.tabs[0].title = "Old fleet"


def unkey(far: Google) -> None:
    far.tab.type(0, 0, "who")


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (clear, "tab 'Fleet' has no header"),
        (rename, "'Unit' is gone from row 1, and with it every number"),
        (double, "columns C and H are both headed 'vin'"),
        (drop, "there is no tab 'Fleet'; there are: 'Old fleet'"),
        (unkey, "is gone from row 1, and with it every id"),
    ],
)
async def test_a_header_or_tab_that_people_break_holds_the_feed_and_says_what_to_do(
    autojump_clock, tmp_path, far, act, words
):
    fleet(far)
    async with reading(tmp_path, far, remove_after=1) as source:
        await listed(source)
        before = [dict(row) for row in far.tab.rows]
        act(far)
        await source.until(lambda: why(source).startswith("held"))
        assert words in why(source)
        await trio.sleep(60 * MINUTE)
        assert len(told(source)) == 3

        far.tab.rows, far.tab.title = before, "Fleet"
        await listed(source, 2)
        assert why(source).startswith("waiting")
        assert len(told(source)) == 3


async def test_a_header_that_went_while_fleetd_was_down_is_missed_as_well(
    autojump_clock, tmp_path, far
):
    fleet(far)
    async with reading(tmp_path, far) as source:
        await listed(source)
        calls = len(far.cloud.calls)
        far.cloud.fault = lambda call: "503" if call.number >= calls + 2 else ""
        await source.until(lambda: why(source).startswith("failing"))  # amid a walk
    far.cloud.fault = lambda _call: ""
    rename(far)
    async with reading(tmp_path, far) as source:
        await source.until(lambda: why(source).startswith("held"))

        assert "'Unit' is gone from row 1" in why(source)
        assert len(told(source)) == 3


async def test_a_header_that_the_config_names_is_missed_by_its_name(
    autojump_clock, tmp_path, far
):
    far.fill(("Truck", "Number plate"), ("v1", "TX"))
    columns = {"Truck": "id", "Plate": "plate"}
    async with reading(tmp_path, far, columns=columns) as source:
        await source.until(lambda: why(source).startswith("held"))

        assert "its header (row 1) has no 'Plate', only 'Truck', 'Number plate'" in why(
            source
        )


async def test_a_tab_without_a_column_of_ids_asks_for_its_key(
    autojump_clock, tmp_path, far
):
    far.fill(("Unit", "VIN"), ("T-1", VIN))
    async with reading(tmp_path, far) as source:
        await source.until(lambda: why(source).startswith("held"))

        assert "no column says which row is whose" in why(source)
        assert "'Unit', 'VIN'" in why(source)


# rows that cannot be read


async def test_rows_that_cannot_be_read_are_dead_letters_and_remove_nobody(
    autojump_clock, tmp_path, far
):
    fleet(far, 6)
    async with reading(tmp_path, far, remove_after=1) as source:
        await listed(source)
        far.tab.type(1, 0, None)  # v1 lost its id
        far.tab.calculate(2, 1, "=B99", "#REF!")
        far.tab.type(3, 0, "v4")  # v3 is called like v4, which stands below
        far.tab.calculate(5, 0, "=A99", "#N/A")
        far.tab.type(6, 0, 2**60)
        await listed(source, 4)

        assert sorted(dead(source)) == [
            "'Vehicle ID' holds more digits than a number in a sheet keeps: format it as text",
            "'a row': 'Vehicle ID' shows #N/A; mend the formula",
            "'v2': 'Unit' shows #REF!; mend the formula",
            "a second row of 'v4': the upper one counts; delete one of them, or name in `key` what tells them apart",
            "the row of 'T-1', 'TX 1' has nothing under 'Vehicle ID': nobody knows whose it is",
        ]
        assert known(source) == {f"v{n}" for n in range(1, 7)}
        assert told(source)[6:] == [{"id": "v4", "number": "T-3", "plate": "TX 3"}]
        assert source.balanced()


async def test_a_stray_blank_and_a_box_that_nobody_ticked_are_no_rows(
    autojump_clock, tmp_path, far
):
    fleet(far, 3)
    far.tab.type(6, 1, "  ")
    far.tab.type(7, 4, False)
    async with reading(tmp_path, far, remove_after=1) as source:
        await listed(source)
        for column in (0, 1, 3):
            far.tab.type(3, column, None)  # people delete v3
        await listed(source)

        assert dead(source) == []
        assert gone(source) == ["v3"]


async def test_the_row_that_a_sink_keeps_comes_before_a_copy_that_was_typed(
    autojump_clock, tmp_path, far
):
    header = ("id", "number", MARK)
    far.fill(header, ("v1", "typed"))
    written(far.tab, 2, header, ("v1", "T-1"))
    kept(far.book, far.tab, ["id"], header[:2])
    async with reading(tmp_path, far) as source:
        await listed(source)

        assert told(source) == []
        assert ["a second row of 'v1'" in one for one in dead(source)] == [True]


async def test_ten_thousands_of_rows_are_one_listing(autojump_clock, tmp_path, far):
    far.tab.rows = [{0: text("id"), 1: text("number")}] + [
        {0: text(f"v{n}"), 1: text(f"T-{n}")} for n in range(20_000)
    ]
    async with reading(tmp_path, far) as source:
        await listed(source)
        assert len(known(source)) == 20_000
        far.tab.type(7, 1, "by hand")
        await listed(source)

        newest = source.rows("SELECT count(*), max(seq) FROM events")[0]
        assert newest == (20_001, 20_001)


def text(value: str) -> dict[str, dict[str, str]]:
    return {"userEnteredValue": {"stringValue": value}}


async def test_more_rows_than_can_be_read_at_once_are_refused_in_words(
    autojump_clock, tmp_path, far
):
    far.tab.rows = [{0: text("id")}, *({0: text(f"v{n}")} for n in range(50_001))]
    async with reading(tmp_path, far) as source:
        await source.until(lambda: why(source).startswith("held"))

        assert "has more than 50000 rows: name fewer of them in `range`" in why(source)


# whose tab it is


async def test_a_tab_that_fleetd_keeps_is_read_under_the_name_its_sink_gives_it(
    autojump_clock, tmp_path, far
):
    far.fill(("id", "number", MARK), ("v1", "T-1"))
    kept(far.book, far.tab, ["id"], ("id", "number"))
    far.tab.title = "Dispatch"
    async with reading(tmp_path, far) as source:  # people renamed it
        await listed(source)
        assert [one["id"] for one in told(source)] == ["v1"]
    async with reading(tmp_path, far, tab="Dispatch") as source:
        await source.until(lambda: why(source).startswith("held"))
        assert "fleetd keeps as 'Fleet': set tab = \"Fleet\"" in why(source)


async def test_neither_a_log_nor_a_tab_without_its_marks_is_read(
    autojump_clock, tmp_path, far
):
    far.fill(("id", "number", "nothing"), ("v1", "T-1"))
    kept(far.book, far.tab, ["id"], ("id", "number"))
    async with reading(tmp_path, far) as source:
        await source.until(lambda: why(source).startswith("held"))
        assert "hidden column 'fleetd'" in why(source)

        cursor = far.book.metadata[9]
        cursor.value = cursor.value.replace("upsert", "append")
        await source.until(lambda: "log of events" in why(source))
        assert told(source) == []


async def test_refusals_say_what_to_do(autojump_clock, tmp_path, far):
    fleet(far)
    far.cloud.shared[BOOK] = set()
    async with reading(tmp_path, far) as source:
        await source.until(lambda: why(source).startswith("held"))
        assert "share this sheet with fleetd@example-project" in why(source)
        far.cloud.disabled = True
        await source.until(lambda: "API is off" in why(source))
        far.cloud.disabled = False
        del far.cloud.books[BOOK]
        await source.until(lambda: f"no spreadsheet {BOOK}" in why(source))


async def test_a_revoked_key_is_held_with_the_key_to_change(
    autojump_clock, tmp_path, far
):
    fleet(far)
    async with reading(tmp_path, far) as source:
        await listed(source)
        far.cloud.revoked = True
        far.cloud.end_tokens()
        await source.until(lambda: "Fix sources.north.token" in why(source))
        assert "Was its key deleted" in why(source)

        far.cloud.revoked = False
        await listed(source, 2)
        assert gone(source) == []


async def test_a_token_that_ends_early_is_changed_once_and_nobody_is_told(
    autojump_clock, tmp_path, far
):
    fleet(far)
    async with reading(tmp_path, far) as source:
        await listed(source)
        far.cloud.end_tokens()
        await listed(source)

        assert far.cloud.logins == 2
        assert source.alerts() == []


# what the config may say


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"columns": {"A": "number"}}, "columns: none is `id`"),
        ({"columns": {"A": "id", "B": "vehicle"}}, "columns: two of them are 'id'"),
        ({"columns": {"A": "id", "B": "phone"}}, "columns: a vehicle has no 'phone'"),
        ({"tab": " "}, "tab: a title"),
        ({"every": 0.5}, "every: takes at least"),
        ({"key": ("A", "A")}, "key: names a header twice"),
    ],
)
def test_a_config_that_cannot_be_meant_is_refused(keys, words):
    with pytest.raises(ConfigError, match=words.partition("`")[0]):
        configured(Settings(Spreadsheet(BOOK), **keys))


@pytest.mark.parametrize("bad", ["", "A", "H:A", "B9:C3", "Fleet!A:B", ":", 7])
def test_cells_that_are_none_are_refused(bad):
    with pytest.raises(ValueError, match=r"takes columns|ends before"):
        Cells.read(bad, Path())


@pytest.mark.parametrize(
    "bad", [{}, [], ["id", "id"], {"A": "horsepower"}, {MARK: "id"}, {" ": "id"}, 3]
)
def test_columns_that_are_none_are_refused(bad):
    with pytest.raises(ValueError, match=r"takes|field|header"):
        Columns.read(bad, Path())


def test_a_key_file_that_is_none_is_refused_before_anything_is_asked(far):
    provider = configured(None)

    assert "not the JSON key file" in str(provider.good_token("hello"))
    assert provider.good_token(json.dumps(far.cloud.account())) is None


# whatever arrives

NOW = datetime(2026, 5, 12, tzinfo=UTC)
REAL = st.floats(allow_nan=False, allow_infinity=False)
ODD = st.none() | st.booleans() | st.integers() | REAL | st.text(max_size=9)

CELL = ODD | st.sampled_from(
    ["v1", "id", "#REF!", "Loading...", 2**60, "~1.abcdefghij.1.1.1."]
)


@given(body=st.binary(max_size=99) | st.recursive(ODD, lambda x: st.lists(x) | st.dictionaries(st.sampled_from(["sheets", "properties", "valueRanges"]), x)).map(lambda x: json.dumps(x).encode()))  # fmt: skip
def test_any_answer_is_a_page_or_refused(body):
    feed = configured(None).feeds[0]
    turn = Turn(NOW)

    with pytest.raises(
        (PayloadError, HeldError, LookupError, TypeError, AttributeError, ValueError)
    ):
        feed.unpack(feed.ask(turn), body, turn)


@given(table=st.lists(st.lists(CELL, max_size=4), max_size=6))
def test_any_cells_are_records_or_dead_letters(table):
    settings = Settings(Spreadsheet(BOOK), tab="Fleet")
    provider = configured(settings)
    feed = provider.feeds[0]
    sheet = {
        "properties": {
            "sheetId": 1,
            "title": "Fleet",
            "gridProperties": {"rowCount": 99},
        }
    }
    head = {"range": "Fleet!A1:Z1", "values": [["id", "number", "vin", MARK]]}
    cells = {"range": "'Fleet'!A2:D99", "values": table}
    turn = Turn(NOW)
    for answer in ({"sheets": [sheet]}, {"valueRanges": [{"valueRange": head}]}):
        page = feed.unpack(feed.ask(turn), json.dumps(answer).encode(), turn)
        turn = Turn(NOW, page.bookmark)
    answer = {"valueRanges": [{"valueRange": one} for one in (head, cells)]}
    page = feed.unpack(feed.ask(turn), json.dumps(answer).encode(), turn)

    assert page.complete
    assert not page.more
    for record in page.records:
        with suppress(PayloadError):
            events = list(provider.normalize[record.feed](record.body))
            assert all(one.id in page.held for one in events)


def test_a_place_or_a_number_that_no_sheet_has_is_none():
    assert corner("'Fleet'!AB12:C900") == (11, 27)
    assert corner("Fleet!" + "A" * 1_000_000 + "1") == (0, 0)  # or it would take hours
    assert corner("Fleet!A" + "9" * 5000) == (0, 0)
    assert canonical(7) == canonical(7.0) == "7"
    assert canonical(10**400) == canonical(float("nan")) == canonical(-1e999) == ""
