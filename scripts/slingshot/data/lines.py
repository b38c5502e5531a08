"""Rows of text files: CSV, TSV, JSON Lines."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pyarrow

from slingshot.core.errors import StudyError
from slingshot.data.formats import SourceKeyError, encoding_fault, open_bytes
from slingshot.data.swallowed import SEPARATORS, Swallowed
from slingshot.data.tables import LineCount, refuse_late_header, resolve_columns

LONGEST_FIELD = 16 * 2**20  # bytes; a longer one is a quotation mark that was never closed

LONGEST_LINE = 64 * 2**20  # characters

_TWICE = "\0twice"  # no column has this name


@contextmanager
def _opened(path: Path, encoding: str, newline: str | None = None) -> Iterator[Iterator[str]]:
    """The file's lines; bytes that can't be decoded and lines without end are a StudyError."""
    if encoding.lower().replace("_", "-") in ("utf-8", "utf8"):
        encoding = "utf-8-sig"
    try:
        with open_bytes(path) as content, io.TextIOWrapper(content, encoding=encoding, newline=newline) as lines:
            yield _bounded(path, lines)
    except UnicodeError as error:
        raise encoding_fault(path, encoding.removesuffix("-sig"), error) from None
    except (pyarrow.ArrowException, EOFError, OSError) as error:
        raise StudyError(f"{path} can't be unpacked ({error}); copy or download it again") from None
    except LookupError:
        raise StudyError(f"data.source.encoding: Python knows no encoding {encoding!r}; e.g. cp1252, utf-16") from None


def _bounded(path: Path, lines: IO[str]) -> Iterator[str]:
    """Lines of at most LONGEST_LINE characters: a small packed file may hold one of many gigabytes."""
    number = 0
    while line := lines.readline(LONGEST_LINE):
        number += 1
        if len(line) == LONGEST_LINE:
            raise StudyError(f"{path}, line {number} has more than {LONGEST_LINE:,} characters: is it a table at all?")
        yield line


@dataclass(frozen=True)
class LabelColumn:
    """What is known of a file's labels, to find rows that a quotation mark has swallowed."""

    name: str | None = None
    is_label: Callable[[str], bool] = lambda cell: False  # whether a cell can only be a label, e.g. a code


def delimited_rows(
    path: Path, names: Sequence[str], separator: str, encoding: str, label_column: LabelColumn, count: LineCount
) -> Iterator[list[str]]:
    """Values of the wanted columns, a row at a time. Lines are counted as an editor counts them.

    Quotation marks mean what RFC 4180 says. But most programs that write TSV quote nothing; so where every line of a
    TSV has all its fields, each line is a row, and a mark that would change the number of fields is no quote.

    Args:
        count: is filled in as the lines are read

    Raises:
        StudyError: a line has too few or too many fields, a quotation mark is left open or swallows rows.
    """
    csv.field_size_limit(LONGEST_FIELD)
    header = _header(path, names, separator, encoding)
    written = resolve_columns(names, header, path.name)
    positions = [header.index(written[name]) for name in names]
    if separator == "\t" and _each_line_is_a_row(path, len(header), encoding):
        rows = _rows_of_lines(path, len(header), encoding, count)
    else:
        name = label_column.name
        at = positions[list(names).index(name)] if name is not None and name in names else None
        swallowed = Swallowed(separator, len(header), at, label_column.is_label)
        rows = _rows_of_quoted(path, swallowed, encoding, count)
    for row in rows:
        if row == header:  # files were joined with their headers
            count.rows, count.header = count.rows - 1, count.header + 1
        else:
            yield [row[position] for position in positions]


def _header(path: Path, names: Sequence[str], separator: str, encoding: str) -> list[str]:
    """The first row.

    Raises:
        StudyError: another separator would find the columns.
    """
    with _opened(path, encoding, newline="") as lines:
        first = next(lines, "")
    with _opened(path, encoding, newline="") as lines:
        try:
            header = next(csv.reader(lines, delimiter=separator, strict=True), [])
        except csv.Error as error:
            raise StudyError(f"{path}, line 1: {_csv_fault(error)}") from None
    if not set(names) <= {name.strip() for name in header}:
        if other := _other_separator(first, names, separator):
            raise SourceKeyError(
                f"{path} has {SEPARATORS[other]} between its fields, not {SEPARATORS[separator]}",
                f"separator: {json.dumps(other)}",
                f"save it with {SEPARATORS[separator]}",
            )
        with _opened(path, encoding, newline="") as lines:
            fields = ({name.strip().strip('"') for name in line.split(separator)} for line in lines)
            refuse_late_header(names, fields, str(path), "line")
    return header


def separator_of(path: Path, names: Sequence[str], usual: str, encoding: str) -> str | None:
    """The separator under which a file's header has all the names, where that is not the usual one; else None."""
    with _opened(path, encoding, newline="") as lines:
        first = next(lines, "")
    return None if set(names) <= _names(first, usual) else _other_separator(first, names, usual)


def _other_separator(header: str, names: Sequence[str], usual: str) -> str | None:
    return next((other for other in SEPARATORS if other != usual and set(names) <= _names(header, other)), None)


def _names(header: str, separator: str) -> set[str]:
    return {name.strip().strip('"').strip() for name in header.split(separator)} if separator in header else set()


def _each_line_is_a_row(path: Path, width: int, encoding: str) -> bool:
    with _opened(path, encoding, newline="") as lines:
        return all(line.count("\t") == width - 1 for line in lines if line.strip())


