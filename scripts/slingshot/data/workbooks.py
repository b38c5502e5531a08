"""Rows of a workbook's sheet, each cell as the sheet shows it where that says more than its number."""

from __future__ import annotations

import io
import posixpath
import re
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from slingshot.core.errors import StudyError
from slingshot.data.formats import SourceKeyError, open_bytes
from slingshot.data.tables import refuse_late_header, resolve_columns

_FIXED_DIGITS = re.compile(r"(0+)(?:\.(0+))?")  # 0012, 250.10; not 0 or #,##0.00

_MERGED = re.compile(rb"""<(?:\w+:)?mergeCell\s[^>]*?ref=["']([A-Z]+\d+:[A-Z]+\d+)["']""")


def workbook_rows(path: Path, names: Sequence[str], sheet: str | None) -> Iterator[list[Any]]:
    """Values of the wanted columns of a workbook's sheet, its first row being the header.

    Raises:
        StudyError: no such sheet, several with rows and none named, a missing column, or one with merged cells.
    """
    import openpyxl  # slow to import, and only this source needs it

    with open_bytes(path) as opened:
        content = opened.read()
    try:
        book = openpyxl.load_workbook(io.BytesIO(content), read_only=True, data_only=True)
    except (KeyError, ValueError, OSError) as error:
        raise StudyError(f"{path} is not a whole workbook ({error}); save it again, or as CSV in UTF-8") from None
    for each in book.worksheets:
        each.reset_dimensions()  # what the file says of its size may be wrong, and would cut rows off
    title = _sheet_with_rows(path, book, sheet)
    header = ["" if cell is None else str(cell) for cell in next(book[title].iter_rows(values_only=True), ())]
    if not set(names) <= {name.strip() for name in header}:
        rows = book[title].iter_rows(values_only=True)
        refuse_late_header(names, ([str(cell).strip() for cell in row] for row in rows), path.name, "row")
    written = resolve_columns(names, header, path.name)
    positions = [header.index(written[name]) for name in names]
    _refuse_merged(path, content, title, names, positions)
    for row in islice(book[title].iter_rows(), 1, None):
        if any(cell.value is not None for cell in row):
            yield [_as_shown(row[position]) if position < len(row) else None for position in positions]


def _sheet_with_rows(path: Path, book: Any, sheet: str | None) -> str:
    with_rows = [each.title for each in book.worksheets if _has_rows(each)]
    if sheet is None and len(with_rows) != 1:
        if not with_rows:
            raise StudyError(f"{path} has no sheet with rows")
        what = f"{path} has {len(with_rows)} sheets with rows ({', '.join(with_rows)})"
        raise SourceKeyError(what, "sheet", "keep one of them")
    if sheet is not None and sheet not in with_rows:
        raise StudyError(f"data.source.sheet: {path} has no sheet {sheet!r} with rows; it has {', '.join(with_rows)}")
    return sheet or with_rows[0]


def _has_rows(sheet: Any) -> bool:
    return any(cell is not None for row in sheet.iter_rows(values_only=True) for cell in row)


def _as_shown(cell: Any) -> Any:
    """A cell's value; a number whose format has a fixed count of digits as its text: 12 as `0012`, 250.1 as `250.10`.

    A format that would hide digits is left aside.
    """
    value = cell.value
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    match = _FIXED_DIGITS.fullmatch((cell.number_format or "").split(";")[0].strip('_ "'))
    if match is None or value < 0:
        return value
    decimals = len(match[2] or "")
    text = f"{value:0{len(match[1]) + (decimals + 1 if decimals else 0)}.{decimals}f}"
    return text if float(text) == value and text != str(value) else value


def _refuse_merged(path: Path, content: bytes, title: str, names: Sequence[str], positions: Sequence[int]) -> None:
    """Stop where a wanted column has cells merged over rows: all but the first are empty in the file.

    Raises:
        StudyError: names the column and the rows.
    """
    by_position = dict(zip(positions, names, strict=True))
    for first_column, first, last_column, last in sorted(_merged_ranges(content, title), key=lambda each: each[1]):
        hit = [name for position, name in by_position.items() if first_column <= position <= last_column]
        if hit and last > max(first, 1):
            raise StudyError(
                f"{path.name}, rows {first} to {last}: cells of the column {hit[0]!r} are merged, so that all but the "
                "first are empty; unmerge them and write the value into each row"
            )


def _merged_ranges(content: bytes, title: str) -> Iterable[tuple[int, int, int, int]]:
    """First column (from 0), first row, last column, last row of each range; openpyxl says so of whole books alone."""
    from openpyxl.utils import range_boundaries

    with zipfile.ZipFile(io.BytesIO(content)) as parts:
        book = ElementTree.fromstring(parts.read("xl/workbook.xml"))
        relations = ElementTree.fromstring(parts.read("xl/_rels/workbook.xml.rels"))
        target = {each.get("Id"): each.get("Target", "") for each in relations}
        key = next(key for each in book.iter() if each.get("name") == title for key in _relations(each))
        sheet = parts.read(posixpath.normpath(posixpath.join("/xl", target[key])).lstrip("/"))
    for cells in _MERGED.findall(sheet):
        left, first, right, last = range_boundaries(cells.decode())
        yield left - 1, first, right - 1, last


def _relations(element: ElementTree.Element) -> list[str]:
    """`r:id` of a sheet; its namespace is another in a workbook of the strict form."""
    return [value for name, value in element.items() if name.endswith("}id")]
