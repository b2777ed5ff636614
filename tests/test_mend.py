"""A record whose text is not quite JSON: its page is read all the same."""

from __future__ import annotations

import json
import tracemalloc
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetd import providers
from fleetd.errors import PayloadError
from fleetd.providers.contract import Turn
from fleetd.tasks.poll.mend import in_utf8, mended, shallow, unpacked
from fleetd.tasks.poll.page import read
from fleetd.web import Request
from tests.conftest import MORNING
from tests.polling import FIXES, Far, fix, page, polled

ALMOST = [
    (rb'"cut \ud83d"', "cut \ufffd"),
    (rb'"\ude00 first"', "\ufffd first"),
    (rb'"whole \ud83d\ude00 and half \uD83D\u0041"', "whole \U0001f600 and half \ufffdA"),
    (rb'"a path: \\ud83d"', r"a path: \ud83d"),
    (b'"two\nlines\x01"', "two lines "),
    (b'"caf\xe9"', "caf\ufffd"),
    (b"NaN", None),
    (b"-Infinity", None),
    (rb'"\"NaN\" as said"', '"NaN" as said'),
]  # fmt: skip


@pytest.mark.parametrize(("odd", "text"), ALMOST)
def test_what_is_almost_json_becomes_json(odd, text):
    for sample in (b'{"a":%b,"b":[%b, 1]}', b'\xef\xbb\xbf{"a": %b,"b":[\t%b\n,1]}'):
        body = sample.replace(b"%b", odd)

        assert json.loads(mended(body)) == {"a": text, "b": [text, 1]}


@given(
    st.recursive(
        st.none() | st.integers() | st.floats(allow_nan=False) | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=9,
    ).filter(lambda tree: "Infinity" not in json.dumps(tree)),
    st.booleans(),
)
def test_json_stays_what_it_says(tree, ascii_only):
    body = json.dumps(tree, ensure_ascii=ascii_only).encode(errors="surrogatepass")

    assert json.loads(mended(body)) == json.loads(body.decode(errors="replace"))


@given(st.binary(max_size=80))
def test_what_was_mended_needs_no_mending(body):
    assert mended(mended(body)) == mended(body)


@pytest.mark.parametrize("odd", [one for one, _ in ALMOST])
async def test_a_text_that_spoils_a_page_stops_no_feed(odd, autojump_clock, tmp_path):
    said = json.dumps(page(fix(1), {**fix(2), "x": "?"}, fix(3), next="9")).encode()
    far = Far(lambda _asked: page(next="9"))
    far.script = [said.replace(b'"?"', odd)]
    async with polled(tmp_path, far, FIXES) as source:
        await source.until(lambda: len(far.asked) >= 2)

        assert source.ids() == ["p1", "p2", "p3"]
        assert source.store.bookmark("north", "fixes") == "9"
        assert source.states() == {"fixes": "waiting"}
        assert source.dead() == []
        assert source.balanced()


@pytest.mark.parametrize("body", [b'{"items":[NaN', b'{"items":"\\ud83d"}', b"NaN"])
async def test_a_page_that_is_none_is_kept_as_it_came(body, autojump_clock, tmp_path):
    far = Far(lambda _asked: body)
    async with polled(tmp_path, far, FIXES) as source:
        await source.until(lambda: source.states() == {"fixes": "held"})

        assert [one[2] for one in source.dead()] == [body]


def nest(levels):
    return '{"x":[' * levels + "1" + "]}" * levels


@pytest.mark.parametrize("levels", [28, 29, 400, 100_000])
def test_what_nests_too_deep_is_cut_and_nothing_beside_it(levels):
    body = b'{"a":[{"s":"]}{[\\"","n":' + nest(levels).encode() + b',"z":2}],"b":"[["}'
    found = json.loads(shallow(body))

    assert (found["b"], found["a"][0]["s"], found["a"][0]["z"]) == ("[[", ']}{["', 2)
    assert (shallow(body) == body) == (levels == 28)


def test_a_nest_with_quotes_that_never_end_is_looked_through_once():
    body = b'{"x":' + b'\\"' * 2_000_000  # or it would take hours

    assert len(shallow(body)) == len(body)


def test_a_string_of_escapes_is_looked_through_in_the_room_of_its_bytes():
    body = b'{"x":"' + b'\\"' * 500_000

    tracemalloc.start()
    shallow(body)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert peak < 8 * len(body)  # and not sixty times as much, to go back in it


