"""Where a door listens: TCP, unix sockets, systemd's, and TLS whose certificate is renewed."""

from __future__ import annotations

import os
import socket
import ssl
import stat
import subprocess
import sys

import pytest
import trio
import trio.testing
import trustme

from fleetd import config
from fleetd.__main__ import told
from fleetd.app import Sockets
from fleetd.errors import ConfigError, NotYetError
from fleetd.web import TLS, Door, Limits, open_listeners, serve_stream
from tests.test_web_load import server
from tests.web_client import (
    ENOUGH,
    Memory,
    answers_in,
    everything,
    exchange,
    listening,
    one_answer,
)

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
LAST = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


async def closed(listeners):
    for listener in listeners:
        await listener.aclose()


# TCP.


@pytest.mark.parametrize("bind", ["127.0.0.1:0", "localhost:0", "[::1]:0"])
async def test_it_listens_at_a_host_and_port(bind):
    listeners = await open_listeners([bind])
    port = listeners[0].socket.getsockname()[1]
    await closed(listeners)

    assert port > 0


@pytest.mark.parametrize(
    "bind",
    ["8780", ":8780", "host:", "host:http", "host:65536", "::1:8780", "[host]:1", "[]:1",
     "host:-1", "host:+1", "", "127.0.0.1:1:2"],
)  # fmt: skip
async def test_what_is_not_a_place_is_refused_by_name(bind):
    with pytest.raises(ConfigError, match=r"is not host:port") as caught:
        await open_listeners([bind])

    assert repr(bind) in str(caught.value)


async def test_a_taken_port_is_a_config_error_and_opens_none_of_the_others(tmp_path):
    (taken,) = await open_listeners(["127.0.0.1:0"])
    bind = f"127.0.0.1:{taken.socket.getsockname()[1]}"
    path = tmp_path / "first.sock"

    with pytest.raises(ConfigError, match="in use; end what listens there"):
        await open_listeners([f"unix:{path}", bind])

    with pytest.raises(OSError, match="refused"):
        await trio.open_unix_socket(path)
    await taken.aclose()


@pytest.mark.parametrize("host", ["a..b", "x" * 70 + ".example", "a\0b"])
async def test_a_name_that_nobody_can_look_up_is_a_config_error(host):
    with pytest.raises(ConfigError, match="cannot listen at"):
        await open_listeners([f"{host}:80"])


async def test_a_place_that_cannot_be_had_is_told_with_its_line(tmp_path):
    (taken,) = await open_listeners(["127.0.0.1:0"])
    bind = f"127.0.0.1:{taken.socket.getsockname()[1]}"
    text = f'[daemon]\ndata = "d"\n[webhooks]\nbind = ["{bind}"]\n'
    house = config.parse(text, tmp_path / "fleetd.toml")

    with pytest.raises(ConfigError, match=r"fleetd\.toml:4: webhooks\.bind: cannot"):
        await Sockets({}).need(house)

    await taken.aclose()


async def test_an_address_that_is_not_there_yet_is_no_config_that_ends_it_for_good(
    tmp_path, capsys
):
    text = '[daemon]\ndata = "d"\n[webhooks]\nbind = ["192.0.2.77:8780"]\n'
    house = config.parse(text, tmp_path / "fleetd.toml")

    with pytest.raises(NotYetError, match=r":4: webhooks\.bind: cannot") as caught:
        await Sockets({}).need(house)
    assert told([caught.value]) == 1
    assert "192.0.2.77" in capsys.readouterr().err


# Unix sockets.


async def test_a_unix_socket_has_the_mode_asked_for_and_says_its_peer_is_unix(tmp_path):
    path, memory = tmp_path / "control.sock", Memory()
    old = os.umask(0o077)
    try:
        listeners = await open_listeners([f"unix:{path}"], mode=0o660)
    finally:
        os.umask(old)
    async with trio.open_nursery() as nursery:
        await nursery.start(Door(memory).serve, listeners)
        async with await trio.open_unix_socket(path) as stream:
            await stream.send_all(LAST)
            (answer,) = answers_in(await everything(stream))
        nursery.cancel_scope.cancel()

    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    assert answer.status == 200
    assert memory.asked[0].peer == "unix"


