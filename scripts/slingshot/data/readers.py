"""Rows of a study's source, in batches: CSV, TSV, JSON Lines, Parquet, a folder of such shards, a hub data set.

Only a batch of rows is in memory at a time. Column names are stripped of spaces. Whatever is wrong with a file
is one StudyError that says which file, which line and what to do.
"""

from __future__ import annotations

import csv
import difflib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow.parquet

from slingshot.config.data import Columns, FileData, HubData
from slingshot.core.errors import StudyError
from slingshot.core.hashing import digest_of_file

SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet")

ROWS_A_BATCH = 1024

LONGEST_FIELD = 16 * 2**20  # bytes; a longer one is a quotation mark that was never closed

_BYTE_ORDER_MARKS = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16", b"PK\x03\x04": "a zip archive", b"\x1f\x8b": "gzip"}


@dataclass(frozen=True)
class Batch:
    """Rows of one file: a list of values a column, and the number of the first row (from 1)."""

    where: str
    first_row: int
    columns: dict[str, list[Any]]

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))


@dataclass
class Rows:
    """A source: what it is (for dataset.json), its size in bytes where known, and its batches."""

    origin: dict[str, Any]
    size: int
    batches: Iterator[Batch] = field(repr=False)


def wanted_columns(columns: Columns) -> list[str]:
    """The names of the columns that the study reads, each once."""
    texts = [columns.text] if isinstance(columns.text, str) else columns.text
    names = [*texts, columns.label, columns.description, columns.group]
    return list(dict.fromkeys(name.strip() for name in names if name is not None))


def read_rows(source: HubData | FileData, columns: Columns, study: Path) -> Rows:
    """Open a source.

    Raises:
        StudyError: the source is missing, empty, broken, in a wrong encoding, or lacks a column; for a local file
            some of these only while its batches are read.
    """
    names = wanted_columns(columns)
    if isinstance(source, HubData):
        return _hub_rows(source, names)
    place = study / source.path
    paths = source_files(place, source.path)
    folder = place if place.is_dir() else place.parent
    origin = {
        "path": source.path,
        "files": {path.relative_to(folder).as_posix(): digest_of_file(path) for path in paths},
    }
    size = sum(path.stat().st_size for path in paths)
    return Rows(origin, size, (batch for path in paths for batch in read_file(path, names)))


def source_files(path: Path, name: str) -> list[Path]:
    """The file itself, or a folder's shards in the order of their names, without hidden ones.

    Raises:
        StudyError: nothing is there that can be read.
    """
    if path.is_dir():
        shards = sorted(
            shard
            for shard in path.rglob("*")
            if shard.suffix in SUFFIXES
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
    if path.suffix not in SUFFIXES:
        raise StudyError(f"data.source.path: {name} must end in {', '.join(SUFFIXES)}")
    return [path]


def _names_beside(path: Path) -> list[str]:
    return [other.name for other in path.parent.iterdir()] if path.parent.is_dir() else []


def read_file(path: Path, names: list[str]) -> Iterator[Batch]:
    """Batches of one file's columns `names`.

    Raises:
        StudyError: the file is empty, broken, in a wrong encoding, or lacks a column.
    """
    if path.stat().st_size == 0:
        raise StudyError(f"{path} is empty")
    if path.suffix == ".parquet":
        yield from _parquet_batches(path, names)
        return
    _refuse_other_formats(path)
    lines = _json_rows(path, names) if path.suffix == ".jsonl" else _delimited_rows(path, names)
    yield from _batched(path.name, names, lines)


def resolve_columns(names: list[str], present: list[str], where: str) -> dict[str, str]:
    """Map each wanted name to the column's name as written, which may have spaces around it.

    Raises:
        StudyError: a column is missing; the nearest name is suggested.
    """
    written: dict[str, str] = {}
    for name in present:
        written.setdefault(name.strip(), name)
    for name in names:
        if name not in written:
            near = difflib.get_close_matches(name, list(written), n=1, cutoff=0.5)
            near = near or [other for other in written if other.casefold() == name.casefold()]
            hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(map(repr, written))}"
            raise StudyError(f"data.columns: {where} has no column {name!r}; {hint}")
    return {name: written[name] for name in names}


def _batched(where: str, names: list[str], rows: Iterator[list[Any]]) -> Iterator[Batch]:
    first = 1
    while chunk := list(islice(rows, ROWS_A_BATCH)):
        yield Batch(where, first, dict(zip(names, map(list, zip(*chunk, strict=True)), strict=True)))
        first += len(chunk)
    if first == 1:
        raise StudyError(f"{where} has a header but no rows")


def _delimited_rows(path: Path, names: list[str]) -> Iterator[list[str]]:
    """Values of the wanted columns, a row at a time. Lines are counted as an editor counts them."""
    csv.field_size_limit(LONGEST_FIELD)
    with path.open(encoding="utf-8-sig", newline="") as lines:
        reader = csv.reader(lines, delimiter="\t" if path.suffix == ".tsv" else ",", strict=True)
        start = 1
        try:
            header = next(reader, [])
            written = resolve_columns(names, header, path.name)
            positions = [header.index(written[name]) for name in names]
            start = reader.line_num + 1
            for row in reader:
                if row and len(row) != len(header):
                    raise StudyError(
                        f"{path}, line {start}: {len(row)} fields where the header has {len(header)}; "
                        "mend or remove the line (a comma or a quotation mark in a text must stand in quotes)"
                    )
                if row:
                    yield [row[position] for position in positions]
                start = reader.line_num + 1
        except csv.Error as error:
            raise StudyError(f"{path}, line {start}: {_csv_fault(error)}") from None
        except UnicodeDecodeError as error:
            raise StudyError(_encoding_fault(path, error)) from None


