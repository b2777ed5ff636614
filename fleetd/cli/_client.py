"""How a command reaches the daemon; without one it reads the log itself, and only reads."""

from __future__ import annotations

import grp
import http.client
import os
import pwd
import socket
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import apsw
import msgspec

from fleetd import config, providers, secrets, sinks
from fleetd.config import Bind, House
from fleetd.errors import (
    ConfigError,
    FleetdError,
    StoreError,
    UnreachableError,
    UsageError,
    said,
)
from fleetd.masking import MASK
from fleetd.store import files, stats
from fleetd.store.jobs import rows_of_jobs
from fleetd.tasks.report import api
from fleetd.tasks.report.asked import Asked
from fleetd.tasks.report.document import document
from fleetd.tasks.report.rows import Live, look
from fleetd.tasks.report.shape import Document
from fleetd.world import wall_clock

PATIENCE, SOON = 60.0, 20.0  # SOON: status waits 10 s for a stuck writer itself
LONG = 3600.0  # for thousands of dead letters, each read again with a commit of its own
HANGS = (
    "took the question and gave no answer within {:g} s: fleetd hangs, or its disk does."
    " systemd's watchdog starts it anew; `journalctl -u fleetd` says more"
)
CONNECT_S = 5.0
LARGEST = 256 << 20
EXITS: Mapping[int, type[FleetdError]] = {
    2: UsageError,
    78: ConfigError,
    74: StoreError,
}
STOPPED = "fleetd is not running here"


class Blocked(Exception):  # noqa: N818  no error of the product: a door we may not open
    """The control socket is there, and this user may not use it."""


class UnixConnection(http.client.HTTPConnection):
    """HTTP over the control socket."""

    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(CONNECT_S)
        with reachable(self._path) as short:
            self.sock.connect(short)
        self.sock.settimeout(self.timeout)


@contextmanager
def reachable(path: Path) -> Iterator[str]:
    """The path of a socket, short enough to be used as one however deep it lies."""
    held = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{held}/{path.name}"
    finally:
        os.close(held)


class Remote:
    """A running daemon, over its control socket or its status port."""

    running = True

    def __init__(self, where: Path | Bind, token: str = "") -> None:
        self.where = where
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    def get(
        self,
        path: str,
        params: Mapping[str, str] | None = None,
        within: float = PATIENCE,
    ) -> Any:
        """Ask; the answer is plain data."""
        given = {key: value for key, value in (params or {}).items() if value}
        target = path + (f"?{urlencode(given)}" if given else "")
        return self._said(*self._call("GET", target, None, within))

    def status(self) -> Document:
        """The state of everything."""
        return msgspec.convert(self.get("/api/status", within=SOON), Document)

    def post(self, verb: str, /, within: float = PATIENCE, **values: Any) -> Any:
        """Have something done; what could not be done is raised as the daemon says it."""
        body = msgspec.json.encode(values)
        path = f"/control/{verb}"
        return self._said(*self._call("POST", path, body, within))

    def _said(self, status: int, body: bytes) -> Any:
        try:
            found = msgspec.json.decode(body)
        except msgspec.DecodeError as bad:
            raise UnreachableError(f"{self.where} speaks, but not as fleetd") from bad
        if status == http.client.OK:
            return found
        told = found if isinstance(found, dict) else {}
        usual = 2 if status == http.client.BAD_REQUEST else 1
        kind = EXITS.get(told.get("exit", usual), FleetdError)
        raise kind(str(told.get("error", f"the daemon answered {status}")))

    def _call(
        self, method: str, target: str, body: bytes | None, within: float
    ) -> tuple[int, bytes]:
        line = self._line(within)
        try:
            line.request(method, target, body=body, headers=self._headers)
            answer = line.getresponse()
            return answer.status, answer.read(LARGEST)
        except TimeoutError as bad:
            raise UnreachableError(f"{self.where} {HANGS.format(within)}") from bad
        except (OSError, http.client.HTTPException) as bad:
            told = (
                f"fleetd hung up ({said(bad)}): it stops or starts, or fell. Ask again"
            )
            raise UnreachableError(told) from bad
        finally:
            line.close()

    def _line(self, within: float) -> http.client.HTTPConnection:
        if isinstance(self.where, Bind):
            if self.where.startswith("unix:"):
                return UnixConnection(Path(self.where.removeprefix("unix:")), within)
            host = near(self.where)
            return http.client.HTTPConnection(host, self.where.port, timeout=within)
        return UnixConnection(self.where, within)


