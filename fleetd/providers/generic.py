"""Any sender: how it signs and where its ids and times stand is said in the config."""

from __future__ import annotations

import base64
import binascii
import hmac
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, ClassVar, Literal

import msgspec
from msgspec import Struct

from fleetd.errors import ConfigError, PayloadError, SignatureError
from fleetd.event import AnyEvent, Other, Record
from fleetd.providers import reading
from fleetd.providers.contract import Provider, Unpacked, Webhook
from fleetd.providers.signing import check_hmac, from_base64, from_hex, key_of
from fleetd.web import Request

FEED = "events"
MOST_ITEMS = 10_000  # records in one body
MOST_CLAIMS = 16  # signatures in one Standard Webhooks header
MOST_STEPS = 32
LONGEST_ID = 200
KEPT = ("content-type", "user-agent")


class Settings(Struct, frozen=True, forbid_unknown_fields=True):
    """The keys of `[sources.x]` that only this provider has."""

    docs: ClassVar[dict[str, str]] = {
        "scheme": "`standard`: as Standard Webhooks sign; `hmac`: as the keys below say",
        "signature_header": "the header with the signature",
        "signature_prefix": "what stands before the signature in it, as `sha256=`",
        "signed": "what is signed",
        "timestamp_header": "the header with the time that is signed",
        "algorithm": "the digest",
        "encoding": "how the signature is written",
        "secret_encoding": "how the secret is written",
        "items": "path of the list that holds the records; none: the body is one",
        "id": "path of the event's id, as `$.event.id`; none: a hash of the record",
        "at": "path of its time: RFC 3339, or seconds or milliseconds since 1970",
        "vehicle": "path of the vehicle's id",
        "type": "path of its type",
        "text": "path of a text for people",
        "secret_fields": "JSON keys whose values are masked before anything is kept",
    }
    scheme: Literal["hmac", "standard"] = "hmac"
    signature_header: str = "x-signature"
    signature_prefix: str = ""
    signed: Literal["body", "timestamp.body"] = "body"
    timestamp_header: str = "x-timestamp"
    algorithm: Literal["sha1", "sha256", "sha512"] = "sha256"
    encoding: Literal["hex", "base64"] = "hex"
    secret_encoding: Literal["text", "base64", "hex"] = "text"  # noqa: S105  a way
    items: str = ""
    id: str = ""
    at: str = ""
    vehicle: str = ""
    type: str = ""
    text: str = ""
    secret_fields: tuple[str, ...] = ()


PLAIN = Settings()
OF_HMAC = (
    "signature_header",
    "signature_prefix",
    "signed",
    "timestamp_header",
    "algorithm",
    "encoding",
    "secret_encoding",
)
HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")

Step = str | int
Steps = tuple[Step, ...]
STEP = re.compile(
    r"\.([^.\[\]'\"*?]+)" r"|\[(\d{1,6})\]" r"|\['([^']+)'\]" r"|\[\"([^\"]+)\"\]"
)


def configured(settings: Settings | None) -> Provider:
    """The provider as one source shapes it; a `ConfigError` names the wrong key."""
    settings = settings or PLAIN
    _judge(settings)
    picks = {
        key: steps_of(key, settings) for key in ("id", "at", "vehicle", "type", "text")
    }
    secrets = frozenset(settings.secret_fields)
    return Provider(
        name="generic",
        title="Any sender of JSON",
        normalize={FEED: partial(event, picks, secrets)},
        webhook=_webhook(settings, steps_of("items", settings)),
        secret_fields=secrets,
        settings=Settings,
        configured=configured,
        typed=False,
        where="the sender's own settings",
    )


def _judge(settings: Settings) -> None:
    """Refuse what could not mean anything."""
    for key in OF_HMAC if settings.scheme == "standard" else ():
        if getattr(settings, key) != getattr(PLAIN, key):
            raise ConfigError(f'{key}: scheme = "standard" settles this; leave it out')
    for key in ("signature_header", "timestamp_header"):
        if not HEADER.fullmatch(getattr(settings, key)):
            raise ConfigError(f"{key}: {getattr(settings, key)!r} is no header name")
    if (
        settings.signed == "body"
        and settings.timestamp_header != PLAIN.timestamp_header
    ):
        raise ConfigError('timestamp_header: only read with signed = "timestamp.body"')


