"""ClaML, the XML in which WHO, BfArM and others publish ICD-10 (CEN/TS 14463: Classification Markup Language).

What the file does not write out is written out here: modifiers, whose signs stand for a common fourth or fifth place.
A class has its own modifiers and those of the classes above it, without what it excludes (`ExcludeModifier`); they
lengthen the codes that have nothing below them:

| class | modifier's sign | code |
| --- | --- | --- |
| E10, without subclasses | `.0` | E10.0 |
| W00, without subclasses | `0` of a modifier `..._4` | W00.0 |
| M00.0, below M00 with the modifier | `1` | M00.01 |
| M45, without subclasses | `1` of a modifier `..._5` | M45.X1 |
| E11, with two modifiers | `.9`, `0` | E11.9, E11.90 |
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from slingshot.core.errors import StudyError
from slingshot.data.code_trees import Entry

_FIFTH = re.compile(r"_5$")

_LONGEST = 6  # characters of a code with its dot: no modifier lengthens a code of five places


@dataclass(frozen=True)
class _Modifier:
    """A modifier as one class has it: each sign with its meaning."""

    name: str
    signs: tuple[tuple[str, str], ...]


def read_claml(path: Path) -> Iterator[Entry]:
    """Chapters, blocks and codes, with the modifiers written out.

    Raises:
        ElementTree.ParseError: the file is not XML.
        StudyError: a class names a modifier that the file does not hold.
    """
    root = ElementTree.parse(path).getroot()
    classes = {each.get("code", ""): each for each in root.iter("Class")}
    meanings: dict[str, dict[str, str]] = {}
    for each in root.iter("ModifierClass"):
        meanings.setdefault(each.get("modifier", ""), {})[each.get("code", "")] = preferred(each)
    parents = {_parent(each) for each in classes.values()}
    written = set(classes)
    for code, each in classes.items():
        text, kind = preferred(each), each.get("kind", "category")
        if kind != "category":
            yield Entry(code, _parent(each), text, "chapter" if kind == "chapter" else "block")
            continue
        yield Entry(code, _parent(each), text, "code" if "." in code else "category")
        if code not in parents:
            for longer in _lengthened(code, text, _modifiers(path, code, classes, meanings)):
                if longer.code not in written:
                    written.add(longer.code)
                    yield longer


def _parent(each: ElementTree.Element) -> str:
    above = each.find("SuperClass")
    return "" if above is None else above.get("code", "")


def _modifiers(
    path: Path, code: str, classes: dict[str, ElementTree.Element], meanings: dict[str, dict[str, str]]
) -> list[_Modifier]:
    """The modifiers of a class and of those above it, those of the fourth place first."""
    found: dict[str, _Modifier] = {}
    excluded: set[str] = set()
    above: list[str] = []
    while code in classes and code not in above:
        above.append(code)
        each = classes[code]
        for name, valid in _named_modifiers(each):
            if name in excluded or name in found:
                continue
            if name not in meanings:
                raise StudyError(f"{path}: the class {code} names the modifier {name}, which the file does not hold")
            signs = tuple((sign, text) for sign, text in meanings[name].items() if not valid or sign in valid)
            found[name] = _Modifier(name, signs)
        excludes = each.findall("ExcludeModifier")
        excluded |= {rule.get("code", "") for rule in excludes}
        code = _parent(each)
    return sorted(found.values(), key=lambda modifier: bool(_FIFTH.search(modifier.name)))


def _named_modifiers(each: ElementTree.Element) -> Iterator[tuple[str, set[str]]]:
    """Each modifier that a class names with the signs that are valid there; none: all of them.

    WHO's file has classes that name theirs in a rubric alone (`modifierlink`, as M13 does).
    """
    rules = each.findall("ModifiedBy")
    for rule in rules:
        yield rule.get("code", ""), {valid.get("code", "") for valid in rule.findall("ValidModifierClass")}
    for rubric in () if rules else each.findall("Rubric"):
        if rubric.get("kind") == "modifierlink":
            yield from ((named.get("code", ""), set()) for named in rubric.iter("Reference") if named.get("code"))


def _lengthened(code: str, text: str, modifiers: list[_Modifier]) -> Iterator[Entry]:
    """A code with the signs of its first modifier, each with those of the next."""
    if not modifiers:
        return
    first, rest = modifiers[0], modifiers[1:]
    if first.signs and all(sign.startswith(".") for sign, _ in first.signs) and "." in code:
        yield from _lengthened(code, text, rest)  # the fourth place is written out already
        return
    for sign, meaning in first.signs:
        fill = "" if "." in code or sign.startswith(".") else ".X" if _FIFTH.search(first.name) else "."
        longer, whole = f"{code}{fill}{sign}", f"{text}, {meaning}"
        if len(longer) <= _LONGEST:
            yield Entry(longer, code, whole, "code")
            yield from _lengthened(longer, whole, rest)


def preferred(element: ElementTree.Element) -> str:
    """The preferred label, the long one if there is one, without references to other codes."""
    rubrics = {rubric.get("kind"): rubric for rubric in element.findall("Rubric")}
    rubric = rubrics.get("preferredLong", rubrics.get("preferred"))
    label = None if rubric is None else rubric.find("Label")
    return "" if label is None else " ".join("".join(_words(label)).split())


def _words(element: ElementTree.Element) -> Iterator[str]:
    """The text of an element and what it holds; paragraphs and parts of a list are words of their own."""
    yield element.text or ""
    for child in element:
        if child.tag != "Reference":
            yield " " if child.tag in ("Para", "Fragment", "ListItem", "Cell") else ""
            yield from _words(child)
        yield child.tail or ""
