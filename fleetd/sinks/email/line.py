"""A conversation with a mail server: blocking, and over by its deadline whatever happens."""

from __future__ import annotations

import smtplib
import socket
import ssl
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Literal

from msgspec import Struct, field

from fleetd.errors import HeldError, RejectedError, TransientError, said
from fleetd.event import Entry
from fleetd.sinks.wording import clean

REPLY = 16 << 10  # bytes of one answer
ADDRESSES = 4  # of a host that are tried
QUIT_WITHIN = 1.0
TOO_BIG = 552
UNBLAMED = frozenset({421, 450, 451, 452})
ADVICE = {
    "greeting": "it takes no mail from this box",
    "hello": "it takes no mail from this box",
    "starttls": "it cannot be spoken to in secret; see to its TLS, or to `security`",
    "login": "it does not know user and password; correct them",
    "sender": "it takes no mail from this sender; correct `from`, or give it user and"
    " password",
    "recipients": "it takes no mail for any of `to`; correct them",
}


class Call(Struct, frozen=True):
    """What to say to whom; without `mail` all but the mail itself is said.

    `others` have it already: then it is no verdict on the mail if nobody takes it.
    """

    host: str
    addresses: Sequence[Any]
    security: Literal["starttls", "tls", "none"]
    trust: ssl.SSLContext
    user: str
    password: str
    sender: str
    to: tuple[str, ...]
    steady: Callable[[], float]
    until: float
    mail: bytes = b""
    others: bool = False

    def __repr__(self) -> str:  # a password is in it
        return f"Call({self.host})"


class Outcome(Struct, frozen=True):
    """Who has the mail now, who is refused for good, and who was put off."""

    code: int = 250
    said: str = ""
    refused: dict[str, str] = field(default_factory=dict)
    put_off: dict[str, str] = field(default_factory=dict)


class RefusedError(Exception):
    """The server said no at a step of the conversation."""

    def __init__(self, step: str, code: int, text: bytes) -> None:
        super().__init__(step)
        self.step, self.code = step, code
        self.text = clean(text.decode("latin-1"), 200)


class Line(smtplib.SMTP):
    """smtplib with an end to it: one deadline for all, and answers of bounded size."""

    def __init__(self, call: Call) -> None:
        super().__init__(local_hostname=socket.gethostname() or "localhost")
        self._call, self.until, self._rest = call, call.until, b""
        self._host = call.host  # what the certificate must be for
        self.mailing = False  # whether it has seen the mail

    def left(self) -> float:
        left = self.until - self._call.steady()
        if left <= 0:
            raise TimeoutError("it took too long")
        return left

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        """One of the addresses found before, and TLS around it if that comes first."""
        del host, port, timeout
        sock = self._connected()
        if self._call.security != "tls":
            return sock
        return self._call.trust.wrap_socket(sock, server_hostname=self._host)

    def _connected(self) -> socket.socket:
        fault: OSError = OSError("it has no address")
        for family, kind, proto, _, address in self._call.addresses[:ADDRESSES]:
            sock = socket.socket(family, kind, proto)
            try:
                sock.settimeout(self.left() / 2)
                sock.connect(address)
                sock.settimeout(self.left())
            except OSError as bad:
                sock.close()
                fault = bad
                continue
            return sock
        raise fault

    def send(self, s: Any) -> None:
        if self.sock is not None:
            self.sock.settimeout(self.left())
        super().send(s)

    def getreply(self) -> tuple[int, bytes]:
        lines: list[bytes] = []
        heard = 0
        while True:
            line = self._line()
            lines.append(line[4:].strip())
            heard += len(line) + 1  # a line that says nothing counts as well
            if heard > REPLY or not line[:3].isdigit():
                self.close()
                raise smtplib.SMTPServerDisconnected("it does not speak SMTP")
            if line[3:4] != b"-":
                return int(line[:3]), b"\n".join(lines)

    def _line(self) -> bytes:
        while b"\n" not in self._rest:
            assert self.sock is not None
            self.sock.settimeout(self.left())
            part = self.sock.recv(4096)
            self._rest += part
            if not part or len(self._rest) > REPLY:
                self.close()
                raise smtplib.SMTPServerDisconnected("it hung up")
        line, _, self._rest = self._rest.partition(b"\n")
        return line

    def secure(self) -> None:
        """TLS from here on; what came before it unasked is not to be trusted."""
        try:
            code, text = self.starttls(context=self._call.trust)
        except smtplib.SMTPResponseException as bad:
            code, text = bad.smtp_code, _bytes(bad.smtp_error)
        if code != 220:
            raise RefusedError("starttls", code, text)
        if self._rest:
            raise RefusedError("starttls", 554, b"more was said than asked, before TLS")


