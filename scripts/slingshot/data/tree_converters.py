"""Code trees from the files that their publishers give out: code, parent, description, level.

| form | file | publisher |
| --- | --- | --- |
| icd9cm | CMS32_DESC_LONG_DX.txt (code and description on each line) or Dtab-like lists of that form | CMS |
| claml | icd102019en.xml, icd10gm2024syst_claml_*.xml | WHO, BfArM |
| meta | icd102019syst_codes.txt or icd10gm2024syst_kodes.txt, chapters and groups beside it | WHO, BfArM |
| icpc2 | a table with a code and a title on each row | WONCA, national bodies |
| icd10cm | icd10cm-order-2024.txt (a release of another year) | CMS |
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from xml.etree import ElementTree

from slingshot.config.base import Level
from slingshot.core.errors import StudyError
from slingshot.core.files import replacing
from slingshot.data.cells import visible
from slingshot.data.code_trees import read_tree

Form = Literal["icd9cm", "claml", "meta", "icpc2", "icd10cm"]


@dataclass(frozen=True)
class Entry:
    code: str
    parent: str
    description: str
    level: Level


def convert_tree(form: Form, path: Path, out: Path) -> int:
    """Write a publisher's file as a tree of ours; returns the number of codes.

    Raises:
        StudyError: the file is missing or not of this form, or what it holds makes no tree.
    """
    if not path.is_file():
        raise StudyError(f"{path} is missing: convert_tree.py reads one file of the publisher's")
    try:
        entries = list(_CONVERTERS[form](path))
    except (UnicodeDecodeError, ElementTree.ParseError, IndexError) as error:
        raise StudyError(f"{path} is not of the form {form} ({error})") from None
    if not entries:
        raise StudyError(f"{path} holds no codes of the form {form}")
    with replacing(out) as temporary:
        with temporary.open("w", encoding="utf-8", newline="") as lines:
            writer = csv.writer(lines, lineterminator="\n")
            writer.writerow(["code", "parent", "description", "level"])
            writer.writerows([entry.code, entry.parent, visible(entry.description), entry.level] for entry in entries)
        read_tree(temporary)  # what can't be read back is not written
    return len(entries)


# ---------------------------------------------------------------- ICD-9-CM

_ICD9_CHAPTERS = (
    (1, 139, "Infectious and parasitic diseases"),
    (140, 239, "Neoplasms"),
    (240, 279, "Endocrine, nutritional and metabolic diseases, and immunity disorders"),
    (280, 289, "Diseases of the blood and blood-forming organs"),
    (290, 319, "Mental disorders"),
    (320, 389, "Diseases of the nervous system and sense organs"),
    (390, 459, "Diseases of the circulatory system"),
    (460, 519, "Diseases of the respiratory system"),
    (520, 579, "Diseases of the digestive system"),
    (580, 629, "Diseases of the genitourinary system"),
    (630, 679, "Complications of pregnancy, childbirth, and the puerperium"),
    (680, 709, "Diseases of the skin and subcutaneous tissue"),
    (710, 739, "Diseases of the musculoskeletal system and connective tissue"),
    (740, 759, "Congenital anomalies"),
    (760, 779, "Certain conditions originating in the perinatal period"),
    (780, 799, "Symptoms, signs, and ill-defined conditions"),
    (800, 999, "Injury and poisoning"),
)

_ICD9_LINE = re.compile(r"^\s*\"?([0-9]{3}|V[0-9]{2}|E[0-9]{3})\.?([0-9]{0,2})\"?[\s,;]+\"?(.+?)\"?\s*$")


def _from_icd9cm(path: Path) -> Iterator[Entry]:
    """A code, with or without its dot, and its description on each line; categories are made where they are missing.

    CMS gives out billable codes only, in Latin-1. Their categories (three signs, four with E) get the description of
    their only code, or none.
    """
    rows: dict[str, tuple[str, str]] = {}
    for line in path.read_bytes().decode("latin-1").splitlines():
        if match := _ICD9_LINE.match(line):
            head, tail, text = match.groups()
            rows[f"{head}.{tail}" if tail else head] = head, text
    if not rows:
        return
    chapters: dict[str, str] = {}
    for head, _ in rows.values():
        name, title = _icd9_chapter(head)
        chapters[name] = title
    yield from (Entry(name, "", title, "chapter") for name, title in chapters.items())
    for head in dict.fromkeys(head for head, _ in rows.values()):
        below = [text for code, (category, text) in rows.items() if category == head and code != head]
        text = rows[head][1] if head in rows else below[0] if len(below) == 1 else ""
        yield Entry(head, _icd9_chapter(head)[0], text, "category")
    for code, (head, text) in rows.items():
        if code != head:
            above = code[:-1] if len(code.partition(".")[2]) == 2 and code[:-1] in rows else head
            yield Entry(code, above, text, "code")


def _icd9_chapter(head: str) -> tuple[str, str]:
    if head[0] == "V":
        return "V01-V91", "Supplementary classification of factors influencing health status"
    if head[0] == "E":
        return "E000-E999", "Supplementary classification of external causes of injury and poisoning"
    for low, high, title in _ICD9_CHAPTERS:
        if low <= int(head) <= high:
            return f"{low:03}-{high:03}", title
    return "000", "Not classified"


# ---------------------------------------------------------------- ICD-10 of WHO and GM


def _from_claml(path: Path) -> Iterator[Entry]:
    """ClaML, the XML that WHO, BfArM and others publish. Modifiers (a common fourth or fifth sign) are written out."""
    root = ElementTree.parse(path).getroot()
    modifiers: dict[str, list[tuple[str, str]]] = {}
    for each in root.iter("ModifierClass"):
        modifiers.setdefault(each.get("modifier", ""), []).append((each.get("code", ""), _preferred(each)))
    for each in root.iter("Class"):
        code, above = each.get("code", ""), each.find("SuperClass")
        parent = "" if above is None else above.get("code", "")
        kind = each.get("kind", "category")
        text = _preferred(each)
        if kind == "category":
            yield Entry(code, parent, text, "code" if "." in code else "category")
            if each.find("SubClass") is None:
                yield from _modified(code, text, [by.get("code", "") for by in each.findall("ModifiedBy")], modifiers)
        else:
            yield Entry(code, parent, text, "chapter" if kind == "chapter" else "block")


def _modified(code: str, text: str, names: list[str], modifiers: dict[str, list[tuple[str, str]]]) -> Iterator[Entry]:
    """A class with the signs of its first modifier, each with those of the next."""
    if not names:
        return
    for sign, meaning in modifiers.get(names[0], []):
        longer = f"{code}{sign}" if sign.startswith(".") or "." in code else f"{code}.{sign}"
        whole = f"{text}, {meaning}"
        yield Entry(longer, code, whole, "code")
        yield from _modified(longer, whole, names[1:], modifiers)


def _preferred(element: ElementTree.Element) -> str:
    """The preferred label, without references to other codes."""
    rubrics = {rubric.get("kind"): rubric for rubric in element.findall("Rubric")}
    rubric = rubrics.get("preferredLong", rubrics.get("preferred"))
    label = None if rubric is None else rubric.find("Label")
    if label is None:
        return ""
    parts = [label.text or ""]
    for child in label:
        parts += ["" if child.tag == "Reference" else "".join(child.itertext()), child.tail or ""]
    return " ".join("".join(parts).split())


def _from_meta(path: Path) -> Iterator[Entry]:
    """The semicolon-separated tables of WHO and BfArM: codes (kodes), with chapters (kapitel) and groups (gruppen)."""
    codes = list(_semicolons(path))
    if any(len(row) < 9 for row in codes):
        raise StudyError(f"{path} is not a table of codes: it needs nine fields or more, separated by semicolons")
    chapters = {row[0]: row[1] for row in _beside(path, ("chapters", "kapitel"))}
    groups = [row for row in _beside(path, ("groups", "gruppen")) if len(row) >= 4]
    for number in dict.fromkeys(row[3] for row in codes):
        yield Entry(number, "", chapters.get(number, ""), "chapter")
    blocks = {row[0]: (f"{row[0]}-{row[1]}", row[2], row[3]) for row in groups}
    for first, number in dict.fromkeys((row[4], row[3]) for row in codes):
        name, chapter, title = blocks.get(first, (f"{first}-", number, ""))
        yield Entry(name, chapter, title, "block")
    known = {row[6] for row in codes}
    for row in codes:
        code = row[6]
        block = blocks.get(row[4], (f"{row[4]}-",))[0]
        shorter = next(
            (code[:end].rstrip(".") for end in range(len(code) - 1, 2, -1) if code[:end].rstrip(".") in known), ""
        )
        yield Entry(code, shorter or block, row[8], "code" if shorter else "category")


def _semicolons(path: Path) -> Iterator[list[str]]:
    for line in path.read_text(encoding="utf-8-sig").splitlines():
        if line.strip():
            yield line.split(";")


def _beside(path: Path, words: tuple[str, ...]) -> list[list[str]]:
    """The table of another kind that was published with this one."""
    for ours in ("codes", "kodes"):
        for theirs in words:
            other = path.with_name(path.name.replace(ours, theirs))
            if other != path and other.exists():
                return list(_semicolons(other))
    return []


# ---------------------------------------------------------------- ICPC-2, ICD-10-CM of another year

_ICPC_CHAPTERS = {
    "A": "General and unspecified", "B": "Blood, blood-forming organs and immune mechanism", "D": "Digestive",
    "F": "Eye", "H": "Ear", "K": "Cardiovascular", "L": "Musculoskeletal", "N": "Neurological", "P": "Psychological",
    "R": "Respiratory", "S": "Skin", "T": "Endocrine, metabolic and nutritional", "U": "Urological",
    "W": "Pregnancy, childbearing, family planning", "X": "Female genital", "Y": "Male genital", "Z": "Social problems",
}  # fmt: skip

_ICPC_CODE = re.compile(r"[ABDFHKLNPRSTUWXYZ]\d\d|-?\d\d")


def _from_icpc2(path: Path) -> Iterator[Entry]:
    """A table of comma, semicolon, tab or bar, in which a field is the code and the next longer one its title."""
    text = path.read_bytes()
    lines = (text.decode("utf-8-sig") if _is_utf8(text) else text.decode("cp1252")).splitlines()
    separator = max("\t;|,", key=lambda sign: sum(line.count(sign) for line in lines))
    found: dict[str, str] = {}
    for row in csv.reader(lines, delimiter=separator):
        fields = [visible(field) for field in row]
        at = next((number for number, field in enumerate(fields) if _ICPC_CODE.fullmatch(field)), None)
        if at is not None:
            title = next((field for field in fields[at + 1 :] if len(field) > 3), "")
            found.setdefault(fields[at], title)
    for letter, title in _ICPC_CHAPTERS.items():
        if any(code.startswith(letter) for code in found):
            yield Entry(letter, "", title, "chapter")
    if any(code[0] not in _ICPC_CHAPTERS for code in found):
        yield Entry("PROCESS", "", "Process codes", "chapter")
    for code, title in found.items():
        yield Entry(code, code[0] if code[0] in _ICPC_CHAPTERS else "PROCESS", title, "category")


def _is_utf8(content: bytes) -> bool:
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _from_order_file(path: Path) -> Iterator[Entry]:
    """ICD-10-CM's order file: number, code without dot, header or billable, short and long description, in columns."""
    above: list[str] = []
    for line in path.read_text(encoding="utf-8-sig").splitlines():
        code, text = line[6:13].strip(), line[77:].strip() or line[16:76].strip()
        if not re.fullmatch(r"[A-Z][0-9A-Z]{2,6}", code):
            continue
        while above and not code.startswith(above[-1]):
            above.pop()
        yield Entry(code, above[-1] if above else "", text, "code" if above else "category")
        above.append(code)


_CONVERTERS: dict[Form, Callable[[Path], Iterator[Entry]]] = {
    "icd9cm": _from_icd9cm,
    "claml": _from_claml,
    "meta": _from_meta,
    "icpc2": _from_icpc2,
    "icd10cm": _from_order_file,
}
