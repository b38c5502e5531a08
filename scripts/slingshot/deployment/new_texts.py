"""Dialogues that a study has never seen: read from a file or standard input, cleaned as the study's own were."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

from slingshot.artifacts.splits import LABELS, SCHEMA
from slingshot.config.data import Data, FileData
from slingshot.core.errors import StudyError
from slingshot.core.files import replacing
from slingshot.core.hashing import digest_of_text
from slingshot.data.cells import label_values, plain_value, text_value
from slingshot.data.cleaning import clean, has_words
from slingshot.data.formats import is_data
from slingshot.data.labels import target_of
from slingshot.data.readers import read_other_file

STANDARD_INPUT = "-"


@dataclass(frozen=True)
class NewTexts:
    """Texts in the order of the input, with the number of each one's row (from 1) and what else was asked for."""

    rows: list[int]
    texts: list[str]
    identifiers: list[Any] | None
    labels: list[str] | None
    empty_rows: list[int]
    sets: list[list[str]] | None = None  # labels, where a sample has several

    def __len__(self) -> int:
        return len(self.texts)


@dataclass(frozen=True)
class Wanted:
    """What is read of a file, and how the study read its own.

    Args:
        text: the columns that make up a dialogue, joined by a blank line
        identifier, label: columns to keep beside it
        data: the study's own source and labels, paths as seen from here
        as_written: whether the study's labels keep `.0`, as others have decimals
    """

    text: Sequence[str]
    identifier: str | None = None
    label: str | None = None
    data: Data = field(default_factory=lambda: Data(source=FileData(path="new.csv"), labels="plain"))
    as_written: bool = False

    @property
    def names(self) -> list[str]:
        return list(dict.fromkeys([*self.text, *filter(None, (self.identifier, self.label))]))


def is_split(path: Path) -> bool:
    """Whether a file is a split that prepare_data wrote."""
    if path.suffix != ".parquet" or not path.is_file():
        return False
    return pyarrow.parquet.read_schema(path).names in (SCHEMA.names, [*SCHEMA.names, LABELS.name])


def read_new_texts(source: str, wanted: Wanted) -> NewTexts:
    """Read texts and clean them, as the study's own were read.

    Args:
        source: a file (CSV, TSV, JSON Lines, Parquet, a workbook; packed or not), or - for standard input, which
            holds JSON Lines, or plain text with a dialogue on each line.

    Raises:
        StudyError: the input is missing or broken, lacks a column, or holds no text.
    """
    if source == STANDARD_INPUT:
        return _from_standard_input(wanted)
    path = Path(source)
    if not path.exists():
        raise StudyError(f"{source} is missing; name a file with the dialogues, or - for standard input")
    if not is_data(path):
        raise StudyError(f"{source} is of no known kind: give a .csv, .tsv, .jsonl, .parquet or .xlsx file")
    return _read(path, wanted)


def _from_standard_input(wanted: Wanted) -> NewTexts:
    with tempfile.TemporaryDirectory() as folder:
        kept = Path(folder) / "standard input.jsonl"
        with kept.open("wb") as copy:
            shutil.copyfileobj(sys.stdin.buffer, copy)
        if kept.stat().st_size == 0:
            raise StudyError("standard input is empty")
        try:
            lines = kept.read_text(encoding="utf-8-sig").splitlines()
        except UnicodeDecodeError as error:
            raise StudyError(
                f"standard input is not UTF-8 (byte {error.start + 1}): convert it, or name a file"
            ) from None
        if not next((line for line in lines if line.strip()), "").lstrip().startswith("{"):
            rows = [json.dumps({wanted.text[0]: line}) for line in lines if line.strip()]
            kept.write_text("\n".join(rows) + "\n", encoding="utf-8")
        return _read(kept, wanted)


def _read(path: Path, wanted: Wanted) -> NewTexts:
    """In UTF-8 and of the workbook's only sheet; where that fails, in the encoding and of the sheet of the study."""
    own = wanted.data.source if isinstance(wanted.data.source, FileData) else None
    plain = FileData(path=path.name)
    try:
        return _read_as(path, plain, wanted)
    except StudyError:
        if own is None or (own.encoding, own.sheet) == (plain.encoding, plain.sheet):
            raise
        return _read_as(path, own, wanted)


def _read_as(path: Path, source: FileData, wanted: Wanted) -> NewTexts:
    data, several = wanted.data, wanted.data.several is not None
    found = NewTexts(
        [], [], [] if wanted.identifier else None, [] if wanted.label else None, [], [] if several else None
    )
    for batch in read_other_file(path, wanted.names, source=source):
        for offset in range(len(batch)):
            row = batch.first_row + offset
            try:
                cleaned, _ = clean(text_value([batch.columns[name][offset] for name in wanted.text], data.nulls))
            except ValueError:  # a number or an object
                cleaned = ""
            if not has_words(cleaned):
                found.empty_rows.append(row)
                continue
            found.rows.append(row)
            found.texts.append(cleaned)
            cell = batch.columns[wanted.label][offset] if wanted.label else None
            if found.identifiers is not None:
                found.identifiers.append(batch.columns[str(wanted.identifier)][offset])
            if found.labels is not None:
                found.labels.append("" if several else _label_of(cell, wanted))
            if found.sets is not None:
                found.sets.append(_set_of(cell, wanted, f"{path.name}, row {row}"))
    if not found.texts:
        raise StudyError(f"{path.name} holds no text in {', '.join(wanted.text)}")
    return found


def _label_of(cell: Any, wanted: Wanted) -> str:
    """The label as the study writes it: a code without dots, or its category; what is none of its labels as it is."""
    try:
        written, _ = plain_value(cell, wanted.data.nulls, wanted.as_written)
    except ValueError:
        return str(cell)
    return "" if written is None else _known_as(written, wanted.data)


def _set_of(cell: Any, wanted: Wanted, where: str) -> list[str]:
    several = wanted.data.several
    if cell is None or several is None:
        return []
    try:
        written, _ = label_values(cell, several.separator, wanted.data.nulls, wanted.as_written)
    except ValueError as error:
        raise StudyError(f"{where}: {cell!r} is no set of labels: {error}") from None
    return list(dict.fromkeys(_known_as(each, wanted.data) for each in written))


def _known_as(label: str, data: Data) -> str:
    target, _ = target_of(label, data.labels, data.level)
    return target.label if target else label


def write_as_split(
    path: Path, texts: Sequence[str], labels: Sequence[str] | None, sets: Sequence[Sequence[str]] | None = None
) -> None:
    """Write texts as a split, so that the study's own steps can answer them; a sample's id is its place."""
    ids = [f"{digest_of_text(text)[:8]}{place:08x}" for place, text in enumerate(texts)]
    columns: dict[str, list[Any]] = {name: [""] * len(texts) for name in SCHEMA.names}
    columns |= {"sample_id": ids, "text": list(texts), "label": list(labels or [""] * len(texts))}
    schema = SCHEMA
    if sets is not None:
        schema, columns[LABELS.name] = SCHEMA.append(LABELS), [list(each) for each in sets]
    with replacing(path) as temporary:
        pyarrow.parquet.write_table(pyarrow.table(columns, schema=schema), temporary)
