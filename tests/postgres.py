"""A PostgreSQL of the tests' own: Debian's programs, in a folder that goes with it."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, LiteralString, Self
from urllib.parse import urlencode

import psycopg
import trustme

from tests.bench.servers import free_port

PROGRAMS = "usr/lib/postgresql/*/bin/postgres"
PATIENCE_S = 150.0
BOSS, USER, SEALED = "boss", "fleetd", "sealed"
PASSWORD = "a-password-to-hide"
GIS, PLAIN = "fleet", "plain"
WHO_MAY = f"""
local all all trust
host all {SEALED} 127.0.0.1/32 scram-sha-256
host all all 127.0.0.1/32 trust
"""
HASTY = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


class Postgres:
    """One server with two databases, `fleet` with PostGIS and `plain` without."""

    def __init__(self, **settings: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))
        self.port = free_port()
        self._child: subprocess.Popen[bytes] | None = None
        self._settings = {
            **HASTY,
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": str(self.folder),
            "max_connections": "40",
            "logging_collector": "off",
            "timezone": "America/Chicago",
            **settings,
        }

    def __enter__(self) -> Self:
        try:
            self._make()
            self.start()
            self._furnish()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def set(self, **settings: str) -> None:
        """More settings, from its next start on."""
        self._settings |= settings

    # its life

    def _make(self) -> None:
        os.chown(self.folder, *(who() or (-1, -1)))
        data = str(self.folder / "data")
        self._run("initdb", "-D", data, "-U", BOSS, "-A", "trust", "-E", "UTF8",
                  "--locale=C.UTF-8", "--no-sync")  # fmt: skip
        (self.folder / "data" / "pg_hba.conf").write_text(WHO_MAY)

    def start(self) -> None:
        """Start it, and wait until it lets somebody in."""
        told = [f"-c{name}={value}" for name, value in self._settings.items()]
        command = [str(programs() / "postgres"), "-D", str(self.folder / "data"), *told]
        with (self.folder / "log").open("ab") as log:
            self._child = subprocess.Popen(
                command, stdout=log, stderr=log, cwd=self.folder, **as_somebody()
            )
        until = time.monotonic() + PATIENCE_S
        while not self._is_open():
            if self._child.poll() is not None or time.monotonic() > until:
                raise AssertionError((self.folder / "log").read_text()[-3000:])
            time.sleep(0.05)

    def stop(self, how: int = signal.SIGINT) -> None:
        """End it: SIGINT breaks off what is under way, SIGQUIT as a crash would."""
        if self._child is not None:
            self._child.send_signal(how)
            self._child.wait(PATIENCE_S)
            self._child = None

    def close(self) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def pid(self) -> int:
        assert self._child is not None
        return self._child.pid

    def _is_open(self) -> bool:
        try:
            self.rows("SELECT 1", database="postgres")
        except psycopg.OperationalError:
            return False
        return True

    def _furnish(self) -> None:
        self.do(f"CREATE ROLE {USER} LOGIN", database="postgres")  # type: ignore[arg-type]
        self.do(
            f"CREATE ROLE {SEALED} LOGIN PASSWORD '{PASSWORD}'",  # type: ignore[arg-type]
            database="postgres",
        )
        for name in (GIS, PLAIN):
            self.do(f"CREATE DATABASE {name} OWNER {USER}", database="postgres")  # type: ignore[arg-type]
        self.do("CREATE EXTENSION postgis", database=GIS)

    def _run(self, program: str, *words: str) -> None:
        subprocess.run(
            [str(programs() / program), *words],
            check=True, capture_output=True, cwd=self.folder, **as_somebody(),
        )  # fmt: skip

    # asking it

    def url(
        self,
        database: str = GIS,
        user: str = USER,
        *,
        port: int | None = None,
        password: str = "",
        **more: str,
    ) -> str:
        """Where it is: by its socket, or by TCP where a port is given."""
        secret = f":{password}" if password else ""
        if port is not None:
            told = f"?{urlencode(more)}" if more else ""
            return f"postgresql://{user}{secret}@127.0.0.1:{port}/{database}{told}"
        told = urlencode({"host": self.folder, "port": self.port, **more})
        return f"postgresql://{user}{secret}@/{database}?{told}"

    def rows(
        self, query: LiteralString, *told: Any, database: str = GIS
    ) -> list[tuple[Any, ...]]:
        """What a query finds, asked by who may do everything."""
        with psycopg.connect(self.url(database, BOSS), autocommit=True) as link:
            found = link.execute(query, told or None)
            return found.fetchall() if found.description else []

    def do(self, query: LiteralString, *told: Any, database: str = GIS) -> None:
        """Run a statement, by who may do everything."""
        self.rows(query, *told, database=database)


@contextmanager
def secured(folder: Path, name: str) -> Iterator[Postgres]:
    """A server that speaks TLS as `name`; `ca.pem` in the folder vouches for it."""
    ca = trustme.CA()
    ca.cert_pem.write_to_path(folder / "ca.pem")
    made = ca.issue_cert(name)
    server = Postgres(ssl="on")
    key, cert = server.folder / "key.pem", server.folder / "cert.pem"
    made.private_key_pem.write_to_path(key)
    made.cert_chain_pems[0].write_to_path(cert)
    for one in (key, cert):
        os.chown(one, *(who() or (-1, -1)))
        one.chmod(0o600)
    server.set(ssl_key_file=str(key), ssl_cert_file=str(cert))
    with server:
        yield server


def programs() -> Path:
    """The newest one that Debian has put there."""
    found = sorted(
        Path("/").glob(PROGRAMS), key=lambda path: float(path.parts[-3]), reverse=True
    )
    if not found:
        raise AssertionError("no PostgreSQL: apt-get install postgresql-postgis")
    return found[0].parent


def who() -> tuple[int, int] | None:
    """Whose processes they are: the server refuses to be root's."""
    if os.geteuid() != 0:
        return None
    names = {one.pw_name: one for one in pwd.getpwall()}
    found = names.get("postgres") or names["nobody"]
    return found.pw_uid, found.pw_gid


def as_somebody() -> dict[str, Any]:
    mine = who()
    return {"user": mine[0], "group": mine[1], "extra_groups": []} if mine else {}
