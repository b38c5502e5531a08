"""From a source to the study's three splits: cleaned, deduplicated, grouped, dealt, counted.

Rows pass through once, a batch at a time; their cleaned texts wait in unnamed files, a few numbers per row stay in
memory. Then duplicates, twins and splits are worked out on the numbers, and the texts are written out in the order
of their sample ids. So neither the result nor the memory depends on the order of the rows.

A sample is a text with its label; `sample_id` is a hash of both. The same text with the same label is one sample,
the later ones are dropped and counted. The same text with different labels stays as several samples (a sentence may
well hold two diagnoses), always in one group, and is counted as ambiguous.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet

from slingshot.artifacts.labels import Label, write_labels
from slingshot.artifacts.layout import DataFiles
from slingshot.artifacts.splits import ROWS_PER_GROUP, SPLITS, SplitWriter
from slingshot.config.base import LabelSystem, TreeLabels
from slingshot.config.data import Data
from slingshot.config.specs import PrepareDataSpec
from slingshot.core.files import replacing, write_json
from slingshot.data import labels as labelling
from slingshot.data.examples import Examples
from slingshot.data.intake import Intake, take_in
from slingshot.data.labels import code_test
from slingshot.data.planning import Plan, make_plan, plan_test_set, refuse_losses, sample_id_of
from slingshot.data.readers import read_rows
from slingshot.data.summary import describe, describe_test_set, label_counts
from slingshot.data.tables import Rows


@dataclass
class Source:
    """A source on its way to one or several splits."""

    taken: Intake
    plan: Plan
    data: Data
    rows: Rows


def prepare(spec: PrepareDataSpec, study: Path, files: DataFiles) -> dict[str, Any]:
    """Write the splits, the further test sets, the label set, dataset.json and examples.json, all or none.

    Args:
        spec: the study's data section
        study: folder that local sources are relative to
        files: where the results go

    Returns:
        what dataset.json holds

    Raises:
        StudyError: a source cannot be read, or what is left of it makes no study.
    """
    data = with_tree(spec.data, study)
    scratch = files.folder
    scratch.mkdir(parents=True, exist_ok=True)
    rows, taken = _read(data, study, scratch)
    refuse_losses(taken, data)
    main = Source(taken, make_plan(taken, data), data, rows)
    labels = label_set(main)
    report = describe(spec, data, rows, taken, main.plan, labels)
    sets = {name: _test_set(name, data, study, scratch, taken) for name in data.test_sets}
    report["test_sets"] = {
        name: describe_test_set(name, each.rows, each.taken, each.plan, main.taken, main.plan, labels, each.data)
        for name, each in sets.items()
    }
    examples = Examples(main.taken, main.plan)
    with ExitStack() as stack:
        splits = [stack.enter_context(replacing(files.split(name))) for name in SPLITS]
        further = {name: stack.enter_context(replacing(files.test_set(name))) for name in sets}
        others = [stack.enter_context(replacing(path)) for path in (files.labels, files.dataset, files.examples)]
        write_splits(main, labels, splits, examples)
        for name, each in sets.items():
            write_splits(each, with_unseen(labels, each), [further[name]])
        write_labels(others[0], labels)
        write_json(others[1], report)
        write_json(others[2], examples.found({name: each.taken for name, each in sets.items()}))
    return report


def _read(data: Data, study: Path, scratch: Path) -> tuple[Rows, Intake]:
    """Read the source. Where `401.0` stands beside `401.9`, which is known at its end only, it is read again."""

    def open_source() -> Rows:
        return read_rows(data.source, data.columns, study, code_test(data.labels))

    rows = open_source()
    taken = take_in(rows, data, scratch)
    if taken.decimals and taken.whole_numbers:
        rows = open_source()
        taken = take_in(rows, data, scratch, as_written=True)
    return rows, taken


def with_tree(data: Data, study: Path) -> Data:
    """The data section with paths of code trees as seen from here."""
    labels = _labels_from(data.labels, study)
    sets = {
        name: each.model_copy(update={"labels": _labels_from(each.labels or data.labels, study)})
        for name, each in data.test_sets.items()
    }
    return data.model_copy(update={"labels": labels, "test_sets": sets})


def _labels_from(labels: LabelSystem, study: Path) -> LabelSystem:
    return labels.model_copy(update={"tree": str(study / labels.tree)}) if isinstance(labels, TreeLabels) else labels


def _test_set(name: str, data: Data, study: Path, scratch: Path, main: Intake) -> Source:
    """Read a further test set. It shares the sketches of the study's texts, so that twins in train are found."""
    own = data.test_sets[name]
    as_read = data.model_copy(
        update={
            "source": own.source,
            "columns": own.columns or data.columns.model_copy(update={"split": None}),
            "labels": own.labels or data.labels,
            "split": data.split.model_copy(update={"method": "stratified", "drop_leaked": False}),
        }
    )
    key = f"data.test_sets.{name}.columns" if own.columns else "data.columns"
    source_key = f"data.test_sets.{name}.source"
    rows = read_rows(as_read.source, as_read.columns, study, code_test(as_read.labels), key, source_key)
    taken = take_in(rows, as_read, scratch, main.sketches, main.as_written)
    return Source(taken, plan_test_set(taken, as_read, name, own.max_samples), as_read, rows)


