"""Code trees from the files that their publishers give out: code, parent, description, level.

| form | file | publisher |
| --- | --- | --- |
| icd9cm | CMS32_DESC_LONG_DX.txt: code and description on each line | CMS |
| claml | icd102019en.xml, icd10gm2024syst_claml_*.xml | WHO, BfArM |
| meta | icd102019syst_codes.txt, icd10gm2024syst_kodes.txt, codes.txt of 2004; chapters, groups beside | WHO, BfArM |
| icpc2 | a CSV or workbook with a code and a title on each row | WONCA, national bodies |
| icd10cm | icd10cm-order-2024.txt (a release of another year) | CMS |
"""

from __future__ import annotations

import csv
import io
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Literal
from xml.etree import ElementTree

from slingshot.core.errors import StudyError
from slingshot.core.files import replacing
from slingshot.data import icd10
from slingshot.data.cells import visible
from slingshot.data.claml import read_claml
from slingshot.data.code_trees import Entry, read_tree
from slingshot.data.icd9_blocks import section_of

Form = Literal["icd9cm", "claml", "meta", "icpc2", "icd10cm"]


def convert_tree(form: Form, path: Path, out: Path) -> int:
    """Write a publisher's file as a tree of ours; returns the number of codes.

    Raises:
        StudyError: the file is missing or not of this form, or what it holds makes no tree.
    """
    if not path.is_file():
        raise StudyError(f"{path} is missing: convert_tree.py reads one file of the publisher's")
    try:
        entries = list(_CONVERTERS[form](path))
    except (UnicodeDecodeError, ElementTree.ParseError, IndexError, csv.Error, zipfile.BadZipFile, KeyError) as error:
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

_ICD9_LINE = re.compile(r"^\s*\"?([0-9]{3}|V[0-9]{2}|E[0-9]{3})\.?([0-9]{0,2})\"?[\s,;]+(\S.*)$")


def _from_icd9cm(path: Path) -> Iterator[Entry]:
    """A code, with or without its dot, and its description on each line; categories are made where they are missing.

    CMS gives out billable codes only, in Latin-1 (copies are often UTF-8). Their categories (three characters, four
    with E) get the description of their only code, or none.
    """
    rows: dict[str, tuple[str, str]] = {}
    for line in _text(path.read_bytes(), "latin-1").splitlines():
        if match := _ICD9_LINE.match(line):
            head, tail, text = match.groups()
            rows[f"{head}.{tail}" if tail else head] = head, text.strip().strip('"')
    below: dict[str, list[str]] = {}
    for code, (head, text) in rows.items():
        below.setdefault(head, []).extend([text] if code != head else [])
    above: dict[str, Entry] = {}
    for head in below:
        chapter, title = _icd9_chapter(head)
        above[chapter] = Entry(chapter, "", title, "chapter")
    for head in below:
        if section := section_of(head):
            above.setdefault(section[0], Entry(section[0], _icd9_chapter(head)[0], section[1], "block"))
    yield from above.values()
    for head, texts in below.items():
        title = rows[head][1] if head in rows else texts[0] if len(texts) == 1 else ""
        yield Entry(head, (section_of(head) or _icd9_chapter(head))[0], title, "category")
    for code, (head, text) in rows.items():
        if code != head:
            shorter = code[:-1] if len(code.partition(".")[2]) == 2 and code[:-1] in rows else head
            yield Entry(code, shorter, text, "code")


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


def _from_meta(path: Path) -> Iterator[Entry]:
    """The semicolon-separated tables of WHO and BfArM: codes (kodes), with chapters (kapitel) and groups (gruppen)."""
    codes = list(_semicolons(path))
    if any(len(row) < 9 for row in codes):
        raise StudyError(f"{path} is not a table of codes: it needs nine fields or more, separated by semicolons")
    chapters = {row[0]: row[1] for row in _beside(path, ("chapters", "kapitel"))}
    # Older tables name a group by its first category and its title, later ones by first, last, chapter, title.
    groups = [row for row in _beside(path, ("groups", "gruppen")) if len(row) > 1]
    titles = {row[0]: row[-1] for row in groups}
    last = {row[4]: row[6][:3] for row in codes} | {row[0]: row[1] for row in groups if len(row) > 3}
    blocks = {first: f"{first}-{end}" for first, end in last.items()}
    for number in dict.fromkeys(row[3] for row in codes):
        yield Entry(number, "", chapters.get(number, ""), "chapter")
    for first, number in dict.fromkeys((row[4], row[3]) for row in codes):
        yield Entry(blocks[first], number, titles.get(first, ""), "block")
    known = {row[6] for row in codes}
    for row in codes:
        code = row[6]
        shorter = next(
            (code[:end].rstrip(".") for end in range(len(code) - 1, 2, -1) if code[:end].rstrip(".") in known), ""
        )
        yield Entry(code, shorter or blocks[row[4]], row[8], "code" if shorter else "category")


def _semicolons(path: Path) -> Iterator[list[str]]:
    for line in _text(path.read_bytes(), "cp850").splitlines():  # DIMDI's files up to 2008 are of DOS
        if line.strip():
            yield line.split(";")


