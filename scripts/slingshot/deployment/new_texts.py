"""Dialogues that a study has never seen: read from a file or standard input, cleaned as the study's own were."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

from slingshot.artifacts.splits import LABELS, SCHEMA
from slingshot.config.data import NULLS, Several
from slingshot.core.errors import StudyError
from slingshot.core.files import replacing
from slingshot.core.hashing import digest_of_text
from slingshot.data.cells import label_values
from slingshot.data.cleaning import clean, has_words
from slingshot.data.formats import is_data
from slingshot.data.readers import read_file

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


def is_split(path: Path) -> bool:
    """Whether a file is a split that prepare_data wrote."""
    if path.suffix != ".parquet" or not path.is_file():
        return False
    return pyarrow.parquet.read_schema(path).names in (SCHEMA.names, [*SCHEMA.names, LABELS.name])


def read_new_texts(
    source: str,
    text: Sequence[str],
    identifier: str | None = None,
    label: str | None = None,
    several: Several | None = None,
) -> NewTexts:
    """Read texts and clean them.

    Args:
        source: a file (CSV, TSV, JSON Lines, Parquet, a workbook; packed or not), or - for standard input, which
            holds JSON Lines, or plain text with a dialogue on each line.
        text: the columns that make up a dialogue, joined by a blank line.
        identifier, label: columns to keep beside it.
        several: how a cell holds a set of labels; None where it holds one label.

    Raises:
        StudyError: the input is missing or broken, lacks a column, or holds no text.
    """
    if source == STANDARD_INPUT:
        return _from_standard_input(text, identifier, label, several)
    path = Path(source)
    if not path.exists():
        raise StudyError(f"{source} is missing; name a file with the dialogues, or - for standard input")
    if not is_data(path):
        raise StudyError(f"{source} is of no known kind: give a .csv, .tsv, .jsonl, .parquet or .xlsx file")
    return _read(path, text, identifier, label, several)


def _from_standard_input(
    text: Sequence[str], identifier: str | None, label: str | None, several: Several | None
) -> NewTexts:
    with tempfile.TemporaryDirectory() as folder:
        kept = Path(folder) / "standard input.jsonl"
        with kept.open("wb") as copy:
            shutil.copyfileobj(sys.stdin.buffer, copy)
        if kept.stat().st_size == 0:
            raise StudyError("standard input is empty")
        lines = kept.read_text(encoding="utf-8").splitlines()
        if not next((line for line in lines if line.strip()), "").lstrip().startswith("{"):
            rows = [json.dumps({text[0]: line}) for line in lines if line.strip()]
            kept.write_text("\n".join(rows) + "\n", encoding="utf-8")
        return _read(kept, text, identifier, label, several)


def _read(
    path: Path, text: Sequence[str], identifier: str | None, label: str | None, several: Several | None
) -> NewTexts:
    names = list(dict.fromkeys([*text, *filter(None, (identifier, label))]))
    found = NewTexts([], [], [] if identifier else None, [] if label else None, [], [] if several else None)
    for batch in read_file(path, names):
        for offset in range(len(batch)):
            row = batch.first_row + offset
            parts = [batch.columns[name][offset] for name in text]
            cleaned, _ = clean("\n\n".join(part for part in parts if isinstance(part, str) and part.strip()))
            if not has_words(cleaned):
                found.empty_rows.append(row)
                continue
            found.rows.append(row)
            found.texts.append(cleaned)
            if found.identifiers is not None:
                found.identifiers.append(batch.columns[str(identifier)][offset])
            if found.labels is not None:
                found.labels.append(str(batch.columns[str(label)][offset] or ""))
            if found.sets is not None and several is not None:
                value = batch.columns[label][offset] if label else []
                found.sets.append(_set_of(value, several, f"{path.name}, row {row}"))
    if not found.texts:
        raise StudyError(f"{path.name} holds no text in {', '.join(text)}")
    return found


def _set_of(value: Any, several: Several, where: str) -> list[str]:
    try:
        return list(dict.fromkeys(label_values(value, several.separator, NULLS)[0]))
    except ValueError as error:
        raise StudyError(f"{where}: {value!r} is no set of labels: {error}") from None


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
