"""How MyGeotab is called: JSON-RPC by POST, errors inside a 200, a session that may move.

Envelope, sessions and errors: https://developers.geotab.com/myGeotab/guides/concepts and
the vendor's own client https://github.com/Geotab/mygeotab-python
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec import Raw, Struct

from fleetd.errors import (
    ExpiredError,
    FleetdError,
    HeldError,
    PayloadError,
    TransientError,
)
from fleetd.pace import http_date, retry_after
from fleetd.providers.contract import Answer, Ask, Grant, Session
from fleetd.providers.reading import UNREADABLE, Wire, as_moment, inner, objects, words

PATH = "/apiv1"
AUTHENTICATE = "Authenticate"
HERE = "thisserver"
HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,250}[A-Za-z0-9])?(:[0-9]{1,5})?")
ROWS = re.compile(r"results?\s*limit", re.IGNORECASE)
FORBIDDEN = re.compile(
    r"permission|security|clearance|forbidden|unauthor", re.IGNORECASE
)
OURS = frozenset(
    {"ArgumentException", "MissingMethodException", "JsonSerializerException"}
)
QUOTA_S = 60.0  # the period that most limits are counted in
BUSY_S = 10.0  # as the vendor's own adapter waits for a database that is away
LONGEST = 160  # of what an error says
LONGEST_TYPE = 60
NOTHING = Raw(b"null")


class Account(Struct, frozen=True):
    """Whose data it is: a database and a service user in it."""

    database: str
    user: str


def call(method: str, tier: str = "", **params: Any) -> Ask:
    """One call; `tier` is what the vendor counts it under."""
    body = {"method": method, "params": params, "id": 1}
    headers = {"Content-Type": "application/json"}
    return Ask(PATH, method="POST", json=body, headers=headers, tier=tier or method)


def params_of(ask: Ask) -> Wire:
    """What a call was asked with."""
    found: Wire = ask.json["params"]
    return found


class Told(Struct, frozen=True):
    """An answer's two halves, of which it has one."""

    result: Raw = NOTHING
    error: Raw = NOTHING


class Problem(Struct, frozen=True):
    """What an error object says, in either of its shapes."""

    type: str
    text: str


_told = msgspec.json.Decoder(Told).decode
_any = msgspec.json.Decoder().decode


def problem_of(body: bytes) -> Problem | None:
    """The error in an answer of whatever status; None where it holds none."""
    if b'"error"' not in body:
        return None
    try:
        error = _any(bytes(_told(body).error))
    except UNREADABLE:
        return None
    if error is None:
        return None
    if not isinstance(error, dict):
        return Problem("", str(error)[:LONGEST])
    older = (objects(error, "errors") or [{}])[0]
    kind = words(inner(error, "data"), "type") or words(older, "name")
    text = words(error, "message") or words(older, "message") or ""
    kind = kind or words(error, "name") or ""
    return Problem(kind[:LONGEST_TYPE], text[:LONGEST])


def judge(ask: Ask, answer: Answer) -> None:
    """Raise what an error object means: Geotab says its errors in a 200."""
    problem = problem_of(answer.body)
    if problem is not None:
        raise meaning(problem, ask, answer)


def meaning(problem: Problem, ask: Ask, answer: Answer) -> FleetdError:
    """The verdict on an error, by its type; what nobody listed is tried again.

    Types and what to do: https://developers.geotab.com/myGeotab/guides/rateLimits
    """
    kind, said = problem.type, f"{problem.type or 'an error'}: {problem.text}"
    if kind == "InvalidUserException":
        return HeldError(f"Geotab refused the session ({said})", status=401)
    if kind == "DbUnavailableException":
        return unavailable(problem)
    if kind == "OverLimitException":
        return over(problem, answer)
    if kind in OURS:
        return wrong(problem, ask)
    if FORBIDDEN.search(kind):
        return HeldError(f"the user lacks the clearance ({said})", status=403)
    return TransientError(said)


def unavailable(problem: Problem) -> FleetdError:
    """A database that does not exist is a fault of the config; else it comes back."""
    if unknown(problem):
        return HeldError(f"Geotab knows no such database ({problem.text})", status=401)
    return TransientError(f"the database is away ({problem.text})", after=BUSY_S)


