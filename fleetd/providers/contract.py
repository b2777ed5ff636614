"""What a vendor's file may say: pure functions over bytes, no network and no clock."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from msgspec import Struct

from fleetd.event import AnyEvent, Record
from fleetd.web import Request


class Ask(Struct, frozen=True):
    """One request to the vendor, said and not yet sent.

    `path` is below the base URL (`host` replaces that, where a session moved). `tier`
    names the limit it counts against beside the credential's own. The body is `json`,
    or `form` as a web page would post it. `absent` is taken for the answer where the
    vendor's `judge` raises `AbsentError`: how a feed finds its way past what is refused.
    """

    path: str
    params: Mapping[str, str | Sequence[str]] = {}
    method: str = "GET"
    json: Any = None
    form: Mapping[str, str] = {}
    headers: Mapping[str, str] = {}
    tier: str = ""
    host: str = ""
    absent: Page | None = None


class Answer(Struct, frozen=True):
    """What came back, whatever its status; header names are lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Turn(Struct, frozen=True):
    """What a feed may know when it says its next request.

    `bookmark` is where it goes on; without one it begins at `since` (None: where the
    feed itself likes to). `until` ends a past window and is None for the live feed;
    both are half-open, device time. `lookback` is how far behind its bookmark a
    windowed feed reads again. `part` is the vehicle of a feed that is asked vehicle by
    vehicle, `vehicles` are all that the directory knows. `tags` are the operator's own.
    `last` is the bookmark of the last page that was kept: a listing, which begins anew
    each time, learns from it what the one before found; and a feed that is to ask for
    one window again, from `since`, what else its bookmark said.
    """

    now: datetime
    bookmark: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    lookback: timedelta = timedelta(0)
    part: str = ""
    vehicles: Sequence[str] = ()
    tags: tuple[str, ...] = ()
    last: str | None = None


class Page(Struct, frozen=True):
    """What an answer held: records, where the feed goes on, and whether more waits now.

    `complete` is True only on the page that ends a whole listing, by the vendor's own
    flag: ids that no page of it held are then known to be missing. `held` are ids that
    are there, though their records may have nothing to tell.
    """

    records: Sequence[Record]
    bookmark: str | None = None
    more: bool = False
    complete: bool = False
    held: Collection[str] = ()


class Unpacked(Struct, frozen=True):
    """A webhook body split into records; `empty` counts what says nothing (probes)."""

    records: Sequence[Record]
    empty: int = 0


Verify = Callable[[Request, Sequence[str]], datetime | None]
Prove = Callable[[Request, Sequence[Answer]], datetime | None]
Unpack = Callable[[Request], Unpacked]
Normalize = Callable[[bytes], Iterable[AnyEvent]]
AskNext = Callable[[Turn], Ask | None]
UnpackPage = Callable[[Ask, bytes, Turn], Page]


class Webhook(Struct, frozen=True):
    """The push half of a vendor.

    `verify(request, secrets)` answers when the request was signed (None where the vendor
    signs no time) or raises `SignatureError`. `unpack` splits the body: a body that is
    not what was promised raises `PayloadError` and becomes a dead letter with a 200.
    `refusal` is the vendor's answer to a bad signature, `keep` the headers worth
    keeping beside the bytes (lower case; never one that holds a secret), `sign` makes
    the headers of a sample for `fleetd send`. `kinds` are the kinds it pushes.

    A sender whose proof must be fetched first (a certificate) says what in
    `needs(request)`, and `prove(request, answers)` judges with it; both come after the
    secrets and the `auth` of the source let the request in. Nothing is fetched but over
    https, from a host that one of `hosts` (patterns) matches whole; what was fetched is
    kept a day. `prove` raises `TransientError` where what was fetched cannot be used.
    `follow(request)` is what remains to be asked once the body is kept, from the same
    hosts. `challenge` goes with the 401 of a sender that shows its password only when
    asked for it. `signs` is False where the secret is a password sent along.
    """

    verify: Verify
    unpack: Unpack
    sign: Callable[[bytes, str, datetime], Mapping[str, str]]
    refusal: int = 401
    keep: tuple[str, ...] = ("content-type", "user-agent")
    good_secret: Callable[[str], str | None] = lambda _secret: None
    kinds: tuple[str, ...] = ()
    needs: Callable[[Request], Sequence[Ask]] | None = None
    prove: Prove | None = None
    follow: Callable[[Request], Ask | None] | None = None
    hosts: tuple[str, ...] = ()
    challenge: str = ""
    signs: bool = True


class Past(Struct, frozen=True):
    """How a feed's past is asked for: any window within `within` of now.

    `call` names the vendor's call for people. `parts` as in `Feed`. A longer window is
    asked for in pieces of `chunk`, on whole multiples of it since 1970, several at once.
    """

    ask: AskNext
    unpack: UnpackPage
    within: timedelta
    call: str = ""
    parts: bool = False
    chunk: timedelta = timedelta(days=1)


