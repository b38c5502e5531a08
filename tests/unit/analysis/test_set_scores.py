"""Scores of sets: scikit-learn equals ours to the last digits; intervals cover as they say."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import label_ranking_average_precision_score, precision_recall_fscore_support

from slingshot.analysis.groups import independent, of_names
from slingshot.analysis.set_scores import (
    RANKS,
    average_precisions,
    exact_match_difference,
    hierarchical_counts,
    indicators,
    macro_f1_difference,
    micro_counts,
    micro_f1_difference,
    precision_recall_f1,
    set_scores,
)
from slingshot.data import icd10

Sets = list[list[str]]


def drawn(seed: int, n: int = 120, labels: int = 30, noise: float = 0.3) -> tuple[Sets, Sets, Sets, dict[str, int]]:
    """Truths, answers that are often right, rankings of all labels, and the labels' samples in train."""
    random = np.random.default_rng(seed)
    names = [f"L{number:03}" for number in range(labels)]
    share = np.linspace(0.02, 0.3, labels)
    true = random.random((n, labels)) < share
    predicted = np.where(random.random((n, labels)) < noise, random.random((n, labels)) < share, true)
    scores = predicted + random.random((n, labels))
    sets = [[[names[c] for c in np.flatnonzero(row)] for row in table] for table in (true, predicted)]
    rankings = [[names[c] for c in np.argsort(-row)] for row in scores]
    train = {name: int(count) for name, count in zip(names, random.integers(0, 80, labels), strict=True)}
    return sets[0], sets[1], rankings, train


def scored(seed: int, **more: Any) -> Any:
    truths, answers, rankings, train = drawn(seed)
    return set_scores(truths, answers, rankings, train, None, independent(len(truths)), 0.95, **more)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("ours", ["micro", "macro", "macro_code_set", "examples"])
