"""A webhook at its vendor in virtual time: made, lost, found again, turned round, and told of."""

from __future__ import annotations

import json
import stat

import msgspec
import pytest
import trio

from fleetd.tasks.registration import asks, recall_of
from tests.street import street
from tests.vendors.base import Clock, Truth
from tests.vendors.faults import Dice, Faults
from tests.vendors.motive import Motive
from tests.vendors.samsara import Samsara

DAY, HOUR = 86_400.0, 3600.0
URL = "https://fleet.example.com/webhooks/north"
SIGNED = 'webhook_secret = "plain:twenty-characters-xx"'
NAMED = 'webhook_secret = "file:data/secrets/north.webhook"'


def samsara() -> Samsara:
    return Samsara(Truth(2), None, Clock(steady=lambda: 0.0), limit=1e6)


class Probing(Motive):
    """Motive, whose probe is answered as a test says."""

    answers = 200

    def probe(self, hook):
        return self.answers


def motive() -> Probing:
    return Probing(Truth(2), None, Clock(steady=lambda: 0.0), limit=1e6)


def theirs(sim: Samsara, url: str = URL, name: str = "made by hand") -> str:
    """A webhook that somebody made in the console."""
    named = str(7000 + len(sim.hooks))
    sim.hooks[named] = {"id": named, "name": name, "url": url, "secretKey": "aGFuZA==",
                        "eventTypes": ["AlertIncident"]}  # fmt: skip
    return named


async def days(count: float = 1.0) -> None:
    await trio.sleep(count * DAY + 2 * HOUR)


# made


async def test_a_secret_that_samsara_chose_lies_where_only_the_service_reads_it(
    tmp_path, world, autojump_clock
):
    sim = samsara()
    async with street(tmp_path, world, sim) as here:
        done = await here.do("add")
        (hook,) = sim.hooks.values()

        assert (done["did"], done["named"]) == ("made", False)
        assert here.file.read_text() == hook["secretKey"]
        assert stat.S_IMODE(here.file.stat().st_mode) == 0o600
        assert stat.S_IMODE(here.file.parent.stat().st_mode) == 0o700
        assert hook["secretKey"] not in json.dumps(done)
        assert hook["secretKey"] not in str(here.store.recall("hooks:north"))
        assert hook["name"].startswith("fleetd north 2026-11-21")
        assert "404 until webhook_secret is in the config" in here.trouble
        assert [one.name for one in here.file.parent.iterdir()] == ["north.webhook"]
    async with street(tmp_path, world, sim, NAMED) as here:
        assert here.trouble == ""
        assert (await here.do("add"))["did"] == "nothing"
        assert (await here.do("add"))["named"]
        assert here.alerts() == []


async def test_nothing_is_made_whose_secret_could_not_be_kept(
    tmp_path, world, autojump_clock
):
    sim = samsara()
    async with street(tmp_path, world, sim) as here:
        here.file.parent.write_text("a file is in the way")
        why = await here.fails("add")

    assert "a secret cannot be kept there" in why
    assert sim.hooks == {}


async def test_nothing_is_registered_that_would_not_get_here(
    tmp_path, world, autojump_clock
):
    sim = samsara()
    async with street(tmp_path, world, sim, NAMED.replace("file:data/secrets/north.webhook", "plain:aGVsbG8=")) as here:  # fmt: skip
        here.address = OSError(-2, "no such name")
        why = await here.fails("add")
        assert here.asked == []
        done = await here.do("add", untested=True)

    assert "nothing was registered, since no webhook would get here: DNS" in why
    assert done["did"] == "made"


async def test_an_answer_that_was_lost_makes_no_second_one(
    tmp_path, world, autojump_clock
):
    sim = samsara()
    async with street(tmp_path, world, sim) as here:
        here.lost = lambda request: request.method == "POST"
        why = await here.fails("add")
    async with street(tmp_path, world, sim) as here:  # killed, for all it knows
        done = await here.do("add")
        (hook,) = sim.hooks.values()

        assert "may have made it or not" in why
        assert (done["did"], done["id"]) == ("nothing", hook["id"])
        assert here.file.read_text() == hook["secretKey"]
        assert (await here.rows())[0]["whose"] == "fleetd"


async def test_an_answer_that_cannot_be_read_is_looked_up_in_the_list(
    tmp_path, world, autojump_clock
):
    sim = samsara()

    class Mumbling(Samsara):
        def add_hook(self, asked):
            made = super().add_hook(asked)
            return msgspec.structs.replace(made, body=b'{"data":{}}')

    sim = Mumbling(Truth(2), None, Clock(steady=lambda: 0.0), limit=1e6)
    async with street(tmp_path, world, sim) as here:
        done = await here.do("add")
        (hook,) = sim.hooks.values()

        assert (done["did"], done["id"]) == ("made", hook["id"])
        assert here.file.read_text() == hook["secretKey"]


