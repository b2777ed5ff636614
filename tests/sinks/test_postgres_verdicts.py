"""What each refusal of a real PostgreSQL is taken for, and what the operator is told to do."""

from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fleetd.config import Seconds
from fleetd.errors import HeldError, RejectedError, TransientError
from fleetd.event import Position
from fleetd.masking import MASK
from fleetd.secrets import Secret
from fleetd.sinks.postgres import SINK, Config, verdicts
from fleetd.sinks.postgres.address import trust, way_of
from fleetd.world import World
from tests.postgres import GIS, PASSWORD, PLAIN, SEALED, USER, Postgres, secured
from tests.sinks.databases import Place
from tests.sinks.things import DAY, batch, entries, entry

RAISING = """
CREATE FUNCTION {schema}.raising() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'as told' USING ERRCODE = '{code}'; END $$;
CREATE TRIGGER raising BEFORE INSERT ON {schema}.positions
FOR EACH ROW EXECUTE FUNCTION {schema}.raising()
"""


@pytest.fixture
def place(postgres: Postgres) -> Place:
    return Place(postgres, PLAIN)


def reached(server: Postgres, url: str, **config: Any) -> Place:
    return Place(server, GIS, url=Secret(f"plain:{url}"), **config)


@pytest.mark.parametrize(
    ("code", "verdict", "words", "about"),
    [
        ("40001", TransientError, "others wrote the same", {"counts": False}),
        ("40P01", TransientError, "others wrote the same", {"counts": False}),
        ("53100", TransientError, "disk is full", {"counts": False}),
        ("53200", TransientError, "short of room", {"counts": False}),
        ("53300", TransientError, "too many connections", {"counts": False}),
        ("55P03", TransientError, "locked", {"counts": False, "slow": True}),
        ("57014", TransientError, "stopped", {"counts": False, "slow": True}),
        ("57P01", TransientError, "ending", {"counts": False}),
        ("25006", TransientError, "read-only", {"counts": False}),
        ("08006", TransientError, "connection failed", {"counts": False}),
        ("58030", TransientError, "as told", {"counts": True}),
        ("XX000", TransientError, "as told", {"counts": True}),
        ("28000", HeldError, "user and password", {}),
        ("3D000", HeldError, "no such database", {}),
        ("57P04", HeldError, "no such database", {}),
        ("42501", HeldError, "SELECT, INSERT and UPDATE", {}),
        ("42804", HeldError, "not as fleetd made them", {}),
        ("0A000", HeldError, "PostgreSQL 10", {}),
        ("22001", RejectedError, "as told", {"blameless": False, "proven": False}),
        ("22003", RejectedError, "as told", {}),
        ("23502", RejectedError, "as told", {}),
        ("23514", RejectedError, "as told", {}),
        ("44000", RejectedError, "as told", {}),
        ("54000", RejectedError, "as told", {}),
        ("P0001", RejectedError, "as told", {}),
    ],
)
async def test_each_code_is_one_verdict(place, code, verdict, words, about):
    async with place.open() as write:
        await write(batch(entries(1)))
        told = RAISING.format(schema=place.schema, code=code)
        place.do(told.replace("{", "{{").replace("}", "}}"))
        with pytest.raises(verdict, match=words) as caught:
            await write(batch(entries(2, 3)))
        place.do("DROP TRIGGER raising ON {}")
        await write(batch(entries(2, 3)))

    for name, value in about.items():
        assert getattr(caught.value, name) == value, name
    if verdict is RejectedError:
        assert set(caught.value.reasons) == {2, 3}
    assert [row["seq"] for row in place.rows()] == [1, 2, 3]


def odd(seq: int, **more: Any) -> Any:
    event = Position(**{"id": f"p{seq}", "at": DAY, "vehicle": "v1", **more})
    return entry(seq, event)


