"""The sheets sink among people: what it says to them, and what they may do to a tab."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import trio
from msgspec.structs import replace
from structlog.testing import capture_logs

from fleetd.errors import HeldError, TransientError
from fleetd.event import Position, Trip
from fleetd.google import account_of, origin_of
from fleetd.masking import MASK
from fleetd.secrets import Secret
from fleetd.sinks.sheets import SINK
from fleetd.world import World, inline
from tests.clouds.book import Metadatum, Tab
from tests.clouds.sheets import EMAIL, Cloud
from tests.sinks.sheeted import BOOK, config_of, rows, sheets, sink, some
from tests.sinks.things import DAY, entries, entry

FEW: dict[str, Any] = {"columns": {"seq": "seq", "truck": "vehicle"}}


@pytest.fixture
def cloud() -> Iterator[Cloud]:
    with sheets() as one:
        yield one


def seqs(cloud: Cloud, tab: str = "fleetd") -> list[int]:
    return [row["seq"] for row in rows(cloud.book(BOOK), tab) if "seq" in row]


def tab(cloud: Cloud) -> Tab:
    return cloud.book(BOOK).tab("fleetd")


# what people do to a log


@pytest.mark.parametrize(
    "act", ["sort", "remove", "insert", "type", "rename", "own column"]
)
async def test_a_log_goes_on_below_whatever_people_did_between_two_writes(cloud, act):
    async with sink(cloud, **FEW) as write:
        await write(some(entries(1, 2, 3)))
        acts = {
            "sort": lambda one: one.sort(0, reverse=True),
            "remove": lambda one: one.rows.pop(3),
            "insert": lambda one: one.rows.insert(1, {}),
            "type": lambda one: one.type(6, 1, "sum"),
            "rename": lambda one: setattr(one, "title", "Trucks"),
            "own column": lambda one: one.type(2, 9, "mine"),
        }
        acts[act](tab(cloud))
        await write(some(entries(4, 5)))

    title = "Trucks" if act == "rename" else "fleetd"
    kept = [1, 2] if act == "remove" else [1, 2, 3]
    assert sorted(seqs(cloud, title)) == [*kept, 4, 5]
    if act == "type":
        assert cloud.book(BOOK).tab("fleetd").value(6, 1) == "sum"
    if act == "own column":
        assert cloud.book(BOOK).tab("fleetd").value(2, 9) == "mine"


@pytest.mark.parametrize("act", ["sort", "remove", "insert", "cut"])
async def test_a_log_loses_nothing_when_people_act_in_the_middle_of_a_write(cloud, act):
    acts = {
        "sort": lambda one: one.sort(0, reverse=True),
        "remove": lambda one: one.rows.pop(2),
        "insert": lambda one: one.rows.__setitem__(slice(1, 1), [{}, {}, {}]),
        "cut": lambda one: one.rows.__delitem__(slice(8, None)),
    }
    async with sink(cloud, **FEW) as write:
        await write(some(entries(*range(1, 6))))
        pending = [acts[act]]
        cloud.before_write = lambda book: (
            pending.pop()(book.tab("fleetd")) if pending else None
        )
        await write(some(entries(6, 7, 8, 9)))
        await write(some(entries(10)))

    kept = [one for one in range(1, 11) if act != "remove" or one != 2]
    assert sorted(seqs(cloud)) == kept


@pytest.mark.parametrize(("at", "blank"), [(3, 1), (3, 2), (4, 2), (1, 5), (5, 1)])
async def test_a_row_that_was_pushed_under_ours_comes_back(cloud, at, blank):
    """Blank rows above the last ones push one of those to where we write."""
    async with sink(cloud, **FEW) as write:
        await write(some(entries(*range(1, 6))))
        pending = [[{} for _ in range(blank)]]
        cloud.before_write = lambda book: (
            tab(cloud).rows.__setitem__(slice(at, at), pending.pop())
            if pending
            else None
        )
        await write(some(entries(6)))

    assert sorted(seqs(cloud)) == [1, 2, 3, 4, 5, 6]


async def test_a_tab_that_was_deleted_is_made_again(cloud):
    async with sink(cloud, **FEW) as write:
        await write(some(entries(1)))
        book = cloud.book(BOOK)
        book.batch_update([{"deleteSheet": {"sheetId": tab(cloud).id}}])
        await write(some(entries(2)))

    assert seqs(cloud) == [2]


async def test_a_copy_of_a_tab_is_not_the_tab(cloud):
    async with sink(cloud, **FEW) as write:
        await write(some(entries(1)))
    book = cloud.book(BOOK)
    copy = tab(cloud).copied()
    copy.id, copy.title = 4242, "Copy of fleetd"
    book.tabs.insert(0, copy)
    note = next(one for one in book.metadata.values() if one.key == "fleetd.cursor")
    body = {
        "metadataKey": note.key,
        "metadataValue": note.value,
        "visibility": "DOCUMENT",
        "location": {"sheetId": 4242},
    }
    book.batch_update([{"createDeveloperMetadata": {"developerMetadata": body}}])
    async with sink(cloud, **FEW) as write:
        await write(some(entries(2)))

    assert seqs(cloud) == [1, 2]
    assert seqs(cloud, "Copy of fleetd") == [1]


async def test_a_copy_of_a_tab_may_be_kept_in_its_turn(cloud):
    async with sink(cloud, **FEW) as write:
        await write(some(entries(1)))
    book = cloud.book(BOOK)
    note = next(one for one in book.metadata.values() if one.key == "fleetd.cursor")
    copy = tab(cloud).copied()
    copy.id, copy.title = 4242, "Copy of fleetd"
    book.tabs.insert(0, copy)
    for seq in (
        2,
        3,
    ):  # each after a start, and Google names what is noted in any order
        async with sink(cloud, **FEW, tab="Copy of fleetd", adopt=True) as write:
            await write(some(entries(seq)))
        book.metadata.pop(99, None)
        book.metadata[99] = Metadatum(
            99, note.key, note.value, "DOCUMENT", {"sheetId": 4242}
        )

    assert seqs(cloud, "Copy of fleetd") == [1, 2, 3]
    assert seqs(cloud) == [1]


async def test_of_two_that_find_the_same_empty_tab_one_has_it(cloud):
    book = cloud.book(BOOK)
    book.tabs[0].title = "fleetd"
    async with sink(cloud, **FEW) as write:
        await write(some(entries(1), log="log-2"))
    theirs = {one.id: one for one in book.metadata.values()}
    for one in theirs.values():
        one.value = one.value.replace(platform.node(), "box-2")
    book.metadata.clear()
    book.tabs[0].rows = [{} for _ in range(100)]
    cloud.before_write = lambda book: book.metadata.update(theirs)  # they are quicker
    async with sink(cloud, **FEW) as write:
        with pytest.raises(HeldError, match="already in use"):
            await write(some(entries(1)))
        with pytest.raises(HeldError, match=r"belongs to another fleetd \(box-2\)"):
            await write(some(entries(1)))

    assert tab(cloud).table() == []


# whose tab it is


async def test_a_tab_with_rows_of_others_is_left_alone_until_it_is_adopted(cloud):
    book = cloud.book(BOOK)
    one = book.tabs[0]
    one.title = "Dispatch"
    for n, line in enumerate([["truck", "note"], ["T-1", "x"], ["T-2", "y"]]):
        for m, value in enumerate(line):
            one.type(n, m, value)
    async with sink(cloud, **FEW, tab="Dispatch") as write:
        with pytest.raises(
            HeldError,
            match="tab 'Dispatch' has 3 rows fleetd did not write; name an empty tab or set adopt = true",
        ):
            await write(some(entries(1)))
    async with sink(cloud, **FEW, tab="Dispatch", adopt=True) as write:
        await write(some(entries(1)))

    assert one.table()[0][:3] == ["truck", "note", "seq"]
    assert rows(book, "Dispatch")[:2] == [
        {"truck": "T-1", "note": "x"},
        {"truck": "T-2", "note": "y"},
    ]
    assert rows(book, "Dispatch")[2]["truck"] == "v1"


async def test_a_tab_of_another_fleetd_is_left_alone_until_it_is_adopted(
    cloud, tmp_path
):
    async with sink(cloud, **FEW) as write:
        await write(some(entries(1, 2)))
    note = next(
        one for one in cloud.book(BOOK).metadata.values() if one.key == "fleetd.cursor"
    )
    note.value = note.value.replace(json.loads(note.value)["box"], "box-2")
    async with sink(cloud, **FEW) as write:
        with pytest.raises(
            HeldError, match=r"tab 'fleetd' belongs to another fleetd \(box-2\)"
        ):
            await write(some(entries(1), log="log-2"))
    async with sink(cloud, **FEW, adopt=True, place=str(tmp_path)) as write:
        await write(some(entries(1), log="log-2"))

    assert seqs(cloud) == [1, 2, 1]


async def test_a_log_that_began_anew_on_the_same_box_goes_on_in_its_tab(cloud):
    async with sink(cloud, **FEW) as write:
        await write(some(entries(1, 2)))
    async with sink(cloud, **FEW) as write:
        await write(some(entries(3), log="log-2"))

    assert seqs(cloud) == [1, 2, 3]


async def test_a_tab_kept_in_the_other_mode_is_left_alone(cloud):
    async with sink(cloud, **FEW) as write:
        await write(some(entries(1)))
    async with sink(cloud, **FEW, mode="upsert", key=("vehicle",)) as write:
        with pytest.raises(HeldError, match='was kept with mode = "append"'):
            await write(some(entries(2)))


async def test_a_header_that_was_changed_is_asked_back_for(cloud):
    async with sink(cloud, **FEW) as write:
        await write(some(entries(1)))
        tab(cloud).type(0, 1, "Unit")
        with pytest.raises(HeldError, match="row 1 has no header 'truck' any more"):
            await write(some(entries(2)))
        tab(cloud).type(0, 1, "truck")
        await write(some(entries(2)))

    assert seqs(cloud) == [1, 2]


async def test_a_column_that_the_config_has_anew_is_added_on_the_right(cloud):
    async with sink(cloud, **FEW) as write:
        await write(some(entries(1)))
    async with sink(cloud, columns={**FEW["columns"], "lat": "latitude"}) as write:
        await write(some(entries(2)))

    assert [row.get("lat") for row in rows(cloud.book(BOOK))] == [None, 1]
    assert tab(cloud).table()[0] == ["seq", "truck", "fleetd", "lat"]


async def test_a_new_column_stands_beside_what_people_wrote_without_a_header(cloud):
    async with sink(cloud, **FEW) as write:
        await write(some(entries(1)))
    tab(cloud).type(1, 4, "call Dana")
    async with sink(cloud, columns={**FEW["columns"], "lat": "latitude"}) as write:
        await write(some(entries(2)))

    assert tab(cloud).table()[0] == ["seq", "truck", "fleetd", "", "", "lat"]
    assert tab(cloud).table()[1][4] == "call Dana"


# what may go wrong at Google


async def test_who_was_not_invited_says_whom_to_invite(cloud):
    cloud.shared[BOOK].clear()
    async with sink(cloud) as write:
        with pytest.raises(HeldError, match=f"share this sheet with {EMAIL} as Editor"):
            await write(some(entries(1)))
        cloud.shared[BOOK].add(EMAIL)
        await write(some(entries(1)))

    assert len(rows(cloud.book(BOOK))) == 1


async def test_an_api_that_is_off_a_book_that_is_gone_and_a_full_one_are_said(cloud):
    async with sink(cloud) as write:
        cloud.disabled = True
        with pytest.raises(HeldError, match="Google Sheets API is off"):
            await write(some(entries(1)))
        cloud.disabled = False
        book = cloud.books.pop(BOOK)
        with pytest.raises(HeldError, match=f"there is no spreadsheet {BOOK}"):
            await write(some(entries(1)))
        cloud.books[BOOK] = book
        book.tabs.append(Tab(9, "big", 999_000, 10))
        with pytest.raises(HeldError, match="10 000 000 cells"):
            await write(some(entries(1)))


async def test_a_token_that_ended_is_renewed_and_a_revoked_key_is_said(cloud):
    async with sink(cloud, **FEW) as write:
        await write(some(entries(1)))
        cloud.end_tokens()
        await write(some(entries(2)))
        assert cloud.logins == 2
        cloud.end_tokens()
        cloud.revoked = True
        with pytest.raises(HeldError, match="Invalid JWT Signature") as caught:
            await write(some(entries(3)))

    assert EMAIL in str(caught.value)
    assert seqs(cloud) == [1, 2]


async def test_a_token_is_used_again_until_it_is_nearly_over(cloud):
    async with sink(cloud, **FEW) as write:
        for n in range(1, 5):
            await write(some(entries(n)))

    assert cloud.logins == 1


def test_tabs_of_one_account_share_its_quota_wherever_its_key_is_kept(cloud):
    first, second = config_of(cloud), config_of(cloud, tab="other", mode="upsert")
    other = cloud.account(client_email="other@example.com")
    third = replace(first, account=Secret(f"plain:{json.dumps(other)}"))
    broken = replace(first, account=Secret("plain:not a key"))

    names = [SINK.shaped(one).account(one) for one in (first, second, third, broken)]

    assert names[0] == names[1] == EMAIL
    assert len({*names}) == 3
    assert "not a key" not in names[3]


async def test_a_quota_that_is_spent_is_waited_out_and_blames_no_record(cloud):
    async with sink(cloud, **FEW) as write:
        await write(some(entries(1)))
        cloud.per_minute = 1
        with pytest.raises(TransientError, match="Quota exceeded") as caught:
            await write(some(entries(2)))

    assert caught.value.status == 429
    assert not caught.value.counts


@pytest.mark.parametrize(
    "key",
    [
        "not json",
        "{}",
        '{"type":"authorized_user","client_email":"a@b","private_key":"x"}',
    ],
)
async def test_what_is_no_key_is_said_without_showing_it(cloud, key):
    config = replace(config_of(cloud), account=Secret(f"plain:{key}"))
    async with SINK.open(config, World(in_thread=inline, threads=False), "") as write:
        with pytest.raises(HeldError, match="account: ") as caught:
            await write(some(entries(1)))

    assert key not in str(caught.value)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "example.com"])
def test_a_claim_goes_unsealed_to_this_box_alone(cloud, host):
    key = json.dumps(cloud.account(token_uri=f"http://{host}:9000/token"))

    if host == "example.com":
        with pytest.raises(ValueError, match="not an https"):
            account_of(key)
    else:
        assert account_of(key).client_email == EMAIL


async def test_neither_key_nor_token_is_ever_told(cloud):
    async with sink(cloud) as write:
        await write(some(entries(1)))

    token = next(iter(cloud._tokens))
    assert MASK.mask(f"say {token}") == "say ***"
    assert "PRIVATE KEY" not in MASK.mask(cloud.account()["private_key"])


async def test_the_check_reads_a_title_and_warns_when_anyone_may_read(cloud):
    world = World(in_thread=inline, threads=False)
    said = await SINK.check(config_of(cloud), world)
    cloud.public.add(BOOK)
    warned = await SINK.check(config_of(cloud), world)

    assert said == f"'Fleet' can be read by {EMAIL}"
    assert "anyone with the link can read it" in warned
    assert cloud.writes() == []


async def test_a_sheet_that_all_the_world_can_read_is_warned_of_once_a_start(cloud):
    async def begun() -> list[Any]:
        with capture_logs() as said:
            async with sink(cloud) as write:
                for number in (1, 2):
                    await write(some(entries(number)))
                with trio.fail_after(30):
                    while not cloud.strangers:  # noqa: ASYNC110  a thread counts them
                        await trio.sleep(0.02)
                await trio.sleep(0.1)
        assert cloud.strangers == 1
        cloud.strangers = 0
        return [one["why"] for one in said if one["event"] == "sheet_is_public"]

    before = await begun()
    cloud.public.add(BOOK)
    after = await begun()

    assert before == []
    assert after == ["anyone with the link can read it"]


# what stands in cells


async def test_what_vendors_send_is_never_a_formula(cloud):
    evil = [
        "=IMPORTXML(1)",
        "+1",
        "-1",
        "@x",
        "\t=1",
        "'=1",
        '=HYPERLINK("x")',
        "1-2",
        "007",
        "TRUE",
    ]
    made = [
        Position(id=f"p{n}", at=DAY, vehicle=text, latitude=1.0, longitude=2.0)
        for n, text in enumerate(evil)
    ]
    async with sink(cloud, **FEW) as write:
        await write(some([entry(n, one) for n, one in enumerate(made, 1)]))

    found = tab(cloud).rows[1:]
    assert [row[1]["userEnteredValue"] for row in found[: len(evil)]] == [
        {"stringValue": one} for one in evil
    ]
    assert "formulaValue" not in json.dumps([one.body for one in cloud.calls])


async def test_numbers_keep_their_digits_and_long_texts_their_beginning(cloud):
    trip = Trip(
        id="t",
        at=DAY,
        vehicle="x" * 60_000,
        started_at=DAY,
        distance_miles=float("nan"),
        duration_s=2.0**60,
    )
    columns = ["vehicle", "distance_miles", "duration_s", "started_at", "flags"]
    async with sink(cloud, columns={one: one for one in columns}) as write:
        await write(some([entry(1, trip)]))

    (row,) = rows(cloud.book(BOOK))
    assert len(row["vehicle"]) == 50_000
    assert "distance_miles" not in row
    assert row["duration_s"] == "1.152921504606847e+18"
    assert row["started_at"] == 46347.5


async def test_times_are_written_in_the_zone_that_is_asked_for(cloud):
    from fleetd.when import Zone

    async with sink(cloud, columns={"at": "at"}, zone=Zone("America/Chicago")) as write:
        await write(some(entries(1)))

    assert rows(cloud.book(BOOK))[0]["at"] == 46347.25
    assert "Times are America/Chicago" in tab(cloud).rows[0][0]["note"]


async def test_our_columns_warn_who_types_there_and_lock_nobody_out(cloud):
    async with sink(cloud, **FEW) as write:
        await write(some(entries(1)))

    (one,) = tab(cloud).protected.values()
    assert one["warningOnly"] is True
    assert (one["range"]["startColumnIndex"], one["range"]["endColumnIndex"]) == (0, 3)


# where events go


async def test_a_replay_goes_to_a_tab_of_its_own_unless_it_is_in_place(cloud):
    async with sink(cloud, **FEW) as write:
        await write(some(entries(1, 2, 4)))
        await write(some(entries(1, 2), generation=7))
        await write(some(entries(2), generation=7))
        await write(some(entries(1, 2, 3, 4), generation=8, in_place=True))

    assert seqs(cloud, "fleetd replay 7") == [1, 2]
    assert seqs(cloud) == [1, 2, 4, 3]


async def test_each_month_has_a_tab_and_a_month_is_where_it_was_received(cloud):
    async with sink(cloud, **FEW, monthly=True) as write:
        late = timedelta(days=12)
        await write(some([entry(1), entry(2, after=late), entry(3, after=late)]))

    assert seqs(cloud, "fleetd 2026-11") == [1]
    assert seqs(cloud, "fleetd 2026-12") == [2, 3]


async def test_what_was_read_from_a_tab_is_not_written_back_to_it(cloud):
    here, other = origin_of(BOOK, "fleetd"), origin_of(BOOK, "Other")
    made = [
        Position(
            id=f"p{n}", at=DAY, vehicle="v", latitude=1.0, longitude=2.0, flags=(flag,)
        )
        for n, flag in enumerate([here, other], 1)
    ]
    async with sink(cloud, **FEW) as write:
        receipt = await write(some([entry(n, one) for n, one in enumerate(made, 1)]))

    assert receipt.skipped == {1: "echo"}
    assert seqs(cloud) == [2]


async def test_a_tab_of_thousands_of_flushes_forgets_the_old_ones(cloud):
    book = cloud.book(BOOK)
    async with sink(cloud, **FEW) as write:
        await write(some(entries(1)))
    note = next(one for one in book.metadata.values() if one.key == "fleetd.cursor")
    note.value = json.dumps({**json.loads(note.value), "n": 500})
    for n in range(2, 501):
        noted = Metadatum(90_000 + n, "fleetd.flush", str(n), "DOCUMENT", note.location)
        book.metadata[noted.id] = noted
    async with sink(cloud, **FEW) as write:
        for n in range(2, 20):
            await write(some(entries(n)))

    kept = [
        int(one.value) for one in book.metadata.values() if one.key == "fleetd.flush"
    ]
    assert sorted(kept) == list(range(319, 519))
    assert seqs(cloud) == list(range(1, 20))
