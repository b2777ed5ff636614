"""One suite for every vendor's file: golden files, signatures, and whatever may arrive."""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetd import providers
from fleetd.errors import PayloadError, SignatureError
from fleetd.event import (
    AnyEvent,
    dedupe_key,
    lane_of,
    pack,
    stamp,
    tag_of,
    unpack,
)
from fleetd.providers.contract import Provider, Webhook
from fleetd.web import Request
from tests.tries import tries

HERE = Path(__file__).parent / "providers"
SAMPLES = sorted(
    path
    for path in HERE.glob("*/webhook_*.json")
    if not path.name.endswith(".events.json")
)
VENDORS = sorted({path.parent.name for path in SAMPLES})
VECTORS = [
    pytest.param(path.parent.name, vector, id=f"{path.parent.name}-{vector['name']}")
    for path in sorted(HERE.glob("*/signatures.json"))
    for vector in json.loads(path.read_bytes())["vectors"]
]
few = settings(max_examples=tries(120), deadline=None)


def post(body: bytes, headers: dict[str, str] | None = None) -> Request:
    return Request("POST", "/webhooks/north", "", headers or {}, body, "127.0.0.1")


def hook(vendor: str) -> tuple[Provider, Webhook]:
    provider = providers.load(vendor)
    assert provider.webhook is not None
    return provider, provider.webhook


def told(event: AnyEvent) -> dict[str, Any]:
    fields = {"kind": event.kind} | msgspec.structs.asdict(event)
    kept = {key: one for key, one in fields.items() if one not in (None, (), {})}
    plain = {
        key: stamp(one) if isinstance(one, datetime) else one
        for key, one in kept.items()
    }
    return json.loads(json.dumps(plain))


def read(vendor: str, body: bytes) -> dict[str, Any]:
    provider, webhook = hook(vendor)
    split = webhook.unpack(post(body))
    events = [
        {"feed": record.feed} | told(event)
        for record in split.records
        for event in provider.normalize[record.feed](record.body)
    ]
    return {"empty": split.empty, "events": events}


def copies(vendor: str, body: bytes) -> list[tuple[str, str]]:
    """What tells each event, and each copy of it, from another."""
    provider, webhook = hook(vendor)
    records = webhook.unpack(post(body)).records
    made = (one for each in records for one in provider.normalize[each.feed](each.body))
    return [(one.id, tag_of(one)) for one in made]


SIGNING = [name for name in VENDORS if hook(name)[1].signs]


@pytest.mark.parametrize("name", providers.names())
def test_a_providers_file_name_is_its_name(name):
    provider = providers.load(name)

    assert provider.name == name


def test_every_provider_with_a_webhook_has_samples():
    assert [
        name for name in providers.names() if providers.load(name).webhook
    ] == VENDORS


@pytest.mark.parametrize("name", VENDORS)
def test_a_webhook_keeps_no_header_that_holds_a_secret(name):
    _, webhook = hook(name)

    assert not {"authorization", "cookie", "x-api-key"} & set(webhook.keep)
    assert all(one == one.lower() for one in webhook.keep)


@pytest.mark.parametrize(
    "sample", SAMPLES, ids=[f"{path.parent.name}-{path.stem}" for path in SAMPLES]
)
def test_a_sample_means_what_its_golden_file_says(sample):
    golden = sample.with_suffix(".events.json")
    found = read(sample.parent.name, sample.read_bytes())
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n")

    assert found == json.loads(golden.read_text())


@pytest.mark.parametrize(
    "sample", SAMPLES, ids=[f"{path.parent.name}-{path.stem}" for path in SAMPLES]
)
def test_a_sample_means_the_same_compact_and_in_any_order_of_keys(sample):
    def turned(value):
        if isinstance(value, dict):
            return {key: turned(value[key]) for key in reversed(value)}
        return [turned(one) for one in value] if isinstance(value, list) else value

    body = json.loads(sample.read_bytes())
    vendor = sample.parent.name
    other = json.dumps(turned(body), separators=(",", ":")).encode()
    first, second = read(vendor, sample.read_bytes()), read(vendor, other)

    assert first == second
    assert copies(vendor, sample.read_bytes()) == copies(vendor, other)


