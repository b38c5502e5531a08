"""Code trees: what a label system needs besides its labels' names.

ICD-10-CM comes with the package; any other tree is a CSV of code, parent and description. A tree answers the same
questions whatever it is: is this a code, what stands above it, what does it mean.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Protocol

from slingshot.config.base import LabelSystem, Level, TreeLabels
from slingshot.core.errors import StudyError
from slingshot.core.hashing import digest_of_file
from slingshot.data import icd10
from slingshot.data.cells import is_null, visible
from slingshot.data.icd10 import Code

LEVELS: tuple[Level, ...] = ("chapter", "block", "category", "code")


class CodeTree(Protocol):
    """Codes are given normalized, unless said otherwise."""

    def normalize(self, text: str) -> str:
        """A code as people write it in the form that the study uses."""

    def find(self, code: str) -> Code | None:
        """Look up a code; None where the tree has none."""

    def lineage(self, code: str) -> frozenset[str]:
        """A code with all that stands above it; empty where the tree has none."""

    def is_valid(self, code: str) -> bool:
        """Whether the tree holds the code."""

    def describe(self, label: str, level: Level) -> str:
        """The description of a label at a level; KeyError where there is none."""

    def all_labels(self, level: Level = "code") -> tuple[str, ...]:
        """Every label at a level, in the order of the tree."""

    def code_set_version(self) -> str:
        """What the tree was made from, with its version."""


def tree_of(system: LabelSystem) -> CodeTree | None:
    """The tree of a label system; None for plain labels. A CSV's path is relative to the working directory.

    Raises:
        StudyError: the CSV is missing or is no tree.
    """
    if system == "plain":
        return None
    if isinstance(system, TreeLabels):
        return _loaded(system.tree, system.digest)
    return icd10


@cache
def _loaded(path: str, _digest: str | None) -> TableTree:
    return read_tree(Path(path))


@dataclass(frozen=True)
class Entry:
    """A row of a tree's CSV, as the converters write it."""

    code: str
    parent: str
    description: str
    level: Level


@dataclass(frozen=True)
class Node:
    code: str
    parent: str | None
    description: str
    level: Level | None
    line: int


class TableTree:
    """A tree of a CSV.

    Without a column `level`, what has something below it is a chapter at the root and a block one step down, and the
    third step is the category; a code that stands higher is its own block or category.
    """

    def __init__(self, nodes: dict[str, Node], origin: str) -> None:
        self._nodes = nodes
        self._origin = origin
        self._parents = {node.parent for node in nodes.values()}
        self._levelled = any(node.level for node in nodes.values())
        self._canonical = {_bare(code): code for code in nodes}

    def normalize(self, text: str) -> str:
        return self._canonical.get(_bare(text), visible(text))

    def is_valid(self, code: str) -> bool:
        return self.find(code) is not None

    @lru_cache(maxsize=200_000)  # noqa: B019 (one tree per process)
    def find(self, code: str) -> Code | None:
        node = self._nodes.get(code)
        if node is None or node.level in ("chapter", "block"):
            return None
        path = self._path(code)
        if not self._levelled and len(path) <= 2 and code in self._parents:
            return None  # a chapter or a block
        if self._levelled:
            at = {level: name for name in path if (level := self._nodes[name].level)}  # of nested blocks the inmost
        else:
            at = dict(zip(LEVELS, path, strict=False))
        category = at.get("category") or code
        block = at.get("block") or category
        chapter = at.get("chapter") or block
        return Code(code, category, block, chapter, node.description, code not in self._parents)

    def lineage(self, code: str) -> frozenset[str]:
        return frozenset(self._path(code)) if code in self._nodes else frozenset()

    def describe(self, label: str, level: Level) -> str:
        return self._nodes[label].description

    @lru_cache(maxsize=8)  # noqa: B019
    def all_labels(self, level: Level = "code") -> tuple[str, ...]:
        found = [entry for code in self._nodes if (entry := self.find(code))]
        return tuple(dict.fromkeys(entry.at(level) for entry in found))

    def code_set_version(self) -> str:
        return self._origin

    def _path(self, code: str) -> list[str]:
        """From the root to the code."""
        path = [code]
        while (parent := self._nodes[path[-1]].parent) is not None:
            path.append(parent)
        return path[::-1]


def read_tree(path: Path) -> TableTree:
    """Read a tree from CSV: code, parent, description and, if it has it, level.

    Raises:
        StudyError: the file is missing, lacks a column, names a parent that it does not hold, holds a code twice, or
            runs in a circle; with the line.
    """
    if path.exists() and not path.is_file():
        raise StudyError(f"config.yaml: data.labels.tree: {path} is a folder, a pipe or a device; name a CSV")
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            reader = csv.DictReader(lines)
            absent = [name for name in ("code", "parent", "description") if name not in (reader.fieldnames or ())]
            if absent:
                raise StudyError(f"{path}: a code tree needs the column {absent[0]}; it has {reader.fieldnames}")
            nodes = _read_nodes(path, reader)
    except FileNotFoundError:
        raise StudyError(f"config.yaml: data.labels.tree: {path} is missing") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise StudyError(f"{path} is not CSV in UTF-8 ({error})") from None
    _check(path, nodes)
    return TableTree(nodes, f"{path.name} sha256:{digest_of_file(path)[:12]}")


def _read_nodes(path: Path, reader: csv.DictReader[str]) -> dict[str, Node]:
    nodes: dict[str, Node] = {}
    seen: dict[str, int] = {}
    for row in reader:
        line = reader.line_num
        code, parent = visible(row["code"] or ""), visible(row["parent"] or "")
        level = visible(row.get("level") or "").lower()
        if not code:
            raise StudyError(f"{path}, line {line}: the code is empty")
        if level and level not in LEVELS:
            raise StudyError(f"{path}, line {line}: level must be {', '.join(LEVELS)}, not {level!r}")
        if _bare(code) in seen:
            raise StudyError(f"{path}, line {line}: the code {code} stands in line {seen[_bare(code)]} already")
        seen[_bare(code)] = line
        name = visible(row["description"] or "")
        at: Level | None = next((each for each in LEVELS if each == level), None)
        nodes[code] = Node(code, None if is_null(parent) else parent, name, at, line)
    return nodes


def _check(path: Path, nodes: dict[str, Node]) -> None:
    """Refuse unknown parents and circles."""
    if not nodes:
        raise StudyError(f"{path} holds no codes")
    rooted: set[str] = set()
    for node in nodes.values():
        way: dict[str, None] = {}
        code: str | None = node.code
        while code is not None and code not in rooted:
            if code in way:
                raise StudyError(f"{path}, line {node.line}: the code {node.code} stands above itself")
            if code not in nodes:
                below = nodes[next(reversed(way))]
                raise StudyError(f"{path}, line {below.line}: the parent {code} of {below.code} is not in the file")
            way[code] = None
            code = nodes[code].parent
        rooted |= set(way)


def _bare(code: str) -> str:
    """What two ways to write a code have in common."""
    return "".join(visible(code).split()).replace(".", "").upper()
