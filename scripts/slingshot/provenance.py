"""Where a result comes from: the code that made it, the packages it ran on."""

from __future__ import annotations

import ast
import hashlib
import platform
from collections.abc import Iterator
from functools import cache
from importlib import metadata
from pathlib import Path

PACKAGE = Path(__file__).parent

# Modules whose meaning reaches a result only through a step's spec or not at all: what they say on the screen,
# where they run, how they write. A change here reruns nothing.
WITHOUT_EFFECT = {
    "cli",
    "config",
    "device_memory",
    "errors",
    "files",
    "fingerprints",
    "gpu",
    "lean_imports",
    "progress",
    "provenance",
    "records",
    "steps",
    "training_memory",
}

PACKAGES = (
    "torch",
    "transformers",
    "peft",
    "bitsandbytes",
    "accelerate",
    "flash-attn-4",
    "tokenizers",
    "numpy",
    "pandas",
    "scikit-learn",
)


def code_digest(program: Path | str) -> str:
    """SHA-256 over the syntax trees of a program and of the slingshot modules that it imports, as hex.

    Comments, docstrings and layout do not count: they change no result. Modules in WITHOUT_EFFECT do not count. A
    module's template folder (report_template/ beside report.py) counts byte for byte.
    """
    digest = hashlib.sha256()
    for path in sorted(_sources(Path(program)), key=lambda path: path.parts[-2:]):  # report.py stands in both folders
        digest.update(f"{path.name}\0{_meaning(path)}\0".encode())
        for template in sorted(path.parent.glob(f"{path.stem}_template/*")):
            digest.update(f"{template.name}\0".encode() + template.read_bytes())
    return digest.hexdigest()


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that results depend on; packages that are absent are left out."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def processor_name() -> str:
    """The processor's name where the system tells it, else its architecture."""
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8") as lines:
            return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _sources(program: Path) -> set[Path]:
    """The program and every slingshot module that it imports, directly or not."""
    found: set[Path] = set()
    waiting = [program]
    while waiting:
        path = waiting.pop()
        if path in found:
            continue
        found.add(path)
        waiting += [PACKAGE / f"{name}.py" for name in _imports(path) if name not in WITHOUT_EFFECT]
    return found


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def _imports(path: Path) -> Iterator[str]:
    """Names of the slingshot modules that a file imports, wherever in the file."""
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.ImportFrom) and node.module:
            package, _, name = node.module.partition(".")
            if package == "slingshot":
                yield from [name] if name else [alias.name for alias in node.names]
        elif isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[2] for alias in node.names if alias.name.startswith("slingshot."))


@cache
def _meaning(path: Path) -> str:
    """A file's syntax tree without its docstrings, as text."""
    tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    for node in ast.walk(tree):
        if isinstance(node, documented) and ast.get_docstring(node):
            node.body = node.body[1:] or [ast.Pass()]
    return ast.dump(tree)
