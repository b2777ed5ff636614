"""The service account as a login, and what Google's refusals mean to people."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NoReturn
from urllib.parse import urlsplit

import msgspec
from msgspec.structs import replace

from fleetd.errors import HeldError
from fleetd.google import READ, account_of, fault_in, form_of, token_of
from fleetd.google.account import why_refused
from fleetd.masking import MASK
from fleetd.providers.contract import Answer, Ask, Grant, Session
from fleetd.providers.sheets import words

FIRST = datetime(1970, 1, 2, tzinfo=UTC)  # a claim has no older time
JUDGED_ELSEWHERE = frozenset({200, 401, 408, 409, 425, 429})
KEPT = 2048


class Title(msgspec.Struct, frozen=True):
    title: str = ""


class Book(msgspec.Struct, frozen=True):
    """Which spreadsheet it is."""

    spreadsheetId: str  # noqa: N815  their name
    properties: Title = Title()


def good_token(token: str) -> str | None:
    """What is wrong with a key file; None for a good one."""
    try:
        account_of(token)
    except ValueError as bad:
        return str(bad)
    return None


def login(token: str, now: datetime) -> Ask:
    """Change a signed claim for a token that may only read."""
    try:
        account = account_of(token)
    except ValueError as bad:
        raise HeldError(f"token: {bad}") from None
    url = urlsplit(account.token_uri)
    form = form_of(account, READ, max(now, FIRST))
    host = f"{url.scheme}://{url.netloc}"
    return Ask(url.path or "/", method="POST", form=form, host=host)


def granted(answer: Answer, now: datetime) -> Grant:
    """The token, or `HeldError` where Google gives none."""
    if answer.status == 200:
        found = token_of(answer.body, now)
        return Grant(found.access_token, expires=found.until)
    told = why_refused(answer.body) or str(answer.status)
    why = (
        f"Google gives this service account no token ({told}). Was its key deleted, or is"
        " this box's clock wrong? Make a new key"
    )
    raise HeldError(why, status=answer.status, answer=answer.body[:KEPT])


def put(ask: Ask, grant: Grant) -> Ask:
    return replace(
        ask, headers={**ask.headers, "Authorization": f"Bearer {grant.token}"}
    )


def ended(answer: Answer) -> bool:
    return answer.status == 401


def judge(token: str, ask: Ask, answer: Answer) -> None:
    """Say what to do about a refusal; what is only unwell is judged by its status."""
    if answer.status in JUDGED_ELSEWHERE or not 400 <= answer.status < 500:
        return
    _refuse(email_of(token), ask, answer)


def _refuse(email: str, ask: Ask, answer: Answer) -> NoReturn:
    status, fault = answer.status, fault_in(answer.body)
    said = MASK.mask(fault.message)[:300]
    if status == 403 and fault.is_off:
        why = (
            "the Google Sheets API is off in the account's project: switch it on there"
        )
    elif status == 403:
        why = words.share(email)
    elif status == 404:
        why = f"there is no spreadsheet {ask.path.split('/')[3]}: correct `spreadsheet`"
    else:
        why = f"Google refused it ({status}): {said}"
    raise HeldError(why, status=status, answer=answer.body[:KEPT])


def email_of(token: str) -> str:
    try:
        return account_of(token).client_email
    except ValueError:
        return "the service account"


_book = msgspec.json.Decoder(Book).decode


def whose(body: bytes) -> Sequence[str]:
    """The spreadsheet's title and id: it could be read."""
    book = _book(body)
    return [one for one in (book.properties.title, book.spreadsheetId) if one]


SESSION = Session(login=login, read=granted, put=put, ended=ended, judge=judge)
