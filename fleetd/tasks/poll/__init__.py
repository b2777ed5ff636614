"""Feeds in: what a vendor is asked again and again, page and bookmark in one commit."""

from __future__ import annotations

from fleetd.tasks.poll.accounts import accounts_of, plans_of, way_of
from fleetd.tasks.poll.credential import Credential, open_credential
from fleetd.tasks.poll.feed import poll
from fleetd.tasks.poll.plan import Account, Plan

__all__ = [
    "Account",
    "Credential",
    "Plan",
    "accounts_of",
    "open_credential",
    "plans_of",
    "poll",
    "way_of",
]
