"""Error against train size: a power law fitted to finetunes, training noise, and the size that matches another arm."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from slingshot.analysis.curve_shapes import FittedShape
from slingshot.analysis.groups import Floats, Groups
from slingshot.analysis.intervals import critical, padded_mean
from slingshot.artifacts.comparison import LinePoint, PowerLaw, TrainingNoise, TrainSize
from slingshot.artifacts.metrics import Score
from slingshot.core.distributions import student_quantile

ASSUMED_NOISE = 0.02  # standard deviation between seeds, a share, where no runs with several seeds measure it

FEWEST_SIZES = 3  # as many as the power law has parameters

EXPONENTS = np.geomspace(0.01, 5, 320)

LINE_POINTS = 40


@dataclass(frozen=True)
class Fits:
    """m power laws over the same sizes: error(n) = asymptote + excess * (n / smallest)^-exponent, each (m,)."""

    asymptote: Floats
    excess: Floats
    exponent: Floats
    smallest: float
    largest: float

    def errors(self, sizes: Floats) -> Floats:
        """Errors of shape (m, k) at k sizes; none is above 1, where nothing is right."""
        powers = (sizes[None, :] / self.smallest) ** -self.exponent[:, None]
        return np.minimum(self.asymptote[:, None] + self.excess[:, None] * powers, 1.0)


def fit(sizes: Floats, errors: Floats) -> Fits:
    """Least-squares fits of error(n) = a + b n^-c with a, b >= 0 and c of EXPONENTS, m at once.

    The law is that of Cortes et al. (1994, NIPS 6:327) and Hestness et al. (2017, arXiv:1712.00409); Figueroa et al.
    (2012, BMC Medical Informatics and Decision Making 12:8) fit it to classifiers of clinical text. Given c it is
    linear in a and b, which follow in closed form (variable projection: Golub and Pereyra 1973, SIAM J. Numer. Anal.
    10:413), so that trying every c finds the global minimum without a starting point.

    Args:
        sizes: k train sizes, at least FEWEST_SIZES of them different
        errors: shape (m, k), shares
    """
    smallest, k = float(sizes.min()), len(sizes)
    powers = (sizes[None, :] / smallest) ** -EXPONENTS[:, None]  # [exponent, size]
    x, xx = powers.sum(axis=1), (powers**2).sum(axis=1)
    y, yy, xy = errors.sum(axis=1)[:, None], (errors**2).sum(axis=1)[:, None], errors @ powers.T
    b = (k * xy - x * y) / (k * xx - x**2)
    a = (y - b * x) / k
    a, b = np.where(a < 0, 0, a), np.where(a < 0, xy / xx, b)
    a, b = np.where(b < 0, y / k, a), np.where(b < 0, 0, b)
    squares = yy - 2 * a * y - 2 * b * xy + k * a**2 + 2 * a * b * x + b**2 * xx
    rows, best = np.arange(len(errors)), squares.argmin(axis=1)
    return Fits(a[rows, best], b[rows, best], EXPONENTS[best], smallest, float(sizes.max()))


def power_law(
    sizes: Floats, errors: Floats, resampled: Floats, noise: TrainingNoise, confidence: float, seed: int
) -> PowerLaw:
    """The power law of k errors; its parameters' intervals are percentiles over laws fitted to resampled errors.

    Args:
        resampled: shape (m, k), the errors in m resamples of the test samples; training noise is added here, each
            time with another size of it, as few runs or sizes know it badly (Student's distribution)
    """
    generator = np.random.default_rng([seed, len(sizes)])
    again = resampled
    if noise.freedom:
        scales = noise.deviation * np.sqrt(noise.freedom / generator.chisquare(noise.freedom, size=(len(resampled), 1)))
        again = again + scales * generator.normal(size=resampled.shape)
    fitted, refitted = fit(sizes, errors[None]), fit(sizes, np.clip(again, 0, 1))
    asymptote, exponent = float(fitted.asymptote[0]), float(fitted.exponent[0])
    return PowerLaw(
        asymptote=asymptote,
        asymptote_interval=_bounds(np.append(refitted.asymptote, asymptote), confidence),
        scale=float(fitted.excess[0] * fitted.smallest**exponent),
        exponent=exponent,
        exponent_interval=_bounds(np.append(refitted.exponent, exponent), confidence),
        largest_residual=float(np.abs(fitted.errors(sizes)[0] - errors).max()),
    )


def drawn_line(
    sizes: Floats, scores: Sequence[Score], shape: FittedShape, noise: TrainingNoise, confidence: float
) -> list[LinePoint]:
    """The best shape with a band that needs no shape, only a score that does not fall with the size.

    Under that the score of a size is no lower than that of the measured size below it and no higher than that of the
    one above: the band's ends are theirs, over test samples and training noise (distances to the ends square and add,
    Zou and Donner 2008), so at each size it holds as often as those do, or more often.

    Args:
        sizes: k train sizes in rising order
        scores: of the runs of these sizes
    """
    quantile = student_quantile((1 + confidence) / 2, noise.freedom) if noise.freedom else 0.0
    reach = quantile * noise.deviation
    lows = [max(each.value - math.hypot(each.value - each.low, reach), 0.0) for each in scores]
    highs = [min(each.value + math.hypot(each.high - each.value, reach), 1.0) for each in scores]
    line = []
    for index in np.linspace(0, len(shape.grid) - 1, LINE_POINTS).round().astype(int):
        size, value = float(shape.grid[index]), 1 - float(shape.errors[index])
        below = int(np.searchsorted(sizes, size * (1 + 1e-9), side="right")) - 1
        above = min(int(np.searchsorted(sizes, size * (1 - 1e-9), side="left")), len(sizes) - 1)
        line.append(
            LinePoint(train_samples=size, value=value, low=min(lows[below], value), high=max(highs[above], value))
        )
    return line


def training_noise(shape: FittedShape, seeds: Sequence[float]) -> TrainingNoise:
    """From exact matches of runs that differ in their seeds alone, where there are two; else from the curve's fit."""
    if len(seeds) > 1:
        return TrainingNoise(deviation=float(np.std(seeds, ddof=1)), source="seeds", freedom=len(seeds) - 1)
    if shape.freedom > 0:
        return TrainingNoise(deviation=math.sqrt(shape.variance), source="residuals", freedom=shape.freedom)
    return TrainingNoise(deviation=0.0, source="none", freedom=0)


