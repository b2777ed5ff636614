"""The way to a vendor: proxies, certificates believed, time-outs, kept connections."""

from __future__ import annotations

import ipaddress
import os
import re
import socket
import ssl
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache, partial
from http.cookiejar import CookieJar, DefaultCookiePolicy
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx
from msgspec import Struct

from fleetd import __version__
from fleetd.errors import ConfigError, said
from fleetd.masking import MASK

DIRECT = "direct"
PROXY = re.compile(r"https?://[^\s/?#]+/?")
LONGEST = 200  # of what a fault says
TAKES = "fleetd goes by http://host:port, https://host:port or direct"
PORTS = {"http": 80, "https": 443}
POOL = httpx.Limits(
    max_connections=64,  # more than are ever under way: nobody waits for a connection
    max_keepalive_connections=32,
    keepalive_expiry=55.0,  # just under the minute after which most far sides hang up
)
WORDS: dict[type[httpx.HTTPError], str] = {
    httpx.ConnectTimeout: "no connection within connect_timeout",
    httpx.ReadTimeout: "connected, and then no answer within timeout",
    httpx.WriteTimeout: "connected, and takes nothing within timeout",
    httpx.ReadError: "the connection broke before the answer was whole",
}
HEADERS = {"User-Agent": f"fleetd/{__version__}", "Accept-Encoding": "gzip"}


class Way(Struct, frozen=True):
    """How one source's vendor is reached.

    `proxy` is an address, `direct`, or empty: then the environment decides. `ca` is a
    file of certificates believed beside the system's, or `ca_only` instead of them.
    `max_page` is how many bytes an answer may have.
    """

    timeout: float = 30.0
    connect_timeout: float = 10.0
    proxy: str = ""
    ca: Path | None = None
    ca_only: bool = False
    max_page: int = 64 << 20

    @property
    def patience(self) -> float:
        """What a whole exchange may take, however it trickles."""
        return self.connect_timeout + 4 * self.timeout

    def options(self, environ: Mapping[str, str]) -> dict[str, Any]:
        """What makes an httpx client go this way; `ConfigError` where none can."""
        proxies = Proxies(self.proxy, environ)
        trust = trusted(self.ca, only=self.ca_only)
        return {
            "transport": Fork(proxies.of, trust),
            "timeout": httpx.Timeout(self.timeout, connect=self.connect_timeout),
            "headers": HEADERS,
            "cookies": no_cookies(),
            "trust_env": False,
        }


def usual_way(environ: Mapping[str, str]) -> dict[str, Any]:
    """The way of whoever has no other: the environment's proxies, the system's trust."""
    road = Fork(Proxies("", environ).of, usual())
    return {"transport": road, "trust_env": False}


def no_cookies() -> CookieJar:
    """A jar that takes none: they would be kept without end, and sent back."""
    return CookieJar(DefaultCookiePolicy(allowed_domains=()))


class Fork(httpx.AsyncBaseTransport):
    """Sends each request straight or through the proxy that its address asks for."""

    def __init__(
        self, choose: Callable[[httpx.URL], str | None], trust: ssl.SSLContext
    ) -> None:
        self._choose, self._trust = choose, trust
        self._roads: dict[str | None, httpx.AsyncHTTPTransport] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        road = self._road(self._choose(request.url))
        return await road.handle_async_request(request)

    def _road(self, proxy: str | None) -> httpx.AsyncHTTPTransport:
        if proxy not in self._roads:
            chosen = proxy and httpx.Proxy(proxy, ssl_context=self._tls_to(proxy))
            self._roads[proxy] = httpx.AsyncHTTPTransport(
                verify=self._trust, limits=POOL, trust_env=False, proxy=chosen
            )
        return self._roads[proxy]

    def _tls_to(self, proxy: str) -> ssl.SSLContext | None:
        return self._trust if proxy.startswith("https:") else None

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        for road in self._roads.values():
            await road.aclose()


class Proxies:
    """Which proxy an address is reached by: the source's own, else the environment's.

    As elsewhere: `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY`, in small letters first, and
    not for what `NO_PROXY` names (hosts with all below them, addresses, networks, `*`)
    nor for this box itself.
    """

    def __init__(self, chosen: str, environ: Mapping[str, str]) -> None:
        self._chosen = None if chosen == DIRECT else _proxy("it", chosen)
        self._by_scheme: dict[str, str | None] = {}
        self._exempt = list(_exempt(_from(environ, "no_proxy")))
        if not chosen:
            for scheme in PORTS:
                name = f"{scheme}_proxy"
                if not _from(environ, name):
                    name = "all_proxy"
                address = _proxy(f"${name.upper()}", _from(environ, name))
                self._by_scheme[scheme] = address

    def of(self, url: httpx.URL) -> str | None:
        """The proxy to this address; None where there is none."""
        found = self._by_scheme.get(url.scheme)
        if found is None:
            return self._chosen
        host, port = url.host, url.port or PORTS.get(url.scheme, 0)
        spared = _is_own(host) or any(one(host, port) for one in self._exempt)
        return None if spared else found


