"""Which hop did not hold, in one sentence that says what to look at."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Mapping

import httpx

from fleetd.errors import said
from fleetd.masking import MASK
from fleetd.reach import causes_of
from fleetd.tasks.addresses import PORTS, shown
from fleetd.tasks.hops.trip import Heard, Trip
from fleetd.tasks.probes import FOREIGN

LOOKUP_S, CONNECT_S, ANSWER_S = 5.0, 5.0, 10.0
LONGEST = 200
INSIDE = (
    "Is the port forwarded to this box? (Some routers let nobody in from the inside: then "
    "try from a phone)"
)
OF_TLS: Mapping[int, str] = {  # X509_V_ERR_* of OpenSSL
    9: "its certificate is not valid yet",
    10: "its certificate has expired",
    18: "its certificate is signed by itself, and no vendor believes it",
    19: "its certificate is signed by nobody who is believed",
    20: "its certificate is not believed (is the intermediate one missing?)",
    21: "its certificate is not believed (is the intermediate one missing?)",
    62: "its certificate is for another name",
    64: "its certificate is for another address",
}
OF_STATUS: Mapping[int, str] = {
    401: "something before fleetd asks for a password",
    403: "something before fleetd forbids it",
    404: "whatever answers there knows no such path: does it forward /webhooks/ to fleetd?",
    405: "whatever answers there takes no POST",
    407: "the proxy on the way out asks for a password",
    408: "the proxy gave up waiting",
    411: "the proxy wants another framing",
    413: "the proxy takes no body of that size",
    429: "something before fleetd lets only so many in",
    502: "the proxy is there and cannot reach fleetd behind it",
    503: "the proxy is there and has nobody behind it",
    504: "the proxy is there and waited in vain for fleetd behind it",
}


def broken(bad: httpx.HTTPError, trip: Trip, url: httpx.URL) -> str:
    """The hop at which a request ended without an answer."""
    kinds = {type(one): one for one in causes_of(bad)}
    place = f"{url.host}:{url.port or PORTS.get(url.scheme)}"
    doubt = kinds.get(ssl.SSLCertVerificationError)
    if isinstance(doubt, ssl.SSLCertVerificationError):
        other = f"its certificate is not believed ({doubt.verify_message})"
        return f"TLS: {OF_TLS.get(doubt.verify_code, other)}"
    if isinstance(bad, httpx.ProxyError):
        return f"the proxy on the way out answered {said(bad)[:LONGEST]}"
    if not trip.sent:
        return unconnected(bad, kinds, trip, place)
    if isinstance(bad, httpx.ReadTimeout):
        return f"sent to {place}, and no answer in {ANSWER_S:g} s"
    return f"sent to {place}, which hung up without an answer"


def unconnected(
    bad: httpx.HTTPError, kinds: Mapping[type[BaseException], BaseException],
    trip: Trip, place: str,
) -> str:  # fmt: skip
    """Why not even a connection came about."""
    host = place.rpartition(":")[0]
    if socket.gaierror in kinds:
        return f"DNS: {host} has no address"
    if trip.connected:
        return f"TLS: {place} takes connections, and no TLS comes about"
    if isinstance(bad, httpx.ConnectTimeout):
        return f"no connection to {place} in {CONNECT_S:g} s. {INSIDE}"
    whys = {
        os.strerror(one.errno)
        for one in kinds.values()
        if isinstance(one, OSError) and one.errno
    }
    why = ", ".join(sorted(whys)) or said(bad) or "it fails"
    return f"no connection to {place}: {why[:LONGEST]}. {INSIDE}"


def is_ours(heard: Heard) -> bool:
    """Whether a fleetd answered that knows no such path."""
    return heard.status == 404 and heard.body.startswith(b'{"error":"')


def stranger(heard: Heard) -> str:
    """Who answered instead of us."""
    status, by = heard.status, heard.headers.get("server", "")[:40]
    who = f"{status}{f' ({MASK.mask(by)})' if by else ''}"
    if status == FOREIGN and heard.body.startswith(
        b'{"error":"no probe of this fleetd'
    ):
        return "arrived at another fleetd than this one: whose address is that?"
    if is_ours(heard):
        return (
            "answered 404 as a fleetd does that has no such source: is it another one?"
        )
    if 300 <= status < 400:
        to = shown(heard.headers.get("location", ""))
        where = f" to {MASK.mask(to)[:LONGEST]}" if "://" in to else ""
        return f"answered {who}: redirected{where}, and vendors follow no redirect"
    if status < 300:
        what = "with a web page: a login, a parked name?" if is_page(heard) else (
            "by something else")  # fmt: skip
        return f"answered {who}, not by this fleetd but {what}"
    why = OF_STATUS.get(status, "not by fleetd but by something before it")
    return f"answered {who}: {why}"


def is_page(heard: Heard) -> bool:
    start = heard.body.lower()
    return b"<html" in start or b"<!doctype" in start
