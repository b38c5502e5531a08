"""Which rows form a group, which are dropped as duplicates, and which split each group goes to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from slingshot.artifacts.splits import SPLITS
from slingshot.config.data import Data, Split
from slingshot.core.errors import StudyError
from slingshot.data import foreign_codes, icd10
from slingshot.data import labels as labelling
from slingshot.data.cells import SEVERAL
from slingshot.data.code_trees import tree_of
from slingshot.data.intake import EXAMPLES, Intake
from slingshot.data.near_duplicates import merge
from slingshot.data.splitting import Hashes, Numbers, Parts, deal, deal_several, stratified_order

DUPLICATE = "same text and label as another row"

LEAKED = "leaked: in another of the given splits, too, or in the group of one that is"


@dataclass(frozen=True)
class Plan:
    """What becomes of the rows taken in: n samples, in the order of their ids."""

    row: Numbers
    sample: Hashes
    label: Numbers
    group: Hashes
    twins: Numbers  # the near-duplicate cluster of the text
    split: Parts  # -1 where max_samples leaves a sample out
    ambiguous_texts: dict[str, Any]  # those that occur with different labels
    members: csr_matrix  # shape (n, labels): 1 where a sample has a label; one in each row where it has one alone


def refuse_losses(taken: Intake, data: Data, source: str = "data.source") -> None:
    """Stop where too much was dropped, or where the codes are of another system.

    Raises:
        StudyError: names each reason, its rows and an example.
    """
    dropped = taken.dropped.rows
    if not taken.rows_read:
        raise StudyError(f"{source} holds no rows")
    _refuse_other_systems(taken, data, source)
    if dropped <= data.max_dropped_share * taken.rows_read and len(taken):
        return
    reasons = "; ".join(
        f"{entry['rows']} for {reason!r}, e.g. {entry['examples'][0]}"
        for reason, entry in taken.dropped.reasons.items()
    )
    hint = "fix the source, or raise data.max_dropped_share"
    if any(reason.startswith("code ") for reason in taken.dropped.reasons):
        tree = tree_of(data.labels)
        version = tree.code_set_version() if tree else ""
        hint += f" (codes are checked against {version}; other labels need data.labels: plain or {{tree: file.csv}})"
    if SEVERAL in taken.dropped.reasons:
        hint += ' (where texts have several labels each, set data.several: {}, or {separator: ";"})'
    if labelling.NO_LABEL in taken.dropped.reasons and data.nulls:
        hint += " (what counts as no label is data.nulls)"
    raise StudyError(
        f"{source}: {dropped} of {taken.rows_read} rows would be dropped, more than data.max_dropped_share = "
        f"{data.max_dropped_share:g} allows: {reasons}; {hint}"
    )


def _refuse_other_systems(taken: Intake, data: Data, source: str) -> None:
    """Stop where a column as a whole is of another system, though some of its codes could be read as ICD-10-CM."""
    if data.labels != "icd10cm":
        return
    fix = "use data.labels: {tree: file.csv} (scripts/convert_tree.py writes it), or convert the codes first"
    icd9 = taken.dropped.reasons.get(labelling.foreign(foreign_codes.ICD9), {"rows": 0})["rows"]
    if icd9 and icd9 >= taken.may_be_icd9 > 0:
        raise StudyError(
            f"{source}: {icd9} rows hold ICD-9-CM codes, so {taken.may_be_icd9} rows with codes such as E849 or V10 "
            f"may be ICD-9-CM, too, and mean something else in ICD-10-CM; {fix}"
        )
    known_by_category = taken.changed.reasons.get(labelling.CATEGORY_TAKEN, {"rows": 0})["rows"]
    if known_by_category > data.max_dropped_share * taken.rows_read:
        raise StudyError(
            f"{source}: {known_by_category} of {taken.rows_read} codes are not in {icd10.code_set_version()}, only "
            f"their first three characters are, more than data.max_dropped_share = {data.max_dropped_share:g} allows: "
            f"is it ICD-10-GM, ICD-10 (WHO) or another release? If so, {fix}"
        )


def make_plan(taken: Intake, data: Data) -> Plan:
    """Work out samples, groups and splits on the remembered numbers alone."""
    names, target, of_rank = _targets(taken)
    sample, part = np.frombuffer(taken.sample_hash, np.uint64), np.frombuffer(taken.part, np.int8)
    text_number, twins, groups, group_key = _group_texts(taken, data)
    row = _kept_rows(taken, sample, part, target)
    refuse_losses(taken, data)
    members, group = of_rank[target[row]], groups[text_number[row]]
    label = rarest_labels(members)
    if data.split.given:
        split = _given_splits(part[row], sample[row], label, group, group_key[group], data)
        leaked = leaked_samples(split, group) if data.split.drop_leaked else np.zeros(len(row), bool)
        _count(taken, LEAKED, sample[row][leaked])
        row, label, group, split = row[~leaked], label[~leaked], group[~leaked], split[~leaked]
        members = members[np.flatnonzero(~leaked)]
    elif data.several is not None:
        split = deal_several(data.split, group_key[group], members, group)
    else:
        split = deal(data.split, group_key[group], label, group)
    _refuse_no_study(names, members, split, data)
    return Plan(
        row=row,
        sample=sample[row],
        label=label,
        group=group_key[group],
        twins=twins[text_number[row]],
        split=_take_part(split, sample[row], label, data),
        ambiguous_texts=_ambiguous(text_number[row], sample[row]),
        members=members,
    )


def plan_test_set(taken: Intake, data: Data, name: str, most: int | None) -> Plan:
    """The samples of a further test set, all of split 0: nothing is dealt, duplicates are dropped."""
    source = f"data.test_sets.{name}"
    refuse_losses(taken, data, source)
    _, target, of_rank = _targets(taken)
    sample = np.frombuffer(taken.sample_hash, np.uint64)
    text_number, twins, groups, group_key = _group_texts(taken, data)
    row = _kept_rows(taken, sample, np.zeros(len(taken), np.int8), target)
    refuse_losses(taken, data, source)
    members = of_rank[target[row]]
    label = rarest_labels(members)
    split = np.zeros(len(row), np.int8)
    if most is not None:
        split[stratified_order(sample[row], label, data.split.seed)[most:]] = -1
    return Plan(
        row=row,
        sample=sample[row],
        label=label,
        group=group_key[groups[text_number[row]]],
        twins=twins[text_number[row]],
        split=split,
        ambiguous_texts=_ambiguous(text_number[row], sample[row]),
        members=members,
    )


def _targets(taken: Intake) -> tuple[list[str], Numbers, csr_matrix]:
    """Label names in order; each row's target as a rank that no order of rows changes; each rank's labels."""
    targets = sorted(taken.targets, key=lambda target: (target.label, target.code))
    rank = np.empty(len(targets), np.int64)
    rank[[taken.targets[target] for target in targets]] = np.arange(len(targets))
    names = sorted({each.label for target in targets for each in target.single})
    number = {name: at for at, name in enumerate(names)}
    pairs = [(at, number[each.label]) for at, target in enumerate(targets) for each in target.single]
    rows, columns = np.array(pairs, np.int64).reshape(-1, 2).T
    of_rank = csr_matrix((np.ones(len(pairs), np.int64), (rows, columns)), (len(targets), len(names)))
    return names, rank[np.frombuffer(taken.target, np.int32)], of_rank


def rarest_labels(members: csr_matrix) -> Numbers:
    """Each sample's label, of several the one that fewest samples have; 0 where it has none."""
    if members.nnz and (np.diff(members.indptr) == 1).all():
        return members.indices.astype(np.int64)
    frequency = np.asarray(members.sum(axis=0)).ravel()
    result = np.zeros(members.shape[0], np.int64)
    for row in np.flatnonzero(np.diff(members.indptr)):
        own = members.indices[members.indptr[row] : members.indptr[row + 1]]
        result[row] = own[np.lexsort((own, frequency[own]))[0]]
    return result


