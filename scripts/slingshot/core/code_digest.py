"""A digest of what a step's code means, so that a change of meaning reruns the step and a new comment does not."""

from __future__ import annotations

import ast
import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from slingshot.core.files import write_json

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


class ParsedSource(NamedTuple):
    """What a file of Python says: a digest of its syntax tree, and the dotted names that it imports from slingshot."""

    meaning: str
    imports: list[str]


def code_digest(program: Path | str, memory: Path | None = None) -> str:
    """SHA-256 over the syntax trees of a program and of the slingshot modules that it imports, as hex.

    Comments, docstrings and layout do not count: they change no result. What WITHOUT_EFFECT names does not count. A
    folder template/ beside a module counts byte for byte.

    Args:
        memory: JSON that holds what files of known content say; read and written. To parse some 200 of them takes
            seconds, which each start of Snakemake would spend.
    """
    reader = SourceReader(memory)
    program = Path(program)
    digest = hashlib.sha256(f"{reader.read(program).meaning}\0".encode())
    modules = sorted(imported_modules(program, reader))
    for path in modules:
        digest.update(f"{path.relative_to(PACKAGE).as_posix()}\0{reader.read(path).meaning}\0".encode())
    for template in sorted({file for path in modules for file in path.parent.glob("template/*")}):
        digest.update(f"{template.name}\0".encode() + template.read_bytes())
    reader.close()
    return digest.hexdigest()


def imported_modules(program: Path, reader: SourceReader | None = None) -> set[Path]:
    """Every slingshot module with an effect that the program imports, directly or not, wherever in a file."""
    reader = reader or SourceReader(None)
    found: set[Path] = set()
    waiting = [program]
    while waiting:
        for name in reader.read(waiting.pop()).imports:
            path = _module(name)
            if path and path not in found and not is_without_effect(path):
                found.add(path)
                waiting.append(path)
    return found - {program}


def is_without_effect(path: Path) -> bool:
    """Whether WITHOUT_EFFECT names this module of the package or its room."""
    inside = path.relative_to(PACKAGE).with_suffix("")
    return inside.as_posix() in WITHOUT_EFFECT or inside.parts[0] in WITHOUT_EFFECT


class SourceReader:
    """Reads files of Python; what it once read of a content it keeps, in this process and in `memory`."""

    _kept: dict[Path | None, dict[str, ParsedSource]] = {}  # noqa: RUF012 -- of the whole process

    def __init__(self, memory: Path | None) -> None:
        self._memory = memory
        self._known = self._kept.setdefault(memory, _remembered(memory)) if memory else self._kept.setdefault(None, {})
        self._count = len(self._known)

    def read(self, path: Path) -> ParsedSource:
        content = path.read_bytes()
        key = f"{VERSION} {hashlib.sha256(content).hexdigest()}"
        if key not in self._known:
            self._known[key] = _parse(content, path)
        return self._known[key]

    def close(self) -> None:
        """Write to the memory what it did not hold."""
        if self._memory and len(self._known) > self._count:
            write_json(self._memory, self._known)


VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"  # a tree's text is that of one version of Python


def _remembered(memory: Path) -> dict[str, ParsedSource]:
    try:
        return {key: ParsedSource(*value) for key, value in json.loads(memory.read_text(encoding="utf-8")).items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _parse(content: bytes, path: Path) -> ParsedSource:
    tree = ast.parse(content, filename=str(path))
    imports = list(_imports(tree))
    documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    for node in ast.walk(tree):
        if isinstance(node, documented) and ast.get_docstring(node):
            node.body = node.body[1:] or [ast.Pass()]
    return ParsedSource(hashlib.sha256(ast.dump(tree).encode()).hexdigest(), imports)


def _imports(tree: ast.Module) -> Iterator[str]:
    """`slingshot.room.module` or `slingshot.room.module.name` of each import of a module's tree."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "slingshot":
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "slingshot")


def _module(dotted: str) -> Path | None:
    """The file of `slingshot.room.module` or of `slingshot.room.module.name`; None for anything else."""
    package, *parts = dotted.split(".")
    while package == "slingshot" and parts:
        path = PACKAGE.joinpath(*parts).with_suffix(".py")
        if path.exists():
            return path
        parts.pop()
    return None
