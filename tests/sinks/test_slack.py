"""The Slack sink: what is posted and edited, and what each of Slack's words is taken for."""

from __future__ import annotations

import json

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetd import event as events
from fleetd.config import BaseUrl, Seconds
from fleetd.errors import HeldError, RejectedError, TransientError
from fleetd.secrets import Secret
from fleetd.sinks.contract import Batch
from fleetd.sinks.slack import ADVICE, GONE, SINK, UNFIT, UNWELL, WAIT, Config
from fleetd.sinks.slack.blocks import escaped
from fleetd.sinks.telling.manners import Templates
from fleetd.world import World, inline
from tests.clouds.posts import HANG_UP, Reply
from tests.clouds.slack import CHANNEL, HOOK, TOKEN, Slack, fits, said
from tests.sinks.things import DAY, alarm, batch, entry

HOOK_URL = f"https://hooks.slack.example{HOOK}"


@pytest.fixture
def slack() -> Slack:
    return Slack()


def hook(**more) -> Config:
    return Config(webhook_url=Secret(f"plain:{HOOK_URL}"), **more)


def bot(**more) -> Config:
    told = {"token": Secret(f"plain:{TOKEN}"), "channel": CHANNEL, **more}
    return Config(base_url=BaseUrl("https://slack.example/api"), **told)


BOTH = pytest.mark.parametrize("made", [hook, bot], ids=["webhook", "api"])


def world(slack: Slack) -> World:
    return World(
        now=lambda: DAY, transport=slack.transport(), in_thread=inline, threads=False
    )


async def write(slack: Slack, config: Config, *batches: Batch, place: str = ""):
    async with SINK.open(config, world(slack), place) as put:
        return [await put(one) for one in batches]


async def refused(slack: Slack, config: Config, *entries) -> Exception:
    with pytest.raises((TransientError, RejectedError, HeldError)) as caught:
        await write(slack, config, batch(list(entries) or [entry(1, alarm(1))]))
    return caught.value


def fault(seq: int, state: str = "on"):
    made = events.Fault(id=f"f{seq}", at=DAY, vehicle="v1", type=state, code="P0420")
    return entry(seq, made)


# what is posted


@BOTH
async def test_an_event_is_one_readable_message(slack, made):
    await write(slack, made(), batch([entry(1, alarm(1))]))

    (text,) = slack.texts()
    assert text.splitlines()[0] == "Crash · v1"
    assert "Says  in lines é" in text
    assert "fleetd show 1" in text
    assert slack.posts[0]["text"].startswith("Crash · v1")
    assert slack.posts[0]["unfurl_links"] is False


async def test_the_api_is_told_the_channel_and_a_key_that_a_repeat_shares(slack):
    slack.after = [HANG_UP]
    async with SINK.open(bot(), world(slack), "") as put:
        with pytest.raises(TransientError):
            await put(batch([fault(1)]))
        await put(batch([fault(1)]))

    first, second = slack.posts
    assert first["channel"] == CHANNEL
    assert first["metadata"]["event_payload"]["key"]
    assert first["metadata"] == second["metadata"]


@BOTH
async def test_a_digest_is_a_message_of_its_own(slack, made):
    text = "1 204 events from 12 Nov while offline: 3 crash"
    await write(slack, made(), Batch((), "key", digest=text))

    assert slack.texts() == [text]


@BOTH
async def test_a_template_may_mention_and_what_is_filled_in_may_not(slack, made):
    templates = Templates.read({"default": "<!here> {text} *{vehicle}*"}, None)
    evil = events.Alert(id="1", at=DAY, vehicle="<@U1>", text="<!channel> & <#C1>")
    await write(slack, made(templates=templates), batch([entry(1, evil)]))

    assert set(slack.mentions()) == {"<!here>"}
    assert slack.texts()[0].startswith("<!here> <!channel> & <#C1> <@U1>")


@pytest.mark.parametrize(
    "evil", ["!channel", "@U1", "javascript:x", "http://x.example"]
)
async def test_a_link_of_a_template_is_made_of_an_address_or_of_nothing(slack, evil):
    long = f"https://maps.example/{'x' * 600}"
    templates = Templates.read({"default": "<{url}|see>"}, None)
    for seq, url in enumerate((evil, long), start=1):
        alert = entry(seq, events.Alert(id=f"{seq}", at=DAY, url=url))
        await write(slack, hook(templates=templates), batch([alert]))

    texts = [one["blocks"][0]["text"]["text"] for one in slack.posts]
    assert texts == ["<|see>", f"<{long}|see>"]
    assert slack.mentions() == []


texts = st.text(
    st.sampled_from("<>!@#&|*_`~ abUC0129channelhere\n\u202e\u200b\0"), max_size=400
)


