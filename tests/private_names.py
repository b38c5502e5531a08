"""Counts the private names of other libraries that Slingshot uses, and writes the table in CONTRIBUTING.md.

    python tests/private_names.py            # print the table
    python tests/private_names.py --write    # put it into CONTRIBUTING.md

A private name begins with an underscore and is none of ours, or is one of Snakemake's outside of snakemake.utils.
Functions of public name that are replaced stand in nn/fast_modules.py, nn/merged_layers.py (while a model answers) and
models/gguf_reading.py (while a GGUF is read), and have tests of their own.
"""

from __future__ import annotations

import argparse
import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "CONTRIBUTING.md"
BEGIN, END = "<!-- private names: python tests/private_names.py --write -->", "<!-- end of private names -->"
ASKING = {"getattr", "hasattr", "setattr", "delattr"}
DOTTED = re.compile(r"^[a-z]\w*(\.\w+)*\._[a-z]\w*$")
STANDARD = {"os._exit"}  # documented by Python itself
LIBRARIES = ("torch", "transformers", "peft", "snakemake", "accelerate", "bitsandbytes", "huggingface_hub", "pyarrow")


def sources() -> list[Path]:
    return sorted((ROOT / "scripts").rglob("*.py"))


def rules() -> list[Path]:
    return [ROOT / "Snakefile", *sorted((ROOT / "workflow").rglob("*.smk"))]


def own_names(trees: dict[Path, ast.Module]) -> set[str]:
    """Private names that our own code defines: functions, classes, variables, attributes, parameters."""
    found: set[str] = set()
    for tree in trees.values():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                found.add(node.name)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                found.add(node.id)
            elif (
                isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and dotted(node).startswith("self.")
            ):
                found.add(node.attr)
            elif isinstance(node, ast.alias):
                found.add((node.asname or node.name).rpartition(".")[2])
    return found


def dotted(node: ast.expr) -> str:
    """`a.b.c` of an attribute, as far as it is one of names."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else "…"


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and len(name) > 1


def names_in(tree: ast.Module, own: set[str]) -> set[str]:
    """The private names of others in a module, with what stands before them where that is a library."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and is_private(node.attr) and node.attr not in own:
            if dotted(node) not in STANDARD:
                found.add(shown(dotted(node)))
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.startswith(LIBRARIES):
            found.update(f"{node.module}.{one.name}" for one in node.names if is_private(one.name))
            if any(map(is_private, node.module.split("."))):
                found.add(node.module)
        elif isinstance(node, ast.Call) and dotted(node.func).rpartition(".")[2] in ASKING and len(node.args) > 1:
            asked = node.args[1]
            if isinstance(asked, ast.Constant) and isinstance(asked.value, str) and is_private(asked.value):
                found.update({f".{asked.value}"} - {f".{name}" for name in own})
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and DOTTED.match(node.value):
            found.update({node.value} if node.value.startswith(LIBRARIES) else ())
    return found


def shown(name: str) -> str:
    return name if name.startswith(LIBRARIES) else f".{name.rpartition('.')[2]}"


def private_names() -> dict[str, list[str]]:
    """Name to the files that use it, each relative to scripts/slingshot or to the root."""
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in sources()}
    own = own_names(trees)
    found: dict[str, set[str]] = {}
    for path, tree in trees.items():
        for name in names_in(tree, own):
            found.setdefault(name, set()).add(place(path))
    for path in rules():
        text = path.read_text(encoding="utf-8")
        for name in re.findall(r"\b(?:workflow|rules|snakemake)(?:\.\w+)*\.(_[a-z]\w*)", text):
            found.setdefault(f".{name}", set()).add(place(path))
        for module, names in re.findall(r"from (snakemake\.\S+) import ([\w, ]+)", text):
            if module != "snakemake.utils":  # all that Snakemake documents
                for name in names.split(","):
                    found.setdefault(f"{module}.{name.strip()}", set()).add(place(path))
    return {name: sorted(places) for name, places in sorted(found.items())}


def place(path: Path) -> str:
    inside = path.relative_to(ROOT).as_posix()
    return inside.removeprefix("scripts/slingshot/")


def table(names: dict[str, list[str]]) -> str:
    lines = [BEGIN, f"{len(names)} private names of other libraries:", "", "| name | used in |", "| --- | --- |"]
    lines += [f"| `{name}` | {', '.join(f'`{one}`' for one in places)} |" for name, places in names.items()]
    return "\n".join([*lines, END])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="put the table into CONTRIBUTING.md")
    found = table(private_names())
    if not parser.parse_args().write:
        print(found)
        return
    page = PAGE.read_text(encoding="utf-8")
    start, end = page.index(BEGIN), page.index(END) + len(END)
    PAGE.write_text(page[:start] + found + page[end:], encoding="utf-8")


if __name__ == "__main__":
    main()
