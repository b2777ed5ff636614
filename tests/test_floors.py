"""The house: who may import whom, and the habits that hold everywhere (read with `ast`)."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import fleetd

PACKAGE = Path(fleetd.__file__).parent
TESTS = Path(__file__).parent
WORDS = {
    "clock", "config", "directory", "errors", "event", "google", "lines", "logs", "masking",
    "metrics", "pace", "reach", "secrets", "systemd", "tables", "taking", "web", "when",
    "world",
}  # fmt: skip
ROOMS = {"providers", "store", "sinks"}
HELPERS = {
    "providers": {"contract", "signing", "reading", "windows"},
    "sinks": {"answers", "contract", "folders", "telling", "wording"},
}
IMPURE = {"trio", "time", "random", "os", "socket", "httpx", "threading", "subprocess"}
SLEEPERS = {
    "web.door",  # sweeps its slow peers, and rests when descriptors have run out
    "cli.status",  # rests between two drawings of the screen, in a process of its own
    "store.files",  # lets a glance at the lock, or a sick disk's moment, pass at start
    "store.writer",  # lingers for the next writes, in a thread of its own
}
CATCHES_ALL = {"tasks/supervise", "tasks/intake", "web"}


def name_of(path: Path) -> str:
    """`fleetd/web/door.py` as `web.door`; a package as its folder."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}
