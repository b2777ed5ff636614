"""The http sink: a 2xx is a yes only if its body, however it comes, does not say no."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import AsyncIterator

import httpx
import pytest
import trio

from fleetd.errors import TransientError
from fleetd.secrets import Text
from fleetd.sinks.answers import JUDGED, says_no
from fleetd.sinks.contract import Receipt
from fleetd.sinks.http import SINK, Config
from tests.sinks.things import batch, entries, world

NO = b'{"ok":false,"error":"db down"}'
YES = b'{"ok":true}'
RESULTS = [{"id": f"p{n}", "error": "x" * 150} for n in range(500)]
LONG_NO = json.dumps({"items": RESULTS, "errors": True}).encode()
LONG_YES = json.dumps({"items": RESULTS, "errors": []}).encode()


class Parts(httpx.AsyncByteStream):
    """A body in parts, each after a wait; then none, or silence for ever."""

    def __init__(self, *parts: bytes, wait: float = 0.0, ends: bool = True) -> None:
        self._parts, self._wait, self._ends = parts, wait, ends

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for part in self._parts:
            await trio.sleep(self._wait)
            yield part
        if not self._ends:
            await trio.sleep_forever()


class Endless(httpx.AsyncByteStream):
    def __init__(self, first: bytes, part: bytes, wait: float = 0.0) -> None:
        self._first, self._part, self._wait = first, part, wait
        self.told = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._first
        while True:
            await trio.sleep(self._wait)
            self.told += len(self._part)
            yield self._part


async def answered(
    body: bytes | httpx.AsyncByteStream, packing: str = "", status: int = 200
) -> Receipt:
    stream = Parts(body) if isinstance(body, bytes) else body
    headers = {"content-encoding": packing} if packing else {}
    found = httpx.Response(status, stream=stream, headers=headers)
    config = Config(url=Text("https://hub.example/in"))
    async with SINK.open(config, world(lambda _: found), "") as write:
        return await write(batch(entries(1, 2)))


async def refused(
    body: bytes | httpx.AsyncByteStream, packing: str = "", status: int = 200
) -> TransientError:
    with pytest.raises(TransientError) as caught:
        await answered(body, packing, status)
    return caught.value


@pytest.mark.parametrize(
    "body",
    [b"", b"ok", b"true", b"null", YES, b'{"error":null,"errors":[]}', b"[1]",
     b'{"id":"x","status":"queued"}', b"\xff\xfe", b'{"ok":"yes"}', b'{"error":',
     b'{"errors" : [ ], "error" : { }}', b"<ok/>", b'{"status": "no error"}',
     LONG_YES, b"taken " * 50_000, b"[" + b"1," * 50_000 + b"1]"],
)  # fmt: skip
async def test_a_body_in_words_we_do_not_know_is_no_disagreement(body):
    assert (await answered(body)).status == 200


@pytest.mark.parametrize(
    "body",
    [NO, LONG_NO, b"\xef\xbb\xbf" + NO, b'{"success":false}', b'{"error":"x"}',
     b'{"ok":0,"error":"x"}', b'{"errors":[1]}', b"{" + b" " * 90_000 + NO[1:],
     b'{"status":"error","message":"db down"}', b'{"status": "Failed"}', b'{"ok":"False"}',
     b'{"Success":false,"Message":"db down"}', b"false", b'"error"', b" FAILED\n"],
)  # fmt: skip
async def test_a_body_that_says_no_is_later_however_long_it_is(body):
    assert "the body" in str(await refused(body))


@pytest.mark.parametrize(
    "body",
    [b'<?xml version="1.0"?>\n<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0">\n<html/>',
     b"<!-- guests -->\n<HTML><body>Welcome", b"<head><title>Sign in</title></head>",
     b"\n<script>location='/login'</script>"],
)  # fmt: skip
async def test_a_web_page_is_no_yes_however_it_begins(body):
    assert "web page" in str(await refused(body))


def test_a_body_nested_too_deep_to_be_read_is_no_yes():
    body = b'{"error":' + b"[" * 60_000

    assert "nested too deep" in (says_no(body) or "")


async def test_a_body_that_is_too_long_to_be_read_whole_may_say_no():
    stream = Endless(b'{"items":[', b"1," * (1 << 19))

    assert "too long" in str(await refused(stream))
    assert stream.told <= JUDGED + (2 << 20)


@pytest.mark.parametrize(
    "parts", [(b'{"error":"db', b" is down"), (), (b" ", b"\n"), (b'{"ok":true',)]
)
async def test_a_body_that_stalls_may_say_no(autojump_clock, parts):
    before = trio.current_time()
    found = await refused(Parts(*parts, wait=1, ends=False))

    assert "too slow" in str(found)
    assert found.slow
    assert not found.counts
    assert trio.current_time() - before <= 6


@pytest.mark.parametrize("body", [YES, b"taken"])
async def test_a_body_that_said_all_it_could_need_not_end(autojump_clock, body):
    assert (await answered(Parts(body, ends=False))).answer == body


async def test_a_body_that_crawls_costs_seconds(autojump_clock):
    before = trio.current_time()
    await answered(Endless(b".", b".", wait=1))

    assert trio.current_time() - before <= 6


PACKED = {"gzip": gzip.compress, "deflate": zlib.compress, "X-GZIP": gzip.compress}


@pytest.mark.parametrize("packing", PACKED)
async def test_a_packed_body_is_read_though_nobody_asked_for_it(packing):
    pack = PACKED[packing]

    assert "the body says" in str(await refused(pack(NO), packing))
    assert "names an error" in str(await refused(pack(LONG_NO), packing))
    assert (await answered(pack(YES), packing)).answer == YES
    assert (await answered(pack(b"taken"), packing)).status == 200


@pytest.mark.parametrize(
    ("packing", "body"),
    [
        ("br", NO),
        ("gzip, br", NO),
        ("gzip", NO),
        ("gzip", gzip.compress(YES)[:-3]),
        ("gzip", gzip.compress(YES) + gzip.compress(NO)),
    ],
    ids=["brotli", "twice", "not at all", "cut short", "and more after it"],
)
async def test_a_packed_body_that_cannot_be_read_whole_is_no_yes(packing, body):
    assert "packed" in str(await refused(body, packing))


@pytest.mark.parametrize("packing", ["br", "gzip"])
async def test_where_nothing_is_packed_nothing_says_no(packing):
    assert (await answered(b"", packing, 204)).status == 204


async def test_a_little_that_inflates_to_very_much_is_unpacked_no_further():
    bomb = gzip.compress(b'{"items":"' + bytes(50_000_000), 1)

    assert "too long" in str(await refused(bomb, "gzip"))
    found = await refused(bomb, "gzip", 500)
    assert len(found.answer) <= 2048


async def test_what_is_packed_in_another_way_is_not_unpacked():
    assert (await refused(gzip.compress(bytes(9_000)), "br", 500)).answer == b""
