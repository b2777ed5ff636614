"""Geotab: what its errors come to, and its sessions."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetd.errors import (
    ConfigError,
    ExpiredError,
    FleetdError,
    HeldError,
    PayloadError,
    TransientError,
)
from fleetd.providers.contract import Answer, Grant, Turn
from fleetd.providers.geotab import configured
from tests.providers.geotab_client import (
    FEEDS,
    FIRST,
    GEOTAB,
    HERE,
    LIVE,
    NOW,
    SOURCE,
    asked,
    few,
    page,
    params,
    turn_of,
)
from tests.test_every_provider import ANY

# errors


def error(
    kind: str, text: str = "", *, old: bool = False, status: int = 200, **headers: str
) -> Answer:
    told: dict[str, Any] = {"message": text, "code": -32000}
    told |= (
        {"errors": [{"name": kind, "message": text}]}
        if old
        else {"data": {"type": kind}}
    )
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "error": told}).encode()
    return Answer(
        status, {key.replace("_", "-"): one for key, one in headers.items()}, body
    )


def verdict(answer: Answer, turn: Turn = LIVE) -> FleetdError | None:
    assert GEOTAB.judge is not None
    try:
        GEOTAB.judge(asked(FEEDS["positions"], turn), answer)
    except FleetdError as found:
        return found
    return None


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("status", [200, 400, 500])
@pytest.mark.parametrize(
    ("kind", "text", "means"),
    [
        ("InvalidUserException", "Incorrect login credentials", HeldError),
        ("DbUnavailableException", "UnknownDatabase acme", HeldError),
        ("DbUnavailableException", "Unknown Database", HeldError),
        ("DbUnavailableException", "Initializing", TransientError),
        ("DbUnavailableException", "", TransientError),
        ("OverLimitException", "API calls quota exceeded. Maximum admitted 60 per 1m.", TransientError),
        ("OverLimitException", "Results limit (60000) exceeds the maximum", HeldError),
        ("ServiceUnavailableException", "", TransientError),
        ("ArgumentException", "search is wrong", PayloadError),
        ("MissingMethodException", "", PayloadError),
        ("JsonSerializerException", "", PayloadError),
        ("GenericException", "An undefined exception has occurred", TransientError),
        ("SecurityException", "no access to LogRecord", HeldError),
        ("", "", TransientError),
    ],
)  # fmt: skip
def test_each_error_comes_to_what_is_to_be_done(kind, text, means, old, status):
    assert type(verdict(error(kind, text, old=old, status=status))) is means


def test_an_answer_without_an_error_is_left_to_its_status():
    assert verdict(Answer(200, {}, (HERE / "positions.json").read_bytes())) is None
    assert verdict(Answer(429, {"retry-after": "3"}, b"")) is None
    assert verdict(Answer(502, {}, b"<html>an error</html>")) is None
    assert verdict(Answer(200, {}, b'{"result":{},"error":null}')) is None


def test_a_record_that_speaks_of_an_error_is_none():
    body = b'{"result":{"data":[{"id":"b1","error":"no fix"}],"toVersion":"1"}}'

    assert verdict(Answer(200, {}, body)) is None
    assert page("positions", body, LIVE).records


@pytest.mark.parametrize(
    ("headers", "after"),
    [
        ({"retry_after": "56"}, 56),
        ({"retry_after": "0.25"}, 0.25),
        ({"retry_after": "99999999"}, 3600),
        ({"retry_after": "Fri, 20 Nov 2026 15:00:30 GMT", "date": "Fri, 20 Nov 2026 15:00:00 GMT"}, 30),
        ({"x_rate_limit_reset": "2026-11-20T15:00:41Z", "date": "Fri, 20 Nov 2026 15:00:00 GMT"}, 41),
        ({"x_rate_limit_reset": "2026-11-20T14:00:00Z", "date": "Fri, 20 Nov 2026 15:00:00 GMT"}, 1),
        ({"x_rate_limit_reset": "2099-11-20T14:00:00Z", "date": "Fri, 20 Nov 2026 15:00:00 GMT"}, 60),
        ({"x_rate_limit_reset": "2026-11-20T15:00:41Z"}, 60),
        ({"retry_after": "soon"}, 60),
        ({}, 60),
    ],
)  # fmt: skip
def test_too_many_calls_pause_for_as_long_as_asked(headers, after):
    found = verdict(error("OverLimitException", "API calls quota exceeded.", **headers))

    assert isinstance(found, TransientError)
    assert found.after == after
    assert found.status == 429
    assert not found.counts


def test_a_version_that_is_no_longer_known_begins_anew():
    gone = error("ArgumentException", "The fromVersion is not valid")

    assert isinstance(verdict(gone), ExpiredError)
    assert isinstance(verdict(gone, FIRST), PayloadError)


def test_an_error_is_never_read_as_an_empty_list():
    for name in FEEDS:
        for body in (
            error("OverLimitException").body, error("X", old=True).body, b'{"error":null}',
            b"{}", b"[]", b"null", b"", b'{"result":[]' , b'{"result":{}}', b'{"result":null}',
            b'{"result":{"data":[]}}', b'{"result":{"toVersion":"1"}}', b'{"result":{"data":{},"toVersion":"1"}}',
            b'{"result":{"data":[],"toVersion":""}}', b'{"result":{"data":[],"toVersion":null}}', b"<html></html>",
        ):  # fmt: skip
            with pytest.raises(PayloadError):
                page(name, body, turn_of(name))


# the session


def login(body: Any, status: int = 200) -> Grant:
    assert GEOTAB.session is not None
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return GEOTAB.session.read(Answer(status, {}, raw), NOW)


def granted(path: str | None) -> dict[str, Any]:
    whose = {
        "database": "acme_haul",
        "sessionId": "kM3q",
        "userName": "fleetd-service@acme.test",
    }
    return {"result": {"credentials": whose, "path": path}, "jsonrpc": "2.0", "id": 1}


def test_a_login_names_the_database_the_user_and_the_password():
    assert GEOTAB.session is not None

    ask = GEOTAB.session.login("s3cret", NOW)

    assert ask.json["method"] == "Authenticate"
    assert params(ask) == {
        "database": "acme_haul",
        "userName": "fleetd-service@acme.test",
        "password": "s3cret",
    }
    assert ask.host == ""
    assert ask.tier == "Authenticate"


@pytest.mark.parametrize(
    ("path", "host"),
    [("ThisServer", ""), ("thisserver", ""), ("", ""), (None, ""), ("my217.geotab.com", "my217.geotab.com"), ("127.0.0.1:9101", "127.0.0.1:9101")],
)  # fmt: skip
def test_a_login_says_which_server_to_go_on_with(path, host):
    assert login(granted(path)) == Grant("kM3q", host)


@pytest.mark.parametrize(
    "path",
    ["evil.test/x", "a b", "user@evil.test", "https://evil.test", "a\r\nb", "-x", ".."],
)
def test_a_server_that_is_no_host_is_not_gone_to(path):
    with pytest.raises(TransientError):
        login(granted(path))


def test_within_a_session_each_call_carries_it_to_its_server():
    assert GEOTAB.session is not None
    ask = asked(FEEDS["positions"], LIVE)

    put = GEOTAB.session.put(ask, Grant("kM3q", "my217.geotab.com"))

    assert put.host == "my217.geotab.com"
    assert params(put)["credentials"] == {
        "database": "acme_haul",
        "userName": "fleetd-service@acme.test",
        "sessionId": "kM3q",
    }
    assert "password" not in json.dumps(put.json)
    assert "credentials" not in params(ask)


@pytest.mark.parametrize("old", [False, True])
def test_refused_credentials_are_held_and_say_whose(old):
    with pytest.raises(HeldError, match="acme_haul"):
        login(
            error("InvalidUserException", "Incorrect login credentials", old=old).body
        )
    with pytest.raises(HeldError, match="no such database"):
        login(error("DbUnavailableException", "UnknownDatabase", old=old).body)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (error("OverLimitException", "API calls quota exceeded. Maximum admitted 10 per 1m.").body, 200),
        (error("DbUnavailableException", "Initializing").body, 200),
        (b"<html>", 200), (b"", 503), ({}, 200), ({"result": {}}, 200), ({"result": None}, 200),
        ({"result": {"credentials": {"sessionId": " "}, "path": "ThisServer"}}, 200),
    ],
)  # fmt: skip
def test_a_login_that_says_nothing_of_the_credentials_is_tried_again(body, status):
    with pytest.raises(TransientError):
        login(body, status)


@pytest.mark.parametrize("old", [False, True])
def test_a_session_is_over_where_the_user_or_the_database_is_not_known_there(old):
    assert GEOTAB.session is not None
    ended = GEOTAB.session.ended

    assert ended(error("InvalidUserException", "Incorrect login credentials", old=old))
    assert ended(error("DbUnavailableException", "UnknownDatabase", old=old))
    assert not ended(error("DbUnavailableException", "Initializing", old=old))
    assert not ended(error("OverLimitException", "", old=old))
    assert not ended(Answer(200, {}, (HERE / "positions.json").read_bytes()))
    assert not ended(Answer(502, {}, b"<html>error</html>"))


def test_who_one_is_is_the_database_that_let_us_in():
    assert GEOTAB.whoami is not None

    assert GEOTAB.whoami.read(b'{"result":600}') == (
        "acme_haul",
        "fleetd-service@acme.test",
    )
    for bad in (b"<html>", b'{"result":null}', error("InvalidUserException").body):
        with pytest.raises(PayloadError):
            GEOTAB.whoami.read(bad)


@pytest.mark.parametrize("key", ["database", "user"])
def test_an_empty_database_or_user_is_refused_by_name(key):
    with pytest.raises(ConfigError, match=key):
        configured(msgspec.structs.replace(SOURCE, **{key: "  "}))


def test_names_of_rules_are_the_operators_own():
    provider = configured(
        msgspec.structs.replace(SOURCE, rules={"aV": "Hard braking, vans"})
    )
    body = b'{"id":"a1","rule":{"id":"aV"},"device":{"id":"b2A"},"activeFrom":"2026-11-20T13:41:00Z"}'

    (named,) = provider.normalize["safety"](body)
    (bare,) = GEOTAB.normalize["safety"](body)

    assert (named.type, named.text) == ("harsh_brake", "Hard braking, vans")
    assert (bare.type, bare.text) == ("rule", "aV")


@few
@given(value=ANY, status=st.sampled_from([200, 400, 401, 429, 500]))
def test_any_error_comes_to_one_of_our_verdicts(value, status):
    body = json.dumps({"error": value}).encode()

    verdict(Answer(status, {"retry-after": "x"}, body))
    assert GEOTAB.session is not None
    GEOTAB.session.ended(Answer(status, {}, body))
    with pytest.raises((HeldError, TransientError, PayloadError)):
        login(body, status)
