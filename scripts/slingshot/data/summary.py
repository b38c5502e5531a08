"""dataset.json: what the splits hold, and what leaks between them."""

from __future__ import annotations

import difflib
import hashlib
import re
from array import array
from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slingshot.artifacts.labels import Label
from slingshot.artifacts.splits import SPLITS
from slingshot.config.data import Data
from slingshot.config.specs import PrepareDataSpec
from slingshot.core.environment import versions
from slingshot.core.terminal import say
from slingshot.data import leakage
from slingshot.data.code_trees import tree_of
from slingshot.data.intake import Intake
from slingshot.data.planning import Plan
from slingshot.data.power import ASSUMED_DISCORDANCE, UNKNOWN_POWER, describe_power, power_in_words
from slingshot.data.tables import Rows

UNSEEN_NAMED = 50

SECOND_HEADER = "a second header must be removed"

MUCH_PRINTED = 0.2  # share of texts that print their own label from which on every score is in doubt


def describe(
    spec: PrepareDataSpec, data: Data, rows: Rows, taken: Intake, plan: Plan, labels: list[Label]
) -> dict[str, Any]:
    """What dataset.json holds: where the samples come from, what was dropped and changed, what leaks."""
    written = plan.split >= 0
    digest = hashlib.sha256(plan.sample[written].tobytes() + plan.split[written].tobytes()).hexdigest()
    return {
        "source": rows.origin,
        "lines": rows.line_counts(),
        "digest": digest,
        "spec": spec.model_dump(mode="json"),
        "versions": versions(),
        "code_set": _code_set(data),
        **describe_rows(taken, plan),
        "labels": {
            "system": data.labels if isinstance(data.labels, str) else data.labels.tree,
            "level": data.level,
            "count": len(labels),
            "not_billable": sum(label.billable is False for label in labels),
            "with_several_descriptions": sum(len(variants) > 1 for variants in taken.descriptions.values()),
            "of_the_first_row_alone": _label_of_first_row(taken, data),
        },
        "groups": _groups(taken, plan, data),
        "splits": {name: _split(taken, plan, labels, number) for number, name in enumerate(SPLITS)},
        "leakage": _leakage(taken, plan, labels, data),
        "power": None if data.several else _power(plan),
    }


def _power(plan: Plan) -> dict[str, object]:
    members = plan.split == SPLITS.index("test")
    return describe_power(int(members.sum()), np.unique(plan.group[members], return_counts=True)[1].tolist())


def _label_of_first_row(taken: Intake, data: Data) -> str | None:
    """The first row's label where that may be a second header's; a header is no code, and dropped as such."""
    if data.labels != "plain" or data.several or not len(taken):
        return None
    counts = np.bincount(taken.target)
    may_be_header = may_head(int(counts[taken.target[0]]), int((counts == 1).sum()), len(taken))
    return list(taken.targets)[taken.target[0]].label if may_be_header else None


def may_head(rows_of_first: int, labels_alone: int, rows: int) -> bool:
    """Whether the first row may be a second header: its label is no other row's, as hardly any is.

    Args:
        rows_of_first: rows that have the first row's label
        labels_alone: labels that have one row
    """
    return rows_of_first == 1 and labels_alone <= max(1, Data.model_fields["max_dropped_share"].default * rows)


def _code_set(data: Data) -> str | None:
    tree = tree_of(data.labels)
    return tree.code_set_version() if tree else None


def describe_rows(taken: Intake, plan: Plan) -> dict[str, Any]:
    """What became of a source's rows."""
    return {
        "rows": {
            "read": taken.rows_read,
            "dropped": taken.dropped.rows,
            "samples": len(plan.row),
            "left_out_by_max_samples": int((plan.split < 0).sum()),
        },
        "dropped": taken.dropped.reasons,
        "changed": taken.changed.reasons,
        "same_text_different_labels": plan.ambiguous_texts,
    }


