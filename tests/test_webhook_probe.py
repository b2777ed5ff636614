"""The probe of our own: who can make one, and what is said of every way it can fare."""

from __future__ import annotations

import json
import socket

import httpx
import pytest
import trio

from fleetd.tasks.probes import Probes
from tests.street import answer, street

SIGNED = 'webhook_secret = "plain:twenty-characters-xx"'
AUTH = 'auth = { addresses = ["198.51.100.0/24"] }'


def test_a_probe_is_taken_once_and_only_while_it_is_under_way():
    probes = Probes()
    with probes.sending("/webhooks/x", {}, b"") as (probe, token):
        first, second = probes.claim(token), probes.claim(token)
    with probes.sending("/webhooks/x", {}, b"") as (_, late):
        pass

    assert first is probe
    assert second is None
    assert probes.claim(late) is None


@pytest.mark.parametrize(
    "spoil",
    [
        lambda token: "",
        lambda token: ".",
        lambda token: token[:-1] + ("0" if token[-1] != "0" else "1"),
        lambda token: token.partition(".")[0],
        lambda token: "f" * 32 + token[32:],
        lambda token: token + "é",
        lambda token: Probes().__class__()._proof(token[:32]),
    ],
)
def test_nobody_without_the_key_of_the_process_makes_one(spoil):
    probes = Probes()
    with probes.sending("/webhooks/x", {}, b"") as (probe, token):
        assert probes.claim(spoil(token)) is None
        with Probes().sending("/webhooks/x", {}, b"") as (_, foreign):
            assert probes.claim(foreign) is None
        assert probes.claim(token) is probe  # no try of theirs has used it up


async def test_a_way_without_fault(tmp_path, world, autojump_clock):
    heard = []
    world.on_date = heard.append
    async with street(tmp_path, world, None, SIGNED) as here:

        async def dated(request):
            found = await here.straight(request)
            found.headers["date"] = "Sat, 21 Nov 2026 06:00:00 GMT"
            return found

        here.hop = dated
        found = await here.test()
        rows = list(here.store.log.db.execute("SELECT count(*) FROM events"))

    assert found["said"] == "DNS ok · reached this fleetd in 84 ms"
    assert found["ok"]
    assert found["notes"] == []
    assert rows == [(0,)]
    assert heard == []  # that our own clock agrees with itself proves nothing
    assert not here.reception.refused


@pytest.mark.parametrize(
    ("address", "lookup_s", "said"),
    [
        (socket.gaierror(socket.EAI_NONAME, "no"), 0, "has no address: is the name right"),
        (socket.gaierror(socket.EAI_AGAIN, "no"), 0, "is there a network?"),
        ("93.184.216.34", 60, "is not told in 5 s"),
    ],
)  # fmt: skip
async def test_a_name_that_leads_nowhere(
    tmp_path, world, autojump_clock, address, lookup_s, said
):
    async with street(tmp_path, world, None, SIGNED) as here:
        here.address, here.lookup_s = address, lookup_s
        found = await here.test()

    assert found["said"].startswith("DNS: fleet.example.com ")
    assert said in found["said"]


async def test_an_address_of_the_inside_says_little_of_the_outside(
    tmp_path, world, autojump_clock
):
    async with street(tmp_path, world, None, SIGNED) as here:
        here.address = "10.1.2.3"
        found = await here.test()

    assert found["ok"]
    assert "the way that vendors come by was not tried" in found["notes"][0]


async def test_a_box_that_gets_out_through_a_proxy_only(
    tmp_path, world, autojump_clock
):
    world.environ = {"HTTPS_PROXY": "http://boss:proxy-password-19@proxy.example:3128"}
    async with street(tmp_path, world, None, SIGNED) as here:
        here.address = socket.gaierror(socket.EAI_NONAME, "no names in here")
        found = await here.test()

    assert found["said"].startswith("through the proxy proxy.example:3128 · reached")


async def test_a_hop_that_never_answers_is_waited_for_a_while_only(
    tmp_path, world, autojump_clock
):
    async with street(tmp_path, world, None, SIGNED) as here:

        async def silent(_request):
            await trio.sleep_forever()

        here.hop = silent
        found = await here.test()

        assert found["said"] == "DNS ok · no whole answer in 20 s"
        assert trio.current_time() < 21
        assert not here.board.probes._open


async def test_an_answer_without_end_is_not_read_to_its_end(
    tmp_path, world, autojump_clock
):
    served = []

    class Endless(httpx.AsyncByteStream):
        async def __aiter__(self):
            while True:
                served.append(1)
                yield b"<html>" * 1000

    async with street(tmp_path, world, None, SIGNED) as here:

        async def flood(_request):
            return httpx.Response(200, stream=Endless())

        here.hop = flood
        found = await here.test()

    assert "not by this fleetd but with a web page" in found["said"]
    assert len(served) < 5


