"""Everything that came out anywhere, and a search in it for secrets in any form."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from urllib.parse import quote, quote_plus

from tests.harness import Answer


class Seen:
    """Everything that came out anywhere, by where."""

    def __init__(self) -> None:
        self.outputs: dict[str, bytes] = {}

    def add(self, where: str, *outputs: str | bytes) -> None:
        text = b"".join(
            one.encode() if isinstance(one, str) else one for one in outputs
        )
        self.outputs[where] = self.outputs.get(where, b"") + text

    def answer(self, where: str, answer: Answer) -> Answer:
        self.add(where, str(dict(answer.headers)), answer.body)
        return answer


def forms(value: str) -> Iterator[bytes]:
    """A value as it could be met, the code under test not asked."""
    body = value.encode()
    texts = {value, quote(value), quote(value, safe=""), quote_plus(value)}
    texts |= {json.dumps(value)[1:-1], repr(value)[1:-1], body.hex()}
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        for shift in range(3):
            code = encode(bytes(shift) + body).decode().rstrip("=")
            first = (shift * 8 + 5) // 6
            core = code[first : (len(body) + shift) * 8 // 6]
            texts |= {core} if len(core) >= 10 else set()
    for text in texts:
        yield text.encode()


def shown(seen: Seen, values: set[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for value in values:
        for form in forms(value):
            for where, output in seen.outputs.items():
                at = output.find(form)
                if at >= 0:
                    near = output[max(0, at - 60) : at + len(form) + 20]
                    found.setdefault(value, []).append(f"{where}: ...{near!r}")
    return found