def _kept_rows(taken: Intake, sample: Hashes, part: Parts, target: Numbers) -> Numbers:
    """One row of each sample, in the order of the samples; in each split, where the source gives them.

    Of duplicates the one of the least code stays, whatever its place.
    """
    order = np.lexsort((target, part, sample))
    again = (sample[order][1:] == sample[order][:-1]) & (part[order][1:] == part[order][:-1])
    kept = np.r_[True, ~again]
    _count(taken, DUPLICATE, sample[order][~kept])
    return order[kept]


def _given_splits(
    part: Parts,
    sample: Hashes,
    label: Numbers,
    group: Numbers,
    key: Hashes,
    data: Data,
) -> Parts:
    """The splits as the source gives them; validation is dealt from train where it gives none and the study says so.

    Raises:
        StudyError: a split is empty, or validation is given and to be dealt, too.
    """
    split, share = part.copy(), data.split.validation_from_train
    if share is not None:
        if (split == 1).any():
            raise StudyError(
                f"data.split.validation_from_train: the source gives {int((split == 1).sum())} samples of validation "
                "itself; remove the key"
            )
        train = np.flatnonzero(split == 0)
        dealt = Split(train=1 - share, validation=share, test=0, seed=data.split.seed)
        split[train] = deal(dealt, key[train], label[train], group[train])
    return split


