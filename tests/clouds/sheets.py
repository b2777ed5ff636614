"""Google Sheets over real sockets: tokens that end, quotas, and answers that get lost.

`cloud.fault(call)` names what goes wrong with a request: `429`, `500`, `503`, `reset`, or
the last three with ` after`, when the far side had applied it; `late` applies it some
time after the connection was cut; `half` answers with half of it. `before_write` is a
person who acts in between.
"""

from __future__ import annotations

import base64
import json
import random
import re
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from tests.clouds.book import (
    Book,
    RefusedError,
    Tab,
    entered,
    properties,
    split_mask,
    trimmed,
)

SCOPES = {
    "https://www.googleapis.com/auth/spreadsheets": "write",
    "https://www.googleapis.com/auth/spreadsheets.readonly": "read",
}
GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
EMAIL = "fleetd@example-project.iam.gserviceaccount.com"
KEY_ID = "0123456789abcdef"
MINUTE = 60.0
RENDERED = {"UNFORMATTED_VALUE", "FORMULA"}


@cache
def key_of_google() -> rsa.RSAPrivateKey:
    """One for all clouds of a run: making one takes a second."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def account_of(key: rsa.RSAPrivateKey, key_id: str = KEY_ID) -> dict[str, Any]:
    """The key file of the service account."""
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return {
        "type": "service_account",
        "project_id": "example-project",
        "private_key_id": key_id,
        "private_key": pem.decode(),
        "client_email": EMAIL,
        "client_id": "1",
        "token_uri": "https://oauth2.googleapis.com/token",
    }


class Call(NamedTuple):
    """One request as the cloud saw it; `write` says which quota it counts against."""

    method: str
    path: str
    body: Any
    write: bool
    number: int
    query: Any


class Moved(str):
    """An answer that sends on to this address."""

    __slots__ = ()


class LostError(Exception):
    """Nothing is answered: the connection is reset."""


class HalfError(Exception):
    """A 200 that ends in the middle, and the connection with it."""

    def __init__(self, found: Any) -> None:
        super().__init__("half an answer")
        self.found = found


class Cloud:
    """All of Google that fleetd meets: the token server and the Sheets API."""

    def __init__(self, *, per_minute: int = 10_000, life: float = 3599.0) -> None:
        self.books: dict[str, Book] = {}
        self.shared: dict[str, set[str]] = {}
        self.public: set[str] = set()
        self.revoked = self.disabled = False
        self.per_minute, self.life = per_minute, life
        self.calls: list[Call] = []
        self.refused: list[int] = []
        self.logins = self.strangers = 0
        self.fault: Callable[[Call], str] = lambda call: ""
        self.before_write: Callable[[Book], None] | None = None
        self.after_read: Callable[[Book], None] | None = None
        self.late = 0.5
        self.now, self.clock = time.time, time.monotonic  # for tests in virtual time
        self._spent: dict[bool, deque[float]] = {False: deque(), True: deque()}
        self._tokens: dict[str, tuple[float, str]] = {}
        self._alone = threading.RLock()
        self._key = key_of_google()
        self.key_id = KEY_ID
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler_of(self))
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    # for tests

    def book(
        self,
        ident: str = "1AbCdEfGhIjKlMnOpQrStUvWxYz0123456789AbCdEf",
        *,
        share: bool = True,
    ) -> Book:
        """A spreadsheet, shared with the service account unless told otherwise."""
        if ident not in self.books:
            self.books[ident] = Book(ident)
            self.shared[ident] = {EMAIL} if share else set()
        return self.books[ident]

    def account(self, **other: Any) -> dict[str, Any]:
        """The key file of the service account, as Google's console gives it."""
        ends_at = f"{self.url}/token"
        return {**account_of(self._key, self.key_id), "token_uri": ends_at, **other}

    def end_tokens(self) -> None:
        """Every token that was given out is over."""
        self._tokens.clear()

    def unruly(self, chance: random.Random, share: float, *kinds: str) -> None:
        """So many of all requests go wrong, each in one of these ways."""
        self.fault = lambda call: (
            chance.choice(kinds) if chance.random() < share else ""
        )

    def writes(self) -> list[Call]:
        return [one for one in self.calls if one.write]

    def reads(self) -> list[Call]:
        return [one for one in self.calls if not one.write]

    # requests

    def answer(
        self, method: str, target: str, headers: Any, body: bytes
    ) -> tuple[int, Any]:
        """The status and the document of an answer; raises `LostError` for none."""
        url = urlsplit(target)
        if url.path == "/token":
            return self._token(parse_qs(body.decode()), body, headers)
        if url.path.startswith("/spreadsheets/d/"):
            self.strangers += 1
            public = url.path.split("/")[3] in self.public
            host = (
                "doc-0c-sheets.googleusercontent.com"
                if public
                else "accounts.google.com"
            )
            return (307 if public else 302), Moved(f"https://{host}/export/x")
        try:
            with self._alone:
                return self._api(method, url.path, parse_qs(url.query), headers, body)
        except RefusedError as bad:
            self.refused.append(bad.code)
            return bad.code, error(bad.code, bad.status, str(bad))

    def _api(
        self, method: str, path: str, query: Any, headers: Any, body: bytes
    ) -> tuple[int, Any]:
        given = json.loads(body) if body else None
        path = unquote(path)
        write = method == "PUT" or (
            method == "POST" and not re.search(r"(ByDataFilter|:search)$", path)
        )
        call = Call(method, path, given, write, len(self.calls), query)
        self.calls.append(call)
        self._know(headers.get("Authorization", ""), write)
        self._count(write)
        kind, _, after = self.fault(call).partition(" ")
        if kind == "late" and write:
            threading.Timer(
                self.late, self._apply, (method, path, query, given, write)
            ).start()
            raise LostError
        if not kind or after:
            found = self._do(method, path, query, given, write)
        if kind in {"reset", "late"}:
            raise LostError
        if kind == "half":
            raise HalfError(self._do(method, path, query, given, write))
        if kind:
            return int(kind), error(int(kind), WORDS[kind], f"told to answer {kind}")
        return 200, found

    def _apply(self, *call: Any) -> None:
        with self._alone:
            try:
                self._do(*call)
            except RefusedError as bad:
                self.refused.append(bad.code)

    def _token(self, form: Any, body: bytes, headers: Any) -> tuple[int, Any]:
        if headers.get("Content-Type", "").startswith("application/json"):
            form = {key: [one] for key, one in json.loads(body).items()}
        if form.get("grant_type") != [GRANT]:
            return 400, {"error": "unsupported_grant_type"}
        why = self._doubt(form["assertion"][0])
        if why:
            return 400, {"error": "invalid_grant", "error_description": why}
        claims = part(form["assertion"][0].split(".")[1])
        self.logins += 1
        token = f"ya29.fake-{self.logins}-{random.getrandbits(64):016x}"
        self._tokens[token] = (self.clock() + self.life, SCOPES[claims["scope"]])
        return 200, {
            "access_token": token,
            "expires_in": int(self.life),
            "token_type": "Bearer",
        }

    def _doubt(self, assertion: str) -> str:
        """Why a JWT is not good, or nothing."""
        head, claims, signature = assertion.split(".")
        told = part(claims)
        if (
            part(head) != {"alg": "RS256", "typ": "JWT", "kid": self.key_id}
            or self.revoked
        ):
            return "Invalid JWT Signature."
        try:
            self._key.public_key().verify(
                unpadded(signature),
                f"{head}.{claims}".encode(),
                padding.PKCS1v15(),
                hashes.SHA256(),
            )
        except InvalidSignature:
            return "Invalid JWT Signature."
        now = self.now()
        if not (
            now - 3900 < told["iat"] <= now + 300
            and told["iat"] < told["exp"] <= told["iat"] + 3600
        ):
            return "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe."
        if (
            told["aud"]
            not in {f"{self.url}/token", "https://oauth2.googleapis.com/token"}
            or told["scope"] not in SCOPES
        ):
            return "Invalid JWT: aud or scope"
        return "" if told["iss"] == EMAIL else "Invalid grant: account not found"

    def _know(self, bearer: str, write: bool) -> None:
        ends, scope = self._tokens.get(bearer.removeprefix("Bearer "), (0.0, ""))
        if ends < self.clock():
            raise RefusedError(
                "Request had invalid authentication credentials.",
                401,
                "UNAUTHENTICATED",
            )
        if self.disabled:
            why = "Google Sheets API has not been used in project 1 before or it is disabled."
            raise RefusedError(why, 403, "PERMISSION_DENIED")
        if write and scope == "read":
            raise RefusedError(
                "Request had insufficient authentication scopes.",
                403,
                "PERMISSION_DENIED",
            )

    def _count(self, write: bool) -> None:
        spent, now = self._spent[write], self.clock()
        while spent and spent[0] <= now - MINUTE:
            spent.popleft()
        if len(spent) >= self.per_minute:
            name = "Write" if write else "Read"
            why = f"Quota exceeded for quota metric '{name} requests' and limit '{name} requests per minute per user'"
            raise RefusedError(why, 429, "RESOURCE_EXHAUSTED")
        spent.append(now)

    def _do(self, method: str, path: str, query: Any, given: Any, write: bool) -> Any:
        found = re.fullmatch(r"/v4/spreadsheets/([^/:]+)([/:].*)?", path)
        if not found:
            raise RefusedError("Requested entity was not found.", 404, "NOT_FOUND")
        book = self.books.get(found[1])
        if book is None:
            raise RefusedError("Requested entity was not found.", 404, "NOT_FOUND")
        if EMAIL not in self.shared[book.id]:
            raise RefusedError(
                "The caller does not have permission", 403, "PERMISSION_DENIED"
            )
        if write and self.before_write:
            self.before_write(book)
        rest = found[2] or ""
        answered = self._of_book(book, method, rest, query, given)
        if not write and self.after_read:
            self.after_read(book)
        fields = query.get("fields", [""])[0]
        return pruned(answered, fields) if fields else answered

    def _of_book(  # noqa: PLR0911  a table
        self, book: Book, method: str, rest: str, query: Any, given: Any
    ) -> Any:
        one = query_of(query)
        if method == "GET" and rest == "":
            return told(book, one.get("includeGridData") == "true")
        if rest == ":batchUpdate":
            return {
                "spreadsheetId": book.id,
                "replies": book.batch_update(given.get("requests", [])),
            }
        if rest == "/developerMetadata:search":
            found = book.found(given["dataFilters"])
            return (
                {
                    "matchedDeveloperMetadata": [
                        {"developerMetadata": m.told()} for m in found
                    ]
                }
                if found
                else {}
            )
        if rest == "/values:batchGetByDataFilter":
            ranges = [
                (read(book, place_of(book, f), given), f) for f in given["dataFilters"]
            ]
            return {
                "spreadsheetId": book.id,
                "valueRanges": [
                    {"valueRange": v, "dataFilters": [f]} for v, f in ranges
                ],
            }
        if rest == "/values:batchGet":
            return {
                "spreadsheetId": book.id,
                "valueRanges": [read(book, a1(book, r), one) for r in query["ranges"]],
            }
        if rest == "/values:batchUpdate":
            done = [
                write_values(book, r["range"], r["values"], given)
                for r in given["data"]
            ]
            return {
                "spreadsheetId": book.id,
                "totalUpdatedCells": sum(d["updatedCells"] for d in done),
                "responses": done,
            }
        if rest.startswith("/values/"):
            return values_of(book, method, rest.removeprefix("/values/"), one, given)
        raise RefusedError("Requested entity was not found.", 404, "NOT_FOUND")


