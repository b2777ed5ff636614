"""Any sender: every way to sign, every place an id may stand, and whatever may arrive."""

from __future__ import annotations

import base64
import hmac
import json
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetd.errors import ConfigError, PayloadError, SignatureError
from fleetd.event import Other, pack, stamp, tag_of, unpack
from fleetd.providers import load
from fleetd.providers.contract import Provider
from fleetd.providers.generic import MOST_ITEMS, PROVIDER, Settings, configured
from fleetd.web import Request
from tests.tries import tries

NOW = datetime(2026, 11, 21, 22, 5, 3, tzinfo=UTC)
SECONDS = "1795298703"
BODY = b'{"id": 7, "text": "T\xc3\xbcr"}'
SECRETS = {"text": "s3cret", "base64": "c2VjcmV0IGtleQ==", "hex": "00ff17a0"}
KEYS = {"text": b"s3cret", "base64": b"secret key", "hex": b"\x00\xff\x17\xa0"}


def post(body: bytes, headers: dict[str, str] | None = None) -> Request:
    return Request("POST", "/webhooks/any", "", headers or {}, body, "127.0.0.1")


def made(**keys: Any) -> Provider:
    """The provider as the config file would make it."""
    return configured(msgspec.convert(keys, Settings))


def events(provider: Provider, body: bytes) -> list[Other]:
    records = provider.webhook.unpack(post(body)).records
    return [one for item in records for one in provider.normalize[item.feed](item.body)]


def only(provider: Provider, record: Any) -> Other:
    (event,) = events(provider, json.dumps(record).encode())
    return event


def written(digest: bytes, encoding: str) -> str:
    return digest.hex() if encoding == "hex" else base64.b64encode(digest).decode()


@pytest.mark.parametrize("signed", ["body", "timestamp.body"])
@pytest.mark.parametrize("algorithm", ["sha1", "sha256", "sha512"])
@pytest.mark.parametrize("encoding", ["hex", "base64"])
@pytest.mark.parametrize("secret_encoding", ["text", "base64", "hex"])
def test_every_way_to_sign_is_taken_as_configured_and_no_other(
    signed, algorithm, encoding, secret_encoding
):
    hook = made(
        signed=signed,
        algorithm=algorithm,
        encoding=encoding,
        secret_encoding=secret_encoding,
        signature_header="X-Acme-Signature",
        signature_prefix="sig=",
    ).webhook
    secret, key = SECRETS[secret_encoding], KEYS[secret_encoding]
    message = BODY if signed == "body" else SECONDS.encode() + b"." + BODY
    digest = written(hmac.digest(key, message, algorithm), encoding)
    headers = {"x-acme-signature": f"sig={digest}", "x-timestamp": SECONDS}

    when = hook.verify(post(BODY, headers), ["0f", secret])

    assert when == (None if signed == "body" else NOW)
    assert hook.good_secret(secret) is None
    assert hook.verify(post(BODY, dict(hook.sign(BODY, secret, NOW))), [secret]) == when
    for body, changed, secrets in (
        (BODY + b" ", {}, [secret]),
        (BODY, {}, ["0e"]),
        (BODY, {}, [""]),
        (BODY, {}, []),
        (BODY, {"x-acme-signature": ""}, [secret]),
        (BODY, {"x-acme-signature": digest}, [secret]),
        (BODY, {"x-acme-signature": "sig="}, [secret]),
        (BODY, {"x-acme-signature": f"sig={digest[:-4]}"}, [secret]),
        (BODY, {"x-acme-signature": f"sig={digest} "}, [secret]),
    ):
        with pytest.raises(SignatureError):
            hook.verify(post(body, headers | changed), secrets)


def test_a_signed_timestamp_is_part_of_what_is_signed():
    hook = made(signed="timestamp.body", timestamp_header="X-Sent").webhook
    headers = dict(hook.sign(BODY, "s3cret", NOW))

    assert headers["x-sent"] == SECONDS
    for stamp_sent in ("", "1795298704", "Sat, 21 Nov", "\xe9"):
        with pytest.raises(SignatureError):
            hook.verify(post(BODY, headers | {"x-sent": stamp_sent}), ["s3cret"])


