"""Verizon Connect Reveal (once Fleetmatics): polled with short tokens, pushed through SNS.

Nothing of it was tried against a live account: field names are the vendor's, the
wrapper of the bulk calls and the push are inferred, so all is read leniently: keys in
any case, values one level higher or lower, and nothing promised that was not said.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from typing import ClassVar, Literal

from msgspec import Struct

from fleetd.errors import ConfigError
from fleetd.providers.contract import (
    Ask,
    Limits,
    Normalize,
    Probe,
    Provider,
    Session,
)
from fleetd.providers.verizon import (
    alerts,
    engines,
    people,
    positions,
    privacy,
    session,
    sns,
    trips,
)
from fleetd.providers.verizon.feeds import FEEDS, VEHICLES
from fleetd.providers.verizon.wire import rows

APP = re.compile(r"[A-Za-z0-9._-]{1,200}")
USER = re.compile(r"[^\s:]{1,200}")
TOPIC = re.compile(r"arn:aws[a-z-]*:sns:[a-z0-9-]{1,40}:\d{12}:[A-Za-z0-9._-]{1,256}")

GPS = ("position",)
PUSHED = (
    *GPS, "safety", "geofence", "engine", "fault", "duty", "device", "alert",
)  # fmt: skip


class Settings(Struct, frozen=True, forbid_unknown_fields=True):
    """The keys of `[sources.x]` that only this provider has."""

    docs: ClassVar[dict[str, str]] = {
        "user": "the REST integration user; its password is `token`",
        "app_id": "the App ID of the developer portal, `fleetmatics-p-us-...`",
        "region": "where the account is: the Americas or Europe",
        "units": "of speeds and odometers whose field names none",
        "topic": "pushes only from this SNS topic (its ARN); none: from any",
        "confirm": "confirm a verified subscription; else an alert has the link",
        "alerts": "alerts are pushed here too: what was missed of them is told as lost",
    }
    user: str = ""
    app_id: str = ""
    region: Literal["us", "eu"] = "us"
    units: Literal["metric", "us"] = "metric"
    topic: str = ""
    confirm: bool = False
    alerts: bool = False


PLAIN = Settings()


def configured(settings: Settings | None) -> Provider:
    """The provider as one source shapes it; a `ConfigError` names the wrong key."""
    settings = settings or PLAIN
    _judge(settings)
    return Provider(
        name="verizon",
        title="Verizon Connect Reveal",
        base_url=f"https://fim.api.{settings.region}.fleetmatics.com",
        normalize=_normalizers(settings),
        webhook=sns.webhook(
            settings.topic, PUSHED if settings.alerts else GPS, confirm=settings.confirm
        ),
        feeds=FEEDS,
        session=Session(
            login=partial(session.login, settings.user),
            read=session.read,
            put=partial(session.put, settings.app_id),
            ended=session.ended,
        ),
        judge=session.judge,
        limits=Limits(per_second=2.0),
        whoami=Probe(Ask(VEHICLES), partial(account, settings.user)),
        secret_fields=frozenset({"UnsubscribeURL"}),
        hide=privacy.hide,
        settings=Settings,
        configured=configured,
        where="give Verizon Connect the URL, a user and a password for its GPS push",
    )


def _normalizers(settings: Settings) -> Mapping[str, Normalize]:
    metric = settings.units == "metric"
    return {
        "vehicles": people.vehicle,
        "drivers": people.driver,
        "positions": partial(positions.last_place, metric),
        "track": partial(positions.track_point, metric),
        "trips": trips.trip,
        "statuses": partial(engines.status, metric),
        "ecm": partial(engines.ecm, metric),
        "faults": engines.active_codes,
        "fault_history": engines.code_history,
        "pushed": partial(alerts.pushed, metric),
        "subscription": partial(alerts.subscription, settings.confirm),
    }


def _judge(settings: Settings) -> None:
    """Refuse what could not mean anything."""
    if bool(settings.user) != bool(settings.app_id):
        missing = "app_id" if settings.user else "user"
        raise ConfigError(f"{missing}: user and app_id go together")
    if settings.user and not USER.fullmatch(settings.user):
        raise ConfigError("user: has no blanks and no colon")
    if settings.app_id and not APP.fullmatch(settings.app_id):
        raise ConfigError("app_id: only the ID itself, as fleetmatics-p-us-abc123")
    if settings.topic and not TOPIC.fullmatch(settings.topic):
        raise ConfigError("topic: an ARN, as arn:aws:sns:us-east-1:123456789012:name")


def account(user: str, body: bytes) -> list[str]:
    """Whose credential it is: one integration user is of one account.

    Its name ends in the account's number (`REST_Acme_1234@123456.com`).
    """
    rows(body)  # or it was no answer at all
    number = user.partition("@")[2].partition(".")[0]
    return [one for one in (user, number) if one]


PROVIDER = configured(PLAIN)