def fits_well(shape: FittedShape, errors: Floats, n: int, noise: TrainingNoise) -> bool:
    """Whether the best shape predicts held-out sizes within twice the noise of a point, of test samples and training.

    Where no seeds measure the training noise, ASSUMED_NOISE is used: noise estimated from the distances to the curve
    would accept any curve.
    """
    training = noise.deviation if noise.source == "seeds" else ASSUMED_NOISE
    point = math.sqrt(float(np.mean(errors * (1 - errors))) / n + training**2)
    held_out = min((each.held_out_error for each in shape.shapes if each.held_out_error is not None), default=0.0)
    return held_out <= 2 * point


def follows_law(shape: FittedShape, errors: Floats, n: int, noise: TrainingNoise) -> bool:
    """Whether the power law predicts held-out sizes best, and well: only then do its parameters mean anything.

    A curve that is flat, as where nothing was learnt, has no exponent: its interval would have no width.
    Under a sigmoid the interval of its asymptote covers 0.53 to 0.88 (benchmarks/coverage.py's curves).
    """
    compared = any(each.held_out_error is not None for each in shape.shapes)
    falls = float(np.ptp(errors)) > 0
    return falls and compared and shape.best == "power law" and fits_well(shape, errors, n, noise)


def break_even_bounds(
    sizes: Floats, differences: Sequence[Floats], noise: TrainingNoise, confidence: float, groups: Groups
) -> tuple[float, float]:
    """The ends of the interval of the train size from which the model is no worse: measured sizes, -inf or inf.

    From the smallest size up, the low end is the last size before one is no longer significantly worse; from the
    largest down, the high end is the last that is still significantly better. Each is a sequence of one-sided tests
    that stops at the first that does not reject, so each errs with half of 1 - confidence at most, however many sizes
    there are (Maurer, Hothorn and Lehmacher 1995). Nothing is assumed of the curve but that its error does not rise.

    Args:
        sizes: k train sizes in rising order
        differences: for each size the scores of the n samples, finetuned minus untrained
    """
    quantile = student_quantile((1 + confidence) / 2, noise.freedom) if noise.freedom else 0.0
    worse, better = [], []
    for each in differences:
        center, variance = padded_mean(each, 1.0, groups)
        reach = math.sqrt(critical(confidence, groups) ** 2 * variance + (quantile * noise.deviation) ** 2)
        worse.append(center + reach < 0)
        better.append(center - reach > 0)
    below = worse.index(False) if False in worse else len(worse)
    above = better[::-1].index(False) if False in better else len(better)
    low = -math.inf if below == 0 else math.inf if below == len(sizes) else float(sizes[below - 1])
    high = math.inf if above == 0 else -math.inf if above == len(sizes) else float(sizes[len(sizes) - above])
    return low, high


def in_words(
    estimate: TrainSize | None, low: TrainSize, high: TrainSize, smallest: int, largest: int, confidence: float
) -> str:
    """`about 420 train samples (95% interval 210 to 900)`, or what can be said instead of a number."""
    sure = f"{100 * confidence:g}% interval"
    if low.place == high.place != "within":
        outside = {
            "below": f"already at the smallest size, {smallest:,}",
            "above": f"not yet at the largest size, {largest:,}",
        }
        return f"not within this range: {outside[low.place]}; so says the whole {sure}"
    ends = [
        {"below": f"under {smallest:,}", "above": f"over {largest:,}"}.get(end.place) or f"{end.train_samples:,}"
        for end in (low, high)
    ]
    if estimate is None:
        return f"between {ends[0]} and {ends[1]} train samples ({sure}; no shape of curve fits the sizes measured)"
    if estimate.place == "within":
        return f"about {estimate.train_samples:,} train samples ({sure} {ends[0]} to {ends[1]})"
    side = (
        f"at the smallest size, {smallest:,}" if estimate.place == "below" else f"beyond the largest size, {largest:,}"
    )
    return f"perhaps {side} ({sure} {ends[0]} to {ends[1]})"


def enclosed(estimate: float, low: float, high: float) -> TrainSize:
    """The estimate as a record, moved to the interval's end where the curve lies outside of it."""
    return train_size(min(max(estimate, low), high))


def train_size(value: float) -> TrainSize:
    if math.isinf(value):
        return TrainSize(place="below" if value < 0 else "above", train_samples=None)
    return TrainSize(place="within", train_samples=math.ceil(value - 1e-9))


def _bounds(values: NDArray[np.float64], confidence: float) -> tuple[float, float]:
    """A percentile interval by order statistics, outwards: infinite values have no mean to interpolate to."""
    ordered, tail = np.sort(values), (1 - confidence) / 2 * (len(values) - 1)
    return float(ordered[math.floor(tail)]), float(ordered[math.ceil(len(values) - 1 - tail)])