WORDS = {
    "429": "RESOURCE_EXHAUSTED",
    "500": "INTERNAL",
    "502": "INTERNAL",
    "503": "UNAVAILABLE",
    "409": "ABORTED",
}


def values_of(book: Book, method: str, place: str, query: Any, given: Any) -> Any:
    """One range of values, read, written, appended to or cleared."""
    if method == "GET":
        return read(book, a1(book, place), query)
    if method == "PUT":
        return write_values(book, place, given["values"], query)
    if place.endswith(":append"):
        tab = a1(book, place.removesuffix(":append"))[0]
        first = tab.last_used() + 1
        done = put_values(tab, first, 0, given["values"], query)
        return {"spreadsheetId": book.id, "updates": done}
    if place.endswith(":clear"):
        tab, top, left, bottom, right = a1(book, place.removesuffix(":clear"))
        for row in range(top, min(bottom, len(tab.rows))):
            for column in range(left, min(right, tab.columns)):
                tab.type(row, column, None)
        return {"spreadsheetId": book.id, "clearedRange": place}
    raise RefusedError("Requested entity was not found.", 404, "NOT_FOUND")


Place = tuple[Tab, int, int, int, int]


def a1(book: Book, text: str) -> Place:
    """`'Bob''s'!A2:C`, `Dispatch!5:9`, or a title alone."""
    quoted = re.fullmatch(r"'((?:[^']|'')*)'(?:!(.*))?", text)
    title, _, rest = (
        (quoted[1].replace("''", "'"), "", quoted[2] or "")
        if quoted
        else text.partition("!")
    )
    tab = next((one for one in book.tabs if one.title == title), None)
    found = re.fullmatch(r"([A-Z]*)(\d*)(?::([A-Z]*)(\d*))?", rest)
    if tab is None or found is None:
        raise RefusedError(f"Unable to parse range: {text}")
    if not rest:
        return tab, 0, 0, len(tab.rows), tab.columns
    left, top = column_of(found[1]), int(found[2] or 1) - 1
    if ":" not in rest:
        return tab, top, left, top + 1, left + 1
    right = column_of(found[3]) + 1 if found[3] else tab.columns
    return tab, top, left, int(found[4] or len(tab.rows)), right


