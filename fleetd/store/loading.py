"""What is read at start because it is small: the directory, names, marks and states."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import apsw
import msgspec

from fleetd.directory import Directory

FACTS = "SELECT source, vehicle, name, at_ms, value FROM facts"
RECORDS = "SELECT source, kind, id, content, revision, seq FROM records"
PROVIDERS = "SELECT name, provider FROM names WHERE side = 'source'"
BOOKMARKS = "SELECT source, feed, value FROM bookmarks"
KEPT = "SELECT name, value FROM kept"


def load_directory(
    db: apsw.Connection, names: Mapping[int, str], directory: Directory
) -> None:
    """Facts and standing records into memory."""
    for source, vehicle, name, at_ms, value in db.execute(FACTS):
        directory.put(names[source], vehicle, name, at_ms, value)
    for source, kind, id_, content, revision, seq in db.execute(RECORDS):
        directory.put_record(names[source], kind, id_, content, revision, seq)


def providers_of(db: apsw.Connection) -> dict[str, str]:
    """The provider of every source there ever was."""
    return dict(db.execute(PROVIDERS))


def bookmarks_of(
    db: apsw.Connection, names: Mapping[int, str]
) -> dict[tuple[str, str], str | None]:
    """Where each feed goes on."""
    return {
        (names[source], feed): value for source, feed, value in db.execute(BOOKMARKS)
    }


def kept_of(db: apsw.Connection) -> dict[str, dict[str, Any]]:
    """The small states."""
    return {name: msgspec.json.decode(value) for name, value in db.execute(KEPT)}
