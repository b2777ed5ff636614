"""What pushes Reveal's positions: Amazon SNS, whole messages or raw ones.

Reveal's own page shows no header and no field of it; that the first message must be
answered by visiting its subscribe URL (Esri's guide) is what SNS does. The envelope and
what is signed: docs.aws.amazon.com/sns/latest/dg, "Verifying the signatures of Amazon
SNS messages". SNS asks without its password first and wants a challenge; a 4xx it does
not send again, so what cannot be verified *now* is answered 503.
"""

from __future__ import annotations

import base64
import hmac
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache, partial
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

import msgspec
from msgspec import Raw, Struct, field

from fleetd.errors import PayloadError, SignatureError, TransientError
from fleetd.event import Record
from fleetd.providers import reading
from fleetd.providers.contract import Answer, Ask, Unpacked, Webhook
from fleetd.providers.signing import from_base64
from fleetd.providers.verizon.wire import with_head
from fleetd.web import Request

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

HOST = r"sns\.[a-z]{2}(?:-[a-z0-9]{1,20}){2,4}\.amazonaws\.com"
CERTIFICATE = re.compile(rf"(https://{HOST})(/[A-Za-z0-9._-]{{1,200}}\.pem)")
SUBSCRIBE = re.compile(rf"(https://{HOST})/\?([A-Za-z0-9%._~=&:+-]{{1,4000}})")
CONFIRM, NOTE = "SubscriptionConfirmation", "Notification"
OF_NOTE = ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type")
OF_OTHERS = (
    "Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type",
)  # fmt: skip
SIGNED = {NOTE: OF_NOTE, CONFIRM: OF_OTHERS, "UnsubscribeConfirmation": OF_OTHERS}
DIGESTS = {"1": "SHA1", "2": "SHA256"}
LEAST_BITS = 2048
KIND = "x-amz-sns-message-type"
BARE = "x-amz-sns-rawdelivery"
EMPTY = Unpacked((), empty=1)


class Envelope(Struct, frozen=True, rename="pascal"):
    """A message of SNS as it comes over HTTP."""

    type: str
    message: str
    message_id: str
    topic_arn: str
    timestamp: str
    signature_version: str = ""
    signature: str = ""
    certificate: str = field(name="SigningCertURL", default="")
    subject: str | None = None
    token: str | None = None
    subscribe: str | None = field(name="SubscribeURL", default=None)


_envelope = msgspec.json.Decoder(Envelope).decode
_table = msgspec.json.Decoder(dict[str, object]).decode
_rows = msgspec.json.Decoder(list[Raw]).decode


