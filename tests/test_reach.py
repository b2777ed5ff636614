"""The way to a vendor: which proxy, whose certificates, and what a bad road costs."""

from __future__ import annotations

import gzip
import socket
import ssl
import zlib
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial

import httpx
import pytest
import trio
import trio.testing
import trustme
from hypothesis import given
from hypothesis import strategies as st

from fleetd.errors import ConfigError, FleetdError, HeldError, TransientError
from fleetd.masking import MASK
from fleetd.providers.contract import Answer, Ask
from fleetd.reach import Fork, Proxies, Way, trusted
from fleetd.tasks.poll import wire
from fleetd.world import World

CLOUD = httpx.URL("https://api.cloud.example/v1")
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
Talk = Callable[[trio.abc.Stream], Awaitable[None]]


# which proxy


@pytest.mark.parametrize(
    ("environ", "url", "proxy"),
    [
        ({}, "https://api.cloud.example", None),
        ({"HTTPS_PROXY": "http://p:3128"}, "https://api.cloud.example", "http://p:3128"),
        ({"https_proxy": "p:3128"}, "https://api.cloud.example", "http://p:3128"),
        ({"HTTPS_PROXY": "http://p:1", "https_proxy": "http://q:1"}, "https://a.b", "http://q:1"),
        ({"HTTPS_PROXY": "http://p:1"}, "http://api.cloud.example", None),
        ({"HTTP_PROXY": "http://p:1"}, "http://api.cloud.example", "http://p:1"),
        ({"ALL_PROXY": "https://p:1"}, "https://api.cloud.example", "https://p:1"),
        ({"HTTPS_PROXY": ""}, "https://api.cloud.example", None),
        ({"HTTPS_PROXY": "http://p:1"}, "https://127.0.0.1:9100", None),
        ({"HTTPS_PROXY": "http://p:1"}, "https://[::1]:9100", None),
        ({"HTTPS_PROXY": "http://p:1"}, "https://localhost", None),
    ],
)  # fmt: skip
def test_the_environment_says_the_proxy_but_never_to_this_box_itself(
    environ, url, proxy
):
    assert Proxies("", environ).of(httpx.URL(url)) == proxy


@pytest.mark.parametrize(
    ("words", "spared"),
    [
        ("cloud.example", True),
        (".cloud.example", True),
        ("*.cloud.example", True),
        ("CLOUD.example", True),
        ("loud.example", False),
        ("other.example, api.cloud.example", True),
        ("api.cloud.example:443", True),
        ("api.cloud.example:8443", False),
        ("*", True),
        ("", False),
        (",,", False),
        ("10.0.0.0/8", False),
    ],
)
def test_no_proxy_spares_hosts_and_all_below_them(words, spared):
    proxies = Proxies("", {"HTTPS_PROXY": "http://p:1", "NO_PROXY": words})

    assert (proxies.of(CLOUD) is None) == spared


@pytest.mark.parametrize(
    ("words", "host", "spared"),
    [
        ("10.0.0.0/8", "10.3.4.5", True),
        ("10.0.0.0/8", "11.3.4.5", False),
        ("192.0.2.7", "192.0.2.7", True),
        ("fd00::/8", "[fd00::5]", True),
        ("[fd00::5]", "[fd00::5]", True),
    ],
)
def test_no_proxy_spares_addresses_and_networks(words, host, spared):
    proxies = Proxies("", {"HTTPS_PROXY": "http://p:1", "NO_PROXY": words})

    assert (proxies.of(httpx.URL(f"https://{host}/")) is None) == spared


def test_the_sources_own_proxy_goes_before_the_environment():
    environ = {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "*"}

    assert Proxies("http://own:8", environ).of(CLOUD) == "http://own:8"
    assert Proxies("direct", {"HTTPS_PROXY": "http://p:1"}).of(CLOUD) is None


@pytest.mark.parametrize(
    "bad", ["socks5://p:1", "ftp://p", "http://", "http://p:x/", "http://p/a?b"]
)
def test_a_proxy_that_cannot_be_used_is_refused_with_where_it_stands(bad):
    with pytest.raises(ConfigError, match="proxy: it names"):
        Way(proxy=bad).options({})
    with pytest.raises(ConfigError, match=r"proxy: \$HTTPS_PROXY names"):
        Way().options({"HTTPS_PROXY": bad})


