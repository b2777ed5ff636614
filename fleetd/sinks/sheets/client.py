"""The Sheets API as fleetd uses it: a token when one is needed, and an answer as a verdict."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from functools import cached_property
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx
import msgspec

from fleetd.errors import HeldError, TransientError
from fleetd.google import (
    EDIT,
    Account,
    Fault,
    Token,
    account_of,
    fault_in,
    form_of,
    token_of,
)
from fleetd.google.account import why_refused
from fleetd.masking import MASK
from fleetd.pace import retry_after
from fleetd.sinks.answers import OUT_OF_SIZE, Answer, ask
from fleetd.sinks.sheets.config import GOOGLE, Config
from fleetd.sinks.sheets.wire import Updated
from fleetd.world import World

T = TypeVar("T")
TOKEN_WITHIN, READ_WITHIN, WRITE_WITHIN = 10.0, 15.0, 20.0
MOST = 64 << 20  # bytes of an answer: a tab read whole
KEPT = 2048
READS_A_TURN = 2  # 24 turns a minute are 48 reads of the 60 that Google allows
SHEET = {  # of a 400, what is no fault of what we write
    "10000000 cells": "the spreadsheet holds 10 000 000 cells, all that Google allows:"
    " delete old tabs, or name another spreadsheet",
    "protected cell": "cells that fleetd writes are protected: let {email} edit them, at"
    " Data, Protect sheets and ranges",
    "not supported for this document": "this is an Office file: save it as a Google"
    " Sheet, and name that",
}
PUBLIC = "https://docs.google.com"
FILES = re.compile(r"https://[a-z0-9.-]+\.googleusercontent\.com/")


class UnappliedError(Exception):
    """Google took none of it: the requests do not fit the sheet as it stands now.

    With 413 there were only too many of them.
    """

    def __init__(self, why: str, answer: bytes, status: int = 400) -> None:
        super().__init__(why)
        self.answer, self.status = answer, status


class Google:
    """One spreadsheet, and the account that may write to it."""

    def __init__(self, config: Config, world: World, http: httpx.AsyncClient) -> None:
        self._config, self._world, self._http = config, world, http
        self._token: Token | None = None
        self._reads = self._writes = 0

    def spent(self) -> int:
        """How many turns that was since it was asked last: a write with two reads is one."""
        turns = max(self._writes, math.ceil(self._reads / READS_A_TURN))
        self._reads = self._writes = 0
        return turns

    @property
    def spreadsheet(self) -> str:
        return self._config.spreadsheet

    @cached_property
    def account(self) -> Account:
        """The service account, read from its key."""
        try:
            return account_of(self._config.account.reveal())
        except ValueError as bad:
            raise HeldError(f"account: {bad}") from None

    async def get(self, shape: type[T], **params: str) -> T:
        """What the spreadsheet says of itself."""
        self._reads += 1
        return await self._call(shape, "GET", "", READ_WITHIN, params=params)

    async def read(self, shape: type[T], rest: str, body: Mapping[str, Any]) -> T:
        """A question that is too long for an address."""
        self._reads += 1
        return await self._call(shape, "POST", rest, READ_WITHIN, json=body)

    async def update(self, requests: list[dict[str, Any]]) -> None:
        """All of these changes, or none: `UnappliedError` says that it was none."""
        self._writes += 1
        body = {"requests": requests}
        await self._call(Updated, "POST", ":batchUpdate", WRITE_WITHIN, json=body)

    async def is_public(self) -> bool:
        """Whether somebody without any credentials may read it.

        Google sends them on: to the file where they may, to its login where not.
        """
        config = self._config
        base = PUBLIC if config.base_url == GOOGLE else config.base_url
        url = f"{base}/spreadsheets/d/{config.spreadsheet}/export?format=csv"
        answer = await ask(self._http, "GET", url, within=READ_WITHIN)
        sent_on = FILES.match(answer.headers.get("location", ""))
        return answer.status == 200 or (300 <= answer.status < 400 and bool(sent_on))

    async def _call(
        self, shape: type[T], method: str, rest: str, within: float, *,
        json: Any = None, params: Mapping[str, str] | None = None,
    ) -> T:  # fmt: skip
        config = self._config
        url = f"{config.base_url}/v4/spreadsheets/{config.spreadsheet}{rest}"
        body: dict[str, Any] = (
            {} if json is None else {"content": msgspec.json.encode(json)}
        )
        for renewed in (False, True):
            headers = {"Authorization": f"Bearer {await self._bearer()}"}
            if body:
                headers["Content-Type"] = "application/json"
            answer = await ask(
                self._http, method, url, within=within, most=MOST, headers=headers,
                params=dict(params or {}), **body,
            )  # fmt: skip
            if answer.status != 401 or renewed:
                break
            self._token = None  # it ended early: one new one, then they mean it
        return self._read(answer, shape)

    async def _bearer(self) -> str:
        now = self._world.now()
        if self._token is None or self._token.until <= now:
            self._token = await self._login()
        return self._token.access_token

    async def _login(self) -> Token:
        """Change a signed claim for a token."""
        account, now = self.account, self._world.now()
        form = form_of(account, EDIT, now)
        answer = await ask(
            self._http, "POST", account.token_uri, within=TOKEN_WITHIN, data=form
        )
        if answer.status == 200:
            try:
                return token_of(answer.body, now)
            except ValueError as bad:
                raise TransientError(
                    f"{answer.host}: {bad}", answer=kept(answer)
                ) from bad
        if unwell(answer.status):
            raise self._later(answer, "")
        told = why_refused(answer.body) or str(answer.status)
        why = (
            f"Google gives {account.client_email} no token ({told}). Was its key deleted,"
            " or is this box's clock wrong? Make a new key and put it where `account` says"
        )
        raise HeldError(why, status=answer.status, answer=kept(answer))

    # what an answer means

    def _read(self, answer: Answer, shape: type[T]) -> T:
        """The document of a 200, or the verdict, raised."""
        if answer.status == 200:
            try:
                return msgspec.json.decode(answer.body, type=shape)
            except (msgspec.DecodeError, UnicodeError, RecursionError) as bad:
                why = (
                    f"{answer.host} answered 200 with something that is not Google's,"
                    " or not whole"
                )
                raise TransientError(why, status=200, answer=kept(answer)) from bad
        fault = fault_in(answer.body)
        words = MASK.mask(fault.message)[:300]
        if unwell(answer.status):
            raise self._later(answer, words)
        if answer.status in (400, OUT_OF_SIZE):
            self._judge_sheet(fault, answer)
            why = f"Google refused it: {words}"
            raise UnappliedError(why, kept(answer), answer.status)
        raise HeldError(
            self._advice(answer, fault), status=answer.status, answer=kept(answer)
        )

    def _later(self, answer: Answer, words: str) -> TransientError:
        status = answer.status
        return TransientError(
            f"{answer.host} answered {status}{f': {words}' if words else ''}",
            after=retry_after(answer.headers.get("retry-after"), self._world.now()),
            status=status,
            counts=status not in {408, 429, 503},
            slow=status in {408, 503},  # a heavy spreadsheet: fewer rows may pass
            answer=kept(answer),
        )

    def _judge_sheet(self, fault: Fault, answer: Answer) -> None:
        """Hold where no other rows would be taken either."""
        for said, advice in SHEET.items():
            if said in fault.message:
                why = advice.format(email=self.account.client_email)
                raise HeldError(why, status=400, answer=kept(answer))

    def _advice(self, answer: Answer, fault: Fault) -> str:
        email, config = self.account.client_email, self._config
        if answer.status == 403 and fault.is_off:
            return "the Google Sheets API is off in the account's project: switch it on there"
        if answer.status == 403:
            return f"share this sheet with {email} as Editor"
        if answer.status == 404:
            return (
                f"there is no spreadsheet {config.spreadsheet}: correct `spreadsheet`"
            )
        if answer.status == 401:
            return f"Google takes no token of {email}: make a new key"
        host = urlsplit(config.base_url).hostname
        return f"{host} answered {answer.status}: {MASK.mask(fault.message)[:200]}"


def unwell(status: int) -> bool:
    """Whether to ask again later, whatever was asked."""
    return status in {408, 409, 425, 429} or status >= 500 or status < 200


def kept(answer: Answer) -> bytes:
    """As much of it as an attempt remembers."""
    return MASK.mask(answer.body[: 4 * KEPT])[:KEPT]
