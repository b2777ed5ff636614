"""What sinks and providers both know of Google: service accounts, and marks in sheets."""

from __future__ import annotations

from fleetd.google.account import (
    EDIT,
    READ,
    Account,
    Token,
    account_of,
    form_of,
    token_of,
)
from fleetd.google.marks import MARK, Mark, key_of, origin_of, print_of

__all__ = [
    "EDIT",
    "MARK",
    "READ",
    "Account",
    "Mark",
    "Token",
    "account_of",
    "form_of",
    "key_of",
    "origin_of",
    "print_of",
    "token_of",
]
