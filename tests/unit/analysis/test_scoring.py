"""Intervals of an arm's scores cover where studies live: many labels, few samples, scores near 0 and 1, groups."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from slingshot.analysis.groups import Groups, groups_of, independent
from slingshot.analysis.scoring import (
    confusion_of,
    hierarchical_counts,
    hierarchical_f1,
    jackknifed,
    level_scores,
    proportion,
    ranked_scores,
)
from slingshot.analysis.significance import paired_difference
from slingshot.artifacts.labels import Label
from slingshot.artifacts.predictions import Candidate, Prediction

Pairs = tuple[NDArray[np.int64], NDArray[np.int64]]


def answered(generator: np.random.Generator, truths: NDArray[np.int64], labels: int, rate: float) -> Pairs:
    right = generator.random(len(truths)) < rate
    return truths, np.where(right, truths, generator.integers(labels, size=len(truths)))


def scores_of(pairs: Pairs, names: NDArray[np.str_]) -> list[tuple[float, float, float]]:
    """(value, low, high) of macro, weighted and micro F1."""
    scores = level_scores(list(names[pairs[0]]), list(names[pairs[1]]), independent(len(pairs[0])), 0.95)
    return [(one.value, one.low, one.high) for one in (scores.macro_f1, scores.weighted_f1, scores.micro_f1)]


@pytest.mark.parametrize(
    ("n", "labels", "rate", "trials"),
    [
        pytest.param(2500, 500, 0.5, 20, id="500 labels of 5 samples"),
        pytest.param(1500, 2000, 0.2, 40, id="MedSynth's test, 20%", marks=pytest.mark.slow),
        pytest.param(1500, 2000, 0.8, 20, id="MedSynth's test, 80%"),
        pytest.param(30, 5, 0.02, 300, id="30 samples, 2%"),
        pytest.param(30, 5, 0.98, 300, id="30 samples, 98%"),
        pytest.param(150, 5, 0.5, 300, id="150 samples"),
        pytest.param(30, 50, 0.02, 300, id="30 samples of 50 labels, 2%"),
        pytest.param(150, 50, 0.98, 300, id="150 samples of 50 labels, 98%"),
    ],
)
def test_f1_intervals_cover_the_expected_score(n: int, labels: int, rate: float, trials: int) -> None:
    """BCa covered 0.30 to 0.70 in the first three, 0.41 to 0.51 at the ends."""
    generator = np.random.default_rng(n + labels)
    names = np.array([f"L{number:04d}" for number in range(labels)])
    balanced = np.repeat(np.arange(labels), n // labels)
    drawn = []
    for _ in range(trials):
        truths = balanced if labels == 500 else generator.integers(labels, size=n)
        drawn.append(scores_of(answered(generator, truths, labels, rate), names))
    values, low, high = np.moveaxis(np.array(drawn), 2, 0)
    expected = values.mean(axis=0)
    covered = ((low <= expected) & (expected <= high)).mean(axis=0)
    assert (covered >= (0.80 if trials < 100 else 0.90)).all(), covered
    assert (high > low).all()


def test_macro_f1_depends_on_the_size_of_the_split_and_micro_f1_does_not() -> None:
    generator = np.random.default_rng(1)
    names = np.array([f"L{number:04d}" for number in range(300)])
    small, large = (
        np.mean(
            [scores_of(answered(generator, generator.integers(300, size=n), 300, 0.5), names) for _ in range(20)],
            axis=0,
        )[:, 0]
        for n in (150, 3000)
    )
    assert large[0] - small[0] > 0.01
    assert large[2] == pytest.approx(small[2], abs=0.03)


@pytest.mark.parametrize("shared", [0.0, 4.0])
def test_hierarchical_scores_of_0_and_1_have_a_width(shared: float) -> None:
    counts = np.array([[shared, 4.0, 4.0]] * 30)
    for score in jackknifed(hierarchical_f1, counts, ("precision", "recall", "f1"), independent(30), 0.95).values():
        assert score.value == shared / 4
        assert score.high - score.low > 0.1


@pytest.mark.parametrize("missed", [None, "E1399", "banana"])
def test_what_cannot_be_read_or_is_no_code_is_wrong_in_the_tree_too(missed: str | None) -> None:
    """10% right and 90% unreadable, or of no code, was a precision of 1."""
    truths = ["I10", "J069"] * 10
    given = ["I10", "J069", *[missed] * 18]
    precision, recall, f1 = hierarchical_f1(hierarchical_counts(given, truths, "icd10cm").sum(axis=0)[None])[0]
    assert precision == pytest.approx(0.1)
    assert recall == pytest.approx(0.1)
    assert f1 == pytest.approx(0.1)


def test_an_answer_that_is_no_code_or_label_makes_no_row_of_the_confusion() -> None:
    """`E1399` was a chapter of its own, with a row and a column."""
    found = confusion_of({"chapter": (["4", "4", "9"], ["4", "E1399", "10"])}, {}, "icd10cm")
    assert found is not None
    assert found.labels == ["4", "9", "10"]
    assert found.counts == [[1, 0, 0, 1], [0, 0, 1, 0], [0, 0, 0, 0]]
    known = {label: Label(label=label, train_samples=1) for label in ("a", "b")}
    plain = confusion_of({"label": (["a", "a"], ["b", "c"])}, known, "plain")
    assert plain is not None
    assert (plain.labels, plain.counts) == (["a", "b"], [[0, 1, 1], [0, 0, 0]])


@pytest.mark.parametrize("correlation", [0.3, 0.9])
def test_shares_of_groups_cover_and_say_their_design_effect(correlation: float) -> None:
    generator = np.random.default_rng(3)
    groups = Groups(np.repeat(np.arange(75), 4), 75)
    covered, effects, naive = 0, [], 0
    for _ in range(300):
        shared = generator.normal(size=75)[groups.index]
        right = np.sqrt(correlation) * shared + np.sqrt(1 - correlation) * generator.normal(size=300) < 0
        found, alone = proportion(right, 0.95, groups), proportion(right, 0.95)
        covered += found.low <= 0.5 <= found.high
        naive += alone.low <= 0.5 <= alone.high
        assert found.design_effect is not None
        assert alone.design_effect is None
        effects.append(found.design_effect)
    assert covered / 300 >= 0.92
    assert naive < covered
    assert 1.3 < np.mean(effects) < 4


def test_groups_of_unequal_size_cover_too() -> None:
    """Counted as 101 groups, one of 100 beside 100 single samples covered 0.76, and a difference 0.75."""
    generator = np.random.default_rng(5)
    groups = Groups(np.concatenate([np.arange(100), np.full(100, 100)]), 101)
    assert groups.freedom == pytest.approx(200**2 / (100 + 100**2) - 1)
    covered = differences = 0

    def hits(below: float) -> NDArray[np.bool_]:
        shared = generator.normal(size=101)[groups.index]
        return np.sqrt(0.9) * shared + np.sqrt(0.1) * generator.normal(size=200) < below

    for _ in range(200):
        first, second = hits(0.0), hits(-0.6745)  # half are right, and a quarter
        share, difference = proportion(first, 0.95, groups), paired_difference(first, second, 0.95, groups)
        covered += share.low <= 0.5 <= share.high
        differences += difference.low <= 0.25 <= difference.high
    assert covered / 200 >= 0.92
    assert differences / 200 >= 0.92


def test_many_samples_of_one_group_are_one_sample() -> None:
    """7,500 of 10,000 right in one group had the interval 69 to 80%, and a difference of 75 points 0 to 80."""
    right, wrong = np.arange(10_000) % 4 != 0, np.zeros(10_000, dtype=bool)
    found = proportion(right, 0.95, Groups(np.zeros(10_000, dtype=np.int64), 1))
    assert found.design_effect == 10_000
    assert found.low < 0.05
    assert found.high > 0.95
    difference = paired_difference(right, wrong, 0.95, Groups(np.zeros(10_000, dtype=np.int64), 1))
    assert difference.low < -0.9
    assert difference.high > 0.95


def test_groups_of_one_member_are_no_groups() -> None:
    frame = pd.DataFrame({"group": ["a", "b", "c", None]})
    assert not groups_of(frame).matter
    assert not groups_of(frame[[]]).matter
    some = groups_of(pd.DataFrame({"group": ["a", "b", "a", None, None]}))
    assert some.matter
    assert sorted(some.sizes) == [1, 1, 1, 2]
    assert some.among(np.array([True, False, False, True, True])).count == 3


def predicted(number: int, label: str, candidates: list[str]) -> Prediction:
    ranked = [Candidate(code=code, log_probability=-1.0 - rank) for rank, code in enumerate(candidates)]
    return Prediction(
        sample_id=str(number), label=label, raw="", code=None, candidates=ranked, prompt_tokens=1, new_tokens=1
    )


def test_a_sample_without_candidates_is_missed_and_hides_no_score() -> None:
    given = [predicted(number, "a", ["a", "b", "c"] if number % 2 else ["b", "a", "c"]) for number in range(20)]
    whole = ranked_scores(given, independent(20), 0.95)
    holed = ranked_scores([*given[:-1], predicted(19, "a", [])], independent(20), 0.95)
    assert whole is not None
    assert holed is not None
    assert (whole.top_1.value, holed.top_1.value) == (0.5, 0.45)
    assert whole.top_3 is not None
    assert holed.top_3 is not None
    assert (whole.top_3.value, holed.top_3.value) == (1.0, 0.95)
    assert (whole.without_candidates, holed.without_candidates) == (0, 1)
    assert holed.brier is not None
    assert holed.brier.n == 19
    assert holed.top_5 is None
    assert ranked_scores([predicted(0, "a", [])], independent(1), 0.95) is None


def test_probabilities_of_one_group_are_not_judged() -> None:
    """Its calibration error was 0.0, as no pair of samples of different groups is there."""
    given = [predicted(number, "a", ["b", "a"]) for number in range(20)]
    found = ranked_scores(given, Groups(np.zeros(20, dtype=np.int64), 1), 0.95)
    assert found is not None
    assert (found.brier, found.brier_parts, found.calibration_error) == (None, None, None)
