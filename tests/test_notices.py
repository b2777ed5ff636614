"""Sinks that notify, with the engine behind them: storms, outages and unclear answers in virtual time."""

from __future__ import annotations

import json
import random
from collections import Counter
from contextlib import asynccontextmanager

import httpx
import pytest
import trio

from fleetd.config import BaseUrl, Seconds, SinkTable
from fleetd.event import Fault, Safety
from fleetd.secrets import Secret
from fleetd.sinks import load
from fleetd.sinks.email import Config as EmailConfig
from fleetd.sinks.email.letter import Mailbox
from fleetd.sinks.slack import Config as SlackConfig
from fleetd.sinks.teams import Config as TeamsConfig
from fleetd.sinks.telling import Hours
from fleetd.store.jobs import AddJob
from fleetd.tasks.deliver import deliver, plan_of
from fleetd.when import Zone
from fleetd.world import World, inline
from tests.clouds.posts import HANG_UP, Cloud, Reply
from tests.clouds.slack import CHANNEL, HOOK, TOKEN, Slack, ratelimited
from tests.clouds.smtp import PASSWORD, USER, Smtp
from tests.clouds.teams import HOOK as FLOW
from tests.clouds.teams import Teams
from tests.far_side import MORNING, FarSide, House, Watch, crash, house_in

DAY = 86_400.0
UTC = Zone("UTC")


def webhook(**more):
    url = Secret(f"plain:https://hooks.slack.example{HOOK}")
    return SlackConfig(webhook_url=url, timezone=UTC, **more)


def bot(**more):
    told = {"token": Secret(f"plain:{TOKEN}"), "channel": CHANNEL, "timezone": UTC}
    return SlackConfig(base_url=BaseUrl("https://slack.example/api"), **told, **more)


def flow(**more):
    url = Secret(f"plain:https://logic.azure.example{FLOW}")
    return TeamsConfig(webhook_url=url, timezone=UTC, **more)


def brake(number: int, vehicle: str, at=MORNING, kind: str = "harsh_brake") -> Safety:
    return Safety(id=f"b{number}", at=at, vehicle=vehicle, type=kind, severity="medium")


def fault(number: int, vehicle: str = "v1", state: str = "on", at=MORNING) -> Fault:
    return Fault(id=f"f{number}", at=at, vehicle=vehicle, type=state, code="P0420")


class Notices:
    """A house with one sink that notifies, of any kind; its place outlives a run."""

    def __init__(self, house: House, place: str) -> None:
        self.house, self.place = house, place
        self.health = Watch()

    @asynccontextmanager
    async def run(self, kind: str, config, cloud: Cloud, **table):
        sink = load(kind)
        world = World(
            now=self.house.world.now, chance=random.Random(7), in_thread=inline,
            transport=cloud.transport(), threads=False,
        )  # fmt: skip
        plan = plan_of(sink, SinkTable(kind=kind, **table))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(
                lambda: deliver(
                    "ops", sink, plan, config=config, store=self.house.store,
                    world=world, health=self.health, place=self.place,
                )
            )  # fmt: skip
            yield
            nursery.cancel_scope.cancel()

    def whys(self) -> dict[str, int]:
        query = "SELECT why, sum(n) FROM totals WHERE outcome = 'skipped' GROUP BY 1"
        return dict(self.house.rows(query))


@asynccontextmanager
async def notices(folder):
    async with house_in(folder, FarSide()) as house:
        yield Notices(house, str(folder / "sinks" / "ops"))


@pytest.fixture
def slack() -> Slack:
    cloud = Slack()
    cloud.now = trio.current_time
    return cloud


WAYS = [("slack", webhook), ("slack", bot), ("teams", flow)]


