"""What the keys of a postgres sink change, in a daemon that delivers to real servers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.end_to_end.showing import shows
from tests.harness import Fleetd
from tests.postgres import BOSS, GIS, PASSWORD, PLAIN, SEALED, Postgres, secured

SOURCE = """
[sources.gate]
provider = "generic"
id = "id"
auth = { key = "env:KEY" }
"""
SINK = """
[sinks.{name}]
kind = "postgres"
url = "env:URL_{name}"
takes = ["other"]
{extra}
"""
CA = 'ca = "$folder/ca.pem"\ntls = "verify-full"'
EXTRAS = {
    "usual": "",
    "depot": 'schema = "depot"',
    "open": 'schema = "open"\ntls = "disable"',
    "shut": 'schema = "shut"\ntls = "require"',
    "known": f'schema = "known"\n{CA}',
    "doubted": 'schema = "doubted"\ntls = "verify-full"',
    "hasty": 'schema = "hasty"\ntimeout = "1s"',
    "patient": 'schema = "patient"\ntimeout = "20s"',
}
EVENTS = 12
KEPT = "SELECT data_id FROM (SELECT id AS data_id FROM {}.other_events) x ORDER BY 1"


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Postgres, Path]]:
    """A server that speaks TLS, and who vouches for it."""
    folder = tmp_path_factory.mktemp("ca")
    with secured(folder, "localhost") as server:
        for base in (GIS, PLAIN):
            server.do(f"GRANT CREATE ON DATABASE {base} TO {SEALED}")  # type: ignore[arg-type]
        yield server, folder / "ca.pem"


@pytest.fixture(scope="module")
def daemon(
    make: Callable[..., Fleetd], sealed: tuple[Postgres, Path]
) -> Iterator[Fleetd]:
    server, pem = sealed
    host = f"{SEALED}:{PASSWORD}@localhost:{server.port}"
    bases = {name: PLAIN if name == "depot" else GIS for name in EXTRAS}
    urls = {
        f"URL_{name}": f"postgresql://{host}/{base}?application_name=fleetd-{name}"
        for name, base in bases.items()
    }
    for name in ("hasty", "patient"):
        schema(server, name)
    sinks = "".join(
        SINK.format(name=name, extra=extra) for name, extra in EXTRAS.items()
    )
    one = make(environ={"KEY": "key-1", **urls})
    (one.folder / "ca.pem").write_bytes(pem.read_bytes())
    one.configure(SOURCE + sinks)
    with psycopg.connect(server.url(user=BOSS)) as other:
        for name in ("hasty", "patient"):
            other.execute(f"LOCK TABLE {name}.other_events IN EXCLUSIVE MODE")  # type: ignore[arg-type]
        one.begin()
        for number in range(EVENTS):
            told = {"id": f"e{number:02}", "more": "\0" if number == 5 else "x"}
            assert one.post("gate/key-1", json.dumps(told).encode()).json()["stored"]
        for name in ("usual", "depot", "open", "shut", "known"):
            one.until(lambda name=name: none_waits(one, name), f"{name} to be through")
        yield one


def schema(server: Postgres, name: str) -> None:
    """Its table is there already, so that it can be locked before anything goes there."""
    server.do(f"CREATE SCHEMA {name} AUTHORIZATION {SEALED}")  # type: ignore[arg-type]
    from tests.sinks.databases import Place

    place = Place(server, schema=name)
    made = place.columns("other")
    place.do(f"CREATE TABLE {{}} ({made}, PRIMARY KEY (source, id))", "other_events")
    place.do(f"ALTER TABLE {{}} OWNER TO {SEALED}", "other_events")


def none_waits(daemon: Fleetd, name: str) -> bool:
    return not daemon.status()["sinks"][name]["waiting"]


def ids(server: Postgres, schema: str, database: str = GIS) -> list[str]:
    return [one for (one,) in server.rows(KEPT.format(schema), database=database)]  # type: ignore[arg-type]


EVERY = [f"e{number:02}" for number in range(EVENTS) if number != 5]


@shows("sinks.NAME (postgres).url")
def test_events_go_to_the_database_it_names(daemon, sealed):
    server, _ = sealed

    assert ids(server, "fleetd") == EVERY
    assert ids(server, "depot", PLAIN) == EVERY
    assert daemon.status()["sinks"]["usual"]["state"] in {"idle", "sending"}


@shows("sinks.NAME (postgres).schema")
def test_the_tables_are_where_it_says(daemon, sealed):
    query = "SELECT nspname FROM pg_namespace WHERE nspname IN ('fleetd', 'depot')"

    assert sealed[0].rows(query) == [("fleetd",)]
    assert sealed[0].rows(query, database=PLAIN) == [("depot",)]


@shows("sinks.NAME (postgres).tls")
def test_what_goes_over_the_wire_is_sealed_if_it_says_so(daemon, sealed):
    query = "SELECT application_name, ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)"
    found = dict(sealed[0].rows(query))

    assert found["fleetd-open"] is False
    assert found["fleetd-shut"] is True
    assert found["fleetd-known"] is True


@shows("sinks.NAME (postgres).ca")
def test_a_server_is_believed_that_its_certificates_vouch_for(daemon, sealed):
    def refused() -> Any:
        found = daemon.status()["sinks"]["doubted"]
        return found if found["state"] == "held" else None

    assert ids(sealed[0], "known") == EVERY
    assert "give `ca`" in daemon.until(refused, "doubts")["why"]


@shows("sinks.NAME (postgres).timeout")
def test_a_batch_is_given_up_when_it_says(daemon):
    def given_up() -> Any:
        found = daemon.status()["sinks"]["hasty"]
        return found if "lock timeout" in found["why"] else None

    daemon.until(given_up, "patience to end")
    assert daemon.status()["sinks"]["hasty"]["waiting"] == EVENTS


def test_what_no_table_can_hold_is_one_dead_letter_and_holds_nobody_up(daemon):
    sinks = daemon.status()["sinks"]
    letters = daemon.run("dead", "list", "--json").stdout

    assert {sinks[name]["dead"] for name in ("usual", "depot", "open", "known")} == {1}
    assert "unsupported Unicode escape sequence" in letters
    assert "SQLSTATE 22P05" in letters


def test_nobody_is_told_the_password(daemon):
    said = daemon.output.read_text() + json.dumps(daemon.status())

    assert PASSWORD not in said
    assert PASSWORD not in daemon.run("check", "--live", code=None).stdout
