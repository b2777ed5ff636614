"""What the operator types: the file name is the command, its docstring is the help."""

from __future__ import annotations

import ast
import importlib
import pkgutil
from pathlib import Path
from types import ModuleType

HERE = Path(__file__).parent


def names() -> list[str]:
    """Every command there is."""
    found = (one.name for one in pkgutil.iter_modules(__path__))
    return sorted(name for name in found if not name.startswith("_"))


def load(name: str) -> ModuleType:
    """The module of a command, with `arguments(parser)` and `main(chosen)`."""
    return importlib.import_module(f"{__name__}.{name}")


def summary(name: str) -> str:
    """The first sentence of a command's help, without importing what it needs."""
    text = (HERE / f"{name}.py").read_text(encoding="utf-8")
    return (ast.get_docstring(ast.parse(text)) or "").partition("\n")[0]
