"""The config: what it refuses, how it says so, and that every key means something."""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path
from typing import Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct

import fleetd
from fleetd import config, providers, sinks
from fleetd.config.keys import DOCS, TABLES, keys
from fleetd.config.report import lines_of
from fleetd.config.shape import keys_in
from fleetd.errors import ConfigError
from fleetd.providers.contract import Feed, Page, Provider, Unpacked, Webhook
from fleetd.secrets import Secret, Text
from fleetd.sinks.contract import Sink

ROOT = Path(__file__).parents[1]
LEAST = '[daemon]\ndata = "d"\n'
AT = Path("/etc/x/fleetd.toml")


class Extra(Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of a provider that only these tests know."""

    header: str = "X-Signature"
    digest: Literal["sha256", "sha1"] = "sha256"
    cert: Path | None = None
    keys: dict[str, Text] = {}


class Own(Struct, frozen=True, forbid_unknown_fields=True):
    url: str
    signing_secret: Secret | None = None

    def __post_init__(self) -> None:
        if not self.url:
            raise ValueError("url: is empty")


def acme(name: str) -> Provider:
    if name != "acme":
        raise ConfigError(f"no provider {name!r}; there are: acme")
    hook = Webhook(
        verify=lambda *_: None,
        unpack=lambda _: Unpacked([]),
        sign=lambda *_: {},
        good_secret=lambda one: None if one.startswith("whsec") else "not a whsec_",
    )
    feed = Feed("positions", 5.0, lambda *_: None, lambda *_: Page([]))
    return Provider("acme", {}, webhook=hook, feeds=(feed,), settings=Extra)


def deaf(name: str) -> Provider:
    return Provider(name, {})


def place(kind: str) -> Sink:
    if kind != "place":
        raise ConfigError(f"no sink {kind!r}; there are: place")
    return Sink(config=Own, open=None, per_second=2.0)  # type: ignore[arg-type]


def refusal(text: str, vendor=acme) -> str:
    """What is said about a text that must not be taken."""
    with pytest.raises(ConfigError) as caught:
        config.fitted(config.parse(text, AT), vendor, place)
    return str(caught.value)


def test_the_least_config_is_a_data_folder_and_paths_are_relative_to_the_file():
    house = config.parse(LEAST, AT)

    assert house.daemon.data == Path("/etc/x/d")
    assert house.webhooks.answer_within == 2.5
    assert house.webhooks.max_body == 1 << 20
    assert house.store.keep.of("safety") == 30 * 86_400
    assert house.sources == {}


WRONG = [
    ('[daemon]\ndata="d"\nlog_levl="info"', "3: daemon.log_levl: no such key; did you mean `log_level`?"),
    ('[daemon]\ndata="d"\nlog_level="inf"', '3: daemon.log_level: no value "inf"; did you mean "info"?'),
    ('[daemon]\ndata=""', "2: daemon.data: takes a path"),
    ('[daemon]\ndata="a\\u0000b"', "2: daemon.data: takes a path"),
    ('[daemon]\ndata="~nobody-of-that-name/d"', "2: daemon.data: Could not determine home"),
    ('[daemon]\ntimezone="UTC"', "1: daemon.data: is missing"),
    ('[daemon]\ndata="d"\ntimezone="Mars/Base"', "3: daemon.timezone: no timezone 'Mars/Base'"),
    (LEAST + "[webhook]\n", "3: webhook: no such key; did you mean `webhooks`?"),
    (LEAST + "\n[sink.archive]\n", "4: sink: no such key; did you mean `sinks`?"),
    (LEAST + '[webhooks]\nbind="a:1"', "4: webhooks.bind: takes a list, not text"),
    (LEAST + '[webhooks]\nbind=["a:1", "b"]', '4: webhooks.bind: takes "host:port"'),
    (LEAST + '[webhooks]\nbind=["a:70000"]', '4: webhooks.bind: takes "host:port"'),
    (LEAST + '[webhooks]\nbind=["unix:a\\u0000b"]', '4: webhooks.bind: takes "host:port"'),
    (LEAST + '[status]\ntoken="file:a\\u0000b"', "4: status.token: file: takes no NUL"),
    (LEAST + '[status]\ntoken="file:~nobody-of-that-name/t"', "4: status.token: Could not"),
    (LEAST + "[webhooks]\nmax_body=true", "4: webhooks.max_body: takes a size"),
    (LEAST + '[webhooks]\nmax_body="2GiB"', "4: webhooks.max_body: takes something between 1KiB and 1GiB"),
    (LEAST + '[webhooks]\nmax_in_flight="2KiB"', "4: webhooks.max_in_flight: less than max_body"),
    (LEAST + "[webhooks]\nanswer_within=3", "4: webhooks.answer_within: takes a duration with its unit"),
    (LEAST + '[webhooks]\nanswer_within="2h"', "between 0.1s and 1m"),
    (LEAST + '[webhooks]\ntls_cert="c"', "webhooks.tls_key: tls_cert and tls_key go together"),
    (LEAST + '[webhooks]\npublic_url="fleet.example.com"', "4: webhooks.public_url: takes a URL"),
    (LEAST + '[webhooks]\npublic_url="https://u:p@x.example"', "4: webhooks.public_url: takes a URL"),
    (LEAST + '[webhooks]\npublic_url="https://x.example/?a=1"', "without a query"),
    (LEAST + '[webhooks]\ntrusted_proxies=["proxy"]', "takes an address or a network"),
    (LEAST + '[status]\nbind=["0.0.0.0:1"]', "4: status.bind: 0.0.0.0:1 can be reached from outside"),
    (LEAST + '[webhooks]\nbind=["127.0.0.1:1", "127.0.0.1:1"]', "4: webhooks.bind: 127.0.0.1:1 is bound"),
    (LEAST + '[status]\nbind=["127.0.0.1:8780"]', "4: status.bind: 127.0.0.1:8780 is bound already"),
    (LEAST + '[status]\nbind=["systemd"]', "4: status.bind: systemd can be reached"),
    (LEAST + '[store]\nmax_disk="1KiB"', '4: store.max_disk: takes a size of at least "64MiB"'),
    (LEAST + '[store]\nkeep={safty="1d"}', '4: store.keep: no kind "safty"; did you mean "safety"?'),
    (LEAST + '[store]\ndedupe_window="1s"', "4: store.dedupe_window: takes something between 1h"),
    (LEAST + "[sources]\nnorth=1", "4: sources.north: takes a table"),
    (LEAST + '[sources.North]\nprovider="acme"', "3: sources.North: a name is 1 to 32"),
    (LEAST + f'[sources.{"n" * 33}]\nprovider="acme"', "a name is 1 to 32"),
    (LEAST + '[sources.n]\nprovidr="acme"', "3: sources.n.provider: is missing (is `providr` meant"),
    (LEAST + '[sources.n]\nprovider="acne"', "4: sources.n.provider: no provider 'acne'"),
    (LEAST + '[sources.n]\nprovider="acme"\nwebhok_secret="env:X"', "5: sources.n.webhok_secret: no such key; did you mean `webhook_secret`?"),
    (LEAST + '[sources.n]\nprovider="acme"\nheadr="X"', "5: sources.n.headr: no such key; did you mean `header`?"),
    (LEAST + '[sources.n]\nprovider="acme"\ndigest="sha3"', '5: sources.n.digest: no value "sha3"'),
    (LEAST + '[sources.n]\nprovider="acme"\nfeeds=["position"]', '5: sources.n.feeds: no feed "position"; did you mean "positions"?'),
    (LEAST + '[sources.n]\nprovider="acme"\nfeeds={positions="10ms"}', "5: sources.n.feeds: a feed is asked"),
    (LEAST + '[sources.n]\nprovider="acme"\nsince="tuesday"', "5: sources.n.since: 'tuesday' is no time"),
    (LEAST + '[sources.n]\nprovider="acme"\nwas="m"\n[sources.m]\nprovider="acme"', '5: sources.n.was: "m" is still there'),
    (LEAST + '[sources.n]\nprovider="acme"\nauth={}', "5: sources.n.auth: takes key, header or addresses"),
    (LEAST + '[sources.n]\nprovider="acme"\nauth={kye="env:X"}', "5: sources.n.auth.kye: no such key; did you mean `key`?"),
    (LEAST + '[sources.n]\nprovider="acme"\nwebhook_secret=[]', "5: sources.n.webhook_secret: takes one secret"),
    (LEAST + '[sources.n]\nprovider="acme"\n[sources.n.keys]\na="Bearer abc"', "6: sources.n.keys.a: this looks like the secret itself"),
    (LEAST + '[sinks.s]\nkind="plaice"', "4: sinks.s.kind: no sink 'plaice'"),
    (LEAST + '[sinks.s]\nkind="place"', "3: sinks.s.url: is missing"),
    (LEAST + '[sinks.s]\nkind="place"\nurl=""', "5: sinks.s.url: is empty"),
    (LEAST + '[sinks.s]\nkind="place"\nurl=3', "5: sinks.s.url: takes text, not a whole number"),
    (LEAST + '[sinks.s]\nkind="place"\nurl="u"\nsining_secret="env:X"', "6: sinks.s.sining_secret: no such key; did you mean `signing_secret`?"),
    (LEAST + '[sinks.s]\nkind="place"\nurl="u"\ntakes=["safty"]', '6: sinks.s.takes: no kind "safty"; did you mean "safety"?'),
    (LEAST + '[sinks.s]\nkind="place"\nurl="u"\ntakes=[]', "6: sinks.s.takes: is empty"),
    (LEAST + '[sinks.s]\nkind="place"\nurl="u"\nsources=["nrth"]\n[sources.north]\nprovider="acme"', '6: sinks.s.sources: no source "nrth"; did you mean "north"?'),
    (LEAST + '[sinks.s]\nkind="place"\nurl="u"\nsources=[]', "6: sinks.s.sources: is empty"),
    (LEAST + '[sinks.s]\nkind="place"\nurl="u"\nrate=3', "6: sinks.s.rate: at most 2 requests a second"),
    (LEAST + '[sinks.s]\nkind="place"\nurl="u"\nrate=0', "6: sinks.s.rate: takes something between"),
    (LEAST + '[sinks.s]\nkind="place"\nurl="u"\nrate=nan', "6: sinks.s.rate: takes something between"),
    (LEAST + '[sinks.s]\nkind="place"\nurl="u"\nparallel=0', "6: sinks.s.parallel: takes something between 1 and 64"),
    (LEAST + '[sinks.s]\nkind="place"\nurl="u"\nbatch=0', "6: sinks.s.batch: takes something between"),
    ("[daemon]\ndata = d", "/etc/x/fleetd.toml:2: Invalid value"),
    ("a = " + "[" * 3000, "nested too deeply"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "said"), WRONG)
def test_what_is_wrong_is_named_with_its_line_and_the_nearest_key(text, said):
    refused = refusal(text)

    assert said in refused
    assert str(AT) in refused


def test_useless_halves_of_a_source_are_refused():
    text = '[sources.n]\nprovider="mute"\ntoken="env:T"\nwebhook_secret="env:S"\nx=1\n'

    said = refusal(LEAST + text, vendor=deaf)

    assert "5: sources.n.token: mute has nothing to poll" in said
    assert "6: sources.n.webhook_secret: mute sends no webhooks" in said
    assert "7: sources.n.x: no such key" in said


def test_everything_wrong_with_a_file_is_said_at_once():
    said = refusal('[daemon]\ndatta="d"\n[webhooks]\nbid=1\n[sources.n]\ntokn="x"\n')

    assert len(said.splitlines()) == 4


def test_no_refusal_ever_shows_a_secret_that_was_pasted_bare():
    pasted = "sk_live_51Hx"
    text = (
        f'[sources.n]\nprovider="acme"\ntoken="{pasted}"\nwebhook_secret=["{pasted}"]\n'
        f'auth={{ key = "{pasted}", header = {{ X-Key = "{pasted}" }} }}\n'
        f'proxy = "http://u:{pasted}@proxy:3128"\n'
        f'[sinks.s]\nkind="place"\nurl="u"\nsigning_secret="{pasted}"\n'
    )

    first = refusal(LEAST + '[status]\ntoken="{pasted}"\n' + text)
    second = refusal(LEAST + text[text.index("[sinks") :])

    assert pasted not in first + second
    assert first.count("this looks like the secret itself") == 6
    assert second.count("this looks like the secret itself") == 1


def test_plug_ins_get_their_own_keys_in_their_own_struct():
    text = LEAST + (
        '[sources.n]\nprovider="acme"\nheader="X-Own"\ncert="c.pem"\n'
        'feeds={positions="30s"}\nkeys={a="env:A", b="literal"}\n'
        '[sinks.s]\nkind="place"\nurl="u"\nrate=1.5\ntakes=["safety"]\nsources=["n"]\n'
    )

    house = config.fitted(config.parse(text, AT), acme, place)

    source, sink = house.sources["n"], house.sinks["s"]
    assert source.settings.header == "X-Own"
    assert source.settings.cert == Path("/etc/x/c.pem")
    assert source.settings.keys["b"].reveal() == "literal"
    assert source.feeds == {"positions": 30.0}
    assert sink.settings.url == "u"
    assert sink.taking(("position",)).kinds == {"safety"}
    assert sink.taking(("position",)).sources == {"n"}


def test_a_secret_that_cannot_be_the_vendors_is_refused_without_showing_it():
    text = LEAST + '[sources.n]\nprovider="acme"\nwebhook_secret="env:S"\n'
    path = ROOT / "tests" / "nowhere.toml"
    house = config.fitted(config.parse(text, path), acme, place)
    for secret in house.sources["n"].webhook_secret:
        secret.settle("wrong-kind-of-secret")

    with pytest.raises(ConfigError) as caught:
        config.judge_secrets(house, acme)

    assert "5: sources.n.webhook_secret: not a whsec_" in str(caught.value)
    assert "wrong-kind" not in str(caught.value)


def ready(text: str, path: Path, environ: dict[str, str]) -> config.House:
    path.write_text(text)
    return config.ready(path, environ, acme, place)


def test_a_start_without_its_secrets_names_the_line_of_each(tmp_path):
    text = (
        LEAST + '[sources.n]\nprovider="acme"\nwebhook_secret="env:S"\ntoken="env:T"\n'
    )
    path = tmp_path / "f.toml"

    with pytest.raises(ConfigError) as caught:
        ready(text, path, {})

    said = str(caught.value)
    assert f"{path}:5: sources.n.webhook_secret: env:S is not set" in said
    assert f"{path}:6: sources.n.token: env:T is not set" in said


def test_a_house_that_is_ready_has_every_secret_at_hand(tmp_path):
    text = LEAST + '[sources.n]\nprovider="acme"\nwebhook_secret="env:S"\n'

    house = ready(text, tmp_path / "f.toml", {"S": "whsec_1"})

    assert house.sources["n"].webhook_secret.reveal() == ("whsec_1",)
    assert house.sources["n"].settings == Extra()


def test_the_file_is_the_given_one_else_the_environment_else_here(tmp_path):
    given = tmp_path / "a.toml"

    assert config.find(given, {"FLEETD_CONFIG": "/b.toml"}) == given
    assert config.find(None, {"FLEETD_CONFIG": "/b.toml"}) == Path("/b.toml")
    assert config.find(Path("rel.toml"), {}).is_absolute()


def test_a_file_that_cannot_be_read_is_a_config_error(tmp_path):
    (tmp_path / "latin.toml").write_bytes(b"[daemon]\n# \xe9\n")
    (tmp_path / "big.toml").write_bytes(b"#" * (2 << 20))

    for name, said in (
        ("none.toml", "No such file"),
        ("latin.toml", ":2: not UTF-8 text"),
        ("big.toml", "over 1048576 bytes"),
        (".", "Is a directory"),
    ):
        with pytest.raises(ConfigError, match=said):
            config.load(tmp_path / name, {})


def test_a_byte_order_mark_is_no_fault(tmp_path):
    path = tmp_path / "f.toml"
    path.write_bytes(b"\xef\xbb\xbf" + LEAST.encode())

    assert config.load(path, {}).daemon.data == tmp_path / "d"


def test_a_repr_of_the_house_shows_no_plain_secret():
    text = (
        LEAST + '[sinks.s]\nkind="place"\nurl="u"\nsigning_secret="plain:hush-hush"\n'
    )
    house = config.fitted(config.parse(text, AT), acme, place)

    assert "hush" not in repr(house)
    assert config.warnings(house) == [
        "sinks.s.signing_secret: the secret stands in the config file itself (plain:)"
    ]


def test_disk_and_keep_mean_what_the_readme_says():
    text = '[store]\nmax_disk="10GiB"\nkeep={ safety="400d" }\n'
    given = config.parse(LEAST + text, AT).store
    auto = config.parse(LEAST, AT).store

    assert given.max_disk.of(1 << 50) == 10 << 30
    assert auto.max_disk.of(100 << 30) == 20 << 30
    assert auto.max_disk.of(10 << 30) == 4 << 30
    assert given.keep.of("safety") == 400 * 86_400
    assert given.keep.of("position") == 30 * 86_400


@given(st.sampled_from("smhdw"), st.integers(0, 9999))
def test_a_duration_survives_being_spelled(unit, count):
    read = config.Seconds.read(f"{count}{unit}", AT)

    assert config.Seconds.read(str(read), AT) == read


@given(st.integers(0, 1 << 50))
def test_a_size_survives_being_spelled(count):
    assert config.Size.read(str(config.Size(count)), AT) == count


@pytest.mark.parametrize(
    ("text", "host", "port", "local"),
    [
        ("127.0.0.1:8780", "127.0.0.1", 8780, True),
        ("[::1]:80", "::1", 80, True),
        ("localhost:1", "localhost", 1, True),
        ("0.0.0.0:1", "0.0.0.0", 1, False),
        ("[::]:1", "::", 1, False),
        ("fleet.lan:1", "fleet.lan", 1, False),
        ("unix:s.sock", "", 0, True),
        ("systemd", "", 0, False),
    ],
)
def test_an_address_knows_whether_only_this_box_reaches_it(text, host, port, local):
    bind = config.Bind.read(text, Path("/etc/x"))

    assert (bind.host, bind.port, bind.local) == (host, port, local)
    assert bind == ("unix:/etc/x/s.sock" if text.startswith("unix") else text)


def test_lines_are_found_under_headers_dots_and_quotes():
    text = '[a."b c"]\n# x = 1\n  d.e = 1\n[[f]]\n"g h" = 2\n'

    found = lines_of(text)

    assert found[("a", "b c")] == 1
    assert found[("a", "b c", "d", "e")] == 3
    assert found[("f", "g h")] == 5


def test_every_key_is_documented_and_no_other():
    assert {one.path for one in keys()} == set(DOCS)
    assert all(one.type for one in keys())


SAMPLES = {
    "daemon.data": '"e"', "daemon.timezone": '"UTC"', "daemon.log_level": '"debug"',
    "daemon.log_format": '"json"', "webhooks.bind": '["[::1]:1"]',
    "webhooks.public_url": '"https://x.example"',
    "webhooks.trusted_proxies": '["10.0.0.0/8"]', "webhooks.max_body": '"2MiB"',
    "webhooks.max_in_flight": '"2MiB"', "webhooks.answer_within": '"1s"',
    "status.bind": '["unix:/s"]', "status.token": '"env:T"', "store.max_disk": '"1GiB"',
    "store.keep": '"2d"', "store.keep_raw": '"2d"', "store.dedupe_window": '"2d"',
    "store.keep_ledger": '"2d"', "sources.NAME.token": '"env:T"',
    "sources.NAME.webhook_secret": '["env:T", "env:U"]',
    "sources.NAME.auth": '{ addresses = ["10.0.0.1"] }',
    "sources.NAME.auth.key": '"env:K"', "sources.NAME.auth.header": '{ X-K = "env:K" }',
    "sources.NAME.auth.addresses": '["10.0.0.1"]', "sources.NAME.feeds": '["positions"]',
    "sources.NAME.since": '"7d"', "sources.NAME.base_url": '"https://eu.example"',
    "sources.NAME.timeout": '"5s"', "sources.NAME.lookback": '"2h"',
    "sources.NAME.tags": '["east"]', "sources.NAME.org": '"Acme"',
    "sources.NAME.remove_after": "5", "sources.NAME.remove_brake": "0.5",
    "vehicles.file": '"vehicles.csv"', "sources.NAME.connect_timeout": '"5s"',
    "sources.NAME.reconcile": '"2h"', "sources.NAME.max_page": '"1MiB"',
    "sources.NAME.ca": '"ca.pem"', "sources.NAME.proxy": '"http://proxy:3128"',
    "sources.NAME.was": '"old"', "sinks.NAME.takes": '["safety"]',
    "sinks.NAME.sources": '["name"]', "sinks.NAME.vehicles": '["T-*"]',
    "sinks.NAME.rate": "1.5", "sinks.NAME.batch": "7", "sinks.NAME.linger": '"2s"',
    "sinks.NAME.parallel": "2", "sinks.NAME.hold": '"2d"', "sinks.NAME.max_age": '"2h"',
    "sinks.NAME.start": '"oldest"', "sinks.NAME.was": '"old"',
}  # fmt: skip
TOGETHER = {"webhooks.tls_cert", "webhooks.tls_key", "sources.NAME.ca_only"}
REQUIRED = {"sources.NAME.provider", "sinks.NAME.kind"}


def house_with(path: str, value: str) -> config.House:
    table, _dot, key = path.rpartition(".")
    base = {
        "daemon": {"data": '"d"'},
        "sources.name": {"provider": '"acme"'},
        "sinks.name": {"kind": '"place"', "url": '"u"'},
    }
    base.setdefault(table.replace("NAME", "name"), {})[key] = value
    text = "".join(
        f"[{name}]\n" + "".join(f"{one} = {what}\n" for one, what in rows.items())
        for name, rows in base.items()
    )
    return config.parse(text, AT)


@pytest.mark.parametrize("path", sorted(set(DOCS) - TOGETHER - REQUIRED))
def test_every_key_changes_what_the_code_is_given(path):
    where = path.replace("NAME", "name").split(".")

    changed = at(house_with(path, SAMPLES[path]), where)

    assert changed != at(house_with("daemon.data", '"d"'), where)


def at(tree, where):
    for name in where:
        tree = tree.get(name) if isinstance(tree, dict) else getattr(tree, name, None)
    return tree


def attributes_read() -> set[str]:
    """Every attribute that the package reads outside of the config itself."""
    found: set[str] = set()
    for path in Path(fleetd.__file__).parent.rglob("*.py"):
        if "config" in path.parts or path.parts[-2:-1] == ("providers",):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
                found.add(node.attr)
    return found


def test_every_key_is_read_by_something():
    read = attributes_read() | {"data"}
    ours = {name for table in TABLES.values() for name in keys_in(table)}

    # `takes sources vehicles` are read where a sink's table says what it takes
    assert ours - read - {"takes", "vehicles"} == set()


@pytest.mark.parametrize("kind", sinks.names())
def test_no_sink_has_a_key_of_its_own_that_all_sinks_have(kind):
    own = set(keys_in(sinks.load(kind).config))

    assert not own & set(keys_in(config.SinkTable))


@pytest.mark.parametrize("name", providers.names())
def test_no_provider_has_a_key_of_its_own_that_all_sources_have(name):
    settings = providers.load(name).settings

    assert settings is None or not set(keys_in(settings)) & set(keys_in(config.Source))


def test_the_sample_is_at_most_25_active_lines():
    lines = (ROOT / "fleetd.toml").read_text().splitlines()

    assert sum(bool(line.strip()) and not line.startswith("#") for line in lines) <= 25


def test_plain_values_of_the_sample_are_the_defaults_it_claims():
    sample = config.load(ROOT / "fleetd.toml", {})
    least = config.parse('[daemon]\ndata = "./fleetd-data"\n', ROOT / "fleetd.toml")

    for room in ("daemon", "webhooks", "status", "store"):
        assert getattr(sample, room) == getattr(least, room)


def test_the_sample_is_what_tomllib_reads():
    values = tomllib.loads((ROOT / "fleetd.toml").read_text())

    assert set(values) == {"daemon", "webhooks", "status", "store", "sources", "sinks"}
    assert msgspec.json.encode(values)
