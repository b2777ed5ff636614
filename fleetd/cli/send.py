"""Sign a sample with the source's own secret and post it to this daemon.

First-hour proof without a vendor: the same road as a real webhook, to the log and out.
"""

from __future__ import annotations

import argparse
import base64
import http.client
import os
import ssl
import sys
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

import msgspec

from fleetd import config, providers, secrets, sinks
from fleetd.cli import _client, _show
from fleetd.config import Bind, House
from fleetd.errors import FleetdError, UnreachableError, UsageError, said
from fleetd.tasks.control.order import known
from fleetd.world import wall_clock

LARGEST = 16 << 20
PATIENCE = 30.0
OK = 200
LOOK = (
    ("dead", "It could not be read: fleetd dead"),
    ("stored", "Look at it: fleetd events -n 5"),
    ("filtered", "It was counted out: fleetd events --filtered"),
    ("duplicate", "It was there already: fleetd events -n 5"),
)
NOTHING = "There was no record in it"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="SOURCE", help="a source of the config")
    parser.add_argument("file", metavar="FILE", help="the body; - is standard input")
    parser.add_argument("--json", action="store_true", help="the answer alone")


def main(chosen: argparse.Namespace) -> int:
    house = config.fitted(config.load(chosen.config), providers.load, sinks.load)
    name = known(chosen.source, house.sources, "source")
    body = body_of(chosen.file)
    path, extra = way_in(house, name)
    headers = {**signed(house, name, body), **extra}
    status, answer = post(house, path, headers, body)
    found = parsed(answer)
    if chosen.json:
        _show.lines([{"status": status, "answer": found}])
    else:
        print(f"{name}: {len(body)} bytes signed and posted; fleetd answered {status}:")
        print(_show.printable(answer.decode(errors="replace")))
        if status == OK and isinstance(found, dict):
            print(next((told for key, told in LOOK if found.get(key)), NOTHING))
    return 0 if status == OK else 1


def body_of(file: str) -> bytes:
    """The sample, bounded."""
    try:
        if file == "-":
            body = sys.stdin.buffer.read(LARGEST + 1)
        else:
            with Path(file).open("rb") as opened:
                body = opened.read(LARGEST + 1)
    except OSError as bad:
        raise UsageError(f"{file}: {bad.strerror}") from bad
    if len(body) > LARGEST:
        raise UsageError(f"{file} is over {LARGEST} bytes")
    return body


def signed(house: House, name: str, body: bytes) -> Mapping[str, str]:
    """The vendor's headers; where the service alone has the secret, it signs itself."""
    source = house.sources[name]
    webhook = config.configured(source, providers.load).webhook
    if webhook is None or not source.receives:
        raise UsageError(
            f"{name} receives no webhooks: {source.provider} polls, or webhook_secret "
            "is missing"
        )
    if not source.webhook_secret:
        return {}
    try:
        secret = seen(source.webhook_secret[0])
    except (secrets.MissingError, secrets.UnseenError):
        text = base64.b64encode(body).decode()
        found = _client.changer(house).post("sign", source=name, body=text)
        return dict(found["headers"])
    return dict(webhook.sign(body, secret, wall_clock()))


def way_in(house: House, name: str) -> tuple[str, dict[str, str]]:
    """The path with its key, and the headers, of a source that does not sign."""
    path, headers = f"/webhooks/{name}", {"Content-Type": "application/json"}
    auth = house.sources[name].auth
    if auth is None:
        return path, headers
    try:
        if auth.key:
            path += f"/{quote(seen(auth.key[0]), safe='')}"
        for header, secret in auth.header.items():
            headers[header] = seen(secret)
    except (secrets.MissingError, secrets.UnseenError) as bad:
        raise FleetdError(f"sources.{name}.auth: {bad}") from bad
    return path, headers


def seen(secret: secrets.Secret) -> str:
    """Its value, masked from now on."""
    secret.settle(secret.look(os.environ))
    return secret.reveal()


def post(
    house: House, path: str, headers: Mapping[str, str], body: bytes
) -> tuple[int, bytes]:
    """To the first door that this daemon opens for webhooks."""
    bind = next((one for one in house.webhooks.bind if one != "systemd"), None)
    if bind is None:
        raise UsageError(
            "webhooks.bind has only systemd's socket: post to that by hand"
        )
    line = door(house, bind)
    try:
        line.request("POST", path, body=body, headers=dict(headers))
        answer = line.getresponse()
        return answer.status, answer.read(LARGEST)
    except (OSError, http.client.HTTPException) as bad:
        raise UnreachableError(
            f"nobody takes webhooks at {bind}: {said(bad)}. Does fleetd run?"
        ) from bad
    finally:
        line.close()


def door(house: House, bind: Bind) -> http.client.HTTPConnection:
    """A connection to it; its certificate names the outside, so here nobody checks it."""
    if bind.startswith("unix:"):
        return _client.UnixConnection(Path(bind.removeprefix("unix:")), PATIENCE)
    host = _client.near(bind)
    if house.webhooks.tls_cert is None:
        return http.client.HTTPConnection(host, bind.port, timeout=PATIENCE)
    anybody = ssl.create_default_context()
    anybody.check_hostname = False
    anybody.verify_mode = ssl.CERT_NONE
    return http.client.HTTPSConnection(
        host, bind.port, timeout=PATIENCE, context=anybody
    )


def parsed(answer: bytes) -> object:
    """The answer as data where it is JSON."""
    try:
        return msgspec.json.decode(answer)
    except msgspec.DecodeError:
        return answer.decode(errors="replace")
