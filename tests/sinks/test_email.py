"""The e-mail sink: the mail, the conversation, and what each answer is taken for."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from fleetd import event as events
from fleetd.errors import HeldError, RejectedError, TransientError
from fleetd.secrets import Secret
from fleetd.sinks import email as sink_email
from fleetd.sinks.contract import Batch
from fleetd.sinks.email import SINK, TRIES, Config
from fleetd.sinks.email.letter import Mailbox
from fleetd.world import World, inline
from tests.clouds.smtp import PASSWORD, USER, Smtp
from tests.sinks.things import DAY, alarm, batch, entry

OPS, BOSS = "ops@example.com", "boss@example.com"


@pytest.fixture
def smtp() -> Iterator[Smtp]:
    server = Smtp()
    yield server
    server.close()


@contextmanager
def served(**wishes) -> Iterator[Smtp]:
    server = Smtp(**wishes)
    try:
        yield server
    finally:
        server.close()


@pytest.fixture
def made(smtp, tmp_path):
    def config(server: Smtp = smtp, **more) -> Config:
        ca = tmp_path / "ca.pem"
        server.ca.cert_pem.write_to_path(str(ca))
        told = {
            "host": "127.0.0.1",
            "port": server.port,
            "from_": Mailbox("Fleet <fleetd@example.com>"),
            "to": (Mailbox(OPS),),
            "user": USER,
            "password": Secret(f"plain:{PASSWORD}"),
            "ca": ca,
            **more,
        }
        return Config(**told)

    return config


def world(**more) -> World:
    return World(now=lambda: DAY, in_thread=inline, threads=False, **more)


async def write(config: Config, *batches: Batch, place: str = ""):
    async with SINK.open(config, world(), place) as put:
        return [await put(one) for one in batches]


async def refused(config: Config, *entries) -> Exception:
    given = list(entries) or [entry(1, alarm(1)), entry(2, alarm(2))]
    with pytest.raises((TransientError, RejectedError, HeldError)) as caught:
        await write(config, batch(given))
    found = caught.value
    assert PASSWORD not in f"{found} {found!r} {found.__cause__!r}"
    return found


def fault(seq: int, state: str = "on"):
    made = events.Fault(id=f"f{seq}", at=DAY, vehicle="v1", type=state, code="P0420")
    return entry(seq, made)


# the mail


async def test_an_event_is_one_readable_mail_to_all_of_them(smtp, made):
    await write(
        made(to=(Mailbox(OPS), Mailbox(f"The Boss <{BOSS}>"))), batch([fault(1)])
    )

    (got,) = smtp.got
    assert got.to == (OPS, BOSS)
    assert got.mail["Subject"] == "Fault P0420 · v1"
    assert got.mail["From"] == "Fleet <fleetd@example.com>"
    assert got.mail["Auto-Submitted"] == "auto-generated"
    assert got.text.splitlines()[0] == "Fault P0420 · v1"
    assert "Vehicle: v1" in got.text
    assert "fleetd show 1" in got.text
    assert got.mail.get_content_type() == "text/plain"


async def test_nothing_but_the_first_words_is_said_without_tls(smtp, made):
    await write(made(), batch([fault(1)]))

    assert [one.split()[0].upper() for one in smtp.in_clear] == ["EHLO", "STARTTLS"]


@pytest.mark.parametrize("wishes", [{"secured": True}, {"password": False}])
async def test_tls_from_the_start_and_a_relay_without_a_password(made, wishes):
    with served(starttls=False, **wishes) as server:
        plain = {"security": "none", "user": "", "password": None}
        more = {"security": "tls"} if server.secured else plain
        await write(made(server, **more), batch([fault(1)]))

        assert len(server.got) == 1


async def test_no_header_is_made_of_data(smtp, made):
    evil = "x\r\nBcc: all@example.com\r\n\r\nhello\r\n.\r\nMAIL FROM:<a@b>"
    alert = events.Alert(id="1", at=DAY, vehicle=evil, type=evil, text=evil)
    await write(made(), batch([entry(1, alert)]))

    (got,) = smtp.got
    assert got.mail["Bcc"] is None
    assert got.to == (OPS,)
    assert "\nBcc" not in got.text


@pytest.mark.parametrize(
    "evil",
    [
        "=?utf-8?q?x=0D=0ABcc:_all@example.com?=",
        "=?utf-8?b?DQpCY2M6IHg=?=",
        "=?u?q?=ff?=",
    ],
)
async def test_what_looks_like_an_encoded_word_is_told_as_it_stands(smtp, made, evil):
    alert = events.Alert(id="1", at=DAY, vehicle=f"{evil} é", type=evil)
    await write(made(), batch([entry(1, alert)]))

    (got,) = smtp.got
    assert got.mail["Bcc"] is None
    assert evil.replace("=?", "= ?").capitalize() in got.mail["Subject"].capitalize()


async def test_a_line_of_one_dot_ends_no_mail(smtp, made):
    from fleetd.sinks.telling.manners import Templates

    templates = Templates.read({"default": ".\n..\n{text}\n."}, None)
    alert = events.Alert(id="1", text="the end")
    await write(made(templates=templates), batch([entry(1, alert)]))

    assert smtp.texts()[0].startswith(".\n..\nthe end\n.")


async def test_a_repeat_bears_the_same_message_id_and_what_is_resolved_its_thread(
    smtp, made
):
    smtp.says = {"end": [""]}  # taken, and hung up
    async with SINK.open(made(), world(), "") as put:
        with pytest.raises(TransientError):
            await put(batch([fault(1)]))
        await put(batch([fault(1)]))
        await put(batch([fault(1)]))
        await put(batch([fault(2, "off")]))

    first, again, resolved = (one.mail for one in smtp.got)
    assert first["Message-ID"] == again["Message-ID"] != resolved["Message-ID"]
    assert first["References"] == resolved["References"] is not None
    assert resolved["Subject"] == "Fault P0420 cleared · v1"


# what an answer means


@pytest.mark.parametrize(
    ("verb", "answer", "kind"),
    [
        ("hello", "421 too many connections", TransientError),
        ("hello", "554 we know you", HeldError),
        ("hello", "", TransientError),
        ("hello", "HTTP/1.1 400 what", TransientError),
        pytest.param(
            "EHLO", "250-\r\n" * 9000 + "250 me", TransientError, id="endless"
        ),
        ("EHLO", "421 later", TransientError),
        ("EHLO", "550 no", HeldError),
        ("STARTTLS", "454 not now", TransientError),
        ("STARTTLS", "501 no", HeldError),
        ("STARTTLS", "220 go\r\n250 injected", HeldError),
        ("AUTH", "454 4.7.0 not now", TransientError),
        ("AUTH", "334 abc", TransientError),
        ("AUTH", "535 5.7.8 no", HeldError),
        ("AUTH", "534 5.7.9 an app password, please", HeldError),
        ("MAIL", "421 4.7.0 slow down", TransientError),
        ("MAIL", "550 5.7.1 not you", HeldError),
        ("MAIL", "530 5.7.0 who are you", HeldError),
        ("RCPT", "450 4.2.0 greylisted", TransientError),
        ("RCPT", "421 4.7.0 enough", TransientError),
        ("RCPT", "550 5.1.1 nobody of that name", HeldError),
        ("DATA", "451 4.3.0 not now", TransientError),
        ("DATA", "554 5.5.1 no", RejectedError),
        ("DATA", "", TransientError),
        ("end", "451 4.3.0 not now", TransientError),
        ("end", "452 4.3.1 full", TransientError),
        ("end", "550 5.7.1 this looks like spam", RejectedError),
        ("end", "552 5.3.4 too big", RejectedError),
        ("end", "", TransientError),
    ],
)
async def test_each_answer_is_taken_for_what_it_means(smtp, made, verb, answer, kind):
    smtp.always = {verb: answer}
    found = await refused(made())

    assert type(found) is kind
    if isinstance(found, RejectedError):
        assert set(found.reasons) == {1, 2}
        assert found.blameless == answer.startswith("552")
    if isinstance(found, TransientError):
        sick = verb in {"DATA", "end"} and answer[:3] not in {"452", "421"}
        assert found.counts == (sick and answer[:3] != "451")


async def test_a_wrong_password_is_said_and_never_shown(smtp, made):
    found = await refused(made(password=Secret("plain:another-secret-word")))

    assert isinstance(found, HeldError)
    assert "535" in str(found)
    assert "correct them" in str(found)


async def test_a_server_that_takes_no_password_holds_and_is_told_so(smtp, made):
    smtp.says["EHLO"] = ["250-hello\r\n250 STARTTLS", "250-hello\r\n250 AUTH XOAUTH2"]
    found = await refused(made())

    assert isinstance(found, HeldError)
    assert "no way to log in with a password" in str(found)


async def test_a_server_without_starttls_gets_no_password(made):
    with served(starttls=False) as server:
        found = await refused(made(server))

        assert isinstance(found, HeldError)
        assert "STARTTLS is not offered" in str(found)
        assert not any("AUTH" in one for one in server.talked)


async def test_a_certificate_that_is_not_believed_holds_the_sink(smtp, made):
    found = await refused(made(ca=None))

    assert isinstance(found, HeldError)
    assert "certificate" in str(found)
    assert "set `ca`" in str(found)


async def test_a_name_that_the_certificate_is_not_for_holds_the_sink(smtp, made):
    smtp.ca.issue_cert("elsewhere.example").configure_cert(smtp._context)
    found = await refused(made())

    assert isinstance(found, HeldError)


async def test_a_certificate_file_with_nothing_in_it_holds_the_sink(made, tmp_path):
    (tmp_path / "none.pem").write_text("")

    assert isinstance(await refused(made(ca=tmp_path / "none.pem")), HeldError)


@pytest.mark.parametrize("host", ["127.0.0.1", "no-such-host.invalid"])
async def test_a_server_that_is_not_there_is_later(made, host):
    found = await refused(made(host=host, port=1))

    assert isinstance(found, TransientError)
    assert not found.counts


@pytest.mark.parametrize("verb", ["hello", "EHLO", "AUTH", "end"])
async def test_a_server_that_trickles_for_ever_is_given_up_on(smtp, made, verb):
    """Each byte comes in time; the whole has an end all the same."""
    smtp.says = {verb: ["drip"]}
    fast = time.monotonic
    hurried = World(
        now=lambda: DAY, in_thread=inline, threads=False, steady=lambda: fast() * 40
    )
    async with SINK.open(made(), hurried, "") as put:
        with pytest.raises(TransientError, match=r"in time|not speak"):
            await put(batch([fault(1)]))


async def test_an_answer_without_end_is_given_up_on(smtp, made):
    smtp.says = {"hello": ["220-" + "x" * 40_000]}

    assert isinstance(await refused(made()), TransientError)


# several recipients


async def test_one_address_that_is_refused_keeps_the_mail_from_no_other(smtp, made):
    smtp.always = {f"RCPT {BOSS}": "550 5.1.1 gone"}
    both = (Mailbox(BOSS), Mailbox(OPS))
    (receipt,) = await write(made(to=both), batch([fault(1)]))

    assert receipt.status == 250
    assert [one.to for one in smtp.got] == [(OPS,)]


async def test_who_is_put_off_gets_it_later_and_nobody_gets_it_twice(smtp, made):
    smtp.says = {f"RCPT {BOSS}": ["450 greylisted", "450 greylisted"]}
    both, one = (Mailbox(BOSS), Mailbox(OPS)), batch([fault(1)])
    async with SINK.open(made(to=both), world(), "") as put:
        for _ in range(2):
            with pytest.raises(TransientError, match="boss@"):
                await put(one)
        await put(one)

    assert [got.to for got in smtp.got] == [(OPS,), (BOSS,)]


async def test_who_is_always_put_off_holds_nobody_up_for_good(smtp, made):
    smtp.always = {f"RCPT {BOSS}": "452 4.2.2 full"}
    both, one = (Mailbox(BOSS), Mailbox(OPS)), batch([fault(1)])
    async with SINK.open(made(to=both), world(), "") as put:
        tries = 0
        while tries < 50:
            tries += 1
            try:
                await put(one)
            except TransientError:
                continue
            break

    assert tries <= TRIES + 1
    assert [got.to for got in smtp.got] == [(OPS,)]


# the check


async def test_the_check_sends_nothing_and_tries_all_but_the_mail(smtp, made):
    smtp.always = {f"RCPT {BOSS}": "550 5.1.1 gone"}
    said = await SINK.check(made(to=(Mailbox(BOSS), Mailbox(OPS))), world())

    assert "mail for 1 of 2" in said
    assert "boss@example.com: 550" in said
    assert smtp.got == []
    assert not any(one.upper().startswith("DATA") for one in smtp.talked)


@pytest.mark.parametrize(
    ("keys", "why"),
    [
        ({"host": "smtp.example.com:587"}, "host"),
        ({"port": 0}, "port"),
        ({"to": ()}, "to"),
        ({"user": "", "password": Secret("plain:abcdef")}, "password"),
        ({"security": "none"}, "security"),
    ],
)
def test_a_config_that_cannot_be_meant_is_refused(made, keys, why):
    with pytest.raises(ValueError, match=why):
        made(**keys)


@pytest.mark.parametrize(
    "bad",
    ["", "ops", "a@b c", "a@b\r\nBcc: c@d", "<a@b", "a@b, c@d", "é@x.example", 7,
     "a..b@x.example", "x" * 400 + "@x.example", "a@x..example", "a@.example",
     "Fleet <a@x.example.>"],
)  # fmt: skip
def test_an_address_that_is_none_is_refused(bad):
    with pytest.raises(ValueError, match="address"):
        Mailbox.read(bad, None)


def test_sinks_of_one_mail_account_share_its_budget(made):
    assert SINK.account(made()) == SINK.account(made(to=(Mailbox(BOSS),)))
    assert SINK.account(made()) != SINK.account(made(user="another"))


def test_the_module_hides_no_other_of_its_name():
    import email

    assert hasattr(email, "message_from_bytes")
    assert sink_email.__name__ == "fleetd.sinks.email"
