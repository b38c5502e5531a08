"""A digest of what a step's code means, so that a change of meaning reruns the step and a new comment does not."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parents[1]

# Rooms and modules whose meaning reaches a result only through a step's spec or not at all: what they say on the
# screen, where they run, how they write. A change here reruns nothing.
WITHOUT_EFFECT = {
    "artifacts/records",
    "config",
    "core/code_digest",
    "core/environment",
    "core/errors",
    "core/files",
    "core/fingerprints",
    "core/progress",
    "models/device_memory",
    "models/lean_imports",
    "runtime",
    "study",
}


def code_digest(program: Path | str) -> str:
    """SHA-256 over the syntax trees of a program and of the slingshot modules that it imports, as hex.

    Comments, docstrings and layout do not count: they change no result. What WITHOUT_EFFECT names does not count. A
    folder template/ beside a module counts byte for byte.
    """
    program = Path(program)
    digest = hashlib.sha256(f"{_meaning(program)}\0".encode())
    for path in sorted(imported_modules(program)):
        digest.update(f"{path.relative_to(PACKAGE).as_posix()}\0{_meaning(path)}\0".encode())
    for template in sorted({file for path in imported_modules(program) for file in path.parent.glob("template/*")}):
        digest.update(f"{template.name}\0".encode() + template.read_bytes())
    return digest.hexdigest()


def imported_modules(program: Path) -> set[Path]:
    """Every slingshot module with an effect that the program imports, directly or not, wherever in a file."""
    found: set[Path] = set()
    waiting = [program]
    while waiting:
        for path in _imports(waiting.pop()):
            if path not in found and not is_without_effect(path):
                found.add(path)
                waiting.append(path)
    return found - {program}


def is_without_effect(path: Path) -> bool:
    """Whether WITHOUT_EFFECT names this module of the package or its room."""
    inside = path.relative_to(PACKAGE).with_suffix("")
    return inside.as_posix() in WITHOUT_EFFECT or inside.parts[0] in WITHOUT_EFFECT


def _imports(path: Path) -> Iterator[Path]:
    """Files of the slingshot modules that a file imports."""
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "slingshot":
            yield from (found for alias in node.names if (found := _module(f"{node.module}.{alias.name}")))
        elif isinstance(node, ast.Import):
            yield from (found for alias in node.names if (found := _module(alias.name)))


def _module(dotted: str) -> Path | None:
    """The file of `slingshot.room.module` or of `slingshot.room.module.name`; None for anything else."""
    package, *parts = dotted.split(".")
    while package == "slingshot" and parts:
        path = PACKAGE.joinpath(*parts).with_suffix(".py")
        if path.exists():
            return path
        parts.pop()
    return None


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


@cache
def _meaning(path: Path) -> str:
    """A file's syntax tree without its docstrings, as text."""
    tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    for node in ast.walk(tree):
        if isinstance(node, documented) and ast.get_docstring(node):
            node.body = node.body[1:] or [ast.Pass()]
    return ast.dump(tree)
