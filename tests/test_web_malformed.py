"""Whatever can be read in two ways is refused, and nothing behind it is read at all."""

from __future__ import annotations

from email.utils import parsedate_to_datetime

import msgspec
import pytest

from fleetd.web.head import hopeless
from tests.web_client import Memory, exchange, listening
from tests.web_corpus import GET, MALFORMED, SOUND, Case

SMUGGLED = b"POST /smuggled HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}"
LAST = b"GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


def named(cases: list[Case]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", cases, ids=[case.name for case in cases])


def test_the_corpus_holds_at_least_sixty_cases_of_different_names():
    names = [case.name for case in MALFORMED]

    assert len(set(names)) == len(names) >= 60


@named(MALFORMED)
async def test_it_is_refused_with_a_reason_and_the_connection_is_closed(case):
    memory = Memory()
    async with listening(memory) as (_, port):
        (answer,) = await exchange(port, case.data, eof=case.eof)

    assert answer.status == case.status
    assert memory.asked == []
    assert answer.headers["connection"] == "close"
    assert len(msgspec.json.decode(answer.body)["error"]) > 10


@named([case for case in MALFORMED if not case.eof])
async def test_nothing_that_follows_a_refused_request_is_processed(case):
    memory = Memory()
    async with listening(memory) as (_, port):
        answers = await exchange(port, case.data + SMUGGLED * 3)

    assert [answer.status for answer in answers] == [case.status]
    assert memory.asked == []


@named([case for case in MALFORMED if not case.eof])
async def test_what_came_before_a_refused_request_is_still_answered(case):
    memory = Memory()
    async with listening(memory) as (_, port):
        answers = await exchange(port, GET + b"\r\n" + case.data)

    assert [answer.status for answer in answers] == [200, case.status]
    assert len(memory.asked) == 1


@named(SOUND)
async def test_what_is_sound_is_taken_and_the_connection_goes_on(case):
    memory, old = Memory(), b"HTTP/1.0" in case.data
    async with listening(memory) as (_, port):
        answers = await exchange(port, case.data + LAST)

    assert [answer.status for answer in answers] == [200] * (1 if old else 2)
    assert parsedate_to_datetime(answers[0].headers["date"]).tzinfo is not None


async def test_a_peer_that_is_refused_disturbs_no_other():
    memory = Memory()
    async with listening(memory) as (door, port):
        for case in MALFORMED:
            await exchange(port, case.data, eof=case.eof)
            (answer,) = await exchange(port, LAST)
            assert answer.status == 200
        assert door.in_flight == 0

    assert len(memory.asked) == len(MALFORMED)


@pytest.mark.parametrize(
    "head",
    [b"GET /\r\nX: y\r\n", b"GET /\r\nX: y\rz", b"GET /\nX", b"GET /\0", b"GET /\r"],
)
def test_a_head_that_comes_byte_by_byte_is_judged_by_what_is_new_as_by_all_of_it(head):
    for end in range(1, len(head) + 1):
        anew = hopeless(head[:end], 0)

        assert hopeless(b"body\r" + head[:end], 5, end - 1) == anew
        if anew:
            break
    assert bool(anew) == (head[-1:] not in b"\r\n")
    assert not hopeless(b"GET /\n  ", 0, 8), "what is known is not read again"
