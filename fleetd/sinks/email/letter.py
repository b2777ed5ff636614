"""A message as a mail: plain text, one Message-ID for each repeat, no header from data."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from hashlib import blake2b
from pathlib import Path
from typing import ClassVar

from fleetd.sinks.wording import Message, clean

SPEC = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*@[A-Za-z0-9.-]+"
MAILBOX = re.compile(rf"({SPEC})|([^<>@,;:\"\\]*?) *<({SPEC})>")
SUBJECT = 150


class Mailbox(str):
    """`fleet@example.com`, or with a name in front: `Fleet <fleet@example.com>`."""

    __slots__ = ()
    word: ClassVar[str] = "e-mail address"

    @classmethod
    def read(cls, value: object, _base: Path) -> Mailbox:
        if not isinstance(value, str) or not value.isprintable() or len(value) > 254:
            raise ValueError('takes an address such as "fleet@example.com"')
        if not MAILBOX.fullmatch(value) or not fits(cls(value)):
            raise ValueError(f'"{value}" is no address such as "fleet@example.com"')
        return cls(value)

    @property
    def spec(self) -> str:
        """The address alone."""
        return self._parts[1]

    @property
    def _parts(self) -> tuple[str, str]:
        found = MAILBOX.fullmatch(self)
        assert found is not None
        return found[2] or "", found[1] or found[3]

    @property
    def domain(self) -> str:
        return self.spec.rpartition("@")[2]

    @property
    def header(self) -> Address:
        return Address(self._parts[0], addr_spec=self.spec)


def fits(one: Mailbox) -> bool:
    """Whether a mail can be made out to it: names of hosts have rules of their own."""
    try:
        return bool(one.header)
    except (ValueError, IndexError, MessageError):
        return False


def subject_of(message: Message) -> str:
    """Its title; what looks like an encoded word would be decoded, line ends and all."""
    return clean(message.title, SUBJECT).replace("=?", "= ?")


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
    mail["Subject"] = subject_of(message)
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