@pytest.mark.parametrize(("kind", "config"), WAYS)
async def test_a_storm_becomes_few_messages_and_its_alarms_go_one_by_one_and_first(
    autojump_clock, tmp_path, kind, config
):
    cloud = Slack() if kind == "slack" else Teams()
    cloud.now = trio.current_time
    chance = random.Random(3)
    async with notices(tmp_path) as one:
        storm = [
            brake(n, f"TX-{chance.randrange(400)}", kind=f"kind_{n % 30}")
            for n in range(10_000)
        ]
        alarms = [crash(n, f"TX-{n}") for n in range(20)]
        for start in range(0, 10_000, 500):
            await one.house.append(*storm[start : start + 500], alarms[start // 500])
        async with one.run(kind, config(), cloud):
            await one.house.rest()
        texts = cloud.texts()

        assert one.house.counts() == {"delivered": 10_020}
        assert len(texts) <= 20 + 12
        rang = [text.startswith("Crash") for text in texts]
        assert rang.count(True) == 20
        assert all(rang[:9])  # then the rest has one turn in ten
        assert rang.index(False) == 9
        assert max(n for n, one in enumerate(rang) if one) <= 22
        assert (
            sum(
                int(text.partition(" event")[0].replace(" ", ""))
                for text in texts
                if not text.startswith("Crash")
            )
            == 10_000
        )
        assert getattr(cloud, "breaches", 0) == 0


async def test_an_alarm_in_the_middle_of_a_storm_goes_at_the_next_free_token(
    autojump_clock, tmp_path, slack
):
    async with notices(tmp_path) as one:
        async with one.run("slack", webhook(), slack, batch=5):
            await one.house.append(*(brake(n, f"v{n}") for n in range(300)))
            await trio.sleep(30)
            before, at = len(slack.posts), trio.current_time()
            assert before < 50
            await one.house.append(crash(1))
            await one.house.until(
                lambda: any(text.startswith("Crash") for text in slack.texts())
            )

        assert trio.current_time() - at <= 2.0
        assert len(slack.posts) - before <= 2
        assert slack.breaches == 0


@pytest.mark.parametrize(
    ("kind", "config", "days"),
    [("slack", webhook, 3), ("slack", bot, 2), ("teams", flow, 2)],
)
async def test_an_outage_of_days_ends_with_one_digest_and_what_is_young_enough(
    autojump_clock, tmp_path, kind, config, days
):
    cloud = Slack() if kind == "slack" else Teams()
    cloud.script = [Reply(503)] * 100_000
    async with notices(tmp_path) as one:
        world = one.house.world
        async with one.run(kind, config(), cloud):
            for day in range(days):
                at = world.now()
                await one.house.append(
                    *(brake(day * 100 + n, f"v{n}", at) for n in range(20)),
                    crash(day, at=at),
                )
                await trio.sleep(DAY)
            await one.house.append(
                brake(900, "v9", world.now()), crash(9, at=world.now())
            )
            cloud.script = []
            await one.house.rest(within=3600)
            await one.house.until(lambda: len(cloud.texts()) == 3, within=3600)

        texts = cloud.texts()
        assert sum("while offline" in text for text in texts) == 1
        digest = next(text for text in texts if "while offline" in text)
        assert digest.startswith(f"{days * 21} events from 21")
        assert f"{days} crash" in digest
        assert sum(text.startswith("Crash") for text in texts) == 1
        assert one.whys() == {"too_old": days * 21}
        assert one.house.counts() == {"skipped": days * 21, "delivered": 2}


async def test_what_is_counted_out_stands_in_the_ledger_by_its_reason(
    autojump_clock, tmp_path, slack
):
    quiet = Hours.read("12:00-13:00", None)  # six hours from now
    config = webhook(severity="medium", repeat=Seconds(1800), quiet=quiet)
    async with notices(tmp_path) as one:
        now = one.house.world.now
        async with one.run("slack", config, slack):
            await one.house.append(brake(1, "v1", now()))
            await one.house.rest()
            low = Safety(id="low", at=now(), vehicle="v2", type="x", severity="low")
            await one.house.append(brake(2, "v1", now()), low)
            await one.house.rest()
            await trio.sleep(6 * 3600 + 60)
            await one.house.append(
                brake(3, "v1", now()), fault(4, "v3", at=now()), crash(5, at=now())
            )
            await one.house.rest()
            assert slack.texts()[-1].startswith("Crash")
            await trio.sleep(3600)
            await one.house.append(brake(6, "v1", now()))
            await one.house.rest()

        assert len(slack.posts) == 3
        assert one.whys() == {"cooldown": 1, "severity": 1, "quiet": 2}
        assert one.house.counts() == {"delivered": 3, "skipped": 4}
        last = slack.texts()[-1]
        assert "In quiet hours  2 events: 1 harsh brake, 1 fault P0420" in last


async def test_what_is_resolved_is_edited_in_turn_and_counted_as_delivered(
    autojump_clock, tmp_path, slack
):
    async with notices(tmp_path) as one:
        async with one.run("slack", bot(), slack):
            for number in range(5):
                await one.house.append(fault(number, f"v{number}"))
                await trio.sleep(60)
            await one.house.append(
                *(fault(10 + n, f"v{n}", "off") for n in range(5)), brake(1, "v1")
            )
            await one.house.rest()

        assert slack.edits == 5
        titles = [text.splitlines()[0] for text in slack.texts()]
        assert titles == [
            *(f"Fault P0420 cleared · v{n}" for n in range(5)),
            "Harsh brake · v1",
        ]
        assert one.house.counts() == {"delivered": 11}


@pytest.mark.parametrize(("kind", "config"), WAYS)
async def test_a_repeat_comes_of_an_unclear_answer_alone_and_is_the_same(
    autojump_clock, tmp_path, kind, config
):
    """503, 500 or nothing at all after it was posted: each is one message more, no other is."""
    chance = random.Random(11)
    cloud = Slack() if kind == "slack" else Teams()
    unclear = [Reply(503), Reply(500), HANG_UP]
    cloud.after = [
        chance.choice(unclear) if chance.random() < 0.2 else None for _ in range(400)
    ]
    async with notices(tmp_path) as one:
        async with one.run(kind, config(), cloud):
            for number in range(60):
                await one.house.append(
                    crash(number, f"v{number}", one.house.world.now())
                )
                await trio.sleep(5)
            await one.house.rest()
        faults = len([one for one in cloud.asked if one]) - 60
        titles = Counter(text.splitlines()[0] for text in cloud.texts())

        assert faults > 5
        assert set(titles) == {f"Crash · v{n}" for n in range(60)}
        assert titles.total() == 60 + faults
        assert one.house.counts() == {"delivered": 60}


async def test_a_sink_that_is_told_to_slow_down_does_and_repeats_nothing(
    autojump_clock, tmp_path, slack
):
    slack.script = [ratelimited(90), None, ratelimited(30), None, None, ratelimited(0)]
    async with notices(tmp_path) as one:
        async with one.run("slack", bot(), slack):
            await one.house.append(*(crash(n, f"v{n}") for n in range(20)))
            began = trio.current_time()
            await one.house.rest()

        assert trio.current_time() - began >= 120
        assert len(slack.posts) == 20
        assert slack.breaches == 0


@pytest.mark.parametrize("word", ["token_revoked", "channel_not_found", "is_archived"])
async def test_a_bot_that_is_refused_holds_everything_and_says_what_to_do(
    autojump_clock, tmp_path, slack, word
):
    async with notices(tmp_path) as one:
        async with one.run("slack", bot(), slack):
            await one.house.append(crash(1))
            await one.house.rest()
            slack.error = word
            await one.house.append(crash(2), fault(3))
            await trio.sleep(1200)

            assert one.health.state == "held"
            assert word in one.health.why
            assert TOKEN not in one.health.why
            assert one.house.waiting() == 2
            slack.error = ""
            await one.house.rest(within=700)

        assert len(slack.posts) == 3
        assert one.house.dead() == []


async def test_one_message_that_slack_never_takes_is_set_aside_and_the_rest_is_told(
    autojump_clock, tmp_path, slack
):
    def picky(asked):
        body = json.loads(asked.body)
        if "v13" in json.dumps(body):
            return Reply(400, b"invalid_blocks")
        return Slack.judge(slack, asked)

    slack.judge = picky
    async with notices(tmp_path) as one:
        async with one.run("slack", webhook(), slack, batch=8):
            await one.house.append(*(brake(n, f"v{n:02}") for n in range(30)))
            await one.house.rest()

        assert [ident for ident, _ in one.house.dead()] == ["b13"]
        assert one.house.counts() == {"delivered": 29, "dead": 1}


async def test_a_replay_rings_again_without_edits_or_quiet_hours(
    autojump_clock, tmp_path, slack
):
    quiet = Hours.read("08:00-23:00", None)
    async with notices(tmp_path) as one:
        async with one.run("slack", bot(quiet=quiet, repeat=Seconds(900)), slack):
            await one.house.append(fault(1), crash(2))
            await one.house.rest()
            await trio.sleep(3 * 3600)
            await one.house.store.add_job(AddJob("replay", "ops", {}, 0, 2, 2, 0))
            await one.house.until(lambda: len(slack.posts) == 4)

        assert slack.edits == 0
        titles = Counter(text.splitlines()[0] for text in slack.texts())
        assert set(titles.values()) == {2}
        assert one.house.store.jobs()[0].state == "done"


async def test_a_restart_between_two_messages_of_one_batch_repeats_none(
    autojump_clock, tmp_path, slack
):
    """What a batch left is known to be left, and what it told to be told."""
    async with notices(tmp_path) as one:
        events = [fault(n, f"v{n}") for n in range(4)]
        async with one.run("slack", bot(), slack):
            for event in events:
                await one.house.append(event)
                await trio.sleep(30)
        offs = [fault(10 + n, f"v{n}", "off") for n in range(4)]
        await one.house.append(offs[0], brake(1, "v1"), *offs[1:])
        for _ in range(8):
            async with one.run("slack", bot(), slack):
                await trio.sleep(13.2)
        async with one.run("slack", bot(), slack):
            await one.house.rest()

        assert slack.edits == 4
        assert len(slack.posts) == 5


async def test_memory_does_not_grow_with_the_backlog(autojump_clock, tmp_path, slack):
    slack.script = [Reply(503)] * 10_000
    async with notices(tmp_path) as one:
        async with one.run("slack", webhook(repeat=Seconds(900)), slack):
            for _ in range(12):
                now = one.house.world.now()
                await one.house.append(*(brake(n, f"v{n}", now) for n in range(200)))
                await trio.sleep(60)
            batches = [json.loads(one.body)["text"] for one in slack.asked]

        assert all(len(text) < 1000 for text in batches)
        assert not (tmp_path / "sinks").exists()  # nothing told, nothing kept


async def test_a_storm_is_few_mails_and_a_repeat_bears_the_same_id(
    autojump_clock, tmp_path
):
    smtp = Smtp()
    smtp.ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    smtp.says = {
        "end": ["250", "", "451 not now", "", "250"],
        "AUTH": ["454 later"] * 2,
    }
    config = EmailConfig(
        host="127.0.0.1", port=smtp.port, user=USER, ca=tmp_path / "ca.pem",
        password=Secret(f"plain:{PASSWORD}"), from_=Mailbox("fleetd@example.com"),
        to=(Mailbox("ops@example.com"),), timezone=UTC,
    )  # fmt: skip
    try:
        async with notices(tmp_path) as one:
            await one.house.append(*(brake(n, f"v{n % 50}") for n in range(2000)))
            await one.house.append(*(crash(n, f"v{n}") for n in range(5)))
            async with one.run("email", config, Teams()):
                await one.house.rest()
            assert one.house.counts() == {"delivered": 2005}
    finally:
        smtp.close()

    ids = [str(one.mail["Message-ID"]) for one in smtp.got]
    assert len(ids) == 5 + 2 + 2  # two answers were lost
    assert len(set(ids)) == 5 + 2
    subjects = [str(one.mail["Subject"]) for one in smtp.got]
    assert all(one.startswith("Crash") for one in subjects[:-2])
    assert subjects[-1].startswith("1 000 events: 1 000 harsh brake")


def test_the_fake_counts_a_breach():
    slack, now = Slack(), [0.0]
    slack.now = lambda: now[0]
    with httpx.Client(transport=slack.transport()) as http:
        for _ in range(6):
            http.post(f"https://hooks.slack.example{HOOK}", json={"text": "x"})

    assert slack.breaches == 2
    assert len(slack.posts) == 4