def near(bind: Bind) -> str:
    """Where this box itself reaches a bound address."""
    anywhere = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  what others are told
    return anywhere.get(bind.host, bind.host)


class Local:
    """The log of a daemon that does not run, read and never written."""

    running = False

    def __init__(self, house: House) -> None:
        self._house = masked(house)
        self._path = house.daemon.data / "log.sqlite"

    def get(self, path: str, params: Mapping[str, str] | None = None) -> Any:
        """Answer as the daemon would."""
        given = {key: value for key, value in (params or {}).items() if value}
        asked = Asked(self._house, wall_clock(), given)
        with self._open() as db:
            found = api.ANSWERS[path](asked, db)
        return msgspec.json.decode(MASK.mask(api.encode(found)))

    def status(self) -> Document:
        """The state as the log's rows tell it."""
        with self._open() as db:
            live = self._live(db)
            doc = document(self._house, live, look(db, self._house, live))
        return msgspec.json.decode(MASK.mask(msgspec.json.encode(doc)), type=Document)

    def _live(self, db: apsw.Connection) -> Live:
        snap, house = stats.snapshot(db), self._house
        names = {one.id: one.name for one in snap.scopes}
        kept = dict(db.execute("SELECT name, value FROM kept"))
        times = msgspec.json.decode(kept.get("board:times", "{}"))
        received = {names[n]: ms for n, ms in stats.last_raw(db).items() if n in names}
        taken = {names[n]: ms for n, ms in stats.last_taken(db).items() if n in names}
        places = {
            (names[sink], lane): place
            for (sink, lane), place in snap.cursors.items()
            if sink in names
        }
        return Live(
            now=wall_clock(),
            running=False,
            paused=frozenset(
                name.removeprefix("paused:")
                for name in kept
                if name.startswith("paused:")
            ),
            waiting={key: max(0, waiting) for key, (_, waiting) in places.items()},
            cursors={key: seq for key, (seq, _) in places.items()},
            jobs=list(rows_of_jobs(db)),
            received=later(times.get("received", {}), received),
            taken=later(times.get("taken", {}), taken),
            untyped=frozenset(untyped(house)),
            **disk(house),
        )

    @contextmanager
    def _open(self) -> Iterator[apsw.Connection]:
        if not self._path.exists():
            raise UnreachableError(
                f"{STOPPED}, and there is no log in {self._path.parent} yet"
            )
        try:
            db = self._connect()
        except apsw.Error as bad:
            raise StoreError(f"{self._path} cannot be read: {bad}") from bad
        try:
            yield db
        except apsw.Error as bad:
            raise StoreError(f"{self._path} cannot be read: {bad}") from bad
        finally:
            db.close()

    def _connect(self) -> apsw.Connection:
        """A log that was closed well can also be read in a folder we may not write to."""
        folder, wal = self._path.parent, self._path.with_name("log.sqlite-wal")
        if os.access(folder, os.W_OK) or wal.exists():
            return files.connect(self._path, write=False)
        flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
        return apsw.Connection(
            f"file:{quote(str(self._path))}?immutable=1", flags=flags
        )


def later(first: Mapping[str, int], second: Mapping[str, int]) -> dict[str, int]:
    """For each name the later of two times."""
    return {
        name: max(first.get(name, 0), second.get(name, 0)) for name in {*first, *second}
    }