def place_of(book: Book, wanted: Any) -> Place:
    if "a1Range" in wanted:
        return a1(book, wanted["a1Range"])
    grid = wanted["gridRange"]
    tab = book.by_id(grid["sheetId"])
    top, left = grid.get("startRowIndex", 0), grid.get("startColumnIndex", 0)
    if top >= len(tab.rows) or left >= tab.columns:
        raise RefusedError("Range exceeds grid limits")
    return (
        tab,
        top,
        left,
        grid.get("endRowIndex", len(tab.rows)),
        grid.get("endColumnIndex", tab.columns),
    )


def read(book: Book, place: Place, how: Any) -> dict[str, Any]:
    tab, top, left, bottom, right = place
    if how.get("valueRenderOption") not in RENDERED and how.get(
        "valueRenderOption"
    ) not in (None, "FORMATTED_VALUE"):
        raise RefusedError("Invalid valueRenderOption")
    plain = how.get("valueRenderOption") in RENDERED
    rows = [
        [shown(tab.value(r, c), plain) for c in range(left, min(right, tab.columns))]
        for r in range(top, min(bottom, len(tab.rows)))
    ]
    title = tab.title.replace("'", "''")
    name = f"'{title}'!{letters(left)}{top + 1}:{letters(min(right, tab.columns) - 1)}{min(bottom, len(tab.rows))}"
    found: dict[str, Any] = {"range": name, "majorDimension": "ROWS"}
    if kept := trimmed(rows):
        found["values"] = kept
    return found


