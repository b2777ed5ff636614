"""A peer: Flask under gunicorn, one SQLite file with synchronous=FULL, one commit a request before the answer."""

from __future__ import annotations

import fcntl
import hmac
import os
import sqlite3
import time
from functools import cache

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


@app.post("/webhooks/north")
def receive() -> Response:
    body = request.get_data()
    claimed = request.headers.get("X-KT-Webhook-Signature", "")
    if not hmac.compare_digest(hmac.digest(SECRET, body, "sha1").hex(), claimed):
        return Response("refused", 403)
    point = decoder.decode(body)
    row = (point.id, int(time.time() * 1000), body)
    fcntl.flock(turn(), fcntl.LOCK_EX)
    stored = database().execute(INSERT, row).rowcount
    fcntl.flock(turn(), fcntl.LOCK_UN)
    return Response(b'{"stored":%d}' % stored, 200, mimetype="application/json")


@cache
def database() -> sqlite3.Connection:
    """Open once a worker, in autocommit: each statement is a commit of its own."""
    connection = sqlite3.connect(DATABASE, timeout=30, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute(CREATE)
    return connection


@cache
def turn() -> int:
    """Workers wait for each other here: SQLite's own way is to sleep, and costs a third of the rate."""
    return os.open(f"{DATABASE}.turn", os.O_CREAT | os.O_RDWR)
