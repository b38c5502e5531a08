"""From a source to the study's three splits: cleaned, deduplicated, grouped, dealt, counted.

Rows pass through once, a batch at a time; their cleaned texts wait in unnamed files, a few numbers a row stay in
memory. Then duplicates, twins and splits are worked out on the numbers, and the texts are written out in the order
of their sample ids. So neither the result nor the memory depends on the order of the rows.

A sample is a text with its label; `sample_id` is a hash of both. The same text with the same label is one sample,
the later ones are dropped and counted. The same text with different labels stays as several samples (a sentence may
well hold two diagnoses), always in one group, and is counted as ambiguous.
"""

from __future__ import annotations

import hashlib
import logging
import tempfile
import time
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence, Set
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow
import pyarrow.parquet
from numpy.typing import NDArray
from pandas import DataFrame

from slingshot import icd10, leakage, texts
from slingshot import labels as labelling
from slingshot.config import Data, PrepareDataSpec
from slingshot.errors import StudyError
from slingshot.files import replacing, write_json
from slingshot.labels import Label, Target
from slingshot.near_duplicates import Sketches, merge
from slingshot.provenance import versions
from slingshot.readers import Batch, Rows, read_rows
from slingshot.splits import SPLITS, deal, stratified_order

log = logging.getLogger(__name__)

NO_TEXT = "no text"
NOT_TEXT = "text is not a string"
DUPLICATE = "same text and label as another row"
MASKED = "own label blanked in the text"

EXAMPLES = 5
DESCRIPTIONS_A_LABEL = 20
REPORTED_SIMILARITY = 0.8  # of near-duplicates, where the study does not group by them
UNSEEN_NAMED = 50
ROWS_A_GROUP = 8192
_BUCKET_BYTES = 32 * 2**20
_MOST_BUCKETS = 256
_ROWS_A_FLUSH = 64
_SECONDS_BETWEEN_LINES = 10

SCHEMA = pyarrow.schema(
    [
        (name, pyarrow.string())
        for name in ("sample_id", "text", "label", "description", "category", "block", "chapter", "code", "group")
    ]
)
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


@dataclass(frozen=True)
class Plan:
    """What becomes of the rows taken in: n samples, in the order of their ids."""

    row: NDArray[np.int64]
    sample: NDArray[np.uint64]
    label: NDArray[np.int64]
    group: NDArray[np.uint64]
    twins: NDArray[np.int64]  # the near-duplicate cluster of the text
    split: NDArray[np.int8]  # -1 where max_samples leaves a sample out
    several_labels: dict[str, Any]


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


def prepare(spec: PrepareDataSpec, study: Path, outputs: dict[str, Path]) -> dict[str, Any]:
    """Write the splits, the label set and dataset.json, all or none.

    Args:
        spec: the study's data section
        study: folder that local sources are relative to
        outputs: paths of train, validation, test, labels and dataset

    Returns:
        what dataset.json holds

    Raises:
        StudyError: the source cannot be read, or what is left of it makes no study.
    """
    data = spec.data
    rows = read_rows(data.source, data.columns, study)
    scratch = outputs["dataset"].parent
    scratch.mkdir(parents=True, exist_ok=True)
    taken = take_in(rows, data, scratch)
    refuse_losses(taken, data)
    plan = make_plan(taken, data)
    labels = label_set(taken, plan, data)
    report = describe(spec, rows, taken, plan, labels)
    with ExitStack() as stack:
        temporary = {name: stack.enter_context(replacing(path)) for name, path in outputs.items()}
        write_splits(taken, plan, labels, {name: temporary[name] for name in SPLITS})
        labelling.write_labels(temporary["labels"], labels)
        write_json(temporary["dataset"], report)
    return report


# ---------------------------------------------------------------- one pass over the rows


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


def refuse_losses(taken: Intake, data: Data) -> None:
    """Stop where too much was dropped.

    Raises:
        StudyError: names each reason, its rows and an example.
    """
    dropped = taken.dropped.rows
    if not taken.rows_read:
        raise StudyError("data.source holds no rows")
    if dropped <= data.max_dropped_share * taken.rows_read and len(taken):
        return
    reasons = "; ".join(
        f"{entry['rows']} for {reason!r}, e.g. {entry['examples'][0]}"
        for reason, entry in taken.dropped.reasons.items()
    )
    hint = "mend the source, or raise data.max_dropped_share"
    if labelling.NOT_IN_CODE_SET in taken.dropped.reasons:
        hint += f" (codes are checked against {icd10.code_set_version()}; other labels need data.labels: plain)"
    raise StudyError(
        f"{dropped} of {taken.rows_read} rows would be dropped, more than data.max_dropped_share = "
        f"{data.max_dropped_share:g} allows: {reasons}; {hint}"
    )


