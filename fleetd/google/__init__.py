"""What sinks and providers both know of Google: accounts, spreadsheets, marks in them."""

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
from fleetd.google.books import (
    CURSOR,
    SHEETS,
    Kept,
    Spreadsheet,
    column_of,
    corner,
    kept_in,
    letters,
)
from fleetd.google.faults import Fault, fault_in
from fleetd.google.marks import MARK, Mark, key_of, origin_of, print_of

__all__ = [
    "CURSOR",
    "EDIT",
    "MARK",
    "READ",
    "SHEETS",
    "Account",
    "Fault",
    "Kept",
    "Mark",
    "Spreadsheet",
    "Token",
    "account_of",
    "column_of",
    "corner",
    "fault_in",
    "form_of",
    "kept_in",
    "key_of",
    "letters",
    "origin_of",
    "print_of",
    "token_of",
]
