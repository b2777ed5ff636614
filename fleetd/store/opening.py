"""Opening a log: migrations, the edge it stood at, and what to do with one beyond help."""

from __future__ import annotations

import secrets
from contextlib import suppress
from importlib import resources
from pathlib import Path

import apsw

from fleetd.errors import ConfigError
from fleetd.store.files import Reservation, connect, set_aside

READS = 1  # the newest schema this version knows; it opens any with min_reader <= READS
HOPELESS = (
    apsw.CorruptError,
    apsw.NotADBError,
    apsw.CantOpenError,
    apsw.SchemaChangeError,
)
MARK = "damaged"  # left by a writer that met damage: the next start sets the log aside
FIRST = (
    "INSERT INTO log(one, id, newest_seq, newest_raw, received_ms, min_reader,"
    " created_ms) VALUES (1, ?, ?, 0, 0, ?, ?)"
)


def migrations() -> list[tuple[int, str]]:
    """The numbered steps of the schema, in order."""
    folder = resources.files("fleetd.store") / "schema"
    steps = [one for one in folder.iterdir() if one.name.endswith(".sql")]
    return sorted((int(one.name[:3]), one.read_text()) for one in steps)


def open_log(
    folder: Path, reservation: Reservation, now_ms: int
) -> tuple[apsw.Connection, str]:
    """The log of a folder, ready to write, and a word on the one that was set aside."""
    path = folder / "log.sqlite"
    mark = folder / MARK
    aside = ""
    if mark.exists():
        aside = _replace(folder, mark.read_text() or "damage was met while writing")
        mark.unlink()
    try:
        return _ready(path, reservation, now_ms), aside
    except HOPELESS as bad:
        aside = _replace(folder, f"{type(bad).__name__}: {bad}")
    return _ready(path, reservation, now_ms), aside


def _replace(folder: Path, why: str) -> str:
    aside = set_aside(folder, why)
    return f"the log could not be used ({why}); it was moved whole to {aside}"


def _ready(path: Path, reservation: Reservation, now_ms: int) -> apsw.Connection:
    db = connect(path, write=True)
    done = False
    try:
        migrate(db, reservation, now_ms)
        _probe(db)
        done = True
        return db
    finally:
        if not done:
            with suppress(apsw.Error):
                db.close()


def migrate(db: apsw.Connection, reservation: Reservation, now_ms: int) -> None:
    """Bring the schema forward; refuse a log from a future that we cannot read."""
    stands = int(db.pragma("user_version"))
    if stands > READS:
        needs = db.execute("SELECT min_reader FROM log").get
        if needs > READS:
            raise ConfigError(
                f"the log was written by a newer fleetd (schema {stands}, readable from "
                f"{needs}, this one knows {READS}): install that version again"
            )
        return
    for number, step in migrations():
        if number > stands:
            _step(db, number, step, reservation, now_ms)


def _step(
    db: apsw.Connection, number: int, step: str, reservation: Reservation, now_ms: int
) -> None:
    """One migration, whole or not at all."""
    done = False
    db.execute("BEGIN IMMEDIATE")
    try:
        db.execute(step)
        if number == 1:
            first = reservation.below
            db.execute(FIRST, (secrets.token_hex(8), first, READS, now_ms))
        db.pragma("user_version", number)
        db.execute("COMMIT")
        done = True
    finally:
        if not done and db.in_transaction:
            db.execute("ROLLBACK")


def _probe(db: apsw.Connection) -> None:
    """Read both ends of the big tables: damage at the edges shows before a write does."""
    for table, key in (("events", "seq"), ("raw", "id")):
        for end in ("min", "max"):
            query = f"SELECT * FROM {table} WHERE {key} = (SELECT {end}({key}) FROM {table})"  # noqa: S608,E501  fixed names
            db.execute(query).get  # noqa: B018
    for table in ("seen", "totals", "cursors", "names", "kept"):
        db.execute(f"SELECT * FROM {table} LIMIT 1").get  # noqa: B018,S608
