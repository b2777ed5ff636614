"""A mail server: STARTTLS, passwords, and every way it can say no, or nothing at all."""

from __future__ import annotations

import base64
import socket
import ssl
import threading
import time
from contextlib import suppress
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from typing import NamedTuple

import trustme

USER, PASSWORD = "fleetd@example.com", "very-secret-mail-password"


class Got(NamedTuple):
    """One mail that was taken, or taken and not answered."""

    sender: str
    to: tuple[str, ...]
    body: bytes

    @property
    def mail(self) -> EmailMessage:
        found = message_from_bytes(self.body, policy=default)
        assert isinstance(found, EmailMessage)
        return found

    @property
    def text(self) -> str:
        return str(self.mail.get_content()).replace("\r\n", "\n")


class Smtp:
    """Answers as usual but for what `says` has of a verb: one answer a time it comes.

    Verbs are `hello` (the greeting), EHLO, STARTTLS, AUTH, MAIL, RCPT, DATA, `end` (after
    the mail) and, for one recipient, `RCPT <address>`. An answer of "" hangs up; "drip"
    sends a byte now and then, for ever. `secured` is TLS from the start.
    """

    def __init__(
        self, *, secured: bool = False, starttls: bool = True, password: bool = True
    ) -> None:
        self.ca = trustme.CA()
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.ca.issue_cert("127.0.0.1", "localhost").configure_cert(self._context)
        self.secured, self.starttls, self.password = secured, starttls, password
        self.says: dict[str, list[str]] = {}
        self.always: dict[str, str] = {}
        self.got: list[Got] = []
        self.talked: list[str] = []
        self.in_clear: list[str] = []  # what was said without TLS
        self._stop = threading.Event()
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._server.getsockname()[1])
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._stop.set()
        with suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()

    def texts(self) -> list[str]:
        return [one.text for one in self.got]

    def _serve(self) -> None:
        while not self._stop.is_set():
            try:
                peer, _ = self._server.accept()
            except OSError:
                return
            threading.Thread(target=self._talk, args=(peer,), daemon=True).start()

    def _talk(self, peer: socket.socket) -> None:
        with suppress(OSError, ValueError):
            peer.settimeout(30)
            if self.secured:
                peer = self._context.wrap_socket(peer, server_side=True)
            Talk(self, peer, self._context).run()
        with suppress(OSError):
            peer.close()


class HangUpError(OSError):
    """It is over."""


class Talk:
    """One connection."""

    def __init__(
        self, server: Smtp, peer: socket.socket, context: ssl.SSLContext
    ) -> None:
        self._server, self._peer, self._context = server, peer, context
        self._secret = server.secured
        self._known = not server.password
        self._sender, self._to = "", list[str]()
        self._file = peer.makefile("rb")

    def run(self) -> None:
        self._say("hello", "220 mail.example.com ESMTP")
        while line := self._file.readline(4096):
            text = line.decode().strip()
            verb, _, rest = text.partition(" ")
            self._server.talked.append(text)
            if not self._secret:
                self._server.in_clear.append(text)
            if verb.upper() == "QUIT":
                self._send("221 bye")
                return
            getattr(self, f"_{verb.lower()}", self._unknown)(rest)

    def _say(self, verb: str, usual: str) -> str:
        queue = self._server.says.get(verb, [])
        text = queue.pop(0) if queue else self._server.always.get(verb, usual)
        if text == "":
            self._peer.close()
            raise HangUpError
        if text == "drip":
            while not self._server._stop.is_set():
                self._peer.sendall(b"2")
                time.sleep(0.05)
        self._send(text)
        return text

    def _send(self, text: str) -> None:
        self._peer.sendall(text.encode() + b"\r\n")

    def _unknown(self, rest: str) -> None:
        self._send("502 what?")

    def _ehlo(self, rest: str) -> None:
        offers = ["mail.example.com"]
        if self._server.starttls and not self._secret:
            offers.append("STARTTLS")
        if self._secret and self._server.password:
            offers.append("AUTH PLAIN LOGIN")
        lines = [f"250-{one}" for one in offers] + ["250 SIZE 100000"]
        self._say("EHLO", "\r\n".join(lines))

    def _helo(self, rest: str) -> None:
        self._say("EHLO", "250 hello")

    def _starttls(self, rest: str) -> None:
        if self._say("STARTTLS", "220 go").startswith("220"):
            self._peer = self._context.wrap_socket(self._peer, server_side=True)
            self._file = self._peer.makefile("rb")
            self._secret = True

    def _auth(self, rest: str) -> None:
        if not self._secret:
            self._send("538 not without TLS")
            return
        given = base64.b64decode(rest.partition(" ")[2]).split(b"\0")[1:]
        right = given == [USER.encode(), PASSWORD.encode()]
        usual = "235 welcome" if right else "535 5.7.8 not known: " + str(given)
        self._known = self._say("AUTH", usual).startswith("235")

    def _mail(self, rest: str) -> None:
        self._sender, self._to = rest, []
        self._say("MAIL", "250 ok" if self._known else "530 5.7.0 who are you?")

    def _rcpt(self, rest: str) -> None:
        address = rest[rest.index("<") + 1 : rest.index(">")]
        own = f"RCPT {address}"
        special = own in self._server.says or own in self._server.always
        told = self._say(own if special else "RCPT", "250 ok")
        if told.startswith("250"):
            self._to.append(address)

    def _rset(self, rest: str) -> None:
        self._send("250 ok")

    def _data(self, rest: str) -> None:
        if not self._say("DATA", "354 go on").startswith("354"):
            return
        lines = []
        while (line := self._file.readline()) not in {b".\r\n", b""}:
            lines.append(line.removeprefix(b".") if line[:1] == b"." else line)
        queue = self._server.says.get("end") or [self._server.always.get("end", "250")]
        if queue[0] == "" or queue[0].startswith("250") or queue[0] == "drip":
            got = Got(self._sender, tuple(self._to), b"".join(lines))
            self._server.got.append(got)
        self._say("end", "250 2.0.0 taken")
