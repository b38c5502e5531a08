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

from slingshot.config.data import Data
from slingshot.data import cleaning as texts
from slingshot.data import icd10, leakage
from slingshot.data import labels as labelling
from slingshot.data.labels import Target
from slingshot.data.near_duplicates import Sketches
from slingshot.data.readers import Batch, Rows

log = logging.getLogger(__name__)

NO_TEXT = "no text"

NOT_TEXT = "text is not a string"

MASKED = "own label blanked in the text"

EXAMPLES = 5

DESCRIPTIONS_A_LABEL = 20

REPORTED_SIMILARITY = 0.8  # of near-duplicates, where the study does not group by them

_BUCKET_BYTES = 32 * 2**20

_MOST_BUCKETS = 256

_ROWS_A_FLUSH = 64

_SECONDS_BETWEEN_LINES = 10

_SPOOL = pyarrow.schema([("row", pyarrow.int64()), ("text", pyarrow.string())])


@dataclass
class Tally:
    """Rows by reason, with a few examples."""

    reasons: dict[str, dict[str, Any]] = field(default_factory=dict)

    def add(self, reason: str, example: str, rows: int = 1) -> None:
        entry = self.reasons.setdefault(reason, {"rows": 0, "examples": []})
        entry["rows"] += rows
        if len(entry["examples"]) < EXAMPLES:
            entry["examples"].append(example)

    @property
    def rows(self) -> int:
        return sum(entry["rows"] for entry in self.reasons.values())


@dataclass
class Intake:
    """What is remembered of the rows that were read: numbers in memory, texts in `spool`, sketches in `sketches`."""

    spool: Spool
    sketches: Sketches
    rows_read: int = 0
    dropped: Tally = field(default_factory=Tally)
    changed: Tally = field(default_factory=Tally)
    targets: dict[Target, int] = field(default_factory=dict)
    descriptions: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    text_hash: array[int] = field(default_factory=lambda: array("Q"))
    sample_hash: array[int] = field(default_factory=lambda: array("Q"))
    group_hash: array[int] = field(default_factory=lambda: array("Q"))  # 0: the row has no group of its own
    target: array[int] = field(default_factory=lambda: array("i"))
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
        if len(self._rows) >= _ROWS_A_FLUSH:
            self._flush()

    def read(self) -> pyarrow.Table:
        """Everything that was added; the file is given up."""
        self._flush()
        self._writer.close()
        self._file.seek(0)
        with self._file, pyarrow.ipc.open_stream(self._file) as stream:
            return stream.read_all()

    def _flush(self) -> None:
        if self._rows:
            self._writer.write_batch(pyarrow.record_batch([self._rows, self._texts], schema=_SPOOL))
            self._rows, self._texts = [], []


def take_in(rows: Rows, data: Data, scratch: Path) -> Intake:
    """Read, clean and remember every row; count those that are dropped or changed."""
    similarity = data.split.near_duplicate_similarity
    sketches = Sketches(scratch, REPORTED_SIMILARITY if similarity is None else similarity)
    taken = Intake(Spool(scratch, rows.size), sketches)
    said = time.monotonic()
    for batch in rows.batches:
        sketches.add([words for words in _take_batch(taken, batch, data) if words])
        if time.monotonic() - said > _SECONDS_BETWEEN_LINES:
            said = time.monotonic()
            log.info("read %s rows, %s dropped", f"{taken.rows_read:,}", f"{taken.dropped.rows:,}")
    return taken