FOREIGN = [path for path in SAMPLES if path.parent.name != "demo"]


@pytest.mark.parametrize(
    "sample", FOREIGN, ids=[f"{path.parent.name}-{path.stem}" for path in FOREIGN]
)
def test_a_blank_text_says_no_more_than_an_empty_one(sample):
    provider, webhook = hook(sample.parent.name)
    split = webhook.unpack(post(sample.read_bytes()))

    for record in split.records:
        for empty, blank in emptied(record.body):
            assert said_by(provider, record.feed, empty) == said_by(
                provider, record.feed, blank
            )


def emptied(body: bytes) -> Iterator[tuple[bytes, bytes]]:
    """A record with each of its texts in turn empty, and blank."""
    whole = json.loads(body) if body[:1] == b"{" else {}
    for path in texts_in(whole):
        holder = whole
        for step in path[:-1]:
            holder = holder[step]
        kept = holder[path[-1]]
        found = []
        for one in ("", "  "):
            holder[path[-1]] = one
            found.append(json.dumps(whole).encode())
        holder[path[-1]] = kept
        yield found[0], found[1]


def texts_in(value: Any) -> Iterator[tuple[Any, ...]]:
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    for key, one in list(pairs):
        if isinstance(one, str):
            yield (key,)
        elif isinstance(one, dict | list):
            yield from ((key, *more) for more in texts_in(one))


def said_by(provider: Provider, feed: str, body: bytes) -> Any:
    """The events of a record, but what keeps its bytes as they came: a hash, `detail`."""
    try:
        events = list(provider.normalize[feed](body))
    except PayloadError:
        return "set aside"
    kept = [told(one) | {"detail": None, "revision": None} for one in events]
    hashed = re.compile("[0-9a-f]{32}")
    return [
        one | {"id": None if hashed.search(one["id"]) else one["id"]} for one in kept
    ]


def test_every_golden_file_has_its_sample():
    goldens = set(HERE.glob("*/webhook_*.events.json"))

    assert goldens == {path.with_suffix(".events.json") for path in SAMPLES}


@pytest.mark.parametrize(("vendor", "vector"), VECTORS)
def test_a_signature_is_judged_as_its_vector_says(vendor, vector):
    _, webhook = hook(vendor)
    request, secret = signed(vendor, vector)

    if vector["valid"]:
        webhook.verify(request, [secret])
        webhook.verify(request, [other_secret(secret), secret])
        webhook.verify(request, [secret, other_secret(secret)])
    else:
        with pytest.raises(SignatureError):
            webhook.verify(request, [secret])


@pytest.mark.parametrize(("vendor", "vector"), VECTORS)
def test_a_signature_never_fits_no_secret_or_an_empty_or_another_one(vendor, vector):
    _, webhook = hook(vendor)
    request, secret = signed(vendor, vector)

    for secrets in ([], [""], ["", "  "], [other_secret(secret)]):
        with pytest.raises(SignatureError):
            webhook.verify(request, secrets)


@pytest.mark.parametrize("vendor", SIGNING)
def test_a_request_without_any_of_its_signature_headers_is_refused(vendor):
    _, webhook = hook(vendor)
    secret = base64.b64encode(b"a secret of some length").decode()
    headers = lower(webhook.sign(b"{}", secret, datetime(2026, 5, 12, tzinfo=UTC)))
    webhook.verify(post(b"{}", headers), [secret])

    for missing in set(headers) - {"content-type"}:
        rest = {key: one for key, one in headers.items() if key != missing}
        with pytest.raises(SignatureError):
            webhook.verify(post(b"{}", rest), [secret])


