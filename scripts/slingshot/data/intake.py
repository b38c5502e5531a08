"""The first pass over the data: read, clean and check each row, count what was dropped or changed."""

from __future__ import annotations

import hashlib
import logging
import tempfile
import time
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import pyarrow.parquet

from slingshot.artifacts.splits import SPLITS
from slingshot.config.data import SPLIT_NAMES, Data
from slingshot.data import cleaning as texts
from slingshot.data import foreign_codes, leakage
from slingshot.data import labels as labelling
from slingshot.data.cells import (
    FROM_FLOAT,
    description_value,
    group_value,
    label_values,
    plain_value,
    shown,
    text_value,
)
from slingshot.data.code_trees import tree_of
from slingshot.data.decimals import LOST_ZEROS, has_decimals, zeros_are_lost
from slingshot.data.labels import Target
from slingshot.data.near_duplicates import Sketches
from slingshot.data.tables import Batch, Rows

log = logging.getLogger(__name__)

NO_TEXT = "no text"

NO_SPLIT = "no split, or one that split.values does not name"

BAD_GROUP = "group is an object or bytes that are not UTF-8"

LEFT_OUT = "label left out of a set"

MASKED = "own label blanked in the text"

CLOSING_TURN = "closing turn that states the label dropped"

EXAMPLES = 5

DESCRIPTIONS_PER_LABEL = 20

REPORTED_SIMILARITY = 0.8  # of near-duplicates, where the study does not group by them

_EXCERPT = 240  # characters of a changed text that the data page shows

_BUCKET_BYTES = 32 * 2**20

_MOST_BUCKETS = 256

_ROWS_PER_FLUSH = 64

_SECONDS_BETWEEN_LINES = 10

_SPOOL = pyarrow.schema([("row", pyarrow.int64()), ("text", pyarrow.string())])


@dataclass
class Tally:
    """Rows by reason, with a few examples; and for the data page what these rows had before and have now."""

    reasons: dict[str, dict[str, Any]] = field(default_factory=dict)
    excerpts: dict[str, list[dict[str, str]]] = field(default_factory=dict)

    def add(self, reason: str, example: str, rows: int = 1) -> bool:
        """Count rows; returns whether the example was kept."""
        entry = self.reasons.setdefault(reason, {"rows": 0, "examples": []})
        entry["rows"] += rows
        if len(entry["examples"]) >= EXAMPLES:
            return False
        entry["examples"].append(example)
        return True

    def show(self, reason: str, where: str, before: str, after: str) -> None:
        self.excerpts.setdefault(reason, []).append({"where": where, "before": before, "after": after})

    @property
    def rows(self) -> int:
        return sum(entry["rows"] for entry in self.reasons.values())


@dataclass
class Intake:
    """What is remembered of the rows that were read: numbers in memory, texts in `spool`, sketches in `sketches`."""

    spool: Spool
    sketches: Sketches
    first_text: int = 0  # of the sketches, where several sources share them
    as_written: bool = False  # labels keep their `.0`
    whole_numbers: bool = False  # some label had a `.0` that was taken away, or is kept as a number
    decimals: bool = False  # some label is a number with decimals
    rows_read: int = 0
    may_be_icd9: int = 0  # rows whose code is ICD-10-CM's, but could be ICD-9-CM's
    dropped: Tally = field(default_factory=Tally)
    changed: Tally = field(default_factory=Tally)
    targets: dict[Target, int] = field(default_factory=dict)
    descriptions: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    text_hash: array[int] = field(default_factory=lambda: array("Q"))
    sample_hash: array[int] = field(default_factory=lambda: array("Q"))
    group_hash: array[int] = field(default_factory=lambda: array("Q"))  # 0: the row has no group of its own
    target: array[int] = field(default_factory=lambda: array("i"))
    part: array[int] = field(default_factory=lambda: array("b"))  # the split that the source gives; -1: none
    words: array[int] = field(default_factory=lambda: array("i"))
    prints_label: array[int] = field(default_factory=lambda: array("b"))
    prints_description: array[int] = field(default_factory=lambda: array("b"))

    def __len__(self) -> int:
        return len(self.target)