@pytest.mark.parametrize(
    "more",
    [
        {"location_description": "a\0b"},
        {"driver_name": "half \ud83d"},
        {"id": "x" * 9000},
        {"number": "\0"},
    ],
    ids=["nul", "half a character", "an id no index holds", "nothing but nul"],
)
async def test_what_no_table_can_hold_is_this_records_fault(place, more):
    if len(more.get("id", "")) > 8000:  # what repeats is packed: let it not
        more = {"id": os.urandom(9000).hex()}
    async with place.open() as write:
        await write(batch(entries(1)))
        for some in ([*entries(2), odd(3, **more), *entries(4)], [odd(3, **more)]):
            with pytest.raises(RejectedError) as caught:
                await write(batch(some))
            assert not caught.value.proven
            assert set(caught.value.reasons) == {one.seq for one in some}
        await write(batch(entries(2, 4)))

    assert [row["seq"] for row in place.rows()] == [1, 2, 4]


async def test_a_revision_that_no_column_holds_is_this_records_fault(place):
    import msgspec

    huge = msgspec.structs.replace(entry(1), revision=1 << 70)
    with pytest.raises(RejectedError):
        await place.write([huge])


def test_a_number_that_the_driver_in_python_cannot_pack_is_this_records_fault():
    with pytest.raises(struct.error) as caught:
        struct.pack("!q", 1 << 70)

    verdict = verdicts.of_write(caught.value, entries(1), None, 5.0)
    assert isinstance(verdict, RejectedError)


# not let in


@pytest.mark.parametrize(
    ("user", "database", "password", "words"),
    [
        (SEALED, GIS, "wrong-password", "correct the user and password in `url`"),
        (SEALED, GIS, "", "correct the user and password"),
        ("nobody_here", GIS, "", "CREATE ROLE nobody_here LOGIN"),
        (USER, "not there", "", 'CREATE DATABASE "not there" OWNER fleetd'),
    ],
)
async def test_who_is_not_let_in_is_told_what_to_do(
    postgres, user, database, password, words
):
    port = postgres.port
    url = postgres.url(database.replace(" ", "%20"), user, port=port, password=password)
    with pytest.raises(HeldError, match=words) as caught:
        await reached(postgres, url).write(entries(1))

    assert "wrong-password" not in str(caught.value)
    assert "\n" not in str(caught.value)


async def test_a_database_one_may_not_connect_to_says_what_to_grant(postgres):
    postgres.do("CREATE DATABASE shut")
    postgres.do("REVOKE CONNECT ON DATABASE shut FROM PUBLIC")
    words = f"GRANT CONNECT, CREATE, TEMPORARY ON DATABASE shut TO {USER}"
    with pytest.raises(HeldError, match=words):
        await reached(postgres, postgres.url("shut")).write(entries(1))


async def test_each_right_that_is_missing_is_named(postgres):
    role, base = "stranger", "strange"
    postgres.do(f"CREATE ROLE {role} LOGIN")  # type: ignore[arg-type]
    postgres.do(f"CREATE DATABASE {base}")  # type: ignore[arg-type]
    postgres.do(f"REVOKE ALL ON DATABASE {base} FROM PUBLIC")  # type: ignore[arg-type]
    place = Place(
        postgres, base, "theirs", url=Secret(f"plain:{postgres.url(base, role)}")
    )
    steps = [
        ("GRANT CONNECT", f"GRANT CONNECT ON DATABASE {base} TO {role}"),
        ("GRANT CREATE ON DATABASE", "CREATE SCHEMA theirs"),
        ("GRANT USAGE, CREATE ON SCHEMA", f"GRANT ALL ON SCHEMA theirs TO {role}"),
        ("GRANT TEMPORARY ON", f"GRANT TEMPORARY ON DATABASE {base} TO {role}"),
    ]
    for words, remedy in steps:
        with pytest.raises(HeldError, match=words):
            await place.write(entries(1))
        postgres.do(remedy, database=base)  # type: ignore[arg-type]
    await place.write(entries(1))
    postgres.do(f"REVOKE INSERT ON theirs.positions FROM {role}", database=base)  # type: ignore[arg-type]
    with pytest.raises(HeldError, match="needs SELECT, INSERT and UPDATE"):
        await place.write(entries(2))