def test_a_signed_time_in_words_is_read_and_one_in_no_known_words_is_no_reason_to_refuse():
    hook = made(signed="timestamp.body").webhook
    for said, when in ((stamp(NOW), NOW), ("1795298703000", NOW), ("yesterday", None)):
        digest = hmac.digest(b"s3cret", said.encode() + b"." + BODY, "sha256").hex()
        headers = {"x-timestamp": said, "x-signature": digest}
        assert hook.verify(post(BODY, headers), ["s3cret"]) == when


def test_upper_case_hex_is_the_same_signature():
    digest = hmac.digest(b"s3cret", BODY, "sha256").hex().upper()

    assert (
        made().webhook.verify(post(BODY, {"x-signature": digest}), ["s3cret"]) is None
    )


# The example of the Standard Webhooks libraries.
STANDARD = {
    "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
    "webhook-timestamp": "1614265330",
    "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
}
STANDARD_BODY = b'{"test": 2432232314}'
WHSEC = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def test_standard_webhooks_are_verified_as_their_libraries_do():
    verify = made(scheme="standard").webhook.verify
    signed_at = datetime(2021, 2, 25, 15, 2, 10, tzinfo=UTC)
    several = f"v1a,abcd v2,zzzz v1,!!! v1,{'A' * 43}= {STANDARD['webhook-signature']}"

    assert verify(post(STANDARD_BODY, STANDARD), [WHSEC]) == signed_at
    assert verify(post(STANDARD_BODY, STANDARD), ["whsec_b2xk", WHSEC[6:]]) == signed_at
    assert verify(
        post(STANDARD_BODY, STANDARD | {"webhook-signature": several}), [WHSEC]
    )


@pytest.mark.parametrize(
    "changed",
    [
        {"webhook-id": "msg_other"},
        {"webhook-id": ""},
        {"webhook-timestamp": "1614265331"},
        {"webhook-timestamp": "²"},
        {"webhook-timestamp": ""},
        {"webhook-signature": ""},
        {"webhook-signature": "g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="},
        {"webhook-signature": "v2,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="},
        {"webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1PE="},
        {"webhook-signature": "v1, v1, v1"},
        {"webhook-signature": "v1,AAAA " * 40 + STANDARD["webhook-signature"]},
    ],
)
def test_a_standard_webhook_with_anything_changed_is_refused(changed):
    verify = made(scheme="standard").webhook.verify

    with pytest.raises(SignatureError):
        verify(post(STANDARD_BODY, STANDARD | changed), [WHSEC])


def test_a_standard_webhook_is_refused_under_another_an_empty_or_no_secret():
    verify = made(scheme="standard").webhook.verify

    for secrets in ([], [""], ["whsec_"], ["whsec_!!"], ["whsec_b3RoZXI="]):
        with pytest.raises(SignatureError):
            verify(post(STANDARD_BODY, STANDARD), secrets)


def test_send_makes_standard_headers_that_verify():
    hook = made(scheme="standard").webhook
    headers = dict(hook.sign(BODY, WHSEC, NOW))

    assert set(headers) == set(STANDARD)
    assert hook.verify(post(BODY, headers), [WHSEC]) == NOW


@pytest.mark.parametrize(
    ("keys", "secret"),
    [
        ({"scheme": "standard"}, "whsec_"),
        ({"scheme": "standard"}, "whsec_no base64 at all"),
        ({"secret_encoding": "base64"}, "%%%"),
        ({"secret_encoding": "hex"}, "xyz"),
        ({}, ""),
    ],
)
def test_a_secret_of_another_shape_is_told_without_being_shown(keys, secret):
    why = made(**keys).webhook.good_secret(secret)

    assert why
    assert secret in ("", "whsec_") or secret not in why


RECORD = {
    "event": {"id": 4711, "kinds": ["door", "open"], "a.b": {"c": "deep"}},
    "time": "2026-11-21T22:05:03Z",
    "truck": " T-7 ",
    "$type": "x",
}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("$.event.id", "4711"),
        ("event.id", "4711"),
        ("$.event.kinds[1]", "open"),
        ("event['a.b'].c", "deep"),
        ('$["event"]["kinds"][0]', "door"),
        ("$.truck", "T-7"),
        ("$type", "x"),
        ("$.event.kinds[9]", None),
        ("$.event.kinds", None),
        ("$.event[0]", None),
        ("$.truck.id", None),
        ("$.nowhere.at.all", None),
    ],
)
def test_a_path_finds_what_stands_there_or_nothing(path, found):
    assert only(made(type=path), RECORD).type == found


