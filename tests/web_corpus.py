"""Requests that could be read in two ways, or not at all, and what each is answered."""

from __future__ import annotations

import gzip
from typing import NamedTuple

GET = b"GET / HTTP/1.1\r\nHost: a\r\n"
POST = b"POST /webhooks/north HTTP/1.1\r\nHost: a\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
ZIPPED = gzip.compress(b'{"event":"x"}')
STEP = 1 << 16  # what is inflated at a time
ALIGNED = next(
    packed
    for size in range(STEP - 64, STEP)
    if len(packed := gzip.compress(bytes(size), 0)) == STEP
)


class Case(NamedTuple):
    """`eof`: the sender stops there and says so."""

    name: str
    data: bytes
    status: int
    eof: bool = False


def line(first: bytes) -> bytes:
    return first + b"\r\nHost: a\r\n\r\n"


def header(text: bytes) -> bytes:
    return GET + text + b"\r\n\r\n"


def post(headers: bytes, body: bytes) -> bytes:
    return POST + headers + b"\r\nContent-Length: %d\r\n\r\n" % len(body) + body


LENGTHS = [
    Case(
        "two equal lengths",
        POST + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
        400,
    ),
    Case(
        "two lengths", POST + b"Content-Length: 2\r\nContent-Length: 9\r\n\r\n{}", 400
    ),
    Case("a list of lengths", POST + b"Content-Length: 2, 2\r\n\r\n{}", 400),
    Case("a signed length", POST + b"Content-Length: +2\r\n\r\n{}", 400),
    Case("a negative length", POST + b"Content-Length: -1\r\n\r\n{}", 400),
    Case("a hexadecimal length", POST + b"Content-Length: 0x2\r\n\r\n{}", 400),
    Case("an empty length", POST + b"Content-Length: \r\n\r\n{}", 400),
    Case("a fractional length", POST + b"Content-Length: 2.0\r\n\r\n{}", 400),
    Case("an underscored length", POST + b"Content-Length: 1_0\r\n\r\n0123456789", 400),
    Case("a superscript length", POST + b"Content-Length: \xb2\r\n\r\n{}", 400),
    Case("a spaced length", POST + b"Content-Length: 2 2\r\n\r\n{}", 400),
    Case(
        "an overflowing length",
        POST + b"Content-Length: 18446744073709551618\r\n\r\n{}",
        413,
    ),
    Case(
        "a length of 5000 digits",
        POST + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n",
        413,
    ),
    Case("a length over the bound", POST + b"Content-Length: 1048577\r\n\r\n", 413),
    Case("no length where a body belongs", POST + b"\r\n", 411),
    Case("PUT without a length", b"PUT / HTTP/1.1\r\nHost: a\r\n\r\n", 411),
    Case("a body cut short", POST + b"Content-Length: 9\r\n\r\n{}", 400, eof=True),
]
CODINGS = [
    Case(
        "length and chunks",
        POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    Case(
        "chunks and length",
        POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        400,
    ),
    Case(
        "two codings", POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 400
    ),
    Case(
        "chunked twice",
        POST
        + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    Case(
        "chunked, then identity",
        POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        400,
    ),
    Case("identity", POST + b"Transfer-Encoding: identity\r\n\r\n", 400),
    Case("xchunked", POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 400),
    Case(
        "quoted chunked", POST + b'Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n', 400
    ),
    Case(
        "chunked with a parameter",
        POST + b"Transfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n",
        400,
    ),
    Case("an empty coding", POST + b"Transfer-Encoding:\r\n\r\n0\r\n\r\n", 400),
    Case(
        "a coding behind a vertical tab",
        POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    Case(
        "a coding behind a no-break space",
        POST + b"Transfer-Encoding: \xa0chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    Case(
        "a space before the coding's colon",
        POST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    Case(
        "a coding with a tab",
        POST + b"Transfer-Encoding: chunked\t\r\n\r\n0\r\n\r\n",
        400,
    ),
    Case(
        "a tab before the coding",
        POST + b"Transfer-Encoding:\tchunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    Case("a length with a tab", POST + b"Content-Length:\t2\r\n\r\n{}", 400),
    Case(
        "a folded coding",
        POST + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    Case(
        "chunks in HTTP/1.0",
        b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
]
CHUNKS = [
    Case("a signed chunk size", CHUNKED + b"+2\r\n{}\r\n0\r\n\r\n", 400),
    Case("a negative chunk size", CHUNKED + b"-2\r\n{}\r\n0\r\n\r\n", 400),
    Case("a 0x chunk size", CHUNKED + b"0x2\r\n{}\r\n0\r\n\r\n", 400),
    Case("a space after a chunk size", CHUNKED + b"2 \r\n{}\r\n0\r\n\r\n", 400),
    Case("a space before a chunk size", CHUNKED + b" 2\r\n{}\r\n0\r\n\r\n", 400),
    Case(
        "an underscored chunk size",
        CHUNKED + b"1_0\r\n0123456789abcdef\r\n0\r\n\r\n",
        400,
    ),
    Case("no chunk size", CHUNKED + b"\r\n{}\r\n0\r\n\r\n", 400),
    Case("a chunk size that is a word", CHUNKED + b"two\r\n{}\r\n0\r\n\r\n", 400),
    Case(
        "an overflowing chunk size",
        CHUNKED + b"10000000000000002\r\n{}\r\n0\r\n\r\n",
        400,
    ),
    Case("a huge chunk size", CHUNKED + b"FFFFFFFFFFFFFFF\r\n{}\r\n0\r\n\r\n", 413),
    Case(
        "chunks over the bound",
        CHUNKED + b"80000\r\n" + b"x" * 0x80000 + b"\r\n80001\r\n",
        413,
    ),
    Case(
        "a chunk extension without end",
        CHUNKED + b"2;" + b"x" * 5000 + b"\r\n{}\r\n0\r\n\r\n",
        400,
    ),
    Case("a bare LF after a chunk size", CHUNKED + b"2\n{}\r\n0\r\n\r\n", 400),
    Case("a bare LF in an extension", CHUNKED + b"2;a\nb\r\n{}\r\n0\r\n\r\n", 400),
    Case("a bare CR in an extension", CHUNKED + b"2;a\rb\r\n{}\r\n0\r\n\r\n", 400),
    Case("a NUL in an extension", CHUNKED + b"2;\0\r\n{}\r\n0\r\n\r\n", 400),
    Case("an endless extension", CHUNKED + b"2;" + b"x" * 4096, 400),
    Case("a chunk longer than it says", CHUNKED + b"1\r\n{}\r\n0\r\n\r\n", 400),
    Case("a bare LF after a chunk", CHUNKED + b"2\r\n{}\n0\r\n\r\n", 400),
    Case("a bare LF at the end of chunks", CHUNKED + b"2\r\n{}\r\n0\n\n", 400),
    Case("a malformed trailer", CHUNKED + b"2\r\n{}\r\n0\r\nno colon\r\n\r\n", 400),
    Case("a folded trailer", CHUNKED + b"2\r\n{}\r\n0\r\nA: b\r\n c\r\n\r\n", 400),
    Case("endless trailers", CHUNKED + b"2\r\n{}\r\n0\r\n" + b"A: b\r\n" * 40, 431),
    Case("chunks cut short", CHUNKED + b"2\r\n{}\r\n", 400, eof=True),
]
LINES = [
    Case("bare LF line ends", b"GET / HTTP/1.1\nHost: a\n\n", 400),
    Case("one bare LF", b"GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n", 400),
    Case("a bare LF for the blank line", b"GET / HTTP/1.1\r\nHost: a\r\n\n", 400),
    Case("a bare CR in a header", header(b"X: a\rb"), 400),
    Case("bare CR line ends", b"GET / HTTP/1.1\rHost: a\r\r", 400),
    Case("two blank lines first", b"\r\n\r\n" + line(b"GET / HTTP/1.1"), 400),
    Case("a space before a colon", header(b"X : y"), 400),
    Case("a tab before a colon", header(b"X\t: y"), 400),
    Case("a folded header", header(b"X: y\r\n z"), 400),
    Case("a tab-folded header", header(b"X: y\r\n\tz"), 400),
    Case("a space before the first header", b"GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400),
    Case("a header without a colon", header(b"X y"), 400),
    Case("a header without a name", header(b": y"), 400),
    Case("a NUL in a value", header(b"X: a\0b"), 400),
    Case("a NUL in a name", header(b"X\0: y"), 400),
    Case("a control character in a value", header(b"X: a\x01b"), 400),
    Case("a DEL in a value", header(b"X: a\x7fb"), 400),
    Case("a high byte in a name", header(b"X\xe9: y"), 400),
    Case("a bracket in a name", header(b"X[]: y"), 400),
    Case("a space in a name", header(b"X Y: z"), 400),
]
HOSTS = [
    Case("no Host", b"GET / HTTP/1.1\r\nX: y\r\n\r\n", 400),
    Case("no header at all", b"GET / HTTP/1.1\r\n\r\n", 400),
    Case("two Hosts", GET + b"Host: a\r\n\r\n", 400),
    Case("two different Hosts", GET + b"Host: b\r\n\r\n", 400),
    Case("a list of Hosts", b"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", 400),
    Case("a Host with a path", b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
    Case("a Host with a user", b"GET / HTTP/1.1\r\nHost: a@b\r\n\r\n", 400),
    Case("a Host with a space", b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
    Case("a Host with a wordy port", b"GET / HTTP/1.1\r\nHost: a:http\r\n\r\n", 400),
    Case("two Hosts in HTTP/1.0", b"GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n", 400),
    Case("an absolute target of another host", line(b"GET http://b/ HTTP/1.1"), 400),
    Case("an absolute target with a user", line(b"GET http://a@b/ HTTP/1.1"), 400),
    Case("an absolute target of another scheme", line(b"GET ftp://a/ HTTP/1.1"), 400),
]
REQUEST_LINES = [
    Case("no version", b"GET /\r\nHost: a\r\n\r\n", 400),
    Case("nothing but a method", b"GET\r\n\r\n", 400),
    Case("two spaces", line(b"GET  / HTTP/1.1"), 400),
    Case("a space too many at the end", line(b"GET / HTTP/1.1 "), 400),
    Case("a space in the target", line(b"GET /a b HTTP/1.1"), 400),
    Case("a tab for a space", line(b"GET\t/\tHTTP/1.1"), 400),
    Case("a space first", line(b" GET / HTTP/1.1"), 400),
    Case("a lower-case protocol", line(b"GET / http/1.1"), 400),
    Case("another protocol", line(b"GET / RTSP/1.1"), 400),
    Case("a version of three parts", line(b"GET / HTTP/1.1.1"), 400),
    Case("a version without a minor", line(b"GET / HTTP/1"), 400),
    Case("a version of two digits", line(b"GET / HTTP/1.10"), 400),
    Case("a signed version", line(b"GET / HTTP/+1.1"), 400),
    Case("HTTP/0.9", line(b"GET / HTTP/0.9"), 505),
    Case("HTTP/1.2", line(b"GET / HTTP/1.2"), 505),
    Case("HTTP/2.0", line(b"GET / HTTP/2.0"), 505),
    Case("the preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    Case("PRI as a method", line(b"PRI * HTTP/1.1"), 501),
    Case("a lower-case method", line(b"get / HTTP/1.1"), 501),
    Case("an unknown method", line(b"BREW /pot HTTP/1.1"), 501),
    Case("a method with odd letters", line(b"G@T / HTTP/1.1"), 400),
    Case("CONNECT", line(b"CONNECT a:443 HTTP/1.1"), 405),
    Case("TRACE", line(b"TRACE / HTTP/1.1"), 405),
    Case("a target without a slash", line(b"GET webhooks HTTP/1.1"), 400),
    Case("an asterisk for GET", line(b"GET * HTTP/1.1"), 400),
    Case("a fragment", line(b"GET /a#b HTTP/1.1"), 400),
    Case("a NUL in the target", line(b"GET /a\0b HTTP/1.1"), 400),
    Case("a high byte in the target", line(b"GET /\xc3\xa9 HTTP/1.1"), 400),
    Case("a broken escape", line(b"GET /%zz HTTP/1.1"), 400),
    Case("a short escape", line(b"GET /a%2 HTTP/1.1"), 400),
    Case("an escaped NUL", line(b"GET /a%00b HTTP/1.1"), 400),
    Case("an escaped line end", line(b"GET /a%0d%0ab HTTP/1.1"), 400),
    Case("an escape that is not UTF-8", line(b"GET /%ff HTTP/1.1"), 400),
    Case("a handshake of TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    Case("a stray closing brace", b"{}", 400),
    Case("a head cut short", b"GET / HTTP/1.1\r\nHo", 400, eof=True),
]
BOUNDS = [
    Case("a long header", header(b"X: " + b"y" * 17000), 431),
    Case("a header without end", GET + b"X: " + b"y" * 17000, 431),
    Case("a long target", line(b"GET /" + b"y" * 17000 + b" HTTP/1.1"), 431),
    Case("many headers", header(b"\r\n".join(b"X: y" for _ in range(101))), 431),
    Case("an unmet expectation", post(b"Expect: 200-ok", b"{}"), 417),
]
ZIPS = [
    Case("not gzip at all", post(b"Content-Encoding: gzip", b"{}"), 400),
    Case("gzip cut short", post(b"Content-Encoding: gzip", ZIPPED[:-1]), 400),
    Case("gzip with a head only", post(b"Content-Encoding: gzip", ZIPPED[:10]), 400),
    Case(
        "gzip followed by garbage", post(b"Content-Encoding: gzip", ZIPPED + b"{}"), 400
    ),
    Case(
        "gzip followed by garbage in the next step",
        post(b"Content-Encoding: gzip", ALIGNED + b"{}"),
        400,
    ),
    Case("gzip twice in a row", post(b"Content-Encoding: gzip", ZIPPED + ZIPPED), 400),
    Case(
        "gzip with a wrong sum",
        post(b"Content-Encoding: gzip", ZIPPED[:-8] + bytes(8)),
        400,
    ),
    Case(
        "a gzip bomb",
        post(b"Content-Encoding: gzip", gzip.compress(bytes(64 << 20))),
        413,
    ),
    Case("brotli", post(b"Content-Encoding: br", b"{}"), 415),
    Case("deflate", post(b"Content-Encoding: deflate", b"{}"), 415),
    Case("gzip over gzip", post(b"Content-Encoding: gzip, gzip", ZIPPED), 415),
]
MALFORMED = LENGTHS + CODINGS + CHUNKS + LINES + HOSTS + REQUEST_LINES + BOUNDS + ZIPS

SOUND = [
    Case("a plain GET", GET + b"\r\n", 200),
    Case("an empty value", header(b"X:"), 200),
    Case("spaces around a value", header(b"X: \t y \t "), 200),
    Case("a tab and a high byte in a value", header(b"X: a\tb\xe9"), 200),
    Case("one blank line first", b"\r\n" + GET + b"\r\n", 200),
    Case("an absolute target", line(b"GET http://A/x?y HTTP/1.1"), 200),
    Case("an asterisk for OPTIONS", line(b"OPTIONS * HTTP/1.1"), 200),
    Case("a Host with a port", b"GET / HTTP/1.1\r\nHost: a.example:8780\r\n\r\n", 200),
    Case("a Host of IPv6", b"GET / HTTP/1.1\r\nHost: [::1]:8780\r\n\r\n", 200),
    Case("an empty Host", b"GET / HTTP/1.1\r\nHost:\r\n\r\n", 200),
    Case("HTTP/1.0 without Host", b"GET / HTTP/1.0\r\n\r\n", 200),
    Case("an escape in the path", line(b"GET /a%20b%C3%A9 HTTP/1.1"), 200),
    Case("a POST of nothing", post(b"X: y", b""), 200),
    Case("a GET with a body", GET + b"Content-Length: 2\r\n\r\n{}", 200),
    Case("a length with leading zeros", POST + b"Content-Length: 002\r\n\r\n{}", 200),
    Case("chunks", CHUNKED + b"2\r\n{}\r\n0\r\n\r\n", 200),
    Case("chunks of capital size", CHUNKED + b"A\r\n0123456789\r\n0\r\n\r\n", 200),
    Case("chunks with an extension", CHUNKED + b"2;a=b\r\n{}\r\n000;x\r\n\r\n", 200),
    Case("chunks with a trailer", CHUNKED + b"2\r\n{}\r\n0\r\nA: b\r\n\r\n", 200),
    Case(
        "Chunked in capitals",
        POST + b"Transfer-Encoding: Chunked\r\n\r\n0\r\n\r\n",
        200,
    ),
    Case("a hundred headers", header(b"\r\n".join(b"X: y" for _ in range(99))), 200),
    Case("gzip", post(b"Content-Encoding: GZIP", ZIPPED), 200),
    Case("identity", post(b"Content-Encoding: identity", b"{}"), 200),
]