# ---------------------------------------------------------------- duplicates, groups, splits


def make_plan(taken: Intake, data: Data) -> Plan:
    """Work out samples, groups and splits on the remembered numbers alone."""
    targets = sorted(taken.targets, key=lambda target: (target.label, target.code))
    rank = np.empty(len(targets), np.int64)
    rank[[taken.targets[target] for target in targets]] = np.arange(len(targets))
    names = sorted({target.label for target in targets})
    label_of_rank = np.searchsorted(names, [target.label for target in targets])
    target = rank[np.frombuffer(taken.target, np.int32)]
    text, sample = np.frombuffer(taken.text_hash, np.uint64), np.frombuffer(taken.sample_hash, np.uint64)

    # A text's twins and its rows' groups bind all rows of the text, dropped duplicates included.
    unique_text, first_row, text_number = np.unique(text, return_index=True, return_inverse=True)
    twins = taken.sketches.clusters(first_row, unique_text)
    groups = _join_groups(text_number, twins, np.frombuffer(taken.group_hash, np.uint64), data)
    group_key = _group_keys(groups[text_number], text, np.frombuffer(taken.group_hash, np.uint64), len(unique_text))

    order = np.lexsort((target, sample))  # of duplicates the one of the least code stays, whatever its place
    kept = np.r_[True, sample[order][1:] != sample[order][:-1]]
    _count_duplicates(taken, sample[order], kept)
    refuse_losses(taken, data)
    row = order[kept]
    label, group = label_of_rank[target[row]], groups[text_number[row]]
    split = deal(data.split, group_key[group], label, group)
    _refuse_no_study(names, label, split, data)
    return Plan(
        row=row,
        sample=sample[row],
        label=label,
        group=group_key[group],
        twins=twins[text_number[row]],
        split=_take_part(split, sample[row], label, data),
        several_labels=_ambiguous(text_number[row], sample[row]),
    )


def _join_groups(
    text_number: NDArray[np.int64], twins: NDArray[np.int64], group_hash: NDArray[np.uint64], data: Data
) -> NDArray[np.int64]:
    """The group of each text: what shares a group's name or (if the study says so) is nearly the same."""
    count = len(twins)
    groups = np.arange(count) if data.split.near_duplicate_similarity is None else twins
    named = np.flatnonzero(group_hash)
    if not len(named):
        return groups
    _, first, name = np.unique(group_hash[named], return_index=True, return_inverse=True)
    return merge(groups, text_number[named], text_number[named][first][name])


def _group_keys(
    group: NDArray[np.int64], text: NDArray[np.uint64], group_hash: NDArray[np.uint64], count: int
) -> NDArray[np.uint64]:
    """A key a group that depends on its content alone: the least hash of its names, or else of its texts."""
    keys = np.full(count, np.iinfo(np.uint64).max)
    np.minimum.at(keys, group, np.where(group_hash == 0, text, group_hash))
    return keys


def _count_duplicates(taken: Intake, ordered: NDArray[np.uint64], kept: NDArray[np.bool_]) -> None:
    again = ordered[~kept]
    if len(again):
        for sample in again[:EXAMPLES]:
            taken.dropped.add(DUPLICATE, _identity(sample), rows=0)
        taken.dropped.reasons[DUPLICATE]["rows"] = len(again)


def _ambiguous(text_number: NDArray[np.int64], sample: NDArray[np.uint64]) -> dict[str, Any]:
    """Texts that stand there with different labels: nothing can tell these apart."""
    _, number, count = np.unique(text_number, return_inverse=True, return_counts=True)
    several = count[number] > 1
    return {
        "texts": int((count > 1).sum()),
        "samples": int(several.sum()),
        "examples": [_identity(value) for value in sample[several][:EXAMPLES]],
    }


def _refuse_no_study(names: list[str], label: NDArray[np.int64], split: NDArray[np.int8], data: Data) -> None:
    """Stop where nothing can be learned or measured.

    Raises:
        StudyError: one label only, fewer samples than labels, or an empty split.
    """
    column = data.columns.label
    if len(names) == 1:
        raise StudyError(f"data.columns.label: {column!r} holds one label only ({names[0]}); a study needs two or more")
    counts = np.bincount(split, minlength=len(SPLITS))
    if counts[0] < len(names):
        raise StudyError(
            f"data.columns.label: {column!r} holds {len(names)} labels in {len(label)} samples, {counts[0]} of them in "
            "train, so most labels would never be seen twice; is it the right column, or is a higher data.level meant?"
        )
    for name, count in zip(SPLITS, counts, strict=True):
        if not count and getattr(data.split, name):
            raise StudyError(
                f"data.split.{name}: {getattr(data.split, name):g} of {len(label)} samples gives an empty split; "
                "raise the share, or check data.columns.group and near_duplicate_similarity if all is one group"
            )