def envelope(request: Request) -> Envelope | None:
    """The message of SNS that a body is, None where it is none."""
    try:
        found = _envelope(request.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return found if found.type in SIGNED else None


# who sent it


def verify(request: Request, secrets: Sequence[str]) -> None:
    """HTTP Basic: a secret is `user:password`; it says nothing about the body."""
    claimed = request.header("authorization")
    scheme, _, pair = claimed.partition(" ")
    fits = False
    for secret in secrets:
        wanted = base64.b64encode(secret.encode())
        same = hmac.compare_digest(pair.strip().encode(), wanted)
        fits |= same and bool(secret.strip()) and scheme.lower() == "basic"
    if not fits:
        raise SignatureError("user and password are not those of webhook_secret")


def sign(_body: bytes, secret: str, _now: datetime) -> Mapping[str, str]:
    """The headers of a raw push."""
    pair = base64.b64encode(secret.encode()).decode()
    return {"Content-Type": "application/json", "Authorization": f"Basic {pair}"}


def good_secret(secret: str) -> str | None:
    user, colon, password = secret.partition(":")
    if colon and user and password:
        return None
    return "the secret is not user:password, as given to Verizon Connect"


def needs(request: Request) -> list[Ask]:
    """The certificate that a message names: only from SNS, only over https."""
    said = _claimed(request)
    if said is None:
        return []
    place = CERTIFICATE.fullmatch(said.certificate)
    if place is None:
        raise SignatureError("the certificate is not one of sns.<region>.amazonaws.com")
    return [Ask(place[2], host=place[1])]


def prove(topic: str, request: Request, answers: Sequence[Answer]) -> datetime | None:
    """Check the signature of a message; a raw push bears none.

    Anybody may own a topic at Amazon: whose this is, its password says, and `topic`.
    """
    said = _claimed(request)
    sent = request.header("x-amz-sns-topic-arn") if said is None else said.topic_arn
    if topic and sent != topic:
        raise SignatureError("it is of another topic than the one configured")
    if said is None:
        return None
    _check(said, canonical(said), answers[0].body)
    return reading.as_moment(said.timestamp)


def _claimed(request: Request) -> Envelope | None:
    """The envelope of whatever says that it is of SNS; a raw push has none."""
    said = envelope(request)
    raw = request.header(BARE).strip().lower() == "true"
    if said is None and request.header(KIND) and not raw:
        raise SignatureError("it says that SNS sent it, and is no message of SNS")
    return said


def canonical(said: Envelope) -> bytes:
    """What is signed: a line for each name and each value, by the letter."""
    values = {
        "Message": said.message, "MessageId": said.message_id, "Subject": said.subject,
        "SubscribeURL": said.subscribe, "Timestamp": said.timestamp,
        "Token": said.token, "TopicArn": said.topic_arn, "Type": said.type,
    }  # fmt: skip
    return "".join(
        f"{name}\n{values[name]}\n"
        for name in SIGNED[said.type]
        if values[name] is not None
    ).encode()


def _check(said: Envelope, message: bytes, certificate: bytes) -> None:
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15

    name = DIGESTS.get(said.signature_version)
    if name is None:
        raise SignatureError("a signature of a version that is not known")
    claimed, key = from_base64(said.signature), key_of(certificate)
    try:
        key.verify(claimed, message, PKCS1v15(), getattr(hashes, name)())
    except InvalidSignature as bad:
        raise SignatureError("the signature does not fit the certificate") from bad
    except UnsupportedAlgorithm as bad:
        raise TransientError(f"this system cannot verify {name}") from bad


@lru_cache(maxsize=16)
def key_of(certificate: bytes) -> RSAPublicKey:
    """The key of a certificate, or `TransientError`: what came is none."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
    from cryptography.x509 import load_pem_x509_certificate

    try:
        key = load_pem_x509_certificate(certificate).public_key()
    except (ValueError, UnsupportedAlgorithm) as bad:
        raise TransientError("what came is no certificate") from bad
    if not isinstance(key, RSAPublicKey) or key.key_size < LEAST_BITS:
        raise TransientError("the certificate has no RSA key of 2048 bits")
    return key


# what it says


def unpack(request: Request) -> Unpacked:
    """A position or an alert, several, or a message of SNS about itself."""
    said = envelope(request)
    if said is None:
        return _split(request.body)
    if said.type != NOTE:
        return Unpacked([Record("subscription", request.body)])
    inner = said.message.encode()
    try:
        return _split(inner, said.message_id)
    except PayloadError:
        text = msgspec.json.encode(said.message)
        return Unpacked([_record(text, said.message_id)])


def _split(body: bytes, message: str | None = None) -> Unpacked:
    body = body.strip()
    try:
        items = [bytes(one) for one in _rows(body)] if body[:1] == b"[" else [body]
        if body[:1] == b"{":
            _table(body)
    except reading.UNREADABLE as bad:
        raise PayloadError(f"not JSON: {reading.short(bad)}") from bad
    if any(one[:1] != b"{" for one in items if one):
        raise PayloadError("neither an object nor a list of objects")
    found = [_record(one, message) for one in items if one.strip(b"{} \r\n\t")]
    return Unpacked(found, empty=len(items) - len(found)) if items else EMPTY


def _record(item: bytes, message: str | None) -> Record:
    return Record("pushed", with_head(item, _message=message) if message else item)


def subscribe_url(said: Envelope) -> tuple[str, dict[str, str]] | None:
    """Host and parameters of the one call that confirms this very subscription."""
    place = SUBSCRIBE.fullmatch(said.subscribe or "")
    if place is None:
        return None
    told = dict(parse_qsl(place[2], max_num_fields=8))
    fits = (
        told.get("Action") == "ConfirmSubscription"
        and told.get("TopicArn") == said.topic_arn
        and bool(said.token)
        and told.get("Token") == said.token
    )
    return (place[1], told) if fits else None


def follow(request: Request) -> Ask | None:
    """Confirm the subscription that a verified message asks for."""
    said = envelope(request)
    if said is None or said.type != CONFIRM:
        return None
    place = subscribe_url(said)
    return None if place is None else Ask("/", params=place[1], host=place[0])


def webhook(topic: str, kinds: tuple[str, ...], *, confirm: bool) -> Webhook:
    """The push half as one source shapes it."""
    return Webhook(
        verify=verify,
        unpack=unpack,
        sign=sign,
        keep=("content-type", "user-agent", KIND, BARE, "x-amz-sns-topic-arn"),
        good_secret=good_secret,
        kinds=kinds,
        needs=needs,
        prove=partial(prove, topic),
        follow=follow if confirm else None,
        hosts=(HOST,),
        challenge='Basic realm="fleetd"',
        signs=False,
    )