def test_the_password_of_a_proxy_of_the_environment_is_masked():
    Proxies("", {"HTTPS_PROXY": "http://me:swordfish-77@p:1"})

    assert "swordfish" not in MASK.mask("Proxy http://me:swordfish-77@p:1 said no")


@given(st.text(max_size=60), st.text(max_size=60))
def test_no_environment_makes_more_of_it_than_a_config_error(proxy, spared):
    try:
        proxies = Proxies("", {"https_proxy": proxy, "no_proxy": spared})
    except ConfigError:
        return
    proxies.of(CLOUD)


# who is believed


def test_a_ca_is_believed_beside_the_system_or_instead_of_it(tmp_path):
    ca = tmp_path / "ca.pem"
    ca.write_bytes(trustme.CA().cert_pem.bytes())
    beside, only = trusted(ca), trusted(ca, only=True)

    assert only.cert_store_stats()["x509_ca"] == 1
    assert (
        beside.cert_store_stats()["x509_ca"]
        == trusted().cert_store_stats()["x509_ca"] + 1
    )
    assert only.verify_mode == beside.verify_mode == ssl.CERT_REQUIRED
    assert only.check_hostname
    assert beside.check_hostname


def test_a_ca_file_is_read_again_each_time(tmp_path):
    ca = tmp_path / "ca.pem"
    ca.write_bytes(trustme.CA().cert_pem.bytes())
    trusted(ca, only=True)
    ca.write_bytes(trustme.CA().cert_pem.bytes() + trustme.CA().cert_pem.bytes())

    assert trusted(ca, only=True).cert_store_stats()["x509_ca"] == 2


@pytest.mark.parametrize(
    ("text", "why"), [(None, "No such file"), ("none", "no certificates in it")]
)
def test_a_ca_that_is_none_says_why(tmp_path, text, why):
    ca = tmp_path / "ca.pem"
    if text is not None:
        ca.write_text(text)

    with pytest.raises(ConfigError, match=why):
        Way(ca=ca).options({})


# the road itself


@asynccontextmanager
async def far(talk: Talk, tls: ssl.SSLContext | None = None):
    """A far side of one's own on a port of this box."""
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]

    async def one(stream: trio.SocketStream) -> None:
        whole = stream if tls is None else trio.SSLStream(stream, tls, server_side=True)
        try:
            await talk(whole)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        finally:
            await trio.aclose_forcefully(whole)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, one, listeners)
        yield port
        nursery.cancel_scope.cancel()


async def head_of(stream: trio.abc.Stream) -> bytes:
    head = b""
    while b"\r\n\r\n" not in head:
        part = await stream.receive_some(65536)
        if not part:
            return head
        head += part
    return head


async def asked(
    base: str, way: Way | None = None, environ=None, ask: Ask | None = None, times=1
) -> Answer:
    way = way or Way(timeout=5)
    async with World().client(**way.options(environ or {})) as http:
        for _ in range(times):
            found = await wire.exchange(
                http, base, ask or Ask("/v1/things"), {}, way.patience
            )
    return found


async def answers(body: bytes, stream: trio.abc.Stream) -> None:
    while await head_of(stream):
        await stream.send_all(body)


class Tunnel:
    """A proxy that knows CONNECT; it remembers what it was asked for."""

    def __init__(self, port: int, refuses: bytes = b"") -> None:
        self.port, self.refuses = port, refuses
        self.heads: list[bytes] = []

    async def talk(self, stream: trio.abc.Stream) -> None:
        head = await head_of(stream)
        self.heads.append(head)
        if self.refuses:
            await stream.send_all(
                b"HTTP/1.1 " + self.refuses + b"\r\nContent-Length: 0\r\n\r\n"
            )
            return
        if not head.startswith(b"CONNECT "):
            await stream.send_all(OK)
            return
        async with await trio.open_tcp_stream("127.0.0.1", self.port) as other:
            await stream.send_all(b"HTTP/1.1 200 Connection established\r\n\r\n")
            async with trio.open_nursery() as both:
                both.start_soon(self._pass, stream, other, both.cancel_scope)
                both.start_soon(self._pass, other, stream, both.cancel_scope)

    @staticmethod
    async def _pass(
        one: trio.abc.Stream, other: trio.abc.Stream, scope: trio.CancelScope
    ) -> None:
        async for part in one:
            await other.send_all(part)
        scope.cancel()


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def certified(authority, tmp_path) -> tuple[ssl.SSLContext, Way]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost", "cloud.example").configure_cert(context)
    ca = tmp_path / "ca.pem"
    ca.write_bytes(authority.cert_pem.bytes())
    return context, Way(timeout=5, ca=ca)