def _take_batch(taken: Intake, batch: Batch, data: Data) -> Iterator[list[str]]:
    """Take a batch in; yields each kept row's words."""
    names = data.columns
    text_columns = [names.text] if isinstance(names.text, str) else names.text
    text_cells = [batch.columns[name.strip()] for name in text_columns]
    label_cells = batch.columns[names.label.strip()]
    empty = [None] * len(batch)
    description_cells = batch.columns[names.description.strip()] if names.description else empty
    group_cells = batch.columns[names.group.strip()] if names.group else empty
    taken.rows_read += len(batch)
    for number in range(len(batch)):
        place = f"{batch.where} row {batch.first_row + number}"
        text, changes = _clean_text([cells[number] for cells in text_cells])
        found = _find_target(label_cells[number], data, changes)
        if text is None or isinstance(found, str):
            reason = found if isinstance(found, str) else changes[0]
            value = f" ({label_cells[number]})" if isinstance(found, str) and label_cells[number] else ""
            taken.dropped.add(reason, f"{place}{value}")
            continue
        description = _one_line(description_cells[number])
        yield _remember(taken, data, text, found, description, group_cells[number], changes)


def _clean_text(cells: list[Any]) -> tuple[str | None, list[str]]:
    """The joined and cleaned text with its changes, or None with the reason."""
    parts = []
    for cell in cells:
        if isinstance(cell, list) and all(isinstance(turn, str) for turn in cell):
            cell = "\n".join(cell)
        if cell is None or cell != cell:  # NaN is what pandas writes for nothing
            continue
        if not isinstance(cell, str):
            return None, [NOT_TEXT]
        if not texts.is_missing(cell):
            parts.append(cell)
    text, changes = texts.clean("\n\n".join(parts))
    return (text, changes) if texts.has_words(text) else (None, [NO_TEXT])


def _find_target(cell: Any, data: Data, changes: list[str]) -> Target | str:
    """A row's target, or the reason why it has none; adds to `changes`."""
    try:
        value, label_changes = labelling.plain_value(cell)
    except ValueError:
        return labelling.SEVERAL
    if value is None or (data.labels == "icd10cm" and texts.is_missing(value)):
        return labelling.NO_LABEL
    target, change = labelling.target(value, data.labels, data.level)
    if target is None:
        return labelling.NOT_IN_CODE_SET
    changes += label_changes + ([change] if change else [])
    return target


def _remember(
    taken: Intake, data: Data, text: str, target: Target, description: str | None, group: Any, changes: list[str]
) -> list[str]:
    """Add a row to what is remembered; returns its words."""
    words = texts.words(text)
    text_hash = hashlib.blake2b(text.encode(), digest_size=8).digest()
    sample = hashlib.blake2b(text_hash + target.label.encode(), digest_size=8).digest()
    number = len(taken)
    if description:
        variants = taken.descriptions[target.label]
        if description in variants or len(variants) < DESCRIPTIONS_A_LABEL:
            variants[description] += 1
    own = {target.code, target.label} if data.level in ("code", "category") else {target.code}
    printed = [code for code in own if leakage.mentions(text, code, data.labels)]
    said = description or (icd10.describe(target.code, "code") if icd10.is_valid(target.code) else None)
    taken.text_hash.append(int.from_bytes(text_hash, "big"))
    taken.sample_hash.append(int.from_bytes(sample, "big"))
    taken.group_hash.append(_group_hash(group))
    taken.target.append(taken.targets.setdefault(target, len(taken.targets)))
    taken.words.append(len(words))
    taken.prints_label.append(bool(printed))
    taken.prints_description.append(bool(said) and leakage.contains_words(words, leakage.phrase(said)))
    if data.mask_label_mentions and printed:
        changes.append(MASKED)
        for code in sorted(printed, key=len, reverse=True):
            text = leakage.mask(text, code, data.labels)
    for change in changes:
        taken.changed.add(change, sample.hex())
    taken.spool.add(number, int.from_bytes(sample, "big"), text)
    return words


def _one_line(cell: Any) -> str | None:
    return " ".join(cell.split()) or None if isinstance(cell, str) else None


def _group_hash(cell: Any) -> int:
    """A hash of a group's name, 0 for none."""
    if cell is None or cell != cell or not str(cell).strip():
        return 0
    return int.from_bytes(hashlib.blake2b(f"group\0{str(cell).strip()}".encode(), digest_size=8).digest(), "big") | 1
