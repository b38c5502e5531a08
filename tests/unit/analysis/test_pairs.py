"""Families of pairs: no missing result loosens a correction, and their intervals hold at once."""

from __future__ import annotations

import numpy as np

from slingshot.analysis.pairs import compare_pairs, pairs_of
from slingshot.config.reporting import Statistics
from tests.unit.analysis.simulated_arms import LABELS, SETTINGS, Simulated, draw_arms, right_first


def test_a_missing_result_loosens_nothing() -> None:
    arms = [
        Simulated("llm/a", right_first(200, 10)),
        Simulated("llm/b", right_first(200, 10)),
        Simulated("slm/c", right_first(200, 30)),
    ]
    outcomes = [arm.outcome for arm in arms]
    declared = [each.arm for each in outcomes]
    whole = compare_pairs(pairs_of(declared, outcomes), "free", LABELS, SETTINGS)
    part = compare_pairs(pairs_of(declared, [outcomes[0], outcomes[2]]), "free", LABELS, SETTINGS)
    assert part == [pair for pair in whole if pair.second == "llm/a"]


def test_all_intervals_of_a_family_hold_at_once() -> None:
    """Four pairs with true differences of 5 points: simultaneous intervals cover all four, single ones do not."""
    generator = np.random.default_rng(6)
    held = {"difference": 0, "simultaneous": 0}
    for _ in range(150):
        arms = draw_arms(generator, 300, llm_a=0.4, llm_b=0.4, slm_c=0.45, slm_d=0.45)
        outcomes = [Simulated(path, right).outcome for path, right in arms.items()]
        pairs = compare_pairs(
            pairs_of([each.arm for each in outcomes], outcomes), "free", LABELS, Statistics(resamples=1000)
        )
        for name in held:
            held[name] += all(getattr(pair, name).low <= 0.05 <= getattr(pair, name).high for pair in pairs)
    assert held["simultaneous"] / 150 >= 0.93
    assert held["difference"] < held["simultaneous"]