class Spool:
    """Texts waiting in unnamed files, parted by the leading bits of their sample's hash."""

    def __init__(self, folder: Path, size: int) -> None:
        count = min(max(size // _BUCKET_BYTES, 1), _MOST_BUCKETS)
        self._shift = 64 - (int(count) - 1).bit_length()
        self._buckets = [Bucket(folder) for _ in range(1 << (64 - self._shift))]

    def add(self, row: int, sample_hash: int, text: str) -> None:
        self._buckets[sample_hash >> self._shift].add(row, text)

    def buckets(self) -> Iterator[pyarrow.Table]:
        """Each bucket's rows, in the order of the hashes' leading bits."""
        for bucket in self._buckets:
            yield bucket.read()


class Bucket:
    """One unnamed file of (row, text)."""

    def __init__(self, folder: Path) -> None:
        self._file: IO[bytes] = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 (lives as long as the bucket)
        self._writer = pyarrow.ipc.new_stream(self._file, _SPOOL)
        self._rows: list[int] = []
        self._texts: list[str] = []

    def add(self, row: int, text: str) -> None:
        self._rows.append(row)
        self._texts.append(text)
        if len(self._rows) >= _ROWS_PER_FLUSH:
            self._flush()

    def read(self) -> pyarrow.Table:
        """Everything that was added; closes the file."""
        self._flush()
        self._writer.close()
        self._file.seek(0)
        with self._file, pyarrow.ipc.open_stream(self._file) as stream:
            return stream.read_all()

    def _flush(self) -> None:
        if self._rows:
            self._writer.write_batch(pyarrow.record_batch([self._rows, self._texts], schema=_SPOOL))
            self._rows, self._texts = [], []


def take_in(
    rows: Rows, data: Data, scratch: Path, sketches: Sketches | None = None, as_written: bool = False
) -> Intake:
    """Read, clean and remember every row; count those that are dropped or changed.

    Args:
        sketches: of an earlier source, to be continued, so that near-duplicates are found between the two
        as_written: `401.0` is no whole number, as other labels have decimals
    """
    similarity = data.split.near_duplicate_similarity
    sketches = sketches or Sketches(scratch, REPORTED_SIMILARITY if similarity is None else similarity)
    taken = Intake(Spool(scratch, rows.size), sketches, sketches.texts, as_written)
    logged = time.monotonic()
    for batch in rows.batches:
        sketches.add([words for words in _take_batch(taken, batch, data) if words])
        if time.monotonic() - logged > _SECONDS_BETWEEN_LINES:
            logged = time.monotonic()
            log.info("read %s rows, %s dropped", f"{taken.rows_read:,}", f"{taken.dropped.rows:,}")
    return taken


@dataclass
class Row:
    """A row on its way in: what was found, what was changed for it, or why it is dropped."""

    text: str = ""
    target: Target | None = None
    description: str | None = None
    group: str | None = None
    part: int = -1
    where: str = ""
    raw_text: str = ""
    raw_label: str = ""
    changes: list[str] = field(default_factory=list)


def _take_batch(taken: Intake, batch: Batch, data: Data) -> Iterator[list[str]]:
    """Take a batch in; yields each kept row's words."""
    names = data.columns
    text_columns = [names.text] if isinstance(names.text, str) else names.text
    text_cells = [batch.columns[name.strip()] for name in text_columns]
    label_cells = batch.columns[names.label.strip()]
    empty = [None] * len(batch)
    description_cells = batch.columns[names.description.strip()] if names.description else empty
    group_cells = batch.columns[names.group.strip()] if names.group else empty
    split_cells = batch.columns[names.split.strip()] if names.split else [batch.part] * len(batch)
    taken.rows_read += len(batch)
    for number in range(len(batch)):
        row = Row(where=f"{batch.where} row {batch.first_row + number}")
        label = label_cells[number]
        reason = (
            _clean_text(row, [cells[number] for cells in text_cells], data)
            or _find_target(row, label, data, taken)
            or _find_group(row, group_cells[number], data)
            or (_find_part(row, split_cells[number], data) if data.split.given else None)
        )
        if reason is not None:
            of_label = row.text and not row.target
            cell = label if of_label else split_cells[number] if reason == NO_SPLIT else None
            written = "" if cell is None else shown(cell, looks_plain=bool(of_label) and data.labels != "plain")
            value = f" ({written})" if written else ""
            taken.dropped.add(reason, f"{row.where}{value}")
            continue
        row.description, changes = description_value(description_cells[number], data.nulls)
        row.changes += changes
        yield _remember(taken, data, row)


def _clean_text(row: Row, cells: list[Any], data: Data) -> str | None:
    """Join and clean the text; returns the reason where there is none."""
    try:
        row.raw_text = text_value(cells, data.nulls)
    except ValueError as error:
        return str(error)
    text, row.changes = texts.clean(row.raw_text)
    if not texts.has_words(text):
        return NO_TEXT
    row.text = text
    return None


def _find_target(row: Row, cell: Any, data: Data, taken: Intake) -> str | None:
    """Find what the label stands for; returns the reason where it stands for nothing."""
    if data.several is not None:
        return _find_targets(row, cell, data, taken)
    try:
        value, changes = plain_value(cell, data.nulls, taken.as_written)
    except ValueError as error:
        return str(error)
    if value is None:
        return labelling.NO_LABEL
    row.raw_label = str(cell)
    _see_numbers(taken, [value], isinstance(cell, int) or FROM_FLOAT in changes)
    if (taken.as_written or has_decimals(value)) and zeros_are_lost(cell, data.labels):
        return LOST_ZEROS
    row.target, change = labelling.target_of(value, data.labels, data.level)
    if row.target is None:
        return change
    row.changes += changes + ([change] if change else [])
    return None


def _see_numbers(taken: Intake, values: list[str], whole: bool) -> None:
    """Remember whether whole numbers and numbers with decimals are among the labels: then `.0` means something."""
    taken.whole_numbers |= whole
    taken.decimals |= any(map(has_decimals, values))


def _find_targets(row: Row, cell: Any, data: Data, taken: Intake) -> str | None:
    """Find the set that a cell stands for. A label that stands for nothing is left out and counted."""
    assert data.several is not None
    row.raw_label = str(cell)
    try:
        values, changes = label_values(cell, data.several.separator, data.nulls, taken.as_written)
    except ValueError as error:
        return str(error)
    _see_numbers(taken, values, FROM_FLOAT in changes)
    if not values and not data.several.allow_empty:
        return labelling.NO_LABEL
    row.target, more, left_out = labelling.target_of_set(values, data.labels, data.level)
    if left_out and not row.target.single:
        row.target = None
        return left_out[0]
    row.changes += changes + more + [f"{LEFT_OUT}: {reason}" for reason in dict.fromkeys(left_out)]
    return None


def _find_group(row: Row, cell: Any, data: Data) -> str | None:
    try:
        row.group, changes = group_value(cell, data.nulls)
    except ValueError:
        return BAD_GROUP
    row.changes += changes
    return None


def _find_part(row: Row, cell: Any, data: Data) -> str | None:
    """Find which split the source gives the row; returns the reason where it gives none."""
    try:
        name = plain_value(cell)[0] or ""
    except ValueError:
        return NO_SPLIT
    split = data.split.values.get(name) or (None if data.split.values else SPLIT_NAMES.get(name.casefold()))
    if split is None:
        return NO_SPLIT
    row.part = SPLITS.index(split)
    return None


def _remember(taken: Intake, data: Data, row: Row) -> list[str]:
    """Add a row to what is remembered; returns its words."""
    target, tree = row.target, tree_of(data.labels)
    assert target is not None
    by_label = data.level in ("code", "category")
    own = {name for each in target.single for name in ((each.code, each.label) if by_label else (each.code,))}
    # Of a set no description is known to be whose.
    description = row.description if target.members is None else None
    if description is None and tree is not None:
        texts_of = [tree.describe(each.code, "code") for each in target.single if tree.is_valid(each.code)]
        description = texts_of[0] if len(texts_of) == 1 else None
    phrase = leakage.phrase(description) if description else None
    if data.drop_closing_turn:
        cut = leakage.without_closing_turn(
            row.text,
            lambda turn: (
                any(leakage.mentions(turn, code, data.labels) for code in own)
                or (phrase is not None and leakage.contains_words(texts.words(turn), phrase))
            ),
        )
        row.changes += [CLOSING_TURN] if cut != row.text else []
        row.text = cut
    words = texts.words(row.text)
    text_hash = hashlib.blake2b(row.text.encode(), digest_size=8).digest()
    sample = hashlib.blake2b(text_hash + target.key.encode(), digest_size=8).digest()
    printed = [code for code in own if leakage.mentions(row.text, code, data.labels)]
    taken.text_hash.append(int.from_bytes(text_hash, "big"))
    taken.sample_hash.append(int.from_bytes(sample, "big"))
    taken.group_hash.append(_group_hash(row.group))
    taken.part.append(row.part)
    taken.words.append(len(words))
    taken.prints_label.append(bool(printed))
    taken.prints_description.append(phrase is not None and leakage.contains_words(words, phrase))
    if data.mask_label_mentions and printed:
        row.changes.append(MASKED)
        for code in sorted(printed, key=len, reverse=True):
            row.text = leakage.mask(row.text, code, data.labels)
    for change in row.changes:
        if taken.changed.add(change, sample.hex()):
            before, after = first_difference(row.raw_text, row.text)
            if row.raw_label != target.label:
                before, after = f"[{shown(row.raw_label)}] {before}", f"[{target.label}] {after}"
            taken.changed.show(change, row.where, before, after)
    taken.may_be_icd9 += data.labels == "icd10cm" and any(
        foreign_codes.may_be_icd9(each.code) for each in target.single
    )
    taken.spool.add(len(taken), int.from_bytes(sample, "big"), row.text)
    _remember_target(taken, target, row.description)
    return words


def _remember_target(taken: Intake, target: Target, description: str | None) -> None:
    if description and target.members is None:
        variants = taken.descriptions[target.label]
        if description in variants or len(variants) < DESCRIPTIONS_PER_LABEL:
            variants[description] += 1
    taken.target.append(taken.targets.setdefault(target, len(taken.targets)))


def _group_hash(name: str | None) -> int:
    """A hash of a group's name, 0 for none."""
    if name is None:
        return 0
    return int.from_bytes(hashlib.blake2b(f"group\0{name}".encode(), digest_size=8).digest(), "big") | 1


def first_difference(before: str, after: str) -> tuple[str, str]:
    """Both texts around the first place where they differ; what can't be seen is escaped."""
    same = next(
        (n for n, (a, b) in enumerate(zip(before, after, strict=False)) if a != b), min(len(before), len(after))
    )
    start = max(0, same - _EXCERPT // 4)
    cut = [
        f"{'…' if start else ''}{text[start : start + _EXCERPT]}{'…' if len(text) > start + _EXCERPT else ''}"
        for text in (before, after)
    ]
    return "\n".join(map(shown, cut[0].split("\n"))), cut[1]
