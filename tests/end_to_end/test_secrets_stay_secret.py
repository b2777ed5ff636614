"""Every way to give a secret, every way to go wrong, and no output that shows one (P11)."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest

from tests.end_to_end.seen import Seen, shown
from tests.harness import Fleetd, by_motive, by_samsara
from tests.hub import Asked, Hub


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


BY_ENV = {
    "S_NEW": b64("north: the new one"),
    "KEY": "gate-key/one+of two",
    "YARD": f"whsec_{b64('yard: a standard one')}",
    "TOKEN": "status-token-0a1b2c3d",
    "DEMO_TOKEN": "demo-token-9z8y7x",
    "OK_AUTH": "Bearer ok-bearer-4f5e6d",
    "ECHO_AUTH": "Bearer echo-bearer-7a8b9c",
    "OFFICE": "Basic " + b64("office:basic-password-31"),
    "TORN_URL": "http://127.0.0.1:$hub/torn/path-token-77fe?key=query-token-51aa",
    "USER_URL": "http://hubuser:url-password-66cd@127.0.0.1:$hub/refusing/user",
    "BAD_URL": "htp:/unheard-of/bad-url-token-21",
    "GONE_URL": "http://127.0.0.1:$gone/gone/gone-url-token-65",
    "PROXY": "http://boss:proxy-password-19@127.0.0.1:$gone",
    "SIGNING_TWO": "signing-two-plain-text",
}
BY_FILE = {
    "north-old": b64("north: the old one"),
    "gate-key": 'gate-key-"two"-in-a-file',
    "api-key": "api-key-in-a-file-8812",
}
BY_SERVICE = {
    "south": "south-from-the-service-5544",
    "badge": "badge-from-the-service-66",
    "signing": f"whsec_{b64('signing: as the standard has it')}",
}
PLAIN = "south-plain-in-the-config-90"
BARE = "a-bare-literal-that-is-refused-13"
PARTS = {  # of the values above, as a far side may say them back
    "ok-bearer-4f5e6d",
    "echo-bearer-7a8b9c",
    "basic-password-31",
    b64("office:basic-password-31"),
    "path-token-77fe",
    "query-token-51aa",
    "url-password-66cd",
    b64("hubuser:url-password-66cd"),
    "bad-url-token-21",
    "gone-url-token-65",
    "proxy-password-19",
    b64("boss:proxy-password-19"),
    b64("yard: a standard one"),
    b64("signing: as the standard has it"),
}
OF_VENDORS = {
    "samsara": "samsara-record-secret-1",
    "motive": "motive-record-secret-2",
    "yard": "yard-record-pin-3",
    "unverified": "unverified-record-secret-4",
    "dead": "dead-record-secret-5",
}
CONFIG = """
[sources.demo]
provider = "demo"
token = "env:DEMO_TOKEN"
proxy = "env:PROXY"

[sources.north]
provider = "samsara"
webhook_secret = ["env:S_NEW", "file:north-old"]

[sources.south]
provider = "motive"
webhook_secret = ["secret:south", "plain:$plain"]

[sources.gate]
provider = "generic"
auth = { key = ["env:KEY", "file:gate-key"], header = { X-Badge = "secret:badge" } }

[sources.yard]
provider = "generic"
scheme = "standard"
webhook_secret = "env:YARD"
secret_fields = ["pin"]

[sinks.ok]
kind = "http"
url = "http://127.0.0.1:$hub/ok"
headers = { Authorization = "env:OK_AUTH", X-Api-Key = "file:api-key" }
signing_secret = "secret:signing"