def test_scikit_learn_equals_ours(seed: int, ours: str) -> None:
    truths, answers, _, train = drawn(seed)
    names = sorted(train)
    if ours == "macro":
        names = sorted({label for each in truths for label in each})
    true, predicted = (indicators(each, names).toarray() for each in (truths, answers))
    average = {"examples": "samples", "macro_code_set": "macro"}.get(ours, ours)
    theirs = precision_recall_fscore_support(true, predicted, average=average, zero_division=0)[:3]
    found = getattr(scored(seed), ours)
    assert (found.precision.value, found.recall.value, found.f1.value) == pytest.approx(theirs, abs=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_mean_average_precision_is_that_of_scikit_learn(seed: int) -> None:
    truths, _, rankings, train = drawn(seed)
    names = sorted(train)
    kept = [number for number, truth in enumerate(truths) if truth]  # scikit-learn gives an empty set 1, we 0
    true = indicators([truths[number] for number in kept], names).toarray()
    score = np.array([[-rankings[number].index(name) for name in names] for number in kept])
    theirs = label_ranking_average_precision_score(true, score)
    ours = average_precisions([truths[number] for number in kept], [rankings[number] for number in kept])
    assert ours.mean() == pytest.approx(theirs, abs=1e-12)
    found = scored(seed).mean_average_precision
    assert found.value == pytest.approx(theirs * len(kept) / len(truths))


def test_precision_and_recall_at_k_by_hand() -> None:
    found = set_scores(
        [["a", "b", "c"], ["d"], []],
        [["a"], ["d"], []],
        [["a", "x", "b", "y", "z", "c"], ["x", "y", "z", "u", "v", "d"], ["a", "b"]],
        dict.fromkeys("abcdxyzuv", 1),
        None,
        independent(3),
        0.95,
    )
    assert [rank.k for rank in found.at_rank] == list(RANKS)
    assert found.at_rank[0].precision.value == pytest.approx((2 / 5 + 0 + 0) / 3)
    assert found.at_rank[0].recall.value == pytest.approx((2 / 3 + 0 + 0) / 3)
    assert found.at_rank[1].recall.value == pytest.approx((1 + 1 + 0) / 3)
    assert found.mean_average_precision.value == pytest.approx(((1 + 2 / 3 + 3 / 6) / 3 + 1 / 6) / 3)
    assert found.exact_match.value == pytest.approx(2 / 3)
    assert (found.mean_labels, found.mean_answered) == (pytest.approx(4 / 3), pytest.approx(2 / 3))


def test_answers_outside_the_study_count_against_precision() -> None:
    found = set_scores([["a"]] * 4, [["a", "z"]] * 4, None, {"a": 1}, None, independent(4), 0.95)
    assert found.micro.precision.value == found.examples.precision.value == 0.5
    assert (found.exact_match.value, found.mean_average_precision, found.at_rank) == (0, None, [])


def test_hierarchical_counts_are_over_sets_with_their_ancestors() -> None:
    [(shared, predicted, true)] = hierarchical_counts([["A047", "I10"]], [["A048", "I10"]], icd10)  # type: ignore[arg-type]
    both = icd10.lineage("A047") | icd10.lineage("I10")
    other = icd10.lineage("A048") | icd10.lineage("I10")
    assert (shared, predicted, true) == (len(both & other), len(other), len(both))
    assert precision_recall_f1(np.array([[shared, predicted, true]]))[0, 2] > 0.5


def test_an_invented_code_costs_no_less_than_a_wrong_one() -> None:
    """`E1399` counted as one node beside the three or four of a code of the tree."""

    def precision(answer: str) -> float:
        counts = hierarchical_counts([["A047"]], [["A047", answer]], icd10)  # type: ignore[arg-type]
        return float(precision_recall_f1(counts)[0, 0])

    assert precision("E1399") == precision("E119") == 0.5
    unknown = hierarchical_counts([["OWN"]], [["OWN"]], icd10)  # type: ignore[arg-type]
    assert unknown.tolist() == [[1, 1, 1]]


def test_by_frequency_parts_add_up() -> None:
    truths, answers, _, train = drawn(3)
    names = sorted(train)
    counts = micro_counts(indicators(truths, names), indicators(answers, names)).sum(axis=0)
    parts = scored(3).by_train_frequency
    assert sum(part.labels for part in parts) == scored(3).test_labels
    assert all(0 <= part.micro.f1.low <= part.micro.f1.value <= part.micro.f1.high <= 1 for part in parts)
    assert scored(3).micro.recall.value == pytest.approx(counts[0] / counts[2])


def test_a_label_that_is_answered_and_never_true_is_an_error_of_its_frequency() -> None:
    """Over the labels of test alone the rare ones had a precision of 1 and an F1 of 1."""
    truths: Sets = [["rare"], ["rare"], ["common"], ["common"]]
    answers: Sets = [["rare", "odd"], ["rare", "odd"], ["common"], ["common", "odd"]]
    train = {"rare": 2, "odd": 3, "common": 60}
    rare, common = set_scores(truths, answers, None, train, None, independent(4), 0.95).by_train_frequency
    assert (rare.train_samples, rare.labels) == ("1-4", 1)
    assert rare.micro.precision.value == pytest.approx(2 / 5)
    assert rare.micro.f1.value == pytest.approx(4 / 7)
    assert common.micro.f1.value == 1


def test_differences_have_the_sign_and_size_of_the_scores() -> None:
    truths, good, _, train = drawn(1, noise=0.1)
    bad = drawn(1, noise=0.6)[1]
    groups = independent(len(truths))
    first, second = (set_scores(truths, each, None, train, None, groups, 0.95) for each in (good, bad))
    micro = micro_f1_difference(truths, good, bad, groups, 0.95)
    macro = macro_f1_difference(truths, good, bad, groups, 0.95)
    exact = exact_match_difference(truths, good, bad, groups, 0.95)
    assert micro.value == pytest.approx(first.micro.f1.value - second.micro.f1.value)
    assert macro.value == pytest.approx(first.macro.f1.value - second.macro.f1.value)
    assert exact.value == pytest.approx(first.exact_match.value - second.exact_match.value)
    assert micro.low > 0
    assert macro.low > 0
    doubled = micro_f1_difference(truths * 2, good * 2, bad * 2, of_names(np.tile(np.arange(len(truths)), 2)), 0.95)
    assert doubled.high - doubled.low > 0.9 * (micro.high - micro.low)  # copies of documents are no new ones


@pytest.mark.parametrize(
    ("labels", "repeats"),
    [(50, 50), pytest.param(50, 1000, marks=pytest.mark.slow), pytest.param(1000, 400, marks=pytest.mark.slow)],
)
def test_intervals_of_micro_f1_and_its_difference_cover_as_they_say(labels: int, repeats: int) -> None:
    """5 to 15 labels per document, documents of different difficulty; nominal 95%, bound four standard errors below."""
    random = np.random.default_rng(11)
    popular = random.dirichlet(np.full(labels, 0.5))

    def documents(n: int) -> tuple[Sets, Sets, Sets]:
        truths, answers = [], [[], []]
        for _ in range(n):
            size = random.integers(5, 16)
            truth = [f"L{c}" for c in random.choice(labels, size, replace=False, p=0.5 * popular + 0.5 / labels)]
            skill = random.beta(4, 4)
            for arm, boost in enumerate((0.1, 0.0)):
                kept = [label for label in truth if random.random() < min(skill + boost, 1)]
                wrong = [f"L{c}" for c in random.integers(labels, size=random.poisson(2))]
                answers[arm].append(list(dict.fromkeys(kept + wrong)))
            truths.append(truth)
        return truths, answers[0], answers[1]

    def f1s(truths: Sets, *arms: Sets) -> list[float]:
        names = [f"L{c}" for c in range(labels)]
        true = indicators(truths, names)
        return [precision_recall_f1(micro_counts(true, indicators(arm, names)).sum(axis=0)[None])[0, 2] for arm in arms]

    expected = f1s(*documents(20_000))
    covered = np.zeros(2)
    groups = independent(100)
    for _ in range(repeats):
        truths, first, second = documents(100)
        names = {label: 1 for each in truths for label in each}
        score = set_scores(truths, first, None, names, None, groups, 0.95).micro.f1
        difference = micro_f1_difference(truths, first, second, groups, 0.95)
        covered += [
            score.low <= expected[0] <= score.high,
            difference.low <= expected[0] - expected[1] <= difference.high,
        ]
    assert (covered / repeats >= 0.93 - 4 * math.sqrt(0.93 * 0.07 / repeats)).all(), covered / repeats


def test_a_split_of_empty_sets_has_scores() -> None:
    """Macro F1 over no label was a division by 0."""
    truths: Sets = [[], [], []]
    found = set_scores(truths, [[], ["a"], None], None, {"a": 5}, None, independent(3), 0.95)
    assert found.exact_match.value == pytest.approx(1 / 3)
    assert found.macro.f1.value == found.micro.f1.value == 0
    difference = macro_f1_difference(truths, [[], ["a"], None], truths, independent(3), 0.95)
    assert difference.low < difference.value == 0 < difference.high