def describe_test_set(
    name: str, rows: Rows, taken: Intake, plan: Plan, main: Intake, main_plan: Plan, labels: list[Label], data: Data
) -> dict[str, Any]:
    """What dataset.json says of a further test set: rows, labels, what of it stands in the study's splits."""
    known = {label.label: label.train_samples for label in labels}
    own = sorted({each.label for target in taken.targets for each in target.single})
    written = plan.split >= 0
    counts = label_counts(plan, written)
    unseen = [label for label in own if not known.get(label)]
    return {
        "source": rows.origin,
        "lines": rows.line_counts(),
        "digest": hashlib.sha256(plan.sample[written].tobytes()).hexdigest(),
        "code_set": _code_set(data),
        **describe_rows(taken, plan),
        "samples": int(written.sum()),
        "labels": int((counts > 0).sum()),
        "label_counts": {label: int(count) for label, count in zip(own, counts, strict=True) if count},
        "words": leakage.lengths(np.frombuffer(taken.words, np.int32)[plan.row[written]]),
        "leakage": _leakage_of_test_set(taken, plan, main, main_plan, {"labels_unseen_in_train": unseen, "own": own}),
    }


def _leakage_of_test_set(
    taken: Intake, plan: Plan, main: Intake, main_plan: Plan, names: dict[str, list[str]]
) -> dict[str, Any]:
    """How many of a further test set's samples stand in a split of the study, as they are or nearly."""
    written, in_main = plan.split >= 0, main_plan.split >= 0
    texts = [np.frombuffer(each.text_hash, np.uint64) for each in (main, taken)]
    firsts = [np.unique(text, return_index=True) for text in texts]
    chosen = np.concatenate([first + each.first_text for (_, first), each in zip(firsts, (main, taken), strict=True)])
    clusters = main.sketches.clusters(chosen, np.concatenate([unique for unique, _ in firsts]))
    count = len(firsts[0][0])
    of_main = clusters[:count][np.searchsorted(firsts[0][0], texts[0][main_plan.row])]
    of_set = clusters[count:][np.searchsorted(firsts[1][0], texts[1][plan.row])]
    exact, near = {}, {}
    for number, split in enumerate(SPLITS):
        members = in_main & (main_plan.split == number)
        exact[split] = int(np.isin(texts[1][plan.row[written]], texts[0][main_plan.row[members]]).sum())
        near[split] = int(np.isin(of_set[written], of_main[members]).sum())
    columns = np.flatnonzero(np.isin(np.array(names["own"]), names["labels_unseen_in_train"]))
    unseen = np.diff(plan.members[np.flatnonzero(written)][:, columns].indptr) > 0
    flags = {
        "prints_own_label": np.frombuffer(taken.prints_label, np.int8)[plan.row[written]],
        "prints_own_description": np.frombuffer(taken.prints_description, np.int8)[plan.row[written]],
    }
    return {
        "exact_duplicates_in": exact,
        "near_duplicates_in": near,
        **{
            name: {"samples": int(flag.sum()), "share": float(flag.mean()) if len(flag) else 0.0}
            for name, flag in flags.items()
        },
        "labels_unseen_in_train": {
            "labels": len(names["labels_unseen_in_train"]),
            "samples": int(unseen.sum()),
            "first": names["labels_unseen_in_train"][:UNSEEN_NAMED],
        },
    }


def _groups(taken: Intake, plan: Plan, data: Data) -> dict[str, int]:
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
        "rows_without_a_group": sum(name == 0 for name in taken.group_hash) if data.columns.group else 0,
    }


def _split(taken: Intake, plan: Plan, labels: list[Label], number: int) -> dict[str, Any]:
    members = plan.split == number
    counts = label_counts(plan, members)
    words = np.frombuffer(taken.words, np.int32)[plan.row[members]]
    return {
        "samples": int(members.sum()),
        "groups": len(np.unique(plan.group[members])),
        **_set_sizes(plan, members),
        "labels": int((counts > 0).sum()),
        "label_counts": {label.label: int(count) for label, count in zip(labels, counts, strict=True) if count},
        "words": leakage.lengths(words),
    }


def label_counts(plan: Plan, chosen: NDArray[np.bool_]) -> NDArray[np.int64]:
    """How many of the chosen samples have each label."""
    return np.asarray(plan.members[np.flatnonzero(chosen)].sum(axis=0)).ravel().astype(np.int64)


