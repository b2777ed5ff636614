"""What the keys of a generic sender change: each beside a sender that has only the usual ones."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable

import pytest

from tests.end_to_end.showing import shows
from tests.harness import Fleetd

TEXT = "a secret as text"
PACKED = base64.b64encode(b"a secret in base64").decode()
SENDERS = {
    "usual": ("TEXT", ""),
    "standard": ("PACKED", 'scheme = "standard"'),
    "header": ("TEXT", 'signature_header = "X-Acme"'),
    "prefix": ("TEXT", 'signature_prefix = "v9="'),
    "timed": ("TEXT", 'signed = "timestamp.body"'),
    "at": ("TEXT", 'signed = "timestamp.body"\ntimestamp_header = "X-When"'),
    "longer": ("TEXT", 'algorithm = "sha512"'),
    "base64": ("TEXT", 'encoding = "base64"'),
    "packed": ("PACKED", 'secret_encoding = "base64"'),
    "inside": ("TEXT", 'items = "$$.events"'),
    "picked": (
        "TEXT",
        'id = "$$.n"\nat = "$$.t"\nvehicle = "$$.v.id"\ntype = "kind"\ntext = "say"',
    ),
    "hushed": ("TEXT", 'secret_fields = ["pin"]'),
}
SOURCE = '\n[sources.%s]\nprovider = "generic"\nwebhook_secret = "env:%s"\n%s\n'
KEY = "sources.NAME (generic)."


@pytest.fixture(scope="module")
def daemon(make: Callable[..., Fleetd]) -> Fleetd:
    parts = [SOURCE % (name, *said) for name, said in SENDERS.items()]
    return make("".join(parts), environ={"TEXT": TEXT, "PACKED": PACKED}).begin()


def digest(body: bytes, key: bytes = TEXT.encode(), name: str = "sha256") -> bytes:
    return hmac.new(key, body, getattr(hashlib, name)).digest()


def signed(body: bytes) -> dict[str, str]:
    return {"X-Signature": digest(body).hex()}


BODY = b'{"n":7}'
STAMP = str(int(time.time()))
DOTTED = f"{STAMP}.".encode() + BODY
STANDARD = b"msg_1." + DOTTED
WAYS = {
    "usual": signed(BODY),
    "standard": {
        "webhook-id": "msg_1",
        "webhook-timestamp": STAMP,
        "webhook-signature": "v1,"
        + base64.b64encode(digest(STANDARD, b"a secret in base64")).decode(),
    },
    "header": {"X-Acme": digest(BODY).hex()},
    "prefix": {"X-Signature": f"v9={digest(BODY).hex()}"},
    "timed": {"X-Signature": digest(DOTTED).hex(), "X-Timestamp": STAMP},
    "at": {"X-Signature": digest(DOTTED).hex(), "X-When": STAMP},
    "longer": {"X-Signature": digest(BODY, name="sha512").hex()},
    "base64": {"X-Signature": base64.b64encode(digest(BODY)).decode()},
    "packed": {"X-Signature": digest(BODY, b"a secret in base64").hex()},
}


@shows(
    *(f"{KEY}{name}" for name in ("scheme", "signature_header", "signature_prefix")),
    *(f"{KEY}{name}" for name in ("signed", "timestamp_header", "algorithm")),
    *(f"{KEY}{name}" for name in ("encoding", "secret_encoding")),
)
@pytest.mark.parametrize("name", WAYS)
def test_a_sender_is_known_by_its_own_way_to_sign_and_by_no_other(daemon, name):
    taken = {
        way for way, headers in WAYS.items()
        if daemon.post(name, BODY, headers).status == 200
    }  # fmt: skip

    assert taken == {name}


@shows(f"{KEY}items")
def test_the_items_of_a_body_are_where_it_says(daemon):
    body = b'{"events":[{"a":1},{"a":2}]}'

    told = {
        name: daemon.post(name, body, signed(body)).json()["stored"]
        for name in ("usual", "inside")
    }
    assert told == {"usual": 1, "inside": 2}


@shows(*(f"{KEY}{name}" for name in ("id", "at", "vehicle", "type", "text")))
def test_what_is_picked_stands_in_the_event(daemon):
    told = {"n": 7, "t": "2026-05-12T14:00:00Z", "v": {"id": "T-1"}}
    body = json.dumps({**told, "kind": "door", "say": "open"}).encode()
    for name in ("usual", "picked"):
        assert daemon.post(name, body, signed(body)).json()["stored"] == 1

    (picked,) = daemon.events("--source", "picked")
    usual = daemon.events("--source", "usual")[-1]
    assert (picked["id"], picked["at"]) == ("7", "2026-05-12T14:00:00.000Z")
    assert (picked["vehicle"]["id"], picked["data"]["type"]) == ("T-1", "door")
    assert picked["data"]["text"] == "open"
    assert (usual["at"], usual["vehicle"]["id"]) == (None, None)
    assert (usual["data"]["type"], usual["data"]["text"]) == (None, None)
    assert usual["id"] != "7"


@shows(f"{KEY}secret_fields")
def test_what_it_names_secret_is_masked_before_it_is_stored(daemon):
    body = b'{"pin":"1234-5678","n":8}'
    for name in ("usual", "hushed"):
        assert daemon.post(name, body, signed(body)).json()["stored"] == 1

    assert "1234-5678" in json.dumps(daemon.events("--source", "usual")[-1])
    (hushed,) = daemon.events("--source", "hushed")
    shown = daemon.run("show", str(hushed["seq"]), "--json").stdout
    assert "1234-5678" not in json.dumps(hushed) + shown
    assert "***" in shown
