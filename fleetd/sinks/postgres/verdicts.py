"""What the server's refusals mean: later, never this record, or never us and what to grant."""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql

from fleetd.errors import FleetdError, HeldError, RejectedError, TransientError, said
from fleetd.event import Entry
from fleetd.masking import MASK

if TYPE_CHECKING:
    from psycopg import Connection, ConnectionInfo

LONGEST = 200
RECORD = ("22", "23", "54", "P0", "44")  # what it says of the values, by class
LATER = {
    "40": "it had to break this off, others wrote the same rows",
    "53": "it is short of room: disk, memory or connections",
    "55": "something is locked or not ready",
    "57": "it stopped us, or is starting or ending",
    "08": "the connection failed",
}
HINTS = {
    "53100": "its disk is full; free some space",
    "53300": "it has too many connections; raise max_connections, or use a pooler",
    "25006": "it is read-only: a standby, or being maintained; name the primary in `url`",
}
OURS = {
    "28": "it does not let us in; correct the user and password in `url`",
    "3D": "there is no such database; make it, or correct `url`",
    "3F": "there is no such schema; it is made again at the next try",
    "42": "the tables are not as fleetd made them; rename them, or set `schema`",
    "0A": "it cannot do this; fleetd needs PostgreSQL 10 or later",
}
SLOW = frozenset({"57014", "55P03"})  # time-outs of statements and of locks
RIGHT, DROPPED = "42501", "57P04"
WORDS = (  # of a server that refuses at the door, where it gives no code
    (r"password authentication failed|no password supplied|authentication failed",
     "correct the user and password in `url`"),
    (r"role .* does not exist|role .* is not permitted to log in",
     "make it there: CREATE ROLE {role} LOGIN PASSWORD '...'"),
    (r"database .* does not exist",
     "make it there: CREATE DATABASE {database} OWNER {role}"),
    (r"permission denied for database",
     "there: GRANT CONNECT, CREATE, TEMPORARY ON DATABASE {database} TO {role}"),
    (r"no pg_hba\.conf entry|pg_hba\.conf rejects",
     "let this host in there, by a line in pg_hba.conf"),
    (r"not currently accepting connections", "let connections in there again"),
    (r"certificate verify failed|certificate .* does not match|server certificate",
     'its certificate is not believed: give `ca`, or tls = "require"'),
    (r"root certificate file|certificate file|private key file",
     "the certificates named in `ca` or `url` cannot be read; correct that"),
    (r"does not support SSL|server does not support",
     'it speaks no TLS: turn that on there, or set tls = "prefer"'),
    (r"invalid (port|sslmode|integer)|weak sslmode|invalid .* value|Servname not",
     "correct `url`"),
)  # fmt: skip


def of_connect(bad: psycopg.Error, way: dict[str, Any]) -> FleetdError:
    """No connection came about: there is no code then, only words."""
    told = f"{server_of(way)}: {plain(bad)}"
    for pattern, advice in WORDS:
        if re.search(pattern, told, re.IGNORECASE):
            role = quoted(str(way.get("user") or "fleetd"))
            database = quoted(str(way.get("dbname") or way.get("user") or "fleet"))
            return HeldError(f"{told}: {advice.format(role=role, database=database)}")
    return TransientError(told, counts=False)


def server_of(way: dict[str, Any]) -> str:
    """Who was asked, as in `db.example.com:5433`."""
    host, port = str(way.get("host") or "the local server"), way.get("port")
    return f"{host}:{port}" if port else host


def of_write(
    bad: Exception, entries: Sequence[Entry], link: Connection[Any], within: float
) -> FleetdError:
    """A batch was not committed, or it is not known whether: what comes of it."""
    if not isinstance(bad, psycopg.Error):
        return unfit(bad, entries, within)
    told, code = plain(bad), bad.sqlstate or ""
    answer = f"SQLSTATE {code}: {told}".encode() if code else b""
    if advice := advice_for(code, told, link):
        return HeldError(f"{told}: {advice}", answer=answer)
    if code[:2] in RECORD or (not code and isinstance(bad, psycopg.DataError)):
        return RejectedError({one.seq: told for one in entries}, answer=answer)
    if not code:  # the connection broke: what of the commit, the repeat will show
        return TransientError(f"the connection broke: {told}")
    why = HINTS.get(code) or LATER.get(code[:2])
    return TransientError(
        f"{told}: {why}" if why else told,
        counts=why is None,
        slow=code in SLOW,
        answer=answer,
    )


def advice_for(code: str, told: str, link: Connection[Any]) -> str | None:
    """What the operator is to do, where it is us that the server does not want."""
    if code == RIGHT:
        return right(told, link)
    if code == DROPPED:
        return OURS["3D"]
    return None if code in HINTS else OURS.get(code[:2])


def unfit(bad: Exception, entries: Sequence[Entry], within: float) -> FleetdError:
    """What the driver itself could not send, or waited for in vain."""
    if isinstance(bad, ArithmeticError | ValueError | struct.error):
        why = f"a value cannot be sent: {said(bad)[:LONGEST]}"
        return RejectedError({one.seq: why for one in entries})
    why = f"the server did not answer within {within:g} s"
    return TransientError(why, counts=False, slow=True)


def plain(bad: psycopg.Error) -> str:
    """The first sentence of what it says, on one line."""
    told = bad.diag.message_primary or str(bad) or type(bad).__name__
    first = told.strip().splitlines()[0] if told.strip() else type(bad).__name__
    first = first.rsplit("failed: ", 1)[-1]
    return MASK.mask(re.sub(r"^(FATAL|ERROR):\s+", "", first))[:LONGEST]


def right(told: str, link: Connection[Any]) -> str:
    """What the owner of the database is to grant."""
    info = link.info
    if "temporary" in told:
        return grant("TEMPORARY", "DATABASE", info.dbname, info)
    if "database" in told:
        return grant("CREATE", "DATABASE", info.dbname, info)
    if "owner" in told:
        return f"let {quoted(info.user)} own the tables, or add the columns by hand"
    if schema := re.search(r"schema (\S+)", told):
        return grant("USAGE, CREATE", "SCHEMA", schema[1].strip('"'), info)
    return (
        f"{quoted(info.user)} needs SELECT, INSERT and UPDATE on the tables, USAGE and"
        f" CREATE on their schema, TEMPORARY on the database"
    )


def grant(what: str, kind: str, name: str, info: ConnectionInfo) -> str:
    return f"there: GRANT {what} ON {kind} {quoted(name)} TO {quoted(info.user)}"


def no_schema(schema: str, info: ConnectionInfo) -> str:
    role = quoted(info.user)
    return f"there: CREATE SCHEMA {quoted(schema)} AUTHORIZATION {role}"


def quoted(name: str) -> str:
    """A name as it stands in SQL, in quotes only where it needs them."""
    if re.fullmatch(r"[a-z_][a-z0-9_]*", name):
        return name
    return sql.Identifier(name).as_string()
