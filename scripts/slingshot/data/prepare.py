"""From a source to the study's three splits: cleaned, deduplicated, grouped, dealt, counted.

Rows pass through once, a batch at a time; their cleaned texts wait in unnamed files, a few numbers a row stay in
memory. Then duplicates, twins and splits are worked out on the numbers, and the texts are written out in the order
of their sample ids. So neither the result nor the memory depends on the order of the rows.

A sample is a text with its label; `sample_id` is a hash of both. The same text with the same label is one sample,
the later ones are dropped and counted. The same text with different labels stays as several samples (a sentence may
well hold two diagnoses), always in one group, and is counted as ambiguous.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet

from slingshot.artifacts.labels import Label, write_labels
from slingshot.artifacts.splits import ROWS_PER_GROUP, SPLITS, SplitWriter
from slingshot.config.data import Data
from slingshot.config.specs import PrepareDataSpec
from slingshot.core.files import replacing, write_json
from slingshot.data import labels as labelling
from slingshot.data.intake import Intake, take_in
from slingshot.data.planning import Plan, make_plan, refuse_losses, sample_id_of
from slingshot.data.readers import read_rows
from slingshot.data.summary import describe


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
        write_labels(temporary["labels"], labels)
        write_json(temporary["dataset"], report)
    return report


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
            for start in range(0, len(chosen), ROWS_PER_GROUP):
                part = chosen[start : start + ROWS_PER_GROUP]
                rows = bucket["text"].take(pyarrow.array(part)).to_pylist()
                for text, sample in zip(rows, samples[part], strict=True):
                    own = targets[target[plan.row[sample]]]
                    label = labels[plan.label[sample]]
                    writers[plan.split[sample]].add(
                        (
                            sample_id_of(plan.sample[sample]),
                            text,
                            own.label,
                            label.description,
                            own.category,
                            own.block,
                            own.chapter,
                            own.code,
                            sample_id_of(plan.group[sample]),
                        )
                    )
        for writer in writers:
            writer.flush()
