"""Error against train size: a power law fitted to finetunes, training noise, and the size that matches another arm."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from slingshot.analysis.curve_shapes import FittedShape
from slingshot.analysis.groups import Floats, Groups
from slingshot.analysis.intervals import critical, padded_mean
from slingshot.artifacts.comparison import PowerLaw, PowerLawPoint, TrainingNoise, TrainSize

ASSUMED_NOISE = 0.02  # between seeds, a share, where nothing says it

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


def power_law(sizes: Floats, errors: Floats, fitted: Fits, resampled: Fits, confidence: float) -> PowerLaw:
    """The fit as a record.

    Args:
        errors: k measured errors
        fitted: one law, of these errors
        resampled: m laws, of m resamples of the test samples, training noise added
    """
    sizes_drawn = np.geomspace(fitted.smallest, fitted.largest, LINE_POINTS)
    drawn, bands = fitted.errors(sizes_drawn)[0], resampled.errors(sizes_drawn)
    asymptotes, exponents = _bounds(resampled.asymptote, confidence), _bounds(resampled.exponent, confidence)
    line = [
        PowerLawPoint(train_samples=float(size), value=1 - error, low=1 - max(high, error), high=1 - min(low, error))
        for size, error, (low, high) in zip(
            sizes_drawn, drawn, (_bounds(column, confidence) for column in bands.T), strict=True
        )
    ]
    return PowerLaw(
        asymptote=float(fitted.asymptote[0]),
        asymptote_low=min(asymptotes[0], float(fitted.asymptote[0])),
        asymptote_high=max(asymptotes[1], float(fitted.asymptote[0])),
        scale=float(fitted.excess[0] * fitted.smallest ** fitted.exponent[0]),
        exponent=float(fitted.exponent[0]),
        exponent_low=min(exponents[0], float(fitted.exponent[0])),
        exponent_high=max(exponents[1], float(fitted.exponent[0])),
        largest_residual=float(np.abs(fitted.errors(sizes)[0] - errors).max()),
        line=line,
    )


def training_noise(shape: FittedShape, seeds: Sequence[float]) -> TrainingNoise:
    """From exact matches of runs that differ in their seeds alone, where there are two; else from the curve's fit."""
    if len(seeds) > 1:
        return TrainingNoise(deviation=float(np.std(seeds, ddof=1)), source="seeds", freedom=len(seeds) - 1)
    if shape.freedom > 0:
        return TrainingNoise(deviation=math.sqrt(shape.variance), source="residuals", freedom=shape.freedom)
    return TrainingNoise(deviation=0.0, source="none", freedom=0)


def fits_well(shape: FittedShape, errors: Floats, n: int, noise: TrainingNoise) -> bool:
    """Whether the best shape predicts held-out sizes within twice the noise of a point, of test samples and training.

    Where no seeds say the training noise, ASSUMED_NOISE stands for it: distances from the curve would excuse it.
    """
    training = noise.deviation if noise.source == "seeds" else ASSUMED_NOISE
    point = math.sqrt(float(np.mean(errors * (1 - errors))) / n + training**2)
    held_out = min((each.held_out_error for each in shape.shapes if each.held_out_error is not None), default=0.0)
    return held_out <= 2 * point


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
    quantile = float(student.ppf((1 + confidence) / 2, noise.freedom)) if noise.freedom else 0.0
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
