"""Workbooks: no row, digit or group is lost between what a sheet shows and what is read."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from typing import Any

import openpyxl
import pytest

from slingshot.config.data import NULLS, Columns
from slingshot.core.errors import StudyError
from slingshot.data.cells import plain_value
from tests.unit.data.reading import read


def make_book(folder: Path, rows: list[list[Any]], *, format: str | None = None, merged: tuple[str, ...] = ()) -> Path:
    book = openpyxl.Workbook()
    sheet = book.active
    for row in rows:
        sheet.append(row)
    for cell in sheet["B"][1:]:
        cell.number_format = format or "General"
    for cells in merged:
        sheet.merge_cells(cells)
    book.save(folder / "a.xlsx")
    return folder / "a.xlsx"


@pytest.mark.parametrize(
    ("format", "value", "label"),
    [
        ("0000", 12, "0012"),
        ("0.00", 250.1, "250.10"),
        ("0.00", 250, "250.00"),
        ("000.0", 8.5, "008.5"),
        ("0.00_ ", 401.9, "401.90"),
        ("0", 250.1, 250.1),  # a format that would hide a digit
        ("0.0", 250.15, 250.15),
        ("General", 250.1, 250.1),
        ("#,##0.00", 1250, 1250),
        ("0000", True, True),
        ("0000", "12", "12"),
        ("0000", 12345, 12345),
    ],
)
def test_a_number_is_read_as_its_format_shows_it(tmp_path: Path, format: str, value: Any, label: Any) -> None:
    rows = read(make_book(tmp_path, [["text", "label"], ["a", value]], format=format))
    assert rows == [{"text": "a", "label": label}]
    assert type(rows[0]["label"]) is type(label)


@pytest.mark.parametrize("said", ["A1", "A1:B3", "A1:A9", None])
def test_a_wrong_size_in_the_file_loses_no_row(tmp_path: Path, said: str | None) -> None:
    path = make_book(tmp_path, [["text", "label"], *([f"text {n}", "x"] for n in range(8))])
    with zipfile.ZipFile(path) as book:
        parts = {name: book.read(name) for name in book.namelist()}
    dimension = f'<dimension ref="{said}" />'.encode() if said else b""
    sheet = "xl/worksheets/sheet1.xml"
    parts[sheet], count = re.subn(rb"<dimension [^>]*>", dimension, parts[sheet])
    assert count == 1
    with zipfile.ZipFile(path, "w") as book:
        for name, content in parts.items():
            book.writestr(name, content)
    assert [row["text"] for row in read(path)] == [f"text {n}" for n in range(8)]


def test_merged_cells_of_a_column_that_is_read_are_an_error(tmp_path: Path) -> None:
    rows = [["text", "label", "patient", "other"], *([f"text {n}", "x", f"p{n // 2}", n] for n in range(4))]
    columns = Columns(text="text", label="label", group="patient")
    path = make_book(tmp_path, rows, merged=("C4:C5", "C2:C3", "D2:D5"))
    assert len(read(path)) == 4
    with pytest.raises(StudyError, match=r"a\.xlsx, rows 2 to 3: cells of the column 'patient' are merged.*unmerge"):
        read(path, columns)
    assert len(read(make_book(tmp_path, rows, merged=("C2:D2",)), columns)) == 4  # side by side: no row lacks a value


@pytest.mark.parametrize("before", [["Export of 2024", None], [None, None]])
def test_rows_before_the_header_are_an_error_that_names_its_row(tmp_path: Path, before: list[Any]) -> None:
    path = make_book(tmp_path, [before, [" text", "label "], ["a", "x"]])
    with pytest.raises(StudyError, match="header stands in row 2: remove the rows before it"):
        read(path)


def test_an_empty_workbook_is_said_to_be_empty(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="has no sheet with rows"):
        read(make_book(tmp_path, [["text"]][:0]))


@pytest.mark.parametrize("error", ["#REF!", "#VALUE!", "#NAME?", "#DIV/0!", "#N/A"])
def test_an_error_of_a_workbook_is_no_label(error: str) -> None:
    assert plain_value(error, NULLS)[0] is None
