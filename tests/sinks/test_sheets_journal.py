"""What the sheets sink notes before it writes, and what becomes of a note that is torn."""

from __future__ import annotations

import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fleetd.errors import HeldError, TransientError
from fleetd.event import Entry, Position
from fleetd.sinks.sheets.current import Before, Wanted
from fleetd.sinks.sheets.journal import Journal
from fleetd.sinks.sheets.log import Above, _above
from fleetd.sinks.sheets.upsert import _before
from fleetd.world import World, inline
from tests.clouds.book import Tab
from tests.sinks.sheeted import BOOK, rows, sheets, sink, some
from tests.sinks.test_telling_memory import ROOT
from tests.sinks.things import DAY, entry

WORLD = World(in_thread=inline, threads=False)
ROW = {"truck": "T-1", "seq": 7.0, "at": None}
ABOVE = Above(1, 2, {"mark": ROW}, {"truck": 0}, {"mark": "printed"})
BEFORE = Before({"key": Wanted("key", ROW, (1, 2, 3))}, {"truck": 0}, ["mark"])
BOTH = [(ABOVE, _above), (BEFORE, _before)]


def journal(folder: Path) -> Journal:
    return Journal(str(folder), "fleetd", WORLD)


@pytest.mark.parametrize(("value", "decode"), BOTH)
async def test_what_was_noted_is_there_after_a_start_until_it_is_dropped(
    tmp_path, value, decode
):
    await journal(tmp_path).keep(value)

    assert await journal(tmp_path).load(decode) == value
    await journal(tmp_path).drop()
    assert await journal(tmp_path).load(decode) is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("value", "decode"), BOTH)
async def test_a_note_that_is_torn_in_whatever_way_is_as_good_as_none(
    tmp_path, value, decode
):
    await journal(tmp_path).keep(value)
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    for at in range(len(whole)):
        for body in (whole[:at], whole[:at] + b"\xff" + whole[at + 1 :]):
            path.write_bytes(body)
            found = await journal(tmp_path).load(decode)
            assert found is None or type(found) is type(value)


async def test_a_note_that_cannot_be_taken_away_is_a_later(tmp_path):
    await journal(tmp_path).keep(ABOVE)
    (path,) = tmp_path.iterdir()
    path.unlink()
    path.mkdir()

    with pytest.raises(TransientError, match=tmp_path.name):
        await journal(tmp_path).drop()


AT_ONCE = """
import sys
import threading
from pathlib import Path
from fleetd.google import kept_in
from fleetd.sinks.sheets.journal import loaded
from fleetd.sinks.sheets.log import _above
from fleetd.sinks.sheets.upsert import _before

sys.setswitchinterval(1e-6)
note = {"metadataKey": "fleetd.cursor", "metadataValue": '{"tab":"a","sheet":1,"mode":"x"}'}
begin, found = threading.Barrier(8), []

def read():
    begin.wait()
    both = [loaded(Path(path), of) for path, of in zip(sys.argv[1:], (_above, _before))]
    found.append((*both, kept_in([note], 1)))

readers = [threading.Thread(target=read) for _ in range(8)]
for one in readers:
    one.start()
for one in readers:
    one.join()
assert all(all(one) for one in found) and len(found) == 8
"""


def test_tabs_that_start_at_once_read_what_they_noted_each_in_a_thread(tmp_path):
    paths = [tmp_path / "above", tmp_path / "before"]
    for path, value in zip(paths, (ABOVE, BEFORE), strict=True):
        path.write_bytes(msgspec.msgpack.encode(value))
    for _ in range(5):
        command = [sys.executable, "-c", AT_ONCE, *map(str, paths)]
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=60)


LONG: dict[str, Any] = {"columns": {"seq": "seq", "Truck": "vehicle", "at": "at"}}
OTHER: dict[str, Any] = {"columns": {"seq": "seq", "Lorry": "vehicle", "id": "id"}}
KEPT = {"mode": "upsert", "key": ("vehicle",)}


def seen(seq: int, truck: str) -> Entry:
    at = DAY + timedelta(minutes=seq)
    return entry(seq, Position(id=f"p{seq}", at=at, vehicle=truck))


@pytest.mark.parametrize("mode", [{}, KEPT], ids=["log", "current"])
async def test_what_was_noted_of_other_columns_ends_no_daemon(tmp_path, mode):
    """A header was changed while we wrote, and `columns` after that, as is advised."""
    place = str(tmp_path)
    with sheets() as cloud:
        book = cloud.book(BOOK)
        async with sink(cloud, place, **LONG, **mode) as write:
            await write(some([seen(1, "a"), seen(2, "b")]))
            cloud.before_write = lambda book: changed(book.tab("fleetd"))
            with pytest.raises(HeldError, match="no header 'Truck'"):
                await write(some([seen(3, "b"), seen(4, "c")]))
        cloud.before_write = None
        async with sink(cloud, place, **OTHER, **mode) as write:
            await write(some([seen(3, "b"), seen(4, "c"), seen(5, "a")]))

        found = sorted(one["seq"] for one in rows(book))
        lorries = {one.get("Lorry") for one in rows(book)}
    assert found == ([3, 4, 5] if mode else [1, 2, 3, 4, 5])
    assert lorries >= {"a", "b", "c"}
    assert list(tmp_path.iterdir()) == []


def changed(tab: Tab) -> None:
    """A row goes from the top, and another header stands there."""
    tab.type(0, 1, "Lorry")
    tab.rows.insert(1, {})


@pytest.mark.parametrize("mode", [{}, KEPT], ids=["log", "current"])
async def test_a_note_of_the_build_before_is_read(tmp_path, mode):
    place = str(tmp_path)
    with sheets() as cloud:
        async with sink(cloud, place, **LONG, **mode) as write:
            await write(some([seen(1, "a"), seen(2, "b")]))
            cloud.before_write = lambda book: book.tab("fleetd").rows.insert(1, {})
            cloud.fault = lambda call: "reset after" if call.write else ""
            with pytest.raises(TransientError):
                await write(some([seen(3, "c")]))
        cloud.before_write, cloud.fault = None, lambda _: ""
        (path,) = tmp_path.iterdir()
        told = msgspec.msgpack.decode(path.read_bytes())
        if mode:
            told = told["memory"]
        else:
            order = told["columns"]
            told = {name: told[name] for name in ("n", "next", "rows")}
            told["rows"] = {
                mark: {order[name]: one for name, one in row.items()}
                for mark, row in told["rows"].items()
            }
        path.write_bytes(msgspec.msgpack.encode(told))
        async with sink(cloud, place, **LONG, **mode) as write:
            await write(some([seen(3, "c")]))

        found = [(one["seq"], one["Truck"]) for one in rows(cloud.book(BOOK))]
    assert sorted(found) == [(1, "a"), (2, "b"), (3, "c")]