def test_every_part_of_an_event_is_picked_and_the_whole_record_kept():
    provider = made(
        id="$.event.id",
        at="$.time",
        vehicle="$.truck",
        type="$.event.kinds[0]",
        text="$.$type",
    )
    event = only(provider, RECORD)

    assert (event.kind, event.id, event.at) == ("other", "4711", NOW)
    assert (event.vehicle, event.type, event.text) == ("T-7", "door", "x")
    assert event.detail == RECORD


@pytest.mark.parametrize(
    ("said", "at"),
    [
        ("2026-11-21T22:05:03Z", NOW),
        ("2026-11-21T23:05:03+01:00", NOW),
        ("2026-11-21T22:05:03", NOW),
        (1795298703, NOW),
        (1795298703000, NOW),
        ("1795298703", NOW),
        (1795298703.5, NOW.replace(microsecond=500_000)),
        ("soon", None),
        (True, None),
        (None, None),
        ({}, None),
        (1e300, None),
        ("9999-12-31T23:59:59-14:00", None),
    ],
)
def test_a_time_is_read_however_it_is_written(said, at):
    assert only(made(at="t"), {"t": said}).at == at


def test_without_an_id_the_content_is_the_id_whatever_its_order():
    plain = made()
    one, turned = only(plain, {"a": 1, "b": 2}), only(plain, {"b": 2, "a": 1})

    assert (one.id, tag_of(one)) == (turned.id, tag_of(turned))
    assert one.id != only(plain, {"a": 1, "b": 3}).id
    assert only(made(id="c"), {"a": 1, "b": 2}).id == one.id
    assert len(only(made(id="c"), {"c": "x" * 5000}).id) == 32


def test_the_same_id_with_other_content_is_another_revision():
    provider = made(id="id")
    first, second = only(provider, {"id": 1, "a": 1}), only(provider, {"id": 1, "a": 2})

    assert first.id == second.id
    assert tag_of(first) != tag_of(second)


@pytest.mark.parametrize(
    ("keys", "body", "count"),
    [
        ({}, b'{"a":1}', 1),
        ({}, b' [{"a":1},{"a":2}] ', 2),
        ({"items": "$"}, b'[{"a":1}]', 1),
        (
            {"items": "$.data.events"},
            b'{"data":{"events":[{"a":1},{"a":2},{"a":3}]}}',
            3,
        ),
        ({"items": "[1].e"}, b'[0,{"e":[{}]}]', 1),
        ({"items": "e"}, b'{"e":[]}', 0),
        ({"items": "e"}, b'{"e": null }', 0),
        ({"items": "e"}, b'{"e": {"a":1} }', 1),
        ({"items": "e[1]"}, b'{"e":[[],{"a":1}]}', 1),
        ({}, b"[]", 0),
        ({}, b"  ", 0),
    ],
)
def test_a_body_is_split_into_its_records(keys, body, count):
    provider = made(**keys)
    split = provider.webhook.unpack(post(body))

    assert len(split.records) == count == len(events(provider, body))
    assert split.empty == (count == 0)


@pytest.mark.parametrize(
    ("keys", "body"),
    [
        ({}, b"seven"),
        ({}, b"7"),
        ({}, b'"text"'),
        ({}, b"null"),
        ({}, b'{"a":'),
        ({}, b"\xff"),
        ({}, b"[" * 100_000),
        ({}, b'{"a":' * 100_000),
        ({}, b"[" + b",".join([b"{}"] * (MOST_ITEMS + 1)) + b"]"),
        ({"items": "e"}, b"[]"),
        ({"items": "e"}, b'{"f":[]}'),
        ({"items": "e"}, b'{"e":"text"}'),
        ({"items": "e[2]"}, b'{"e":[[],[]]}'),
        ({"items": "e.f"}, b'{"e":7}'),
    ],
)
def test_a_body_without_the_records_promised_is_a_payload_error(keys, body):
    with pytest.raises(PayloadError):
        made(**keys).webhook.unpack(post(body))


def test_one_bad_item_spoils_no_other():
    provider = made()
    split = provider.webhook.unpack(post(b'[{"a":1},7,"x",{"a":2}]'))
    outcomes = []
    for record in split.records:
        try:
            outcomes += [
                one.detail["a"] for one in provider.normalize[record.feed](record.body)
            ]
        except PayloadError:
            outcomes.append("dead")

    assert outcomes == [1, "dead", "dead", 2]


