"""Rows of a CSV that a stray quotation mark has swallowed: its lines and its rows are held against each other.

A dialogue that is quoted as it should be may hold lines with as many separators as the file has columns. So one line
that looks like a row is no proof. What can't agree:

- each line of the file has all fields, but quotation marks make fewer rows than lines of them;
- a line within a row has all fields and a label that other rows have, or that is a code;
- some unquoted field holds a mark, so whoever wrote the file quotes nothing, yet a row goes over several lines.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from slingshot.core.errors import StudyError
from slingshot.data.tables import LineCount

SEPARATORS = {",": "a comma", ";": "a semicolon", "\t": "a tab", "|": "a vertical bar"}

_LABELS_REMEMBERED = 100_000

_FIX = "double the mark, or put its whole field in quotes"


@dataclass
class Swallowed:
    """What is seen of a file's rows.

    Args:
        separator: between fields
        width: number of fields
        label: the label's position; None: not known
        is_label: whether a cell can only be a label
    """

    separator: str
    width: int
    label: int | None
    is_label: Callable[[str], bool]
    labels: set[str] = field(default_factory=set)
    suspects: list[tuple[int, int, str]] = field(default_factory=list)  # first line, last line, label of a line within
    unquoted: int | None = None  # the first line with a mark in an unquoted field
    several: tuple[int, int] | None = None  # the first row over several lines
    each_line_whole: bool = True  # whether each line, read plainly, has all fields

    def see(self, row: list[str], raw: list[str], first_line: int) -> None:
        """Take a row in.

        Args:
            raw: its lines as they stand in the file
            first_line: the number of the first of them
        """
        self.each_line_whole &= all(line.count(self.separator) == self.width - 1 for line in raw)
        if self.label is not None and len(self.labels) < _LABELS_REMEMBERED:
            self.labels.add(row[self.label])
        if len(raw) > 1:
            last_line = first_line + len(raw) - 1
            self.several = self.several or (first_line, last_line)
            self.suspects += [(first_line, last_line, cell) for cell in self._labels_within(row)]
        elif self.unquoted is None and '"' in raw[0]:
            marked = (cell for cell in row if '"' in cell)
            if any(f'"{cell.replace(chr(34), chr(34) * 2)}"' not in raw[0] for cell in marked):
                self.unquoted = first_line

    def _labels_within(self, row: list[str]) -> list[str]:
        """The label cells of the lines in a row that have all fields if they are rows of their own."""
        if self.label is None:
            return []
        inner: list[list[str]] = []
        for number, cell in enumerate(row):
            parts = cell.splitlines()
            if len(parts) > 1:
                inner += [part.split(self.separator) for part in parts[1:-1]]
                if number <= self.label:  # otherwise its label is the row's own
                    inner.append([*row[:number], *parts[0].split(self.separator)])
                if number >= self.label:
                    inner.append([*parts[-1].split(self.separator), *row[number + 1 :]])
        return [fields[self.label] for fields in inner if len(fields) == self.width]

    def refuse(self, path: Path, count: LineCount) -> None:
        """Stop where the lines and the rows can't agree.

        Raises:
            StudyError: names the lines of the first such row.
        """
        if self.several is None:
            return
        found = [each for each in self.suspects if each[2] in self.labels or self.is_label(each[2])]
        if found:
            first, last, label = found[0]
            raise StudyError(
                f"{path}, lines {first} to {last}: a quotation mark makes one row of them, though a line within has "
                f"all {self.width} fields and the label {label!r} ({len({each[0] for each in found})} such rows); "
                f"{_FIX}"
            )
        first, last = self.several
        if self.each_line_whole:
            raise StudyError(
                f"{path}: each of {count.lines - count.header - count.blank} lines has all {self.width} fields, but a "
                f"quotation mark makes one row of lines {first} to {last}, {count.rows} rows in all; {_FIX}"
            )
        if self.unquoted is not None:
            raise StudyError(
                f"{path}, lines {first} to {last}: a quotation mark makes one row of them, but in line "
                f"{self.unquoted} a field holds marks without being quoted, so they mean nothing in this file; {_FIX}"
            )
