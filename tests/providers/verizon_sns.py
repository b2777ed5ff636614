"""Amazon's side of a push: a key, its certificate, and messages signed as SNS signs them."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

HOST = "https://sns.us-east-1.amazonaws.com"
PATH = "/SimpleNotificationService-0123456789abcdef0123456789abcdef.pem"
TOPIC = "arn:aws:sns:us-east-1:123456789012:reveal"
TOKEN = (
    "2336412f37fb687f5d51e6e241d09c805a5a57b30d712f794cc5f6a988666d92768dd60a747ba6f3"
)
NOTE = {
    "Type": "Notification",
    "MessageId": "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324",
    "TopicArn": TOPIC,
    "Message": '{"vehicleNumber":"TX-104"}',
    "Timestamp": "2026-11-20T14:03:24.112Z",
    "UnsubscribeURL": f"{HOST}/?Action=Unsubscribe&SubscriptionArn={TOPIC}:c9135db0",
}
CONFIRM = {
    "Type": "SubscriptionConfirmation",
    "MessageId": "165545c9-2a5c-472c-8df2-7ff2be2b3b1b",
    "Token": TOKEN,
    "TopicArn": TOPIC,
    "Message": "You have chosen to subscribe.\nTo confirm, visit the SubscribeURL.",
    "SubscribeURL": f"{HOST}/?Action=ConfirmSubscription&TopicArn={TOPIC}&Token={TOKEN}",
    "Timestamp": "2026-11-20T14:00:00.000Z",
}
# by the letter of Amazon's page, not by the code under test
LINES_OF_NOTE = ["Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"]
LINES_OF_OTHERS = [
    "Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type",
]  # fmt: skip


@cache
def key(name: str = "amazon") -> rsa.RSAPrivateKey:
    del name
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@cache
def certificate(name: str = "amazon", kind: str = "rsa") -> bytes:
    signer = key(name)
    public = signer.public_key()
    if kind == "ec":
        public = ec.generate_private_key(ec.SECP256R1()).public_key()
    elif kind == "short":
        public = rsa.generate_private_key(65537, 1024).public_key()
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sns.amazonaws.com")])
    begins = datetime(2026, 1, 1, tzinfo=UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(public)
        .serial_number(7)
        .not_valid_before(begins)
        .not_valid_after(begins + timedelta(days=365))
        .sign(signer, hashes.SHA256())
    )
    return made.public_bytes(Encoding.PEM)


def signed(
    told: dict[str, Any], version: str = "1", name: str = "amazon"
) -> dict[str, Any]:
    """The same with its signature and where its certificate lies."""
    lines = LINES_OF_NOTE if told["Type"] == "Notification" else LINES_OF_OTHERS
    text = "".join(f"{line}\n{told[line]}\n" for line in lines if line in told)
    digest = hashes.SHA1() if version == "1" else hashes.SHA256()
    made = key(name).sign(text.encode(), padding.PKCS1v15(), digest)
    return {
        **told,
        "SignatureVersion": version,
        "Signature": base64.b64encode(made).decode(),
        "SigningCertURL": HOST + PATH,
    }


def message(inner: Any, version: str = "1", **more: Any) -> bytes:
    """A signed notification around something."""
    text = inner if isinstance(inner, str) else json.dumps(inner)
    return json.dumps(signed({**NOTE, "Message": text, **more}, version)).encode()