def _set_sizes(plan: Plan, chosen: NDArray[np.bool_]) -> dict[str, dict[str, int]]:
    """Number of labels to the chosen samples with that number; nothing where each sample has one."""
    sizes, counts = np.unique(np.diff(plan.members[np.flatnonzero(chosen)].indptr), return_counts=True)
    if list(sizes) == [1]:
        return {}
    return {"set_sizes": {str(size): int(count) for size, count in zip(sizes, counts, strict=True)}}


def _leakage(taken: Intake, plan: Plan, labels: list[Label], data: Data) -> dict[str, Any]:
    text = np.frombuffer(taken.text_hash, np.uint64)[plan.row]
    exact, near = leakage.overlap(plan.split, text, plan.twins)
    return {
        "exact_duplicates": exact,
        "groups_across_splits": _groups_across(plan),
        "near_duplicates": near,
        "near_duplicate_similarity": taken.sketches.similarity,
        "grouped_by_near_duplicates": data.split.near_duplicate_similarity is not None and not data.split.given,
        "prints_own_label": _shares(taken.prints_label, plan),
        "prints_own_description": _shares(taken.prints_description, plan),
        "labels_masked": data.mask_label_mentions,
        "test_labels_unseen_in_train": _unseen(plan, labels),
    }


def _groups_across(plan: Plan) -> dict[str, int]:
    """Groups that stand in more than one split, which only splits that the source gives can have; their samples."""
    written = plan.split >= 0
    pairs = np.unique(np.stack([plan.group[written], plan.split[written].astype(np.uint64)]), axis=1)
    groups, count = np.unique(pairs[0], return_counts=True)
    several = groups[count > 1]
    return {"groups": len(several), "samples": int(np.isin(plan.group[written], several).sum())}


def _shares(flags: array[int], plan: Plan) -> dict[str, dict[str, float]]:
    flag = np.frombuffer(flags, np.int8)[plan.row]
    result = {}
    for number, name in enumerate(SPLITS):
        members = flag[plan.split == number]
        result[name] = {"samples": int(members.sum()), "share": float(members.mean()) if len(members) else 0.0}
    return result


def _unseen(plan: Plan, labels: list[Label]) -> dict[str, Any]:
    in_train, in_test = label_counts(plan, plan.split == 0), label_counts(plan, plan.split == 2)
    unseen = np.flatnonzero((in_test > 0) & (in_train == 0))
    samples = int((np.asarray(plan.members[np.flatnonzero(plan.split == 2)][:, unseen].sum(axis=1)).ravel() > 0).sum())
    named = [labels[number].label for number in unseen[:UNSEEN_NAMED]]
    return {"labels": len(unseen), "samples": samples, "first": named}


ALIKE = 0.85  # least ratio of difflib at which two labels are written almost alike

USUAL_SAMPLES = 10  # of a label that another may be a slip of

SLIPS_NAMED = 5


def log_report(report: dict[str, Any]) -> None:
    """Say on the terminal, too, what was read, dropped, changed and split; last, what leaks."""
    for name, part in {"": report, **report["test_sets"]}.items():
        rows, where = part["rows"], f"test_sets.{name}: " if name else ""
        say(f"{where}{rows['read']:,} rows read, {rows['dropped']:,} dropped, {rows['samples']:,} samples")
        for kind in ("dropped", "changed"):
            for reason, entry in part[kind].items():
                say(f"{where}{kind}: {entry['rows']:,} rows, {reason} (e.g. {', '.join(entry['examples'][:2])})")
    for name, split in report["splits"].items():
        say(f"{name}: {split['samples']:,} samples, {split['labels']:,} labels, {split['groups']:,} groups")
    if power := report["power"]:
        alike = power["samples_if_groups_alike"]
        words = power_in_words(power["test_samples"], ASSUMED_DISCORDANCE, 1 - power["confidence"], alike)
        say(f"two arms: {words} (assumed, not measured)")
    else:
        say(f"two arms: {UNKNOWN_POWER}")
    for line in warnings_of(report):
        say(line)