@settings(max_examples=150, deadline=None)
@given(text=texts, many=st.integers(1, 30))
async def test_whatever_stands_in_data_mentions_nobody_and_fits(text, many):
    slack = Slack()
    evil = [
        entry(
            n,
            events.Alert(
                id=f"{n}{text}",
                at=DAY,
                vehicle=f"{n}{text}",
                number=text,
                driver_name=text,
                type=f"{n}{text}",
                text=text,
                place_name=text,
                url=f"https://x.example/{text}",
            ),
        )
        for n in range(1, many + 1)
    ]
    await write(slack, hook(), batch(evil))

    assert slack.mentions() == []
    assert len(slack.posts) == 1
    assert len(slack.posts[0]["blocks"]) <= 50
    assert all(fits(one) for one in slack.posts[0]["blocks"])
    assert len(json.dumps(slack.posts[0]["blocks"], ensure_ascii=False)) < 10_000


@given(st.text(max_size=300), st.integers(1, 200))
def test_a_cut_never_goes_through_an_escape(text, most):
    found = escaped(text, most)

    assert len(found) <= most
    rest = found.replace("&amp;", "").replace("&lt;", "").replace("&gt;", "")
    assert not set(rest) & set("<>&")


async def test_a_link_shows_where_it_goes(slack):
    url = "https://cloud.samsara.example/o/1/incidents?x=1&y=2"
    await write(slack, hook(), batch([entry(1, events.Alert(id="1", url=url))]))

    foot = slack.posts[0]["blocks"][-1]["elements"][0]["text"]
    assert f"<{url.replace('&', '&amp;')}|cloud.samsara.example>" in foot


# editing


async def test_what_is_resolved_is_edited_also_after_a_restart(slack, tmp_path):
    place = str(tmp_path / "sinks" / "ops")
    await write(slack, bot(), batch([fault(1)]), place=place)
    await write(slack, bot(), batch([fault(2, "off")]), place=place)

    assert slack.edits == 1
    assert [text.splitlines()[0] for text in slack.texts()] == [
        "Fault P0420 cleared · v1"
    ]
    edit = json.loads(slack.asked[-1].body)
    assert edit["parse"] == "none", "an edit is else read as if a person had typed it"


async def test_a_webhook_cannot_edit_and_says_it_in_another_message(slack):
    await write(slack, hook(), batch([fault(1)]), batch([fault(2, "off")]))

    assert [text.splitlines()[0] for text in slack.texts()] == [
        "Fault P0420 · v1",
        "Fault P0420 cleared · v1",
    ]


@pytest.mark.parametrize("word", sorted(GONE))
async def test_a_message_that_is_gone_is_said_anew(slack, word):
    async with SINK.open(bot(), world(slack), "") as put:
        await put(batch([fault(1)]))
        slack.script = [said(ok=False, error=word)]
        await put(batch([fault(2, "off")]))

    assert len(slack.posts) == 2
    assert slack.texts()[1].startswith("Fault P0420 cleared")


async def test_one_write_is_one_message_and_says_what_it_left(slack):
    many = batch([fault(1), entry(2, alarm(2)), entry(3, alarm(3))])
    receipts = await write(slack, bot(), many, many, many, many)

    assert [set(one.left) for one in receipts] == [{1, 3}, {1}, set(), set()]
    assert len(slack.posts) == len(slack.asked) == 3


# what an answer means


@pytest.mark.parametrize(
    "word", sorted(ADVICE.keys() | {"restricted_action", "new_word"})
)
async def test_what_refuses_us_holds_the_sink_and_says_what_to_do(slack, word):
    slack.error = word
    found = await refused(slack, bot())

    assert isinstance(found, HeldError)
    assert word in str(found)
    assert slack.posts == []


@pytest.mark.parametrize(
    ("word", "status"),
    [("no_service", 404), ("invalid_token", 403), ("action_prohibited", 403),
     ("channel_is_archived", 410), ("no_active_hooks", 404),
     ("posting_to_general_channel_denied", 400)],
)  # fmt: skip
async def test_a_webhook_that_is_refused_holds_the_sink(slack, word, status):
    slack.script = [Reply(status, word.encode())]
    found = await refused(slack, hook())

    assert isinstance(found, HeldError)
    assert word in str(found)


async def test_a_page_at_the_webhooks_address_is_no_yes(slack):
    slack.script = [Reply(200, b"<html>Sign in</html>"), Reply(404, b"<html>")]

    assert isinstance(await refused(slack, hook()), TransientError)
    assert isinstance(await refused(slack, hook()), HeldError)


async def test_a_refusal_in_no_word_of_slacks_says_what_was_answered(slack):
    slack.script = [Reply(400, b"<html>")]
    found = await refused(slack, hook())

    assert isinstance(found, RejectedError)
    assert "400" in found.reasons[1]


@pytest.mark.parametrize("body", [b"", b"ok", b"<html>", b"[" * 90_000, b"\xff"])
async def test_an_answer_of_the_api_that_is_not_slacks_is_no_yes(slack, body):
    slack.script = [Reply(200, body)]

    assert isinstance(await refused(slack, bot()), TransientError)


@pytest.mark.parametrize("word", sorted(WAIT))
async def test_too_much_is_later_and_waits_for_as_long_as_it_says(slack, word):
    slack.script = [
        Reply(
            200, json.dumps({"ok": False, "error": word}).encode(), {"Retry-After": "7"}
        )
    ]
    found = await refused(slack, bot())

    assert isinstance(found, TransientError)
    assert (found.after, found.status, found.counts) == (7.0, 429, False)