@pytest.mark.parametrize("vendor", SIGNING)
@few
@given(
    body=st.binary(max_size=200),
    key=st.binary(min_size=1, max_size=40),
    other=st.binary(min_size=1, max_size=40),
)
def test_what_it_signs_it_verifies_and_nothing_else(vendor, body, key, other):
    _, webhook = hook(vendor)
    secret, wrong = (base64.b64encode(one).decode() for one in (key, other))
    now = datetime(2026, 5, 12, 14, 30, 5, tzinfo=UTC)
    headers = lower(webhook.sign(body, secret, now))

    assert webhook.verify(post(body, headers), [wrong, secret]) in (now, None)
    with pytest.raises(SignatureError):
        webhook.verify(post(body + b" ", headers), [secret])
    if key.rstrip(b"\0") != other.rstrip(b"\0"):  # HMAC pads a key with zeros
        with pytest.raises(SignatureError):
            webhook.verify(post(body, headers), [wrong])


@pytest.mark.parametrize("vendor", SIGNING)
@few
@given(
    st.dictionaries(st.text(max_size=30), st.text(max_size=80), max_size=4),
    st.text(max_size=90),
)
def test_odd_headers_are_refused_and_nothing_else_is_raised(vendor, headers, claimed):
    _, webhook = hook(vendor)
    names = lower(
        webhook.sign(
            b"", base64.b64encode(b"x").decode(), datetime(2026, 5, 12, tzinfo=UTC)
        )
    )
    odd = headers | dict.fromkeys(names, claimed)

    with pytest.raises(SignatureError):
        webhook.verify(post(b"{}", odd), [base64.b64encode(b"y").decode()])


WORDS = sorted(
    {
        part
        for path in SAMPLES
        for part in path.read_text().replace(":", " ").split('"')
        if part.isidentifier() or "." in part
    }
)
ODD = st.sampled_from(
    [
        None, "", "  ", 0, -1, True, False, [], {}, [[]], [{}], {"": {}}, 1.5, 1e300, -1e300,
        10**30, -(10**30), 2**63, 2**63 - 1, "x", "NaN", "inf", "1e400", "null", "0", "\0",
        "0001-01-01T00:00:00Z", "9999-12-31T23:59:59-23:59", "2026-05-12", "12:00", 9223372036854775807,
        1778596205, "1778596205", 1778596205000, "2026-05-12T14:00:00", "é" * 50, "281474979112001", 281474979112001,
        {"ID": 7, "Number": "T-7", "VIN": "1FUJHHDR3MLMT2101"}, {"id": None}, {"id": {"id": 1}}, [None, 1, "a", {"id": 1}],
    ]
)  # fmt: skip
ANY = st.recursive(
    ODD
    | st.text(max_size=8)
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(WORDS) | st.text(max_size=4), inner, max_size=6
        )
    ),
    max_leaves=25,
)


@pytest.mark.parametrize("vendor", VENDORS)
@few
@given(body=st.binary(max_size=120) | st.text(max_size=60).map(str.encode))
def test_any_bytes_are_records_or_empty_or_a_payload_error(vendor, body):
    taken(vendor, body)


@pytest.mark.parametrize("vendor", VENDORS)
@settings(max_examples=tries(400), deadline=None)
@given(value=ANY)
def test_any_json_is_records_or_empty_or_a_payload_error(vendor, value):
    taken(vendor, json.dumps(value).encode())