def label_set(source: Source) -> list[Label]:
    """The study's labels, sorted. max_samples does not change it, only the counts."""
    taken, plan, data = source.taken, source.plan, source.data
    targets = {each for target in taken.targets for each in target.single}
    by_name = {target.label: target for target in sorted(targets, key=lambda t: t.code, reverse=True)}
    names = sorted(by_name)
    if data.labels == "plain":
        labelling.refuse_confusable(names)
    in_train = label_counts(plan, plan.split == 0)
    return [
        labelling.label_of(by_name[name], data.labels, data.level, _description(taken, name), int(count))
        for name, count in zip(names, in_train, strict=True)
    ]


def with_unseen(labels: list[Label], source: Source) -> list[Label]:
    """The labels of a further test set in its own order: the study's where it has them, else without train samples."""
    known = {label.label: label for label in labels}
    return [known.get(own.label, own.model_copy(update={"train_samples": 0})) for own in label_set(source)]


def _description(taken: Intake, label: str) -> str | None:
    """The commonest description of a label in the data."""
    variants = taken.descriptions.get(label)
    return min(variants, key=lambda text: (-variants[text], text)) if variants else None


def write_splits(source: Source, labels: list[Label], paths: list[Path], examples: Examples | None = None) -> None:
    """Write each split as Parquet, in the order of the sample ids."""
    taken, plan = source.taken, source.plan
    place = np.full(len(taken), -1)
    place[plan.row] = np.arange(len(plan.row))
    targets, described = list(taken.targets), {label.label: label.description for label in labels}
    target = np.frombuffer(taken.target, np.int32)
    with ExitStack() as stack:
        writers = [SplitWriter(path, stack, with_sets=source.data.several is not None) for path in paths]
        for bucket in taken.spool.buckets():
            samples = place[bucket["row"].to_numpy()]
            chosen = np.flatnonzero((samples >= 0) & (plan.split[samples] >= 0))
            chosen = chosen[np.argsort(samples[chosen])]
            for start in range(0, len(chosen), ROWS_PER_GROUP):
                part = chosen[start : start + ROWS_PER_GROUP]
                rows = bucket["text"].take(pyarrow.array(part)).to_pylist()
                for text, sample in zip(rows, samples[part], strict=True):
                    own = targets[target[plan.row[sample]]]
                    description = "; ".join(filter(None, (described[each.label] for each in own.single))) or None
                    if examples is not None:
                        examples.see(int(sample), text, own.label)
                    writers[plan.split[sample]].add(
                        (
                            sample_id_of(plan.sample[sample]),
                            text,
                            own.label,
                            description,
                            own.category,
                            own.block,
                            own.chapter,
                            own.code,
                            sample_id_of(plan.group[sample]),
                        ),
                        [each.label for each in own.single],
                    )
        for writer in writers:
            writer.flush()
