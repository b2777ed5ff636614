"""The ways vendors sign, compared in constant time."""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Iterable, Sequence

from fleetd.errors import SignatureError


def check_hmac(
    keys: Iterable[bytes], message: bytes, claimed: bytes, *, digest: str = "sha256"
) -> None:
    """Raise unless the digest of `message` under any of `keys` is `claimed` (raw bytes).

    Every key is tried, so that the time says nothing about which one fitted.
    """
    fits = False
    for key in keys:
        fits |= hmac.compare_digest(hmac.digest(key, message, digest), claimed)
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
        return bytes.fromhex(digits) if " " not in digits else b""
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
    keys = []
    for secret in secrets:
        try:
            keys.append(base64.b64decode(secret, validate=True))
        except (binascii.Error, ValueError):
            continue
    return keys
