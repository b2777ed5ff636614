"""The ways vendors sign, compared in constant time."""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Iterable, Sequence
from functools import lru_cache

from fleetd.errors import SignatureError


def check_hmac(
    keys: Iterable[bytes], message: bytes, claimed: bytes, *, digest: str = "sha256"
) -> None:
    """Raise unless `claimed` is the raw digest of `message` under any of `keys`.

    Every key is tried, so that the time says nothing about which one fitted. An empty
    key, which anybody could sign with, fits nothing.
    """
    fits = False
    for key in keys:
        made = hmac.digest(key, message, digest)
        fits |= bool(key) and hmac.compare_digest(made, claimed)
    if not fits:
        raise SignatureError("the signature does not fit any configured secret")


def from_hex(claimed: str, *, prefix: str = "") -> bytes:
    """The raw digest of a lower-case hex signature, or `SignatureError`."""
    if not claimed:
        raise SignatureError("the signature header is missing")
    if not claimed.startswith(prefix):
        raise SignatureError(f"the signature does not begin with {prefix!r}")
    digits = claimed[len(prefix) :]
    if digits != digits.lower():
        raise SignatureError("the signature is not lower-case hex")
    try:
        return binascii.unhexlify(digits)  # unlike fromhex, no blanks in between
    except ValueError as bad:
        raise SignatureError("the signature is not hex") from bad


def from_base64(claimed: str, *, prefix: str = "") -> bytes:
    """The raw digest of a base64 signature, or `SignatureError`."""
    if not claimed:
        raise SignatureError("the signature header is missing")
    if not claimed.startswith(prefix):
        raise SignatureError(f"the signature does not begin with {prefix!r}")
    try:
        return base64.b64decode(claimed[len(prefix) :], validate=True)
    except (binascii.Error, ValueError) as bad:
        raise SignatureError("the signature is not base64") from bad


def decoded(secrets: Sequence[str]) -> list[bytes]:
    """The key bytes of base64 secrets; one that is no base64 fits nothing."""
    keys = (key_of(secret) for secret in secrets)
    return [key for key in keys if key]


@lru_cache(maxsize=64)
def key_of(secret: str) -> bytes | None:
    """The bytes of one base64 secret, also URL-safe or without its padding, or null."""
    text = secret.strip().rstrip("=").replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None