async def test_a_stale_socket_is_replaced_and_a_live_one_is_not(tmp_path):
    path = tmp_path / "control.sock"
    bind = [f"unix:{path}"]
    await closed(await open_listeners(bind))
    assert path.is_socket()

    alive = await open_listeners(bind)
    with pytest.raises(ConfigError, match="another process listens"):
        await open_listeners(bind)
    async with await trio.open_unix_socket(path):
        await closed(alive)


async def test_a_file_in_the_way_of_a_socket_is_left_alone(tmp_path):
    path = tmp_path / "control.sock"
    path.write_text("precious")

    with pytest.raises(ConfigError, match="another kind of file"):
        await open_listeners([f"unix:{path}"])

    assert path.read_text() == "precious"


async def test_a_path_too_long_for_a_socket_or_without_its_folder_is_told(tmp_path):
    with pytest.raises(ConfigError, match="107 bytes"):
        await open_listeners([f"unix:{tmp_path}/{'x' * 120}"])
    with pytest.raises(ConfigError, match="No such file"):
        await open_listeners([f"unix:{tmp_path}/missing/a.sock"])


# systemd.


async def test_sockets_passed_by_systemd_under_our_name_are_served():
    with (
        socket.create_server(("127.0.0.1", 0)) as other,
        socket.create_server(("127.0.0.1", 0)) as ours,
    ):
        environ = os.environ | {
            "LISTEN_FDS": "2",
            "LISTEN_FDNAMES": "status:webhooks",
            "OTHER": str(other.fileno()),
            "OURS": str(ours.fileno()),
        }
        start = (
            "import os, sys; other, ours = int(os.environ['OTHER']), int(os.environ['OURS']);"
            "a, b = os.dup(other), os.dup(ours); os.dup2(a, 3); os.dup2(b, 4);"
            'sys.argv = sys.argv[:1] + [\'{"binds": ["systemd"]}\'];'
            "import runpy; runpy.run_module('tests.web_server', run_name='__main__')"
        )
        process = subprocess.Popen(  # noqa: ASYNC220
            [sys.executable, "-c", start],
            env=environ,
            pass_fds=[other.fileno(), ours.fileno()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        port = ours.getsockname()[1]
    try:
        assert int(await trio.to_thread.run_sync(process.stdout.readline)) == port
        (answer,) = await exchange(port, LAST)
    finally:
        process.stdin.close()
        process.stdout.close()
        await trio.to_thread.run_sync(process.wait)

    assert answer.status == 200


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"LISTEN_PID": "1", "LISTEN_FDS": "1", "LISTEN_FDNAMES": "webhooks"},
        {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1", "LISTEN_FDNAMES": "status"},
        {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"},
        {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "many"},
    ],
)
async def test_without_a_socket_of_our_name_systemd_is_refused(environ):
    with pytest.raises(ConfigError, match="FileDescriptorName=webhooks"):
        await open_listeners(["systemd"], environ=environ)


# TLS.


class Authority:
    """Writes certificates for localhost, and tells which one a server shows."""

    def __init__(self, folder):
        self.cert, self.key = folder / "cert.pem", folder / "key.pem"
        self._ca = trustme.CA()
        self.context = ssl.create_default_context()
        self._ca.configure_trust(self.context)
        self.renew()

    def renew(self) -> int:
        issued = self._ca.issue_cert("localhost")
        issued.private_key_pem.write_to_path(self.key)
        issued.cert_chain_pems[0].write_to_path(self.cert)
        return ssl._ssl._test_decode_cert(str(self.cert))["serialNumber"]

    async def connect(self, port):
        stream = await trio.open_ssl_over_tcp_stream(
            "localhost", port, ssl_context=self.context, https_compatible=True
        )
        await stream.do_handshake()
        return stream


def serial(stream):
    return stream.getpeercert()["serialNumber"]


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path)


async def test_a_request_over_tls_is_answered(authority):
    memory, tls = Memory(), TLS(authority.cert, authority.key)
    async with listening(memory, tls=tls) as (_, port):
        stream = await authority.connect(port)
        version = stream.version()
        await stream.send_all(GET + LAST)
        answers = answers_in(await everything(stream))
        await trio.aclose_forcefully(stream)

    assert [answer.status for answer in answers] == [200, 200]
    assert memory.asked[0].peer == "127.0.0.1"
    assert version in ("TLSv1.2", "TLSv1.3")