def _from(environ: Mapping[str, str], name: str) -> str:
    return (environ.get(name) or environ.get(name.upper()) or "").strip()


def _proxy(who: str, address: str) -> str | None:
    """A proxy's address made whole, its password masked from now on."""
    if not address:
        return None
    whole = address if "://" in address else f"http://{address}"
    kind = whole.partition("://")[0]
    if not PROXY.fullmatch(whole):
        known = kind in PORTS
        what = "no proxy that can be read" if known else f"a {kind} proxy"
        raise ConfigError(f"proxy: {who} names {what}; {TAKES}")
    try:
        MASK.add(httpx.URL(whole).password)
    except httpx.InvalidURL as bad:
        raise ConfigError(f"proxy: {who} names no proxy that can be read") from bad
    return whole


def _exempt(text: str) -> Iterator[Callable[[str, int], bool]]:
    for word in re.split(r"[\s,]+", text.lower()):
        if network := _network(word.strip("[]")):
            yield partial(_inside, network)
        elif word:
            name, _, port = word.rpartition(":") if ":" in word else (word, "", "")
            yield partial(_below, name.removeprefix("*").lstrip(".").strip("[]"), port)


def _below(name: str, port: str, host: str, at: int) -> bool:
    """Whether a host is this one or below it; no name at all is everywhere (`*`)."""
    here = not name or host == name or host.endswith(f".{name}")
    return here and (not port or port == str(at))


def _network(word: str) -> str:
    try:
        return str(ipaddress.ip_network(word, strict=False))
    except ValueError:
        return ""


def _inside(network: str, host: str, _port: int) -> bool:
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(network)
    except ValueError:
        return False


def _is_own(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def trusted(ca: Path | None = None, *, only: bool = False) -> ssl.SSLContext:
    """The certificates that are believed: the system's, and those of a file."""
    if ca is None:
        return usual()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if only else of_system()
    try:
        context.load_verify_locations(cafile=ca)
    except OSError as bad:
        why = "there are no certificates in it"
        if not isinstance(bad, ssl.SSLError):
            why = bad.strerror or said(bad)
        raise ConfigError(f"ca: {ca}: {why}") from bad
    return lenient(context)


@lru_cache(maxsize=1)
def usual() -> ssl.SSLContext:
    """What all sources share that name no file."""
    return lenient(of_system())


def of_system() -> ssl.SSLContext:
    """What this system believes: keychains elsewhere, a file or a folder on Linux.

    truststore reads the store anew for each connection, 20 ms that webhooks would wait:
    where OpenSSL itself knows the place, it is read once.
    """
    if sys.platform == "linux" and ssl.get_default_verify_paths().cafile:
        return ssl.create_default_context()
    import truststore  # only where it is needed

    return truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def lenient(context: ssl.SSLContext) -> ssl.SSLContext:
    """As browsers judge: offices that look into TLS rarely make flawless certificates.

    What is in the file is believed by itself, be it an intermediate or a server's own.
    """
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return context


def told(bad: httpx.HTTPError, url: httpx.URL) -> str:
    """What kept a request from being answered, in words an operator can act on."""
    causes = list(causes_of(bad))
    return f"{url.host}: {_plain(bad, causes)[:LONGEST]}"


def _plain(bad: httpx.HTTPError, causes: Sequence[BaseException]) -> str:
    kinds = {type(one): one for one in causes}
    lookup, doubt = kinds.get(socket.gaierror), kinds.get(ssl.SSLCertVerificationError)
    if isinstance(lookup, socket.gaierror):
        if lookup.errno == socket.EAI_AGAIN:
            return "its name cannot be looked up just now: is there a network? (DNS)"
        return "no address is known for this name (DNS)"
    if isinstance(doubt, ssl.SSLCertVerificationError):
        return f"its certificate is not believed ({doubt.verify_message}); see `ca`"
    if isinstance(bad, httpx.ConnectError):
        return (
            f"cannot connect: {', '.join(sorted(set(_reasons(causes)))) or said(bad)}"
        )
    if isinstance(bad, httpx.ProxyError):
        return f"the proxy answered {said(bad)}"
    return WORDS.get(type(bad)) or f"{type(bad).__name__}: {said(bad)}"


def _reasons(causes: Sequence[BaseException]) -> Iterator[str]:
    """Why no connection came about, as the system words it."""
    for one in causes:
        if isinstance(one, ssl.SSLError):
            yield f"TLS fails, {one.reason or said(one)}"
        elif isinstance(one, OSError) and one.errno:
            yield os.strerror(one.errno)


def causes_of(fault: BaseException) -> Iterator[BaseException]:
    """A fault and all that led to it, those in groups too."""
    rest, seen = [fault], set()
    while rest:
        one = rest.pop(0)
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        if isinstance(one, BaseExceptionGroup):
            rest += one.exceptions
        rest += [next_ for next_ in (one.__cause__, one.__context__) if next_]
