"""Whatever a far side sends, it costs its own feed a while, and nobody else anything."""

from __future__ import annotations

import gzip
import json
import zlib
from typing import Any

from tests.hub import Asked

ELSEWHERE = "tests.end_to_end.elsewhere"
SOURCE = """
[sources.{name}]
provider = "acme"
token = "env:{token}"
base_url = "http://127.0.0.1:$hub/{name}"
feeds = {{ items = "1s" }}
timeout = "1s"
"""
PUSHING = (
    '\n[sources.pushing]\nprovider = "generic"\nid = "id"\nauth = { key = "env:KEY" }\n'
)
OK = b"HTTP/1.1 200 OK\r\n"


def with_length(body: bytes, *more: bytes) -> bytes:
    head = b"\r\n".join([*more, b"Content-Length: %d" % len(body)])
    return OK + head + b"\r\n\r\n" + body


def bomb() -> bytes:
    machine = zlib.compressobj(9, wbits=31)
    zeros = bytes(1 << 20)
    return b"".join(machine.compress(zeros) for _ in range(70)) + machine.flush()


HOSTILE = {
    "silence": b"",
    "bytes": bytes(range(256)),
    "half-head": OK + b"Content-Le",
    "half-body": OK + b'Content-Length: 900\r\n\r\n[{"id":',
    "half-chunk": OK + b"Transfer-Encoding: chunked\r\n\r\nff\r\n[",
    "long-head": OK + b"X: " + b"y" * 400_000 + b"\r\n\r\n",
    "no-gzip": with_length(b"[]", b"Content-Encoding: gzip"),
    "bomb": with_length(bomb(), b"Content-Encoding: gzip"),
    "half-gzip": with_length(gzip.compress(b"[]")[:-4], b"Content-Encoding: gzip"),
    "brotli": with_length(b"[]", b"Content-Encoding: br"),
    "early": b"HTTP/1.1 103 Early Hints\r\n\r\n" * 2000,
    "odd-status": b"HTTP/1.1 299 Well\r\nContent-Length: 2\r\n\r\n[]",
    "no-content": b"HTTP/1.1 204 No Content\r\n\r\n",
    "moved": b"HTTP/1.1 302 Found\r\nLocation: http://[::1\r\nContent-Length: 0\r\n\r\n",
    "page": with_length(b"<!DOCTYPE html><title>Log in</title>"),
    "empty": with_length(b""),
    "deep": with_length(b"[" * 200_000),
    "object": with_length(b'{"error":"no"}'),
    "later": b"HTTP/1.1 429 X\r\nRetry-After: -7,5\r\nContent-Length: 0\r\n\r\n",
    "cookies": b"HTTP/1.1 500 X\r\n" + b"Set-Cookie: a=b\r\n" * 900 + b"Content-Length: 0\r\n\r\n",
}  # fmt: skip


def test_each_kind_of_nonsense_is_waited_out_beside_webhooks_that_go_on(make, hub):
    hostile = True

    def answer(asked: Asked) -> tuple[int, bytes]:
        name = asked.path.split("/")[1]
        if hostile:
            return 0, HOSTILE[name]
        return 200, json.dumps([{"id": name}]).encode()

    hub.answer = answer
    tokens = {name: f"TOKEN_{n}" for n, name in enumerate(HOSTILE)}
    environ = {token: f"a-token-of-{token}" for token in tokens.values()}
    config = PUSHING + "".join(
        SOURCE.format(name=name, token=token) for name, token in tokens.items()
    )
    environ["KEY"] = "key-1"
    daemon = make(config, environ=environ, program=ELSEWHERE, hub=str(hub.port)).begin()

    def feeds() -> dict[str, Any]:
        doc = daemon.status()["sources"]
        return {name: doc[name]["feeds"]["items"] for name in HOSTILE}

    def told() -> dict[str, Any] | None:
        found = feeds()
        seen = {one.path.split("/")[1] for one in tuple(hub.asked)}
        patient = found.keys() - {"later"}  # it waits for its budget, and says nothing
        good = all(found[name]["why"] for name in patient)
        return found if good and seen >= HOSTILE.keys() else None

    found = daemon.until(told, "every feed to say what is wrong")
    states = {name: one["state"] for name, one in found.items()}
    assert set(states.values()) <= {"held", "failing", "ok", "waiting"}
    assert daemon.events("--kind", "other") == []
    assert daemon.post("pushing/key-1", b'{"id":"a"}').json()["stored"] == 1
    restarts = {name: one["restarts"] for name, one in daemon.status()["tasks"].items()}
    assert {name: n for name, n in restarts.items() if n} == {}

    hostile = False
    for name in HOSTILE:  # an operator who says: try now
        daemon.run("pause", name)
        daemon.run("resume", name)

    def flowing() -> bool:
        ids = {one["source"] for one in daemon.events("--kind", "other")}
        return ids >= HOSTILE.keys()

    daemon.until(flowing, "every feed to go on")
