"""Paired comparisons of two arms on the same samples: interval, exact test, effect size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

from slingshot.analysis.groups import Correct, Floats, Groups, design_effect, independent
from slingshot.analysis.intervals import critical, mean_interval, padded_mean
from slingshot.artifacts.comparison import Estimate
from slingshot.artifacts.metrics import Difference
from slingshot.core.distributions import (
    beta_quantile,
    binomial_chance,
    binomial_up_to,
    normal_above,
    student_above,
    student_quantile,
)

FLIPPED = 1_000  # fractional totals, at most, whose signs are flipped at random

FLIPS = 20_000  # random signs tried where the exact distribution can't be counted


@dataclass(frozen=True)
class Paired:
    """The mean difference of two arms on the same samples, and the two-sided p of the hypothesis that it is 0."""

    difference: Difference
    p: float


def compare_runs(first: Sequence[Floats], second: Sequence[Floats], confidence: float, groups: Groups) -> Paired:
    """Compare two arms, each with one run or several (finetunes with other seeds).

    Args:
        first, second: each run's score of each of the n samples, in [0, 1]; right or wrong is 1 or 0
        groups: of the n samples

    Returns:
        With one run each the interval is of these two runs: that of `paired_difference`. The p is that of `paired_p`,
        but never below the level at which the interval ends at 0: so p is at most a level exactly where the interval at
        that level leaves out 0. With several runs both are of the mean run of the recipe, and count samples and seeds.
    """
    if len(first) == 1 == len(second):
        p = max(paired_p(first[0], second[0], groups), _interval_p(first[0], second[0], groups))
        return Paired(paired_difference(first[0], second[0], confidence, groups), p)
    spread = _spread_of(first, second, groups)
    return Paired(_seeds_difference(spread, confidence), _seeds_p(spread))


def mean_of_runs(runs: Sequence[Floats], confidence: float, groups: Groups) -> Estimate:
    """The mean score of a recipe's runs with several seeds; its interval counts samples and seeds.

    Two samples at 0 and two at 1 are added (Agresti and Coull 1998, American Statistician 52:119), so that it keeps its
    width where all runs have every sample wrong or right.

    Args:
        runs: at least two, each the score of each of the n samples, in [0, 1]
    """
    side = np.array(runs, dtype=float)
    each, total = side.mean(axis=0), side.shape[1] + 4
    value, center = float(each.mean()), (float(each.sum()) + 2) / total
    spread = (float(np.sum(each**2)) + 2) / total - center**2
    samples = spread / total * design_effect(each, groups)
    reach = _reach(((samples, groups.freedom), _variance_of_seeds(side)), confidence)
    return Estimate(value=value, low=max(min(center - reach, value), 0.0), high=min(max(center + reach, value), 1.0))


def discordant(first: Correct, second: Correct) -> tuple[int, int]:
    """Samples that only the first arm answers rightly, and that only the second does."""
    return int(np.sum(first & ~second)), int(np.sum(~first & second))


def paired_difference(
    first: Correct | Floats, second: Correct | Floats, confidence: float, groups: Groups | None = None
) -> Difference:
    """The mean of `first` minus that of `second` over the same n samples, with its interval.

    Right or wrong: Tango's score interval (1998, Statistics in Medicine 17:891), which keeps its width where no pair or
    every pair differs, with Student's quantile, over n divided by the design effect of the groups. It is widened where
    it would leave out a difference that the exact test does not reject, and, without groups, ends where that test's own
    does where that alone leaves out 0: so it holds 0 if `paired_p` is above 1 - confidence, and without groups only
    then. Scores between 0 and 1: `mean_interval`, widened to 0 likewise.
    """
    groups = groups or independent(len(first))
    each = np.asarray(first, dtype=float) - np.asarray(second, dtype=float)
    n, value = len(each), float(each.mean())
    effect = design_effect(each, groups)
    if np.isin(each, (-1, 0, 1)).all():
        only_first, only_second = int(np.sum(each > 0)), int(np.sum(each < 0))
        low, high = tango_interval(only_first / effect, only_second / effect, n / effect, critical(confidence, groups))
        if not groups.matter:
            least, most = conditional_interval(only_first, only_second, n, confidence)
            low = least if low <= 0 < least else min(low, least)  # Tango's may hold 0 where the exact test rejects
            high = most if most < 0 <= high else max(high, most)
        method: Literal["tango", "student"] = "tango"
    else:
        low, high = mean_interval(each, 1.0, groups, confidence)
        method = "student"
    if (low > 0 or high < 0) and paired_p(first, second, groups) > 1 - confidence:
        low, high = min(low, 0.0), max(high, 0.0)
    return Difference(
        value=value,
        low=min(low, value),
        high=max(high, value),
        n=n,
        method=method,
        design_effect=effect if groups.matter else None,
    )


def tango_interval(only_first: float, only_second: float, n: float, quantile: float) -> tuple[float, float]:
    """All differences d of paired shares that the score test does not reject; the counts may be fractional.

    The test's variance at d is (2 q + d (1 - d)) / n, with q the likeliest share of pairs that the second arm alone has
    right, given d.
    """

    def excess(d: float) -> float:
        b = 2 * n - only_first + only_second
        linear = b * d - only_first - only_second
        constant = -only_second * d * (1 - d)
        q = (np.sqrt(max(linear**2 - 8 * n * constant, 0.0)) - linear) / (4 * n)
        variance = max(n * (2 * q + d * (1 - d)), 0.0)
        return float((only_first - only_second - n * d) ** 2 - quantile**2 * variance)

    value, step = (only_first - only_second) / n, 1e-9  # at the value itself the excess may be 0 by rounding
    low = -1.0 if value - step <= -1 or excess(-1.0) <= 0 else brentq(excess, -1.0, value - step)
    high = 1.0 if value + step >= 1 or excess(1.0) <= 0 else brentq(excess, value + step, 1.0)
    return float(low), float(high)


def conditional_interval(only_first: int, only_second: int, n: int, confidence: float) -> tuple[float, float]:
    """Interval of the difference given the number of discordant pairs, the inversion of McNemar's exact test.

    Of m discordant samples the first arm wins a binomial number; Clopper and Pearson's (1934) interval of the winning
    share w gives (2 w - 1) m / n. It leaves out 0 exactly where McNemar's exact two-sided p is at most 1 - confidence.
    """
    m, tail = only_first + only_second, (1 - confidence) / 2
    low = beta_quantile(tail, only_first, only_second + 1) if only_first else 0.0
    high = 1 - beta_quantile(tail, only_second, only_first + 1) if only_second else 1.0
    return (2 * low - 1) * m / n, (2 * high - 1) * m / n


def paired_p(first: Correct | Floats, second: Correct | Floats, groups: Groups | None = None) -> float:
    """Two-sided p of the test that flips which arm is which, in whole groups: were the two arms the same?

    Without groups, for right or wrong, it is McNemar's exact test. With them it is the randomization test whose normal
    approximation is the generalized McNemar test of Eliasziw and Donner (1991, Statistics in Medicine 10:1981) and
    Obuchowski (1998, Statistics in Medicine 17:1495). Exact where the groups' differences are whole numbers.
    """
    each = np.asarray(first, dtype=float) - np.asarray(second, dtype=float)
    return sign_flip_p((groups or independent(len(each))).sums(each))


def _interval_p(first: Correct | Floats, second: Correct | Floats, groups: Groups) -> float:
    """The level at which the score or Student's interval of `paired_difference` ends at 0, before it is widened.

    0 for right or wrong without groups: there the interval follows the exact test already.
    """
    each = np.asarray(first, dtype=float) - np.asarray(second, dtype=float)
    if not np.isin(each, (-1, 0, 1)).all():
        center, variance = padded_mean(each, 1.0, groups)
        distance = abs(center) / np.sqrt(variance)
    elif groups.matter and each.any():  # Tango's test of no difference, over samples divided by the design effect
        distance = abs(each.sum()) / np.sqrt(np.abs(each).sum() * design_effect(each, groups))
    else:
        return 0.0
    return 2 * student_above(float(distance), groups.freedom)


def sign_flip_p(totals: Floats) -> float:
    """The chance that random signs of the totals make their sum as far from 0 as it is; 1 where all are 0."""
    sizes, observed = np.abs(totals[totals != 0]), abs(float(totals.sum()))
    if len(sizes) == 0:
        return 1.0
    if np.array_equal(sizes, np.round(sizes)):
        chances = _signed_sums(sizes.astype(np.int64))
        reached = np.abs(np.arange(len(chances)) - len(chances) // 2) >= round(observed)
        return float(min(chances[reached].sum(), 1.0))
    if len(sizes) > FLIPPED:  # a sum of this many terms with random signs is close to normal
        return 2 * normal_above(observed / np.sqrt(np.sum(sizes**2)))
    generator = np.random.default_rng(len(sizes))
    sums = np.concatenate(
        [np.abs(generator.choice((-1.0, 1.0), size=(FLIPS // 20, len(sizes))) @ sizes) for _ in range(20)]
    )
    return float((1 + np.sum(sums >= observed * (1 - 1e-12))) / (1 + FLIPS))


def _signed_sums(sizes: NDArray[np.int64]) -> Floats:
    """Chances of each sum from -total to total, of whole numbers with random signs."""
    chances = np.ones(1)
    for size, count in zip(*np.unique(sizes, return_counts=True), strict=True):
        steps = np.zeros(2 * size * count + 1)
        steps[:: 2 * size] = binomial_chance(np.arange(count + 1), count, 0.5)
        chances = np.convolve(chances, steps)
    return chances


def mcnemar_p(only_first: int, only_second: int) -> float:
    """Two-sided p of McNemar's exact test (McNemar 1947): is each arm equally often the only one that is right?"""
    fewer, both = min(only_first, only_second), only_first + only_second
    return min(1.0, 2 * float(binomial_up_to(fewer, both, 0.5)))


