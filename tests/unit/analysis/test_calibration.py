"""Probabilities that are right are not called wrong, and wrong ones are found."""

from __future__ import annotations

import numpy as np
import pytest

from slingshot.analysis.calibration import brier_parts, brier_score, calibration_bins, calibration_error
from slingshot.analysis.groups import Groups, independent


@pytest.mark.parametrize("n", [30, 150, 1500])
@pytest.mark.parametrize("shape", [(1, 1), (8, 2), (500, 10)])
def test_a_calibrated_arm_has_an_interval_from_0(n: int, shape: tuple[float, float]) -> None:
    """The expected calibration error of such an arm was 18.1, 8.5 and 2.7% with an interval that never held 0."""
    generator = np.random.default_rng(n)
    holds, values = 0, []
    for _ in range(100):
        probabilities = generator.beta(*shape, size=n)
        found = calibration_error(probabilities, generator.random(n) < probabilities, independent(n), 0.95)
        holds += found.low == 0
        values.append(found.value)
        assert found.high > 0
    assert holds >= 93
    assert np.mean(values) < 1.2 / n**0.5 / 2


@pytest.mark.parametrize("n", [30, 150, 1500])
def test_the_interval_of_an_overconfident_arm_covers(n: int) -> None:
    generator = np.random.default_rng(n)
    covered = 0
    for _ in range(200):
        probabilities = generator.beta(6, 2, size=n)
        found = calibration_error(probabilities, generator.random(n) < 0.6 * probabilities, independent(n), 0.95)
        covered += found.low <= 0.305 <= found.high  # root mean square of 0.4 p
    assert covered >= 174


def test_pairs_within_a_group_count_for_nothing() -> None:
    """Ten copies of each sample are no better evidence: the error stays unbiased, its interval as wide."""
    generator = np.random.default_rng(1)
    values, holds = [], 0
    for _ in range(100):
        probabilities = np.repeat(generator.beta(2, 2, size=60), 10)
        correct = np.repeat(generator.random(60) < probabilities[::10], 10)
        found = calibration_error(probabilities, correct, Groups(np.repeat(np.arange(60), 10), 60), 0.95)
        values.append(found.value**2)
        holds += found.low == 0
    assert holds >= 93
    assert np.mean(values) < 0.02


def test_the_briers_parts_add_up() -> None:
    generator = np.random.default_rng(2)
    probabilities = generator.beta(2, 2, size=40_000)
    correct = generator.random(40_000) < probabilities**2
    parts = brier_parts(probabilities, correct, independent(40_000))
    score = brier_score(probabilities, correct, independent(40_000), 0.95)
    assert score.low < score.value < score.high < score.low + 0.02
    assert score.value == pytest.approx(np.mean((probabilities - correct) ** 2))
    assert parts.reliability - parts.resolution + parts.uncertainty == pytest.approx(score.value, abs=0.003)


def test_the_curve_has_each_bin() -> None:
    probabilities = np.array([0.95, 0.95, 0.95, 0.95, 0.15, 0.15])
    correct = np.array([True, True, True, False, False, False])
    bins = calibration_bins(probabilities, correct)
    assert [(each.n, each.accuracy) for each in bins if each.n] == [(2, 0.0), (4, 0.75)]