[sinks.archive]
kind = "file"
path = "./archive"
"""
ECHO = """
[sinks.%s]
kind = "http"
url = "%s"
sources = ["south"]
headers = { Authorization = "env:%s", X-Api-Key = "file:api-key" }
signing_secret = "env:SIGNING_TWO"
"""
HERE = "http://127.0.0.1:$hub/"
ECHOES = {
    "refusing": (f"{HERE}refusing", "ECHO_AUTH"),
    "office": (f"{HERE}refusing/office", "OFFICE"),
    "moved": (f"{HERE}moved", "ECHO_AUTH"),
    "burying": (f"{HERE}burying", "ECHO_AUTH"),
    "lying": (f"{HERE}lying", "ECHO_AUTH"),
    "failing": (f"{HERE}failing", "ECHO_AUTH"),
    "torn": ("env:TORN_URL", "ECHO_AUTH"),
    "bad": ("env:BAD_URL", "ECHO_AUTH"),
    "gone": ("env:GONE_URL", "ECHO_AUTH"),
}
USER = '\n[sinks.user]\nkind = "http"\nurl = "env:USER_URL"\nsources = ["south"]\n'


def echoing(asked: Asked) -> tuple[int, bytes]:
    """A far side that says back everything it was told, in every way there is."""
    told = json.dumps({"error": f"not so: {asked.path} {asked.headers}"}).encode()
    token = asked.headers.get("authorization", "").encode()
    if asked.path.startswith("/ok"):
        return 200, json.dumps({"ok": True, "you": dict(asked.headers)}).encode()
    if asked.path.startswith("/burying"):
        poisoned = any(one["id"] == "666" for one in asked.events())
        return (400, told) if poisoned else (200, b"{}")
    if asked.path.startswith("/torn"):
        return 0, b"HTTP/1.1 " + token + b" " + asked.path.encode() + b"\r\n\r\n"
    status = {"/refusing": 401, "/moved": 302, "/lying": 200}
    return status.get("/" + asked.path.split("/")[1], 500), told


@pytest.fixture(scope="module")
def daemon(make: Callable[..., Fleetd], hub: Hub) -> Fleetd:
    hub.answer = echoing
    hub.more = {"Location": "https://login.example/?next=echo-bearer-7a8b9c"}
    one = make()
    words = {"hub": str(hub.port), "gone": "9"}
    environ = {name: filled(value, words) for name, value in BY_ENV.items()}
    one.environ |= environ | {"CREDENTIALS_DIRECTORY": str(one.folder / "credentials")}
    (one.folder / "credentials").mkdir()
    for folder, many in (
        (one.folder, BY_FILE),
        (one.folder / "credentials", BY_SERVICE),
    ):
        for name, value in many.items():
            (folder / name).write_text(value + "\n")
            (folder / name).chmod(0o600)
    sinks = "".join(ECHO % (name, *said) for name, said in ECHOES.items()) + USER
    one.configure(
        CONFIG + sinks,
        plain=PLAIN,
        hub=str(hub.port),
        daemon='log_level = "debug"',
        status='token = "env:TOKEN"',
        webhooks='max_body = "64KiB"',
    )
    return one.begin()


def filled(text: str, words: dict[str, str]) -> str:
    for name, value in words.items():
        text = text.replace(f"${name}", value)
    return text


@pytest.fixture(scope="module")
def seen(daemon: Fleetd, hub: Hub) -> Seen:
    """All of it gone through once; each test then looks at it in its own way."""
    seen = Seen()
    send_everything(daemon, seen)
    spoil_the_config(daemon, seen)  # meanwhile the sinks try, and wait, and try
    daemon.until(lambda: burdened(daemon, hub), "every sink to have been tried")
    ask_everything(daemon, seen)
    type_everything(daemon, seen)
    assert daemon.stop() == 0
    for words in (("status",), ("status", "--json"), ("events", "--json"), ("dead",)):
        read(daemon, seen, "stopped: ", *words)
    seen.add("log", daemon.output.read_bytes())
    for path in sorted(daemon.folder.rglob("*")):
        ours = path.is_relative_to(daemon.folder / "data")
        if path.is_file() and (ours or "archive" in path.parts):
            seen.add(f"file {path.relative_to(daemon.folder)}", path.read_bytes())
    return seen


def send_everything(daemon: Fleetd, seen: Seen) -> None:
    """Good and bad requests of every source, secrets of the vendors' own in them."""
    secret = {"secretKey": OF_VENDORS["samsara"], "name": "hook"}
    driver = {"driver": {"id": "7", "name": "Ada"}, "webhook": secret}
    told = {"eventId": "e1", "eventTime": "2026-05-12T14:20:00Z", "data": driver}
    body = json.dumps({"eventType": "DriverCreated", **told}).encode()
    good = by_samsara(body, BY_FILE["north-old"])
    seen.answer("north", daemon.post("north", body, good))
    seen.answer("north", daemon.post("north", body, good))
    wrong = body.replace(
        OF_VENDORS["samsara"].encode(), OF_VENDORS["unverified"].encode()
    )
    seen.answer("north", daemon.post("north", wrong, good))
    for number in (665, 666, 667):
        record = {"action": "user_upserted", "id": number, "first_name": "Bo"}
        body = json.dumps({**record, "Secret": OF_VENDORS["motive"]}).encode()
        seen.answer("south", daemon.post("south", body, by_motive(body, PLAIN)))
    for body in (
        b'<html secret="x">{"secret": "%s"' % OF_VENDORS["dead"].encode(),
        b'{"action": 5, "secret": "%s"}' % OF_VENDORS["dead"].encode(),
    ):
        signed = by_motive(body, BY_SERVICE["south"])
        assert seen.answer("south", daemon.post("south", body, signed)).status == 200
    big = b"x" * (65 << 10)
    seen.answer("south", daemon.post("south", big, by_motive(big, PLAIN)))
    key, badge = quote(BY_ENV["KEY"]), {"X-Badge": BY_SERVICE["badge"]}
    seen.answer("gate", daemon.post(f"gate/{key}", b'{"n":1}', badge))
    seen.answer("gate", daemon.post(f"gate/{key}", b"[[", badge))
    seen.answer("gate", daemon.post(f"gate/{key}", b"{}", {"X-Badge": "no"}))
    seen.answer("gate", daemon.post(f"gate/{key}", b"{}", badge, method="GET"))
    seen.answer("gate", daemon.post(f"nobody/{key}", b"{}", badge))
    sample = daemon.folder / "sample.json"
    sample.write_text(json.dumps({"id": 1, "pin": OF_VENDORS["yard"]}))
    read(daemon, seen, "", "send", "yard", str(sample))
    sample.write_text('{"id": 2}')
    for source in ("yard", "gate", "south", "north"):
        read(daemon, seen, "", "send", source, str(sample))


