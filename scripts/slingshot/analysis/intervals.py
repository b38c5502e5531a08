"""Confidence intervals that keep their width where a score is 0 or 1, for samples alone or in groups.

docs/statistics.md has the coverage of each, measured; benchmarks/coverage.py measures it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix

from slingshot.analysis.groups import Floats, Groups, design_effect
from slingshot.artifacts.metrics import Difference
from slingshot.core.distributions import student_quantile

Function = Callable[[Floats], Floats]

BLOCK_BYTES = 16 * 2**20  # of one block of sums: memory stays bounded whatever the number of groups and labels


@dataclass(frozen=True)
class Jackknifed:
    """k statistics: estimates (k,), their values with each of g groups left out (g, k), and variances (k,)."""

    values: Floats
    left_out: Floats
    variances: Floats


def critical(confidence: float, groups: Groups) -> float:
    """Student's two-sided quantile with the groups' degrees of freedom: of n single samples n - 1."""
    return student_quantile((1 + confidence) / 2, groups.freedom)


def wilson_interval(share: float, n: float, quantile: float) -> tuple[float, float]:
    """Wilson's score interval (1927, JASA 22:209) of a share over n samples; n may be effective, so fractional."""
    middle = (share + quantile**2 / (2 * n)) / (1 + quantile**2 / n)
    reach = quantile / (1 + quantile**2 / n) * np.sqrt(share * (1 - share) / n + quantile**2 / (4 * n**2))
    return max(min(float(middle - reach), share), 0.0), min(max(float(middle + reach), share), 1.0)


def jackknife(function: Function, features: Floats | csr_matrix, groups: Groups) -> Jackknifed:
    """Leave each group out in turn (Efron and Stein 1981, Annals of Statistics 9:586).

    Args:
        function: takes sums of the features over some samples, shape (m, f), and returns statistics of shape (m, k);
            NaN where a statistic has no meaning
        features: what each sample adds, shape (n, f); sparse where most of it is 0
    """
    total = np.asarray(features.sum(axis=0), dtype=float).reshape(1, -1)
    values = function(total)[0]
    if groups.count < 2:
        return Jackknifed(values, values[None], np.zeros_like(values))
    parts = groups.sums(features)
    rows = max(1, BLOCK_BYTES // (8 * max(total.shape[1], 1)))
    left_out = np.concatenate(
        [function(total - _dense(parts[start : start + rows])) for start in range(0, groups.count, rows)]
    )
    there = (~np.isnan(left_out)).sum(axis=0)
    means = np.nansum(left_out, axis=0) / np.maximum(there, 1)
    squares = np.nansum((left_out - means) ** 2, axis=0)
    return Jackknifed(values, left_out, (there - 1) / np.maximum(there, 1) * squares)


def _dense(part: Floats | csr_matrix) -> Floats:
    return part.toarray() if isinstance(part, csr_matrix) else part


def jackknife_interval(
    value: float, variance: float, groups: Groups, confidence: float, capped: bool = False
) -> tuple[float, float]:
    """The interval of a score in [0, 1]: Wilson's, over as many samples as would give a share this variance.

    An effective sample size n* = v (1 - v) / variance makes it wide enough for whatever the score is (Korn and Graubard
    1998, Survey Methodology 24:193, do so for shares in samples of clusters), and the score interval keeps its width
    near 0 and 1. Where the variance is 0 it cannot be estimated: the interval is then that of a share whose value is
    the same for all members of a group.

    Args:
        capped: n* is at most the number of samples, so that no average over labels is surer than a share would be: rare
            labels make the jackknife's variance too small. Not for what gives partial credit, which is surer.
    """
    n = len(groups.index)
    effective = value * (1 - value) / variance if variance > 0 and 0 < value < 1 else n / groups.largest_effect
    return wilson_interval(value, min(effective, n) if capped else effective, critical(confidence, groups))


def mean_interval(values: Floats, extreme: float, groups: Groups, confidence: float) -> tuple[float, float]:
    """The interval of the mean of n values in [-extreme, extreme], 0 among them, e.g. of differences or contrasts.

    Student's after one sample at 0 and half a one at either extreme are added, so that it keeps its width where all
    values are the same (Agresti and Min 2005, Statistics in Medicine 24:729, for paired shares).
    """
    center, variance = padded_mean(values, extreme, groups)
    reach = critical(confidence, groups) * np.sqrt(variance)
    mean = float(values.mean())
    return max(min(float(center - reach), mean), -extreme), min(max(float(center + reach), mean), extreme)


def padded_mean(values: Floats, extreme: float, groups: Groups) -> tuple[float, float]:
    """The mean and its variance with two samples' worth of doubt: one at 0 and half a one at either extreme."""
    total = len(values) + 2
    center = float(values.sum()) / total
    spread = (float(np.sum(values**2)) + extreme**2) / total - center**2
    return center, spread / total * design_effect(values, groups)


def difference_of(first: Jackknifed, second: Jackknifed, groups: Groups, confidence: float) -> Difference:
    """The difference of two arms' scores that are no means, e.g. of F1: each one statistic, on the same samples.

    MOVER, the method of variance estimates recovery (Zou and Donner 2008, Statistics in Medicine 27:1693), which for
    two shares is Newcombe's (1998, Statistics in Medicine 17:2635): distances to the ends of the two scores' own
    intervals square and add, less what the two arms have in common by the jackknife's correlation. No shorter than
    Tango's interval of two shares that never differ.
    """
    (value, low, high), (other, other_low, other_high) = (
        (
            float(each.values[0]),
            *jackknife_interval(float(each.values[0]), float(each.variances[0]), groups, confidence),
        )
        for each in (first, second)
    )
    down, up, other_down, other_up = value - low, high - value, other - other_low, other_high - other
    common = 0.0
    if first.variances[0] > 0 and second.variances[0] > 0:
        common = float(np.clip(np.corrcoef(first.left_out[:, 0], second.left_out[:, 0])[0, 1], -1, 1))
    below = np.sqrt(max(down**2 + other_up**2 - 2 * common * down * other_up, 0.0))
    above = np.sqrt(max(up**2 + other_down**2 - 2 * common * up * other_down, 0.0))
    square = critical(confidence, groups) ** 2
    least = square / (len(groups.index) / groups.largest_effect + square)
    return Difference(
        value=value - other,
        low=max(value - other - max(float(below), least), -1.0),
        high=min(value - other + max(float(above), least), 1.0),
        n=len(groups.index),
        method="jackknife",
    )
