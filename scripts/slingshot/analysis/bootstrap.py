"""The bootstrap over samples, vectorized: a resample is a row of weights, a statistic a function of many such rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

Floats = NDArray[np.float64]

Statistics = Callable[[Floats], Floats]

CHUNK_BYTES = 64 * 2**20  # of one block of weights: memory stays bounded whatever n and the number of resamples


def intervals(statistics: Statistics, n: int, confidence: float, resamples: int, seed: int) -> tuple[Floats, Floats]:
    """Point estimates of k statistics with their BCa bootstrap intervals (Efron 1987, JASA 82:171).

    The bootstrap of a macro average over rare labels is biased, which plain percentiles would pass on; BCa
    corrects for it. All statistics are computed from the same resamples.

    Args:
        statistics: takes weights of shape (m, n), how often each sample stands in each of m resamples, and returns
            values of shape (m, k). NaN marks a resample in which a statistic has no meaning; it is left out.
        n: number of samples, at least 1.

    Returns:
        Estimates of shape (k,), and bounds of shape (k, 2) that enclose them.
    """
    estimates = statistics(np.ones((1, n)))[0]
    replicates = np.concatenate([statistics(weights) for weights in resample_weights(n, resamples, seed)])
    left_out = np.concatenate([statistics(weights) for weights in _leave_one_out(n)]) if n > 1 else estimates[None]
    bounds = np.array(
        [
            _bca(replicates[:, column], left_out[:, column], estimate, confidence)
            for column, estimate in enumerate(estimates)
        ]
    )
    return estimates, bounds


def resample_weights(n: int, resamples: int, seed: int) -> Iterator[Floats]:
    """Blocks of shape (m, n): how often each of n samples is drawn, with replacement, in each of m resamples."""
    generator = np.random.default_rng(seed)
    block = max(1, CHUNK_BYTES // (8 * n))
    for start in range(0, resamples, block):
        rows = min(block, resamples - start)
        drawn = generator.integers(n, size=(rows, n)) + n * np.arange(rows)[:, None]
        yield np.bincount(drawn.ravel(), minlength=rows * n).reshape(rows, n).astype(np.float64)


def _leave_one_out(n: int) -> Iterator[Floats]:
    block = max(1, CHUNK_BYTES // (8 * n))
    for start in range(0, n, block):
        weights = np.ones((min(block, n - start), n))
        weights[np.arange(len(weights)), start + np.arange(len(weights))] = 0
        yield weights


def _bca(replicates: Floats, left_out: Floats, estimate: float, confidence: float) -> tuple[float, float]:
    replicates = replicates[~np.isnan(replicates)]
    left_out = left_out[~np.isnan(left_out)]
    if len(replicates) == 0 or np.isnan(estimate) or replicates.min() == replicates.max() == estimate:
        return estimate, estimate
    tails = np.array([(1 - confidence) / 2, (1 + confidence) / 2])
    below = (np.sum(replicates < estimate) + np.sum(replicates == estimate) / 2) / len(replicates)
    bias = norm.ppf(np.clip(below, 1 / (len(replicates) + 1), len(replicates) / (len(replicates) + 1)))
    deviations = left_out.mean() - left_out if len(left_out) else np.zeros(1)
    spread = np.sum(deviations**2) ** 1.5
    acceleration = np.sum(deviations**3) / (6 * spread) if spread > 0 else 0.0
    shifted = bias + norm.ppf(tails)
    levels = norm.cdf(bias + shifted / (1 - acceleration * shifted))
    low, high = np.quantile(replicates, levels)
    return min(float(low), estimate), max(float(high), estimate)
