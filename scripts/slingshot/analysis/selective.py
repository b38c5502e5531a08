"""Selective coding: which share of the samples an arm can code without a human, at a wanted precision.

An arm answers with its best candidate and says how likely it is. Answers above a threshold are taken, the rest go to
a human (Chow 1970; El-Yaniv and Wiener 2010 call the two sides coverage and selective risk). The threshold is fitted
on validation; coverage and precision are those of test, so that they may miss the wanted precision.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from slingshot.analysis.groups import Correct, Floats, Groups
from slingshot.analysis.scoring import proportion
from slingshot.artifacts.predictions import Prediction
from slingshot.artifacts.rivalry import CoveragePoint, SelectiveCoding

CURVE_POINTS = 100


def certainty(predictions: Sequence[Prediction]) -> tuple[Floats, Correct]:
    """Each sample's probability of the best candidate (0 without one), and whether that is the label: (samples,)."""
    best = [prediction.candidates[0] if prediction.candidates else None for prediction in predictions]
    probability = np.array([np.exp(one.log_probability) if one else 0.0 for one in best])
    right = [one is not None and one.code == each.label for one, each in zip(best, predictions, strict=True)]
    return probability, np.array(right, dtype=bool)


def fitted_threshold(probability: Floats, right: Correct, wanted: float) -> float | None:
    """The lowest probability at which those at least as likely are right as often as wanted; None: there is none.

    >>> fitted_threshold(np.array([0.9, 0.8, 0.7, 0.6]), np.array([True, True, False, True]), 0.75)
    0.6
    """
    order = np.argsort(-probability, kind="stable")
    sorted_probability = probability[order]
    precision = np.cumsum(right[order]) / np.arange(1, len(order) + 1)
    last_of_equals = np.append(sorted_probability[1:] < sorted_probability[:-1], True)
    reached = np.flatnonzero((precision >= wanted) & last_of_equals & (sorted_probability > 0))
    return float(sorted_probability[reached[-1]]) if len(reached) else None


def curve_of(probability: Floats, right: Correct) -> list[CoveragePoint]:
    """Coverage and precision over all thresholds, from the surest sample on; equal probabilities come together."""
    order = np.argsort(-probability, kind="stable")
    precision = np.cumsum(right[order]) / np.arange(1, len(order) + 1)
    ends = np.flatnonzero(np.append(np.diff(probability[order]) < 0, True))
    if len(ends) > CURVE_POINTS:
        ends = ends[np.linspace(0, len(ends) - 1, CURVE_POINTS).round().astype(int)]
    return [CoveragePoint(coverage=float((end + 1) / len(order)), precision=float(precision[end])) for end in ends]


def selective_coding(
    arm: str,
    test: Sequence[Prediction],
    validation: Sequence[Prediction],
    wanted: float,
    confidence: float,
    groups: Groups | None = None,
) -> SelectiveCoding:
    """Fit the threshold on validation, and judge it on test.

    Args:
        test, validation: answers with candidates; neither is empty.
        wanted: the precision that is asked for, a share.
        groups: of the test samples; None: each stands for itself.
    """
    probability, right = certainty(validation)
    threshold = fitted_threshold(probability, right, wanted)
    held_out = probability >= threshold if threshold is not None else np.zeros(len(probability), bool)
    test_probability, test_right = certainty(test)
    covered = test_probability >= threshold if threshold is not None else np.zeros(len(test_probability), bool)
    return SelectiveCoding(
        arm=arm,
        wanted_precision=wanted,
        threshold=threshold,
        validation_samples=len(validation),
        validation_coverage=float(held_out.mean()),
        validation_precision=float(right[held_out].mean()) if held_out.any() else None,
        coverage=proportion(covered, confidence, groups),
        precision=proportion(test_right[covered], confidence, groups.among(covered) if groups else None)
        if covered.any()
        else None,
        curve=curve_of(test_probability, test_right),
    )
