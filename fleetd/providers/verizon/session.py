"""Reveal's login: user and password for a token of twenty minutes, and its refusals.

`GET /token` with HTTP Basic answers the bare JWT as text (sheet source D3). An ended
token comes back as a 400 that speaks of the token, not only as a 401 (C1); every other
400 of a vehicle's own call is about that vehicle: unknown, hidden, or older than the
customer's data plan (D4).
"""

from __future__ import annotations

import base64
import re
from datetime import datetime, timedelta

import msgspec
from msgspec.structs import replace

from fleetd.errors import AbsentError, HeldError, TransientError
from fleetd.providers.contract import Answer, Ask, Grant
from fleetd.providers.verizon.feeds import WHOLE

LIFE = timedelta(minutes=18)  # of 20: renewed ahead of its end
TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]{16,16384}")
ENDED = re.compile(rb"(?i)token|authorization has|not authori[sz]ed|unauthori[sz]ed")
SAID = 2048


def login(user: str, secret: str, _now: datetime) -> Ask:
    """The call for a token; the source's `token` is the integration user's password."""
    if not user:
        why = "polling Reveal needs `user` and `app_id` beside `token`"
        raise HeldError(why, status=401)
    pair = base64.b64encode(f"{user}:{secret}".encode()).decode()
    return Ask(
        "/token", headers={"Authorization": f"Basic {pair}", "Accept": "text/plain"}
    )


def read(answer: Answer, now: datetime) -> Grant:
    """The token, bare, quoted or in an object."""
    if answer.status in (400, 401, 403):
        why = (
            f"Reveal refused user and password ({answer.status} on /token); they are "
            "those of the REST integration user, and the account may be of another "
            "region"
        )
        raise HeldError(why, status=answer.status)
    if answer.status != 200:
        raise TransientError(f"/token: answered {answer.status}", status=answer.status)
    token = _token(answer.body)
    if not TOKEN.fullmatch(token):
        raise TransientError("/token: answered something that is no token")
    return Grant(token, expires=now + LIFE)


def _token(body: bytes) -> str:
    text = body[:32768].decode("utf-8-sig", "replace").strip()
    if text[:1] not in ('"', "{"):
        return text
    try:
        told = msgspec.json.decode(text)
    except msgspec.DecodeError:
        return ""
    if isinstance(told, dict):
        named = {key.lower(): one for key, one in told.items()}
        told = named.get("token") or named.get("access_token")
    return told.strip() if isinstance(told, str) else ""


def put(app: str, ask: Ask, grant: Grant) -> Ask:
    """The same with the header that every call takes."""
    said = f"Atmosphere atmosphere_app_id={app}, Bearer {grant.token}"
    headers = {**ask.headers, "Authorization": said, "Accept": "application/json"}
    return replace(ask, headers=headers)


def ended(answer: Answer) -> bool:
    """Whether the token is over."""
    if answer.status == 400:
        return ENDED.search(answer.body[:SAID]) is not None
    return answer.status == 401


def judge(ask: Ask, answer: Answer) -> None:
    """A vehicle that is not served concerns nobody else.

    What a new token leaves as it was, of a vehicle's own call, was said of the vehicle.
    """
    if ask.path in WHOLE and answer.status == 400 and ended(answer):
        why = f"Reveal ends each token as soon as it begins (400 on {ask.path})"
        raise HeldError(f"{why}. Fix token, user, app_id or region.", status=401)
    if ask.path in WHOLE or answer.status not in (204, 400, 404):
        return
    if answer.status == 204:
        raise AbsentError(f"{ask.path}: nothing (204)", known=True)
    why = "unknown or hidden number, or older than the account's data plan"
    raise AbsentError(f"{ask.path}: {why} ({answer.status})")
