"""`check --live` against every simulated vendor: one sentence that says what to do."""

from __future__ import annotations

import importlib
import re
import socket
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
import trio
import trio.testing

from fleetd import config, providers, sinks
from fleetd.cli import _live
from fleetd.secrets import resolve
from fleetd.world import World, inline
from tests.vendors.base import Clock, Simulator
from tests.vendors.truth import Truth
from tests.vendors.wire import asked_of

KEY = "key-of-simulations"
VENDORS = {
    "samsara": "",
    "motive": "",
    "loconav": "",
    "geotab": 'database = "acme_haul"\nuser = "fleetd-service@acme.test"\n',
    "verizon": 'user = "REST_Delta_1@123456.com"\napp_id = "fleetmatics-p-us-simulated"\n',
}
Answer = Callable[[httpx.Request], httpx.Response]


def simulated(vendor: str) -> Simulator:
    """A small fleet at that vendor, by the clock of the test."""
    module = importlib.import_module(f"tests.vendors.{vendor}")
    kind = next(
        one
        for one in vars(module).values()
        if isinstance(one, type) and issubclass(one, Simulator) and one.vendor == vendor
    )
    return kind(Truth(5), clock=Clock(steady=trio.current_time), key=KEY)


def live(
    folder: Path,
    vendor: str,
    *,
    token: str = KEY,
    more: str = "",
    answer: Answer | None = None,
) -> _live.Finding:
    """What is found of one source of that vendor."""
    path = folder / "fleetd.toml"
    own = more or VENDORS[vendor]
    path.write_text(
        '[daemon]\ndata = "./data"\n'
        f'[sources.north]\nprovider = "{vendor}"\ntoken = "plain:{token}"\n{own}'
    )

    async def main() -> list[_live.Finding]:
        house = config.fitted(config.load(path, {}), providers.load, sinks.load)
        resolve(house, {})
        transport = (
            httpx.MockTransport(answer) if answer else simulated(vendor).transport()
        )
        world = World(transport=transport, environ={}, in_thread=inline)
        return await _live.call_everything(house, world)

    found = trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    assert found[0].name == "sources.north"
    assert token not in found[0].said
    assert "\n" not in found[0].said
    return found[0]


@pytest.mark.parametrize("vendor", VENDORS)
def test_with_the_right_key_every_feed_answers(tmp_path, vendor):
    found = live(tmp_path, vendor)

    assert found.ok, found.said
    assert re.search(r": answered: vehicles \([56]\), ", found.said)


@pytest.mark.parametrize("vendor", VENDORS)
def test_with_a_wrong_key_it_says_who_refused_it_and_what_to_fix(tmp_path, vendor):
    found = live(tmp_path, vendor, token="another-key")

    assert not found.ok
    assert "refused" in found.said
    assert "Fix sources.north.token" in found.said


@pytest.mark.parametrize("vendor", VENDORS)
def test_without_a_network_it_says_which_host_was_not_reached(tmp_path, vendor):
    def nobody(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("no") from socket.gaierror(
            socket.EAI_NONAME, "unknown"
        )

    found = live(tmp_path, vendor, answer=nobody)

    assert not found.ok
    assert "cannot be asked: " in found.said
    assert ": no address is known for this name (DNS)" in found.said


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize("status", [500, 503])
def test_a_vendor_that_is_unwell_is_said_to_be(tmp_path, vendor, status):
    found = live(tmp_path, vendor, answer=lambda _request: httpx.Response(status))

    assert not found.ok
    assert f"answered {status}" in found.said


@pytest.mark.parametrize("vendor", ["samsara", "motive", "loconav"])
def test_a_vendor_that_asks_for_patience_takes_the_key(tmp_path, vendor):
    found = live(tmp_path, vendor, answer=lambda _request: httpx.Response(429))

    assert found.ok
    assert "asks for patience" in found.said


@pytest.mark.parametrize("vendor", ["samsara", "motive", "loconav"])
def test_a_web_page_instead_of_an_answer_is_called_one(tmp_path, vendor):
    page = httpx.Response(200, content=b"<!DOCTYPE html><title>Log in</title>")
    found = live(tmp_path, vendor, answer=lambda _request: page)

    assert not found.ok
    assert "it is a web page: is a proxy or a login in between?" in found.said


@pytest.mark.parametrize("status", [401, 404])
def test_samsara_of_another_region_is_told_where_else_to_ask(tmp_path, status):
    eu = 'base_url = "https://api.eu.samsara.com"\n'
    here = live(tmp_path, "samsara", answer=lambda _request: httpx.Response(status))
    there = live(
        tmp_path, "samsara", more=eu, answer=lambda _request: httpx.Response(status)
    )

    assert not here.ok
    assert "another region" in here.said
    assert 'EU: base_url = "https://api.eu.samsara.com"' in here.said
    assert 'US: base_url = "https://api.samsara.com"' in there.said
    assert "EU: " not in there.said


@pytest.mark.parametrize(
    ("vendor", "token", "scope"),
    [
        ("samsara", f"{KEY}-narrow", "drivers needs Read Drivers"),
        ("motive", f"{KEY}-without-vehicles", "vehicles needs vehicles.read"),
    ],
)
def test_a_scope_that_is_missing_is_named_with_the_feed_that_needs_it(
    tmp_path, vendor, token, scope
):
    found = live(tmp_path, vendor, token=token)

    assert not found.ok
    assert "takes the token and forbids some feeds (403): " in found.said
    assert scope in found.said


def test_geotab_tells_a_wrong_user_from_an_unknown_database(tmp_path):
    user = 'database = "acme_haul"\nuser = "nobody@acme.test"\n'
    database = 'database = "nowhere"\nuser = "fleetd-service@acme.test"\n'
    wrong, unknown = (live(tmp_path, "geotab", more=one) for one in (user, database))

    assert "refused the login of nobody@acme.test" in wrong.said
    assert "knows no such database" in unknown.said
    assert "Fix sources.north.token, or .database, .user." in unknown.said


def test_verizon_names_user_and_password_together(tmp_path):
    other = 'user = "nobody"\napp_id = "fleetmatics-p-us-simulated"\n'
    found = live(tmp_path, "verizon", more=other)

    assert not found.ok
    assert "refused user and password" in found.said
    assert "Fix sources.north.token, or .user, .app_id, .region." in found.said


def test_an_account_of_somebody_else_is_said_to_be(tmp_path):
    found = live(tmp_path, "samsara", more='org = "Somebody Else"\n')

    assert not found.ok
    assert "this token opens the account of " in found.said


def test_nothing_is_asked_twice_and_nothing_is_changed(tmp_path):
    asked, sims = [], []

    def answer(request: httpx.Request) -> httpx.Response:
        if not sims:
            sims.append(simulated("samsara"))
        asked.append((request.method, str(request.url)))
        found = sims[0].answer(asked_of(request))
        return httpx.Response(found.status, content=found.body)

    assert live(tmp_path, "samsara", answer=answer).ok
    assert {method for method, _url in asked} == {"GET"}
    assert len(asked) == len(set(asked))
