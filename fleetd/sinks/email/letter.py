"""A message as a mail: plain text, one Message-ID for each repeat, no header from data."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, parseaddr
from hashlib import blake2b
from pathlib import Path
from typing import ClassVar

from fleetd.sinks.wording import Message, clean

SPEC = re.compile(
    r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9-]{1,63}(\.[A-Za-z0-9-]{1,63})*"
)
SUBJECT = 150


class Mailbox(str):
    """`fleet@example.com`, or with a name in front: `Fleet <fleet@example.com>`."""

    __slots__ = ()
    word: ClassVar[str] = "e-mail address"

    @classmethod
    def read(cls, value: object, _base: Path) -> Mailbox:
        if not isinstance(value, str) or not value.isprintable() or len(value) > 320:
            raise ValueError('takes an address such as "fleet@example.com"')
        made = cls(value)
        if not SPEC.fullmatch(made.spec) or ".." in made.spec:
            raise ValueError(f'"{value}" is no address such as "fleet@example.com"')
        return made

    @property
    def spec(self) -> str:
        """The address alone."""
        return parseaddr(self)[1]

    @property
    def domain(self) -> str:
        return self.spec.rpartition("@")[2]

    @property
    def header(self) -> Address:
        return Address(parseaddr(self)[0], addr_spec=self.spec)


def letter(
    sender: Mailbox,
    to: Sequence[Mailbox],
    message: Message,
    key: str,
    thread: str,
    now: datetime,
) -> bytes:
    """The mail, ready for the wire; `key` names it, `thread` the thing it is about."""
    mail = EmailMessage(policy=SMTP)
    mail["From"] = sender.header
    mail["To"] = [one.header for one in to]
    mail["Subject"] = clean(message.title, SUBJECT)
    mail["Date"] = format_datetime(now.astimezone(UTC))
    whose = blake2b("\n".join((sender, *to)).encode(), digest_size=6).hexdigest()
    mail["Message-ID"] = f"<{key}.{whose}@{sender.domain}>"
    if thread:
        root = f"<about.{thread}@{sender.domain}>"
        mail["In-Reply-To"] = mail["References"] = root
    mail["Auto-Submitted"] = "auto-generated"  # no vacation answers
    mail["X-Auto-Response-Suppress"] = "All"  # nor any of Exchange's
    parts = (message.plain, message.url, f"-- \n{message.foot}" if message.foot else "")
    text = "\n\n".join(part for part in parts if part) + "\n"
    mail.set_content(text, cte="quoted-printable")
    return mail.as_bytes()
