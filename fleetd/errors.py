"""One class for each thing the engine does about a failure."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Mapping
from datetime import datetime

DISK_FAULTS = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EFBIG}
)  # what a command that writes exits 74 for


class FleetdError(Exception):
    """Anything fleetd itself raises on purpose."""


class ConfigError(FleetdError):
    """The operator must change something: refuse to start, exit 78."""


class NotYetError(ConfigError):
    """An address that this box does not have, or not yet: exit 1, and it is tried again."""


class SignatureError(FleetdError):
    """The sender did not prove itself: refuse, keep the body apart as unverified."""


class PayloadError(FleetdError):
    """The shape is not what was promised: a record is a dead letter, a page is asked again."""


class TransientError(FleetdError):
    """The far side is unwell: the same request again, later.

    `after` is the wait it asked for in seconds, if it did. `counts` is False for what
    says nothing about the entries themselves (time-outs, 429, 503): such answers never
    make a record `stuck`. `slow` marks a time-out under way, which fewer entries may mend.
    """

    def __init__(
        self,
        why: str,
        *,
        after: float | None = None,
        status: int | None = None,
        counts: bool = True,
        slow: bool = False,
        answer: bytes = b"",
    ) -> None:
        super().__init__(why)
        self.after = after
        self.status = status
        self.counts = counts
        self.slow = slow
        self.answer = answer


class RejectedError(FleetdError):
    """These entries never; the rest is taken. `reasons` maps seq to why.

    `proven` is True where the far side itself named the records one by one; else the
    engine halves the batch and looks for proof before it buries anything. `blameless`
    is True where the batch was only too big (413): halve, and blame nobody. `skipped`
    are entries that the sink decided not to tell: seq → why, as in a receipt.
    """

    def __init__(
        self,
        reasons: Mapping[int, str],
        *,
        proven: bool = False,
        blameless: bool = False,
        skipped: Mapping[int, str] | None = None,
        status: int | None = None,
        answer: bytes = b"",
    ) -> None:
        super().__init__("; ".join(sorted(set(reasons.values()))) or "rejected")
        self.reasons = dict(reasons)
        self.skipped = dict(skipped or {})
        self.proven = proven
        self.blameless = blameless
        self.status = status
        self.answer = answer


class HeldError(FleetdError):
    """The far side refuses us: hold, keep everything, say what to do, try now and then."""

    def __init__(
        self, why: str, *, status: int | None = None, answer: bytes = b""
    ) -> None:
        super().__init__(why)
        self.status = status
        self.answer = answer


class ExpiredError(FleetdError):
    """The far side no longer knows our bookmark: begin anew, and fetch what lies between.

    `since` is where the window begins that was asked for, where it was one: nothing
    before it is lost, and it can be asked for again.
    """

    def __init__(self, why: str, *, since: datetime | None = None) -> None:
        super().__init__(why)
        self.since = since


class AbsentError(FleetdError):
    """One vehicle cannot be asked about now: go on with the next, conclude nothing.

    `known` says that the vendor has it, and just nothing to tell of it.
    """

    def __init__(self, why: str, *, known: bool = False) -> None:
        super().__init__(why)
        self.known = known


class FullError(FleetdError):
    """The disk is full: intake answers 503, delivery goes on, reopens by itself."""


class StoreError(FleetdError):
    """A failed sync or I/O error: no more 2xx, exit 74, systemd starts a clean one."""


class LockedError(FleetdError):
    """Another fleetd holds the data folder: exit 75."""


class UnreachableError(FleetdError):
    """The daemon did not answer: exit 69."""


class UsageError(FleetdError):
    """What was typed cannot be meant: say what can, exit 2."""


def said(fault: BaseException) -> str:
    """What a fault says of itself, or the one behind it where it says nothing."""
    seen: BaseException | None = fault
    while seen is not None:
        if isinstance(seen, OSError) and seen.strerror and not seen.filename:
            return seen.strerror  # without its number, which says nothing at night
        if text := str(seen):
            return text
        seen = seen.__cause__ or seen.__context__
    return ""


def leaves(fault: BaseException) -> Iterator[BaseException]:
    """The single faults inside groups, however deep."""
    if isinstance(fault, BaseExceptionGroup):
        for one in fault.exceptions:
            yield from leaves(one)
    else:
        yield fault
