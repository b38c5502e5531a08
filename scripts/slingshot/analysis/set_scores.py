"""Scores of answers that are sets of labels, as the field of automated coding reports them.

Micro, macro and example-based scores are scikit-learn's with `zero_division=0`; precision and recall at k and mean
average precision are those of Edin et al. (2023, SIGIR, "Automated Medical Coding on MIMIC-III and MIMIC-IV"), whose
macro F1, too, is the mean of the labels' F1 over the labels of the test split.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, hstack

from slingshot.analysis.groups import Correct, Floats, Groups
from slingshot.analysis.intervals import Jackknifed, difference_of, jackknife
from slingshot.analysis.scoring import FREQUENCIES, jackknifed, proportion, span
from slingshot.analysis.significance import paired_difference
from slingshot.artifacts.metrics import (
    AtRank,
    Difference,
    FrequencyScores,
    PrecisionRecall,
    Score,
    ScoredLevel,
    SetScores,
)
from slingshot.data.code_trees import CodeTree

Sets = Sequence[Sequence[str]]

Answered = Sequence[Sequence[str] | None]  # None: no set could be read

RANKS = (5, 8, 15)

_NAMES = ("precision", "recall", "f1")


def set_scores(
    truths: Sets,
    answers: Answered,
    rankings: Sets | None,
    train_samples: Mapping[str, int],
    tree: CodeTree | None,
    groups: Groups,
    confidence: float,
    lifted: Mapping[ScoredLevel, tuple[Sets, Sets]] | None = None,
) -> SetScores:
    """All scores of one arm.

    Args:
        truths, answers: each of n samples' labels, in any order; an answer that could not be read is no exact match,
            whatever the truth, and else counts as the empty set
        rankings: each sample's labels by their probability to be in the set, the likeliest first; None where an arm
            ranks none
        train_samples: the labels of the study, each with its samples in train
        tree: of the labels; None for plain ones
        lifted: level to truths and answers there, of the levels above the labels' own
    """
    correct, said_sets = right_sets(truths, answers), read_sets(answers)
    names = sorted({*train_samples, *(label for each in truths for label in each)})
    true, predicted = indicators(truths, names), indicators(said_sets, names)
    outside = np.array([len(set(each) - set(names)) for each in said_sets], np.float64)  # valid elsewhere, wrong here
    in_test = np.asarray(true.sum(axis=0)).ravel() > 0
    in_study = np.array([name in train_samples for name in names])
    return SetScores(
        exact_match=proportion(correct, confidence, groups),
        micro=_micro(true, predicted, outside, groups, confidence),
        macro=_macro(true[:, in_test], predicted[:, in_test], groups, confidence),
        macro_code_set=_macro(true[:, in_study], predicted[:, in_study], groups, confidence),
        examples=_examples(true, predicted, outside, groups, confidence),
        hierarchical=None if tree is None else _hierarchical(truths, said_sets, tree, groups, confidence),
        mean_average_precision=None if rankings is None else _ranked_map(truths, rankings, groups, confidence),
        levels={level: _micro_of(*sets, groups, confidence) for level, sets in (lifted or {}).items()},
        at_rank=[] if rankings is None else [_at_rank(k, truths, rankings, groups, confidence) for k in RANKS],
        by_train_frequency=_by_frequency(true, predicted, names, train_samples, groups, confidence),
        test_labels=int(in_test.sum()),
        mean_labels=float(true.sum() / true.shape[0]),
        mean_answered=float((predicted.sum() + outside.sum()) / true.shape[0]),
    )


def read_sets(answers: Answered) -> Sets:
    """The answers with the empty set where none could be read."""
    return [each or () for each in answers]


def right_sets(truths: Sets, answers: Answered) -> Correct:
    """Whether each sample's whole set is right, of shape (n,)."""
    pairs = zip(answers, truths, strict=True)
    return np.array([answer is not None and set(answer) == set(truth) for answer, truth in pairs], dtype=bool)


def indicators(sets: Sets, names: Sequence[str]) -> csr_matrix:
    """Shape (n, labels): 1 where a sample's set has a label; labels that are not in `names` are left out."""
    place = {name: number for number, name in enumerate(names)}
    pairs = [(row, place[label]) for row, each in enumerate(sets) for label in set(each) if label in place]
    rows, columns = np.array(pairs, np.int64).reshape(-1, 2).T
    return csr_matrix((np.ones(len(pairs)), (rows, columns)), (len(sets), len(names)))


# ---------------------------------------------------------------- micro, macro, examples, hierarchical


def micro_counts(true: csr_matrix, predicted: csr_matrix, outside: Floats | float = 0.0) -> Floats:
    """Shape (n, 3): labels that truth and answer share, that the answer has, that the truth has."""
    shared = np.asarray(true.multiply(predicted).sum(axis=1)).ravel()
    answered = np.asarray(predicted.sum(axis=1)).ravel() + outside
    return np.stack([shared, answered, np.asarray(true.sum(axis=1)).ravel()], axis=1)


