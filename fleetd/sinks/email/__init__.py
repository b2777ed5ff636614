"""E-mail: one readable mail at a time, by SMTP with STARTTLS (or TLS from the start).

A repeat bears the same `Message-ID` wherever it says the same, and most mail programs
show such a pair once. It comes about only where the server had taken the mail and we
could not know: a lost answer, or a crash within the milliseconds between its answer and
our note of it; where the server had put some recipients off, a crash before they have it
mails the others once more. Mails about one thing bear one `References`, so that they
stand together.
"""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import ClassVar, Literal

import structlog
import trio
from msgspec import Struct, field

from fleetd.errors import ConfigError, HeldError, TransientError, said
from fleetd.reach import trusted
from fleetd.secrets import Secret
from fleetd.sinks.contract import Batch, Receipt, Sink, Write
from fleetd.sinks.email.letter import Mailbox, letter
from fleetd.sinks.email.line import Call, Outcome, converse
from fleetd.sinks.telling import DOCS, TAKES, Choice, Manners, Teller
from fleetd.sinks.wording import Message, clean
from fleetd.world import World

logger = structlog.get_logger()
WITHIN = 20.0  # seconds for a whole conversation
NAME_WITHIN = 8.0  # for finding the host's address before it
MOST_TO = 50
TRIES = 8  # for those who put us off while others took the same mail
OWED = 16  # mails for which it is known who has them already
HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,252})|\[?[0-9A-Fa-f:.]{2,45}\]?")


class Config(Manners, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[sinks.NAME]` with `kind = "email"`."""

    docs: ClassVar[dict[str, str]] = {
        "host": "the mail server",
        "port": "587 for STARTTLS, 465 for TLS from the start",
        "security": "`none` only where no password is sent, as to a relay on this box",
        "user": "the account that sends, where the server wants one",
        "password": "its password",
        "from": "who the mail is from: `fleet@example.com`, or `Fleet <fleet@example.com>`",
        "to": "who gets it",
        "ca": "certificates to trust beside the system's, PEM",
        **DOCS,
    }
    host: str
    from_: Mailbox = field(name="from")
    to: tuple[Mailbox, ...]
    port: int = 587
    security: Literal["starttls", "tls", "none"] = "starttls"
    user: str = ""
    password: Secret | None = None
    ca: Path | None = None

    def __post_init__(self) -> None:
        if not HOST.fullmatch(self.host):
            raise ValueError('host: takes a name such as "smtp.example.com"')
        if not 1 <= self.port <= 65535:
            raise ValueError("port: between 1 and 65535")
        if not 1 <= len(self.to) <= MOST_TO:
            raise ValueError(f"to: takes 1 to {MOST_TO} addresses")
        if bool(self.user) != (self.password is not None):
            raise ValueError("password: user and password go together")
        if self.security == "none" and self.password is not None:
            raise ValueError("security: a password is never sent without TLS")


class Mailer:
    """One server, and those whom it mails to."""

    def __init__(self, config: Config, world: World, teller: Teller) -> None:
        self._config, self._world, self._teller = config, world, teller
        self._trust: ssl.SSLContext | None = None
        self._served: dict[str, Served] = {}

    async def write(self, batch: Batch) -> Receipt:
        """Send the one mail that is due."""
        return await self._teller.tell(batch, self._say)

    async def _say(
        self, choice: Choice, message: Message, batch: Batch
    ) -> tuple[Receipt, str]:
        config = self._config
        mail = letter(
            config.from_,
            config.to,
            message,
            choice.key,
            choice.thread,
            self._world.now(),
        )
        found = await self._send(mail, choice.key, batch)
        return Receipt(found.code, found.said.encode()), ""

    async def _send(self, mail: bytes, key: str, batch: Batch) -> Outcome:
        """Mail those who do not have it yet; who is put off may have it later."""
        served = self._served.get(key, Served())
        to = tuple(one.spec for one in self._config.to if one.spec not in served.have)
        self._trust = self._trust or trust_of(self._config)
        call = await call_of(
            self._config, self._world, self._trust, to, mail, others=bool(served.have)
        )
        speak = partial(converse, call, batch.entries)
        found: Outcome = await self._world.in_thread(speak)
        for who, why in found.refused.items():
            logger.warning("recipient_refused", to=who, why=why)
        last = served.tries + 1 >= TRIES
        for who, why in found.put_off.items() if last else ():
            logger.warning("recipient_given_up", to=who, why=why)
        if last or not found.put_off:
            self._served.pop(key, None)
            return found
        have = served.have | (set(to) - found.put_off.keys())
        self._served[key] = Served(served.tries + 1, have)
        for old in list(self._served)[:-OWED]:
            del self._served[old]
        why = "; ".join(f"{who}: {told}" for who, told in found.put_off.items())
        raise TransientError(clean(f"put off for {why}"), counts=False)


class Served(Struct, frozen=True):
    """Who has a mail already that others were put off for."""

    tries: int = 0
    have: frozenset[str] = frozenset()


def trust_of(config: Config) -> ssl.SSLContext:
    """Whose certificates are believed; a file that holds none holds the sink."""
    try:
        return trusted(config.ca)
    except ConfigError as bad:
        raise HeldError(str(bad)) from bad


async def call_of(
    config: Config,
    world: World,
    trust: ssl.SSLContext,
    to: tuple[str, ...],
    mail: bytes = b"",
    *,
    others: bool = False,
) -> Call:
    """The conversation to have, its host's addresses found."""
    try:
        with trio.fail_after(NAME_WITHIN):
            found = await trio.socket.getaddrinfo(
                config.host.strip("[]"), config.port, type=socket.SOCK_STREAM
            )
    except (OSError, UnicodeError, trio.TooSlowError) as bad:
        why = f"{config.host} is not found: {said(bad)}"
        raise TransientError(clean(why), counts=False) from bad
    return Call(
        config.host.strip("[]"), found, config.security, trust, config.user,
        config.password.reveal() if config.password else "", config.from_.spec, to,
        world.steady, world.steady() + WITHIN, mail, others,
    )  # fmt: skip


async def check(config: Config, world: World) -> str:
    """Say all but the mail: TLS, password, sender and recipients are tried."""
    to = tuple(one.spec for one in config.to)
    call = await call_of(config, world, trust_of(config), to)
    found = await world.in_thread(partial(converse, call, ()))
    doubted = {**found.refused, **found.put_off}
    told = f"{config.host} would take mail for {len(to) - len(doubted)} of {len(to)}"
    why = "; ".join(f"{who}: {why}" for who, why in doubted.items())
    return f"{told}; not for {why}" if why else f"{told}; nothing was sent"


def account(config: Config) -> str:
    """Where a server counts: an account there, or what comes from this box."""
    return f"{config.host}:{config.port} {config.user}"


@asynccontextmanager
async def open_email(config: Config, world: World, place: str) -> AsyncIterator[Write]:
    """Each mail is a conversation of its own; what was told is noted in `place`."""
    teller = Teller(config, world, place)
    await teller.begin()
    yield Mailer(config, world, teller).write


SINK = Sink(
    config=Config,
    open=open_email,
    takes=TAKES,
    batch=1000,
    batch_bytes=0,
    linger=30.0,
    per_second=1 / 6,
    burst=3,
    notifies=True,
    check=check,
    account=account,
)