def converse(call: Call, entries: Sequence[Entry]) -> Outcome:
    """Deliver the mail, or raise the verdict."""
    host, line = call.host, Line(call)
    try:
        try:
            return _spoken(line, call)
        finally:
            line.until = min(line.until, call.steady() + QUIT_WITHIN)
            with suppress(OSError, smtplib.SMTPException):
                line.quit()
            line.close()
    except RefusedError as bad:
        raise verdict(bad, host, entries) from None
    except ssl.SSLCertVerificationError as bad:
        why = f"{host}: its certificate is not believed ({clean(bad.verify_message)})"
        raise HeldError(f"{why}; set `ca`, or the name it is made out to") from None
    except ssl.SSLError as bad:
        why = clean(f"{host}: no TLS with it: {said(bad)}")
        raise TransientError(why, counts=False) from None
    except TimeoutError:
        why = f"{host} did not answer in time"
        raise TransientError(why, counts=False, slow=True) from None
    except (OSError, smtplib.SMTPException) as bad:
        why = clean(f"{host}: {said(bad) or type(bad).__name__}")
        raise TransientError(why, counts=line.mailing) from None


def _spoken(line: Line, call: Call) -> Outcome:
    """All the steps, each refusal by its name."""
    code, text = line.connect(call.host, 0)
    _agreed("greeting", code, text)
    _greet(line)
    if call.security == "starttls":
        if not line.has_extn("starttls"):
            raise RefusedError("starttls", 502, b"STARTTLS is not offered")
        line.secure()
        _greet(line)
    if call.user:
        _login(line, call)
    _agreed("sender", *line.mail(call.sender))
    found = _recipients(line, call)
    if not call.mail or len(found.refused) + len(found.put_off) == len(call.to):
        line.rset()
        return found
    line.mailing = True
    try:
        code, text = line.data(call.mail)
    except smtplib.SMTPDataError as bad:
        code, text = bad.smtp_code, _bytes(bad.smtp_error)
    _agreed("mail", code, text)
    told = clean(text.decode("latin-1"), 200)
    return Outcome(code, told, found.refused, found.put_off)


def _agreed(step: str, code: int, text: bytes) -> None:
    if not 200 <= code < 300:
        raise RefusedError(step, code, text)


def _greet(line: Line) -> None:
    code, text = line.ehlo()
    if code >= 500:
        code, text = line.helo()
    _agreed("hello", code, text)


def _login(line: Line, call: Call) -> None:
    try:
        line.login(call.user, call.password)
    except smtplib.SMTPNotSupportedError:
        raise RefusedError("login", 503, b"it takes no password") from None
    except smtplib.SMTPResponseException as bad:
        raise RefusedError("login", bad.smtp_code, _bytes(bad.smtp_error)) from None
    except smtplib.SMTPServerDisconnected:
        raise
    except smtplib.SMTPException:  # as where it takes nothing but OAuth
        why = b"it offers no way to log in with a password"
        raise RefusedError("login", 504, why) from None
    except UnicodeEncodeError:
        raise RefusedError("login", 535, b"user and password must be ASCII") from None
    except ValueError:  # binascii.Error is one
        raise RefusedError("login", 454, b"it asks in no Base64") from None


def _recipients(line: Line, call: Call) -> Outcome:
    """Who is taken; if nobody is, that is the verdict."""
    refused: dict[str, str] = {}
    put_off: dict[str, str] = {}
    last = RefusedError("recipients", 550, b"")
    for one in call.to:
        code, text = line.rcpt(one)
        if 200 <= code < 300:
            continue
        last = RefusedError("recipients", code, text)
        (put_off if code < 500 else refused)[one] = f"{code} {last.text}"
        if code == 421:  # and it has hung up
            raise last
    if len(refused) + len(put_off) == len(call.to) and not call.others:
        if put_off:
            first, _, why = next(iter(put_off.values())).partition(" ")
            raise RefusedError("recipients", int(first), why.encode())
        raise last
    return Outcome(refused=refused, put_off=put_off)


def verdict(
    bad: RefusedError, host: str, entries: Sequence[Entry]
) -> TransientError | RejectedError | HeldError:
    """What a refusal means for the entries, or for us."""
    why = f"{host} said {bad.code} {bad.text}".rstrip()
    answer = f"{bad.code} {bad.text}".encode()
    if bad.code < 500:
        counts = bad.step == "mail" and bad.code not in UNBLAMED
        return TransientError(why, status=bad.code, counts=counts, answer=answer)
    if bad.step != "mail":
        return HeldError(f"{why}: {ADVICE[bad.step]}", status=bad.code, answer=answer)
    return RejectedError(
        {entry.seq: why for entry in entries},
        blameless=bad.code == TOO_BIG,
        status=bad.code,
        answer=answer,
    )


def _bytes(text: bytes | str) -> bytes:
    return text.encode("latin-1", "replace") if isinstance(text, str) else text