def _take_part(
    split: NDArray[np.int8], sample: NDArray[np.uint64], label: NDArray[np.int64], data: Data
) -> NDArray[np.int8]:
    """Leave out what max_samples does not ask for."""
    result = split.copy()
    for number, name in enumerate(SPLITS):
        most = getattr(data.max_samples, name)
        if most is not None:
            members = np.flatnonzero(split == number)
            order = stratified_order(sample[members], label[members], data.split.seed)
            result[members[order[most:]]] = -1
    return result


def _identity(sample: np.uint64) -> str:
    return f"{int(sample):016x}"


# ---------------------------------------------------------------- outputs


def label_set(taken: Intake, plan: Plan, data: Data) -> list[Label]:
    """The study's labels, sorted. max_samples does not change it, only the counts."""
    by_name = {target.label: target for target in sorted(taken.targets, key=lambda t: t.code, reverse=True)}
    names = sorted(by_name)
    in_train = np.bincount(plan.label[plan.split == 0], minlength=len(names))
    return [
        labelling.label_of(by_name[name], data.labels, data.level, _description(taken, name), int(count))
        for name, count in zip(names, in_train, strict=True)
    ]


def _description(taken: Intake, label: str) -> str | None:
    """The commonest description of a label in the data."""
    variants = taken.descriptions.get(label)
    return min(variants, key=lambda text: (-variants[text], text)) if variants else None


def write_splits(taken: Intake, plan: Plan, labels: list[Label], paths: dict[str, Path]) -> None:
    """Write each split as Parquet, in the order of the sample ids."""
    place = np.full(len(taken), -1)
    place[plan.row] = np.arange(len(plan.row))
    targets = list(taken.targets)
    target = np.frombuffer(taken.target, np.int32)
    with ExitStack() as stack:
        writers = [SplitWriter(paths[name], stack) for name in SPLITS]
        for bucket in taken.spool.buckets():
            samples = place[bucket["row"].to_numpy()]
            chosen = np.flatnonzero((samples >= 0) & (plan.split[samples] >= 0))
            chosen = chosen[np.argsort(samples[chosen])]
            for start in range(0, len(chosen), ROWS_A_GROUP):
                part = chosen[start : start + ROWS_A_GROUP]
                rows = bucket["text"].take(pyarrow.array(part)).to_pylist()
                for text, sample in zip(rows, samples[part], strict=True):
                    own = targets[target[plan.row[sample]]]
                    label = labels[plan.label[sample]]
                    writers[plan.split[sample]].add(
                        (
                            _identity(plan.sample[sample]),
                            text,
                            own.label,
                            label.description,
                            own.category,
                            own.block,
                            own.chapter,
                            own.code,
                            _identity(plan.group[sample]),
                        )
                    )
        for writer in writers:
            writer.flush()


class SplitWriter:
    """Collects rows of a split and writes them a row group at a time."""

    def __init__(self, path: Path, stack: ExitStack) -> None:
        self._writer = stack.enter_context(pyarrow.parquet.ParquetWriter(path, SCHEMA, compression="zstd"))
        self._rows: list[tuple[str | None, ...]] = []

    def add(self, row: tuple[str | None, ...]) -> None:
        self._rows.append(row)
        if len(self._rows) >= ROWS_A_GROUP:
            self.flush()

    def flush(self) -> None:
        columns = list(zip(*self._rows, strict=True)) if self._rows else [()] * len(SCHEMA)
        arrays = [pyarrow.array(column, pyarrow.string()) for column in columns]
        self._writer.write_table(pyarrow.Table.from_arrays(arrays, schema=SCHEMA))
        self._rows = []