@dataclass(frozen=True)
class _Spread:
    """A difference of two mean runs with its two sources of error: samples, and seeds on either side.

    `parts` are (variance, degrees of freedom): the first of the samples, about `center`, the others of the seeds.
    """

    value: float
    center: float
    parts: tuple[tuple[float, float], ...]
    n: int
    effect: float | None

    def reach(self, confidence: float) -> float:
        """Half the interval's width."""
        return _reach(self.parts, confidence)


def _reach(parts: Sequence[tuple[float, float]], confidence: float) -> float:
    """Half an interval's width: each part's variance with its own Student's quantile.

    Quantiles squared are averaged, weighted by variance, which is a little wider than Cochran's (1964, Biometrics
    20:191) average of the quantiles themselves, known to hold its level (Mickey and Brown 1966, Annals of Mathematical
    Statistics 37:639). Satterthwaite's degrees of freedom do not: with two or three seeds a spread that is small by
    chance would pass for certain.
    """
    return float(np.sqrt(sum(variance * student_quantile((1 + confidence) / 2, df) ** 2 for variance, df in parts)))


def _variance_of_seeds(side: Floats) -> tuple[float, float]:
    """The variance of the mean of k runs, of shape (k, n), by their seeds alone, and its degrees of freedom."""
    return float(side.mean(axis=1).var(ddof=1)) / len(side), len(side) - 1.0