def test_secret_fields_are_masked_at_any_depth():
    provider = made(secret_fields=["pin", "token"])
    event = only(provider, {"pin": 1, "a": [{"token": {"x": "hush"}}], "b": "pin"})

    assert event.detail == {"pin": "***", "a": [{"token": "***"}], "b": "pin"}
    assert provider.secret_fields == {"pin", "token"}


@pytest.mark.parametrize(
    ("keys", "named"),
    [
        ({"id": "$..id"}, "id"),
        ({"at": "$.a[*]"}, "at"),
        ({"vehicle": "a[-1]"}, "vehicle"),
        ({"type": "a["}, "type"),
        ({"text": "a..b"}, "text"),
        ({"text": "$"}, "text"),
        ({"items": "$.a[?(@.b)]"}, "items"),
        ({"id": ".".join("a" * 40)}, "id"),
        ({"signature_header": ""}, "signature_header"),
        ({"signature_header": "x signature"}, "signature_header"),
        ({"timestamp_header": "x:y", "signed": "timestamp.body"}, "timestamp_header"),
        ({"timestamp_header": "x-sent"}, "timestamp_header"),
        ({"scheme": "standard", "algorithm": "sha1"}, "algorithm"),
        ({"scheme": "standard", "signature_header": "x"}, "signature_header"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_its_key(keys, named):
    with pytest.raises(ConfigError, match=f"^{named}: "):
        made(**keys)


@pytest.mark.parametrize(
    "keys",
    [{"algorithm": "md5"}, {"scheme": "svix"}, {"signed": "path"}, {"idd": "$.id"}],
)
def test_an_unknown_word_or_key_does_not_pass(keys):
    with pytest.raises(msgspec.ValidationError):
        made(**keys)


def test_the_provider_itself_is_the_one_without_keys():
    assert load("generic") is PROVIDER
    assert configured(None).name == "generic"
    assert PROVIDER.settings is Settings
    assert only(PROVIDER, {"a": 1}).detail == {"a": 1}


numbers = (
    st.integers()
    | st.integers(-(10**400), 10**400)
    | st.floats(allow_nan=False, allow_infinity=False)
)
values = st.recursive(
    st.none() | st.booleans() | numbers | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
    ),
    max_leaves=20,
)
paths = st.sampled_from(["a", "$.b", "a.b", "a[0]", "$.c[1].a", "b.b.b"])
full = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(("items", "id", "at", "vehicle", "type", "text"), paths)
)


def hold(provider: Provider, body: bytes) -> None:
    """Take a body as the engine does: nothing but a payload error may come out."""
    try:
        records = provider.webhook.unpack(post(body)).records
    except PayloadError:
        return
    for record in records:
        try:
            found = list(provider.normalize[record.feed](record.body))
        except PayloadError:
            continue
        for event in found:
            assert unpack(pack(event)) == event
            assert event.id
            assert event.at is None or stamp(event.at).endswith("Z")
            assert tag_of(event)


@settings(max_examples=tries(300), deadline=None)
@given(keys=full, value=values)
def test_whatever_json_arrives_is_an_event_or_a_payload_error(keys, value):
    hold(made(**keys), json.dumps(value).encode())


@settings(max_examples=tries(200), deadline=None)
@given(
    keys=full,
    body=st.binary(max_size=60)
    | st.text(alphabet='[]{}",:0a\\u9 ', max_size=40).map(str.encode),
)
def test_whatever_bytes_arrive_are_an_event_or_a_payload_error(keys, body):
    hold(made(**keys), body)


@settings(max_examples=tries(300), deadline=None)
@given(path=st.text(alphabet="$.[]'\"ab0*?é ", max_size=20))
def test_a_path_is_read_or_refused_and_never_anything_else(path):
    try:
        provider = made(id=path)
    except ConfigError:
        return
    assert only(provider, {"a": 1}).id


@settings(max_examples=tries(100), deadline=None)
@given(depth=st.integers(1, 3000))
def test_a_record_nested_without_end_is_a_payload_error(depth):
    body = b'{"a":' * depth + b"1" + b"}" * depth
    if depth < 39:
        (event,) = events(made(), body)
        assert unpack(pack(event)) == event
    elif depth > 41:
        with pytest.raises(PayloadError):
            events(made(), body)