def precision_recall_f1(sums: Floats) -> Floats:
    """Shape (m, 3) of summed counts (shared, answered, true) to precision, recall and F1; 0 for 0 of 0."""
    shared, answered, true = sums.T
    both = answered + true
    return np.stack([_divided(shared, answered), _divided(shared, true), _divided(2 * shared, both)], axis=1)


def _divided(above: Floats, below: Floats) -> Floats:
    return np.divide(above, below, out=np.zeros_like(above), where=below > 0)


def _micro(
    true: csr_matrix, predicted: csr_matrix, outside: Floats, groups: Groups, confidence: float
) -> PrecisionRecall:
    counts = micro_counts(true, predicted, outside)
    return PrecisionRecall(**jackknifed(precision_recall_f1, counts, _NAMES, groups, confidence))


def _micro_of(truths: Sets, answers: Sets, groups: Groups, confidence: float) -> PrecisionRecall:
    counts = counts_of(truths, answers)
    return PrecisionRecall(**jackknifed(precision_recall_f1, counts, _NAMES, groups, confidence))


def counts_of(truths: Sets, answers: Answered) -> Floats:
    """Shape (n, 3): labels that truth and answer share, that the answer has, that the truth has."""
    pairs = [(set(truth), set(answer)) for truth, answer in zip(truths, read_sets(answers), strict=True)]
    return np.array([(len(true & predicted), len(predicted), len(true)) for true, predicted in pairs], float).reshape(
        -1, 3
    )


def micro_f1_values(truths: Sets, answers: Answered) -> Floats:
    """Each sample's part of micro F1, of shape (n,): `micro_f1_parts`."""
    return micro_f1_parts(counts_of(truths, answers))


def micro_f1_parts(counts: Floats) -> Floats:
    """Shape (n, 3) of counts (shared, answered, true) to each sample's part of micro F1, whose mean it is.

    The linearization of a ratio of two totals (Woodruff 1971, JASA 66:411): F + (2 shared - F (answered + true)) / m,
    with m the mean of answered + true; their variance over n is that of micro F1. So whatever is computed from samples'
    scores (paired differences, groups, seeds, contrasts, sign flips) holds for micro F1, too. A part may lie outside
    [0, 1].
    """
    shared, answered, true = counts.T
    size = answered + true
    mean = float(size.mean()) if len(size) else 0.0
    if mean == 0:
        return np.zeros(len(size))
    f1 = 2 * float(shared.mean()) / mean
    return np.asarray(f1 + (2 * shared - f1 * size) / mean)


def macro_features(true: csr_matrix, predicted: csr_matrix) -> csr_matrix:
    """Shape (n, 3 labels): what is shared, answered and true, label by label."""
    return csr_matrix(hstack([true.multiply(predicted), predicted, true], format="csr"))


def macro_precision_recall_f1(sums: Floats) -> Floats:
    """Shape (m, 3 labels) of summed features to the means over the labels of precision, recall and F1."""
    shared, answered, true = np.split(sums, 3, axis=1)
    scores = (_divided(shared, answered), _divided(shared, true), _divided(2 * shared, answered + true))
    return np.stack([score.sum(axis=1) / max(score.shape[1], 1) for score in scores], axis=1)  # 0 of no label at all


def _macro(true: csr_matrix, predicted: csr_matrix, groups: Groups, confidence: float) -> PrecisionRecall:
    features = macro_features(true, predicted)
    found = jackknifed(macro_precision_recall_f1, features, _NAMES, groups, confidence)
    return PrecisionRecall(**found)


def example_scores(counts: Floats) -> Floats:
    """Shape (n, 3) of counts to each sample's precision, recall and F1."""
    return precision_recall_f1(counts)


def _examples(
    true: csr_matrix, predicted: csr_matrix, outside: Floats, groups: Groups, confidence: float
) -> PrecisionRecall:
    each = example_scores(micro_counts(true, predicted, outside))
    return PrecisionRecall(**{name: mean_score(each[:, at], groups, confidence) for at, name in enumerate(_NAMES)})


def mean_score(values: Floats, groups: Groups, confidence: float) -> Score:
    """The mean of n values in [0, 1] with its interval."""
    sums = np.stack([values, np.ones(len(values))], axis=1)
    return jackknifed(lambda total: (total[:, 0] / total[:, 1])[:, None], sums, ("mean",), groups, confidence)["mean"]