async def test_what_was_refused_leaves_no_claim_to_what_others_make_then(
    tmp_path, world, autojump_clock
):
    sim = motive()
    for number in (1, 2):
        told = {"url": f"https://{number}.example", "secret": "x",
                "actions": ["fault_code_opened"], "enabled": True}  # fmt: skip
        sim.make_hook(Asking(told))
    async with street(tmp_path, world, sim, SIGNED) as here:
        crowded = await here.fails("add")
        assert [verb for verb, _ in here.asked] == ["GET"]
        for hook in sim.hooks.values():
            hook.actions = ["user_upserted"]
        hooks = here.board.providers["north"].hooks
        provider = here.board.providers["north"]
        fewer = msgspec.structs.replace(hooks, slots=0)
        here.board.providers["north"] = msgspec.structs.replace(provider, hooks=fewer)
        refused = await here.fails("add")
        sim.hooks.pop(42)
        sim.make_hook(
            Asking({"url": URL, "secret": "y", "actions": [], "enabled": True})
        )
        gone = await here.do("remove")
        rows = await here.rows()

    assert (
        "Motive allows 2 active webhooks for an action, and fault_code_opened"
        in crowded
    )
    assert "https://1.example (id 42) and https://2.example (id 43)" in crowded
    assert "Only 2 active webhooks per action" in refused
    assert gone["removed"] == []
    assert [row["whose"] for row in rows] == ["by hand", "other"]


class Asking:
    """A request to the simulator, as its own routes get it."""

    def __init__(self, told):
        self._told = told

    def json(self):
        return self._told


async def test_another_with_our_url_is_neither_doubled_nor_taken(
    tmp_path, world, autojump_clock
):
    sim = samsara()
    named = theirs(sim, URL + "/")
    async with street(tmp_path, world, sim) as here:
        why = await here.fails("add")
        await here.do("remove")

    assert f"already (id {named}), and fleetd did not make it" in why
    assert list(sim.hooks) == [named]


async def test_a_token_without_the_scope_is_told_which(tmp_path, world, autojump_clock):
    sim = samsara()
    async with street(tmp_path, world, sim) as here:
        sim.key = "another"
        why = await here.fails("add")
        listed = (await here.do("list"))["sources"][0]

    assert "Samsara refused the token" in why
    assert listed["registered"] is None
    assert "Samsara refused the token" in listed["why"]


# read back


@pytest.mark.parametrize(
    ("spoil", "what", "said"),
    [
        (lambda sim, one: sim.hooks.clear(), "gone", "is gone: fleetd webhook add north"),
        (lambda sim, one: one.__setitem__("url", "https://else.example/x?key=abcdef"), "moved",
         "leads to https://else.example/…: fleetd"),
    ],
)  # fmt: skip
async def test_what_became_of_a_registration_is_told_once_and_once_that_it_is_mended(
    tmp_path, world, autojump_clock, spoil, what, said
):
    sim = samsara()
    async with street(tmp_path, world, sim, watched=True) as here:
        await here.do("add")
    async with street(tmp_path, world, sim, NAMED, watched=True) as here:
        await days()
        assert (here.trouble, here.alerts()) == ("", [])
        (hook,) = sim.hooks.values()
        spoil(sim, hook)
        await days(3)

        assert said in here.trouble
        assert here.alerts() == [f"webhook_{what}"]
    async with street(tmp_path, world, sim, NAMED, watched=True) as here:
        await trio.sleep(10)
        assert here.trouble
        await days(2)
        assert here.alerts() == [f"webhook_{what}"]
        done = await here.do("add")

        assert done["did"] == {"gone": "made", "moved": "changed"}[what]
        assert [one["url"] for one in sim.hooks.values()] == [URL]
        assert here.alerts() == [f"webhook_{what}", "webhook_back"]
        assert here.trouble == ""


async def test_a_look_of_a_clock_that_was_a_year_ahead_is_not_waited_for(
    tmp_path, world, autojump_clock
):
    sim = samsara()
    async with street(tmp_path, world, sim) as here:
        await here.do("add")
        kept = here.store.recall("hooks:north")
        ahead = kept["looked_ms"] + 365 * int(DAY) * 1000
        await here.store.remember("hooks:north", {**kept, "looked_ms": ahead})
    sim.hooks.clear()
    async with street(tmp_path, world, sim, NAMED, watched=True) as here:
        await days()

        assert here.alerts() == ["webhook_gone"]


