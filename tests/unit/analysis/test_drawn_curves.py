"""Learning curves as they are drawn: a band that needs no shape, a power law where it fits best."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from slingshot.analysis import learning_curve
from slingshot.analysis.curve_shapes import fit_best_shape
from slingshot.analysis.scoring import proportion
from tests.unit.analysis.test_designs import SIZES, answers, law, sigmoid, steep


@pytest.mark.parametrize("true", [law, sigmoid, steep])
@pytest.mark.parametrize(("n", "noise"), [(150, 0.0), (1500, 0.02)])
def test_the_drawn_band_covers_between_two_sizes_under_any_shape(
    true: Callable[[Any], Any], n: int, noise: float
) -> None:
    """The band of a fitted power law covered 0.02 (n = 150) and 0.00 (n = 1,500) under a sigmoid."""
    generator = np.random.default_rng(n)
    covered = np.zeros(learning_curve.LINE_POINTS)
    for _ in range(40):
        errors = np.clip(true(SIZES) + generator.normal(0, noise, size=len(SIZES)), 0.01, 0.99)
        right = answers(generator, list(1 - errors), n)
        shape = fit_best_shape(SIZES, 1 - right.mean(axis=1))
        scores = [proportion(row, 0.95) for row in right]
        found = learning_curve.drawn_line(SIZES, scores, shape, learning_curve.training_noise(shape, []), 0.95)
        covered += [point.low <= 1 - true(point.train_samples) <= point.high for point in found]
    assert covered.min() >= 33  # of 40 at 95%: fewer with a chance under 0.1%, at any of the points


def test_a_power_laws_parameters_are_given_where_it_fits_best_and_nowhere_else() -> None:
    """Its asymptote's interval covered 0.53 under a sigmoid."""
    sizes = np.geomspace(100, 7000, 7)
    for true, there in ((law, True), (steep, False)):
        errors = true(sizes)
        shape = fit_best_shape(sizes, errors)
        assert learning_curve.follows_law(shape, errors, 1500, learning_curve.training_noise(shape, [])) is there
    few = fit_best_shape(sizes[:3], law(sizes[:3]))
    assert not learning_curve.follows_law(few, law(sizes[:3]), 1500, learning_curve.training_noise(few, []))
