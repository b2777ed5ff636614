"""Webhooks in: verified, split, written to the log, and only then answered."""

from __future__ import annotations

import hmac
import ipaddress
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from hashlib import blake2b
from time import monotonic
from typing import Any

import msgspec
import structlog

from fleetd.clock import Clock
from fleetd.config import Auth, Network, Source
from fleetd.errors import FullError, PayloadError, SignatureError, TransientError
from fleetd.event import millis
from fleetd.masking import MASK
from fleetd.providers.contract import Provider
from fleetd.store import Append, Counts, Raw, Store
from fleetd.store.dead import crowded
from fleetd.store.small import Refused, Unverified
from fleetd.store.totals import HOUR_MS
from fleetd.tasks.errands import Errands
from fleetd.tasks.intake import Arrival, cleaned, dead_whole, take_in_turns
from fleetd.tasks.poll.accounts import way_of
from fleetd.tasks.poll.mend import unpacked
from fleetd.tasks.probes import FOREIGN, HEADER, Probes
from fleetd.web import Request, Response
from fleetd.world import World

PATH = "/webhooks/"
LARGE = 1 << 18  # bytes from which a body is looked through beside the loop
LATE_S = 300  # a signature older than this is flagged, not refused
BUSY = (("Retry-After", "1"),)
FULL = (("Retry-After", "30"),)
SLOW = "the disk is slow; send it again"
logger = structlog.get_logger()


class Gate:
    """One source's way in: who may push, and how that is proven."""

    def __init__(
        self, name: str, source: Source, provider: Provider, *, verified: bool
    ) -> None:
        self.name = name
        self.provider = provider
        self.secrets = source.webhook_secret.reveal() if source.webhook_secret else ()
        self.beside: tuple[str, ...] = ()  # secrets of webhooks that fleetd registered
        self.auth = source.auth
        self.verified = verified
        self.tags = source.wanted
        self.keep = provider.webhook.keep if provider.webhook else ()
        self.source = source
        self.errands: Errands | None = None  # where a proof must be fetched first
        self.challenge = provider.webhook.challenge if provider.webhook else ""

    @property
    def mark(self) -> str:
        return mark_of(self.secrets)

    def admit(self, request: Request, key: str, peer: str) -> datetime | None:
        """When the request was signed, if that is known; or `SignatureError`."""
        if self.auth is not None:
            _check_auth(self.auth, request, key, peer)
        elif key:
            raise SignatureError("this source takes no key in its path")
        if not self.secrets:
            return None
        assert self.provider.webhook is not None
        return self.provider.webhook.verify(request, (*self.secrets, *self.beside))

    def equip(self, world: World) -> None:
        """Let it fetch what its vendor's file says, the way its vendor is reached."""
        webhook = self.provider.webhook
        if webhook is not None and webhook.hosts:
            way = way_of(self.source)
            options = partial(way.options, world.environ)
            self.errands = Errands(self.name, webhook.hosts, options, world)

    async def prove(self, request: Request) -> datetime | None:
        """When it was signed, by a proof that is fetched; or `SignatureError`.

        `TransientError` where nobody can tell just now.
        """
        webhook, errands = self.provider.webhook, self.errands
        assert webhook is not None
        if errands is None or webhook.prove is None:
            return None
        asks = webhook.needs(request) if webhook.needs else ()
        answers = await errands.needed(asks)
        try:
            return webhook.prove(request, answers)
        except TransientError:
            errands.forget(asks)
            raise


def mark_of(secrets: Sequence[str]) -> str:
    """Names these very secrets without telling them."""
    joined = "\0".join(secrets).encode()
    return blake2b(joined, digest_size=8, person=b"fleetd-verified").hexdigest()


def _check_auth(auth: Auth, request: Request, key: str, peer: str) -> None:
    """Everything that is configured must hold."""
    fits = True
    if auth.key is not None:
        fits &= any(_same(key, one) for one in auth.key.reveal())
    for name, secret in auth.header.items():
        fits &= _same(request.header(name.lower()), secret.reveal())
    if auth.addresses:
        fits &= _inside(peer, auth.addresses)
    if not fits:
        raise SignatureError("key, header or address is not what is configured")


def _same(claimed: str, wanted: str) -> bool:
    return hmac.compare_digest(claimed.encode(), wanted.encode())


