"""Rows of one table, whatever its format: batches of columns, and whether the wanted columns are there."""

from __future__ import annotations

import difflib
import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

from slingshot.core.errors import StudyError
from slingshot.data.formats import open_bytes

ROWS_PER_BATCH = 1024

_LOOKED_THROUGH = 20  # rows in which a header that is not the first is looked for


class ColumnError(StudyError):
    """A file lacks a column, has it twice, or has objects in it; says which, but not which key names it."""


@dataclass(frozen=True)
class Batch:
    """Rows of one file: a list of values for each column, and the number of the first row (from 1).

    `part` is the split that the source gives all of them, by its name in the source; None where it gives none.
    """

    where: str
    first_row: int
    columns: dict[str, list[Any]]
    part: str | None = None

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))


@dataclass
class LineCount:
    """The lines of a text file: each is of the header, of a row, or blank. Complete when its rows have been read."""

    lines: int = 0
    header: int = 0
    blank: int = 0
    rows: int = 0
    rows_over_several_lines: int = 0
    lines_of_these: int = 0


@dataclass
class Rows:
    """A source: what it is (for dataset.json), its size in bytes where known, and its batches.

    `lines` has the count of each text file, by its name; none for Parquet, workbooks and the hub.
    """

    origin: dict[str, Any]
    size: int
    batches: Iterator[Batch] = field(repr=False)
    lines: dict[str, LineCount] = field(default_factory=dict)

    def line_counts(self) -> dict[str, dict[str, int]]:
        return {name: asdict(count) for name, count in self.lines.items() if count.lines}


def refuse_late_header(names: Sequence[str], rows: Iterable[Collection[str]], where: str, unit: str) -> None:
    """Stop where a title, a remark or an empty row stands before the header.

    Args:
        rows: the file's first rows, the names that each would have as the header; some of them are looked through
        unit: what a row is called: a line, a row

    Raises:
        StudyError: names the header's row.
    """
    for number, row in enumerate(islice(rows, _LOOKED_THROUGH), start=1):
        if set(names) <= set(row):
            raise StudyError(f"{where}: its header stands in {unit} {number}: remove the {unit}s before it")


def resolve_columns(names: Sequence[str], present: Sequence[str], where: str) -> dict[str, str]:
    """Map each wanted name to the column's name as written, which may have spaces around it.

    Raises:
        ColumnError: a column is missing (the nearest name is suggested), or two have its name.
    """
    written: dict[str, str] = {}
    for name in present:
        written.setdefault(name.strip(), name)
    count = Counter(name.strip() for name in present)
    for name in names:
        if count[name] > 1:
            raise ColumnError(f"{where} has {count[name]} columns of the name {name!r}; rename all but one of them")
        if name not in written:
            near = [other for other in written if other.casefold() == name.casefold()]
            near = near or difflib.get_close_matches(name, list(written), n=1, cutoff=0.5)
            hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(map(repr, written))}"
            raise ColumnError(f"{where} has no column {name!r}; {hint}")
    return {name: written[name] for name in names}


def batched(where: str, names: Sequence[str], rows: Iterator[list[Any]]) -> Iterator[Batch]:
    """Rows as batches.

    Raises:
        StudyError: there are none.
    """
    first = 1
    while chunk := list(islice(rows, ROWS_PER_BATCH)):
        yield Batch(where, first, dict(zip(names, map(list, zip(*chunk, strict=True)), strict=True)))
        first += len(chunk)
    if first == 1:
        raise StudyError(f"{where} has a header but no rows")


def parquet_batches(path: Path, names: Sequence[str]) -> Iterator[Batch]:
    """Batches of a Parquet file.

    Raises:
        StudyError: it is cut short, lacks a column, or has objects in one.
    """
    first = 1
    try:
        with open_bytes(path) as content:
            packed = content if content.seekable() else pyarrow.BufferReader(content.read())
            with pyarrow.parquet.ParquetFile(packed) as table:
                schema = table.schema_arrow
                written = resolve_columns(names, schema.names, path.name)
                refuse_objects(schema, written, path.name)
                classes = _classes_in_metadata(schema)
                for batch in table.iter_batches(batch_size=ROWS_PER_BATCH, columns=list(written.values())):
                    columns = {
                        name: [
                            python_value(value, classes.get(written[name]))
                            for value in values_of(batch.column(written[name]))
                        ]
                        for name in names
                    }
                    yield Batch(path.name, first, columns)
                    first += batch.num_rows
    except (pyarrow.ArrowException, OSError, OverflowError) as error:
        reason = str(error).splitlines()[0]
        raise StudyError(f"{path} is not a whole Parquet file ({reason}); copy or download it again") from None
    if first == 1:
        raise StudyError(f"{path.name} has columns but no rows")


def values_of(column: pyarrow.Array | pyarrow.ChunkedArray) -> list[Any]:
    """A column's values as Python has them, numbers and times as they were written."""
    if pyarrow.types.is_timestamp(column.type):  # of nanoseconds, which Python's own dates can't hold
        column = column.cast(pyarrow.string())
    if pyarrow.types.is_float32(column.type):  # 250.1, of which 64 bits make 250.10000610351562
        return [None if value is None else float(value) for value in column.cast(pyarrow.string()).to_pylist()]
    return list(column.to_pylist())


def refuse_objects(schema: pyarrow.Schema, written: dict[str, str], where: str) -> None:
    """Refuse columns whose cells are records or maps: nothing says which part is meant.

    Raises:
        ColumnError: names the column and its type.
    """
    for name in written.values():
        kind = schema.field(name).type
        inner = kind.value_type if pyarrow.types.is_list(kind) or pyarrow.types.is_large_list(kind) else kind
        if pyarrow.types.is_struct(inner) or pyarrow.types.is_map(inner) or pyarrow.types.is_union(inner):
            raise ColumnError(
                f"{where} has objects in the column {name.strip()!r} ({kind}); write the part that is "
                "meant into a column of its own"
            )


def python_value(value: Any, classes: Sequence[str] | None = None) -> Any:
    """A cell as Python has it: bytes in UTF-8 are text, a class's number is its name."""
    if isinstance(value, list):
        return [python_value(each, classes) for each in value]
    if isinstance(value, bytes):
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError:
            return value
    if classes is not None and isinstance(value, int) and not isinstance(value, bool):
        return classes[value] if 0 <= value < len(classes) else None  # -1: no class
    return value


def names_of_classes(features: Any) -> dict[str, list[str]]:
    """Column to its classes' names, of a data set's features or of their JSON in a Parquet file."""
    found: dict[str, list[str]] = {}
    for column, feature in dict(features or {}).items():
        for inner in (feature, _member(feature, "feature")):
            names = _member(inner, "names")
            if isinstance(names, dict):  # as older files write them: {"0": "name"}
                names = [names[key] for key in sorted(names, key=int)]
            if isinstance(names, list):
                found[column] = [str(name) for name in names]
    return found


def _member(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, dict) else getattr(value, name, None)


def _classes_in_metadata(schema: pyarrow.Schema) -> dict[str, list[str]]:
    """What the datasets library writes beside a Parquet file's columns."""
    try:
        info = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        return names_of_classes(info.get("info", {}).get("features"))
    except (ValueError, AttributeError, KeyError):
        return {}