def burdened(daemon: Fleetd, hub: Hub) -> bool:
    doc = status(daemon)
    wanted = {"/ok", "/refusing", "/moved", "/burying", "/lying", "/failing", "/torn"}
    asked = {"/" + one.path.split("/")[1] for one in hub.asked}
    states = {name: one["state"] for name, one in doc["sinks"].items()}
    sick = [name for name in (*ECHOES, "user") if name != "burying"]
    return (
        asked >= wanted
        and doc["sinks"]["burying"]["dead"] == 1
        and all(states[name] in {"held", "waiting"} for name in sick)
    )


def bearer() -> dict[str, str]:
    return {"Authorization": f"Bearer {BY_ENV['TOKEN']}"}


def status(daemon: Fleetd) -> Any:
    return daemon.get("/api/status", bearer()).json()


def ask_everything(daemon: Fleetd, seen: Seen) -> None:
    newest = status(daemon)["log"]["newest_seq"]
    asks = [f"/api/show?seq={one}" for one in range(newest - 10, newest + 1)]
    asks += [f"/api/letter?id={one}" for one in range(1, 6)]
    asks += ["/health", "/healthz", "/readyz", "/metrics", "/api/status", "/api/jobs"]
    asks += ["/api/events?n=1000", "/api/events?filtered=1", "/api/dead", "/api/ledger"]
    asks += [f"/api/events?source={BY_ENV['TOKEN']}", "/nothing", "/api/show?seq=x"]
    for path in asks:
        seen.answer(f"port {path}", daemon.get(path, bearer()))
    seen.answer("port refused", daemon.get("/api/status"))
    seen.answer(
        "port refused", daemon.get("/api/status", {"Authorization": "Bearer x"})
    )


def read(daemon: Fleetd, seen: Seen, when: str, *words: str) -> None:
    done = daemon.run(*words, code=None)
    seen.add(f"{when}fleetd {' '.join(words)}", done.stdout, done.stderr)


