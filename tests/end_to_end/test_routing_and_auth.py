"""Who may send, who may ask, and which sink gets what."""

from __future__ import annotations

import http.client
import json
import signal
import ssl
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.end_to_end.showing import shows
from tests.harness import Answer, Fleetd, UnixConnection, ask, by_motive, certificate_at
from tests.hub import Hub

SECRET = "a secret of the south"
TOKEN = "a-token-for-status-1"
ENVIRON = {
    "SOUTH": SECRET,
    "KEY": "key-of-the-gate-1",
    "NEXT_KEY": "key-of-the-gate-2",
    "HEADER": "header-of-the-gate",
    "TOKEN": TOKEN,
}
CONFIG = """
[sources.south]
provider = "motive"
webhook_secret = "env:SOUTH"

[sources.gate]
provider = "generic"
id = "id"
vehicle = "truck"
auth = { key = ["env:KEY", "env:NEXT_KEY"] }

[sources.badge]
provider = "generic"
auth = { header = { X-Badge = "env:HEADER" } }

[sources.near]
provider = "generic"
auth = { addresses = ["127.0.0.0/8"] }

[sources.far]
provider = "generic"
auth = { addresses = ["203.0.113.0/24", "2001:db8::/32"] }

[sources.strict]
provider = "generic"
auth = { key = "env:KEY", header = { X-Badge = "env:HEADER" }, addresses = ["203.0.113.7"] }

[sources.mute]
provider = "samsara"

[sinks.faults]
kind = "http"
url = "http://127.0.0.1:$hub/faults"
takes = ["fault", "vehicle"]

[sinks.gates]
kind = "http"
url = "http://127.0.0.1:$hub/gates"
sources = ["gate"]

[sinks.trucks]
kind = "http"
url = "http://127.0.0.1:$hub/trucks"
vehicles = ["t-1*"]

[sinks.everything]
kind = "http"
url = "http://127.0.0.1:$hub/everything"
"""


@pytest.fixture(scope="module")
def daemon(make: Callable[..., Fleetd], hub: Hub) -> Fleetd:
    return make(
        CONFIG,
        hub=str(hub.port),
        environ=ENVIRON,
        webhooks='trusted_proxies = ["127.0.0.1"]\nmax_body = "64KiB"',
        status='token = "env:TOKEN"',
    ).begin()


def send(daemon: Fleetd, path: str, **headers: str) -> int:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return daemon.post(path, b'{"id":"same"}', named).status


# who may send


@shows("sources.NAME.auth", "sources.NAME.auth.key")
def test_a_key_in_the_path_lets_in_and_each_of_a_list_counts(daemon):
    assert send(daemon, "gate/key-of-the-gate-1") == 200
    assert send(daemon, "gate/key-of-the-gate-2") == 200
    assert send(daemon, "gate/key-of-the-gate-3") == 401
    assert send(daemon, "gate/key-of-the-gate-1/more") == 401
    assert send(daemon, "gate/") == 401
    assert send(daemon, "gate") == 401


@shows("sources.NAME.auth.header")
def test_a_header_lets_in(daemon):
    assert send(daemon, "badge", X_Badge="header-of-the-gate") == 200
    assert send(daemon, "badge", X_Badge="header-of-the-gat") == 401
    assert send(daemon, "badge") == 401


@shows("sources.NAME.auth.addresses", "webhooks.trusted_proxies")
def test_addresses_are_judged_behind_a_trusted_proxy(daemon):
    assert send(daemon, "near") == 200
    assert send(daemon, "near", X_Forwarded_For="198.51.100.9") == 401
    assert send(daemon, "far") == 401
    assert send(daemon, "far", X_Forwarded_For="203.0.113.9") == 200
    assert send(daemon, "far", X_Forwarded_For="2001:db8::7") == 200
    assert send(daemon, "far", X_Forwarded_For="203.0.113.9, 198.51.100.9") == 401
    assert send(daemon, "far", X_Forwarded_For="nonsense") == 401


def test_everything_that_is_configured_must_hold(daemon):
    good = {"X_Badge": "header-of-the-gate", "X_Forwarded_For": "203.0.113.7"}

    assert send(daemon, "strict/key-of-the-gate-1", **good) == 200
    assert send(daemon, "strict/key-of-the-gate-2", **good) == 401
    for missing in good:
        rest = {name: value for name, value in good.items() if name != missing}
        assert send(daemon, "strict/key-of-the-gate-1", **rest) == 401


