"""Google's service accounts: the key file, and the signed claim that a token is given for."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from fleetd.masking import MASK

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

EDIT = "https://www.googleapis.com/auth/spreadsheets"
READ = "https://www.googleapis.com/auth/spreadsheets.readonly"
GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
SAFE = ("https://", "http://127.0.0.1:", "http://localhost:", "http://[::1]:")
LIFE = timedelta(minutes=60)
SKEW = timedelta(seconds=10)  # our clock may be ahead of theirs
SHARE = 0.8  # of a token's life, then it is renewed


class Account(Struct, frozen=True):
    """What fleetd needs of the JSON key file of a service account."""

    client_email: str
    private_key: str
    private_key_id: str = ""
    token_uri: str = "https://oauth2.googleapis.com/token"  # noqa: S105  an address
    type: str = "service_account"

    def __repr__(self) -> str:
        return f"Account({self.client_email})"


class Token(Struct, frozen=True):
    """What a claim was changed for, and until when it is used."""

    access_token: str
    until: datetime

    def __repr__(self) -> str:
        return f"Token(until {self.until})"


class _Granted(Struct):
    access_token: str
    expires_in: float = 3599.0


_account = msgspec.json.Decoder(Account).decode
_granted = msgspec.json.Decoder(_Granted).decode


def account_of(text: str) -> Account:
    """The account of a key file; `ValueError` says what is wrong, never what it holds."""
    try:
        account = _account(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        why = "this is not the JSON key file of a Google service account"
        raise ValueError(why) from None  # what is wrong may quote the key
    MASK.add(account.private_key)
    if account.type != "service_account":
        raise ValueError(
            f"a key of type {account.type[:40]!r}: make one of a service account"
        )
    if not account.token_uri.startswith(SAFE):
        raise ValueError("its token_uri is not an https address")
    _key(account.private_key)
    return account


def form_of(account: Account, scope: str, now: datetime) -> dict[str, str]:
    """The form that is posted to `token_uri`."""
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
    from cryptography.hazmat.primitives.hashes import SHA256

    issued = now - SKEW
    head = {"alg": "RS256", "typ": "JWT"}
    if account.private_key_id:
        head["kid"] = account.private_key_id
    claims = {
        "iss": account.client_email,
        "scope": scope,
        "aud": account.token_uri,
        "iat": int(issued.timestamp()),
        "exp": int((issued + LIFE).timestamp()),
    }
    message = f"{_packed(head)}.{_packed(claims)}"
    signature = _key(account.private_key).sign(message.encode(), PKCS1v15(), SHA256())
    return {"grant_type": GRANT, "assertion": f"{message}.{_base64(signature)}"}


def token_of(body: bytes, now: datetime) -> Token:
    """The token in an answer, masked from now on; `ValueError` where there is none."""
    try:
        granted = _granted(body)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise ValueError(
            "the token server answered something that is no token"
        ) from None
    MASK.add(granted.access_token, passing="google")
    life = min(max(granted.expires_in, 0.0), LIFE.total_seconds())
    return Token(granted.access_token, now + timedelta(seconds=life * SHARE))


def why_refused(body: bytes) -> str:
    """What the token server says of a claim it does not take."""
    try:
        told = msgspec.json.decode(body[:4096], type=dict[str, object])
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return ""
    words = [told.get("error"), told.get("error_description")]
    return ": ".join(one[:200] for one in words if isinstance(one, str))


@lru_cache(maxsize=4)
def _key(pem: str) -> RSAPrivateKey:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(pem.encode(), password=None)
    except (ValueError, TypeError):
        raise ValueError("its private_key cannot be read") from None
    if not isinstance(key, RSAPrivateKey):
        raise ValueError("its private_key is no RSA key")  # noqa: TRY004  as above
    return key


def _packed(value: Mapping[str, object]) -> str:
    return _base64(msgspec.json.encode(value))


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