def _beside(path: Path, words: tuple[str, ...]) -> list[list[str]]:
    """The table of another kind that was published with this one, whatever the case of its name (`Kapitel.txt`)."""
    names = {other.name.lower(): other for other in path.parent.iterdir()}
    for ours in ("codes", "kodes"):
        for theirs in words:
            other = names.get(path.name.lower().replace(ours, theirs))
            if other is not None and other != path:
                return list(_semicolons(other))
    return []


# ---------------------------------------------------------------- ICPC-2, ICD-10-CM of another year

_ICPC_CHAPTERS = {
    "A": "General and unspecified", "B": "Blood, blood-forming organs and immune mechanism", "D": "Digestive",
    "F": "Eye", "H": "Ear", "K": "Cardiovascular", "L": "Musculoskeletal", "N": "Neurological", "P": "Psychological",
    "R": "Respiratory", "S": "Skin", "T": "Endocrine, metabolic and nutritional", "U": "Urological",
    "W": "Pregnancy, childbearing, family planning", "X": "Female genital", "Y": "Male genital", "Z": "Social problems",
}  # fmt: skip

_ICPC_CODES = (re.compile(r"[ABDFHKLNPRSTUWXYZ]\d\d"), re.compile(r"-?[3-6]\d"))  # a row's number is no process code


def _from_icpc2(path: Path) -> Iterator[Entry]:
    """A table, in a workbook or with comma, semicolon, tab or bar between its fields.

    In each row a field is the code, the next that holds words its title. The separator is that which finds most codes.
    """
    content = path.read_bytes()
    if content.startswith(b"PK\x03\x04"):
        found = _icpc2_titles(_cells_of_workbook(content))
    else:
        text = _text(content, "cp1252")
        csv.field_size_limit(max(len(text), csv.field_size_limit()))
        tables = (csv.reader(io.StringIO(text, newline=""), delimiter=sign) for sign in ",;\t|")
        found = max((_icpc2_titles(table) for table in tables), key=len)
    for letter, title in _ICPC_CHAPTERS.items():
        if any(code.startswith(letter) for code in found):
            yield Entry(letter, "", title, "chapter")
    if any(code[0] not in _ICPC_CHAPTERS for code in found):
        yield Entry("PROCESS", "", "Process codes", "chapter")
    blocks = {code: component for code in found if (component := _icpc2_component(code)) is not None}
    for name, title in dict.fromkeys(blocks.values()):
        yield Entry(name, name[0], title, "block")
    for code, title in found.items():
        above = code[0] if code[0] in _ICPC_CHAPTERS else "PROCESS"
        yield Entry(code, blocks[code][0] if code in blocks else above, title, "category")


def _icpc2_component(code: str) -> tuple[str, str] | None:
    """The component that a code is of, as its range and title."""
    letter, number = code[0], int(code[-2:])
    if letter not in _ICPC_CHAPTERS:
        return None
    if number < 30:
        return f"{letter}01-{letter}29", f"{_ICPC_CHAPTERS[letter]}: symptoms and complaints"
    return (f"{letter}70-{letter}99", f"{_ICPC_CHAPTERS[letter]}: diagnoses and diseases") if number >= 70 else None


def _icpc2_titles(rows: Iterable[list[str]]) -> dict[str, str]:
    """Code to title."""
    found: dict[str, str] = {}
    for row in rows:
        fields = [visible(field) for field in row]
        places = (at for form in _ICPC_CODES for at, field in enumerate(fields) if form.fullmatch(field))
        at = next(places, None)
        if at is not None:
            title = next((field for field in fields[at + 1 :] if sum(map(str.isalpha, field)) > 1), "")
            found.setdefault(fields[at], title)
    return found


def _cells_of_workbook(content: bytes) -> Iterator[list[str]]:
    import openpyxl  # slow to import, and only this form needs it

    for sheet in openpyxl.load_workbook(io.BytesIO(content), read_only=True, data_only=True).worksheets:
        for row in sheet.iter_rows(values_only=True):
            yield ["" if cell is None else str(cell) for cell in row]


def _text(content: bytes, otherwise: str) -> str:
    """UTF-8, or what older files are in."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode(otherwise)


def _from_order_file(path: Path) -> Iterator[Entry]:
    """ICD-10-CM's order file: number, code without dot, header or billable, short and long description, in columns.

    It holds no blocks and chapters: those of the release that comes with simple-icd-10-cm are used instead.
    """
    above: list[str] = []
    known: set[str] = set()
    for line in path.read_text(encoding="utf-8-sig").splitlines():
        code, text = line[6:13].strip(), line[77:].strip() or line[16:76].strip()
        if not re.fullmatch(r"[A-Z][0-9A-Z]{2,6}", code):
            continue
        while above and not code.startswith(above[-1]):
            above.pop()
        parent = above[-1] if above else ""
        if not above and (own := icd10.find(code)) is not None:
            parent = own.block
            if own.chapter not in known:
                yield Entry(own.chapter, "", icd10.describe(own.chapter, "chapter"), "chapter")
            if own.block not in known:
                yield Entry(own.block, own.chapter, icd10.describe(own.block, "block"), "block")
            known |= {own.chapter, own.block}
        yield Entry(code, parent, text, "code" if above else "category")
        above.append(code)


_CONVERTERS: dict[Form, Callable[[Path], Iterator[Entry]]] = {
    "icd9cm": _from_icd9cm,
    "claml": read_claml,
    "meta": _from_meta,
    "icpc2": _from_icpc2,
    "icd10cm": _from_order_file,
}