async def test_one_that_motive_switched_off_is_told_and_mended_in_place(
    tmp_path, world, autojump_clock
):
    sim = motive()
    async with street(tmp_path, world, sim, SIGNED, watched=True) as here:
        first = await here.do("add")
        (hook,) = sim.hooks.values()
        hook.enabled = False
        await days()
        trouble = here.trouble
        sim.answers = 503
        vain = await here.do("add")
        sim.answers = 200
        done = await here.do("add")

        assert "is switched off: fleetd webhook add north" in trouble
        assert (vain["enabled"], done["enabled"]) == (False, True)
        assert (done["did"], done["id"]) == ("changed", first["id"])
        assert here.alerts() == ["webhook_disabled", "webhook_back"]


async def test_one_that_was_made_by_hand_is_watched_once_it_was_seen(
    tmp_path, world, autojump_clock
):
    sim = samsara()
    async with street(tmp_path, world, sim, 'webhook_secret = "plain:aGVsbG8="', watched=True) as here:  # fmt: skip
        await days()
        assert (here.trouble, here.alerts()) == ("", [])
        named = theirs(sim)
        await days()
        sim.hooks.pop(named)
        await days()

        assert "made by hand, is gone" in here.trouble
        assert here.alerts() == ["webhook_gone"]

        theirs(sim)
        await days()

        assert here.alerts() == ["webhook_gone", "webhook_back"]


async def test_a_source_that_only_polls_is_not_asked_for_its_webhooks(
    tmp_path, world, autojump_clock
):
    async with street(tmp_path, world, samsara(), watched=False) as here:
        assert not asks(here.board, "north")
        await here.do("add")
        assert asks(here.board, "north")


@pytest.mark.parametrize("fault", ["failing", "cut", "html"])
async def test_a_list_that_cannot_be_read_says_nothing_about_the_webhook(
    tmp_path, world, autojump_clock, fault
):
    sim = samsara()
    async with street(tmp_path, world, sim, watched=True) as here:
        await here.do("add")
    async with street(tmp_path, world, sim, NAMED, watched=True) as here:
        sim.dice = faulty(**{fault: 1.0})
        before = len(here.asked)
        await days(2)
        tries = len(here.asked) - before

        assert (here.trouble, here.alerts()) == ("", [])
        assert 10 < tries < 60  # once an hour
        sim.dice = faulty()
        sim.hooks.clear()
        await days(0)
        assert here.alerts() == ["webhook_gone"]


def faulty(**knobs):
    return Dice(Faults(**knobs))


async def test_a_new_public_url_has_to_be_registered(tmp_path, world, autojump_clock):
    sim = samsara()
    async with street(tmp_path, world, sim) as here:
        await here.do("add")
    async with street(
        tmp_path, world, sim, NAMED, url="https://fleet.example.com:8443", watched=True
    ) as here:
        await days()
        trouble = here.trouble
        done = await here.do("add")

        assert "leads elsewhere than public_url" in trouble
        assert done["did"] == "changed"
        assert [one["url"] for one in sim.hooks.values()] == [
            "https://fleet.example.com:8443/webhooks/north"
        ]


async def test_a_lost_file_is_written_again_from_what_samsara_still_tells(
    tmp_path, world, autojump_clock
):
    sim = samsara()
    async with street(tmp_path, world, sim, watched=True) as here:
        await here.do("add")
        (hook,) = sim.hooks.values()
        here.file.unlink()
        await days()

        assert here.file.read_text() == hook["secretKey"]


# turned round


async def test_both_secrets_are_accepted_for_an_hour_and_then_the_newer_one(
    tmp_path, world, autojump_clock
):
    sim = samsara()
    async with street(tmp_path, world, sim) as here:
        await here.do("add")
        first = here.file.read_text()
    async with street(tmp_path, world, sim, NAMED, watched=True) as here:
        done = await here.do("add", rotate=True)
        second = here.file.read_text()
        gate = here.reception.gates["north"]

        assert (done["did"], done["named"]) == ("rotated", True)
        assert set(gate.beside) == {first, second}
        assert len(sim.hooks) == 2
    async with street(tmp_path, world, sim, NAMED, watched=True) as here:
        gate = here.reception.gates["north"]
        assert {*gate.secrets, *gate.beside} == {first, second}
        await trio.sleep(HOUR * 1.5)

        assert {*gate.secrets, *gate.beside} == {second}
        assert [one["secretKey"] for one in sim.hooks.values()] == [second]
        assert [one.name for one in here.file.parent.iterdir()] == ["north.webhook"]
        assert here.alerts() == []