def steps_of(key: str, settings: Settings) -> Steps:
    """A path as its steps: `$.event.ids[0]`, `event.id`, `['a.b'].c`; () if unset."""
    path: str = getattr(settings, key).strip()
    rooted = path == "$" or path.startswith(("$.", "$["))
    rest = path[1:] if rooted else path
    if rest and not rooted and not rest.startswith("["):
        rest = f".{rest}"
    steps: list[Step] = []
    while rest:
        found = STEP.match(rest)
        if not found or len(steps) == MOST_STEPS:
            why = f"{key}: {path[:80]!r} is no path; try $.name, $.list[0] or $['a.b']"
            raise ConfigError(why)
        name, index, *quoted = found.groups()
        steps.append(int(index) if index else name or quoted[0] or quoted[1])
        rest = rest[found.end() :]
    if rooted and not steps and key != "items":
        raise ConfigError(f"{key}: {path!r} is the whole record; name a part of it")
    return tuple(steps)


def _webhook(settings: Settings, items: Steps) -> Webhook:
    good_secret = partial(why_bad, settings)
    if settings.scheme == "standard":
        return Webhook(
            verify=verify_standard,
            unpack=partial(unpack, items),
            sign=sign_standard,
            keep=(*KEPT, "webhook-id", "webhook-timestamp"),
            good_secret=good_secret,
        )
    return Webhook(
        verify=partial(verify_hmac, settings),
        unpack=partial(unpack, items),
        sign=partial(sign_hmac, settings),
        keep=KEPT,
        good_secret=good_secret,
    )


def verify_hmac(
    settings: Settings, request: Request, secrets: Sequence[str]
) -> datetime | None:
    """An HMAC over the body, or over the time in a header, a dot and the body."""
    sent = request.header(settings.signature_header.lower())
    claimed = _digest(settings, sent)
    message, said = request.body, ""
    if settings.signed == "timestamp.body":
        said = request.header(settings.timestamp_header.lower())
        if not said:
            raise SignatureError("the timestamp header is missing")
        message = _dotted(said, message)
    keys = [key for one in secrets if (key := key_from(settings, one))]
    check_hmac(keys, message, claimed, digest=settings.algorithm)
    return reading.as_moment(said)


def _digest(settings: Settings, sent: str) -> bytes:
    if not sent.startswith(settings.signature_prefix):
        raise SignatureError(
            f"the signature does not begin with {settings.signature_prefix!r}"
        )
    digits = sent.removeprefix(settings.signature_prefix)
    return (
        from_hex(digits.lower()) if settings.encoding == "hex" else from_base64(digits)
    )


def sign_hmac(
    settings: Settings, body: bytes, secret: str, now: datetime
) -> Mapping[str, str]:
    headers, message = {}, body
    if settings.signed == "timestamp.body":
        said = str(int(now.timestamp()))
        headers[settings.timestamp_header.lower()] = said
        message = _dotted(said, body)
    key = key_from(settings, secret) or b""
    digest = hmac.digest(key, message, settings.algorithm)
    told = digest.hex() if settings.encoding == "hex" else _base64(digest)
    headers[settings.signature_header.lower()] = settings.signature_prefix + told
    return headers


def verify_standard(request: Request, secrets: Sequence[str]) -> datetime | None:
    """Standard Webhooks: any `v1` of the header over id, time and body."""
    ident, said = request.header("webhook-id"), request.header("webhook-timestamp")
    if not ident or not (said.isascii() and said.isdigit()):
        raise SignatureError("webhook-id or webhook-timestamp is missing or no number")
    message = _dotted(ident, _dotted(said, request.body))
    keys = [key for one in secrets if (key := standard_key(one))]
    fits = False
    for claimed in _claims(request.header("webhook-signature")):
        try:
            check_hmac(keys, message, claimed)
            fits = True
        except SignatureError:
            continue
    if not fits:
        raise SignatureError("the signature does not fit any configured secret")
    return reading.as_moment(said)


def _claims(header: str) -> Iterator[bytes]:
    for one in header.split()[:MOST_CLAIMS]:
        version, _, signature = one.partition(",")
        if version == "v1" and signature:
            try:
                yield from_base64(signature)
            except SignatureError:
                continue


def sign_standard(body: bytes, secret: str, now: datetime) -> Mapping[str, str]:
    ident, said = f"msg_{reading.print_of(body)}", str(int(now.timestamp()))
    message = _dotted(ident, _dotted(said, body))
    digest = hmac.digest(standard_key(secret) or b"", message, "sha256")
    return {
        "webhook-id": ident,
        "webhook-timestamp": said,
        "webhook-signature": f"v1,{_base64(digest)}",
    }