def warnings_of(report: dict[str, Any]) -> list[str]:
    """What a reader should know before any score is computed, and beside the verdict: one sentence each.

    Args:
        report: what dataset.json holds; of an older version parts may be missing
    """
    leaks, plain = report["leakage"], report["labels"]["level"] == "code" and report["code_set"] is None
    first = report["labels"].get("of_the_first_row_alone")
    found = [] if first is None else [f"no other row has the label of the first one, {first!r}: {SECOND_HEADER}"]
    masked = leaks["labels_masked"]
    for key, what in (("prints_own_label", "label"), ("prints_own_description", "label's description")):
        share = leaks[key]["test"]["share"]
        if share >= MUCH_PRINTED and not (masked and what == "label"):
            options = "data.drop_closing_turn" + (" or data.mask_label_mentions" if plain or what == "label" else "")
            every = "All texts" if share == 1 else f"{share:.1%} of the texts"
            found.append(
                f"{every} in test print their own {what}: a score then says who finds it in the text, "
                f"not who can tell the diagnosis; see {options}"
            )
    for kind, name in (("exact_duplicates", "the same text"), ("near_duplicates", "nearly the same text")):
        for pair in ("test in train", "test in validation", "validation in train"):
            if count := leaks[kind][pair]:
                split, _, other = pair.partition(" in ")
                of = report["splits"][split]["samples"]
                found.append(
                    f"{count} of {of} samples of {split} have {name} in {other}: what is learned there is read here"
                )
    if across := (leaks.get("groups_across_splits") or {"groups": 0})["groups"]:
        samples = leaks["groups_across_splits"]["samples"]
        found.append(f"{across} groups with {samples} samples stand in more than one split: see data.split.drop_leaked")
    if alone := report.get("groups", {}).get("rows_without_a_group", 0):
        read = report["rows"]["read"]
        found.append(f"{alone} of {read} rows have no group: those that belong together may stand in several splits")
    unseen = leaks["test_labels_unseen_in_train"]
    if unseen["samples"]:
        found.append(
            f"{unseen['samples']} samples of test have one of {unseen['labels']} labels that train never shows"
        )
    for name, part in (report.get("test_sets") or {}).items():
        own = part["leakage"]
        found += [
            f"test_sets.{name}: {count} of {part['samples']} samples have (nearly) the same text in {split}"
            for split in SPLITS[:2]
            if (count := own["near_duplicates_in"][split])
        ]
        if own["labels_unseen_in_train"]["samples"]:
            count = own["labels_unseen_in_train"]["samples"]
            found.append(f"test_sets.{name}: {count} of {part['samples']} samples have a label that train never shows")
    return found + (misspelt_labels(report) if plain else [])


def misspelt_labels(report: dict[str, Any]) -> list[str]:
    """Plain labels of one or two samples that read almost like a frequent one, which may be slips of the pen."""
    count: Counter[str] = Counter()
    for split in report["splits"].values():
        count.update(split.get("label_counts") or {})
    usual = [label for label, samples in count.items() if samples >= USUAL_SAMPLES]
    found = []
    for label, samples in count.items():
        near = difflib.get_close_matches(label, usual, n=1, cutoff=ALIKE) if samples <= 2 else []
        if near and _meant(label) != _meant(near[0]) and not any(map(str.isdigit, label + near[0])):
            found.append(
                f"label {label!r} has {samples} sample{'s' * (samples > 1)} and is written almost like {near[0]!r} "
                f"({count[near[0]]}): is it the same?"
            )
    rest = [f"and {len(found) - SLIPS_NAMED} more rare labels like these"] if len(found) > SLIPS_NAMED else []
    return found[:SLIPS_NAMED] + rest


def _meant(label: str) -> str:
    """A label without what distinguishes labels on purpose ("type II" from "type I", hypo- from hypertension), so that
    such pairs come out equal and are not taken for slips."""
    return re.sub(r"\b[ivx]+\b", "i", label.casefold()).replace("hypo", "hyper")
