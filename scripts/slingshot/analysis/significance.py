"""Paired comparisons of two arms on the same samples: interval, exact test, effect size, power."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from slingshot.artifacts.metrics import Difference

Correct = NDArray[np.bool_]

FEW_DISCORDANT = 10  # below, a resample often holds no discordant pair and the bootstrap's interval is too short


def discordant(first: Correct, second: Correct) -> tuple[int, int]:
    """Samples that only the first arm answers rightly, and that only the second does."""
    return int(np.sum(first & ~second)), int(np.sum(~first & second))


def paired_difference(first: Correct, second: Correct, confidence: float, resamples: int, seed: int) -> Difference:
    """Accuracy of `first` minus that of `second`, with a paired bootstrap interval.

    A resample of n pairs matters only through its counts of pairs that one arm alone has right, which are multinomial:
    drawing these counts is the bootstrap over samples, exactly, in a thousandth of the time. Percentile interval. With
    fewer than FEW_DISCORDANT such pairs it is Agresti and Min's (2005, Statistics in Medicine 24:729) instead: Wald's
    interval after half a pair is added to each of the four cells.
    """
    n = len(first)
    only_first, only_second = discordant(first, second)
    value = (only_first - only_second) / n
    if only_first + only_second < FEW_DISCORDANT:
        low, high = _agresti_min(only_first, only_second, n, confidence)
        return Difference(value=value, low=min(low, value), high=max(high, value), n=n, method="agresti-min")
    shares = np.array([only_first, only_second, n - only_first - only_second]) / n
    counts = np.random.default_rng(seed).multinomial(n, shares, size=resamples)
    low, high = np.quantile((counts[:, 0] - counts[:, 1]) / n, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Difference(value=value, low=min(float(low), value), high=max(float(high), value), n=n, method="bootstrap")


def _agresti_min(only_first: int, only_second: int, n: int, confidence: float) -> tuple[float, float]:
    total = n + 2
    first, second = (only_first + 0.5) / total, (only_second + 0.5) / total
    center = first - second
    reach = norm.ppf((1 + confidence) / 2) * np.sqrt((first + second - center**2) / total)
    return max(float(center - reach), -1.0), min(float(center + reach), 1.0)


def mcnemar_p(only_first: int, only_second: int) -> float:
    """Two-sided p of McNemar's exact test (McNemar 1947): are both arms equally often alone in the right?"""
    return float(mcnemar([[0, only_first], [only_second, 0]], exact=True).pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values adjusted for the whole family (Holm 1979): the chance of any false finding stays at the level."""
    return [float(p) for p in multipletests(p_values, method="holm")[1]] if p_values else []


def cohens_g(only_first: int, only_second: int) -> float | None:
    """Share of the discordant pairs that the first arm wins, minus one half (Cohen 1988); None without any."""
    both = only_first + only_second
    return only_first / both - 0.5 if both else None