@BOTH
async def test_429_is_later(slack, made):
    slack.script = [
        Reply(429, b'{"ok":false,"error":"ratelimited"}', {"Retry-After": "30"})
    ]
    found = await refused(slack, made())

    assert isinstance(found, TransientError)
    assert (found.after, found.status) == (30.0, 429)


@pytest.mark.parametrize("word", sorted(UNWELL))
async def test_what_is_slacks_own_fault_is_later(slack, word):
    slack.error = word

    assert isinstance(await refused(slack, bot()), TransientError)


@BOTH
@pytest.mark.parametrize("fault_", [Reply(500, b"rollup_error"), Reply(503), HANG_UP])
async def test_an_unclear_answer_is_later_and_a_repeat_is_a_second_message(
    slack, made, fault_
):
    """As the docstring says: Slack has no key for a repeat."""
    slack.after = [fault_]
    one = batch([fault(1)])
    async with SINK.open(made(), world(slack), "") as put:
        with pytest.raises(TransientError):
            await put(one)
        await put(one)
        await put(one)

    assert len(slack.posts) == 2
    assert slack.texts()[0] == slack.texts()[1]


@BOTH
async def test_what_slack_does_not_like_as_blocks_goes_as_plain_text(slack, made):
    slack.likes_blocks = False
    (receipt,) = await write(slack, made(), batch([entry(1, alarm(1))]))

    assert receipt.cost == 2
    assert len(slack.posts) == 1
    assert "blocks" not in slack.posts[0]
    assert "Says: in lines é" in slack.posts[0]["text"]


@pytest.mark.parametrize("word", sorted(UNFIT))
async def test_what_it_does_not_like_as_text_either_is_the_messages_fault(slack, word):
    slack.error = word
    found = await refused(slack, bot(), fault(1), fault(2))

    assert isinstance(found, RejectedError)
    assert set(found.reasons) == {1, 2}  # all: the engine looks for the guilty one
    assert found.blameless == (word in {"msg_too_long", "msg_blocks_too_long"})
    assert len(slack.asked) == 2


async def test_a_refusal_notes_nothing_as_told(slack):
    slack.error = "invalid_auth"
    async with SINK.open(bot(repeat=Seconds(900)), world(slack), "") as put:
        with pytest.raises(HeldError):
            await put(batch([fault(1)]))
        slack.error = ""
        await put(batch([fault(1)]))

    assert len(slack.posts) == 1


async def test_no_secret_stands_in_what_is_said_of_it(slack):
    for config in (hook(), bot()):
        for reply in (Reply(404), Reply(403, b"invalid_token"), Reply(500), HANG_UP,
                      Reply(302, b"", {"Location": HOOK_URL})):  # fmt: skip
            slack.script = [reply]
            found = await refused(slack, config)
            told = f"{found} {found!r} {found.__cause__!r}"
            assert "verysecret" not in told


async def test_a_token_that_cannot_be_sent_holds_and_is_not_told(slack):
    found = await refused(slack, bot(token=Secret("plain:xoxb-\u2013verysecret")))

    assert isinstance(found, HeldError)
    assert "verysecret" not in f"{found} {found!r} {found.__cause__!r}"
    assert slack.posts == []


# the check


async def test_the_check_posts_nothing(slack):
    for config in (hook(), bot()):
        assert await SINK.check(config, world(slack))
    assert slack.posts == []

    slack.hook_gone, slack.error = "no_service", "token_revoked"
    for config, word in ((hook(), "no_service"), (bot(), "token_revoked")):
        with pytest.raises(HeldError, match=word):
            await SINK.check(config, world(slack))


def test_sinks_that_post_to_one_place_share_its_budget():
    elsewhere = bot(channel="#elsewhere")

    assert SINK.account(hook()) == SINK.account(hook(severity="high"))
    assert SINK.account(bot()) == SINK.account(bot(severity="high"))
    assert len({SINK.account(one) for one in (hook(), bot(), elsewhere)}) == 3


@pytest.mark.parametrize(
    ("keys", "why"),
    [
        ({}, "webhook_url"),
        ({"webhook_url": 1, "token": 1}, "webhook_url"),
        ({"token": 1}, "channel"),
        ({"token": 1, "channel": "general"}, "channel"),
        ({"token": 1, "channel": "<!channel>"}, "channel"),
        ({"webhook_url": 1, "channel": "C0FLEET01"}, "channel"),
    ],
)
def test_a_config_that_cannot_be_meant_is_refused(keys, why):
    secret = Secret("plain:verysecret")
    given = {key: secret if one == 1 else one for key, one in keys.items()}
    with pytest.raises(ValueError, match=why):
        Config(**given)


def test_the_fake_knows_a_mention_when_it_sees_one():
    slack = Slack()
    with httpx.Client(transport=slack.transport()) as http:
        http.post(HOOK_URL, json={"text": "<!channel> <@U1>"})
        assert http.post(f"{HOOK_URL}x", json={"text": "x"}).text == "no_service"

    assert slack.mentions() == ["<!channel>", "<@U1>"]
