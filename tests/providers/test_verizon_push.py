"""Who sent a push of Reveal's: password, signature, and which places may be fetched from."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetd.errors import PayloadError, SignatureError, TransientError
from fleetd.providers.contract import Answer
from fleetd.providers.verizon import PROVIDER, Settings, configured
from fleetd.web import Request
from tests.providers.verizon_sns import (
    CONFIRM,
    HOST,
    NOTE,
    PATH,
    TOKEN,
    TOPIC,
    certificate,
    message,
    signed,
)
from tests.tries import tries

HOOK = PROVIDER.webhook
PROOF = [Answer(200, {}, certificate())]
OF = {"Notification": NOTE, "SubscriptionConfirmation": CONFIRM,
      "UnsubscribeConfirmation": {**CONFIRM, "Type": "UnsubscribeConfirmation"}}  # fmt: skip


def post(told, headers=None) -> Request:
    body = told if isinstance(told, bytes) else json.dumps(told).encode()
    return Request("POST", "/webhooks/reveal", "", headers or {}, body, "192.0.2.1")


def proven(told, answers=PROOF, headers=None):
    request = post(told, headers)
    asks = HOOK.needs(request)
    assert [one.host + one.path for one in asks] == [HOST + PATH]
    return HOOK.prove(request, answers)


@pytest.mark.parametrize("version", ["1", "2"])
@pytest.mark.parametrize("kind", OF)
def test_what_amazon_signs_is_believed_and_dated(kind, version):
    told = signed(OF[kind], version)

    assert proven(told) == datetime.fromisoformat(told["Timestamp"])


@pytest.mark.parametrize("version", ["1", "2"])
def test_a_subject_is_signed_too_where_there_is_one(version):
    told = signed({**NOTE, "Subject": "Vehicle update"}, version)

    assert proven(told) is not None
    for odd in (
        {**told, "Subject": "x"},
        {k: v for k, v in told.items() if k != "Subject"},
    ):
        with pytest.raises(SignatureError):
            proven(odd)


def test_text_of_any_kind_is_signed_by_the_letter():
    told = signed({**NOTE, "Message": 'é "\\n"\n\t\u2028 \U0001f69a'})

    assert proven(json.dumps(told).encode()) is not None
    assert proven(json.dumps(told, ensure_ascii=False).encode()) is not None


SIGNED = [
    (kind, name)
    for kind, told in OF.items()
    for name in told
    if name != "UnsubscribeURL"
]


@pytest.mark.parametrize(("kind", "name"), SIGNED)
def test_whatever_of_it_is_changed_it_is_no_longer_believed(kind, name):
    told = signed(OF[kind])
    other = {**told, name: told[name] + "x"}
    if name == "Type":
        other[name] = next(one for one in OF if one != kind)

    with pytest.raises(SignatureError):
        HOOK.prove(post(other, {"x-amz-sns-message-type": kind}), PROOF)


@pytest.mark.parametrize(
    "odd",
    [
        {"Signature": ""}, {"Signature": "AAAA"}, {"Signature": "not base64!"},
        {"SignatureVersion": "2"}, {"SignatureVersion": "3"}, {"SignatureVersion": ""},
    ],
)  # fmt: skip
def test_an_odd_signature_is_refused(odd):
    with pytest.raises(SignatureError):
        proven({**signed(NOTE), **odd})


def test_another_key_than_the_certificates_is_refused():
    with pytest.raises(SignatureError):
        proven(signed(NOTE, name="mallory"))


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>login</html>", certificate()[:200], certificate("x", "ec"),
     certificate("x", "short"), b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"],
)  # fmt: skip
def test_what_is_no_certificate_of_amazons_proves_nothing_either_way(body):
    with pytest.raises(TransientError):
        proven(signed(NOTE), [Answer(200, {}, body)])


FOREIGN = [
    "http://sns.us-east-1.amazonaws.com/a.pem",
    "https://sns.us-east-1.amazonaws.com.evil.example/a.pem",
    "https://evil.example/sns.us-east-1.amazonaws.com/a.pem",
    "https://sns.us-east-1.amazonaws.com@evil.example/a.pem",
    "https://user:pass@sns.us-east-1.amazonaws.com/a.pem",
    "https://sns.us-east-1.amazonaws.com:8443/a.pem",
    "https://sns.us-east-1.amazonaws.com:443/a.pem",
    "https://sns.us-east-1.amazonaws.com\\@evil.example/a.pem",
    "https://sns.us-east-1.amazonaws.com/a.pem#x",
    "https://sns.us-east-1.amazonaws.com/a.pem?x=y.pem",
    "https://sns.us-east-1.amazonaws.com/../a.pem",
    "https://sns.us-east-1.amazonaws.com/a.pem\n",
    "https://sns.us-east-1.amazonaws.com/a.txt",
    "https://sns.us-east-1.amazonaws.com/",
    "https://s3.us-east-1.amazonaws.com/bucket/a.pem",
    "https://sns-us-east-1.amazonaws.com/a.pem",
    "https://mysns.us-east-1.amazonaws.com/a.pem",
    "https://sns.amazonaws.com/a.pem",
    "https://sns..amazonaws.com/a.pem",
    "https://sns.x.s3.amazonaws.com/a.pem",
    "https://sns.bucket.amazonaws.com/a.pem",
    "https://169.254.169.254/latest/meta-data/a.pem",
    "https://SNS.us-east-1.amazonaws.com/a.pem",
    "https://sns.us-east-1.amazonaws.com./a.pem",
    "https://sns.us-east-1.amazonaws。com/a.pem",
    "file:///etc/a.pem", "//sns.us-east-1.amazonaws.com/a.pem", "", "x",
]  # fmt: skip


@pytest.mark.parametrize("url", FOREIGN)
def test_nothing_is_fetched_from_a_place_that_is_not_amazons_sns(url):
    told = {**signed(NOTE), "SigningCertURL": url}
    confirm = {
        **CONFIRM,
        "SubscribeURL": url.replace("/a.pem", "/?Action=ConfirmSubscription"),
    }
    follow = configured(Settings(confirm=True)).webhook.follow

    with pytest.raises(SignatureError):
        HOOK.needs(post(told))
    assert follow(post(confirm)) is None


@pytest.mark.parametrize(
    "region", ["us-east-1", "eu-central-1", "us-gov-west-1", "ap-southeast-2"]
)
def test_every_region_has_its_own_host(region):
    url = f"https://sns.{region}.amazonaws.com/SimpleNotificationService-1.pem"

    (ask,) = HOOK.needs(post({**signed(NOTE), "SigningCertURL": url}))

    assert ask.host + ask.path == url


@settings(max_examples=tries(300), deadline=None)
@given(st.text(max_size=40), st.text(max_size=40))
def test_no_text_around_the_host_is_let_through(before, after):
    url = f"https://{before}sns.us-east-1.amazonaws.com{after}.pem"
    try:
        (ask,) = HOOK.needs(post({**signed(NOTE), "SigningCertURL": url}))
    except SignatureError:
        return

    assert urlsplit(ask.host).hostname == "sns.us-east-1.amazonaws.com"
    assert before == ""
    assert after.startswith("/")


# raw pushes, alerts, and what only looks like a message


def test_a_raw_push_needs_nothing_and_bears_no_signature():
    for headers in (
        {},
        {"x-amz-sns-message-type": "Notification", "x-amz-sns-rawdelivery": "true"},
    ):
        request = post({"vehicleNumber": "TX-104"}, headers)

        assert HOOK.needs(request) == []
        assert HOOK.prove(request, []) is None


@pytest.mark.parametrize(
    "missing", ["MessageId", "TopicArn", "Timestamp", "Message", "Type"]
)
def test_what_says_that_sns_sent_it_must_be_a_message_of_sns(missing):
    told = {name: one for name, one in signed(NOTE).items() if name != missing}
    headers = {"x-amz-sns-message-type": "Notification"}

    for ask in (HOOK.needs, lambda request: HOOK.prove(request, PROOF)):
        with pytest.raises(SignatureError):
            ask(post(told, headers))


def test_a_message_of_sns_is_never_taken_for_a_raw_push():
    unsigned = post({**NOTE}, {"x-amz-sns-rawdelivery": "true"})

    with pytest.raises(SignatureError):
        HOOK.needs(unsigned)


def test_only_the_configured_topic_is_believed():
    hook = configured(Settings(topic=TOPIC)).webhook
    other = {**NOTE, "TopicArn": TOPIC + "2"}
    raw = {"vehicleNumber": "TX-104"}

    assert hook.prove(post(signed(NOTE)), PROOF)
    assert hook.prove(post(raw, {"x-amz-sns-topic-arn": TOPIC}), []) is None
    for request in (
        post(signed(other)), post(raw), post(raw, {"x-amz-sns-topic-arn": TOPIC + "2"}),
    ):  # fmt: skip
        with pytest.raises(SignatureError):
            hook.prove(request, PROOF)


# the password


def test_user_and_password_are_what_lets_a_push_in():
    headers = {k.lower(): v for k, v in HOOK.sign(b"{}", "reveal:pa:ss", None).items()}
    request = post({}, headers)

    HOOK.verify(request, ["other:x", "reveal:pa:ss"])
    for secrets in ([], [""], ["reveal:pa:s"], ["reveal"], ["  "]):
        with pytest.raises(SignatureError):
            HOOK.verify(request, secrets)
    for odd in (
        "",
        "Basic",
        "Basic ",
        "Bearer cmV2ZWFsOnBhOnNz",
        "Basic cmV2ZWFsOnBhOnNz=",
        "é",
    ):
        with pytest.raises(SignatureError):
            HOOK.verify(post({}, {"authorization": odd}), ["reveal:pa:ss"])
    HOOK.verify(post({}, {"authorization": "basic cmV2ZWFsOnBhOnNz"}), ["reveal:pa:ss"])
    with pytest.raises(SignatureError):
        HOOK.verify(post({}, {"authorization": "Basic "}), [""])


def test_a_secret_that_is_no_user_and_password_is_refused_at_the_start():
    assert HOOK.good_secret("user:pass:word") is None
    for odd in ("password", ":password", "user:"):
        assert "user:password" in HOOK.good_secret(odd)


# confirming


def test_a_subscription_is_confirmed_only_if_the_config_says_so():
    follow = configured(Settings(confirm=True)).webhook.follow
    ask = follow(post(signed(CONFIRM)))

    assert HOOK.follow is None
    assert (ask.method, ask.host, ask.path) == ("GET", HOST, "/")
    assert dict(ask.params) == {
        "Action": "ConfirmSubscription", "TopicArn": TOPIC, "Token": TOKEN,
    }  # fmt: skip
    for told in (NOTE, OF["UnsubscribeConfirmation"], {"vehicleNumber": "TX-104"}):
        assert follow(post(told)) is None


@pytest.mark.parametrize(
    "query",
    [
        f"Action=DeleteTopic&TopicArn={TOPIC}&Token={TOKEN}",
        f"Action=ConfirmSubscription&TopicArn={TOPIC}2&Token={TOKEN}",
        f"Action=ConfirmSubscription&TopicArn={TOPIC}&Token=other",
        f"Action=ConfirmSubscription&TopicArn={TOPIC}", "", "x" * 5000,
    ],
)  # fmt: skip
def test_nothing_is_visited_but_the_confirmation_of_this_very_subscription(query):
    follow = configured(Settings(confirm=True)).webhook.follow
    told = signed({**CONFIRM, "SubscribeURL": f"{HOST}/?{query}"})
    split = HOOK.unpack(post(told))
    (event,) = (
        one for rec in split.records for one in PROVIDER.normalize[rec.feed](rec.body)
    )

    assert follow(post(told)) is None
    assert event.url is None


@pytest.mark.parametrize("confirm", [False, True])
def test_the_operator_is_told_of_a_subscription_with_the_link_to_open(confirm):
    provider = configured(Settings(confirm=confirm))
    split = provider.webhook.unpack(post(signed(CONFIRM)))
    (event,) = (
        one for rec in split.records for one in provider.normalize[rec.feed](rec.body)
    )

    assert (event.kind, event.type) == ("alert", "subscription_confirmation")
    assert parse_qs(urlsplit(event.url).query)["Token"] == [TOKEN]
    assert ("by itself" in event.text) == confirm


def test_the_link_that_ends_the_subscription_is_masked():
    assert "UnsubscribeURL" in PROVIDER.secret_fields


# what is in them


def test_a_message_repeated_is_the_same_and_a_list_is_its_points():
    point = {"vehicleNumber": "TX-104", "latitude": 1.5, "longitude": 2.5,
             "updateUTC": "2026-11-20T14:03:22Z"}  # fmt: skip
    body = message(
        [point, {**point, "vehicleNumber": "TX-105"}, {}, {**point, "latitude": "n"}]
    )
    split = HOOK.unpack(post(body))
    made, dead = [], []
    for record in split.records:
        try:
            made += list(PROVIDER.normalize[record.feed](record.body))
        except PayloadError as bad:
            dead.append(str(bad))

    assert split.empty == 1
    assert [one.vehicle for one in made] == ["TX-104", "TX-105"]
    assert dead == ["Latitude is no number (vehicle TX-104, 2026-11-20T14:03:22)"]
    assert HOOK.unpack(post(body)) == split


def test_an_alert_in_a_message_is_named_by_it_where_nothing_else_names_it():
    split = HOOK.unpack(post(message({"AlertType": "Unassigned Miles", "Miles": 3})))
    (record,) = split.records
    (event,) = PROVIDER.normalize[record.feed](record.body)

    assert event.id == NOTE["MessageId"]


@settings(max_examples=tries(200), deadline=None)
@given(
    st.text(max_size=60) | st.binary(max_size=40).map(lambda one: one.decode("latin-1"))
)
def test_any_text_in_a_message_is_records_or_empty(text):
    split = HOOK.unpack(post(message(text)))

    assert len(split.records) + split.empty >= 1
    for record in split.records:
        assert list(PROVIDER.normalize[record.feed](record.body))


def test_times_are_aware():
    assert proven(signed(NOTE)).tzinfo is UTC