PAGES = {
    "samsara": ("trips", b'{"data":[%b],"pagination":{"endCursor":"c","hasNextPage":false}}'),
    "motive": ("trips", b'{"driving_periods":[%b],"pagination":{"page_no":1,"per_page":100,"total":3}}'),
    "geotab": ("trips", b'{"result":{"data":[%b],"toVersion":"00a1"}}'),
    "loconav": ("positions", b'{"success":true,"data":{"values":[%b],"pagination":{"more":false}}}'),
    "verizon": ("vehicles", b"[%b]"),
}  # fmt: skip


@pytest.mark.parametrize("vendor", PAGES)
@pytest.mark.parametrize("levels", [25, 400, 20_000])
def test_one_record_that_nests_without_end_is_set_aside_alone(vendor, levels):
    name, shape = PAGES[vendor]
    provider = providers.load(vendor)
    feed = next(one for one in provider.feeds if one.name == name)
    turn = Turn(MORNING, since=MORNING - timedelta(hours=1), vehicles=("1",))
    ask = feed.ask(turn)
    plain = b'{"id":"%d"}'
    deep = b'{"id":"2","x":' + nest(levels).encode() + b"}"
    found = read(
        feed.unpack, ask, shape % b",".join([plain % 1, deep, plain % 3]), turn
    )

    assert [one.body for one in found.records][::2] == [plain % 1, plain % 3]
    with pytest.raises(PayloadError, match="nested deeper"):
        list(provider.normalize[found.records[1].feed](found.records[1].body))


PUSHED = {
    "samsara": b'{"eventId":"1","eventType":"AlertIncident","eventTime":"2026-05-12T14:00:00Z","data":{"x":%b}}',
    "motive": b'[{"action":"engine_toggle_event","id":1},{"action":"new","id":2,"x":%b}]',
    "loconav": b'{"id":1,"kind":"CrashAlert","vehicle_number":"K","event_time":"2026-03-02T09:14:05Z","x":%b}',
    "verizon": b'{"vehicleNumber":"T","updateUTC":"2026-11-20T14:03:22Z","latitude":1,"longitude":2,"x":%b}',
}  # fmt: skip


@pytest.mark.parametrize("vendor", PUSHED)
@pytest.mark.parametrize("odd", [rb'"SOS \ud83d"', b'"two\nlines"', b"NaN"])
def test_a_pushed_text_cut_in_an_emoji_is_no_reason_to_miss_the_event(vendor, odd):
    provider = providers.load(vendor)
    sent = Request("POST", "/", "", {}, PUSHED[vendor] % odd, "")
    found = unpacked(provider.webhook, sent)
    events = [
        one
        for record in found.records
        for one in provider.normalize[record.feed](record.body)
    ]

    assert len(events) == (2 if vendor == "motive" else 1)


def test_in_a_pushed_list_only_what_nests_without_end_is_set_aside():
    provider = providers.load("motive")
    body = PUSHED["motive"] % nest(20_000).encode()
    found = unpacked(provider.webhook, Request("POST", "/", "", {}, body, ""))
    first, deep = (provider.normalize[one.feed](one.body) for one in found.records)

    assert next(iter(first)).kind == "engine"
    with pytest.raises(PayloadError, match="nested deeper"):
        list(deep)


@pytest.mark.parametrize("body", [b"{", b"\n{]", b"", b"{\xff"])
def test_what_is_not_json_at_all_stays_a_payload_error(body):
    provider = providers.load("samsara")

    with pytest.raises(PayloadError):
        unpacked(provider.webhook, Request("POST", "/", "", {}, body, ""))


@pytest.mark.parametrize(
    "body", [b"", b"abc", "é🚚".encode(), "é🚚".encode() * 300_000]
)
def test_what_is_utf_8_stays_the_very_bytes(body):
    assert in_utf8(body) is body


@pytest.mark.parametrize("end", [b"\xe9", b"\xc3"])
def test_what_is_not_becomes_so_wherever_it_breaks(end):
    assert in_utf8(b"a" * (1 << 20) + end).decode() == "a" * (1 << 20) + "\ufffd"


async def test_records_with_accents_of_another_encoding_are_read(
    autojump_clock, tmp_path
):
    far = Far(lambda _asked: page(next="9"))
    said = json.dumps(page({**fix(1), "x": "?"}, fix(2), next="9")).encode()
    far.script = [said.replace(b"?", b"caf\xe9")]
    async with polled(tmp_path, far, FIXES) as source:
        await source.until(lambda: len(far.asked) >= 2)

        assert source.ids() == ["p1", "p2"]
        assert source.dead() == []
