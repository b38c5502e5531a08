"""Rows of a study's source, in batches: a file, a folder of shards, one file for each split, a hub data set.

Only a batch of rows is in memory at a time. Column names are stripped of spaces. Whatever is wrong with a file
is one StudyError that says which file, which line and what to do.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from slingshot.config.data import Columns, FileData, HubData
from slingshot.core.errors import StudyError
from slingshot.core.hashing import digest_of_file
from slingshot.data.formats import COMPRESSED_SUFFIXES, SUFFIXES, SourceKeyError, is_data, kind_of_content
from slingshot.data.hub import hub_rows
from slingshot.data.lines import LabelColumn, delimited_rows, json_rows, separator_of
from slingshot.data.tables import Batch, ColumnError, LineCount, Rows, batched, parquet_batches
from slingshot.data.workbooks import workbook_rows


def wanted_columns(columns: Columns) -> list[str]:
    """The names of the columns that the study reads, each once."""
    texts = [columns.text] if isinstance(columns.text, str) else columns.text
    names = [*texts, columns.label, columns.description, columns.group, columns.split]
    return list(dict.fromkeys(name.strip() for name in names if name is not None))


def read_rows(
    source: HubData | FileData,
    columns: Columns,
    study: Path,
    is_label: Callable[[str], bool] | None = None,
    key: str = "data.columns",
    source_key: str = "data.source",
) -> Rows:
    """Open a source.

    Args:
        is_label: whether a cell can only be a label, to find rows that a quotation mark has swallowed
        key: of `columns` in the config, for messages
        source_key: of `source`

    Raises:
        StudyError: the source is missing, empty, broken, in a wrong encoding, or lacks a column; for a local file
            some of these only while its batches are read.
    """
    names = wanted_columns(columns)
    if isinstance(source, HubData):
        rows = hub_rows(source, names)
        return replace(rows, batches=naming(key, rows.batches, source_key))
    parts = [(None, source.path)] if isinstance(source.path, str) else [*source.path.items()]
    files: list[tuple[str | None, Path]] = []
    digests: dict[str, str] = {}
    for part, name in parts:
        place = study / name
        folder = place if place.is_dir() else place.parent
        for path in source_files(place, name):
            files.append((part, path))
            shown = path.relative_to(folder).as_posix()
            digests[shown if part is None else f"{part}: {shown}"] = digest_of_file(path)
    refuse_unused_settings(source, source_key, [path for _, path in files])
    size = sum(path.stat().st_size for _, path in files)
    label_column = LabelColumn(columns.label.strip(), is_label or (lambda cell: False))
    counts: dict[str, LineCount] = {}
    batches = (
        replace(batch, part=part) if part else batch
        for (part, path), shown in zip(files, digests, strict=True)
        for batch in read_file(path, names, source, label_column, counts.setdefault(shown, LineCount()))
    )
    return Rows({"path": source.path, "files": digests}, size, naming(key, batches, source_key), counts)


def refuse_unused_settings(source: FileData, source_key: str, files: Sequence[Path]) -> None:
    """Stop where the source says how to read files of a kind that it has none of.

    Raises:
        StudyError: names the key.
    """
    said = {
        "sheet": (source.sheet is not None, {".xlsx"}, "a workbook"),
        "separator": (source.separator is not None, {".csv", ".tsv"}, "lines of fields, as CSV"),
        "encoding": (source.encoding != "utf-8", {".csv", ".tsv", ".jsonl"}, "a text, as CSV"),
    }
    if not any(is_said for is_said, *_ in said.values()):
        return
    kinds = {kind_of_content(path, source.encoding) for path in files if path.stat().st_size}
    for key, (is_said, suits, what) in said.items():
        if is_said and kinds and not kinds & suits:
            raise StudyError(f"{source_key}.{key} is for {what}, and {files[0].name} is none: leave it out")


def naming(key: str, batches: Iterator[Batch], source_key: str = "data.source") -> Iterator[Batch]:
    """Batches whose columns and source the config names under these keys, which are said where one is at fault."""
    try:
        yield from batches
    except ColumnError as error:
        raise StudyError(f"{key}: {error}") from None
    except SourceKeyError as error:
        raise StudyError(error.of_source(source_key)) from None


def read_other_file(path: Path, names: Sequence[str], source: FileData | None = None) -> Iterator[Batch]:
    """Batches of a file that is not the study's source: with the separator under which its header has the names.

    Args:
        source: encoding and sheet, where they are not what the file's name says.

    Raises:
        StudyError: see read_file.
    """
    try:
        yield from read_file(path, names, source_as_found(path, names, source))
    except SourceKeyError as error:
        raise StudyError(error.without_keys) from None


def source_files(path: Path, name: str, counted_from: str = "the study's folder") -> list[Path]:
    """The file itself, or a folder's shards in the order of their names, without hidden ones.

    Raises:
        StudyError: nothing is there that can be read.
    """
    if path.is_dir():
        shards = sorted(
            shard
            for shard in path.rglob("*")
            if is_data(shard)
            and shard.is_file()
            and not any(part.startswith(".") for part in shard.relative_to(path).parts)
        )
        if not shards:
            raise StudyError(f"data.source.path: the folder {name} holds no {', '.join(SUFFIXES)} file")
        return shards
    if not path.exists():
        near = difflib.get_close_matches(path.name, _names_beside(path), n=1)
        hint = f"; did you mean {near[0]}?" if near else f"; the path is relative to {counted_from}"
        raise StudyError(f"data.source.path: {name} is missing{hint}")
    if not path.is_file():
        raise StudyError(
            f"data.source.path: {name} is a pipe or a device, which may never end; name a file or a folder"
        )
    if not is_data(path):
        packed = ", ".join(COMPRESSED_SUFFIXES)
        raise StudyError(f"data.source.path: {name} must end in {', '.join(SUFFIXES)}, which may be packed ({packed})")
    return [path]


def _names_beside(path: Path) -> list[str]:
    return [other.name for other in path.parent.iterdir()] if path.parent.is_dir() else []


def read_file(
    path: Path,
    names: Sequence[str],
    source: FileData | None = None,
    label_column: LabelColumn | None = None,
    count: LineCount | None = None,
) -> Iterator[Batch]:
    """Batches of one file's columns `names`.

    Args:
        source: separator, encoding and sheet, where they are not what the file's name says
        label_column: its name and what a label looks like, where that is known
        count: is filled in as the lines are read

    Raises:
        StudyError: the file is empty, broken, in a wrong encoding, or lacks a column.
    """
    source, count = source or FileData(path=path.name), count or LineCount()
    label_column = label_column or LabelColumn()
    if path.stat().st_size == 0:
        raise StudyError(f"{path} is empty")
    kind = kind_of_content(path, source.encoding)
    if kind == ".parquet":
        yield from parquet_batches(path, names)
    elif kind == ".jsonl":
        yield from batched(path.name, names, json_rows(path, names, source.encoding, count))
    elif kind == ".xlsx":
        yield from batched(path.name, names, workbook_rows(path, names, source.sheet))
    else:
        separator = source.separator or ("\t" if kind == ".tsv" else ",")
        yield from batched(
            path.name, names, delimited_rows(path, names, separator, source.encoding, label_column, count)
        )


def source_as_found(path: Path, names: Sequence[str], source: FileData | None = None) -> FileData:
    """How to read a file that no config describes: with the separator under which its header has the names.

    Args:
        source: encoding and sheet, where they are not what the file's name says

    Raises:
        StudyError: the file is of no kind that can be read.
    """
    source = (source or FileData(path=path.name)).model_copy(update={"path": path.name})
    kind = kind_of_content(path, source.encoding)
    if kind not in (".csv", ".tsv"):
        return source
    names = [name.strip() for name in names]
    return source.model_copy(
        update={"separator": separator_of(path, names, "\t" if kind == ".tsv" else ",", source.encoding)}
    )
