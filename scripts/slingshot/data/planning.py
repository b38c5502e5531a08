"""Which rows form a group, which are dropped as duplicates, and which split each group goes to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slingshot.artifacts.splits import SPLITS
from slingshot.config.data import Data
from slingshot.core.errors import StudyError
from slingshot.data import icd10
from slingshot.data import labels as labelling
from slingshot.data.intake import EXAMPLES, Intake
from slingshot.data.near_duplicates import merge
from slingshot.data.splitting import deal, stratified_order

DUPLICATE = "same text and label as another row"


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
            taken.dropped.add(DUPLICATE, sample_id_of(sample), rows=0)
        taken.dropped.reasons[DUPLICATE]["rows"] = len(again)


def _ambiguous(text_number: NDArray[np.int64], sample: NDArray[np.uint64]) -> dict[str, Any]:
    """Texts that stand there with different labels: nothing can tell these apart."""
    _, number, count = np.unique(text_number, return_inverse=True, return_counts=True)
    several = count[number] > 1
    return {
        "texts": int((count > 1).sum()),
        "samples": int(several.sum()),
        "examples": [sample_id_of(value) for value in sample[several][:EXAMPLES]],
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


def sample_id_of(sample: np.uint64) -> str:
    return f"{int(sample):016x}"
