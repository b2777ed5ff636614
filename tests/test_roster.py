"""The fleet's own list of vehicles, who bears which tag, and who drives."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetd import config
from fleetd.config.report import Report
from fleetd.config.roster import read_roster
from fleetd.directory import Directory, Unit
from fleetd.errors import ConfigError
from fleetd.event import Duty, Position, Record, Vehicle, millis, pack
from fleetd.store import open_store
from fleetd.store.look import Filter
from fleetd.store.units import ROSTER, narrowed
from fleetd.tasks.intake import Arrival, take_in
from tests.conftest import MORNING
from tests.store.deeds import ACME

VIN = "1FUJGLDR5CLBP8834"
HEAD = "provider,id,fleet_number,vin,plate\n"


def vendor(name: str) -> str:
    if name != "acme":
        raise ConfigError(f'no provider "{name}"')
    return name


def read(folder: Path, body: bytes | str) -> tuple[list[tuple[str, ...]], list[str]]:
    path = folder / "vehicles.csv"
    path.write_bytes(body if isinstance(body, bytes) else body.encode())
    text = '[daemon]\ndata = "d"\n[vehicles]\nfile = "vehicles.csv"\n'
    house = config.parse(text, folder / "fleetd.toml")
    report = Report(house.path, house.lines)
    rows = read_roster(house, vendor, report)
    wrong = [one.replace(f"{folder}/", "") for one in report.bad]
    return [(one.id, one.fleet_number, one.vin, one.plate) for one in rows], wrong


@pytest.mark.parametrize("start", ["", "\ufeff"])
@pytest.mark.parametrize("between", [",", ";"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_list_is_read_as_spreadsheets_write_it(start, between, end, tmp_path):
    lines = ["provider,id,fleet_number,vin,plate", f"acme,7,T-1,{VIN.lower()},A 1", ",,,,",
             'acme, 8 ,"T-2",,']  # fmt: skip
    text = start + end.join(lines).replace(",", between) + end

    assert read(tmp_path, text) == (
        [("7", "T-1", VIN, "A 1"), ("8", "T-2", "", "")],
        [],
    )


def test_columns_may_be_fewer_and_in_any_order(tmp_path):
    assert read(tmp_path, "ID,Provider\n7,acme\n") == ([("7", "", "", "")], [])


def test_columns_at_the_right_edge_in_which_nothing_stands_are_none(tmp_path):
    text = "provider,id,fleet_number,,\nacme,7,T-1,,\nacme,8,T-2\n"

    assert read(tmp_path, text) == ([("7", "T-1", "", ""), ("8", "T-2", "", "")], [])
    assert read(tmp_path, text.replace("T-1,,", "T-1,,x"))[1] == [
        "vehicles.csv:2: has 5 cells for 3 columns"
    ]


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("", "vehicles.csv:1: provider: is missing; the columns are provider, id, "),
        (f"{HEAD}acme,7,T,NOTAVIN,\n", "vehicles.csv:2: vin: 'NOTAVIN' is no VIN"),
        (f"{HEAD}acme,7\nacme,8\nacme,7\n", "vehicles.csv:4: id: acme 7 stands in line 2"),
        (f"{HEAD}acm,7\n", 'vehicles.csv:2: provider: no provider "acm"'),
        (f"{HEAD}acme,,T-1\n", "vehicles.csv:2: id: is missing"),
        (f"{HEAD}acme,7,,,,,\n", "vehicles.csv:2: has 7 cells for 5 columns"),
        ("provider,id,fleet_nr\n", "vehicles.csv:1: fleet_nr: no such column; did you mean `fleet_number`?"),
        ("provider,id,id\n", "vehicles.csv:1: id: stands there twice"),
        (f'{HEAD}acme,"7\n', "vehicles.csv:2: unexpected end of data"),
        (f"{HEAD}acme,{'7' * 300}\n", "vehicles.csv:2: id: longer than 200 characters"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_by_line_and_column(text, wrong, tmp_path):
    assert read(tmp_path, text)[1][0].startswith(wrong)


def test_a_file_that_is_not_there_or_not_text_is_told_where_it_is_named(tmp_path):
    bad = read(tmp_path, HEAD.encode() + b"acme,\xff\n")[1]
    assert bad == [
        "fleetd.toml:4: vehicles.file: vehicles.csv: line 2 is not UTF-8 text"
    ]
    house = config.parse(
        '[daemon]\ndata = "d"\n[vehicles]\nfile = "none.csv"\n', tmp_path / "f.toml"
    )
    with pytest.raises(ConfigError, match=r"vehicles.file: .*none.csv: No such file"):
        config.fitted(house, vendor, vendor)


def test_of_very_many_faults_the_first_are_told(tmp_path):
    bad = read(tmp_path, HEAD + "acme,\n" * 100)[1]

    assert len(bad) == 21
    assert bad[-1] == "vehicles.csv: and 80 more"


@given(st.text(max_size=300))
def test_any_text_is_rows_or_faults(tmp_path_factory, text):
    folder = tmp_path_factory.mktemp("any")

    rows, wrong = read(folder, HEAD + text)

    assert all("vehicles.csv" in one for one in wrong)
    assert all(len(row) == 4 for row in rows)


def fix(**more) -> Position:
    return Position(
        id="p", at=MORNING, vehicle="7", latitude=1.0, longitude=2.0, **more
    )


def settled(directory: Directory, event) -> dict:
    return directory.settle("north", event, millis(MORNING))


def test_the_fleets_number_wins_and_its_vin_fills_in():
    directory = Directory()
    directory.adopt({("north", "7"): Unit("T-1", VIN)})

    assert settled(directory, fix()) == {"number": "T-1", "vin": VIN}
    assert settled(directory, fix(number="x", vin="OTHER")) == {"number": "T-1"}
    directory.put("north", "7", "vin", 0, "KNOWN")
    assert settled(directory, fix()) == {"number": "T-1", "vin": "KNOWN"}
    directory.adopt({("north", "7"): Unit(plate="A 1")})
    assert settled(directory, fix(number="x")) == {"vin": "KNOWN"}


def test_what_the_list_says_is_no_fact_of_the_vendors():
    directory = Directory()
    directory.adopt({("north", "7"): Unit("T-1", VIN)})
    at = millis(MORNING)

    assert directory.learn("north", fix(number="T-1", vin=VIN), at) == []
    learned = directory.learn("north", fix(number="T-9", vin=VIN), at)
    assert [(one.name, one.value) for one in learned] == [("number", "T-9")]


async def test_two_vendors_units_with_one_number_in_the_list_are_one_truck(
    autojump_clock, world, tmp_path
):
    async with open_store(tmp_path, world) as store:
        await store.register_sources({"north": "acme", "south": "acme"})
        units = [["north", "1", "T-1", "", ""], ["south", "b2", "T-1", "", "A 1"]]
        await store.remember(ROSTER, {"units": units})
        with store.reader() as reader:
            found = narrowed(reader.db, Filter(vehicle="t-1"))
            by_plate = narrowed(reader.db, Filter(vehicle="A 1"))

    assert found.units == {("north", "1"), ("south", "b2")}
    assert by_plate.units == {("south", "b2")}


# tags


def arrival(origin="poll", tags=("east",)) -> Arrival:
    return Arrival("north", ACME, millis(MORNING), origin, tags=frozenset(tags))


def take(directory: Directory, *events, **how):
    append = take_in(
        arrival(**how), [Record("e", pack(one)) for one in events], directory
    )
    for fact in append.facts:
        directory.put("north", fact.vehicle, fact.name, fact.at_ms, fact.value)
    return [made.event.id for made in append.made], [one.why for one in append.filtered]


def unit(*groups: str, number: str = "7", **more) -> Vehicle:
    return Vehicle(id=number, vehicle=number, groups=groups, **more)


def test_a_vehicle_without_any_of_the_tags_is_counted_out_and_still_known():
    directory = Directory()

    assert take(directory, unit("West", "Yard")) == ([], ["tag"])
    assert take(directory, fix()) == ([], ["tag"])
    assert take(directory, fix(), tags=()) == (["p"], [])
    assert take(directory, unit("West", "EAST")) == (["7"], [])
    assert take(directory, fix()) == (["p"], [])


@pytest.mark.parametrize("origin", ["push", "poll", "backfill"])
def test_both_roads_are_narrowed_alike_and_who_is_unknown_is_kept(origin):
    directory = Directory()

    assert take(directory, fix(), origin=origin) == (["p"], [])
    take(directory, unit("West"))
    assert take(directory, fix(), origin=origin) == ([], ["tag"])


def test_a_listing_without_groups_says_that_there_are_none_and_a_push_says_nothing():
    directory = Directory()
    take(directory, unit("East"))

    assert take(directory, unit(), origin="push") == (["7"], [])
    assert take(directory, fix()) == (["p"], [])
    assert take(directory, unit(), origin="poll") == ([], ["tag"])
    assert take(directory, fix()) == ([], ["tag"])


def test_a_removal_is_taken_whatever_the_tags():
    directory = Directory()
    take(directory, unit("West"))

    assert take(directory, unit(removed=True)) == (["7"], [])


# who drives


def assignment(driver: str, start: float, end: float | None = None, **more) -> Duty:
    hour = timedelta(hours=1)
    return Duty(
        id=f"{driver}{start}", vehicle="7", driver=driver, type="assignment", at=MORNING,
        started_at=MORNING + start * hour,
        ended_at=None if end is None else MORNING + end * hour, **more,
    )  # fmt: skip


def taught(*events: Duty) -> Directory:
    directory = Directory()
    for event in events:
        for one in directory.learn("north", event, millis(MORNING)):
            directory.put("north", one.vehicle, one.name, one.at_ms, one.value)
    return directory


def drives(directory: Directory, hour: float) -> str | None:
    at = MORNING + hour * timedelta(hours=1)
    found = directory.known("north", "7", "driver", millis(at))
    return found.partition("\n")[0] if found else None


def test_an_assignment_says_who_drives_from_its_start_to_its_end():
    directory = taught(assignment("ann", 1, 3, driver_name="Ann"))

    assert [drives(directory, one) for one in (0, 1, 2.9, 3, 5)] == [
        None, "ann", "ann", None, None,
    ]  # fmt: skip
    changes = directory.settle("north", fix(), millis(MORNING + timedelta(hours=2)))
    assert changes == {"driver": "ann", "driver_name": "Ann"}


@pytest.mark.parametrize("order", [1, -1])
def test_the_next_driver_is_not_sent_home_by_the_end_of_the_one_before(order):
    both = [assignment("ann", 1, 3), assignment("bo", 3, 5)]
    directory = taught(*both[::order])

    assert [drives(directory, one) for one in (2, 3, 4, 5)] == ["ann", "bo", "bo", None]


def test_an_open_assignment_ends_when_it_is_told_again_with_its_end():
    directory = taught(assignment("ann", 1), assignment("ann", 1, 3))

    assert [drives(directory, one) for one in (2, 4)] == ["ann", None]


def test_the_same_assignment_again_teaches_nothing():
    directory = taught(assignment("ann", 1, 3))

    assert directory.learn("north", assignment("ann", 1, 3), millis(MORNING)) == []


def test_somebody_who_took_over_meanwhile_stays():
    directory = taught(assignment("bo", 2, 6), assignment("ann", 1, 4))

    assert [drives(directory, one) for one in (1, 3, 5, 6)] == ["ann", "bo", "bo", None]


@pytest.mark.parametrize("order", [1, -1])
def test_who_drives_on_without_a_break_is_not_sent_home_in_between(order):
    both = [assignment("ann", 1, 3), assignment("ann", 3, 5)]
    directory = taught(*both[::order])

    assert [drives(directory, one) for one in (2, 3, 4, 5)] == ["ann"] * 3 + [None]