def _csv_fault(error: csv.Error) -> str:
    if "unexpected end of data" in str(error) or "field limit" in str(error):
        return "a quotation mark that opens there is never closed; close it or double it"
    return f"cannot be read as CSV ({error}); mend or remove the line"


def _json_rows(path: Path, names: list[str]) -> Iterator[list[Any]]:
    """Values of the wanted columns, a line at a time. A key that a line lacks is null, if the first line has it."""
    with path.open(encoding="utf-8-sig") as lines:
        written: dict[str, str] = {}
        try:
            for number, line in enumerate(lines, start=1):
                if not line.strip():
                    continue
                row = json.loads(line)
                if not isinstance(row, dict):
                    raise StudyError(f"{path}, line {number}: must be a JSON object, not {type(row).__name__}")
                written = written or resolve_columns(names, list(row), path.name)
                yield [row.get(written[name]) for name in names]
        except json.JSONDecodeError as error:
            raise StudyError(f"{path}, line {number}: is not JSON ({error.msg}); mend or remove the line") from None
        except UnicodeDecodeError as error:
            raise StudyError(_encoding_fault(path, error)) from None


def _encoding_fault(path: Path, error: UnicodeDecodeError) -> str:
    """Name the line of the first byte that is not UTF-8: the decoder itself knows only its own chunk."""
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as fault:
                byte = line[fault.start]
                return f"{path}, line {number}: byte 0x{byte:02x} is not UTF-8; save the file in UTF-8"
    return f"{path} is not UTF-8 ({error.reason}); save the file in UTF-8"


def _refuse_other_formats(path: Path) -> None:
    with path.open("rb") as content:
        start = content.read(4)
    for mark, kind in _BYTE_ORDER_MARKS.items():
        if start.startswith(mark):
            raise StudyError(f"{path} is {kind}, not {path.suffix[1:]} in UTF-8; convert it first")


def _parquet_batches(path: Path, names: list[str]) -> Iterator[Batch]:
    first = 1
    try:
        with pyarrow.parquet.ParquetFile(path) as table:
            written = resolve_columns(names, table.schema_arrow.names, path.name)
            for batch in table.iter_batches(batch_size=ROWS_A_BATCH, columns=list(written.values())):
                columns = {name: batch.column(written[name]).to_pylist() for name in names}
                yield Batch(path.name, first, columns)
                first += batch.num_rows
    except (pyarrow.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise StudyError(f"{path} is not a whole Parquet file ({reason}); copy or download it again") from None
    if first == 1:
        raise StudyError(f"{path.name} has columns but no rows")


def _hub_rows(source: HubData, names: list[str]) -> Rows:
    """Download a data set at a fixed commit; its rows stay in memory-mapped files."""
    import datasets  # slow to import, and only this source needs it

    commit = resolve_commit(source)
    loaded = _told_in_one_sentence(
        source, lambda: datasets.load_dataset(source.hub, revision=commit, split=source.split)
    )
    parts = loaded if isinstance(loaded, dict) else {source.split or "train": loaded}
    origin = {"hub": source.hub, "revision": source.revision, "commit": commit, "splits": sorted(parts)}
    size = sum(int(part.data.nbytes) for part in parts.values())
    return Rows(origin, size, _hub_batches(source.hub, parts, names))


def _hub_batches(hub: str, parts: dict[str, Any], names: list[str]) -> Iterator[Batch]:
    for name in sorted(parts):
        part = parts[name]
        written = resolve_columns(names, part.column_names, f"{hub} ({name})")
        first = 1
        for table in part.select_columns(list(written.values())).with_format("arrow").iter(ROWS_A_BATCH):
            yield Batch(f"{hub}/{name}", first, {key: table[written[key]].to_pylist() for key in names})
            first += table.num_rows


def resolve_commit(source: HubData) -> str:
    """The commit that a hub data set's revision stands for.

    Raises:
        StudyError: no network, no such data set, no such revision, or one that needs a token.
    """
    import huggingface_hub

    info = _told_in_one_sentence(
        source, lambda: huggingface_hub.HfApi().dataset_info(source.hub, revision=source.revision)
    )
    return str(info.sha)


def _told_in_one_sentence(source: HubData, call: Callable[[], Any]) -> Any:
    """Do something on the hub; its many exceptions become one sentence that says what to do."""
    from datasets.exceptions import DataFilesNotFoundError, DatasetNotFoundError
    from huggingface_hub import errors

    name = f"data.source: {source.hub}"
    try:
        return call()
    except errors.GatedRepoError:
        raise StudyError(
            f"{name} is gated: accept its terms on its page at huggingface.co, then set HF_TOKEN"
        ) from None
    except errors.RevisionNotFoundError:
        raise StudyError(f"{name} has no revision {source.revision!r}: name a commit, a tag or a branch") from None
    except (errors.RepositoryNotFoundError, DatasetNotFoundError):
        raise StudyError(f"{name} does not exist on the hub, or is private: check its id, or set HF_TOKEN") from None
    except errors.HFValidationError as error:
        raise StudyError(f"{name} is not a data set's id ({error}): write it as owner/name") from None
    except DataFilesNotFoundError:
        raise StudyError(
            f"{name} holds no file that can be read without running its code, which we never do: "
            "export it to Parquet and set data.source.path"
        ) from None
    except Exception as error:  # the hub's HTTP client changes with its version, and so do its exceptions
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise StudyError(
            f"{name} (split {source.split or 'all'}) can't be reached or read: {reason}; check the network, "
            "HF_HUB_OFFLINE and the split's name, or save it to a file and set data.source.path"
        ) from None
