"""The README's tables say what the code says; `python -m tests.test_readme` writes them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fleetd import cli, providers, sinks
from fleetd.config import Seconds
from fleetd.config.keys import Key, keys, keys_of
from fleetd.providers.contract import Feed

README = Path(__file__).parent.parent / "README.md"


def commands() -> str:
    rows = [f"| `{name}` | {cli.summary(name)} |" for name in cli.names()]
    return "\n".join(["| command | does |", "|---|---|", *rows])


def table() -> str:
    rows = [row(key) for key in (*keys(), *own_keys())]
    return "\n".join(
        ["| key | takes | default | meaning |", "|---|---|---|---|", *rows]
    )


def own_keys() -> list[Key]:
    found: list[Key] = []
    for name in providers.names():
        if settings := providers.load(name).settings:
            found += told(f"sources.NAME ({name})", settings)
    for name in sinks.names():
        found += told(f"sinks.NAME ({name})", sinks.load(name).config)
    return found


def told(where: str, struct: type) -> list[Key]:
    docs = {f"{where}.{name}": doc for name, doc in struct.docs.items()}
    return list(keys_of(where, struct, docs))


def row(key: Key) -> str:
    default = f"`{key.default}`" if key.default.startswith('"') else key.default
    cells = (f"`{key.path}`", key.type, default, key.doc)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def feeds() -> str:
    """What each vendor is asked, what that brings, and how far back it can be asked."""
    rows = ["| vendor | feed | brings | every | past |", "|---|---|---|---|---|"]
    for name in providers.names():
        provider = providers.load(name)
        for feed in provider.feeds:
            if feed.standard:
                rows.append(feed_row(provider.title or name, feed))
    return "\n".join(rows)


def feed_row(title: str, feed: Feed) -> str:
    kinds = ", ".join(feed.kinds) or "late ones again"
    past = "a listing" if feed.listing else "none: only what it shows now"
    if feed.past is not None:
        past = f"{feed.past.within.days} d by {feed.past.call}"
    elif not feed.snapshot and not feed.listing:
        past = "goes on where it was"
    every = Seconds(feed.every)
    return f"| {title} | `{feed.name}` | {kinds} | {every} | {past} |"


BLOCKS = {"commands": commands, "keys": table, "feeds": feeds}


def block(text: str, name: str) -> str:
    found = re.search(rf"<!-- {name} -->\n(.*?)<!-- /{name} -->", text, re.DOTALL)
    assert found, f"the README has no block {name}"
    return found[1].strip("\n")


@pytest.mark.parametrize("name", BLOCKS)
def test_the_readme_says_what_the_code_says(name):
    assert block(README.read_text(), name) == BLOCKS[name]()


def test_every_key_has_a_meaning():
    assert [key.path for key in (*keys(), *own_keys()) if not key.doc] == []


if __name__ == "__main__":
    text = README.read_text()
    for name, made in BLOCKS.items():
        old = block(text, name)
        before, after = f"<!-- {name} -->\n", f"\n<!-- /{name} -->"
        text = re.sub(
            rf"{re.escape(before)}.*?<!-- /{name} -->",
            lambda _found: before + made() + after,  # noqa: B023
            text,
            flags=re.DOTALL,
        )
    README.write_text(text)