def hierarchical_counts(truths: Sets, answers: Sets, tree: CodeTree) -> Floats:
    """Shape (n, 3): nodes that truth and answer share with all their ancestors, that the answer has, the truth has.

    A label that the tree does not have counts as a wrong one with as many nodes as a true label has in the mean: an
    invented code costs no less than a wrong one.
    """
    rows = []
    for truth, answer in zip(truths, answers, strict=True):
        lineages = [tree.lineage(label) or {label} for label in truth]
        asked = frozenset().union(*lineages)
        predicted = frozenset().union(*(tree.lineage(label) or {label} & asked for label in answer))
        invented = len({label for label in answer if not tree.lineage(label)} - asked)
        nodes = sum(map(len, lineages)) / len(lineages) if lineages else 1
        rows.append((len(predicted & asked), len(predicted) + invented * nodes, len(asked)))
    return np.array(rows, dtype=float)


def _hierarchical(truths: Sets, answers: Sets, tree: CodeTree, groups: Groups, confidence: float) -> PrecisionRecall:
    counts = hierarchical_counts(truths, answers, tree)
    return PrecisionRecall(**jackknifed(precision_recall_f1, counts, _NAMES, groups, confidence))


def _by_frequency(
    true: csr_matrix,
    predicted: csr_matrix,
    names: Sequence[str],
    train_samples: Mapping[str, int],
    groups: Groups,
    confidence: float,
) -> list[FrequencyScores]:
    frequency = np.array([train_samples.get(name, 0) for name in names])
    present = np.asarray(true.sum(axis=0)).ravel() > 0
    found = []
    for low, high in FREQUENCIES:
        chosen = (low <= frequency) & (frequency <= (high if high < math.inf else frequency.max(initial=0)))
        asked = int((chosen & present).sum())
        if asked:  # a label that is answered and never true is an error among those of its frequency
            here = _micro(true[:, chosen], predicted[:, chosen], np.zeros(true.shape[0]), groups, confidence)
            found.append(FrequencyScores(train_samples=span(low, high), labels=asked, micro=here))
    return found


# ---------------------------------------------------------------- ranked labels


def average_precisions(truths: Sets, rankings: Sets) -> Floats:
    """Each sample's mean, over its labels, of the precision at the label's rank; a label that is not ranked counts 0.

    A sample without labels counts 0.
    """
    result = np.zeros(len(truths))
    for number, (truth, ranking) in enumerate(zip(truths, rankings, strict=True)):
        hits = np.array([label in set(truth) for label in ranking], float)
        if len(hits) and truth:
            precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
            result[number] = (precision * hits).sum() / len(set(truth))
    return result


def _ranked_map(truths: Sets, rankings: Sets, groups: Groups, confidence: float) -> Score:
    return mean_score(average_precisions(truths, rankings), groups, confidence)


def hits_at(k: int, truths: Sets, rankings: Sets) -> NDArray[np.int64]:
    """Each sample's true labels among the k that are ranked first."""
    return np.array([len(set(truth) & set(ranking[:k])) for truth, ranking in zip(truths, rankings, strict=True)])


def _at_rank(k: int, truths: Sets, rankings: Sets, groups: Groups, confidence: float) -> AtRank:
    hits, sizes = hits_at(k, truths, rankings).astype(float), np.array([len(set(truth)) for truth in truths], float)
    return AtRank(
        k=k,
        precision=mean_score(hits / k, groups, confidence),
        recall=mean_score(_divided(hits, sizes), groups, confidence),
    )


# ---------------------------------------------------------------- two arms on the same samples


def micro_f1_difference(
    truths: Sets, first: Answered, second: Answered, groups: Groups, confidence: float
) -> Difference:
    """Micro F1 of `first` minus that of `second`, by its samples' parts: the verdict's estimand (docs/verdict.md)."""
    return paired_difference(micro_f1_values(truths, first), micro_f1_values(truths, second), confidence, groups)


def macro_f1_difference(
    truths: Sets, first: Answered, second: Answered, groups: Groups, confidence: float
) -> Difference:
    """Macro F1, over the labels among the truths, of `first` minus that of `second`."""
    names = sorted({label for each in truths for label in each})
    true = indicators(truths, names)

    def f1_of(answers: Answered) -> Jackknifed:
        features = macro_features(true, indicators(read_sets(answers), names))
        return jackknife(lambda sums: macro_precision_recall_f1(sums)[:, 2:], features, groups)

    return difference_of(f1_of(first), f1_of(second), groups, confidence)


def hierarchical_f1_difference(
    truths: Sets, first: Answered, second: Answered, tree: CodeTree, groups: Groups, confidence: float
) -> Difference:
    """Micro F1 over sets with all their ancestors, of `first` minus that of `second`."""

    def f1_of(answers: Answered) -> Jackknifed:
        counts = hierarchical_counts(truths, read_sets(answers), tree)
        return jackknife(lambda sums: precision_recall_f1(sums)[:, 2:], counts, groups)

    return difference_of(f1_of(first), f1_of(second), groups, confidence)


def exact_match_difference(
    truths: Sets, first: Answered, second: Answered, groups: Groups, confidence: float
) -> Difference:
    """Share of whole sets that `first` has right minus that of `second`."""
    return paired_difference(right_sets(truths, first), right_sets(truths, second), confidence, groups)
