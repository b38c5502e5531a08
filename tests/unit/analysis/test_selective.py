"""Selective coding: thresholds by hand, and by simulation what a threshold from validation keeps on test."""

import numpy as np
import pytest

from slingshot.analysis.selective import certainty, curve_of, fitted_threshold, selective_coding
from slingshot.artifacts.predictions import Candidate, Prediction


def predictions(probability, right):
    return [
        Prediction(
            sample_id=str(number),
            label="A",
            raw="",
            code="A",
            candidates=[Candidate(code="A" if good else "B", log_probability=float(np.log(share)))],
            prompt_tokens=0,
            new_tokens=0,
        )
        for number, (share, good) in enumerate(zip(probability, right, strict=True))
    ]


@pytest.mark.parametrize(
    ("probability", "right", "wanted", "threshold"),
    [
        ([0.9, 0.8, 0.7, 0.6], [1, 1, 0, 1], 0.75, 0.6),
        ([0.9, 0.8, 0.7, 0.6], [1, 1, 0, 1], 0.95, 0.8),
        ([0.9, 0.8, 0.7, 0.6], [0, 1, 1, 1], 0.9, None),
        ([0.9, 0.7, 0.7, 0.6], [1, 1, 0, 1], 0.95, 0.9),  # equal probabilities are taken together
        ([0.6, 0.9], [0, 1], 1.0, 0.9),  # in any order
        ([0.0, 0.0], [1, 1], 0.5, None),  # nothing is known of either
    ],
)
def test_the_threshold_is_the_lowest_with_the_wanted_precision(probability, right, wanted, threshold):
    assert fitted_threshold(np.array(probability), np.array(right, bool), wanted) == threshold


def test_test_is_judged_with_the_threshold_of_validation():
    validation = predictions([0.9, 0.8, 0.7], [True, True, False])
    test = predictions([0.95, 0.85, 0.75, 0.1], [True, False, True, True])
    found = selective_coding("slm/a", test, validation, 0.95, 0.95)
    assert found.threshold == pytest.approx(0.8)
    assert (found.coverage.value, found.precision.value, found.precision.n) == (0.5, 0.5, 2)
    assert (found.validation_coverage, found.validation_precision) == (pytest.approx(2 / 3), 1.0)
    assert found.curve[-1].coverage == 1 and found.curve[-1].precision == 0.75


def test_where_no_threshold_is_good_enough_nothing_is_covered():
    found = selective_coding("a", predictions([0.9], [True]), predictions([0.9, 0.8], [False, True]), 0.95, 0.95)
    assert found.threshold is None and found.precision is None and found.coverage.value == 0


def test_a_sample_without_candidates_is_never_covered():
    none = predictions([0.5], [True])[0].model_copy(update={"candidates": []})
    probability, right = certainty([none])
    assert probability.tolist() == [0.0] and right.tolist() == [False]


def test_the_curve_is_short_and_falls_with_calibrated_probabilities():
    draw = np.random.default_rng(0)
    probability = draw.uniform(size=5000)
    curve = curve_of(probability, draw.uniform(size=5000) < probability)
    assert len(curve) == 100
    assert np.mean([point.precision for point in curve[:30]]) > np.mean([point.precision for point in curve[-30:]])


def test_with_calibrated_probabilities_the_promise_is_kept_on_average():
    """The threshold is chosen for the precision that it has on validation, so that test has a little less."""
    draw = np.random.default_rng(1)
    kept, coverage = [], []
    for _ in range(60):
        samples = []
        for _ in range(2):
            probability = draw.beta(4, 1, size=300)
            samples.append(predictions(probability, draw.uniform(size=300) < probability))
        found = selective_coding("a", samples[0], samples[1], 0.9, 0.95)
        if found.precision:
            kept.append(found.precision.value)
            coverage.append(found.coverage.value)
    assert len(kept) >= 55
    assert 0.87 < np.mean(kept) < 0.91
    assert 0.4 < np.mean(coverage) < 0.9