def describe(spec: PrepareDataSpec, rows: Rows, taken: Intake, plan: Plan, labels: list[Label]) -> dict[str, Any]:
    """What dataset.json holds: where the samples come from, what was dropped and changed, what leaks."""
    data = spec.data
    written = plan.split >= 0
    digest = hashlib.sha256(plan.sample[written].tobytes() + plan.split[written].tobytes()).hexdigest()
    return {
        "source": rows.origin,
        "digest": digest,
        "spec": spec.model_dump(mode="json"),
        "versions": versions(),
        "code_set": icd10.code_set_version() if data.labels == "icd10cm" else None,
        "rows": {
            "read": taken.rows_read,
            "dropped": taken.dropped.rows,
            "samples": len(plan.row),
            "left_out_by_max_samples": int((~written).sum()),
        },
        "dropped": taken.dropped.reasons,
        "changed": taken.changed.reasons,
        "same_text_different_labels": plan.several_labels,
        "labels": {
            "system": data.labels,
            "level": data.level,
            "count": len(labels),
            "not_billable": sum(label.billable is False for label in labels),
            "with_several_descriptions": sum(len(variants) > 1 for variants in taken.descriptions.values()),
        },
        "groups": _groups(taken, plan),
        "splits": {name: _split(taken, plan, labels, number) for number, name in enumerate(SPLITS)},
        "leakage": _leakage(taken, plan, labels, data),
    }


def _groups(taken: Intake, plan: Plan) -> dict[str, int]:
    _, sizes = np.unique(plan.group, return_counts=True)
    text = np.frombuffer(taken.text_hash, np.uint64)[plan.row]
    _, first = np.unique(text, return_index=True)
    _, twins = np.unique(plan.twins[first], return_counts=True)
    return {
        "count": len(sizes),
        "largest": int(sizes.max()),
        "texts": len(first),
        "near_duplicate_clusters": int((twins > 1).sum()),
        "texts_in_near_duplicate_clusters": int(twins[twins > 1].sum()),
    }


def _split(taken: Intake, plan: Plan, labels: list[Label], number: int) -> dict[str, Any]:
    members = plan.split == number
    counts = np.bincount(plan.label[members], minlength=len(labels))
    words = np.frombuffer(taken.words, np.int32)[plan.row[members]]
    return {
        "samples": int(members.sum()),
        "groups": len(np.unique(plan.group[members])),
        "labels": int((counts > 0).sum()),
        "label_counts": {label.label: int(count) for label, count in zip(labels, counts, strict=True) if count},
        "words": leakage.lengths(words),
    }


def _leakage(taken: Intake, plan: Plan, labels: list[Label], data: Data) -> dict[str, Any]:
    text = np.frombuffer(taken.text_hash, np.uint64)[plan.row]
    exact, near = leakage.overlap(plan.split, text, plan.twins)
    return {
        "exact_duplicates": exact,
        "near_duplicates": near,
        "near_duplicate_similarity": taken.sketches.similarity,
        "grouped_by_near_duplicates": data.split.near_duplicate_similarity is not None,
        "prints_own_label": _shares(taken.prints_label, plan),
        "prints_own_description": _shares(taken.prints_description, plan),
        "labels_masked": data.mask_label_mentions,
        "test_labels_unseen_in_train": _unseen(plan, labels),
    }


def _shares(flags: array[int], plan: Plan) -> dict[str, dict[str, float]]:
    flag = np.frombuffer(flags, np.int8)[plan.row]
    result = {}
    for number, name in enumerate(SPLITS):
        members = flag[plan.split == number]
        result[name] = {"samples": int(members.sum()), "share": float(members.mean()) if len(members) else 0.0}
    return result


def _unseen(plan: Plan, labels: list[Label]) -> dict[str, Any]:
    unseen = np.setdiff1d(plan.label[plan.split == 2], plan.label[plan.split == 0])
    samples = int(np.isin(plan.label[plan.split == 2], unseen).sum())
    named = [labels[number].label for number in unseen[:UNSEEN_NAMED]]
    return {"labels": len(unseen), "samples": samples, "first": named}


# ---------------------------------------------------------------- reading a split back


def read_split(path: Path | str, columns: Sequence[str] | None = None, known: Set[str] | None = None) -> DataFrame:
    """Read a split, or some of its columns, in the order of its sample ids.

    Raises:
        StudyError: the file is no split of ours, or holds a label that is not `known`.
    """
    try:
        table = pyarrow.parquet.read_table(path, columns=None if columns is None else list(columns))
    except (OSError, pyarrow.ArrowException) as error:
        raise StudyError(f"{path} can't be read ({str(error).splitlines()[0]}); run prepare_data again") from None
    absent = sorted(set(columns or SCHEMA.names) - set(table.column_names))
    if absent:
        raise StudyError(f"{path} has no column {absent[0]!r}; run prepare_data again")
    frame = table.to_pandas()
    if known is not None:
        strange = sorted(set(frame["label"]) - known)
        if strange:
            raise StudyError(f"{path} holds the label {strange[0]}, which the label set lacks; run prepare_data again")
    return frame