def type_everything(daemon: Fleetd, seen: Seen) -> None:
    newest = status(daemon)["log"]["newest_seq"]
    for words in (
        "status", "status --json", "events", "events --json -n 0", "events --filtered",
        f"show {newest}", "dead", "dead list --json", "dead show 1", "dead show 2",
        "dead show 3 --json", "ledger", "ledger --json", "check", "check --json",
        "check --live", "check --live --json", "jobs", "replay ok --last 3",
        "dead retry --all", "dead retry --unverified north", "pause ok", "resume ok",
    ):  # fmt: skip
        read(daemon, seen, "", *words.split())


def spoil_the_config(daemon: Fleetd, seen: Seen) -> None:
    """Reloads that must be refused, secrets standing where they are wrong."""
    good = daemon.file.read_text()
    spoils = (
        (f'"plain:{PLAIN}"', f'"{BARE}"'),
        (f'["secret:south", "plain:{PLAIN}"]', f'{{ bare = "{BARE}" }}'),
        ("[sources.gate]", f'tokn = "plain:{PLAIN}"\n[sources.gate]'),
        ('signing_secret = "secret:signing"', f'signing_secret = "{BARE}"'),
        ('"env:S_NEW"', f'"plain:{PLAIN}!"'),  # of Samsara, and no base64
        ('Authorization = "env:OK_AUTH"', f'Authorization = "Bearer {BARE}"'),
        ('url = "env:USER_URL"', f'url = "http://me:{BARE}@127.0.0.1:9/"'),
        ('"env:DEMO_TOKEN"', '"env:NOT_THERE"'),
        ('"file:gate-key"', f'"file:gate-key" "{BARE}"'),
    )
    for old, new in spoils:
        assert old in good
        daemon.file.write_text(good.replace(old, new))
        seen.add(f"reload {old}", json.dumps(daemon.reload("config_refused")))
        read(daemon, seen, f"{old}: ", "check")
    daemon.file.write_text(good)
    assert len(spoils) == len(daemon.logged("config_refused"))


def configured(hub: Hub) -> set[str]:
    words = {"hub": str(hub.port), "gone": "9"}
    values = {filled(one, words) for one in BY_ENV.values()}
    return values | {*BY_FILE.values(), *BY_SERVICE.values(), PLAIN}


def test_no_output_shows_a_configured_secret(seen, hub):
    assert shown(seen, configured(hub)) == {}


def test_no_output_shows_the_telling_part_of_a_configured_secret(seen):
    assert shown(seen, PARTS) == {}


def test_no_output_shows_a_literal_that_was_refused_as_a_secret(seen):
    assert shown(seen, {BARE}) == {}


def test_no_output_shows_what_a_vendor_names_secret_in_its_records(seen):
    assert shown(seen, set(OF_VENDORS.values())) == {}


def test_what_was_looked_through_is_where_they_would_have_been(seen, hub):
    """Or the tests above prove nothing."""
    everywhere = b"".join(seen.outputs.values())

    assert len(seen.outputs) > 70
    assert any(name.startswith("file data/log.sqlite") for name in seen.outputs)
    assert any(name.startswith("file archive/") for name in seen.outputs)
    for word in (b"not so: /refusing", b"not so: /burying", b"***", b"commanded"):
        assert word in everywhere, word
    told = json.dumps([one.path + str(one.headers) for one in hub.asked])
    for part in ("ok-bearer-4f5e6d", "path-token-77fe", BY_FILE["api-key"]):
        assert part in told
    assert b64("hubuser:url-password-66cd") in told


def test_masking_leaves_the_rest_of_a_record_as_it_was(seen):
    lines = seen.outputs["fleetd events --json -n 0"].splitlines()
    drivers = [one for one in map(json.loads, lines) if one["kind"] == "driver"]

    names = {one["driver"]["name"] for one in drivers if one["source"] == "north"}
    assert names == {"Ada"}


def test_secret_places_are_named_where_an_operator_must_act(seen):
    wrong = seen.outputs['reload "env:DEMO_TOKEN"']

    assert b"env:NOT_THERE" in wrong
    assert b"sources.demo.token" in wrong


def test_the_folders_are_for_their_group_alone(daemon, seen):
    for name in ("data", "archive"):
        assert (daemon.folder / name).stat().st_mode & 0o007 == 0, name
