"""The filter that keeps secrets out of every output, by value and by field name."""

from __future__ import annotations

import base64
import json
import re
import sys
import threading
import traceback
from collections import deque
from collections.abc import Iterator, Sequence
from functools import cache
from types import TracebackType
from typing import Any, ClassVar, Final, TypeAlias, TypeVar
from urllib.parse import quote, quote_plus, unquote

T = TypeVar("T", str, bytes)
Form: TypeAlias = "tuple[T, T, T]"  # its head, its plain part, the whole
MASKED: Final = "***"
GRANTS: Final = 8


class Mask:
    """Replaces every known secret value, in the forms it travels in, by `***`."""

    shortest: ClassVar[int] = 4

    def __init__(self) -> None:
        self._lasting: set[str] = set()
        self._passing: dict[str, deque[tuple[str, ...]]] = {}
        self._texts: tuple[Form[str], ...] = ()
        self._bodies: tuple[Form[bytes], ...] = ()

    def add(self, *values: str, passing: str = "") -> None:
        """Mask these values from now on; one shorter than four characters cannot be.

        Of what is granted for a while (`passing` says to whom) only the newest few
        stay masked: sessions come and go, and fleetd stays.
        """
        fit = tuple(one for one in values if len(one) >= self.shortest)
        if passing:
            granted = self._passing.setdefault(passing, deque(maxlen=GRANTS))
            if fit in granted:
                return
            granted.append(fit)
        elif self._lasting.issuperset(fit):
            return
        else:
            self._lasting.update(fit)
        self._settle()

    def _settle(self) -> None:
        """Every form of every value, the longest first."""
        forms: dict[str, bool] = {}  # and whether it is a path, as others have one
        grants = (one for of in self._passing.values() for few in of for one in few)
        for value in (*self._lasting, *grants):
            forms.update(dict.fromkeys(forms_of(value), False))
            for one in parts_of(value):
                path = "://" in value and one.startswith("/")
                forms.update((form, path) for form in forms_of(one))
        every = sorted(forms, key=lambda one: (-len(one), one))
        self._texts = tuple((*cut(one, forms[one]), one) for one in every)
        self._bodies = tuple(
            (head.encode(), plain.encode(), whole.encode())
            for head, plain, whole in self._texts
        )

    def mask(self, text: T) -> T:
        """The same text or bytes without a secret in it, nor the half of a longer one."""
        if isinstance(text, str):
            texts = [form for form in self._texts if form[0] in text]
            return covered(text, texts, MASKED) if texts else text
        bodies = [form for form in self._bodies if form[0] in text]
        return covered(text, bodies, MASKED.encode()) if bodies else text

    def deep(self, value: Any) -> Any:
        """The same plain data without a secret in it, keys included."""
        if not self._texts or value is None or isinstance(value, bool):
            return value
        if isinstance(value, str):
            return self.mask(value)
        if isinstance(value, bytes):
            return self.mask(value)
        if isinstance(value, dict):
            return {self.deep(key): self.deep(inner) for key, inner in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [self.deep(inner) for inner in value]
        text = str(value)
        masked = self.mask(text)
        return value if masked == text else masked

    def guard_crashes(self) -> None:
        """Print tracebacks of uncaught faults masked, in every thread."""
        sys.excepthook = self._crashed
        sys.unraisablehook = lambda lost: self._crashed(
            lost.exc_type, lost.exc_value, lost.exc_traceback
        )
        threading.excepthook = lambda lost: self._crashed(
            lost.exc_type, lost.exc_value, lost.exc_traceback
        )

    def _crashed(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        lines = traceback.format_exception(kind, fault, trace)
        if sys.stderr is not None:
            sys.stderr.write(self.mask("".join(lines)))
            sys.stderr.flush()


MASK: Final = Mask()  # the one of the process: a secret must be known everywhere


def cut(form: str, path: bool = False) -> tuple[str, str]:
    """So much of a form tells it, since messages are cut and secrets with them; and how
    far it goes on without what might be half an escape.
    """
    plain, common = PLAIN.match(form), path and form.startswith("/")
    if plain is None or len(form) < SHORTEST_CUT or common or ADDRESS.match(form):
        return form, form
    return plain[0][: max(SHORTEST_HEAD, len(form) // 2)], plain[0]


def covered(text: T, forms: Sequence[Form[T]], masked: T) -> T:
    """The text with whole forms masked first, then what begins like one."""
    for _, _, whole in forms:
        text = text.replace(whole, masked)
    kept: list[T] = []
    upto = 0
    heads = {one[0]: -1 for one in forms}  # and where each of them stands next
    while heads := dict(_ahead(text, heads, upto)):
        at = min(heads.values())
        kept += [text[upto:at], masked]
        upto = at + max(shared(text, at, one) for one in forms)
    kept.append(text[upto:])
    return text[:0].join(kept)


def _ahead(text: T, heads: dict[T, int], upto: int) -> Iterator[tuple[T, int]]:
    """Those that still come, each looked for from where it was found last."""
    for head, at in heads.items():
        if at >= upto or (at := text.find(head, upto)) >= 0:
            yield head, at


def shared(text: T, at: int, form: Form[T]) -> int:
    """How far a text goes on like a form from here; 0 where that is not even its head."""
    head, plain, _ = form
    if not text.startswith(head, at):
        return 0
    n = len(head)
    while n < len(plain) and text[at + n : at + n + 1] == plain[n : n + 1]:
        n += 1
    return n


def forms_of(value: str) -> Iterator[str]:
    """A value as it may be met: bare, in a URL, in JSON, in a repr, in base64."""
    yield from (quote(value, safe=""), quote(value), quote_plus(value))
    for one in (value, value.encode().decode("latin-1")):  # who knows no UTF-8
        yield from (one, repr(one)[1:-1])
        yield from (json.dumps(one)[1:-1], json.dumps(one, ensure_ascii=False)[1:-1])
    yield from _in_base64(value.encode())
    lines = value.splitlines()
    if len(lines) > 1:  # a key file: a traceback may show a line of it
        yield from (line for line in lines if len(line) >= SHORTEST_LINE)


SHORTEST_CUT: Final = 14
SHORTEST_HEAD: Final = 10
PLAIN: Final = re.compile(r"[!#-\[\]-~]{10,}")  # neither quotes nor escapes
ADDRESS: Final = re.compile(r"\w+(:/|%3A%2F)")  # begins as others that are no secrets
SHORTEST_LINE: Final = 16
SHORTEST_CORE: Final = 8
SHORTEST_PART: Final = 6
LONG: Final = 12  # of a path: a shorter one is a word that others use as well
TELLING: Final = re.compile(
    r"(?=.*[0-9])[\w.~+-]{12,}"
)  # a token, not a word of a path
SCHEME: Final = re.compile(r"(?i)(bearer|basic|token|apikey) +(\S+)")


def parts_of(value: str) -> Iterator[str]:
    """What a far side may say back of it alone: a token, a password, the end of a URL."""
    for part in _parts(value):
        if len(part) >= SHORTEST_PART:
            yield part


def _parts(value: str) -> Iterator[str]:
    if named := SCHEME.fullmatch(value):
        yield named[2]
        if named[1].lower() == "basic":
            yield from _password(_from_base64(named[2]))
    if value.startswith("whsec_"):
        yield value.removeprefix("whsec_")
    if "://" in value:
        yield from _of_url(value.partition("://")[2])


def _of_url(rest: str) -> Iterator[str]:
    """User and password, path and query together and apart, what looks like a token."""
    place, slash, target = rest.partition("/")
    user, at, _ = place.rpartition("@")
    if at:
        yield from _password(unquote(user))
    path, _, query = target.partition("?")
    yield query
    yield from (one for one in (slash + target, slash + path) if len(one) >= LONG)
    words = (*path.split("/"), *(one.partition("=")[2] for one in query.split("&")))
    yield from (one for one in words if TELLING.fullmatch(unquote(one)))


def _password(both: str) -> Iterator[str]:
    yield both
    yield both.partition(":")[2]


def _from_base64(text: str) -> str:
    try:
        return base64.b64decode(text, validate=True).decode()
    except ValueError:
        return ""


def _in_base64(body: bytes) -> Iterator[str]:
    """Base64 of the value alone, and what is sure of it inside something longer."""
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        yield encode(body).decode().rstrip("=")
        for before in (1, 2):  # as in `Basic` of user:secret
            whole = encode(bytes(before) + body).decode().rstrip("=")
            core = whole[before + 1 : len(whole) // 4 * 4 or None]
            if len(core) >= SHORTEST_CORE:
                yield core
        if len(core := encode(body[: len(body) // 3 * 3]).decode()) >= SHORTEST_CORE:
            yield core


TOKEN: Final = re.compile(
    rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[{}\[\]:,]|[^\s{}\[\]:,"]+', re.DOTALL
)  # possessive: what is kept to go back takes sixty times the bytes
EMPTY: Final = frozenset({b"null", b'""', b"true", b"false"})
HIDDEN: Final = b'"***"'
ESCAPED: Final = re.compile(rb'[{,]\s*"[^"\\]*+(?:\\[^u][^"\\]*+)*+\\u')  # in a key


def mask_fields(body: bytes, names: frozenset[str]) -> bytes:
    """JSON with the values of the named fields replaced, at any depth, any case.

    The rest stays byte for byte, also where the body is not quite JSON.
    """
    lower = body.lower()
    for word in _words(names):
        if word in lower:
            break
    else:
        if b"\\u" not in body or not ESCAPED.search(body):
            return body
    wanted = frozenset(name.lower() for name in names)
    kept, upto = [], 0
    for start, end in _spans(body, wanted):
        kept += [body[upto:start], HIDDEN]
        upto = end
    return b"".join([*kept, body[upto:]])


@cache
def _words(names: frozenset[str]) -> tuple[bytes, ...]:
    """One of which a body must hold to be worth a closer look, as a key or else."""
    return tuple(f'"{name}"'.lower().encode() for name in sorted(names))


def _spans(body: bytes, wanted: frozenset[str]) -> Iterator[tuple[int, int]]:
    """Where the values of the wanted keys stand; of nested ones the outer."""
    tokens = TOKEN.finditer(body)
    last = b""
    for token in tokens:
        word = token[0]
        if word == b":" and last.startswith(b'"') and _name(last) in wanted:
            span = _value(tokens)
            if span:
                yield span
            last = b""
        else:
            last = word


def _value(tokens: Iterator[re.Match[bytes]]) -> tuple[int, int] | None:
    """The span of the value that comes next; None where there is nothing to hide."""
    first = next(tokens, None)
    if first is None or first[0] in EMPTY:
        return None
    depth, end = _step(first[0]), first.end()
    while depth > 0:
        token = next(tokens, None)
        if token is None:
            break
        depth, end = depth + _step(token[0]), token.end()
    return first.start(), end


def _step(word: bytes) -> int:
    if word in {b"{", b"["}:
        return 1
    return -1 if word in {b"}", b"]"} else 0


def _name(quoted: bytes) -> str:
    try:
        return str(json.loads(quoted)).lower()
    except ValueError:
        return quoted.strip(b'"').decode(errors="replace").lower()
