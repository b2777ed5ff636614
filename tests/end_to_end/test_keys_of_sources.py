"""What the keys of [sources.NAME] change."""

from __future__ import annotations

import json
import ssl
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import trustme

from tests.end_to_end.showing import shows
from tests.harness import Fleetd, by_motive
from tests.hub import Asked, Hub

ELSEWHERE = "tests.end_to_end.elsewhere"
SOURCE = '\n[sources.%s]\nprovider = "acme"\ntoken = "env:TOKEN"\nbase_url = "%s"\n%s\n'
BASE = "http://127.0.0.1:$hub/"
EXTRAS = {
    "usual": "",
    "fewer": 'feeds = ["items"]',
    "often": 'feeds = { items = "1s" }',
    "past": 'since = "2026-05-12T14:00:00Z"\nfeeds = ["items"]',
    "hasty": 'timeout = "1s"\nfeeds = ["items"]',
    "patient": 'timeout = "10m"\nfeeds = ["items"]',
    "narrow": 'max_page = "64KiB"\nfeeds = ["items"]',
    "wide": 'max_page = "128KiB"\nfeeds = ["items"]',
}
PLAIN_TOKEN = "a-token-of-acme"


def answer(asked: Asked) -> tuple[int, bytes]:
    padding = " " * 100_000 if asked.path.startswith(("/narrow/", "/wide/")) else ""
    return 200, json.dumps([{"id": asked.path}]).encode() + padding.encode()


@pytest.fixture(scope="module")
def silent() -> Iterator[int]:
    """A port where everybody is let in and nobody is answered."""
    import socket

    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(64)
        yield listening.getsockname()[1]


@pytest.fixture(scope="module")
def crowded() -> Iterator[int]:
    """A port whose queue is full: nobody is let in."""
    import socket

    with socket.socket() as listening, socket.socket() as one, socket.socket() as two:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        for waiting in (one, two):
            waiting.setblocking(False)
            waiting.connect_ex(listening.getsockname())
        yield listening.getsockname()[1]


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def system() -> trustme.CA:
    """Whom the daemon's system believes."""
    return trustme.CA()


@pytest.fixture(scope="module")
def known(system: trustme.CA) -> Iterator[Hub]:
    """A vendor with a certificate like anybody's."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    system.issue_cert("localhost").configure_cert(context)
    hub = Hub(context)
    hub.answer = answer
    yield hub
    hub.close()


@pytest.fixture(scope="module")
def secured(authority: trustme.CA) -> Iterator[Hub]:
    """A vendor with a certificate that the system knows nothing of."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    hub = Hub(context)
    hub.answer = answer
    yield hub
    hub.close()


@pytest.fixture(scope="module")
def daemon(  # noqa: PLR0917  what stands around it
    make: Callable[..., Fleetd],
    hub: Hub,
    secured: Hub,
    known: Hub,
    silent: int,
    crowded: int,
    authority: trustme.CA,
    system: trustme.CA,
    tmp_path_factory: pytest.TempPathFactory,
) -> Fleetd:
    hub.answer = answer
    certificates = tmp_path_factory.mktemp("system") / "certificates.pem"
    certificates.write_bytes(system.cert_pem.bytes())
    environ = {
        "TOKEN": PLAIN_TOKEN,
        "SSL_CERT_FILE": str(certificates),
        "HTTP_PROXY": f"http://127.0.0.1:{hub.port}",
        "NO_PROXY": "spared.invalid",
    }
    one = make(environ=environ, program=ELSEWHERE)
    (one.folder / "ca.pem").write_bytes(authority.cert_pem.bytes())
    parts = []
    for name, extra in EXTRAS.items():
        slow = name in {"hasty", "patient"}
        base = f"http://127.0.0.1:{silent}" if slow else f"{BASE}{name}"
        parts.append(SOURCE % (name, base, extra))
    safe = f"https://localhost:{secured.port}"
    parts.append(SOURCE % ("doubting", safe, 'feeds = ["items"]'))
    parts.append(SOURCE % ("trusting", safe, 'ca = "./ca.pem"\nfeeds = ["items"]'))
    proxy = f'proxy = "{BASE}"\nfeeds = ["items"]'
    parts.append(SOURCE % ("roundabout", "http://acme.example/far", proxy))
    both = f"https://localhost:{known.port}"
    parts.append(SOURCE % ("beside", both, 'ca = "./ca.pem"\nfeeds = ["items"]'))
    only = 'ca = "./ca.pem"\nca_only = true\nfeeds = ["items"]'
    parts.append(SOURCE % ("only", both, only))
    for name, host, extra in (
        ("around", "around.invalid", ""),
        ("spared", "spared.invalid", ""),
        ("straight", "straight.invalid", 'proxy = "direct"\n'),
    ):
        base = f"http://{host}"
        parts.append(SOURCE % (name, base, f'{extra}feeds = ["items"]'))
    brief = 'connect_timeout = "200ms"\ntimeout = "10m"\nfeeds = ["items"]'
    parts.append(SOURCE % ("brief", f"http://127.0.0.1:{crowded}", brief))
    parts.append('\n[sources.quiet]\nprovider = "acme"\n')
    one.configure("".join(parts), hub=str(hub.port))
    return one.begin()


def asked_by(hub: Hub, name: str) -> list[Asked]:
    return [one for one in tuple(hub.asked) if one.path.startswith(f"/{name}/")]


def why(daemon: Fleetd, name: str) -> str:
    """What a source that cannot be asked says of it."""
    return str(
        daemon.until(lambda: feeds(daemon, name)["items"]["why"], f"{name} to say why")
    )


def feeds(daemon: Fleetd, name: str) -> Any:
    return daemon.status()["sources"][name]["feeds"]


