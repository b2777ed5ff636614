"""How the server is reached: what the URL says, and what it leaves to us."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.conninfo import conninfo_to_dict

from fleetd.errors import HeldError
from fleetd.masking import MASK

if TYPE_CHECKING:
    from fleetd.sinks.postgres import Config

CONNECT_WITHIN = 10.0
SYSTEM = "system"  # the places that OpenSSL was built for
BUNDLES = (  # and those where systems really have them
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
CHECKED = frozenset({"verify-ca", "verify-full"})
EXAMPLE = "postgresql://user:password@host:5432/database"


def way_of(config: Config) -> dict[str, Any]:
    """What libpq takes; the URL wins over all that we would choose."""
    told = read(config.url.reveal())
    within = min(CONNECT_WITHIN, config.timeout / 2)
    usual = {
        "connect_timeout": max(2, round(within)),
        "keepalives_idle": 30,
        "keepalives_interval": 10,
        "keepalives_count": 3,
        "tcp_user_timeout": int(config.timeout * 1000),
        "fallback_application_name": "fleetd",
        "gssencmode": "disable",
    }
    way = {**usual, **told, "client_encoding": "UTF8"}
    return {**way, **trust(config, way)}


def read(text: str) -> dict[str, Any]:
    """The parts of a URL, its password masked from now on."""
    try:
        told = conninfo_to_dict(text)
    except psycopg.ProgrammingError:
        why = f"url cannot be read; it takes {EXAMPLE}, what is special as %xx"
        raise HeldError(why) from None  # it quotes the URL
    for name in ("password", "sslpassword"):
        MASK.add(str(told.get(name) or ""))
    return told


def trust(config: Config, way: dict[str, Any]) -> dict[str, str]:
    """How sure of the server one has to be, and by which certificates."""
    mode = config.tls or way.get("sslmode")
    if mode is None:
        mode = "prefer" if is_near(way) else "verify-full"
    found = {"sslmode": str(mode)}
    if config.ca is not None:
        found["sslrootcert"] = str(config.ca)
    elif mode in CHECKED and "sslrootcert" not in way:
        found["sslrootcert"] = next(
            (one for one in BUNDLES if Path(one).exists()), SYSTEM
        )
    return found


def is_near(way: dict[str, Any]) -> bool:
    """Whether every host is this box itself."""
    hosts = str(way.get("hostaddr") or way.get("host") or "").split(",")
    return all(is_own(host.strip()) for host in hosts)


def is_own(host: str) -> bool:
    if not host or host.startswith(("/", "@")) or host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
