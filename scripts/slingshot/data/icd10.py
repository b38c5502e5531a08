"""The ICD-10-CM code tree: chapter, block, category, code.

The code set is the one that simple-icd-10-cm ships; it takes seconds and some 200 MB to load, so it is loaded
when first asked for, once per process. Codes are written without a dot, in upper case (`A047`).
"""

from __future__ import annotations

import gc
import re
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from types import ModuleType

from slingshot.config.base import Level
from slingshot.data.cells import visible

CATEGORY_LENGTH = 3

_RELEASE = re.compile(r"code-list-([A-Za-z]+)-(\d{4})\.txt")

_RANGE = re.compile(r"(?<!\s)\s*\([A-Z0-9]{3}(-[A-Z0-9]{3})?\)$")


@dataclass(frozen=True)
class Code:
    """A category or a code below one, and where it stands in the tree.

    `chapter` is its number ("1" to "22"), `block` a range of categories ("A00-A09", or "B20" where a block holds
    one category), `billable` whether nothing stands below it.
    """

    code: str
    category: str
    block: str
    chapter: str
    description: str
    billable: bool

    def at(self, level: Level) -> str:
        """The code's own label, or that of its ancestor at a higher level."""
        return {"code": self.code, "category": self.category, "block": self.block, "chapter": self.chapter}[level]


def normalize(text: str) -> str:
    """A code as people write it, without dots, spaces and what can't be seen, in upper case: ` a04.7` is `A047`."""
    if not text.isascii():
        text = visible(text).replace("\u200c", "").replace("\u200d", "")
    return "".join(text.split()).replace(".", "").upper()


def dotted(code: str) -> str:
    """`A047` as `A04.7`."""
    return code if len(code) <= CATEGORY_LENGTH else f"{code[:CATEGORY_LENGTH]}.{code[CATEGORY_LENGTH:]}"


@cache
def find(code: str) -> Code | None:
    """Look up a normalized code; None where the code set has no such category or code."""
    tree = _tree()
    if not _is_code(code) or not tree.is_valid_item(dotted(code)):
        return None
    name = dotted(code)
    *between, block, chapter = tree.get_ancestors(name)
    category = between[-1] if between else name
    return Code(code, category, block, chapter, tree.get_description(name), tree.is_leaf(name))


@cache
def lineage(code: str) -> frozenset[str]:
    """A normalized code with every code, category, block and chapter above it; empty where the code set has none."""
    entry = find(code)
    if entry is None:
        return frozenset()
    return frozenset((*(name.replace(".", "") for name in _tree().get_ancestors(dotted(code))), code))


def is_valid(code: str) -> bool:
    """Whether the code set holds this normalized category or code."""
    return find(code) is not None


def describe(label: str, level: Level) -> str:
    """The description of a code, category, block or chapter, without the range of codes that it covers.

    Raises:
        KeyError: the code set has no such label.
    """
    tree = _tree()
    name = dotted(label) if level == "code" else label
    if not tree.is_valid_item(name):
        raise KeyError(label)
    return _RANGE.sub("", tree.get_description(name, prioritize_blocks=level == "block"))


@cache
def all_labels(level: Level = "code") -> tuple[str, ...]:
    """Every label of the code set at a level, in the order of the tree; at `code`, categories count as codes too."""
    tree = _tree()
    names = tree.get_all_codes(with_dots=True)
    if level == "chapter":
        return tuple(name for name in names if tree.is_chapter(name))
    if level == "block":
        return tuple(dict.fromkeys(name for name in names if tree.is_block(name)))
    if level == "category":
        return tuple(dict.fromkeys(name for name in names if tree.is_category(name)))
    return tuple(dict.fromkeys(name.replace(".", "") for name in names if _is_code(name.replace(".", ""))))


@cache
def code_set_version() -> str:
    """The release of the code set by year, and the package that it comes from: `ICD-10-CM 2026 (April 2026), ...`."""
    found = metadata.distribution("simple-icd-10-cm")
    package = f"simple-icd-10-cm {found.version}"
    folder = Path(str(found.locate_file("simple_icd_10_cm/data")))  # resources.files would import, and so load the set
    if not folder.is_dir():  # an editable install
        return package
    files = sorted(file.name for file in folder.iterdir())
    named = next((match for name in files if (match := _RELEASE.fullmatch(name))), None)
    tabular = next((name for name in files if name.endswith(".xml")), None)
    if tabular is None or named is None:
        return package
    with folder.joinpath(tabular).open("rb") as start:
        year = re.search(rb"<version>(\d{4})</version>", start.read(2048))
    return f"ICD-10-CM {year[1].decode() if year else '?'} ({named[1]} {named[2]}), {package}"


def _is_code(name: str) -> bool:
    """Tell categories and codes from chapters ("1") and blocks ("A00-A09")."""
    return CATEGORY_LENGTH <= len(name) <= 7 and name.isascii() and name.isalnum() and name[0].isalpha()


@cache
def _tree() -> ModuleType:
    collecting = gc.isenabled()
    gc.disable()  # a hundred thousand objects are made and all stay: looking for garbage takes half the time
    try:
        import simple_icd_10_cm  # slow to import, and not every step needs it
    finally:
        if collecting:
            gc.enable()
    return simple_icd_10_cm