async def test_the_check_names_a_right_that_is_missing(postgres):
    role = "looker"
    postgres.do(f"CREATE ROLE {role} LOGIN")  # type: ignore[arg-type]
    place = Place(postgres, url=Secret(f"plain:{postgres.url(GIS, role)}"))

    with pytest.raises(HeldError, match=r"CREATE SCHEMA .* AUTHORIZATION looker"):
        await SINK.check(place.config, World())


async def test_too_many_connections_are_no_ones_fault(postgres):
    postgres.do("CREATE ROLE crowd LOGIN CONNECTION LIMIT 0")
    with pytest.raises(TransientError, match="too many connections") as caught:
        await reached(postgres, postgres.url(GIS, "crowd")).write(entries(1))

    assert not caught.value.counts


# not there


async def test_nobody_at_that_address_is_later(postgres):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        with pytest.raises(TransientError, match="refused") as caught:
            await reached(postgres, postgres.url(port=port)).write(entries(1))

    assert not caught.value.counts


async def test_somebody_who_never_answers_is_given_up(postgres):
    with socket.create_server(("127.0.0.1", 0)) as mute:
        url = postgres.url(port=mute.getsockname()[1])
        with pytest.raises(TransientError, match="timeout"):
            await reached(postgres, url, timeout=Seconds(1)).write(entries(1))


async def test_a_name_that_nobody_knows_is_later(postgres):
    url = "postgresql://fleetd@no-such-host.invalid/fleet"
    with pytest.raises(TransientError, match="no-such-host"):
        await reached(postgres, url).write(entries(1))


async def test_a_server_that_stops_answering_is_given_up_in_time(postgres):
    """Its process is stopped, so that nothing on its side ends the wait either."""
    place = Place(postgres, timeout=Seconds(1))
    async with place.open() as write:
        await write(batch(entries(1)))
        pid = backend(place)
        os.kill(pid, signal.SIGSTOP)
        try:
            with pytest.raises(TransientError, match="within 1 s") as caught:
                await write(batch(entries(2)))
        finally:
            os.kill(pid, signal.SIGCONT)
        await write(batch(entries(2)))

    assert caught.value.slow
    assert [row["seq"] for row in place.rows()] == [1, 2]


async def test_a_connection_that_is_ended_is_made_again(place):
    async with place.open() as write:
        await write(batch(entries(1)))
        place.do(f"SELECT pg_terminate_backend({backend(place)})")
        with pytest.raises(TransientError, match=r"terminating|connection"):
            await write(batch(entries(2)))
        await write(batch(entries(2)))

    assert [row["seq"] for row in place.rows()] == [1, 2]


def backend(place: Place) -> int:
    """The process that serves this test's sink."""
    found = place.do(
        f"SELECT pid FROM pg_stat_activity WHERE usename = '{USER}'"
        f" AND datname = '{place.database}' ORDER BY backend_start DESC LIMIT 1"
    )
    return int(found[0][0])


# what it is told


@pytest.mark.parametrize(
    "url",
    ["postgres//u:very-secret-word@h/x", "host", "postgresql://u:very-secret-word@h:x/y",
     "postgresql://u:very-secret-word@h/x?sslmode=sometimes&nothing=1"],
)  # fmt: skip
async def test_a_url_that_cannot_be_read_is_told_so_without_being_quoted(postgres, url):
    with pytest.raises(HeldError) as caught:
        await reached(postgres, url).write(entries(1))

    assert "url" in str(caught.value)
    assert "very-secret-word" not in f"{caught.value!r} {caught.value.__cause__!r}"


def test_a_password_in_whatever_form_is_masked_from_then_on():
    way_of(Config(url=Secret("plain:host=h user=u password='kept to us'")))

    assert MASK.mask("they said kept to us") == "they said ***"