async def test_a_renewed_certificate_is_shown_to_the_next_and_disturbs_no_one(
    authority,
):
    tls = TLS(authority.cert, authority.key)
    async with listening(Memory(), tls=tls) as (_, port):
        before = await authority.connect(port)
        renewed = authority.renew()
        tls.reload()
        after = await authority.connect(port)
        await before.send_all(GET)
        answer = await one_answer(before)
        for stream in (before, after):
            await trio.aclose_forcefully(stream)

    assert serial(after) == renewed
    assert serial(before) != renewed
    assert answer.status == 200


@pytest.mark.parametrize("spoilt", ["cert", "key", "pair", "missing", "encrypted"])
async def test_a_pair_that_cannot_be_used_leaves_the_old_one_in_force(
    authority, spoilt
):
    tls = TLS(authority.cert, authority.key)
    async with listening(Memory(), tls=tls) as (_, port):
        before = await authority.connect(port)
        spoil(authority, spoilt)
        with pytest.raises(ConfigError, match=r"cert\.pem"):
            tls.reload()
        after = await authority.connect(port)
        for stream in (before, after):
            await trio.aclose_forcefully(stream)

    assert serial(before) == serial(after)


def spoil(authority, how):
    if how == "cert":
        authority.cert.write_text("not a certificate")
    elif how == "key":
        authority.key.write_text("")
    elif how == "missing":
        authority.key.unlink()
    elif how == "pair":
        old = authority.key.read_bytes()
        authority.renew()
        authority.key.write_bytes(old)
    else:
        encrypt(authority.key)


def encrypt(path):
    from cryptography.hazmat.primitives import serialization as form

    key = form.load_pem_private_key(path.read_bytes(), None)
    locked = form.BestAvailableEncryption(b"passphrase")
    path.write_bytes(
        key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, locked)
    )


async def test_a_pair_that_cannot_be_used_at_first_is_a_config_error(tmp_path):
    with pytest.raises(ConfigError, match="No such file"):
        TLS(tmp_path / "cert.pem", tmp_path / "key.pem")


async def test_a_peer_that_fails_the_handshake_disturbs_no_other(authority):
    tls = TLS(authority.cert, authority.key)
    async with listening(Memory(), tls=tls) as (_, port):
        for nonsense in (GET, b"\x16\x03\x01\xff\xff", bytes(1000), b""):
            stream = await trio.open_tcp_stream("127.0.0.1", port)
            await stream.send_all(nonsense)
            await stream.aclose()
        doubtful = await trio.open_ssl_over_tcp_stream("localhost", port)
        with pytest.raises(trio.BrokenResourceError):
            await doubtful.do_handshake()
        await trio.aclose_forcefully(doubtful)
        stream = await authority.connect(port)
        await stream.send_all(LAST)
        (answer,) = answers_in(await everything(stream))
        await trio.aclose_forcefully(stream)

    assert answer.status == 200


async def test_a_handshake_that_never_comes_is_ended(authority, autojump_clock):
    tls = TLS(authority.cert, authority.key)
    ours, theirs = trio.testing.memory_stream_pair()
    dressed = trio.SSLStream(
        theirs, tls.context, server_side=True, https_compatible=True
    )
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(
                serve_stream, dressed, Door(Memory(), Limits(head_within=10))
            )
            assert await everything(ours) == b""

    assert 10 <= trio.current_time() <= 14


async def test_an_idle_peer_over_tls_is_hung_up_on_at_the_end(authority):
    tls = TLS(authority.cert, authority.key)
    async with listening(Memory(), tls=tls) as (door, port):
        stream = await authority.connect(port)
        await stream.send_all(GET)
        await one_answer(stream)
        await door.close()
        with trio.fail_after(ENOUGH):
            assert await everything(stream) == b""
        await trio.aclose_forcefully(stream)

    assert door.connections == 0


async def test_the_server_of_the_load_tests_serves():
    async with server() as one:
        (answer,) = await exchange(one.port, LAST)

    assert answer.status == 200