async def test_a_relay_may_answer_first_and_deliver_then(
    tmp_path, world, autojump_clock
):
    async with (
        trio.open_nursery() as nursery,
        street(tmp_path, world, None, SIGNED) as here,
    ):

        async def later(request):
            async def deliver():
                await trio.sleep(3)
                await here.straight(request)

            nursery.start_soon(deliver)
            return answer(200, b"queued")

        here.hop = later
        found = await here.test()

    assert found["ok"]
    assert "reached this fleetd in 3084 ms" in found["said"]


@pytest.mark.parametrize(
    ("back", "said"),
    [
        (httpx.ReadError("reset"), "but its answer did not get back"),
        (answer(504), "but its answer came back as 504"),
        (answer(202), "but its answer came back as 202"),
    ],
)
async def test_an_arrival_whose_answer_is_lost_is_a_webhook_sent_again(
    tmp_path, world, autojump_clock, back, said
):
    async with street(tmp_path, world, None, SIGNED) as here:

        async def one_way(request):
            await here.straight(request)
            if isinstance(back, Exception):
                raise back
            return back

        here.hop = one_way
        found = await here.test()

    assert not found["ok"]
    assert found["hops"][-1] == "reached this fleetd in 84 ms"
    assert said in found["failed"]


async def test_a_full_disk_is_no_good_end_of_the_way(tmp_path, world, autojump_clock):
    async with street(tmp_path, world, None, SIGNED) as here:
        here.store.log.full = "the disk is full"
        found = await here.test()

    assert "which takes nothing in just now: the disk is full" in found["said"]


async def test_nobody_on_the_way_learns_to_sign(tmp_path, world, autojump_clock):
    seen = []
    async with street(tmp_path, world, None, SIGNED) as here:

        async def curious(request):
            seen.append(request)
            return await here.straight(request)

        here.hop = curious
        await here.test()
        (first,) = seen
        del first.headers["x-fleetd-probe"]
        signature = first.headers["x-kt-webhook-signature"]
        first_try = await here.straight(first)
        first._content = b""
        empty = await here.straight(first)

    assert len(signature) == 40
    assert [first_try.status_code, empty.status_code] == [401, 401]


async def test_a_body_that_was_changed_is_told(tmp_path, world, autojump_clock):
    async with street(tmp_path, world, None, SIGNED) as here:

        async def tidy(request):
            request._content = request.content + b" "
            return await here.straight(request)

        here.hop = tidy
        found = await here.test()

    assert "but with another body" in found["said"]


async def test_a_redirect_is_neither_followed_nor_repeated(
    tmp_path, world, autojump_clock
):
    asked = []
    async with street(tmp_path, world, None, SIGNED) as here:

        async def moved(request):
            asked.append(str(request.url))
            to = "https://fleet.example.com/login?session=s-3cr3t-0123456789"
            return answer(307, headers={"location": to})

        here.hop = moved
        found = await here.test()

    assert len(asked) == 1
    assert "redirected to https://fleet.example.com/…" in found["said"]
    assert "s-3cr3t" not in json.dumps(found)


@pytest.mark.parametrize(
    ("rooms", "forwarded", "note"),
    [
        ("", {}, "it came from 10.0.0.2; that auth.addresses lets the vendor in"),
        ("", {"x-forwarded-for": "192.0.2.1"},
         "a proxy at 10.0.0.2 is none of webhooks.trusted_proxies"),
        ('trusted_proxies = ["10.0.0.0/8"]', {"x-forwarded-for": "192.0.2.1"},
         "it came from 192.0.2.1; that auth.addresses"),
    ],
)  # fmt: skip
async def test_addresses_that_are_let_in_are_judged_behind_proxies(
    tmp_path, world, autojump_clock, rooms, forwarded, note
):
    async with street(
        tmp_path, world, None, AUTH + "\nfeeds = []", provider="motive", rooms=rooms
    ) as here:

        async def behind(request):
            request.headers.update(forwarded)
            return await here.straight(request)

        here.hop = behind
        found = await here.test()

    assert found["ok"]
    assert note in found["notes"][0]


async def test_a_source_that_receives_nothing_yet_can_be_tried_too(
    tmp_path, world, autojump_clock
):
    async with street(tmp_path, world, None) as here:
        found = await here.test()

        assert found["ok"]
        assert "its path is 404 to vendors" in found["notes"][0]


async def test_http_in_the_clear_is_mentioned(tmp_path, world, autojump_clock):
    async with street(
        tmp_path, world, None, SIGNED, url="http://fleet.example.com/x"
    ) as here:

        async def stripped(request):
            request.url = request.url.copy_with(path=request.url.path[2:])
            return await here.straight(request)

        here.hop = stripped
        found = await here.test()

    assert found["ok"]
    assert found["url"] == "http://fleet.example.com/x/webhooks/north"
    assert "most vendors send to https only" in found["notes"][0]