@pytest.mark.parametrize(
    ("url", "tls", "mode"),
    [
        ("postgresql://u@db.example/x", None, "verify-full"),
        ("postgresql://u@10.0.0.7/x", None, "verify-full"),
        ("postgresql://u@localhost,db.example/x", None, "verify-full"),
        ("postgresql://u@localhost/x", None, "prefer"),
        ("postgresql://u@127.0.0.1/x", None, "prefer"),
        ("postgresql://u@[::1]/x", None, "prefer"),
        ("postgresql:///x?host=/var/run/postgresql", None, "prefer"),
        ("postgresql://u@db.example/x?sslmode=require", None, "require"),
        ("postgresql://u@db.example/x?sslmode=disable", "verify-ca", "verify-ca"),
        ("postgresql://u@db.example/x", "disable", "disable"),
    ],
)
def test_nothing_goes_far_to_a_server_that_nobody_vouches_for(url, tls, mode):
    config = Config(url=Secret(f"plain:{url}"), tls=tls)
    way = way_of(config)

    assert way["sslmode"] == mode
    assert ("sslrootcert" in way) == mode.startswith("verify")


def test_the_file_of_certificates_that_is_named_wins():
    config = Config(url=Secret("plain:host=h sslrootcert=/theirs"), ca=Path("/ours"))

    assert trust(config, {"host": "h", "sslrootcert": "/theirs"}) == {
        "sslmode": "verify-full", "sslrootcert": "/ours",
    }  # fmt: skip


@pytest.fixture(scope="module")
def sealed(tmp_path_factory) -> Iterator[tuple[Postgres, Path]]:
    folder = tmp_path_factory.mktemp("ca")
    with secured(folder, "localhost") as server:
        yield server, folder / "ca.pem"


async def test_a_certificate_that_is_believed_lets_everything_pass(sealed):
    server, ca = sealed
    url = f"postgresql://{SEALED}:{PASSWORD}@localhost:{server.port}/{GIS}"
    server.do(f"GRANT CREATE ON DATABASE {GIS} TO {SEALED}")
    place = reached(server, url, tls="verify-full", ca=ca)
    await place.write(entries(1))

    assert len(place.rows()) == 1


@pytest.mark.parametrize(
    ("host", "tls", "known"),
    [("localhost", "verify-full", False), ("127.0.0.1", "verify-full", True)],
    ids=["nobody vouches for it", "it is somebody else's"],
)
async def test_a_certificate_that_is_not_believed_is_told_so(sealed, host, tls, known):
    server, ca = sealed
    url = f"postgresql://{SEALED}:{PASSWORD}@{host}:{server.port}/{GIS}"
    with pytest.raises(HeldError, match="certificate is not believed") as caught:
        await reached(server, url, tls=tls, ca=ca if known else None).write(entries(1))

    assert PASSWORD not in str(caught.value)


async def test_a_server_without_tls_is_told_so(postgres):
    url = postgres.url(port=postgres.port)
    with pytest.raises(HeldError, match="speaks no TLS"):
        await reached(postgres, url, tls="require").write(entries(1))


# without the driver

LOST = """
import sys
class Lost:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "psycopg":
            {what}
sys.meta_path.insert(0, Lost())
"""


def without(what: str, then: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", LOST.format(what=what) + then],
        capture_output=True, text=True, check=False, timeout=60,
        cwd=Path(__file__).parents[2],
    )  # fmt: skip
    return done.stdout + done.stderr


def test_without_its_extra_the_config_is_refused_with_the_remedy():
    said = without(
        "raise ModuleNotFoundError(name)",
        "from fleetd.sinks import load\n"
        "from fleetd.secrets import Secret\n"
        "load('postgres').config(url=Secret('env:X'))",
    )

    assert "ValueError" in said
    assert "pip install 'fleetd[postgres]'" in said


def test_the_driver_is_not_loaded_before_something_is_to_be_written():
    said = without(
        "print('looked for', name)",
        "from fleetd.sinks import load\nload('postgres')\nprint('done')",
    )

    assert said.split() == ["done"]