MODULES = pytest.mark.parametrize("name", sorted(FILES))


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imports(tree: ast.AST) -> Iterator[str]:
    """Every module a file imports, those inside functions too; ours by their full name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (one.name for one in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            for one in node.names:
                inner = f"{node.module}.{one.name}"
                ours = inner.removeprefix("fleetd.") in FILES
                yield inner if ours else str(node.module)


def uses(name: str) -> set[str]:
    """What a module of ours imports of ours, without the `fleetd.`"""
    found = imports(tree_of(FILES[name]))
    return {one.removeprefix("fleetd.") for one in found if one.startswith("fleetd.")}


def room(name: str) -> str:
    return name.partition(".")[0]


def may(name: str, used: str) -> bool:  # noqa: PLR0911  a table
    """The table of floors."""
    here, there = room(name), room(used)
    if here in {"__main__", "cli"}:
        return True
    if here == "app":
        return there not in {"cli", "__main__"}
    if there in WORDS:
        return True
    if here == "tasks":
        contracts = {"providers.contract", "sinks.contract"}
        return there in {"tasks", "store"} or used in contracts
    if here == "store":
        return there == "store"
    if here in HELPERS and there == here:
        plug = name.split(".")[1:2]
        other = used.split(".")[1:2]
        return not other or not plug or plug == other or other[0] in HELPERS[here]
    return False


@MODULES
def test_imports_run_from_top_to_bottom(name):
    known = WORDS | ROOMS | {"", "app", "tasks", "cli", "__main__"}

    assert room(name) in known, f"{name} stands on no floor"
    assert {used for used in uses(name) if not may(name, used)} == set()


def test_the_words_never_import_in_a_circle():
    graph = {word: set() for word in WORDS}
    for name in FILES:
        if room(name) in WORDS:
            graph[room(name)] |= {room(used) for used in uses(name)} - {room(name)}

    while free := {word for word, used in graph.items() if not used & set(graph)}:
        graph = {word: used for word, used in graph.items() if word not in free}

    assert graph == {}


@pytest.mark.parametrize("name", [one for one in FILES if room(one) == "providers"])
def test_a_vendor_has_no_network_and_no_clock(name):
    tree = tree_of(FILES[name])
    tops = {one.partition(".")[0] for one in imports(tree)}
    clocks = [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in {"now", "utcnow", "today"}
    ]

    assert tops & IMPURE == set()
    assert clocks == []


@MODULES
def test_a_module_says_in_its_docstring_what_it_is(name):
    assert ast.get_docstring(tree_of(FILES[name]))


@MODULES
def test_annotations_are_never_evaluated_early(name):
    body = [one for one in tree_of(FILES[name]).body if not isinstance(one, ast.Expr)]

    if body:
        assert isinstance(body[0], ast.ImportFrom)
        assert body[0].module == "__future__"


@MODULES
def test_no_file_is_longer_than_400_lines(name):
    assert len(FILES[name].read_text().splitlines()) <= 400


@MODULES
def test_no_function_is_longer_than_40_lines(name):
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    long = {
        node.name: node.end_lineno - node.lineno + 1
        for node in ast.walk(tree_of(FILES[name]))
        if isinstance(node, functions) and node.end_lineno - node.lineno + 1 > 40
    }

    assert long == {}


def caught(handler: ast.ExceptHandler) -> set[str]:
    if handler.type is None:
        return {"Exception"}
    return {node.id for node in ast.walk(handler.type) if isinstance(node, ast.Name)}


@MODULES
def test_every_exception_is_caught_in_three_places_only(name):
    handlers = [
        node.lineno
        for node in ast.walk(tree_of(FILES[name]))
        if isinstance(node, ast.ExceptHandler) and "Exception" in caught(node)
    ]
    allowed = any(f"{name}.".startswith(f"{one}.") for one in map(dotted, CATCHES_ALL))

    assert allowed or handlers == []


@MODULES
def test_what_catches_even_cancellation_raises_it_again(name):
    for node in ast.walk(tree_of(FILES[name])):
        if isinstance(node, ast.ExceptHandler) and "BaseException" in caught(node):
            raises = [one for one in ast.walk(node) if isinstance(one, ast.Raise)]
            assert raises, f"line {node.lineno}"


def dotted(path: str) -> str:
    return path.replace("/", ".")


@MODULES
def test_only_tasks_sleep(name):
    if name in SLEEPERS:
        return
    naps = [
        node.lineno
        for node in ast.walk(tree_of(FILES[name]))
        if isinstance(node, ast.Attribute)
        and ast.unparse(node) in {"trio.sleep", "trio.sleep_until", "time.sleep"}
    ]

    assert room(name) == "tasks" or naps == []


@MODULES
def test_neither_asyncio_nor_requests_is_used(name):
    tops = {one.partition(".")[0] for one in imports(tree_of(FILES[name]))}

    assert tops & {"asyncio", "requests", "anyio", "aiohttp"} == set()


@MODULES
def test_no_text_is_built_for_a_log_line(name):
    built = [
        node.lineno
        for node in ast.walk(tree_of(FILES[name]))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and ast.unparse(node.func.value) in {"logger", "log"}
        and any(isinstance(one, ast.JoinedStr) for one in node.args)
    ]

    assert built == []


@MODULES
def test_async_generators_live_under_a_context_manager_only(name):
    for node in ast.walk(tree_of(FILES[name])):
        if isinstance(node, ast.AsyncFunctionDef) and yields(node):
            marks = {ast.unparse(one) for one in node.decorator_list}
            assert "asynccontextmanager" in marks, node.name


def yields(function: ast.AsyncFunctionDef) -> bool:
    """Whether the function itself yields, not one inside it."""
    inside = list(function.body)
    while inside:
        node = inside.pop()
        if isinstance(node, ast.Yield | ast.YieldFrom):
            return True
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            inside += ast.iter_child_nodes(node)
    return False


@pytest.mark.parametrize("path", sorted(TESTS.rglob("*.py")), ids=lambda one: one.stem)
def test_tests_use_fakes_and_never_mocks(path):
    tree = tree_of(path)
    patched = [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and ast.unparse(node) == "monkeypatch.setattr"
    ]

    assert not {one for one in imports(tree) if one.startswith("unittest.mock")}
    assert "unittest" not in set(imports(tree))
    assert patched == []


def test_the_rules_see_what_they_forbid():
    tree = ast.parse(
        "import os.path\nfrom fleetd import when\nfrom fleetd.event import KINDS"
    )

    assert set(imports(tree)) == {"os.path", "fleetd.when", "fleetd.event"}
    assert not may("event", "store.log")
    assert not may("providers.samsara", "providers.motive")
    assert not may("providers.samsara.trips", "providers.motive.trips")
    assert may("providers.samsara.trips", "providers.samsara.wire")
    assert may("sinks.http", "sinks.answers")
    assert not may("sinks.http", "store")
    assert not may("tasks.poll", "providers.samsara")
    assert not may("app", "cli.run")
    assert may("app", "sinks.http")