class Feed(Struct, frozen=True):
    """One endpoint worth asking again and again.

    `ask(turn)` says the next request, or None when there is nothing to ask now;
    `unpack(ask, body, turn)` reads a 200. `kinds` are what it brings. `listing` names
    the kind that it lists whole. A feed with `parts` is asked vehicle by vehicle, each
    with a bookmark of its own, `parallel` at once. `begins` is how far back a new
    source reads (None: all there is). `scope` is what the vendor calls the permission
    it needs. `standard` feeds are polled unless the config names its own. A `snapshot`
    is only how things stand: what came between two answers is in none of them.
    """

    name: str
    every: float
    ask: AskNext
    unpack: UnpackPage
    kinds: tuple[str, ...] = ()
    listing: str = ""
    parts: bool = False
    parallel: int = 1
    lookback: timedelta = timedelta(0)
    begins: timedelta | None = timedelta(0)
    past: Past | None = None
    scope: str = ""
    standard: bool = True
    snapshot: bool = False


class Grant(Struct, frozen=True):
    """What a login gave: a token, until when, and the server to go on with."""

    token: str
    host: str = ""
    expires: datetime | None = None


class Session(Struct, frozen=True):
    """For vendors that must be logged in to before they answer.

    `read` raises `HeldError` where the credentials are refused. `ended` says whether an
    answer means that the session is over: then one login, and the same request again.
    `judge(secret, ask, answer)` is `Provider.judge` for who must name the account.
    """

    login: Callable[[str, datetime], Ask]
    read: Callable[[Answer, datetime], Grant]
    put: Callable[[Ask, Grant], Ask]
    ended: Callable[[Answer], bool]
    judge: Callable[[str, Ask, Answer], None] | None = None


class Limits(Struct, frozen=True):
    """Requests a second that one credential may make, in all and for each `Ask.tier`."""

    per_second: float = 5.0
    tiers: Mapping[str, float] = {}


class Probe(Struct, frozen=True):
    """A harmless call that says whose credential it is: ids and names of the account."""

    ask: Ask
    read: Callable[[bytes], Sequence[str]]


class Registered(Struct, frozen=True):
    """A webhook as the vendor has it; `secret` only where it just told it."""

    id: str
    url: str
    name: str = ""
    enabled: bool | None = None
    actions: tuple[str, ...] = ()
    secret: str = ""


class Hooks(Struct, frozen=True):
    """How a vendor's own list of webhooks is read and changed.

    `listing` and `read` page through what is registered; `add(url, name, secret)` makes
    one (an empty secret where the vendor chooses it), `made` reads that answer,
    `remove(id)` and `change(id, url, name, secret)` touch only what fleetd made. `scope`
    is the permission all of it needs. `actions` are what `add` asks to be told, and
    `slots` is how many webhooks may be active for one of them (0: any number).
    """

    listing: AskNext
    read: Callable[[Ask, bytes, Turn], tuple[Sequence[Registered], str | None]]
    add: Callable[[str, str, str], Ask]
    made: Callable[[bytes], Registered]
    remove: Callable[[str], Ask]
    change: Callable[[str, str, str, str], Ask] | None = None
    chooses_secret: bool = False
    scope: str = ""
    actions: tuple[str, ...] = ()
    slots: int = 0


class Provider(Struct, frozen=True):
    """A vendor, declared: the last statement of its file.

    `normalize` maps a record's feed to the pure function that reads it. `judge` sees
    every answer first and raises where the vendor says no in its own way; what it lets
    pass is judged by its status. `secret_fields` names JSON keys, at any depth, whose
    values are masked before anything is stored. `hide` takes out of a body, of a record
    or of a whole page, what its vendor marks as nobody's to keep; the same bytes where
    there is nothing. `answer` makes the vendor its own far
    side (the demo). `configured` gives the provider as one source's own extra keys
    shape it; `settings` is the struct of those. `regions` names the base URLs of all
    places where an account may live, as people call them. `good_token` says what is
    wrong with a token that cannot be one. All that is polled bears `flags`.
    """

    name: str
    normalize: Mapping[str, Normalize]
    title: str = ""
    base_url: str = ""
    regions: Mapping[str, str] = {}
    webhook: Webhook | None = None
    feeds: tuple[Feed, ...] = ()
    authorize: Callable[[str], Mapping[str, str]] | None = None
    session: Session | None = None
    judge: Callable[[Ask, Answer], None] | None = None
    limits: Limits = Limits()
    patience: float = (
        30.0  # seconds an answer may take to go on, unless the config says
    )
    whoami: Probe | None = None
    hooks: Hooks | None = None
    secret_fields: frozenset[str] = frozenset()
    hide: Callable[[bytes], bytes] | None = None
    answer: Callable[[Ask, datetime], bytes] | None = None
    settings: type[Struct] | None = None
    configured: Callable[[Any], Provider] | None = None
    good_token: Callable[[str], str | None] = lambda _token: None
    flags: tuple[str, ...] = ()
    typed: bool = True  # it knows its types: an event of kind `other` is then drift
    where: str = ""  # where in the vendor's console a webhook is made
