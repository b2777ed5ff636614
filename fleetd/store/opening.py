"""Opening a log: migrations, the edge it stood at, and what to do with one beyond help."""

from __future__ import annotations

import os
import secrets
import time
from contextlib import closing, suppress
from importlib import resources
from pathlib import Path

import apsw
import msgspec

from fleetd.errors import ConfigError, FleetdError, StoreError
from fleetd.store.counting import DAMAGE
from fleetd.store.files import (
    Reservation,
    Space,
    connect,
    set_aside,
    surely,
    sync_folder,
    write_down,
)

READS = 1  # the newest schema this version knows; it opens any with min_reader <= READS
HOPELESS = (apsw.CorruptError, apsw.NotADBError)  # its bytes are wrong, not its place
UNREADABLE = (  # what is read whole at start, and cannot mean anything
    *DAMAGE, KeyError, TypeError, msgspec.DecodeError
)  # fmt: skip
MARK = "damaged"  # by a writer that met damage: the next start looks whether it did
LOOK_S = 30.0  # for all of a log; whatever takes longer is believed to be damaged
LITTLE = 1 << 20  # bytes without which not even the log's index can be made
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
    folder: Path, reservation: Reservation, space: Space, now_ms: int, damage: str = ""
) -> apsw.Connection:
    """The log of a folder, ready to write; one beyond help is set aside whole before.

    Raises `ConfigError` where its place or its version is what is wrong with it.
    """
    path = folder / "log.sqlite"
    if damage or _is_damaged(folder):
        replace(folder, damage)
    elif reservation.below and (not path.exists() or path.stat().st_size == 0):
        replace(folder, "the log is gone from its place, and this folder has had one")
    try:
        return surely(lambda: _ready(path, reservation, now_ms), *HOPELESS)
    except HOPELESS as bad:
        replace(folder, f"{type(bad).__name__}: {bad}")
    except (apsw.FullError, apsw.IOError, apsw.CantOpenError) as bad:
        if space.free() > LITTLE or not space.drop_ballast():
            raise _elsewhere(path, bad) from bad
    except apsw.Error as bad:
        raise _elsewhere(path, bad) from bad
    try:
        return _ready(path, reservation, now_ms)
    except apsw.Error as bad:
        raise _elsewhere(path, bad) from bad


def _is_damaged(folder: Path) -> bool:
    """Whether what a writer met, if it met anything, is there for whoever looks again."""
    mark, path = folder / MARK, folder / "log.sqlite"
    if not mark.exists():
        return False
    until = time.monotonic() + LOOK_S
    try:
        if not path.exists():  # it is on its way aside
            return True
        with closing(connect(path, write=False)) as db:
            db.set_progress_handler(lambda: time.monotonic() > until, 10_000)
            if db.execute("PRAGMA integrity_check(1)").get != "ok":
                return True
    except (*HOPELESS, apsw.SQLError, apsw.InterruptError):
        return True
    mark.unlink()
    return False


def _elsewhere(path: Path, bad: apsw.Error) -> FleetdError:
    """What is wrong is not the log's bytes: say what the operator can change."""
    shut = path.exists() and not os.access(path, os.R_OK | os.W_OK)
    if shut or not os.access(path.parent, os.W_OK | os.X_OK):
        return ConfigError(
            f"daemon.data: {path} cannot be read and written by this user; give it, "
            "and the folder, to the user that runs fleetd"
        )
    room = isinstance(bad, apsw.FullError)
    return StoreError(
        f"{path} cannot be opened: {bad}; fleetd starts once "
        + ("there is room on its disk" if room else "its disk is well")
    )


def replace(folder: Path, why: str) -> None:
    """Set the log aside; killed anywhere in here, the next start goes on with it."""
    mark = folder / MARK
    if not mark.exists():
        write_down(mark, why)
    set_aside(folder, mark.read_text() or "damage was met while writing")
    mark.unlink()
    sync_folder(folder)


def _ready(path: Path, reservation: Reservation, now_ms: int) -> apsw.Connection:
    try:
        db = connect(path, write=True)
    except apsw.SQLError as bad:  # a format that no SQLite ever wrote
        raise apsw.CorruptError(str(bad)) from bad
    done = False
    try:
        migrate(db, reservation, now_ms)
        _probe(db)
        _fold(db)
        done = True
        return db
    finally:
        if not done:
            with suppress(apsw.Error):
                db.close()


def _fold(db: apsw.Connection) -> None:
    """Write all that the write-ahead log holds to the file, anew and synced.

    After a failed sync the kernel shows what it could not write as if it were on the
    disk: what is only read there must not be built upon.
    """
    with suppress(apsw.BusyError, apsw.FullError):  # somebody reads, or no room
        db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)


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
    if stands < 1 and db.execute("SELECT 1 FROM sqlite_schema").get:
        raise apsw.CorruptError("its tables are there, and the schema's number is not")
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
    try:
        _read_ends(db)
    except apsw.SQLError as bad:  # a table is missing: no step of ours leaves that
        raise apsw.CorruptError(str(bad)) from bad


def _read_ends(db: apsw.Connection) -> None:
    if db.execute("SELECT one FROM log").get is None:
        raise apsw.CorruptError("the log's first row is missing")
    for table, key in (("events", "seq"), ("raw", "id")):
        for end in ("min", "max"):
            query = f"SELECT * FROM {table} WHERE {key} = (SELECT {end}({key}) FROM {table})"
            db.execute(query).get  # noqa: B018
    if (said := db.execute("PRAGMA integrity_check(names)").get) != "ok":
        raise apsw.CorruptError(str(said))
    for table in ("seen", "totals", "cursors", "kept"):
        db.execute(f"SELECT * FROM {table} LIMIT 1").get  # noqa: B018