def _rows_of_lines(path: Path, width: int, encoding: str, count: LineCount) -> Iterator[list[str]]:
    """Rows of a TSV whose every line is one."""
    ends_in_line_feed = False
    with _opened(path, encoding, newline="") as lines:
        for number, line in enumerate(lines):
            count.lines += 1
            if not number:
                count.header, ends_in_line_feed = 1, line.endswith("\n")
            elif line.strip():
                if ends_in_line_feed:
                    _refuse_a_lone_return(path, number + 1, line)
                count.rows += 1
                yield _fields(line.rstrip("\r\n"), width)
            else:
                count.blank += 1


def _fields(line: str, width: int) -> list[str]:
    plain = line.split("\t")
    if '"' not in line:
        return plain
    try:
        quoted = next(csv.reader([line], delimiter="\t", strict=True))
    except csv.Error:
        return plain
    return quoted if len(quoted) == width else plain


def _rows_of_quoted(path: Path, swallowed: Swallowed, encoding: str, count: LineCount) -> Iterator[list[str]]:
    with _opened(path, encoding, newline="") as lines:
        raw: list[str] = []  # the lines of the row that is being read
        reader = csv.reader(_remembered(lines, raw), delimiter=swallowed.separator, strict=True)
        start = 1
        try:
            next(reader, [])
            count.header = count.lines = reader.line_num
            start = reader.line_num + 1
            ends_in_line_feed = bool(raw) and raw[-1].endswith("\n")
            raw.clear()
            for row in reader:
                if row and ends_in_line_feed:
                    _refuse_a_lone_return(path, start, raw[-1])
                if row and len(row) != swallowed.width:
                    raise StudyError(
                        f"{path}, line {start}: {len(row)} fields where the header has {swallowed.width}; fix or "
                        f"remove the line ({SEPARATORS[swallowed.separator]} or a quotation mark in a text must stand "
                        "in quotes)"
                    )
                count.lines = reader.line_num
                if row:
                    _count_row(count, reader.line_num - start + 1)
                    swallowed.see(row, raw, start)
                    yield row
                else:
                    count.blank += 1
                raw.clear()
                start = reader.line_num + 1
        except csv.Error as error:
            raise StudyError(f"{path}, line {start}: {_csv_fault(error)}") from None
    swallowed.refuse(path, count)


def _refuse_a_lone_return(path: Path, number: int, line: str) -> None:
    """Stop where a carriage return within an unquoted text would make two rows of one."""
    if line.endswith("\r"):
        raise StudyError(
            f"{path}, line {number}: ends in a carriage return (CR) alone, unlike the header's line, so it and the "
            "next may be one row; put the text in quotes, or write a blank in its place"
        )


def _remembered(lines: Iterable[str], raw: list[str]) -> Iterator[str]:
    for line in lines:
        raw.append(line)
        yield line


def _count_row(count: LineCount, lines: int) -> None:
    count.rows += 1
    if lines > 1:
        count.rows_over_several_lines += 1
        count.lines_of_these += lines


def _csv_fault(error: csv.Error) -> str:
    if "unexpected end of data" in str(error) or "field limit" in str(error):
        return "a quotation mark that opens there is never closed; close it or double it"
    return f"cannot be read as CSV ({error}); fix or remove the line"


def json_rows(path: Path, names: Sequence[str], encoding: str, count: LineCount) -> Iterator[list[Any]]:
    """Values of the wanted columns, a line at a time. A key that a line lacks is null, if some line has it.

    Raises:
        StudyError: a line is no JSON object, a key stands twice in a line, or no line has a wanted key.
    """
    missing, seen = set(names), dict[str, None]()
    with _opened(path, encoding) as lines:
        for number, line in enumerate(lines, start=1):
            if not missing:
                break
            if line.strip():
                keys = _json_row(path, number, line)
                seen |= dict.fromkeys(keys)
                missing -= {key.strip() for key in keys}
    resolve_columns(names, [key for key in seen if key != _TWICE], path.name) if missing else None
    with _opened(path, encoding) as lines:
        for number, line in enumerate(lines, start=1):
            count.lines, is_row = number, bool(line.strip())
            count.rows += is_row
            count.blank += not is_row
            if is_row:
                row = _json_row(path, number, line)
                by_name = _by_name(path, number, row, names)
                yield [row.get(by_name.get(name, name)) for name in names]


def _json_row(path: Path, number: int, line: str) -> dict[str, Any]:
    try:
        row = json.loads(line, object_pairs_hook=_object)
    except json.JSONDecodeError as error:
        whole = "; JSON Lines need a whole object on each line" if line.strip() in "{[" or number == 1 else ""
        raise StudyError(f"{path}, line {number}: is not JSON ({error.msg}); fix or remove the line{whole}") from None
    except RecursionError:
        raise StudyError(f"{path}, line {number}: lists in lists without end; fix or remove the line") from None
    if not isinstance(row, dict):
        hint = "; a JSON array must be written one object per line: jq -c '.[]'" if isinstance(row, list) else ""
        raise StudyError(f"{path}, line {number}: must be a JSON object, not {type(row).__name__}{hint}")
    return row


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object that remembers which keys stood in it more than once."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        found[_TWICE] = {name.strip() for name in names if names.count(name) > 1}
    return found


def _by_name(path: Path, number: int, row: dict[str, Any], names: Sequence[str]) -> dict[str, str]:
    """The wanted names whose key is written with spaces around it.

    Raises:
        StudyError: a wanted key stands there twice.
    """
    twice = row.pop(_TWICE, set())
    written: dict[str, str] = {}
    for key in row:
        name = key.strip()
        if name in names and (name in written or name in twice):
            raise StudyError(f"{path}, line {number}: the key {name!r} stands there twice; remove one of them")
        written[name] = key
    return written