def _inside(peer: str, networks: Sequence[Network]) -> bool:
    try:
        address = ipaddress.ip_address(peer)
    except ValueError:
        return False  # a unix socket has no address
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return any(address in network.net for network in networks)


def peer_of(request: Request, trusted: Sequence[Network]) -> str:
    """Who sent it: the last address that no trusted proxy vouches for."""
    peer = request.peer
    if not trusted:
        return peer
    hops = [one.strip() for one in request.header("x-forwarded-for").split(",")]
    for hop in reversed([one for one in hops if one]):
        if not (_inside(peer, trusted) or peer == "unix"):
            break
        peer = hop
    return peer


class Reception:
    """The handler of the webhook door."""

    def __init__(
        self,
        gates: Mapping[str, Gate],
        store: Store,
        clock: Clock,
        *,
        trusted: Sequence[Network] = (),
        within: float = 2.5,
        tell: Callable[[str, int, float], None] = lambda *_: None,
        probes: Probes | None = None,
    ) -> None:
        self.probes = probes or Probes()
        self.gates = dict(gates)
        for gate in self.gates.values():
            gate.equip(store.world)
        self.refused: Counter[tuple[str, int, int]] = Counter()
        self._store = store
        self._clock = clock
        self._trusted = tuple(trusted)
        self._within = within
        self._tell = tell

    def admits(self, method: str, path: str) -> bool:
        """Whether a path is worth reading a body for; what is not is counted."""
        del method
        name, _ = split_path(path)
        if name in self.gates:
            return True
        self._count("", 404)
        return False

    async def receive(self, request: Request) -> Response:
        """One webhook. A 200 means on the disk, there already, or counted out."""
        if HEADER in request.headers:
            return self._probed(request)
        began = monotonic()
        name, key = split_path(request.path)
        response = await self._receive(request, name, key)
        known = name if name in self.gates else ""
        self._tell(known, response.status, monotonic() - began)
        return response

    def _probed(self, request: Request) -> Response:
        """A probe of our own is met and not stored; anybody else's is refused."""
        probe = self.probes.claim(request.headers[HEADER])
        if probe is None:
            name, _ = split_path(request.path)
            known = name if name in self.gates else ""
            return self._refuse(
                known, FOREIGN, "no probe of this fleetd, or a used one"
            )
        peer = peer_of(request, self._trusted)
        return probe.meet(request, peer, MASK.mask(self._store.trouble))

    async def _receive(self, request: Request, name: str, key: str) -> Response:
        gate = self.gates.get(name)
        if gate is None:
            return self._refuse("", 404, "no such source")
        if request.method != "POST":
            return self._refuse(name, 405, "post it", (("Allow", "POST"),))
        if trouble := self._store.trouble:
            return self._refuse(name, 503, MASK.mask(trouble), FULL)
        peer = peer_of(request, self._trusted)
        try:
            signed = gate.admit(request, key, peer)
            if gate.errands is not None:
                signed = await gate.prove(request) or signed
        except SignatureError as bad:
            return await self._doubt(gate, request, peer, str(bad))
        except TransientError as bad:
            return self._unwell(gate, f"cannot be verified just now: {bad}")
        if gate.secrets and not gate.verified:
            self._first(gate)
        kept = await self._keep(gate, await self.arrived(gate, request, signed))
        return kept if gate.errands is None else await self._follow(gate, request, kept)

    async def _follow(self, gate: Gate, request: Request, kept: Response) -> Response:
        """Visit what a kept body asks for; a 503 has the sender ask once more."""
        webhook, errands = gate.provider.webhook, gate.errands
        assert webhook is not None
        assert errands is not None
        ask = webhook.follow(request) if webhook.follow and kept.status == 200 else None
        if ask is None:
            return kept
        try:
            await errands.visit(ask)
        except TransientError as bad:
            logger.warning("not_followed", source=gate.name, why=str(bad))
            return self._unwell(gate, f"kept, and what it asks for failed: {bad}")
        return kept

    def _unwell(self, gate: Gate, why: str) -> Response:
        return self._refuse(gate.name, 503, MASK.mask(why), BUSY)

    async def arrived(
        self,
        gate: Gate,
        request: Request,
        signed: datetime | None,
        verdict: str = "signed",
    ) -> Append:
        """The body as the log takes it."""  # fmt: skip
        received = self._store.next_received_ms()
        late = self._late(signed, received)
        body = await self._cleaned(gate, request.body)
        arrival = Arrival(
            gate.name,
            gate.provider,
            received,
            "push",
            flags=("signed_late",) if late else (),
            trusted_clock=self._clock.trusted,
            clean=body is request.body,
            tags=gate.tags,
        )
        raw = Raw(
            "webhook",
            body,
            _headers(request, gate.keep),
            (verdict if gate.secrets or signed else "not signed")
            + (f", {late}" if late else ""),
            millis(signed) if signed else None,
        )
        assert gate.provider.webhook is not None
        try:
            split = unpacked(gate.provider.webhook, request)
        except PayloadError as bad:
            return dead_whole(arrival, "webhook", request.body, str(bad), raw)
        return await take_in_turns(
            arrival, split.records, self._store.directory, raw=raw, empty=split.empty
        )

    async def _cleaned(self, gate: Gate, body: bytes) -> bytes:
        """As it may be stored: a large one beside the loop, which others need meanwhile."""
        work = partial(cleaned, gate.provider, body)
        return work() if len(body) < LARGE else await self._store.world.in_thread(work)

    def _late(self, signed: datetime | None, received_ms: int) -> str:
        if signed is None or not self._clock.trusted:
            return ""
        behind = received_ms / 1000 - signed.timestamp()
        return f"{behind:.0f} s before it came" if abs(behind) > LATE_S else ""

    async def _keep(self, gate: Gate, append: Append) -> Response:
        if append.dead and ("source", gate.name) in self._store.crowded:
            return self._refuse(gate.name, 503, crowded(gate.name), FULL)
        try:
            counts = await self._store.append(append, within=self._within)
        except TimeoutError:
            return self._refuse(gate.name, 503, SLOW, BUSY)
        except FullError as bad:
            return self._refuse(gate.name, 503, str(bad), FULL)
        return Response(200, answer_of(counts))

    def _first(self, gate: Gate) -> None:
        """From now on a bad signature is the sender's fault, not our secret's."""
        gate.verified = True
        self._store.note(f"verified:{gate.name}", {"mark": gate.mark})

    async def _doubt(
        self, gate: Gate, request: Request, peer: str, why: str
    ) -> Response:
        """Refuse, and keep the body a day in case it is our secret that is wrong.

        A sender that waits to be asked for its password is asked: nothing is kept.
        """
        assert gate.provider.webhook is not None
        if gate.challenge and not request.header("authorization"):
            challenge = (("WWW-Authenticate", gate.challenge),)
            return self._refuse(gate.name, 401, why, challenge)
        kept = Unverified(
            gate.name,
            self._store.next_received_ms(),
            peer,
            why,
            _headers(request, gate.keep),
            await self._cleaned(gate, request.body),
        )
        try:
            await self._store.join(kept, within=self._within)
        except TimeoutError:
            return self._refuse(gate.name, 503, SLOW, BUSY)
        except FullError:
            return self._refuse(gate.name, 503, "the disk is full", FULL)
        final = gate.provider.webhook.refusal if gate.verified else 401
        return self._refuse(gate.name, final, why)

    def _refuse(
        self, source: str, status: int, why: str,
        headers: tuple[tuple[str, str], ...] = (),
    ) -> Response:  # fmt: skip
        self._count(source, status)
        return Response(status, msgspec.json.encode({"error": why}), headers=headers)

    def _count(self, source: str, status: int) -> None:
        self.refused[source, self._store.received_ms // HOUR_MS, status] += 1

    async def flush(self) -> None:
        """Put the counts of refused requests beside the ledger."""
        if not self.refused:
            return
        counted, self.refused = self.refused, Counter()
        try:
            await self._store.join(Refused(counted))
        except FullError:
            self.refused.update(counted)


def split_path(path: str) -> tuple[str, str]:
    """`/webhooks/north/key` → north, key; empty where it is no webhook path."""
    if not path.startswith(PATH):
        return "", ""
    name, _, key = path[len(PATH) :].partition("/")
    return name, key


def answer_of(counts: Counts) -> bytes:
    """The body of a 200."""
    return b'{"stored":%d,"duplicate":%d,"filtered":%d,"dead":%d}' % (
        counts.stored, counts.duplicate, counts.filtered, counts.dead,
    )  # fmt: skip


def _headers(request: Request, keep: Sequence[str]) -> str:
    found: dict[str, Any] = {
        name: request.headers[name] for name in keep if name in request.headers
    }
    return msgspec.json.encode(found).decode()