def shown(value: Any, plain: bool) -> Any:
    if value is None or plain:
        return int(value) if isinstance(value, float) and value.is_integer() else value
    if isinstance(value, bool):
        return str(value).upper()
    return f"{value:g}" if isinstance(value, float) else value


def write_values(book: Book, place: str, values: Any, how: Any) -> dict[str, Any]:
    tab, top, left, *_ = a1(book, place)
    return put_values(tab, top, left, values, how) | {"spreadsheetId": book.id}


def put_values(tab: Tab, top: int, left: int, values: Any, how: Any) -> dict[str, Any]:
    option = how.get("valueInputOption")
    if option not in {"RAW", "USER_ENTERED"}:
        raise RefusedError("'valueInputOption' is required but not specified")
    for r, row in enumerate(values):
        for c, value in enumerate(row):
            if value is not None:
                tab.type(top + r, left + c, value)
                if option == "USER_ENTERED" and str(value).startswith("="):
                    tab.put(
                        top + r, left + c, {"userEnteredValue": {"formulaValue": value}}
                    )
    cells = sum(len(row) for row in values)
    wide = max((len(row) for row in values), default=1)
    name = f"{tab.title}!{letters(left)}{top + 1}:{letters(left + wide - 1)}{top + len(values)}"
    return {
        "updatedRange": name,
        "updatedRows": len(values),
        "updatedColumns": wide,
        "updatedCells": cells,
    }


