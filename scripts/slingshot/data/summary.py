"""dataset.json: what the splits hold, and what leaks between them."""

from __future__ import annotations

import hashlib
from array import array
from typing import Any

import numpy as np

from slingshot.artifacts.labels import Label
from slingshot.artifacts.splits import SPLITS
from slingshot.config.data import Data
from slingshot.config.specs import PrepareDataSpec
from slingshot.core.environment import versions
from slingshot.data import icd10, leakage
from slingshot.data.intake import Intake
from slingshot.data.planning import Plan
from slingshot.data.tables import Rows

UNSEEN_NAMED = 50


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