async def test_a_certificate_of_an_own_authority_is_believed_with_ca_and_not_without(
    certified,
):
    context, way = certified
    async with far(partial(answers, OK), context) as port:
        base = f"https://localhost:{port}"
        found = await asked(base, way)
        with pytest.raises(TransientError, match="its certificate is not believed"):
            await asked(base)

    assert found.status == 200


async def test_a_certificate_for_another_name_is_not_believed(certified):
    context, way = certified
    async with far(partial(answers, OK), context) as port:
        with pytest.raises(TransientError, match="not believed"):
            await asked(f"https://127.0.0.1:{port}", way)


async def test_a_cloud_is_reached_through_the_proxy_of_the_environment(certified):
    context, way = certified
    async with far(partial(answers, OK), context) as port:
        tunnel = Tunnel(port)
        async with far(tunnel.talk) as proxy:
            environ = {"HTTPS_PROXY": f"http://me:hush-hush-1@127.0.0.1:{proxy}"}
            found = await asked("https://cloud.example", way, environ, times=3)

    assert found.status == 200
    assert len(tunnel.heads) == 1  # one tunnel, kept
    assert tunnel.heads[0].startswith(b"CONNECT cloud.example:443 ")
    assert b"Proxy-Authorization: Basic bWU6aHVzaC1odXNoLTE=" in tunnel.heads[0]
    assert b"hush" not in tunnel.heads[0]


async def test_what_no_proxy_names_is_reached_straight(certified):
    context, way = certified
    async with far(partial(answers, OK), context) as port:
        tunnel = Tunnel(port, refuses=b"403 Forbidden")
        async with far(tunnel.talk) as proxy:
            environ = {
                "HTTPS_PROXY": f"http://127.0.0.1:{proxy}",
                "NO_PROXY": "localhost",
            }
            found = await asked(f"https://localhost:{port}", way, environ)

    assert found.status == 200
    assert tunnel.heads == []


async def test_plain_http_goes_through_the_proxy_as_a_whole_address():
    tunnel = Tunnel(0)
    async with far(tunnel.talk) as proxy:
        way = Way(timeout=5, proxy=f"http://127.0.0.1:{proxy}")
        found = await asked("http://cloud.example", way)

    assert found.status == 200
    assert tunnel.heads[0].startswith(b"GET http://cloud.example/v1/things ")


async def test_a_proxy_may_speak_tls_itself(certified):
    context, way = certified
    async with far(partial(answers, OK), context) as port:
        tunnel = Tunnel(port)
        async with far(tunnel.talk, context) as proxy:
            environ = {"HTTPS_PROXY": f"https://localhost:{proxy}"}
            found = await asked("https://cloud.example", way, environ)

    assert found.status == 200
    assert tunnel.heads[0].startswith(b"CONNECT cloud.example:443 ")


async def test_a_proxy_that_refuses_is_named_as_what_refuses():
    tunnel = Tunnel(0, refuses=b"407 Proxy Authentication Required")
    async with far(tunnel.talk) as proxy:
        environ = {"HTTPS_PROXY": f"http://127.0.0.1:{proxy}"}
        with pytest.raises(TransientError, match="the proxy answered 407 Proxy Auth"):
            await asked("https://cloud.example", environ=environ)


async def test_a_proxy_that_is_not_there_is_told():
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        environ = {"HTTPS_PROXY": f"http://127.0.0.1:{held.getsockname()[1]}"}
        with pytest.raises(TransientError, match="cannot connect"):
            await asked("https://cloud.example", environ=environ)


# what a far side may do to us


async def test_nobody_who_listens_is_a_sentence_with_the_host():
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        base = f"http://127.0.0.1:{held.getsockname()[1]}"
        with pytest.raises(
            TransientError, match=r"127\.0\.0\.1: cannot connect: Connection refused"
        ):
            await asked(base)


async def test_a_far_side_that_speaks_no_tls_is_said_not_to():
    async def plain(stream: trio.abc.Stream) -> None:
        await stream.receive_some()
        await stream.send_all(OK)

    async with far(plain) as port:
        with pytest.raises(
            TransientError, match="localhost: cannot connect: TLS fails"
        ):
            await asked(f"https://localhost:{port}")


