"""What the keys of the sinks that notify change: Slack, Teams and e-mail."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.clouds.slack import CHANNEL, HOOK, TOKEN, Slack
from tests.clouds.smtp import PASSWORD, USER, Smtp
from tests.clouds.teams import HOOK as FLOW
from tests.clouds.teams import Teams
from tests.end_to_end.showing import shows
from tests.harness import Fleetd

GATE = """
[sources.gate]
provider = "generic"
id = "id"
at = "at"
vehicle = "truck"
auth = { key = "env:KEY" }
"""
NOW = datetime.now(UTC)
AROUND = f"{NOW - timedelta(hours=2):%H:%M}-{NOW + timedelta(hours=2):%H:%M}"
VARIANTS = {
    "usual": "",
    "grave": 'severity = "medium"',
    "rare": 'repeat = "1h"',
    "silent": f'quiet = "{AROUND}"\ntimezone = "UTC"',
    "abroad": f'quiet = "{AROUND}"\ntimezone = "Etc/GMT+12"',
    "worded": 'templates = { other = "{id} of <{vehicle}>" }',
}
COMMON = 'takes = ["other"]\nlinger = "0s"\n'
KINDS = ("slack", "teams", "email")


class Clouds:
    """One far side for each sink, by its name."""

    def __init__(self) -> None:
        self.of: dict[str, Any] = {"bot": Slack(), "mails": Smtp()}
        self.of["relay"] = Smtp(starttls=False, password=False)
        for name in VARIANTS:
            self.of[f"slack-{name}"], self.of[f"teams-{name}"] = Slack(), Teams()

    def texts(self, name: str) -> list[str]:
        if name.startswith("email-"):
            to = (f"{name.removeprefix('email-')}@example.com",)
            return [one.text for one in self.of["mails"].got if one.to == to]
        return list(self.of[name].texts())

    def close(self) -> None:
        for one in self.of.values():
            one.close()


@pytest.fixture(scope="module")
def clouds() -> Iterator[Clouds]:
    found = Clouds()
    yield found
    found.close()


def mail(name: str, port: int, extra: str) -> str:
    return (
        f'[sinks.{name}]\nkind = "email"\nhost = "127.0.0.1"\nport = {port}\n'
        f'from = "Fleet <fleetd@example.com>"\n{extra}\n{COMMON}'
    )


def table(clouds: Clouds, environ: dict[str, str]) -> Iterator[str]:
    login = f'user = "{USER}"\npassword = "env:MAIL"\n'
    port = clouds.of["mails"].port
    for name, extra in VARIANTS.items():
        for kind, path in (("slack", HOOK), ("teams", FLOW)):
            sink = f"{kind}-{name}"
            place = sink.replace("-", "_").upper()
            environ[place] = f"http://127.0.0.1:{clouds.of[sink].serve()}{path}"
            yield f'[sinks.{sink}]\nkind = "{kind}"\nwebhook_url = "env:{place}"\n'
            yield f"{extra}\n{COMMON}"
        own = f'{login}ca = "$folder/ca.pem"\nto = ["{name}@example.com"]\n{extra}'
        yield mail(f"email-{name}", port, own)
    yield mail("doubting", port, f'{login}to = ["doubting@example.com"]')
    to = 'to = ["a@example.com", "B <b@example.com>"]\nsecurity = "none"'
    yield mail("relay", clouds.of["relay"].port, to)
    yield (
        f'[sinks.bot]\nkind = "slack"\ntoken = "env:BOT"\nchannel = "{CHANNEL}"\n'
        f'base_url = "http://127.0.0.1:{clouds.of["bot"].serve()}/api"\n{COMMON}'
    )


@pytest.fixture(scope="module")
def daemon(make: Callable[..., Fleetd], clouds: Clouds) -> Fleetd:
    """Two events of one truck, the second when the first was told."""
    environ = {"KEY": "key-1", "BOT": TOKEN, "MAIL": PASSWORD}
    sinks = "\n".join(table(clouds, environ))
    one = make(environ=environ)
    clouds.of["mails"].ca.cert_pem.write_to_path(str(one.folder / "ca.pem"))
    one.configure(GATE + sinks)
    one.begin()
    for number in (1, 2):
        told = {"id": f"e{number}", "truck": "t1", "at": f"{datetime.now(UTC):%FT%TZ}"}
        body = json.dumps(told).encode()
        assert one.post("gate/key-1", body).json()["stored"] == 1
        one.until(lambda: all_but_doubting(one), "all that may be told")
    return one


def all_but_doubting(daemon: Fleetd) -> bool:
    sinks = daemon.status()["sinks"]
    return not any(one["waiting"] for name, one in sinks.items() if name != "doubting")


def skipped(daemon: Fleetd, name: str) -> int:
    return int(daemon.settled()["sinks"][name]["skipped"])


each = pytest.mark.parametrize("kind", KINDS)


@shows(
    "sinks.NAME (slack).webhook_url",
    "sinks.NAME (teams).webhook_url",
    "sinks.NAME (email).host",
    "sinks.NAME (email).port",
)
@each
def test_events_are_told_where_it_says(daemon, clouds, kind):
    texts = clouds.texts(f"{kind}-usual")

    assert len(texts) == 2
    assert all(text.startswith("Other · t1") for text in texts)


@shows(
    "sinks.NAME (slack).severity",
    "sinks.NAME (teams).severity",
    "sinks.NAME (email).severity",
)
@each
def test_what_is_less_grave_is_not_told(daemon, clouds, kind):
    assert clouds.texts(f"{kind}-grave") == []
    assert skipped(daemon, f"{kind}-grave") == 2


@shows(
    "sinks.NAME (slack).repeat",
    "sinks.NAME (teams).repeat",
    "sinks.NAME (email).repeat",
)
@each
def test_the_same_of_one_vehicle_is_told_once_within_its_time(daemon, clouds, kind):
    assert len(clouds.texts(f"{kind}-rare")) == 1
    assert skipped(daemon, f"{kind}-rare") == 1


@shows(
    "sinks.NAME (slack).quiet",
    "sinks.NAME (teams).quiet",
    "sinks.NAME (email).quiet",
    "sinks.NAME (slack).timezone",
    "sinks.NAME (teams).timezone",
    "sinks.NAME (email).timezone",
)
@each
def test_nothing_is_told_in_quiet_hours_of_its_zone(daemon, clouds, kind):
    assert clouds.texts(f"{kind}-silent") == []
    assert skipped(daemon, f"{kind}-silent") == 2
    abroad = clouds.texts(f"{kind}-abroad")
    assert len(abroad) == 2
    assert f"{datetime.now(UTC) - timedelta(hours=12):%b %Y, }" in abroad[0]
    assert " -12" in abroad[0]


@shows(
    "sinks.NAME (slack).templates",
    "sinks.NAME (teams).templates",
    "sinks.NAME (email).templates",
)
@each
def test_an_event_is_told_in_the_words_of_its_template(daemon, clouds, kind):
    texts = [text.splitlines()[0] for text in clouds.texts(f"{kind}-worded")]

    assert texts == ["e1 of <t1>", "e2 of <t1>"]


@shows(
    "sinks.NAME (slack).token",
    "sinks.NAME (slack).channel",
    "sinks.NAME (slack).base_url",
)
def test_a_bot_posts_to_its_channel_with_its_token(daemon, clouds):
    bot = clouds.of["bot"]

    assert len(bot.posts) == 2
    assert {one["channel"] for one in bot.posts} == {CHANNEL}
    assert {one.headers["authorization"] for one in bot.asked} == {f"Bearer {TOKEN}"}
    assert {one.path for one in bot.asked} == {"/api/chat.postMessage"}


@shows("sinks.NAME (email).user", "sinks.NAME (email).password")
def test_a_mail_server_is_told_who_sends(daemon, clouds):
    server = clouds.of["mails"]

    assert any(one.startswith("AUTH") for one in server.talked)
    assert not any(one.startswith("AUTH") for one in server.in_clear)
    assert not any(one.startswith("AUTH") for one in clouds.of["relay"].talked)


@shows(
    "sinks.NAME (email).security", "sinks.NAME (email).from", "sinks.NAME (email).to"
)
def test_a_mail_goes_in_clear_only_where_it_says_and_to_all_of_them(daemon, clouds):
    relay = clouds.of["relay"]

    assert {one.to for one in relay.got} == {("a@example.com", "b@example.com")}
    assert {str(one.mail["From"]) for one in relay.got} == {
        "Fleet <fleetd@example.com>"
    }
    assert any(one.upper().startswith("MAIL") for one in relay.in_clear)
    assert not any(
        one.upper().startswith("MAIL") for one in clouds.of["mails"].in_clear
    )


@shows("sinks.NAME (email).ca")
def test_a_server_is_believed_by_the_certificates_of_ca(daemon, clouds):
    doubting = daemon.settled()["sinks"]["doubting"]

    assert doubting["state"] == "held"
    assert "certificate" in doubting["why"]
    assert clouds.texts("email-doubting") == []


def test_the_check_calls_each_of_them_and_posts_nothing(daemon, clouds):
    before = {name: len(clouds.texts(name)) for name in ("bot", "slack-usual")}
    told = daemon.asked("check", "--live", code=None)
    found = {one["name"]: one for one in told["live"]}

    assert found["sinks.bot"]["ok"]
    assert found["sinks.slack-usual"]["ok"]
    assert found["sinks.teams-usual"]["ok"]
    assert found["sinks.email-usual"]["ok"]
    assert not found["sinks.doubting"]["ok"]
    assert before == {name: len(clouds.texts(name)) for name in before}


def test_no_secret_of_theirs_comes_out_anywhere(daemon, clouds):
    clouds.of["bot"].error = "token_revoked"
    clouds.of["slack-usual"].hook_gone = "no_service"
    clouds.of["teams-usual"].off = True
    clouds.of["mails"].always = {"AUTH": f"535 {PASSWORD} is not it"}
    body = json.dumps({"id": "e3", "truck": "t1", "at": f"{datetime.now(UTC):%FT%TZ}"})
    assert daemon.post("gate/key-1", body.encode()).json()["stored"] == 1

    def all_held() -> bool:
        sinks = daemon.status()["sinks"]
        names = ("bot", "slack-usual", "teams-usual", "email-usual")
        return all(sinks[name]["state"] == "held" for name in names)

    daemon.until(all_held, "all of them to be held")
    shown = [
        json.dumps(daemon.status()),
        daemon.run("status", code=None).stdout,
        daemon.run("show", "3", code=None).stdout,
        daemon.get("/metrics").body.decode(),
        daemon.output.read_text(),
    ]
    for secret in (TOKEN, HOOK, FLOW, PASSWORD, "verysecret", "Very_Secret"):
        assert not any(secret in one for one in shown)
