"""On valid requests fleetd.web, h11 and llhttp agree, wherever the bytes are split."""

from __future__ import annotations

import string
from itertools import pairwise

import h11
import httptools
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetd.web import serve_stream
from fleetd.web.head import read_head
from fleetd.web.messages import RefusedError
from tests.tries import tries
from tests.web_client import ENOUGH, Memory, everything

TCHAR = string.ascii_letters + string.digits + "!#$%&'*+-.^_`|~"
FRAMING = {
    "host", "content-length", "transfer-encoding", "connection", "expect",
    "content-encoding", "upgrade",
}  # fmt: skip
names = st.text(TCHAR, min_size=1, max_size=20).filter(
    lambda n: n.lower() not in FRAMING
)
visible = st.characters(min_codepoint=0x21, max_codepoint=0x7E)
values = st.lists(st.text(visible, min_size=1, max_size=12), max_size=3).map(" ".join)
paths = st.text(
    string.ascii_letters + string.digits + "-._~!$&'()*+,;=:@/", max_size=20
)
queries = st.none() | st.text(
    string.ascii_letters + string.digits + "?/&=%-._~", max_size=20
)


@st.composite
def requests(draw):
    """Head, body pieces, and whether they go as chunks."""
    method = draw(st.sampled_from(["GET", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"]))
    query = draw(queries)
    target = "/" + draw(paths) + ("" if query is None else f"?{query}")
    headers = [("Host", "fleet.example:8780")]
    headers += draw(st.lists(st.tuples(names, values), max_size=6))
    pieces = draw(st.lists(st.binary(min_size=1, max_size=300), max_size=4))
    if draw(st.booleans()):
        headers.append(("Transfer-Encoding", "chunked"))
    else:
        headers.append(("Content-Length", str(sum(map(len, pieces)))))
    headers = draw(st.permutations(headers))
    return h11.Request(method=method, target=target, headers=headers), pieces


def serialized(request, pieces):
    client = h11.Connection(h11.CLIENT)
    data = client.send(request)
    for piece in pieces:
        data += client.send(h11.Data(data=piece))
    return data + client.send(h11.EndOfMessage())


def read_by_h11(data, count):
    server, seen = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20), []
    server.receive_data(data)
    for _ in range(count):
        head, body = server.next_event(), b""
        while not isinstance(event := server.next_event(), h11.EndOfMessage):
            body += bytes(event.data)
        seen.append(
            (head.method.decode(), head.target.decode(), joined(head.headers), body)
        )
        server.send(h11.Response(status_code=200, headers=[("Content-Length", "0")]))
        server.send(h11.EndOfMessage())
        server.start_next_cycle()
    return seen


class Llhttp:
    def __init__(self):
        self.target, self.headers, self.body, self.done = b"", [], b"", 0

    def on_url(self, url):
        self.target += url

    def on_header(self, name, value):
        self.headers.append((name, value))

    def on_body(self, body):
        self.body += body

    def on_message_complete(self):
        self.done += 1


def read_by_llhttp(data):
    seen = Llhttp()
    parser = httptools.HttpRequestParser(seen)
    parser.feed_data(data)
    assert seen.done == 1
    method = parser.get_method().decode()
    return method, seen.target.decode(), joined(seen.headers), seen.body


def joined(pairs):
    headers = {}
    for name, value in pairs:
        key, text = name.decode().lower(), value.decode("latin-1").strip(" \t")
        headers[key] = f"{headers[key]}, {text}" if key in headers else text
    return headers


async def read_by_us(data, cuts):
    memory = Memory()
    ours, theirs = trio.testing.memory_stream_pair()
    with trio.fail_after(ENOUGH):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve_stream, theirs, memory)
            nursery.start_soon(everything, ours)
            edges = [0, *sorted(cuts), len(data)]
            for start, end in pairwise(edges):
                await ours.send_all(data[start:end])
                await trio.testing.wait_all_tasks_blocked()
            await ours.send_eof()
    return [
        (
            r.method,
            f"{r.path}?{r.query}" if r.query else r.path,
            dict(r.headers),
            r.body,
        )
        for r in memory.asked
    ]


def target_as_we_tell_it(target):
    path, _, query = target.partition("?")
    return f"{path}?{query}" if query else path


@settings(max_examples=tries(300), deadline=None)
@given(asked=st.lists(requests(), min_size=1, max_size=3), data=st.data())
def test_split_anywhere_every_request_is_read_as_h11_and_llhttp_read_it(asked, data):
    parts = [serialized(*one) for one in asked]
    whole = b"".join(parts)
    cuts = data.draw(st.sets(st.integers(0, len(whole)), max_size=12))

    ours = trio.run(read_by_us, whole, cuts)

    expected = [
        (method, target_as_we_tell_it(target), headers, body)
        for method, target, headers, body in read_by_h11(whole, len(asked))
    ]
    assert ours == expected
    for part, (method, target, headers, body) in zip(parts, ours, strict=True):
        their_method, their_target, their_headers, their_body = read_by_llhttp(part)
        assert method == their_method
        assert target == target_as_we_tell_it(their_target)
        assert (headers, body) == (their_headers, their_body)


@settings(max_examples=30, deadline=None)
@given(asked=requests())
def test_one_byte_at_a_time_reads_the_same_as_all_at_once(asked):
    data = serialized(*asked)

    drop_by_drop = trio.run(read_by_us, data, set(range(len(data))))

    assert drop_by_drop == trio.run(read_by_us, data, set())
    assert len(drop_by_drop) == 1


junk = st.sampled_from(
    [
        b"\r\n",
        b"\n",
        b"\r",
        b" ",
        b"\t",
        b":",
        b"\0",
        b"\xff",
        b"GET",
        b"/",
        b"Host: a",
        b"HTTP/1.1",
        b"HTTP/1.0",
        b"Content-Length: 1",
        b"Transfer-Encoding: chunked",
    ]
)


@settings(max_examples=tries(500), deadline=None)
@given(middle=st.lists(junk, max_size=8).map(b"".join))
def test_no_head_is_taken_that_llhttp_refuses(middle):
    head = b"GET / HTTP/1.1\r\nHost: a\r\n" + middle + b"\r\n\r\n"
    end = head.index(b"\r\n\r\n") + 4

    try:
        taken = read_head(head, 0, end, 100)
    except RefusedError:
        return
    seen = Llhttp()
    httptools.HttpRequestParser(seen).feed_data(head[:end])
    assert joined(seen.headers) == taken.headers


@settings(max_examples=tries(500), deadline=None)
@given(data=st.binary(max_size=400) | st.lists(junk, max_size=30).map(b"".join))
def test_no_bytes_whatever_break_the_server(data):
    memory = Memory()

    async def send():
        ours, theirs = trio.testing.memory_stream_pair()
        with trio.fail_after(ENOUGH):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(serve_stream, theirs, memory)
                await ours.send_all(data)
                await ours.send_eof()
                return await everything(ours)

    told = trio.run(send)

    assert told == b"" or told.startswith(b"HTTP/1.1 ")
    assert b"HTTP/1.1 500" not in told
