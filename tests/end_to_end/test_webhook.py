"""`fleetd webhook` beside a real daemon: its own TLS, simulated vendors, and bad hops."""

from __future__ import annotations

import json
import re
import stat
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme

from tests.end_to_end.seen import Seen, shown
from tests.harness import Fleetd, by_samsara, free_port
from tests.hub import Hub
from tests.vendors.running import Running

TOKEN = "key"
SECRET = "twenty-characters-xx"
SAMSARA = """
[sources.north]
provider = "samsara"
token = "env:TOKEN"
base_url = "$far"
feeds = ["vehicles"]
"""
MOTIVE = """
[sources.south]
provider = "motive"
token = "env:TOKEN"
webhook_secret = "env:SECRET"
base_url = "$far"
feeds = ["vehicles"]
"""
GATE = """
[sources.gate]
provider = "generic"
auth = { key = "env:KEY", header = { X-Badge = "env:BADGE" } }
"""
KEY, BADGE = "gate-key/one+of two", "badge-0a1b2c3d"


class Papers:
    """Certificates of an authority that a daemon is told to believe."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = trustme.CA()
        self.believed = folder / "authority.pem"
        self.authority.cert_pem.write_to_path(self.believed)

    def issue(self, name: str, *, ended: bool = False) -> str:
        """What a config says to show such a certificate."""
        until = datetime.now(UTC) + timedelta(days=-1 if ended else 61, hours=1)
        made = self.authority.issue_cert(
            name, not_before=datetime(2020, 1, 1, tzinfo=UTC), not_after=until
        )
        stem = self.folder / f"{name}-{ended}"
        cert, key = stem.with_suffix(".crt"), stem.with_suffix(".key")
        for n, one in enumerate(made.cert_chain_pems):
            one.write_to_path(cert, append=n > 0)
        made.private_key_pem.write_to_path(key)
        return f'tls_cert = "{cert}"\ntls_key = "{key}"\n'


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Papers:
    return Papers(tmp_path_factory.mktemp("papers"))


Make = Callable[..., Fleetd]


def house(
    make: Make, config: str, rooms: str = "", url: str = "", *,
    environ: dict[str, str] | None = None, **words: str,
) -> Fleetd:  # fmt: skip
    one: Fleetd = make(environ=ENVIRON | (environ or {}))
    public = f'public_url = "{url or f"http://127.0.0.1:{one.port}"}"\n'
    one.configure(config, webhooks=public + rooms, **words)
    return one


ENVIRON = {"TOKEN": TOKEN, "SECRET": SECRET, "KEY": KEY, "BADGE": BADGE}


def secured(make: Make, config: str, papers: Papers, **more: Any) -> Fleetd:
    """A daemon that speaks TLS itself, as localhost."""
    named, ended = more.pop("named", "localhost"), more.pop("ended", False)
    believed = str(more.pop("believed", papers.believed))
    one = house(make, config, environ={"SSL_CERT_FILE": believed}, **more)
    public = f'public_url = "https://localhost:{one.port}"\n'
    one.configure(config, webhooks=public + papers.issue(named, ended=ended), **more)
    return one


def said_of(one: Fleetd, *names: str, code: int = 1) -> str:
    """What `webhook test` says, in one line."""
    found = one.asked("webhook", "test", *names, code=code)
    (first,) = found["sources"]
    assert first["ok"] is (code == 0)
    return str(first["said"])


# the probe


def test_a_probe_over_tls_says_every_hop_and_leaves_nothing_behind(make, papers):
    one = secured(make, MOTIVE, papers, far="http://127.0.0.1:9").begin()
    done = one.run("webhook", "test", "south")
    south = one.status()["sources"]["south"]
    metrics = one.get("/metrics").body.decode()

    assert re.fullmatch(
        r"south: DNS ok · TLS ok, expires in 61 d · reached this fleetd in \d+ ms\n",
        done.stdout,
    )
    assert south["received"] == south["refused"] == south["unverified"] == 0
    assert 'fleetd_answers_total{source="south"' not in metrics
    assert one.run("ledger", code=None).returncode in {0, 3}


def test_key_and_headers_go_the_whole_way_and_are_never_shown(make, papers):
    one = secured(make, GATE, papers).begin()
    seen = Seen()
    done = one.run("webhook", "test", "gate")
    listed = one.run("webhook", "list", "gate")
    seen.add("test", done.stdout, done.stderr)
    seen.add("list", listed.stdout, listed.stderr)
    seen.add("json", one.run("webhook", "test", "gate", "--json").stdout)
    seen.add("log", one.told(1 << 20))

    assert "reached this fleetd" in done.stdout
    assert "/webhooks/gate/KEY" in listed.stdout
    assert shown(seen, {KEY, BADGE}) == {}


@pytest.mark.parametrize(
    ("wishes", "sentence"),
    [
        ({"ended": True}, "TLS: its certificate has expired"),
        ({"named": "other.example"}, "TLS: its certificate is for another name"),
        ({"believed": "/etc/ssl/certs/ca-certificates.crt"}, "TLS: its certificate is not believed"),
    ],
    ids=["expired", "another name", "nobody's"],
)  # fmt: skip
def test_a_certificate_that_no_vendor_would_take_is_the_hop_that_fails(
    make, papers, tmp_path, wishes, sentence
):
    if "believed" in wishes:
        stranger = tmp_path / "stranger.pem"
        trustme.CA().cert_pem.write_to_path(stranger)
        wishes = {"believed": stranger}
    one = secured(make, MOTIVE, papers, far="http://127.0.0.1:9", **wishes).begin()

    assert said_of(one).startswith(f"DNS ok · {sentence}")


def test_nobody_listens_there(make):
    one = house(
        make, MOTIVE, url=f"http://127.0.0.1:{free_port()}", far="http://x"
    ).begin()

    assert re.match(
        r"no connection to 127\.0\.0\.1:\d+: Connection refused", said_of(one)
    )


def test_a_name_that_stands_for_nothing(make):
    one = house(
        make, MOTIVE, url="https://fleet.nowhere.invalid", far="http://x"
    ).begin()

    assert said_of(one).startswith("DNS: fleet.nowhere.invalid ")


def test_without_a_public_url_there_is_nothing_to_try(make):
    one = make(environ=ENVIRON)
    one.configure(MOTIVE, far="http://x")
    one.begin()

    assert said_of(one).startswith("webhooks.public_url is not set")


def test_what_speaks_no_tls(make, hub):
    url = f"https://127.0.0.1:{hub.port}"
    one = house(make, MOTIVE, url=url, far="http://x").begin()

    assert said_of(one) == (
        f"TLS: 127.0.0.1:{hub.port} takes connections, and no TLS comes about"
    )


@pytest.fixture(scope="module")
def astray(make: Make, hub: Hub) -> Fleetd:
    """A daemon whose public_url leads elsewhere."""
    return house(
        make, MOTIVE, url=f"http://127.0.0.1:{hub.port}", far="http://x"
    ).begin()


@pytest.mark.parametrize(
    ("answer", "headers", "sentence"),
    [
        ((404, b"<html>nginx"), {"Server": "nginx"}, "nginx): whatever answers there knows no such path"),
        ((502, b"<html>Bad Gateway"), {}, "the proxy is there and cannot reach fleetd"),
        ((200, b"<!DOCTYPE html><title>Log in"), {}, "not by this fleetd but with a web page"),
        ((302, b""), {"Location": "https://login.example/?next=secret"},
         "redirected to https://login.example/…, and vendors follow no redirect"),
        ((403, b"no"), {}, "something before fleetd forbids it"),
        ((418, b"x" * (4 << 20)), {}, "not by fleetd but by something before it"),
        ((0, b""), {}, "which hung up without an answer"),
    ],
    ids=["404", "502", "login", "redirect", "403", "huge", "hung up"],
)  # fmt: skip
def test_whoever_answers_instead_is_told_from_us(
    astray, hub, answer, headers, sentence
):
    hub.answer, hub.more = lambda _asked: answer, headers
    said = said_of(astray)

    assert sentence in said
    assert "secret" not in said


def test_the_address_of_another_fleetd_is_not_ours(make):
    other = house(make, MOTIVE, far="http://x").begin()
    url = f"http://127.0.0.1:{other.port}"
    one = house(make, MOTIVE, url=url, far="http://x").begin()
    source = make(environ=ENVIRON)
    source.configure(GATE, webhooks=f'public_url = "{url}"')
    source.begin()

    assert said_of(one) == (
        "arrived at another fleetd than this one: whose address is that?"
    )
    assert "404 as a fleetd does that has no such source" in said_of(source)
    assert other.status()["sources"]["south"]["unverified"] == 0


class Proxy:
    """Something in front of a daemon that hands on what it gets, changed."""

    def __init__(self, make: Make) -> None:
        self.hub = Hub()
        self.hub.answer = self._pass
        self.change: Callable[[Any], Any] = lambda one: one
        self.kept: list[Any] = []
        url = f"http://127.0.0.1:{self.hub.port}"
        self.behind = house(make, MOTIVE, url=url, far="http://x").begin()

    def _pass(self, asked: Any) -> tuple[int, bytes]:
        drop = {"host", "content-length", "connection", "accept-encoding"}
        headers = {k: v for k, v in asked.headers.items() if k not in drop}
        url = f"http://127.0.0.1:{self.behind.port}{asked.path}"
        request = {
            "method": "POST",
            "url": url,
            "headers": headers,
            "content": asked.body,
        }
        self.kept.append(dict(request))
        answer = httpx.request(**self.change(request), timeout=10)
        return answer.status_code, answer.content


@pytest.fixture(scope="module")
def proxy(make: Make) -> Iterator[Proxy]:
    one = Proxy(make)
    try:
        yield one
    finally:
        one.hub.close()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda one: one, ""),
        (lambda one: one | {"url": one["url"].replace("/webhooks", "")},
         "but as /south instead of /webhooks/south: a proxy changes the path"),
        (lambda one: one | {"content": b"{}"}, "but with another body"),
        (lambda one: one | {"headers": {k: v for k, v in one["headers"].items()
                                        if not k.startswith("x-kt")}},
         "but without the header X-KT-Webhook-Signature"),
    ],
    ids=["nothing", "path", "body", "header"],
)  # fmt: skip
def test_what_a_proxy_changes_is_found_out(proxy, change, sentence):
    proxy.change = change
    said = said_of(proxy.behind, code=1 if sentence else 0)

    assert sentence in said


def test_what_was_seen_of_a_probe_opens_nothing(proxy):
    proxy.change = lambda one: one
    said_of(proxy.behind, code=0)
    first = proxy.kept[-1]
    forged = dict(first["headers"]) | {"x-fleetd-probe": "0" * 32 + "." + "0" * 64}
    bare = {k: v for k, v in first["headers"].items() if k != "x-fleetd-probe"}
    answers = [
        httpx.request(**(first | {"headers": headers})).status_code
        for headers in (first["headers"], forged, bare)
    ]
    south = proxy.behind.status()["sources"]["south"]

    assert answers == [421, 421, 401]  # used, made up, and nothing of it was signed
    assert (south["received"], south["unverified"]) == (0, 1)


# the vendor's own list


@pytest.fixture
def samsara() -> Iterator[Running]:
    with Running("samsara", vehicles=2) as sim:
        yield sim


def registered(sim: Running, path: str = "/webhooks") -> list[dict[str, Any]]:
    headers = {"Authorization": f"Bearer {TOKEN}", "X-Api-Key": TOKEN}
    while (answer := httpx.get(sim.url + path, headers=headers)).status_code == 429:
        time.sleep(0.2)  # fleetd has just spent what the token may ask
    told = answer.json()
    if "data" in told:
        return list(told["data"])
    return [one["company_webhook"] for one in told["company_webhooks"]]


def test_samsara_from_nothing_to_a_signed_webhook_and_a_new_secret(make, samsara):
    one = house(make, SAMSARA, far=samsara.url).begin()
    before = one.run("webhook", "list", "north")
    added = one.run("webhook", "add", "north")
    (there,) = registered(samsara)
    file = Path(re.search(r'webhook_secret = "file:(.*)"', added.stdout)[1])
    status = one.status()["sources"]["north"]

    assert "nothing is registered there" in before.stdout
    assert there["url"] == f"http://127.0.0.1:{one.port}/webhooks/north"
    assert file.read_text() == there["secretKey"]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert "404 until webhook_secret is in the config" in status["why"]

    one.write(one.file.read_text() + f'webhook_secret = "file:{file}"\n')
    one.reload()
    body = json.dumps({"eventId": "e1", "eventType": "Ping", "eventTime": "2026-11-21T00:00:00Z",
                       "orgId": 1, "webhookId": "1", "data": {}}).encode()  # fmt: skip
    first = there["secretKey"]

    assert one.post("north", body, by_samsara(body, first)).status == 200
    assert one.asked("webhook", "add", "north")["did"] == "nothing"

    rotated = one.asked("webhook", "add", "north", "--rotate")
    secrets = {hook["id"]: hook["secretKey"] for hook in registered(samsara)}
    second = secrets.pop(rotated["id"])
    statuses = [
        one.post("north", body, by_samsara(body, secret)).status
        for secret in (first, second)
    ]
    one.stop()
    one.begin()
    statuses += [
        one.post("north", body, by_samsara(body, secret)).status
        for secret in (first, second)
    ]

    assert rotated["named"]
    assert list(secrets.values()) == [first]
    assert file.read_text() == second
    assert statuses == [200] * 4

    kept = one.run("webhook", "remove", "north")
    seen = Seen()
    seen.add("add", added.stdout, added.stderr, json.dumps(rotated), kept.stdout)
    seen.add("list", one.run("webhook", "list").stdout)
    seen.add("log", one.told(1 << 20))
    seen.add("store", (one.folder / "data" / "log.sqlite").read_bytes())

    assert registered(samsara) == []
    assert shown(seen, {first, second}) == {}


def test_what_others_registered_is_shown_and_never_touched(make, samsara):
    one = house(make, SAMSARA, far=samsara.url).begin()
    for name, url in (
        ("theirs", "https://other.example/hook?token=theirs-8812"),
        ("mine", f"http://127.0.0.1:{one.port}/webhooks/north"),
    ):
        httpx.post(
            f"{samsara.url}/webhooks", json={"name": name, "url": url},
            headers={"Authorization": f"Bearer {TOKEN}"},
        ).raise_for_status()  # fmt: skip
    added = one.run("webhook", "add", "north", code=1)
    removed = one.run("webhook", "remove", "north")
    listed = one.asked("webhook", "list", "north")["sources"][0]["registered"]

    assert "fleetd did not make it: it is left alone" in added.stderr
    assert "fleetd registered nothing at Samsara" in removed.stdout
    assert len(registered(samsara)) == 2
    assert [row["whose"] for row in listed] == ["by hand", "other"]
    assert listed[1]["url"] == "https://other.example/…"


def test_motive_probes_while_it_is_registered_and_only_two_may_be_active(make):
    with Running("motive", vehicles=2, limit=10) as sim:
        one = house(make, MOTIVE, far=sim.url).begin()
        added = one.asked("webhook", "add", "south")
        (there,) = registered(sim, "/v1/company_webhooks")
        south = one.status()["sources"]["south"]
        answers = one.get("/metrics").body.decode()
        again = one.asked("webhook", "add", "south")
        same = one.run("webhook", "add", "south", "--rotate", code=2)
        one.environ["NEWER"] = "another-twenty-charac"
        one.stop()
        one.write(one.file.read_text().replace(
            '"env:SECRET"', '["env:NEWER", "env:SECRET"]'
        ))  # fmt: skip
        one.begin()
        rotated = one.asked("webhook", "add", "south", "--rotate")
        (newer,) = registered(sim, "/v1/company_webhooks")
        removed = one.asked("webhook", "remove", "south")
        for name in "ab":
            hub = Hub()
            told = {"url": f"http://127.0.0.1:{hub.port}/{name}", "secret": "x" * 20,
                    "actions": ["vehicle_location_received"], "enabled": True}  # fmt: skip
            httpx.post(
                f"{sim.url}/v1/company_webhooks",
                json=told,
                headers={"X-Api-Key": TOKEN},
            ).raise_for_status()
            threading.Thread(target=hub.close, daemon=True).start()
        full = one.run("webhook", "add", "south", code=1)

    assert (added["did"], added["enabled"]) == ("made", True)
    assert there["secret"] == SECRET
    assert 'fleetd_answers_total{source="south",status="200"} 1' in answers  # its probe
    assert south["unverified"] == south["refused"] == south["dead"] == 0
    assert again["did"] == "nothing"
    assert "put the new secret first" in same.stderr
    assert (rotated["did"], newer["secret"]) == ("rotated", "another-twenty-charac")
    assert newer["id"] == there["id"]
    assert removed["removed"] == [str(there["id"])]
    assert "Motive allows 2 active webhooks for an action" in full.stderr
    assert "vehicle_location_received has them" in full.stderr


def test_motive_keeps_off_what_its_probe_does_not_reach(make):
    with Running("motive", vehicles=2) as sim:
        url = f"http://127.0.0.1:{free_port()}"
        one = house(make, MOTIVE, url=url, far=sim.url).begin()
        refused = one.run("webhook", "add", "south", code=1)
        there = registered(sim, "/v1/company_webhooks")
        forced = one.run("webhook", "add", "south", "--untested", code=1)
        status = one.status()
        alerts = one.events("--kind", "alert")

    assert there == []
    assert "nothing was registered, since no webhook would get here" in refused.stderr
    assert "keeps it off" in forced.stdout
    assert "switched off" in status["sources"]["south"]["why"]
    assert status["state"] == "degraded"
    assert [one["data"]["type"] for one in alerts] == ["webhook_disabled"]


def test_commands_that_cannot_be_meant_say_so(make, samsara):
    one = house(make, SAMSARA + GATE, far=samsara.url)
    stopped = one.run("webhook", "list", code=69)
    one.begin()
    no_name = one.run("webhook", "add", code=2)
    no_such = one.run("webhook", "test", "nort", code=2)
    no_api = one.run("webhook", "add", "gate", code=2)

    assert "not running" in stopped.stderr
    assert "takes the name of a source" in no_name.stderr
    assert "did you mean 'north'" in no_such.stderr
    assert "has no API for its webhooks" in no_api.stderr
