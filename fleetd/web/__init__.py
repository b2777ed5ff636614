"""HTTP/1.1 over any trio stream, strict and bounded; webhooks and status use it."""

from __future__ import annotations

from fleetd.web.door import Door, serve_stream
from fleetd.web.listeners import TLS, Listener, open_listeners, twins
from fleetd.web.messages import Handler, Limits, Request, Response, complaint

__all__ = (
    "TLS",
    "Door",
    "Handler",
    "Limits",
    "Listener",
    "Request",
    "Response",
    "complaint",
    "open_listeners",
    "serve_stream",
    "twins",
)