def _spread_of(first: Sequence[Floats], second: Sequence[Floats], groups: Groups) -> _Spread:
    sides = [np.array(side, dtype=float) for side in (first, second)]
    each = sides[0].mean(axis=0) - sides[1].mean(axis=0)
    center, variance = padded_mean(each, 1.0, groups)
    seeds = [_variance_of_seeds(side) for side in sides if len(side) > 1]
    return _Spread(
        value=float(each.mean()),
        center=center,
        parts=((variance, groups.freedom), *seeds),
        n=len(each),
        effect=design_effect(each, groups) if groups.matter else None,
    )


def _seeds_difference(spread: _Spread, confidence: float) -> Difference:
    reach = spread.reach(confidence)
    return Difference(
        value=spread.value,
        low=min(max(spread.center - reach, -1.0), spread.value),
        high=max(min(spread.center + reach, 1.0), spread.value),
        n=spread.n,
        method="seeds",
        design_effect=spread.effect,
    )


def _seeds_p(spread: _Spread) -> float:
    """The level at which the interval ends at 0, so that interval and test always agree."""
    if spread.center == 0 or spread.reach(1e-9) >= abs(spread.center):
        return 1.0
    least = 1e-12
    if spread.reach(1 - least) < abs(spread.center):
        return least
    exponent = brentq(lambda power: spread.reach(1 - 10**power) - abs(spread.center), np.log10(least), -1e-9)
    return float(10**exponent)


def cohens_g(only_first: int, only_second: int) -> float | None:
    """Share of the discordant pairs that the first arm wins, minus one half (Cohen 1988); None without any."""
    both = only_first + only_second
    return only_first / both - 0.5 if both else None