def unknown(problem: Problem) -> bool:
    """Whether this server has no such database."""
    return "unknowndatabase" in problem.text.replace(" ", "").lower()


def over(problem: Problem, answer: Answer) -> FleetdError:
    """Too many calls, or too many rows: the message alone tells which."""
    if ROWS.search(problem.text) and "quota" not in problem.text.lower():
        return HeldError(f"Geotab will not give so many rows at once ({problem.text})")
    after = pause(answer.headers)
    return TransientError(problem.text, after=after, status=429, counts=False)


def pause(headers: Mapping[str, str]) -> float:
    """`Retry-After`, else until `X-Rate-Limit-Reset`, else a minute."""
    now = http_date(headers.get("date", ""))
    asked = retry_after(
        headers.get("retry-after"), now or datetime.max.replace(tzinfo=UTC)
    )
    if asked is not None and (asked or now):
        return asked
    reset = as_moment(headers.get("x-rate-limit-reset"))
    if reset is None or now is None:
        return QUOTA_S
    return min(max((reset - now).total_seconds(), 1.0), QUOTA_S)


def wrong(problem: Problem, ask: Ask) -> FleetdError:
    """Something we said: a version that is no longer known, or a mistake of ours."""
    if "fromVersion" in params_of(ask) and "version" in problem.text.lower():
        return ExpiredError(f"Geotab no longer knows our version ({problem.text})")
    return PayloadError(f"{problem.type}: {problem.text}")


# the session


def session_of(account: Account) -> Session:
    """The session of a user: one login serves all feeds, wherever the database is.

    10 logins a minute, good or bad, and an account locked after some bad ones:
    https://www.geotab.com/blog/api-call-limits/
    """

    def login(secret: str, _now: datetime) -> Ask:
        return call(
            AUTHENTICATE,
            database=account.database,
            userName=account.user,
            password=secret,
        )

    def read(answer: Answer, _now: datetime) -> Grant:
        return granted(account, answer)

    def put(ask: Ask, grant: Grant) -> Ask:
        whose = {
            "database": account.database,
            "userName": account.user,
            "sessionId": grant.token,
        }
        params = {**params_of(ask), "credentials": whose}
        body = {**ask.json, "params": params}
        return msgspec.structs.replace(ask, json=body, host=grant.host)

    return Session(login=login, read=read, put=put, ended=ended)


def ended(answer: Answer) -> bool:
    """Whether the session is over, or the database gone from this server.

    A bad session and a bad password have one type: a login tells which it is.
    """
    problem = problem_of(answer.body)
    if problem is None:
        return False
    if problem.type == "DbUnavailableException":
        return unknown(problem)
    return problem.type == "InvalidUserException"


class Whose(Struct, frozen=True, rename="camel"):
    session_id: str


class Login(Struct, frozen=True):
    """What a login gives; `path` is the server to go on with, or `ThisServer`."""

    credentials: Whose
    path: str | None = None


class LoginAnswer(Struct, frozen=True):
    result: Login


_login = msgspec.json.Decoder(LoginAnswer).decode


def granted(account: Account, answer: Answer) -> Grant:
    """The session of a login; `HeldError` where it is refused, for good."""
    problem = problem_of(answer.body)
    if problem is not None and problem.type == "InvalidUserException":
        whose = f"{account.user} in the database {account.database}"
        raise HeldError(f"Geotab refused the login of {whose} ({problem.text})")
    if problem is not None:
        raise meaning(problem, call(AUTHENTICATE), answer)
    try:
        login = _login(answer.body).result
    except UNREADABLE as bad:
        why = f"the login was answered with {answer.status} and nothing we can read"
        raise TransientError(why) from bad
    if not login.credentials.session_id.strip():
        raise TransientError("the login was answered without a session")
    return Grant(login.credentials.session_id, host_of(login.path))


def host_of(path: str | None) -> str:
    """The server of a session, empty for the one that was asked."""
    named = (path or "").strip()
    if not named or named.lower() == HERE:
        return ""
    if not HOST.fullmatch(named):
        raise TransientError("the login was answered with a server that is no host")
    return named