async def test_turning_twice_within_the_hour_leaves_the_last_two(
    tmp_path, world, autojump_clock
):
    sim = samsara()
    async with street(tmp_path, world, sim, watched=True) as here:
        await here.do("add")
        for _ in range(2):
            await trio.sleep(60)
            await here.do("add", rotate=True)
        newest = here.file.read_text()
        old = here.file.with_name("north.webhook.old").read_text()
        secrets = [one["secretKey"] for one in sim.hooks.values()]
        gone = await here.do("remove")

        assert secrets == [old, newest]
        assert len(gone["removed"]) == 2
        assert sim.hooks == {}
        assert here.file.read_text() == newest  # the config may name it


async def test_a_rotation_whose_answer_was_lost_is_one_rotation(
    tmp_path, world, autojump_clock
):
    sim = samsara()
    async with street(tmp_path, world, sim, watched=True) as here:
        await here.do("add")
        first = here.file.read_text()
        await trio.sleep(60)
        here.lost = lambda request: request.method == "POST"
        await here.fails("add", rotate=True)
        here.lost = lambda request: False
        assert here.file.read_text() == first
        assert (await here.do("add"))["did"] == "nothing"
        second = here.file.read_text()
        both = [one["secretKey"] for one in sim.hooks.values()]
        await trio.sleep(HOUR * 1.5)

        assert second != first
        assert both == [first, second]
        assert [one["secretKey"] for one in sim.hooks.values()] == [second]


async def test_a_secret_of_our_own_is_turned_by_the_config(
    tmp_path, world, autojump_clock
):
    sim = motive()
    async with street(tmp_path, world, sim, SIGNED) as here:
        await here.do("add")
        why = await here.fails("add", rotate=True)
    both = (
        'webhook_secret = ["plain:another-twenty-chars", "plain:twenty-characters-xx"]'
    )
    async with street(tmp_path, world, sim, both, watched=True) as here:
        await days()
        assert here.trouble == ""  # the old one is accepted still
        done = await here.do("add", rotate=True)
        (hook,) = sim.hooks.values()

        assert hook.secret == "another-twenty-chars"
        assert done["did"] == "rotated"
    async with street(
        tmp_path, world, sim, 'webhook_secret = "plain:a-third-secret-of-ours"',
        watched=True,
    ) as here:  # fmt: skip
        await days()

        assert "put the new secret first" in why
        assert "has none of webhook_secret: fleetd webhook add north" in here.trouble
        assert here.alerts() == ["webhook_secret"]
        assert "another-twenty-chars" not in str(here.store.recall("hooks:north"))


# taken away


async def test_only_what_fleetd_made_is_taken_away(tmp_path, world, autojump_clock):
    sim = samsara()
    others = [
        theirs(sim, "https://a.example/x"),
        theirs(sim, "https://b.example", "fleetd"),
    ]
    async with street(tmp_path, world, sim) as here:
        await here.do("add")
        gone = await here.do("remove")
        again = await here.do("remove")

        assert list(sim.hooks) == others
        assert len(gone["removed"]) == 1
        assert again["removed"] == []
        assert recall_of(here.board, "north").made == ()
        assert here.alerts() == []


async def test_ids_of_another_vendor_are_not_taken_for_ours(
    tmp_path, world, autojump_clock
):
    ours, another = motive(), samsara()
    async with street(tmp_path, world, ours, SIGNED) as here:
        made = await here.do("add")
    another.hooks[made["id"]] = {
        "id": made["id"],
        "name": "x",
        "url": "https://a.example",
    }
    async with street(tmp_path, world, another, NAMED.replace("file:data/secrets/north.webhook", "plain:aGVsbG8="), watched=True) as here:  # fmt: skip
        await days()
        gone = await here.do("remove")

        assert gone["removed"] == []
        assert list(another.hooks) == [made["id"]]
        assert here.alerts() == []


async def test_one_that_is_gone_already_is_as_good_as_taken_away(
    tmp_path, world, autojump_clock
):
    sim = samsara()
    async with street(tmp_path, world, sim) as here:
        done = await here.do("add")
        sim.hooks.clear()
        gone = await here.do("remove")

    assert gone["removed"] == [done["id"]]


async def test_a_paused_source_is_not_asked(tmp_path, world, autojump_clock):
    sim = samsara()
    async with street(tmp_path, world, sim, watched=True) as here:
        await here.do("add")
        await trio.sleep(HOUR)
        await here.store.pause("north", paused=True)
        before = len(here.asked)
        await days(3)

        assert len(here.asked) == before