def test_a_signed_source_takes_no_key_in_its_path(daemon):
    body = b'{"action":"test"}'

    assert daemon.post("south", body, by_motive(body, SECRET)).status == 200
    assert daemon.post("south/key", body, by_motive(body, SECRET)).status == 403


@pytest.mark.parametrize("path", ["nobody", "mute", "", "South", "../status"])
def test_a_path_that_is_no_receiving_source_is_404(daemon, path):
    assert daemon.post(path, b"{}").status == 404


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "HEAD"])
def test_a_webhook_is_posted_or_405(daemon, method):
    answer = daemon.post("south", b"", method=method)

    assert (answer.status, answer.headers["allow"]) == (405, "POST")


def test_a_body_over_the_limit_is_413_whether_it_says_so_or_not(daemon):
    big = b'{"action":"test","x":"%s"}' % (b"x" * (65 << 10))

    assert daemon.post("south", big, by_motive(big, SECRET)).status == 413
    assert said_to_be(daemon, 1 << 40).status == 413
    fits = b'{"action":"test","x":"%s"}' % (b"x" * (63 << 10))
    assert daemon.post("south", fits, by_motive(fits, SECRET)).status == 200


def said_to_be(daemon: Fleetd, size: int) -> Answer:
    """A request that announces a body, and sends none."""
    door = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=60)
    door.putrequest("POST", "/webhooks/south")
    door.putheader("Content-Length", str(size))
    door.endheaders()
    answer = door.getresponse()
    try:
        return Answer(answer.status, {}, answer.read())
    finally:
        door.close()


def test_what_was_refused_is_kept_apart_as_unverified(daemon):
    def kept() -> int:
        doc = daemon.get("/api/status", bearer(TOKEN)).json()
        return int(doc["sources"]["badge"]["unverified"])

    before = kept()
    send(daemon, "badge")

    daemon.until(lambda: kept() == before + 1, "one more unverified body")


# which sink gets what


def event(daemon: Fleetd, told: dict[str, Any]) -> None:
    body = json.dumps(told).encode()
    if "action" in told:
        answer = daemon.post("south", body, by_motive(body, SECRET))
    else:
        answer = daemon.post("gate/key-of-the-gate-1", body)
    assert answer.json()["stored"] == 1, answer


@shows("sinks.NAME.takes", "sinks.NAME.sources", "sinks.NAME.vehicles")
def test_each_sink_gets_the_kinds_sources_and_vehicles_it_takes(daemon, hub):
    vehicle = {
        "action": "vehicle_upserted",
        "id": 9,
        "number": "T-17",
        "updated_at": "2026-05-12T14:00:31Z",
    }
    fix = {
        "action": "vehicle_location_received",
        "id": "85d58917-2ba3-57ca-a55c-b7f2812b7e84",
        "vehicle_id": 9,
        "located_at": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        "lat": 41.878113,
        "lon": -87.629799,
        "type": "vehicle_moving",
    }
    fault = {"action": "fault_code_opened", "id": 5, "vehicle": {"id": 8}}
    for one in (vehicle, fix, fault, {"id": "a", "truck": "T-19"}, {"id": "b"}):
        event(daemon, one)
    lasts = {"/everything": "other", "/faults": "fault", "/gates": "other",
             "/trucks": "other"}  # fmt: skip
    for sink, kind in lasts.items():
        daemon.until(
            lambda sink=sink, kind=kind: (
                kind in {one["kind"] for one in hub.events(sink)}
            ),
            f"delivery to {sink}",
        )
    daemon.until(
        lambda: "b" in {one["id"] for one in hub.events("/everything")}, "the last one"
    )

    kinds = {one["kind"] for one in hub.events("/faults")}
    assert kinds == {"fault", "vehicle"}
    assert {one["source"] for one in hub.events("/gates")} == {"gate"}
    trucks = {(one["kind"], one["vehicle"]["id"]) for one in hub.events("/trucks")}
    assert trucks == {("vehicle", "9"), ("position", "9"), ("other", "T-19")}
    everything = hub.events("/everything")
    assert len(everything) == len({one["seq"] for one in everything})
    for sink in ("/faults", "/gates", "/trucks"):
        ours = {one["seq"] for one in hub.events(sink)}
        assert 0 < len(ours) < len(everything)
        assert [one for one in everything if one["seq"] in ours] == hub.events(sink)