def _dotted(said: str, rest: bytes) -> bytes:
    return said.encode("latin-1", "replace") + b"." + rest


def _base64(digest: bytes) -> str:
    return base64.b64encode(digest).decode()


def standard_key(secret: str) -> bytes | None:
    """The bytes of `whsec_...`; the prefix may be missing."""
    return key_of(secret.strip().removeprefix("whsec_"))


def key_from(settings: Settings, secret: str) -> bytes | None:
    """The bytes of a secret as this source writes it, or null."""
    return KEYS[settings.secret_encoding](secret)


def _from_hex(secret: str) -> bytes | None:
    try:
        return binascii.unhexlify(secret.strip())
    except ValueError:
        return None


KEYS: Mapping[str, Callable[[str], bytes | None]] = {
    "text": str.encode,
    "base64": key_of,
    "hex": _from_hex,
}


def why_bad(settings: Settings, secret: str) -> str | None:
    """Why a secret cannot be one of this sender's, without the secret itself."""
    if settings.scheme == "standard":
        good, shape = standard_key(secret), "whsec_ and base64"
    else:
        good, shape = key_from(settings, secret), settings.secret_encoding
    return None if good else f"the secret is not {shape}"


def unpack(items: Steps, request: Request) -> Unpacked:
    """A list is its items, an object one record; `items` says where they are."""
    body = request.body.strip()
    if not body:
        return Unpacked((), empty=1)
    try:
        found = [bytes(one) for one in _items(body, items)]
    except (*reading.UNREADABLE, LookupError) as bad:
        why = f"no JSON with the items asked for: {reading.short(bad)}"
        raise PayloadError(why) from bad
    if len(found) > MOST_ITEMS:
        raise PayloadError(f"more than {MOST_ITEMS} items in one body")
    return Unpacked([Record(FEED, one) for one in found], empty=int(not found))


def _items(body: bytes, steps: Steps) -> Sequence[bytes | msgspec.Raw]:
    for step in steps:
        shape = list[msgspec.Raw] if isinstance(step, int) else dict[str, msgspec.Raw]
        holder: Any = msgspec.json.decode(body, type=shape)
        body = bytes(holder[step]).strip()
    if steps and body == b"null":
        return []
    if body.startswith(b"["):
        return msgspec.json.decode(body, type=list[msgspec.Raw])
    msgspec.json.decode(body, type=dict[str, msgspec.Raw])  # or it is nothing we know
    return [body]


def event(
    picks: Mapping[str, Steps], secrets: frozenset[str], body: bytes
) -> Iterator[AnyEvent]:
    """An event of kind `other`: what the config says where to find, and all of it."""
    try:
        record = msgspec.json.decode(body)
    except reading.UNREADABLE as bad:
        raise PayloadError(f"not JSON: {reading.short(bad)}") from bad
    if not isinstance(record, dict):
        raise PayloadError("not a JSON object")
    found = {key: pick(record, steps) for key, steps in picks.items() if steps}
    detail = storable(record, secrets)
    ident = reading.ident(found.get("id"))
    yield Other(
        id=ident
        if ident and len(ident) <= LONGEST_ID
        else reading.print_of_all(detail),
        at=reading.as_moment(found.get("at")),
        vehicle=reading.ident(found.get("vehicle")),
        type=reading.ident(found.get("type")),
        text=reading.ident(found.get("text")),
        detail=detail,
    )


def pick(value: Any, steps: Steps) -> Any:
    """What stands at the end of a path, or null."""
    for step in steps:
        if isinstance(step, str) and isinstance(value, dict):
            value = value.get(step)
        elif isinstance(step, int) and isinstance(value, list) and step < len(value):
            value = value[step]
        else:
            return None
    return value


def storable(value: Any, secrets: frozenset[str], room: int = reading.DEEPEST) -> Any:
    """The same with secrets masked, in depth and numbers that the log can hold."""
    if not room:
        raise PayloadError(f"nested deeper than {reading.DEEPEST} levels")
    if isinstance(value, dict):
        return {
            key: reading.MASKED if key in secrets else storable(one, secrets, room - 1)
            for key, one in value.items()
        }
    if isinstance(value, list):
        return [storable(one, secrets, room - 1) for one in value]
    if isinstance(value, int) and not -reading.WIDEST <= value < reading.WIDEST:
        return str(value)
    return value


PROVIDER = configured(PLAIN)
