"""What Google says of a request that it does not take."""

from __future__ import annotations

from typing import Any

import msgspec

OFF = "SERVICE_DISABLED"


class Fault(msgspec.Struct):
    """The error in an answer; all empty where it is no answer of Google's."""

    code: int = 0
    message: str = ""
    status: str = ""
    details: list[dict[str, Any]] = []

    @property
    def is_off(self) -> bool:
        """Whether the API is off in the account's project."""
        return any(one.get("reason") == OFF for one in self.details)


class _Said(msgspec.Struct):
    error: Fault


_said = msgspec.json.Decoder(_Said).decode


def fault_in(body: bytes) -> Fault:
    """What is wrong, in Google's words."""
    try:
        return _said(body).error
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return Fault()
