"""Sessions: one login for all, kept, renewed ahead, and never a storm of refused ones."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import httpx
import pytest
import trio

from fleetd.masking import MASK
from fleetd.tasks.poll.login import mask
from tests.conftest import MORNING
from tests.polling import (
    FIXES,
    SESSIONS,
    Asked,
    Far,
    feed,
    fix,
    page,
    polled,
)

MANY = [feed(f"feed{n}") for n in range(6)]


class Vendor:
    """Logs in who has the password; a session ends when it is told to."""

    def __init__(
        self, password: str = "a-token-of-acme", *, lasts: float = 0.0
    ) -> None:
        self.password = password
        self.lasts = lasts
        self.sessions: set[str] = set()
        self.logins: list[float] = []
        self.refused = 0
        self.host = ""

    def __call__(self, asked: Asked) -> Any:
        if asked.path == "/login":
            return self.login(asked)
        if asked.headers["x-session"] not in self.sessions:
            return 401
        return page(fix(1), next="1")

    def login(self, asked: Asked) -> Any:
        self.logins.append(asked.at)
        if self.password.encode() not in asked.body:
            self.refused += 1
            return 403
        name = f"session-number-{len(self.logins)}"
        self.sessions = {name}
        ends = MORNING + timedelta(seconds=asked.at + self.lasts)
        told = {"session": name, "host": self.host}
        return {**told, "ends": ends.isoformat()} if self.lasts else told


def ok(source) -> bool:
    healths = source.healths.values()
    return all(one.last_success_ms and one.state == "waiting" for one in healths)


async def test_all_feeds_share_one_login(autojump_clock, tmp_path):
    vendor = Vendor()
    far = Far(vendor)
    far.takes = 1.0
    async with polled(tmp_path, far, *MANY, provider=SESSIONS) as source:
        await source.until(lambda: ok(source))

        assert len(vendor.logins) == 1
        assert {one.headers.get("x-session") for one in far.asked[1:]} == {
            "session-number-1"
        }


async def test_a_restart_goes_on_in_the_same_session(autojump_clock, tmp_path):
    vendor = Vendor()
    far = Far(vendor)
    for _ in range(3):
        async with polled(tmp_path, far, FIXES, provider=SESSIONS) as source:
            await source.until(lambda: ok(source))

    assert len(vendor.logins) == 1


async def test_another_password_begins_a_session_of_its_own(autojump_clock, tmp_path):
    vendor = Vendor()
    far = Far(vendor)
    async with polled(tmp_path, far, FIXES, provider=SESSIONS) as source:
        await source.until(lambda: ok(source))
    vendor.password = "another-token"
    async with polled(
        tmp_path, far, FIXES, provider=SESSIONS, token="another-token"
    ) as source:
        await source.until(lambda: ok(source))

    assert len(vendor.logins) == 2


async def test_a_session_that_is_over_costs_one_login_and_no_page(
    autojump_clock, tmp_path
):
    vendor = Vendor()
    far = Far(vendor)
    far.takes = 0.5
    async with polled(tmp_path, far, *MANY, provider=SESSIONS) as source:
        await source.until(lambda: ok(source))
        vendor.sessions.clear()
        before = len(far.asked)
        await trio.sleep(60)

        assert len(vendor.logins) == 2
        assert len(far.asked) > before + 12
        assert ok(source)
        assert source.alerts() == []


async def test_a_session_is_renewed_before_it_ends(autojump_clock, tmp_path):
    vendor = Vendor(lasts=1200)
    far = Far(vendor)
    async with polled(tmp_path, far, FIXES, provider=SESSIONS) as source:
        await trio.sleep(3 * 1200)

        assert 3 <= len(vendor.logins) <= 5
        assert ok(source)
    renewed = [b - a for a, b in zip(vendor.logins, vendor.logins[1:], strict=False)]
    assert all(gap < 1200 for gap in renewed)


async def test_a_refused_password_is_tried_once_an_hour_whatever_asks(
    autojump_clock, tmp_path
):
    vendor = Vendor("the right one")
    far = Far(vendor)
    async with polled(tmp_path, far, *MANY, provider=SESSIONS, receives=True) as source:
        await trio.sleep(4 * 3600)

        assert len(vendor.logins) <= 5
        assert {one.path for one in far.asked} == {"/login"}
        assert set(source.states().values()) == {"held"}
        assert source.healths["feed0"].why == (
            "north: Acme refused the password. Webhooks still arrive. Fix "
            "sources.north.token."
        )
        assert source.alerts() == [("polling_held", "")]


async def test_restarts_do_not_try_a_refused_password_again(autojump_clock, tmp_path):
    vendor = Vendor("the right one")
    far = Far(vendor)
    for _ in range(10):
        async with polled(tmp_path, far, FIXES, provider=SESSIONS) as source:
            await source.until(lambda: source.states() == {"fixes": "held"})
            await trio.sleep(20)
            assert source.alerts() == [("polling_held", "")]

    assert len(vendor.logins) == 1


async def test_a_corrected_password_is_tried_at_once(autojump_clock, tmp_path):
    vendor = Vendor("another-token")
    far = Far(vendor)
    async with polled(tmp_path, far, FIXES, provider=SESSIONS) as source:
        await source.until(lambda: source.states() == {"fixes": "held"})
    async with polled(
        tmp_path, far, FIXES, provider=SESSIONS, token="another-token"
    ) as source:
        await source.until(lambda: ok(source), 5)

        assert source.alerts()[-1] == ("polling_resumed", "")


async def test_an_operator_who_resumes_has_the_password_tried_at_once(
    autojump_clock, tmp_path
):
    vendor = Vendor("the right one")
    far = Far(vendor)
    async with polled(tmp_path, far, *MANY, provider=SESSIONS) as source:
        await source.until(lambda: set(source.states().values()) == {"held"})
        vendor.password = "a-token-of-acme"
        await trio.sleep(30)
        assert len(vendor.logins) == 1
        await source.store.pause("north", paused=False)
        source.store.nudge("north")
        await source.until(lambda: ok(source), 20)

        assert len(vendor.logins) == 2


async def test_a_vendor_that_ends_each_session_at_once_is_held(
    autojump_clock, tmp_path
):
    def answer(asked: Asked) -> Any:
        return {"session": "never-any-good"} if asked.path == "/login" else 401

    far = Far(answer)
    async with polled(tmp_path, far, *MANY, provider=SESSIONS) as source:
        await trio.sleep(3600)

        assert "ends each session as soon as it begins" in source.healths["feed0"].why
        assert far.paths().count("/login") < 40


@pytest.mark.parametrize(
    "trouble", [503, b"<html>", httpx.ConnectError("no"), {"no": 1}]
)
async def test_a_login_that_fails_for_now_is_tried_by_one_and_ever_more_slowly(
    trouble, autojump_clock, tmp_path
):
    vendor = Vendor()
    far = Far(lambda _asked: trouble)
    async with polled(tmp_path, far, *MANY, provider=SESSIONS) as source:
        await trio.sleep(120)
        assert len(far.asked) <= 8
        assert set(source.states().values()) == {"failing"}

        far.answer = vendor
        await source.until(lambda: ok(source))
        assert len(vendor.logins) == 1


async def test_a_session_that_moved_is_gone_on_with_over_there(
    autojump_clock, tmp_path
):
    vendor = Vendor()
    vendor.host = "far.example:8080"
    far = Far(vendor)
    async with polled(tmp_path, far, FIXES, provider=SESSIONS) as source:
        await source.until(lambda: ok(source))
        assert [one.host for one in far.asked] == ["acme.example", "far.example"]

        far.script = [httpx.ConnectError("it moved again")]
        await source.until(lambda: len(vendor.logins) == 2)
        assert [one.host for one in far.asked if one.path == "/login"] == [
            "acme.example"
        ] * 2


@pytest.mark.parametrize("gone", [503, 404, 301, {"error": "away"}, b"<html>"])
async def test_a_server_that_is_no_longer_one_costs_a_login_and_no_more(
    gone, autojump_clock, tmp_path
):
    vendor = Vendor()
    vendor.host = "far.example"
    far = Far(lambda asked: gone if asked.host == "far.example" else vendor(asked))
    async with polled(tmp_path, far, FIXES, provider=SESSIONS) as source:
        await source.until(lambda: far.paths() == ["/login", "/fixes"])
        vendor.host = "other.example"
        await source.until(lambda: ok(source))

        assert len(vendor.logins) == 2
        assert far.asked[-1].host == "other.example"


async def test_no_output_shows_a_session(autojump_clock, tmp_path):
    vendor = Vendor()
    far = Far(vendor)
    async with polled(tmp_path, far, FIXES, provider=SESSIONS) as source:
        await source.until(lambda: ok(source))

    assert MASK.mask("the session-number-1 of it") == "the *** of it"


def test_the_telling_parts_of_a_session_put_together_are_masked_and_names_are_not():
    mask(
        '{"database":"acme_haulage_company","sessionId":"kM3qZ81xYt5Rw20pLs"}', "north"
    )

    assert MASK.mask("kM3qZ81xYt5Rw20pLs") == "***"
    assert MASK.mask("acme_haulage_company") == "acme_haulage_company"


# whose account it is


def who(asked: Asked) -> Any:
    if asked.path == "/me":
        return {"id": "7001", "name": "Acme Haulage"}
    return page(fix(1), next="1")


@pytest.mark.parametrize("org", ["7001", "acme haulage", " Acme Haulage "])
async def test_the_right_account_is_polled(org, autojump_clock, tmp_path):
    far = Far(who)
    async with polled(tmp_path, far, FIXES, feed("more"), org=org) as source:
        await source.until(lambda: ok(source))

        assert far.paths().count("/me") == 1
        assert far.paths()[0] == "/me"


async def test_nothing_is_taken_from_the_wrong_account(autojump_clock, tmp_path):
    far = Far(who)
    async with polled(tmp_path, far, FIXES, feed("more"), org="Bravo") as source:
        await source.until(lambda: set(source.states().values()) == {"held"})
        await trio.sleep(3600)

        assert set(far.paths()) == {"/me"}
        assert len(far.asked) < 20
        assert source.ids() == []
        assert "opens the account of '7001', 'Acme Haulage', not of 'Bravo'" in (
            source.healths["fixes"].why
        )
        assert source.alerts() == [("polling_held", "")]


async def test_the_account_is_looked_at_every_day(autojump_clock, tmp_path):
    far = Far(who)
    async with polled(tmp_path, far, FIXES, org="7001", every=600) as source:
        await trio.sleep(3 * 86_400)
        assert 3 <= far.paths().count("/me") <= 4

        far.answer = lambda asked: (
            {"id": "1", "name": "x"} if asked.path == "/me" else who(asked)
        )
        await source.until(lambda: source.states() == {"fixes": "held"}, 86_500)


async def test_not_hearing_whose_account_it_is_stops_only_a_newcomer(
    autojump_clock, tmp_path
):
    far = Far(lambda asked: 503 if asked.path == "/me" else who(asked))
    async with polled(tmp_path, far, FIXES, org="7001", every=600) as source:
        await trio.sleep(600)
        assert source.ids() == []

        far.answer = who
        await source.until(source.ids)
        far.answer = lambda asked: 503 if asked.path == "/me" else who(asked)
        before = len(far.asked)
        await trio.sleep(2 * 86_400)
        assert far.paths()[before:].count("/fixes") > 280
        assert ok(source)


async def test_a_session_without_an_end_is_used_until_it_is_refused(
    autojump_clock, tmp_path
):
    vendor = Vendor()
    far = Far(vendor)
    async with polled(tmp_path, far, FIXES, provider=SESSIONS, every=3600) as source:
        await trio.sleep(30 * 86_400)

        assert len(vendor.logins) == 1
        assert ok(source)


async def test_a_source_that_is_forgotten_leaves_no_session_behind(
    autojump_clock, tmp_path
):
    far = Far(Vendor())
    async with polled(tmp_path, far, FIXES, provider=SESSIONS) as source:
        await source.until(lambda: ok(source))
        kept = "SELECT count(*) FROM kept WHERE value GLOB '*session-number-1*'"
        assert source.rows(kept) == [(1,)]
        await source.store.forget("north")

        assert source.rows(kept) == [(0,)]


@pytest.mark.parametrize("at", ["login", "page"])
async def test_a_reload_in_the_middle_of_a_login_costs_one_login_more_and_nothing_else(
    at, autojump_clock, tmp_path
):
    vendor = Vendor()
    far = Far(vendor)
    far.takes = 5.0
    done = 1 if at == "login" else 2
    for _ in range(2):  # the second one with everything that the first one kept
        async with polled(tmp_path, far, *MANY, provider=SESSIONS) as source:
            asked = len(far.asked)
            await source.until(lambda asked=asked: len(far.asked) >= asked + done)
            await trio.sleep(1)  # it is under way, and everybody waits for it
    async with polled(tmp_path, far, *MANY, provider=SESSIONS) as source:
        await source.until(lambda: ok(source))

        assert far.paths().count("/login") == (3 if at == "login" else 1)
        assert vendor.refused == 0
        assert source.alerts() == []
        assert not source.credential.held


async def test_a_password_corrected_by_a_reload_is_tried_at_once(
    autojump_clock, tmp_path
):
    vendor = Vendor("the-right-password")
    far = Far(vendor)
    async with polled(tmp_path, far, *MANY, provider=SESSIONS) as source:
        await source.until(lambda: source.credential.held)
    async with polled(
        tmp_path, far, *MANY, provider=SESSIONS, token="the-right-password"
    ) as source:
        began = trio.current_time()
        await source.until(lambda: ok(source))

        assert trio.current_time() - began < 60
        assert (vendor.refused, len(vendor.logins)) == (1, 2)
