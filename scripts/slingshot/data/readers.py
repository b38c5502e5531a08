"""Rows of a study's source, in batches: a file, a folder of shards, one file for each split, a hub data set.

Only a batch of rows is in memory at a time. Column names are stripped of spaces. Whatever is wrong with a file
is one StudyError that says which file, which line and what to do.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from slingshot.config.data import Columns, FileData, HubData
from slingshot.core.errors import StudyError
from slingshot.core.hashing import digest_of_file
from slingshot.data.formats import COMPRESSED_SUFFIXES, SUFFIXES, is_data, kind_of_content
from slingshot.data.hub import hub_rows
from slingshot.data.lines import delimited_rows, json_rows, workbook_rows
from slingshot.data.tables import Batch, Rows, batched, parquet_batches


def wanted_columns(columns: Columns) -> list[str]:
    """The names of the columns that the study reads, each once."""
    texts = [columns.text] if isinstance(columns.text, str) else columns.text
    names = [*texts, columns.label, columns.description, columns.group, columns.split]
    return list(dict.fromkeys(name.strip() for name in names if name is not None))


def read_rows(source: HubData | FileData, columns: Columns, study: Path) -> Rows:
    """Open a source.

    Raises:
        StudyError: the source is missing, empty, broken, in a wrong encoding, or lacks a column; for a local file
            some of these only while its batches are read.
    """
    names = wanted_columns(columns)
    if isinstance(source, HubData):
        return hub_rows(source, names)
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
    size = sum(path.stat().st_size for _, path in files)
    label = columns.label.strip()
    batches = (
        replace(batch, part=part) if part else batch
        for part, path in files
        for batch in read_file(path, names, source, label)
    )
    return Rows({"path": source.path, "files": digests}, size, batches)


def source_files(path: Path, name: str) -> list[Path]:
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
        hint = f"; did you mean {near[0]}?" if near else "; the path is relative to the study's folder"
        raise StudyError(f"data.source.path: {name} is missing{hint}")
    if not is_data(path):
        packed = ", ".join(COMPRESSED_SUFFIXES)
        raise StudyError(f"data.source.path: {name} must end in {', '.join(SUFFIXES)}, which may be packed ({packed})")
    return [path]


def _names_beside(path: Path) -> list[str]:
    return [other.name for other in path.parent.iterdir()] if path.parent.is_dir() else []


def read_file(
    path: Path, names: Sequence[str], how: FileData | None = None, label: str | None = None
) -> Iterator[Batch]:
    """Batches of one file's columns `names`.

    Args:
        how: separator, encoding and sheet, where they are not what the file's name says
        label: the label's column

    Raises:
        StudyError: the file is empty, broken, in a wrong encoding, or lacks a column.
    """
    how = how or FileData(path=path.name)
    if path.stat().st_size == 0:
        raise StudyError(f"{path} is empty")
    kind = kind_of_content(path, how.encoding)
    if kind == ".parquet":
        yield from parquet_batches(path, names)
    elif kind == ".jsonl":
        yield from batched(path.name, names, json_rows(path, names, how.encoding))
    elif kind == ".xlsx":
        yield from batched(path.name, names, workbook_rows(path, names, how.sheet))
    else:
        separator = how.separator or ("\t" if kind == ".tsv" else ",")
        yield from batched(path.name, names, delimited_rows(path, names, label, separator, how.encoding))
