"""Answers of other systems, or of a second human coder, from a file: matched to the test split, read as labels."""

from __future__ import annotations

import logging
import math
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pandas as pd

from slingshot.artifacts.labels import read_labels
from slingshot.artifacts.predictions import Candidate, Prediction, in_one_text, set_fields, write_predictions
from slingshot.artifacts.splits import LABELS, read_split
from slingshot.config.rivals import PredictionColumns
from slingshot.config.specs import ImportPredictionsSpec
from slingshot.core.errors import StudyError
from slingshot.core.terminal import say
from slingshot.data.cells import label_values
from slingshot.data.formats import SUFFIXES, is_data
from slingshot.data.readers import read_other_file
from slingshot.prompting.answers import AnswerReader

log = logging.getLogger(__name__)


def import_file(spec: ImportPredictionsSpec, study: Path, test: Path, labels: Path, predictions: Path) -> None:
    """Write predictions.jsonl of a system that answered elsewhere.

    Raises:
        StudyError: see import_predictions.
    """
    found = imported_answers(spec, study, test, labels)
    if unread := [each for each in found if each.raw and each.code is None]:
        say(
            f"{len(unread)} of {len(found)} answers hold no label of the study and count as wrong, e.g. "
            f"{unread[0].raw[:100]!r} ({unread[0].sample_id})"
        )
    if blank := [each for each in found if not each.raw and each.code is None]:
        say(
            f"{len(blank)} of {len(found)} answers are empty or missing and count as wrong, "
            f"e.g. that to {blank[0].sample_id}"
        )
    write_predictions(predictions, found)


def imported_answers(spec: ImportPredictionsSpec, study: Path, test: Path, labels: Path) -> list[Prediction]:
    """`import_predictions` of a split and labels in files."""
    columns = ("sample_id", "text", "label", *([LABELS.name] if spec.several else []))
    return import_predictions(spec, study, read_split(test, columns), [each.label for each in read_labels(labels)])


def import_predictions(
    spec: ImportPredictionsSpec, study: Path, test: pd.DataFrame, labels: Collection[str]
) -> list[Prediction]:
    """A prediction per test sample, in the order of the split.

    Raises:
        StudyError: the file cannot be read, answers one sample in two ways, or leaves one out that it must not.
    """
    rows = _read(study / spec.file, spec.columns, spec.several)
    by_id = spec.columns.sample_id is not None
    keys = test["sample_id"].tolist() if by_id else [_words(text) for text in test["text"]]
    missing = [key for key in keys if key not in rows]
    if len(missing) == len(keys):
        what = "sample_id of the test split" if by_id else "text of the test split"
        raise StudyError(f"{spec.file} answers no {what}: check its columns (results/data/test.parquet has both)")
    if missing and not spec.allow_missing:
        raise StudyError(
            f"{spec.file} answers {len(keys) - len(missing)} of {len(keys)} test samples; the first without an answer "
            f"is {test['sample_id'].iloc[keys.index(missing[0])]}: add it, or set allow_missing: true, so that it "
            "counts as wrong"
        )
    log.info("%s: %d of %d test samples answered", spec.file, len(keys) - len(missing), len(keys))
    reader = AnswerReader(labels, spec.labels, spec.level)
    if spec.several:
        truths = [list(map(str, each)) for each in test[LABELS.name]]
        return [
            _set_prediction(reader, sample_id, truth, rows.get(key))
            for sample_id, truth, key in zip(test["sample_id"], truths, keys, strict=True)
        ]
    return [
        _prediction(reader, sample_id, label, rows.get(key, ("", [])))
        for sample_id, label, key in zip(test["sample_id"], test["label"], keys, strict=True)
    ]


GivenAnswer = tuple[Any, list[tuple[str, float | None]]]  # the answer as written, of sets a list; and the candidates


def _read(path: Path, columns: PredictionColumns, several: bool) -> dict[str, GivenAnswer]:
    """Sample id or text to the answer as written and the candidates, each with its probability where it has one."""
    names = columns.names
    rows: dict[str, GivenAnswer] = {}
    if not is_data(path):
        hint = ": write one object per line (jq -c '.[]') and name it .jsonl" if path.suffix == ".json" else ""
        raise StudyError(f"{path.name} must end in {', '.join(SUFFIXES)}, which may be packed{hint}")
    for batch in read_other_file(path, names):
        for index in range(len(batch)):
            written = {name: batch.columns[name][index] for name in names}
            where = f"{path.name}, row {batch.first_row + index}"
            key = _text(written[columns.key])
            key = key if columns.sample_id else _words(key)
            answer = written[columns.answer]
            labels = _parts(answer, columns.separator, where) if several else _text(answer)
            row = labels, _candidates(written.get(columns.candidates or ""), where)
            if rows.setdefault(key, row) != row:
                raise StudyError(f"{where} answers a sample again, and in another way: keep one of the two answers")
    return rows


def _text(value: Any) -> str:
    empty = value is None or (isinstance(value, float) and math.isnan(value))
    return "" if empty else str(value).strip()


def _parts(value: Any, separator: str, where: str) -> list[str]:
    """The answers of a list, or of a text that a separator parts; none of an empty cell."""
    if not isinstance(value, list | tuple) and not _text(value):
        return []
    try:
        return label_values(value, separator)[0]
    except ValueError as error:
        raise StudyError(f"{where}: the answer {value!r} is no list of codes ({error})") from None


def _words(text: str) -> str:
    """A text without what cleaning may have changed in its blanks."""
    return " ".join(text.split())


def _candidates(value: Any, where: str) -> list[tuple[str, float | None]]:
    """`A047 B08:0.2` as pairs of an answer and its probability."""
    parts = [_text(part) for part in value] if isinstance(value, list) else _text(value).split()
    found: list[tuple[str, float | None]] = []
    for part in filter(None, parts):
        answer, colon, probability = part.rpartition(":")
        if not colon:
            found.append((part, None))
            continue
        try:
            share = float(probability)
        except ValueError:
            share = -1.0
        if not 0 <= share <= 1:
            raise StudyError(f"{where}: the candidate {part!r} must be CODE or CODE:PROBABILITY, from 0 to 1")
        found.append((answer, share))
    return found


def _prediction(reader: AnswerReader, sample_id: str, label: str, row: GivenAnswer) -> Prediction:
    raw, others = row
    return Prediction(
        sample_id=sample_id,
        label=label,
        raw=raw,
        code=reader.read(raw) if raw else None,
        candidates=_ranked(reader, others),
        prompt_tokens=0,
        new_tokens=0,
    )


def _set_prediction(reader: AnswerReader, sample_id: str, truth: list[str], row: GivenAnswer | None) -> Prediction:
    """An empty cell is an empty set; without a row, or where nothing written can be read, there is no answer."""
    written, others = row or ([], [])
    codes = list(dict.fromkeys(code for part in written if (code := reader.read(part)) is not None))
    return Prediction(
        sample_id=sample_id,
        raw=in_one_text(written) or "",
        **set_fields(truth, codes if codes or (row and not written) else None),
        candidates=_ranked(reader, others),
        prompt_tokens=0,
        new_tokens=0,
    )


def _ranked(reader: AnswerReader, others: list[tuple[str, float | None]]) -> list[Candidate]:
    """Candidates that no label can be read from, or that have no probability, are left out."""
    candidates: dict[str, float] = {}
    for answer, share in others:
        code = reader.read(answer)
        if code is not None and share:
            candidates.setdefault(code, math.log(share))
    ordered = sorted(candidates.items(), key=lambda each: -each[1])
    return [Candidate(code=code, log_probability=value) for code, value in ordered]
