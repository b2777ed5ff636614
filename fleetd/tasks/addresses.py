"""The addresses that vendors are given, and how they are compared and shown."""

from __future__ import annotations

from urllib.parse import quote, urlsplit

from fleetd.config import House
from fleetd.tasks.listen import PATH

PORTS = {"https": 443, "http": 80}


def address_of(house: House, source: str) -> str:
    """The whole URL of a source's webhooks, its key in it; empty without `public_url`."""
    base = house.webhooks.public_url
    return f"{base}{PATH}{source}{_key(house, source)}" if base else ""


def to_paste(house: House, source: str) -> str:
    """The same for people: with the word KEY for its key."""
    base = house.webhooks.public_url
    auth = house.sources[source].auth
    return f"{base}{PATH}{source}{'/KEY' if auth and auth.key else ''}" if base else ""


def _key(house: House, source: str) -> str:
    auth = house.sources[source].auth
    return f"/{quote(auth.key[0].reveal(), safe='')}" if auth and auth.key else ""


def same(one: str, other: str) -> bool:
    """Whether two URLs are one address."""
    return bool(one) and bool(other) and _plain(one) == _plain(other)


def _plain(url: str) -> tuple[str, str, int | None, str, str]:
    try:
        parts = urlsplit(url.strip())
        port = parts.port or PORTS.get(parts.scheme.lower())
    except ValueError:
        return "", url, None, "", ""
    host = (parts.hostname or "").lower()
    return parts.scheme.lower(), host, port, parts.path.rstrip("/"), parts.query


def shown(url: str) -> str:
    """Where a URL leads, without what may be a key of somebody's."""
    try:
        parts = urlsplit(url.strip())
        host = parts.netloc.rpartition("@")[2]
    except ValueError:
        return "a URL that cannot be read"
    more = "/…" if parts.path.strip("/") or parts.query else ""
    return f"{parts.scheme}://{host}{more}" if host else "no URL"