async def test_a_name_nobody_knows_is_said_to_be_one():
    with pytest.raises(TransientError, match=r"no-such-name\.invalid: .* \(DNS\)"):
        await asked("http://no-such-name.invalid")


async def test_a_connection_that_never_stands_is_given_up_by_connect_timeout():
    with socket.socket() as full, socket.socket() as one, socket.socket() as two:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for waiting in (one, two):  # the queue is full: no further hand is shaken
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        base = f"http://127.0.0.1:{full.getsockname()[1]}"
        with pytest.raises(
            TransientError, match="no connection within connect_timeout"
        ):
            await asked(base, Way(timeout=500, connect_timeout=0.2))


async def test_an_answer_that_never_begins_is_given_up_by_timeout():
    async def silent(stream: trio.abc.Stream) -> None:
        await head_of(stream)
        await trio.sleep_forever()

    async with far(silent) as port:
        with pytest.raises(TransientError, match="no answer within timeout"):
            await asked(
                f"http://127.0.0.1:{port}", Way(timeout=0.2, connect_timeout=0.2)
            )


async def test_an_answer_that_trickles_for_ever_is_given_up_as_a_whole():
    async def trickle(stream: trio.abc.Stream) -> None:
        await head_of(stream)
        await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        while True:
            await stream.send_all(b" ")
            await trio.sleep(0.02)

    async with far(trickle) as port:
        with pytest.raises(TransientError, match="no whole answer in"):
            await asked(
                f"http://127.0.0.1:{port}", Way(timeout=0.2, connect_timeout=0.2)
            )


async def test_announcements_without_end_are_given_up_as_a_whole():
    async def early(stream: trio.abc.Stream) -> None:
        await head_of(stream)
        while True:
            await stream.send_all(b"HTTP/1.1 103 Early Hints\r\n\r\n")
            await trio.sleep(0.01)

    async with far(early) as port:
        with pytest.raises(TransientError, match="no whole answer in"):
            await asked(
                f"http://127.0.0.1:{port}", Way(timeout=0.2, connect_timeout=0.2)
            )


def with_length(body: bytes, *lines: bytes) -> bytes:
    head = [b"HTTP/1.1 200 OK", *lines, b"Content-Length: %d" % len(body)]
    return b"\r\n".join(head) + b"\r\n\r\n" + body


BROKEN = {
    "nothing": b"",
    "half a head": b"HTTP/1.1 200 OK\r\nContent-Le",
    "half a body": b"HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\n{}",
    "half a chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n{}",
    "no last chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n",
    "bytes": bytes(range(256)),
    "a huge head": b"HTTP/1.1 200 OK\r\nX: " + b"y" * 300_000 + b"\r\n\r\n",
    "endless lines": b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 60_000 + b"\r\n",
    "half a gzip": b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 12\r\n\r\n" + gzip.compress(b"{}" * 99)[:12],
    "five bytes of gzip": with_length(gzip.compress(b"{}")[:5], b"Content-Encoding: gzip"),
    "a second half gzip": with_length(gzip.compress(b"{}") + gzip.compress(b"{}" * 9)[:-3], b"Content-Encoding: gzip"),
    "no gzip": b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}",
    "brotli": b"HTTP/1.1 200 OK\r\nContent-Encoding: br\r\nContent-Length: 2\r\n\r\n{}",
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
async def test_half_an_answer_is_asked_for_again_and_never_read(name):
    async def half(stream: trio.abc.Stream) -> None:
        await head_of(stream)
        await stream.send_all(BROKEN[name])

    async with far(half) as port:
        with pytest.raises(TransientError):
            await asked(f"http://127.0.0.1:{port}")


async def test_a_reset_is_asked_for_again():
    async def reset(stream: trio.abc.Stream) -> None:
        await head_of(stream)
        linger = b"\x01\x00\x00\x00\x00\x00\x00\x00"
        stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        await stream.aclose()

    async with far(reset) as port:
        with pytest.raises(TransientError):
            await asked(f"http://127.0.0.1:{port}")


async def test_gzip_is_asked_for_and_inflated_also_in_several_members():
    told = []
    packed = gzip.compress(b'{"a":') + gzip.compress(b"1}")

    async def zipped(stream: trio.abc.Stream) -> None:
        told.append(await head_of(stream))
        await stream.send_all(with_length(packed, b"Content-Encoding: gzip"))

    async with far(zipped) as port:
        found = await asked(f"http://127.0.0.1:{port}")

    assert found.body == b'{"a":1}'
    assert b"accept-encoding: gzip\r\n" in told[0].lower()
    assert b"user-agent: fleetd/" in told[0].lower()


