"""The places a door listens at: TCP with or without TLS, unix sockets, systemd's."""

from __future__ import annotations

import errno
import os
import re
import socket
import ssl
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import trio

from fleetd.errors import ConfigError, NotYetError

Listener = trio.abc.Listener[trio.abc.Stream]
FIRST_PASSED: Final = 3
BACKLOG: Final = 1024
LONGEST_SOCKET_PATH: Final = 107
NOT_YET: Final = (errno.EADDRNOTAVAIL, socket.EAI_AGAIN)
NUMBER: Final = re.compile(r"[0-9]{1,5}")


class TLS:
    """A certificate and its key, read again on `reload` without closing anything.

    Each handshake takes the context of its moment; a pair that cannot be used leaves
    the one before in force.
    """

    def __init__(self, cert: str | Path, key: str | Path) -> None:
        self._cert, self._key = Path(cert), Path(key)
        self.context = self._load()

    def reload(self) -> None:
        self.context = self._load()

    def _load(self) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        try:
            context.load_cert_chain(self._cert, self._key, password=lambda: "")
        except (OSError, ValueError) as bad:  # ssl.SSLError is an OSError
            why = (
                getattr(bad, "strerror", "")
                or "not a certificate and its unencrypted key"
            )
            raise ConfigError(
                f"cannot use certificate {self._cert} with key {self._key}: {why}"
            ) from bad
        return context


class TLSListener(trio.abc.Listener[trio.abc.Stream]):
    """Wraps what another listener accepts, in the TLS context of that moment."""

    def __init__(self, inner: Listener, tls: TLS) -> None:
        self.inner, self._tls = inner, tls

    async def accept(self) -> trio.abc.Stream:
        stream = await self.inner.accept()
        return trio.SSLStream(
            stream, self._tls.context, server_side=True, https_compatible=True
        )

    async def aclose(self) -> None:
        await self.inner.aclose()


async def open_listeners(
    binds: Sequence[str],
    *,
    name: str = "webhooks",
    tls: TLS | None = None,
    mode: int = 0o660,
    environ: Mapping[str, str] = os.environ,
) -> list[Listener]:
    """Listen at all of `binds`, or at none.

    They are host:port, [v6]:port, unix:/path or systemd. `name` is what systemd calls
    the descriptors meant for this door; `mode` is of unix sockets, which never speak
    TLS.
    """
    opened: list[Listener] = []
    try:
        for bind in binds:
            fresh = await _open(bind, name, mode, environ)
            opened += [_dressed(one, tls) for one in fresh]
    except BaseException:
        for one in opened:
            await trio.aclose_forcefully(one)
        raise
    return opened


def _dressed(listener: trio.SocketListener, tls: TLS | None) -> Listener:
    if tls is None or listener.socket.family == socket.AF_UNIX:
        return listener
    return TLSListener(listener, tls)


async def _open(
    bind: str, name: str, mode: int, environ: Mapping[str, str]
) -> list[trio.SocketListener]:
    try:
        if bind == "systemd":
            return _passed(name, environ)
        if bind.startswith("unix:"):
            return [await _unix(Path(bind.removeprefix("unix:")), mode)]
        host, port = _split(bind)
        return await trio.open_tcp_listeners(port, host=host, backlog=BACKLOG)
    except (OSError, ValueError) as fault:  # the latter: no name for DNS
        why = getattr(fault, "strerror", "") or str(fault)
        if getattr(fault, "errno", None) == errno.EADDRINUSE:
            why += "; end what listens there (ss -ltnp), or take another port"
        kind = NotYetError if getattr(fault, "errno", 0) in NOT_YET else ConfigError
        raise kind(f"cannot listen at {bind!r}: {why}") from fault


def _split(bind: str) -> tuple[str, int]:
    host, colon, port = bind.rpartition(":")
    bare = host.removeprefix("[").removesuffix("]")
    bracketed = host.startswith("[") and host.endswith("]")
    if not colon or not bare or bracketed != (":" in bare) or not _is_port(port):
        raise ConfigError(
            f"{bind!r} is not host:port, [v6]:port, unix:/path or systemd"
        )
    return bare, int(port)


def _is_port(text: str) -> bool:
    return NUMBER.fullmatch(text) is not None and int(text) < 1 << 16


async def _unix(path: Path, mode: int) -> trio.SocketListener:
    if len(os.fsencode(path)) > LONGEST_SOCKET_PATH:
        raise ConfigError(
            f"unix:{path} is over {LONGEST_SOCKET_PATH} bytes, too long for a socket"
        )
    _clear(path)
    sock = trio.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        os.fchmod(sock.fileno(), mode)  # so that it is never wider, not for a moment
        await sock.bind(str(path))
        os.chmod(path, mode)  # noqa: PTH101
        sock.listen(BACKLOG)
    except BaseException:
        sock.close()
        raise
    return trio.SocketListener(sock)


def _clear(path: Path) -> None:
    """Remove the socket a dead process left; refuse one that is alive, or a file."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise ConfigError(
            f"{path} is in the way of a socket: it is another kind of file"
        )
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
        except FileNotFoundError:
            return
        except BlockingIOError:
            pass  # its queue is full: somebody lives there
    raise ConfigError(f"another process listens at {path}")


def _passed(name: str, environ: Mapping[str, str]) -> list[trio.SocketListener]:
    """The sockets systemd passed under this name."""
    mine = environ.get("LISTEN_PID") == str(os.getpid())
    told = environ.get("LISTEN_FDS", "") if mine else ""
    count = int(told) if NUMBER.fullmatch(told) else 0
    names = environ.get("LISTEN_FDNAMES", "").split(":")
    found = [
        FIRST_PASSED + place
        for place in range(count)
        if place < len(names) and names[place] == name
    ]
    if not found:
        raise ConfigError(
            f"systemd passed no socket named {name!r}: FileDescriptorName={name} in the"
            " .socket unit, and Sockets= in the service"
        )
    return [_adopted(descriptor) for descriptor in found]


def _adopted(descriptor: int) -> trio.SocketListener:
    os.set_inheritable(descriptor, False)
    taken = socket.socket(fileno=descriptor)
    taken.setblocking(False)
    return trio.SocketListener(trio.socket.from_stdlib_socket(taken))


def twins(listeners: Sequence[Listener], tls: TLS | None = None) -> list[Listener]:
    """The same places once more, to be served and closed while the first stay open.

    So a reload leaves no moment in which nobody listens. `tls` dresses the TCP ones.
    """
    again: list[Listener] = []
    for one in listeners:
        assert isinstance(one, trio.SocketListener)
        copy = socket.socket(fileno=os.dup(one.socket.fileno()))
        copy.setblocking(False)
        twin = trio.SocketListener(trio.socket.from_stdlib_socket(copy))
        again.append(_dressed(twin, tls))
    return again
