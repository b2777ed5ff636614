"""One request as it travels: how far it came, and what was heard in the end."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import httpx
import trio
from msgspec import Struct

ENOUGH = 2048  # of an answer: it only has to be told from ours


class Heard(Struct, frozen=True):
    """What answered: enough of it to tell who that is."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Trip:
    """How far a request came, as httpx tells it."""

    def __init__(self) -> None:
        self.began = trio.current_time()
        self.connected = self.sent = False
        self.expires: datetime | None = None

    async def trace(self, event: str, info: Mapping[str, Any]) -> None:
        """For httpx (`extensions={"trace": ...}`)."""
        if event == "connection.connect_tcp.complete":
            self.connected = True
        elif event.endswith("start_tls.complete"):
            self.expires = expiry_of(info.get("return_value"))
        elif event == "http11.send_request_headers.started":
            self.sent = True


def expiry_of(stream: Any) -> datetime | None:
    """When the certificate of a TLS stream ends."""
    secured = stream.get_extra_info("ssl_object") if stream else None
    text = (secured.getpeercert() or {}).get("notAfter") if secured else None
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(text), UTC) if text else None


async def answered(http: httpx.AsyncClient, request: httpx.Request) -> Heard:
    """Status, headers and the beginning of an answer, however long it is."""
    response = await http.send(request, stream=True)
    body = bytearray()
    try:
        async for chunk in response.aiter_raw():
            body += chunk
            if len(body) >= ENOUGH:
                break
    finally:
        await response.aclose()
    headers = {name.lower(): value for name, value in response.headers.items()}
    return Heard(response.status_code, headers, bytes(body[:ENOUGH]))
