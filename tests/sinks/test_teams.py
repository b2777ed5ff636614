"""The Teams sink: the card, and what the flow's answers are taken for."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetd import event as events
from fleetd.errors import HeldError, RejectedError, TransientError
from fleetd.secrets import Secret
from fleetd.sinks.contract import Batch
from fleetd.sinks.teams import SINK, Config
from fleetd.sinks.telling.manners import Templates
from fleetd.world import World, inline
from tests.clouds.posts import HANG_UP, Reply
from tests.clouds.teams import HOOK, Teams, failed, markdown
from tests.sinks.things import DAY, alarm, batch, entry

URL = f"https://prod-07.westeurope.logic.azure.example{HOOK}"


@pytest.fixture
def teams() -> Teams:
    return Teams()


def config(**more) -> Config:
    return Config(webhook_url=Secret(f"plain:{URL}"), **more)


def world(teams: Teams) -> World:
    return World(
        now=lambda: DAY, transport=teams.transport(), in_thread=inline, threads=False
    )


async def write(teams: Teams, *batches: Batch, **more):
    async with SINK.open(config(**more), world(teams), "") as put:
        return [await put(one) for one in batches]


async def refused(teams: Teams) -> Exception:
    with pytest.raises((TransientError, RejectedError, HeldError)) as caught:
        await write(teams, batch([entry(1, alarm(1)), entry(2, alarm(2))]))
    return caught.value


async def test_an_event_is_one_readable_card(teams):
    (receipt,) = await write(teams, batch([entry(1, alarm(1))]))

    (text,) = teams.texts()
    assert receipt.status == 202
    assert text.splitlines()[0] == "Crash · v1"
    assert "Says  in lines é" in text
    assert "fleetd show 1" in text


async def test_a_digest_and_a_template_are_told_as_they_are(teams):
    templates = Templates.read({"safety": "{what}! {vehicle}"}, None)
    digest = Batch((), "key", digest="12 events while offline")
    await write(teams, batch([entry(1, alarm(1))]), digest, templates=templates)

    assert teams.texts()[0].splitlines()[0] == "Crash! v1"
    assert teams.texts()[1] == "12 events while offline"


texts = st.text(st.sampled_from("<at>/[]()*_#@!| ab0\n\u202eé"), max_size=300)


@settings(max_examples=80, deadline=None)
@given(text=texts, many=st.integers(1, 40))
async def test_whatever_stands_in_data_is_no_markdown_mentions_nobody_and_fits(
    text, many
):
    teams = Teams()
    evil = [
        entry(n, events.Alert(
            id=f"{n}", at=DAY, vehicle=f"{n}{text}", driver_name=text, type=f"{text}{n}",
            text=text, place_name=text,
        ))
        for n in range(1, many + 1)
    ]  # fmt: skip
    await write(teams, batch(evil))

    assert len(teams.cards) == 1
    assert markdown(teams.cards[0]) == ""


async def test_a_link_opens_by_a_button(teams):
    made = events.Alert(id="1", at=DAY, url="https://cloud.example/o/1")
    await write(teams, batch([entry(1, made)]))

    assert teams.cards[0]["actions"] == [
        {"type": "Action.OpenUrl", "title": "Open", "url": "https://cloud.example/o/1"}
    ]


async def test_what_is_resolved_is_a_card_of_its_own(teams):
    def fault(seq, state):
        return entry(
            seq, events.Fault(id=f"f{seq}", type=state, code="P1", vehicle="v")
        )

    await write(teams, batch([fault(1, "on")]), batch([fault(2, "off")]))

    assert [one.splitlines()[0] for one in teams.texts()] == [
        "Fault P1 · v",
        "Fault P1 cleared · v",
    ]


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (failed(400, "WorkflowTriggerIsNotEnabled"), HeldError),
        (failed(404, "WorkflowNotFound"), HeldError),
        (failed(401, "DirectApiAuthorizationRequired"), HeldError),
        (Reply(401), HeldError),
        (Reply(403), HeldError),
        (Reply(404), HeldError),
        (Reply(410), HeldError),
        (Reply(302, b"", {"Location": "https://login.example/"}), HeldError),
        (failed(400, "InvalidRequestContent"), RejectedError),
        (Reply(413), RejectedError),
        (Reply(429, b"", {"Retry-After": "20"}), TransientError),
        (Reply(502), TransientError),
        (Reply(503), TransientError),
        (HANG_UP, TransientError),
        (Reply(200, b"<html>Sign in</html>"), TransientError),
        (
            Reply(200, b"Webhook message delivery failed with error: 429"),
            TransientError,
        ),
        (failed(202, "Whatever"), TransientError),
        (Reply(202, b'{\n  "error": {"code": "NoResponse"}}'), TransientError),
    ],
)
async def test_each_answer_is_taken_for_what_it_means(teams, reply, kind):
    teams.script = [reply]
    found = await refused(teams)

    assert isinstance(found, kind)
    assert "Secret" not in f"{found} {found!r} {found.__cause__!r}"
    if isinstance(found, RejectedError):
        assert set(found.reasons) == {1, 2}
        assert found.blameless == (reply.status == 413)
    if reply.status == 429:
        assert found.after == 20


async def test_a_flow_that_is_off_says_what_to_do(teams):
    teams.off = True

    assert "switch it on" in str(await refused(teams))


@pytest.mark.parametrize("fault", [Reply(500), Reply(503), HANG_UP])
async def test_an_unclear_answer_is_later_and_a_repeat_is_a_second_card(teams, fault):
    """As the docstring says: Teams has no key for a repeat."""
    teams.after = [fault]
    one = batch([entry(1, alarm(1))])
    async with SINK.open(config(), world(teams), "") as put:
        with pytest.raises(TransientError):
            await put(one)
        await put(one)
        await put(one)

    assert len(teams.cards) == 2


async def test_a_card_is_cut_before_teams_would_refuse_it(teams):
    long = "é" * 5000
    many = [
        entry(n, events.Alert(id=str(n), type=f"{n}{long}", vehicle=f"{n}{long}"))
        for n in range(12)
    ]
    await write(teams, batch(many))

    assert len(teams.asked[0].body) <= 24_000
    assert json.loads(teams.asked[0].body)["type"] == "message"


async def test_the_check_posts_nothing(teams):
    assert "nothing was posted" in await SINK.check(config(), world(teams))
    assert teams.cards == []

    other = Config(webhook_url=Secret(f"plain:{URL}x"))
    with pytest.raises(HeldError, match="401"):
        await SINK.check(other, world(teams))


def test_sinks_of_one_flow_share_its_budget():
    other = Config(webhook_url=Secret("plain:https://other.example/x"))

    assert SINK.account(config()) == SINK.account(config(severity="high"))
    assert SINK.account(config()) != SINK.account(other)