def leaked_samples(split: Parts, group: Numbers) -> NDArray[np.bool_]:
    """Samples of train in a group of validation or test, and samples of validation in a group of test."""
    in_test, in_validation = np.isin(group, group[split == 2]), np.isin(group, group[split == 1])
    return ((split == 0) & (in_validation | in_test)) | ((split == 1) & in_test)


def _group_texts(taken: Intake, data: Data) -> tuple[Numbers, Numbers, Numbers, Hashes]:
    """Each row's text as a number, each text's near-duplicate cluster and group, and each group's key.

    A text's twins and its rows' groups bind all rows of the text, dropped duplicates included.
    """
    text, group_hash = np.frombuffer(taken.text_hash, np.uint64), np.frombuffer(taken.group_hash, np.uint64)
    unique_text, first_row, text_number = np.unique(text, return_index=True, return_inverse=True)
    twins = taken.sketches.clusters(first_row + taken.first_text, unique_text)
    groups = _join_groups(text_number, twins, group_hash, data)
    group_key = _group_keys(groups[text_number], text, group_hash, len(unique_text))
    return text_number, twins, groups, group_key


def _join_groups(text_number: Numbers, twins: Numbers, group_hash: Hashes, data: Data) -> Numbers:
    """The group of each text: what shares a group's name or (if the study says so) is nearly the same."""
    count = len(twins)
    groups = np.arange(count) if data.split.near_duplicate_similarity is None else twins
    named = np.flatnonzero(group_hash)
    if not len(named):
        return groups
    _, first, name = np.unique(group_hash[named], return_index=True, return_inverse=True)
    return merge(groups, text_number[named], text_number[named][first][name])


def _group_keys(group: Numbers, text: Hashes, group_hash: Hashes, count: int) -> Hashes:
    """A key per group that depends on its content alone: the least hash of its names, or else of its texts."""
    keys = np.full(count, np.iinfo(np.uint64).max)
    np.minimum.at(keys, group, np.where(group_hash == 0, text, group_hash))
    return keys


def _count(taken: Intake, reason: str, samples: Hashes) -> None:
    """Count samples that are dropped after the rows were read."""
    if len(samples):
        for sample in samples[:EXAMPLES]:
            taken.dropped.add(reason, sample_id_of(sample), rows=0)
        taken.dropped.reasons[reason]["rows"] = len(samples)


def _ambiguous(text_number: Numbers, sample: Hashes) -> dict[str, Any]:
    """Texts that occur with different labels: no model can answer all their samples rightly."""
    _, number, count = np.unique(text_number, return_inverse=True, return_counts=True)
    several = count[number] > 1
    return {
        "texts": int((count > 1).sum()),
        "samples": int(several.sum()),
        "examples": [sample_id_of(value) for value in sample[several][:EXAMPLES]],
    }


def _refuse_no_study(names: list[str], members: csr_matrix, split: Parts, data: Data) -> None:
    """Stop where nothing can be learned or measured.

    Raises:
        StudyError: one label only, fewer samples (with several labels each: fewer of their labels, counted again and
            again) in train than labels, or an empty split.
    """
    column = data.columns.label
    if len(names) == 1:
        raise StudyError(f"data.columns.label: {column!r} holds one label only ({names[0]}); a study needs two or more")
    counts = np.bincount(split, minlength=len(SPLITS))
    for name, count in zip(SPLITS, counts, strict=True):
        if count or not (data.split.given or getattr(data.split, name)):
            continue
        if data.split.given:
            fix = f"; set data.split.values if it calls {name} something else"
            fix += ", or data.split.validation_from_train" if name == "validation" else ""
            why = f" left by drop_leaked or given by the source{fix}" if data.split.drop_leaked else f" given{fix}"
            raise StudyError(f"data.split.method: {data.split.method}: no sample of {name} is{why}")
        raise StudyError(
            f"data.split.{name}: {getattr(data.split, name):g} of {len(split)} samples gives an empty split; "
            "raise the share, or check data.columns.group and near_duplicate_similarity if all is one group"
        )
    shown = int(members[np.flatnonzero(split == 0)].sum())
    if shown < len(names):
        raise StudyError(
            f"data.columns.label: {column!r} holds {len(names)} labels in {len(split)} samples, {counts[0]} of them in "
            "train, so most labels would never be seen twice; is it the right column, or is a higher data.level meant?"
        )


def _take_part(split: Parts, sample: Hashes, label: Numbers, data: Data) -> Parts:
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
