"""Margins: judged by the whole interval, and seldom wrong."""

from __future__ import annotations

import numpy as np
import pytest

from slingshot.analysis.decision import margin_finding
from slingshot.analysis.significance import paired_difference
from slingshot.artifacts.metrics import Difference
from slingshot.config.reporting import Statistics
from tests.unit.analysis.simulated_arms import Simulated, draw_arms, judge_arms


@pytest.mark.parametrize(
    ("low", "high", "finding"),
    [
        (-0.02, 0.02, "equivalent"),
        (-0.02, 0.2, "first_not_worse"),
        (-0.2, 0.02, "second_not_worse"),
        (-0.2, 0.2, None),
        (-0.03, 0.02, "second_not_worse"),
    ],
)
def test_a_margin_is_judged_by_the_whole_interval(low: float, high: float, finding: str | None) -> None:
    difference = Difference(value=0.0, low=low, high=high, n=100, method="tango")
    assert margin_finding(difference, 3.0) == finding
    assert margin_finding(difference, None) is None


def test_arms_that_differ_by_the_margin_are_seldom_called_equivalent() -> None:
    generator, found = np.random.default_rng(8), 0
    for _ in range(400):
        first, second = generator.random((2, 1500)) < np.array([[0.55], [0.5]])
        difference = paired_difference(first, second, 0.95)
        found += margin_finding(difference, 5.0) in ("equivalent", "second_not_worse")
    assert found / 400 <= 0.05


def test_equal_arms_are_equivalent_within_a_margin() -> None:
    arms = draw_arms(np.random.default_rng(2), 3000, llm_a=0.5, slm_c=0.5)
    simulated = [Simulated(path, right) for path, right in arms.items()]
    verdict, _ = judge_arms(simulated, Statistics(resamples=500, margin=5))
    assert verdict.outcome == "undecided"
    assert "equal within 5 points" in verdict.sentence
    assert "equal within 5 points" in verdict.evidence[0]
