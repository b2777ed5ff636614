"""Motive's list of webhooks, its probe, and the log of what it delivered."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Sequence
from typing import Any

import httpx
import msgspec
from msgspec import Struct

from tests.vendors.base import Asked, Reply, Sending, refuse, reply
from tests.vendors.motive_words import a_time
from tests.vendors.truth import draw, zulu

ACTIONS = frozenset(
    {
        "vehicle_location_updated", "vehicle_location_received", "vehicle_geofence_event",
        "asset_geofence_event", "fault_code_opened", "fault_code_closed",
        "hos_violation_upserted", "user_upserted", "vehicle_upserted",
        "user_duty_status_updated", "inspection_report_upserted",
        "driver_performance_event_created", "driver_performance_event_updated",
        "speeding_event_created", "speeding_event_updated", "engine_toggle_event",
        "vehicle_gateway_disconnected", "vehicle_gateway_disconnect_ended",
        "ai_coach_recap_created",
    }
)  # fmt: skip
SLOTS = 2  # active webhooks an action


class Hook(Struct):
    """A webhook as it is registered."""

    id: int
    url: str
    secret: str
    actions: list[str]
    enabled: bool = False
    format: str = "json"


class Posted(Struct):
    """A delivery as the log has it; `code` is None where nobody answered."""

    id: int
    body: bytes
    at: int
    code: int | None = None
    failures: int = 0


class Account:
    """What a simulated company keeps of its own."""

    secret: str
    now: Callable[[], int]
    paged: Callable[..., Reply]

    def account_routes(self) -> dict[str, Callable[..., Reply]]:
        self.hooks: dict[int, Hook] = {}
        self.deliveries: dict[bytes, Posted] = {}
        return {
            "GET /v1/company_webhooks": self.list_hooks,
            "POST /v1/company_webhooks": self.make_hook,
            "PUT /v1/company_webhooks/{named}": self.change_hook,
            "DELETE /v1/company_webhooks/{named}": self.remove_hook,
            "GET /v1/company_webhook_requests": self.list_deliveries,
            "POST /v1/company_webhook_requests/retry": self.send_again,
        }

    def list_hooks(self, asked: Asked) -> Reply:
        every = [msgspec.to_builtins(one) for one in self.hooks.values()]
        return self.paged(asked, "company_webhooks", "company_webhook", every)

    def make_hook(self, asked: Asked) -> Reply:
        number = 42 + len(self.hooks)
        while number in self.hooks:
            number += 1
        hook = Hook(number, "", "", ["vehicle_location_updated"])
        self._write(hook, asked.json())
        self.hooks[number] = hook
        return reply({"company_webhook": msgspec.to_builtins(hook)}, 201)

    def change_hook(self, asked: Asked, named: str) -> Reply:
        hook = self._hook(named)
        self._write(hook, asked.json())
        return reply({"company_webhook": msgspec.to_builtins(hook)})

    def remove_hook(self, _asked: Asked, named: str) -> Reply:
        del self.hooks[self._hook(named).id]
        return reply({"success": True})

    def _hook(self, named: str) -> Hook:
        hook = self.hooks.get(int(named)) if named.isdecimal() else None
        if hook is None:
            raise refuse({"error_message": "Webhook not found"}, 404)
        return hook

    def _write(self, hook: Hook, told: Any) -> None:
        """Take over what is said; a change of URL or secret is probed before it counts."""
        if not isinstance(told, dict) or not str(told.get("url", hook.url)):
            raise refuse({"error_message": "url is required"}, 400)
        actions = told.get("actions", hook.actions)
        if not isinstance(actions, list) or not set(actions) <= ACTIONS:
            raise refuse({"error_message": "actions are invalid"}, 400)
        enabled = bool(told.get("enabled", hook.enabled))
        full = [one for one in actions if enabled and self._taken(hook, one) >= SLOTS]
        if full:
            why = f"Only {SLOTS} active webhooks per action: {full[0]}"
            raise refuse({"error_message": why}, 400)
        hook.url, hook.actions = str(told.get("url", hook.url)), actions
        given = told.get("secret", hook.secret)
        hook.secret = given or f"{int(draw('secret', hook.id) * 10**20):020}"
        hook.enabled = enabled and self.probe(hook) in (200, 201)

    def _taken(self, hook: Hook, action: str) -> int:
        others = (one for one in self.hooks.values() if one.id != hook.id)
        return sum(one.enabled and action in one.actions for one in others)

    def probe(self, hook: Hook) -> int:
        """The answer to a signed body that only names actions; 0 where there is none."""
        body = msgspec.json.encode(hook.actions)
        digest = hmac.digest(hook.secret.encode(), body, "sha1").hex()
        headers = {
            "X-KT-Webhook-Signature": digest,
            "Content-Type": "application/json",
        }
        try:
            return httpx.post(
                hook.url, content=body, headers=headers, timeout=3
            ).status_code
        except (httpx.HTTPError, httpx.InvalidURL):
            return 0

    # the log of deliveries

    def posted(self, sending: Sending, status: int) -> None:
        """Remember what became of a push."""
        entry = self.deliveries.get(sending.body)
        if entry is None:
            number = len(self.deliveries) + 1
            entry = Posted(number, sending.body, self.now())
            self.deliveries[sending.body] = entry
        entry.code = status or None
        entry.failures += status not in (200, 201)

    def list_deliveries(self, asked: Asked) -> Reply:
        since = a_time(asked, "posted_after", 0)
        until = a_time(asked, "posted_before", self.now() + 1)
        wanted = asked.one("response_code")
        found = [
            self.delivery(one)
            for one in self.deliveries.values()
            if since <= one.at < until and wanted in ("", str(one.code))
        ]
        named = "company_webhook_request"
        return self.paged(asked, f"{named}s", named, found)

    def delivery(self, one: Posted) -> dict[str, Any]:
        payload = msgspec.json.decode(one.body)
        return {
            "id": one.id, "company_webhook_id": 42, "action": payload.get("action"),
            "url": "https://edge.example.com/hooks/motive", "secret": self.secret,
            "format": "json", "payload": payload, "response_code": one.code,
            "num_failures": one.failures, "posted_at": zulu(one.at),
        }  # fmt: skip

    def send_again(self, asked: Asked) -> Reply:
        told = asked.json()
        ids: Sequence[Any] = told.get("ids", ()) if isinstance(told, dict) else ()
        if not ids and "ids[]" not in asked.query:
            raise refuse({"error_message": "ids are required"}, 400)
        return reply({"success": True})