def told(book: Book, grids: bool) -> dict[str, Any]:
    """The whole spreadsheet; a field mask cuts it down."""
    sheets = []
    for n, tab in enumerate(book.tabs):
        one: dict[str, Any] = {
            "properties": properties(tab, n),
            "protectedRanges": list(tab.protected.values()),
        }
        one["developerMetadata"] = [
            m.told()
            for m in book.metadata.values()
            if m.location.get("sheetId") == tab.id
        ]
        edges = ("startRowIndex", "startColumnIndex", "endRowIndex", "endColumnIndex")
        one["merges"] = [
            {"sheetId": tab.id, **dict(zip(edges, area, strict=True))}
            for area in tab.merges
        ]
        if grids:
            one["data"] = [
                {
                    "rowData": [
                        {
                            "values": [
                                {
                                    **row.get(c, {}),
                                    "effectiveValue": entered(tab.value(r, c)),
                                }
                                if c in row
                                else {}
                                for c in range(tab.columns)
                            ]
                        }
                        for r, row in enumerate(tab.rows)
                    ]
                }
            ]
        sheets.append({key: value for key, value in one.items() if value != []})
    whole = {"title": book.title, "timeZone": book.zone, "locale": book.locale}
    return {"spreadsheetId": book.id, "properties": whole, "sheets": sheets}


def pruned(value: Any, mask: str) -> Any:
    """What a field mask leaves of a document; a name that is nowhere known is an error."""
    if isinstance(value, list):
        return [pruned(one, mask) for one in value]
    found = {}
    for part_ in split_mask(mask):
        name, inner = re.fullmatch(r"(\*|[A-Za-z0-9]+)((?:[./(].*)?)", part_).groups()  # type: ignore[union-attr]
        inner = inner[1:-1] if inner.startswith("(") else inner[1:]
        if name in value:
            kept = pruned(value[name], inner) if inner else value[name]
            if isinstance(kept, dict) and isinstance(found.get(name), dict):
                kept = {**found[name], **kept}
            found[name] = kept
    return found


def query_of(query: Any) -> dict[str, str]:
    return {key: values[0] for key, values in query.items()}


def error(code: int, status: str, message: str) -> dict[str, Any]:
    reason = {
        "RESOURCE_EXHAUSTED": "RATE_LIMIT_EXCEEDED",
        "PERMISSION_DENIED": "IAM_PERMISSION_DENIED",
    }.get(status, status)
    if "has not been used in project" in message:
        reason = "SERVICE_DISABLED"
    details = [
        {
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": reason,
            "domain": "googleapis.com",
            "metadata": {},
        }
    ]
    return {
        "error": {
            "code": code,
            "message": message,
            "status": status,
            "details": details,
        }
    }


def part(text: str) -> Any:
    return json.loads(unpadded(text))


def unpadded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def column_of(text: str) -> int:
    number = 0
    for sign in text:
        number = number * 26 + ord(sign) - 64
    return max(number - 1, 0)


def letters(column: int) -> str:
    text, column = "", column + 1
    while column:
        column, rest = divmod(column - 1, 26)
        text = chr(65 + rest) + text
    return text


def handler_of(cloud: Cloud) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            size = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(size)
            if len(body) < size:  # whoever sent it was killed over it
                return
            try:
                status, found = cloud.answer(
                    self.command, self.path, self.headers, body
                )
            except HalfError as half:
                self._cut_short(json.dumps(half.found).encode())
                return
            except LostError:
                self.connection.setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
                )
                self.close_connection = True
                self.connection.close()
                return
            said = (
                found.encode() if isinstance(found, str) else json.dumps(found).encode()
            )
            self.send_response(status)
            kind = (
                "text/html"
                if isinstance(found, str)
                else "application/json; charset=UTF-8"
            )
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(said)))
            if isinstance(found, Moved):
                self.send_header("Location", found)
            self.end_headers()
            with suppress(OSError):  # whoever asked may be gone
                self.wfile.write(said)

        def _cut_short(self, said: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/json; charset=UTF-8")
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said[: len(said) // 2])
            self.close_connection = True

        do_GET = do_PUT = do_POST  # noqa: N815  their names

        def finish(self) -> None:
            with suppress(OSError):
                super().finish()

        def log_message(self, *_words: Any) -> None:
            pass

    return Handler
