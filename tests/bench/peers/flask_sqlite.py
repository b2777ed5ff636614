"""A peer: Flask under gunicorn, one SQLite file with synchronous=FULL, one commit a request before the answer."""

from __future__ import annotations

import hmac
import os
import sqlite3
import threading
import time

import msgspec
from flask import Flask, Response, request

CREATE = """
CREATE TABLE IF NOT EXISTS events (
    id TEXT PRIMARY KEY, received_ms INTEGER NOT NULL, body BLOB NOT NULL
)
"""
INSERT = "INSERT OR IGNORE INTO events (id, received_ms, body) VALUES (?, ?, ?)"
SECRET = os.environ["BENCH_SECRET"].encode()
DATABASE = os.environ["BENCH_DATABASE"]


class Point(msgspec.Struct):
    id: str


app = Flask(__name__)
decoder = msgspec.json.Decoder(Point)
own = threading.local()
turn = threading.Lock()  # threads wait for each other here, not in SQLite's sleeps


@app.post("/webhooks/north")
def receive() -> Response:
    body = request.get_data()
    claimed = request.headers.get("X-KT-Webhook-Signature", "")
    if not hmac.compare_digest(hmac.digest(SECRET, body, "sha1").hex(), claimed):
        return Response("refused", 403)
    point = decoder.decode(body)
    with turn:
        row = (point.id, int(time.time() * 1000), body)
        stored = database().execute(INSERT, row).rowcount
    return Response(b'{"stored":%d}' % stored, 200, mimetype="application/json")


def database() -> sqlite3.Connection:
    """Give each thread its own connection, in autocommit: each statement is a commit of its own."""
    if not hasattr(own, "connection"):
        own.connection = sqlite3.connect(DATABASE, timeout=30, isolation_level=None)
        own.connection.execute("PRAGMA journal_mode=WAL")
        own.connection.execute("PRAGMA synchronous=FULL")
        own.connection.execute(CREATE)
    return own.connection
