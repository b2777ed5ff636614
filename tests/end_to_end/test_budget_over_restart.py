"""A vendor that says "later" is left alone until then, by every source and after a kill."""

from __future__ import annotations

import pytest

from tests.hub import Asked

ELSEWHERE = "tests.end_to_end.elsewhere"
SOURCE = """
[sources.{name}]
provider = "acme"
token = "env:{token}"
base_url = "http://127.0.0.1:$hub"
feeds = {{ items = "1s" }}
"""


@pytest.mark.parametrize("kills", [True, False])
def test_a_long_pause_holds_for_both_sources_of_a_token_and_over_a_restart(
    make, hub, kills
):
    def answer(asked: Asked) -> tuple[int, bytes]:
        return (
            (429, b"{}")
            if asked.headers["authorization"].endswith("busy")
            else (200, b"[]")
        )

    def of(token: str) -> int:
        return sum(
            one.headers["authorization"].endswith(token) for one in tuple(hub.asked)
        )

    hub.asked.clear()
    hub.answer, hub.more = answer, {"Retry-After": "600"}
    names = [("north", "BUSY"), ("south", "BUSY"), ("east", "FREE")]
    config = "".join(SOURCE.format(name=name, token=token) for name, token in names)
    environ = {"BUSY": "a-token-busy", "FREE": "a-token-free"}
    daemon = make(config, environ=environ, program=ELSEWHERE, hub=str(hub.port)).begin()
    daemon.until(lambda: of("busy") and of("free") >= 3, "both tokens to be used")
    asked = of("busy")
    assert asked <= 2  # one was under way when the other came back
    if kills:
        daemon.kill()
    else:
        daemon.stop()
    before = of("free")
    daemon.begin()
    daemon.until(lambda: of("free") >= before + 3, "the other token to be used")

    assert of("busy") == asked
