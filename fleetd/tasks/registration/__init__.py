"""A source's webhook at its vendor: what is registered there, and whether it is ours."""

from __future__ import annotations

from fleetd.tasks.registration.registry import (
    Registration,
    asks,
    recall_of,
    registration_of,
    secrets_beside,
)
from fleetd.tasks.registration.watch import watch_registration

__all__ = [
    "Registration",
    "asks",
    "recall_of",
    "registration_of",
    "secrets_beside",
    "watch_registration",
]
