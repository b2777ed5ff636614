"""Puts right what is almost JSON, so that one record's text cannot stop a whole feed."""

from __future__ import annotations

import re
from codecs import BOM_UTF8, getincrementaldecoder

from msgspec.structs import replace

from fleetd.errors import PayloadError
from fleetd.providers.contract import Unpacked, Webhook
from fleetd.web import Request

ESCAPE = re.compile(
    rb"\\(?:(?P<pair>u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})"
    rb"|(?P<half>u[dD][89a-fA-F][0-9a-fA-F]{2})|.)",
    re.DOTALL,
)
CONTROL = bytes.maketrans(  # whitespace between values, an error inside one
    bytes(range(0x20)), b" " * 0x20
)
NO_NUMBER = re.compile(rb"(?<=[:\[,\s])[+-]?(?:NaN|Infinity)(?=[\s,\]}])")
STEP = 1 << 20
JSON = (b"{", b"[")
UNKNOWN = rb"\ufffd"
DEEPEST = 60  # levels that stay: more than any record may have, fewer than can be read
TOKEN = re.compile(  # a string without an end is one too: each byte is looked at once,
    rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[\[\]{}]', re.DOTALL
)  # and never gone back to: what is remembered for that takes sixty times the bytes


def unpacked(webhook: Webhook, request: Request) -> Unpacked:
    """What a pushed body holds; where it is almost JSON, once that is put right."""
    if (text := text_of(request.body)) is not request.body:
        request = replace(request, body=text)
    try:
        return webhook.unpack(request)
    except PayloadError as bad:
        better = mended(shallow(request.body) if too_deep(bad) else request.body)
        if better == request.body:
            raise
        try:
            return webhook.unpack(replace(request, body=better))
        except PayloadError:
            raise bad from None


def too_deep(fault: BaseException | None) -> bool:
    """Whether reading ended in a nest that has no end."""
    while fault is not None:
        if isinstance(fault, RecursionError):
            return True
        fault = fault.__cause__
    return False


def shallow(body: bytes) -> bytes:
    """The same with null for whatever nests too deep for any reader.

    What is left of that record is still deeper than a normalizer allows: it alone is
    set aside, and its neighbours are read.
    """
    depth, begins, kept, upto = 0, 0, bytearray(), 0
    for token in TOKEN.finditer(body):
        word = body[token.start()]
        if word in b"[{":
            depth += 1
            if depth == DEEPEST + 1:
                begins = token.start()
        elif word in b"]}":
            depth -= 1
            if depth == DEEPEST:
                kept += body[upto:begins] + b"null"
                upto = token.end()
    return bytes(kept + body[upto:])


def text_of(body: bytes) -> bytes:
    """The same, in UTF-8 where it looks like JSON."""
    if body.isascii() or body.lstrip()[:1] not in JSON:
        return body
    return in_utf8(body)


def in_utf8(body: bytes) -> bytes:
    """The same, in UTF-8 whatever was sent: else each record with an accent were lost."""
    decoder = getincrementaldecoder("utf-8")()
    try:
        for at in range(0, len(body), STEP):
            decoder.decode(body[at : at + STEP])
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return body.decode(errors="replace").encode()
    return body


def mended(body: bytes) -> bytes:
    """The same with what some encoders write although JSON has no such thing.

    Half a surrogate pair (an emoji cut in two), bytes that are no UTF-8, bare control
    characters, a mark in front, NaN and Infinity, which become null.
    """
    body = in_utf8(body.removeprefix(BOM_UTF8))
    body = ESCAPE.sub(_whole, body.translate(CONTROL))
    return NO_NUMBER.sub(b"null", body)


def _whole(escape: re.Match[bytes]) -> bytes:
    return UNKNOWN if escape["half"] else escape[0]
