"""The data folder: its lease, its ballast, how full it is, and a log set aside."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

import apsw

from fleetd.errors import (
    DISK_FAULTS,
    ConfigError,
    FullError,
    LockedError,
    StoreError,
)

SQLITE_AT_LEAST = (3, 51, 3)
PAGE = 8192  # a webhook of 1 KB leaves a fifth of a 4 KiB page empty (measured)
RESERVE = 1_000_000
MOST_SEQ = 1 << 62  # no log comes near: what says so is damaged
NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
UNWELL = DISK_FAULTS | {
    errno.EMFILE,
    errno.ENFILE,
    errno.ENOMEM,
}  # this box, not the file
GLANCES, GLANCE_S = 10, 0.02
AGAIN_S = 0.25
NO_BALLAST = (
    "the disk is nearly full: there is no room for the reserve that lets deliveries go "
    "on; free some space, fleetd goes on by itself"
)
MIB = 1 << 20
GIB = 1 << 30
T = TypeVar("T")


@contextmanager
def lease(folder: Path) -> Iterator[None]:
    """One daemon a folder: raises `LockedError` while another process holds it."""
    try:
        folder.mkdir(mode=0o750, parents=True, exist_ok=True)
        held = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o640)
    except OSError as bad:
        said = f"daemon.data: cannot use {folder}: {bad.strerror}; "
        if bad.errno in UNWELL:
            hint = " (under systemd: ReadWritePaths=)" * (bad.errno == errno.EROFS)
            raise StoreError(f"{said}fleetd starts once that is mended{hint}") from bad
        advice = "it has to be a folder of the user that runs fleetd"
        raise ConfigError(said + advice) from bad
    try:
        _lock(held, folder)
        _sign(held)
        yield
    finally:
        os.close(held)


def _sign(held: int) -> None:
    """Say who holds it: a courtesy, and a disk that has no room for it still serves."""
    with suppress(OSError):
        said = f"{os.getpid()}\n".encode()
        os.ftruncate(held, os.pwrite(held, said, 0))


def holder(folder: Path) -> int | None:
    """The pid that wrote the lock file last."""
    with suppress(OSError, ValueError):
        return int((folder / "lock").read_text().strip())
    return None


def _lock(held: int, folder: Path) -> None:
    """Take the lock; a command that only looks at it holds it for an instant."""
    for _ in range(GLANCES):
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(GLANCE_S)
        else:
            return
    raise LockedError(
        f"{folder} is in use by another fleetd (pid {holder(folder) or '?'}); "
        "stop it, or give this one a data folder of its own"
    )


def is_leased(folder: Path) -> bool:
    """Whether a daemon holds the folder now; `PermissionError` where that cannot be seen."""
    try:
        held = os.open(folder / "lock", os.O_RDONLY)
    except (FileNotFoundError, NotADirectoryError):
        return False
    try:
        fcntl.flock(held, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(held)
    return False


def connect(path: Path, *, write: bool) -> apsw.Connection:
    """A connection with its promises set and read back."""
    found = tuple(int(part) for part in apsw.sqlite_lib_version().split("."))
    if found < SQLITE_AT_LEAST:
        raise ConfigError(f"SQLite {apsw.sqlite_lib_version()} is too old: update apsw")
    flags = (
        apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE
        if write
        else apsw.SQLITE_OPEN_READONLY
    )
    db = apsw.Connection(str(path), flags=flags, statementcachesize=200)
    db.set_busy_timeout(5000)
    if write:
        _promise(db)
    db.pragma("temp_store", "memory")  # statement journals: no file a commit
    db.pragma("mmap_size", 0)
    db.pragma("cache_size", -16 * 1024 if write else -2 * 1024)
    return db


class Readers:
    """Read-only connections, one for whoever reads just now, used again."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "log.sqlite"
        self._idle: list[apsw.Connection] = []

    @contextmanager
    def one(self) -> Iterator[apsw.Connection]:
        """A connection that nobody else has, given back after use."""
        try:
            db = self._idle.pop() if self._idle else connect(self._path, write=False)
        except apsw.Error as bad:
            raise StoreError(f"the log cannot be read: {bad}") from bad
        try:
            yield db
        finally:
            self._idle.append(db)

    def close(self) -> None:
        """Let go of all of them."""
        for db in self._idle:
            db.close()


def surely(work: Callable[[], T], *damage: type[Exception]) -> T:
    """What comes of it; damage has to be met twice.

    SQLite gives a read that the disk failed the same name as bytes that are wrong.
    """
    try:
        return work()
    except damage:
        time.sleep(AGAIN_S)
        return work()