def untyped(house: House) -> Iterator[str]:
    """The sources whose provider knows no types."""
    for name, source in house.sources.items():
        with suppress(ConfigError):
            if not providers.load(source.provider).typed:
                yield name


def disk(house: House) -> dict[str, Any]:
    """What the filesystem says of the log."""
    space = files.Space(house.daemon.data, int(house.store.max_disk) or None)
    return {
        "max_disk": space.max_disk,
        "free": space.free(),
        "wal": space.wal_bytes(),
        "ballast": space.has_ballast,
    }


def masked(house: House) -> House:
    """The same house, with every secret masked that this user can see."""
    with suppress(ConfigError):
        house = config.fitted(house, providers.load, sinks.load)
    for secret, value in secrets.survey(house, os.environ).found:
        secret.settle(value)
    return house


def reader(house: House) -> Remote | Local:
    """Whoever can tell: the daemon if one runs, else the log itself."""
    try:
        found = by_socket(house.daemon.data) or by_port(house)
    except Blocked as bad:
        found = by_port(house)
        if found is None:
            raise UnreachableError(str(bad)) from bad
    return found or unless_held(house, Local(house))


def changer(house: House) -> Remote:
    """The daemon's control socket, or `UnreachableError`: changing needs it."""
    try:
        found = by_socket(house.daemon.data)
    except Blocked as bad:
        raise UnreachableError(str(bad)) from bad
    if found is None:
        unless_held(house, None)
        raise UnreachableError(f"{STOPPED}, and this needs it: fleetd run")
    return found


def unless_held(house: House, found: Any) -> Any:
    """What was found, unless a daemon that does not answer holds the folder."""
    folder = house.daemon.data
    try:
        held = files.is_leased(folder)
    except PermissionError as bad:
        raise UnreachableError(who_may(folder)) from bad
    if held:
        pid = files.holder(folder)
        raise UnreachableError(
            f"fleetd (pid {pid or '?'}) holds {folder} and does not answer; its log is "
            "left alone. Is it starting, stopping or stuck?"
        )
    return found


def despite(given: Path | None) -> Remote | None:
    """A daemon that goes on though its file is wrong by now: a reload changed nothing."""
    with suppress(ConfigError, Blocked):
        folder = config.data_of(config.find(given))
        return by_socket(folder) if folder else None
    return None


def by_socket(folder: Path) -> Remote | None:
    """The control socket, if somebody answers there; `Blocked` where we may not ask."""
    path = folder / "control.sock"
    line = UnixConnection(path, PATIENCE)
    try:
        line.connect()
    except PermissionError as bad:
        raise Blocked(who_may(path)) from bad
    except OSError:
        return None
    finally:
        line.close()
    return Remote(path)


def who_may(path: Path) -> str:
    """Which group a refused user should join, or as whom to ask."""
    user = user_of(os.getuid())
    for place in (path, *path.parents):
        try:
            found = place.stat()
        except OSError:
            continue
        group, owner = group_of(found.st_gid), user_of(found.st_uid)
        told = f"{path}: this user ({user}) may not use it. "
        if found.st_gid == 0 or not found.st_mode & stat.S_IRWXG:
            return f"{told}It belongs to {owner}: sudo -u {owner} fleetd ..."
        return (
            f"{told}It belongs to the group {group}: "
            f"sudo usermod -aG {group} {user}, and log in again"
        )
    return f"{path}: permission denied"


def user_of(uid: int) -> str:
    """A user's name, or the number where it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def group_of(gid: int) -> str:
    """A group's name, or the number where it has none."""
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def by_port(house: House) -> Remote | None:
    """The status port, if this very daemon answers there."""
    token = ""
    if house.status.token is not None:
        try:
            token = house.status.token.look(os.environ)
        except (secrets.MissingError, secrets.UnseenError):
            return None
    for bind in house.status.bind:
        if bind == "systemd":
            continue
        remote = Remote(bind, token)
        with suppress(FleetdError):
            if remote.status().log.folder == str(house.daemon.data):
                return remote
    return None