@pytest.mark.parametrize("vendor", VENDORS)
@settings(max_examples=tries(800), deadline=None)
@given(data=st.data())
def test_a_sample_with_anything_changed_is_read_or_set_aside_whole(vendor, data):
    samples = [path for path in SAMPLES if path.parent.name == vendor]
    body = json.loads(data.draw(st.sampled_from(samples)).read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        body = changed(body, data)

    taken(vendor, json.dumps(body).encode())


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize("depth", [30, 60, 900, 2_000, 200_000])
@pytest.mark.parametrize(
    "shape", ['{"data":', '{"vehicle":', "[", '{"x":[', '{"detail":{"b":']
)
def test_however_deep_a_body_nests_it_is_read_or_a_payload_error(vendor, depth, shape):
    opened = shape * depth
    closed = "".join(
        "}" if one == "{" else "]" for one in reversed(opened) if one in "{["
    )
    heads = (
        "", '{"action":"new_thing","id":1,"x":', '{"eventId":"1","eventType":"NewThing","data":',
        '{"eventId":"1","eventType":"Alert","eventMs":1,"event":',
        '{"eventId":"1","eventType":"AlertIncident","eventTime":"2026-05-12T14:00:00Z","data":',
    )  # fmt: skip

    for head in heads:
        body = f"{head}{opened}1{closed}{'}' if head else ''}"
        taken(vendor, body.encode())


def taken(vendor: str, body: bytes) -> None:
    """Every byte is accounted for, and every event can be kept, read back and named."""
    provider, webhook = hook(vendor)
    try:
        split = webhook.unpack(post(body))
    except PayloadError as bad:
        assert_short(bad)
        return
    assert len(split.records) + split.empty >= 1
    for record in split.records:
        assert carried(record.body, body)
        try:
            events = list(provider.normalize[record.feed](record.body))
        except PayloadError as bad:
            assert_short(bad)
            continue
        assert events
        for event in events:
            sound(event)


def carried(record: bytes, body: bytes) -> bool:
    """Whether a record is a part of a body, or of a message inside it with a head."""
    if record in body:
        return True
    message = json.loads(body)["Message"]
    alone = json.loads(record).get("_item") == message
    return alone or record.partition(b",")[2] in message.encode()


def assert_short(bad: PayloadError) -> None:
    assert len(str(bad)) < 200


def sound(event: AnyEvent) -> None:
    assert unpack(pack(event)) == event
    assert isinstance(event.id, str)
    assert event.id.strip()
    for one in (
        event.vehicle,
        event.number,
        event.vin,
        event.driver or None,  # empty in a fix: nobody drives
        event.driver_name,
    ):
        assert one is None or one.strip()
    for one in msgspec.structs.astuple(event):
        assert not isinstance(one, datetime) or one.utcoffset().total_seconds() == 0
    assert lane_of(event) in (0, 1)
    assert len(dedupe_key("north", event, tag_of(event), 1)) == 12
    json.dumps(told(event))


def changed(value: Any, data: st.DataObject) -> Any:
    """The same with one thing in it dropped, renamed, doubled or of another type."""
    if isinstance(value, dict) and value:
        key = data.draw(st.sampled_from(sorted(value)))
        how = data.draw(
            st.sampled_from(
                [
                    "into",
                    "into",
                    "into",
                    "drop",
                    "odd",
                    "upper",
                    "title",
                    "text",
                    "list",
                ]
            )
        )
        rest = {one: inner for one, inner in value.items() if one != key}
        if how == "drop":
            return rest
        if how in ("upper", "title"):
            return rest | {key.upper() if how == "upper" else key.title(): value[key]}
        return value | {key: replaced(value[key], how, data)}
    if isinstance(value, list) and value and data.draw(st.booleans()):
        place = data.draw(st.integers(0, len(value) - 1))
        return [*value[:place], changed(value[place], data), *value[place:]]
    return data.draw(ODD)


def replaced(value: Any, how: str, data: st.DataObject) -> Any:
    if how == "text" and isinstance(value, int | float):
        return str(value)
    if how == "list":
        return [value]
    return data.draw(ODD) if how == "odd" else changed(value, data)


def signed(vendor: str, vector: dict[str, Any]) -> tuple[Request, str]:
    scheme = json.loads((HERE / vendor / "signatures.json").read_bytes())["scheme"]
    headers = {scheme["header"].lower(): vector["presented_signature_header"]}
    if vector["timestamp_header"]:
        headers[scheme["timestamp_header"].lower()] = vector["timestamp_header"]
    secret = vector.get("secret_base64") or vector["secret"]
    return post(vector["raw_body"].encode(), headers), secret


def other_secret(secret: str) -> str:
    return base64.b64encode(b"not " + secret.encode()).decode()


def lower(headers: Any) -> dict[str, str]:
    return {key.lower(): value for key, value in headers.items()}
