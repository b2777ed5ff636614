"""Motive (once KeepTruckin): signed webhooks, and lists of everything for the rest.

The signature (HMAC-SHA1 over the raw body) holds no time, so nothing but the identity of
events defends against a replay. A 403 is final for Motive and the event lost to it;
every other refusal is sent again for hours. Records say neither their units nor their
VIN in a location: the directory fills those. The API has no cursors and no list of
changes: feeds read windows again and join by id. It publishes no limits (so we are
modest) and takes up to 18 s for wide questions: a source's `timeout` should be 90 s.
"""

from __future__ import annotations

from fleetd.providers.contract import Limits, Provider, Webhook
from fleetd.providers.motive.account import HOOKS, WHOAMI, authorize, judge
from fleetd.providers.motive.deliveries import unread
from fleetd.providers.motive.lists import FEEDS, PUSHED
from fleetd.providers.motive.polled import NORMALIZERS
from fleetd.providers.motive.positions import position
from fleetd.providers.motive.pushed import SIGNATURE, sign, unpack, verify
from fleetd.providers.motive.records import SECRETS, record

__all__ = ["PROVIDER", "sign", "unpack", "verify"]

PROVIDER = Provider(
    name="motive",
    title="Motive",
    base_url="https://api.gomotive.com",
    patience=90.0,  # wide windows take 12 to 18 s
    normalize={
        "positions": position,
        "records": record,
        "deliveries": unread,
        **NORMALIZERS,
    },
    webhook=Webhook(
        verify=verify,
        unpack=unpack,
        sign=sign,
        refusal=403,
        keep=("content-type", "user-agent", SIGNATURE),
        kinds=PUSHED,
    ),
    feeds=FEEDS,
    authorize=authorize,
    judge=judge,
    limits=Limits(per_second=5.0),
    whoami=WHOAMI,
    hooks=HOOKS,
    secret_fields=SECRETS,
    where="make a company webhook there, with a secret of your own choice",
)