async def test_a_little_that_inflates_to_very_much_is_refused():
    machine = zlib.compressobj(9, wbits=31)
    packed = (
        b"".join(machine.compress(bytes(1 << 20)) for _ in range(80)) + machine.flush()
    )
    async with far(
        partial(answers, with_length(packed, b"Content-Encoding: gzip"))
    ) as port:
        with pytest.raises(HeldError, match="more than 64 MiB"):
            await asked(f"http://127.0.0.1:{port}", Way(timeout=30))


async def test_redirects_are_answers_and_cookies_are_nobodys():
    heads = []

    async def elsewhere(stream: trio.abc.Stream) -> None:
        while head := await head_of(stream):
            heads.append(head)
            await stream.send_all(
                b"HTTP/1.1 302 Found\r\nLocation: /login\r\nSet-Cookie: sid=1; Path=/\r\nContent-Length: 0\r\n\r\n"
            )

    async with far(elsewhere) as port:
        found = await asked(f"http://127.0.0.1:{port}", times=2)

    assert found.status == 302
    assert len(heads) == 2
    assert b"cookie" not in heads[1].lower()


async def test_connections_are_kept_between_questions():
    count = 0

    async def counting(stream: trio.abc.Stream) -> None:
        nonlocal count
        count += 1
        await answers(OK, stream)

    async with far(counting) as port:
        await asked(f"http://127.0.0.1:{port}", times=5)

    assert count == 1


async def test_a_kept_connection_that_was_hung_up_meanwhile_costs_no_answer():
    async def once(stream: trio.abc.Stream) -> None:
        await head_of(stream)
        await stream.send_all(OK)

    async with far(once) as port, World().client(**Way().options({})) as http:
        for _ in range(3):
            found = await wire.exchange(
                http, f"http://127.0.0.1:{port}", Ask("/"), {}, 5
            )
            await trio.testing.wait_all_tasks_blocked(0.05)

    assert found.status == 200


@given(st.binary(max_size=400))
def test_no_bytes_make_more_of_an_answer_than_a_verdict(body):
    async def main() -> None:
        async def say(stream: trio.abc.Stream) -> None:
            await head_of(stream)
            await stream.send_all(b"HTTP/1.1 200 OK\r\n" + body)

        async with far(say) as port:
            with suppress(FleetdError):
                await asked(f"http://127.0.0.1:{port}")

    trio.run(main)


async def test_the_fork_closes_every_road_it_opened(certified):
    _context, way = certified
    options = way.options({})
    fork = options["transport"]
    assert isinstance(fork, Fork)
    async with far(partial(answers, OK)) as port, World().client(**options) as http:
        await http.get(f"http://127.0.0.1:{port}")
        (road,) = fork._roads.values()
        assert len(road._pool.connections) == 1

    assert road._pool.connections == []


@pytest.mark.parametrize(
    ("base", "path", "token"),
    [
        ("http://127.0.0.1:9", "/v1/\x00", "t"),
        ("http://127.0.0.1:9", "/v1", "t\u00f6ken"),
        ("http://" + "a" * 80 + ".example", "/v1", "t"),
        ("http://[::1", "/v1", "t"),
        ("http://127.0.0.1:9", "/v1", "to\nken"),
        ("gopher://127.0.0.1:9", "/v1", "t"),
    ],
)
async def test_what_cannot_be_asked_is_a_verdict_and_no_crash(base, path, token):
    async with World().client(**Way(timeout=1).options({})) as http:
        with pytest.raises((HeldError, TransientError)) as caught:
            await wire.exchange(http, base, Ask(path), {"Authorization": token}, 5)

    assert "t\u00f6ken" not in str(caught.value)


async def test_whoever_has_no_way_of_his_own_goes_as_environment_and_system_say():
    tunnel = Tunnel(0)
    async with far(tunnel.talk) as proxy:
        world = World(environ={"HTTP_PROXY": f"http://127.0.0.1:{proxy}"})
        async with world.client(timeout=5) as http:
            found = await http.get("http://hub.example/in")

    assert found.status_code == 200
    assert tunnel.heads[0].startswith(b"GET http://hub.example/in ")