def _promise(db: apsw.Connection) -> None:
    if db.pragma("page_count") == 0:
        db.pragma("page_size", PAGE)
        db.pragma("auto_vacuum", "incremental")
    for name, wanted in (("journal_mode", "wal"), ("synchronous", 2)):
        db.pragma(name, wanted)
        if (found := db.pragma(name)) != wanted:
            raise StoreError(f"the log's {name} is {found!r}, not {wanted!r}")


def set_aside(folder: Path, why: str) -> Path:
    """Move a log that cannot be opened out of the way, whole; nothing is thrown away."""
    name = f"aside-{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}"
    aside = next(
        place
        for place in (folder / f"{name}{n}" for n in ("", *"123456789abcdef"))
        if not place.exists()
    )
    aside.mkdir()
    for file in ("log.sqlite", "log.sqlite-wal", "log.sqlite-shm"):
        with suppress(FileNotFoundError):
            (folder / file).rename(aside / file)
    write_down(aside / "why.txt", why + "\n")
    sync_folder(folder)
    return aside


def asides(folder: Path) -> str:
    """What to say of logs that were set aside, until somebody says that it was seen."""
    found = sorted(folder.glob("aside-*/why.txt"))
    if not found:
        return ""
    why = found[-1].read_text(errors="replace").strip()
    more = f", and {len(found) - 1} before it" if len(found) > 1 else ""
    return (
        f"a damaged log was set aside ({why}){more}: look at {found[-1].parent}, then: "
        "fleetd resume log"
    )


def acknowledge(folder: Path) -> None:
    """Those that were set aside have been seen: their folders stay, and alarm nobody."""
    for note in folder.glob("aside-*/why.txt"):
        note.rename(note.with_name("why.seen.txt"))
        sync_folder(note.parent)


def write_down(path: Path, text: str) -> None:
    """Make a small file that survives a power cut, in one step."""
    fresh = path.with_name(f"{path.name}.new")
    with fresh.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    fresh.rename(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make names in a folder survive a power cut."""
    held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(held)
    finally:
        os.close(held)


class Reservation:
    """The seqs that may have been used, kept beside the log and ahead of it.

    Should the log itself be lost, its successor begins above anything it can have
    handed out. Written once in a million events.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "seq"
        self.below = 0
        with suppress(OSError, ValueError):
            said = int(self._path.read_text())
            self.below = said if 0 < said < MOST_SEQ else 0

    def cover(self, seq: int) -> None:
        """See to it that `seq` is below the mark on the disk."""
        if seq < self.below:
            return
        mark = seq + RESERVE
        try:
            write_down(self._path, str(mark))
        except OSError as bad:
            kind = FullError if bad.errno in NO_ROOM else StoreError
            raise kind(f"cannot write {self._path}: {bad.strerror}") from bad
        self.below = mark


class Space:
    """How much of the disk the log may use, and the ballast that is let go at the end."""

    def __init__(self, folder: Path, max_disk: int | None) -> None:
        self._folder = folder
        self._ballast = folder / "ballast"
        self.limit(max_disk)

    def limit(self, max_disk: int | None) -> None:
        """The law: a size, or a fifth of the filesystem and at least 4 GiB."""
        size = os.statvfs(self._folder)
        whole = size.f_blocks * size.f_frsize
        self.max_disk = max_disk or max(whole // 5, 4 * GIB)
        self.wal_cap = max(2 * MIB, min(64 * MIB, self.max_disk // 64, whole // 64))
        self.ballast_size = 2 * self.wal_cap

    @property
    def has_ballast(self) -> bool:
        """Whether it stands whole: who is killed while making it leaves an empty one."""
        with suppress(OSError):
            return self._ballast.stat().st_size >= self.ballast_size
        return False

    def free(self) -> int:
        """Bytes that this user may still write to the filesystem."""
        size = os.statvfs(self._folder)
        return size.f_bavail * size.f_frsize

    def fill_ballast(self) -> bool:
        """Put the ballast in place if there is room for it twice; whether it stands."""
        if self.has_ballast:
            return True
        if self.free() < 2 * self.ballast_size:
            return False
        try:
            held = os.open(self._ballast, os.O_WRONLY | os.O_CREAT, 0o640)
        except OSError:
            return False
        try:
            os.posix_fallocate(held, 0, self.ballast_size)
        except OSError:
            self._ballast.unlink()
            return False
        finally:
            os.close(held)
        return True

    def drop_ballast(self) -> bool:
        """Give the room back, so that cursors can still commit; whether there was any."""
        try:
            self._ballast.unlink()
        except OSError:
            return False
        return True

    def wal_bytes(self) -> int:
        """Size of the write-ahead log."""
        with suppress(FileNotFoundError):
            return (self._folder / "log.sqlite-wal").stat().st_size
        return 0