@shows("sources.NAME.provider", "sources.NAME.base_url")
def test_the_vendor_is_asked_where_it_says(daemon, hub):
    daemon.until(lambda: len(asked_by(hub, "usual")) == 2, "both feeds")

    paths = {one.path.partition("?")[0] for one in asked_by(hub, "usual")}
    assert paths == {"/usual/items", "/usual/more"}
    daemon.until(lambda: daemon.events("--source", "usual"), "its records")


@shows("sources.NAME.token")
def test_with_a_token_it_is_asked_and_without_it_is_not(daemon, hub):
    daemon.until(lambda: asked_by(hub, "usual"), "a question")

    for one in hub.asked:
        assert one.headers["authorization"] == f"Token {PLAIN_TOKEN}"
    assert feeds(daemon, "quiet") == {}
    assert daemon.settled()["sources"]["quiet"]["state"] == "off"


@shows("sources.NAME.feeds")
def test_only_the_feeds_named_are_asked_as_often_as_it_says(daemon, hub):
    daemon.until(lambda: len(asked_by(hub, "often")) >= 3, "to be asked again")

    doc = daemon.status()["sources"]
    names = {name: set(doc[name]["feeds"]) for name in ("usual", "fewer", "often")}
    assert names == {"usual": {"items", "more"}, "fewer": {"items"}, "often": {"items"}}
    assert len(asked_by(hub, "fewer")) == 1


@shows("sources.NAME.since")
def test_a_new_source_reads_back_to_where_it_says(daemon, hub):
    daemon.until(lambda: asked_by(hub, "past") and asked_by(hub, "fewer"), "both")

    assert "after=2026-05-12T14" in asked_by(hub, "past")[0].path
    assert "after=0001" in asked_by(hub, "fewer")[0].path  # all there is


@shows("sources.NAME.timeout")
def test_a_question_is_given_up_when_it_says(daemon):
    assert "no answer within timeout" in why(daemon, "hasty")
    assert "timeout" not in feeds(daemon, "patient")["items"]["why"]


@shows("sources.NAME.max_page")
def test_an_answer_is_as_large_as_it_says_or_holds_its_feed(daemon):
    assert "more than 64 KiB at once (max_page)" in why(daemon, "narrow")
    daemon.until(lambda: daemon.events("--source", "wide"), "its records")
    assert daemon.events("--source", "narrow", "--kind", "other") == []


@shows("sources.NAME.connect_timeout")
def test_a_connection_that_does_not_stand_is_given_up_when_it_says(daemon):
    assert "no connection within connect_timeout" in why(daemon, "brief")


@shows("sources.NAME.ca")
def test_a_certificate_is_believed_by_the_authority_it_names(daemon, secured):
    assert "its certificate is not believed" in why(daemon, "doubting")
    daemon.until(lambda: daemon.events("--source", "trusting"), "its records")
    assert daemon.events("--source", "doubting") == []
    assert len(secured.asked) == 1


@shows("sources.NAME.ca_only")
def test_the_system_is_believed_beside_it_unless_it_alone_is(daemon, known):
    daemon.until(lambda: daemon.events("--source", "beside"), "its records")

    assert "its certificate is not believed" in why(daemon, "only")
    assert daemon.events("--source", "only") == []


def test_the_environment_says_by_which_proxy(daemon, hub):
    def by_proxy(name: str) -> list[Asked]:
        return [one for one in tuple(hub.asked) if f"://{name}." in one.path]

    daemon.until(lambda: by_proxy("around"), "the proxy to be asked")

    assert "(DNS)" in why(daemon, "spared")
    assert "(DNS)" in why(daemon, "straight")
    assert by_proxy("spared") == by_proxy("straight") == []


@shows("sources.NAME.proxy")
def test_it_is_asked_by_way_of_the_proxy(daemon, hub):
    def by_proxy() -> list[Asked]:
        return [one for one in hub.asked if one.path.startswith("http://acme.example")]

    daemon.until(by_proxy, "the proxy to be asked")

    assert by_proxy()[0].path.startswith("http://acme.example/far/items?after=")


@shows("sources.NAME.webhook_secret")
def test_the_path_exists_when_there_is_a_secret(make):
    body = b'{"action":"user_upserted","id":1}'
    source = '\n[sources.south]\nprovider = "motive"\n'
    one = make(source, environ={"S": "a-secret-1", "T": "a-secret-2"}).begin()
    assert one.post("south", body, by_motive(body, "a-secret-1")).status == 404
    one.configure(f'{source}webhook_secret = ["env:T", "env:S"]\n')
    one.reload()

    def taken() -> bool:
        answer = one.post("south", body, by_motive(body, "a-secret-1"))
        return answer.status == 200

    one.until(taken, "the new secret")
    assert one.post("south", body, by_motive(body, "a-secret-2")).status == 200
    assert one.post("south", body, by_motive(body, "a-secret-3")).status == 403


@shows("sources.NAME.was")
def test_a_renamed_source_keeps_its_history(make):
    text = (
        '\n[sources.%s]\nprovider = "generic"\nid = "id"\nauth = { key = "env:KEY" }\n'
    )
    one = make(text % "old", environ={"KEY": "key-1"}).begin()
    assert one.post("old/key-1", b'{"id":"a"}').json()["stored"] == 1
    for name, was in (("new", 'was = "old"\n'), ("newer", "")):
        one.configure(text % name + was)
        one.reload()
        one.until(lambda name=name: name in one.status()["sources"], "the new name")
        stored = one.status()["sources"][name]["stored"]
        assert stored == (1 if was else 0)
    assert [event["source"] for event in one.events()] == ["new"]