# who may ask


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.mark.parametrize("path", ["/health", "/metrics", "/api/status", "/healthz"])
def test_the_status_port_wants_its_token(daemon, path):
    assert daemon.get(path).status == 401
    assert daemon.get(path, bearer(TOKEN + "x")).status == 401
    assert daemon.get(path, {"Authorization": f"Basic {TOKEN}"}).status == 401
    assert daemon.get(path, bearer(TOKEN)).status == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8787", "127.0.0.1.evil.example", "0x7f.1"]
)
def test_a_name_that_is_not_ours_is_refused_even_with_the_token(daemon, host):
    answer = daemon.get("/api/status", bearer(TOKEN) | {"Host": host})

    assert answer.status == 421
    assert b"sources" not in answer.body


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LOCALHOST:1", "[::1]:9"])
def test_our_own_names_are_answered(daemon, host):
    assert daemon.get("/health", bearer(TOKEN) | {"Host": host}).status == 200


def test_the_status_port_changes_nothing(daemon):
    door = http.client.HTTPConnection("127.0.0.1", daemon.status_port, timeout=60)
    body = b'{"name":"everything"}'

    answer = ask(door, "POST", "/control/pause", bearer(TOKEN), body)

    assert answer.status in {404, 405}
    doc = daemon.get("/api/status", bearer(TOKEN)).json()
    assert doc["sinks"]["everything"]["state"] != "paused"


def test_the_control_socket_is_for_the_group_alone(daemon):
    data = daemon.folder / "data"

    assert (data / "control.sock").stat().st_mode & 0o777 == 0o660
    assert data.stat().st_mode & 0o777 == 0o750


# doors of other kinds


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def certify(authority: trustme.CA, folder: Path) -> bytes:
    """A fresh certificate in the place the config names; its bytes as a peer sees them."""
    made = authority.issue_cert("localhost", "127.0.0.1")
    (folder / "key.pem").write_bytes(made.private_key_pem.bytes())
    chain = b"".join(one.bytes() for one in made.cert_chain_pems)
    (folder / "cert.pem").write_bytes(chain)
    return ssl.PEM_cert_to_DER_cert(made.cert_chain_pems[0].bytes().decode())


@pytest.fixture(scope="module")
def secured(make: Callable[..., Fleetd], authority: trustme.CA) -> Fleetd:
    """One that speaks TLS over TCP, and plainly over a unix socket."""
    daemon = make(environ=ENVIRON)
    certify(authority, daemon.folder)
    source = '\n[sources.near]\nprovider = "generic"\nauth = { key = "env:KEY" }\n'
    daemon.configure(
        source,
        webhooks='tls_cert = "./cert.pem"\ntls_key = "./key.pem"',
        status='token = "env:TOKEN"',
    )
    text = daemon.file.read_text()
    port = f'"127.0.0.1:{daemon.port}"'
    daemon.file.write_text(text.replace(port, f'{port}, "unix:./webhooks.sock"'))
    return daemon.begin()


def trust(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@shows("webhooks.tls_cert", "webhooks.tls_key")
def test_webhooks_come_in_over_tls_and_nothing_in_the_clear(secured, authority):
    door = http.client.HTTPSConnection(
        "localhost", secured.port, timeout=60, context=trust(authority)
    )
    path = "/webhooks/near/key-of-the-gate-1"

    answer = ask(door, "POST", path, {}, b'{"over":"tls"}')

    assert answer.json()["stored"] == 1
    with pytest.raises((http.client.HTTPException, OSError)):
        secured.post("near/key-of-the-gate-1", b"{}")


def test_webhooks_come_in_over_a_unix_socket(secured):
    door = UnixConnection(secured.folder / "webhooks.sock")
    path = "/webhooks/near/key-of-the-gate-1"

    answer = ask(door, "POST", path, {}, b'{"over":"unix"}')

    assert answer.json()["stored"] == 1


def test_a_new_certificate_is_shown_after_a_reload(secured, authority):
    before = certificate_at(secured.port, trust(authority))
    fresh = certify(authority, secured.folder)
    assert certificate_at(secured.port, trust(authority)) == before

    secured.reload()

    secured.until(
        lambda: certificate_at(secured.port, trust(authority)) == fresh,
        "the new certificate",
    )


def test_a_certificate_that_cannot_be_used_is_refused_and_the_old_one_stays(
    secured, authority
):
    before = certificate_at(secured.port, trust(authority))
    (secured.folder / "cert.pem").write_text("no certificate\n")

    told = secured.reload("config_refused")

    assert "cert.pem" in told["why"]
    assert certificate_at(secured.port, trust(authority)) == before
    certify(authority, secured.folder)
    secured.signal(signal.SIGHUP)
