"""Error against train size: a power law fitted to finetunes, and the size from which they match another arm."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from slingshot.analysis.groups import Floats
from slingshot.artifacts.comparison import PowerLaw, PowerLawPoint, TrainSize

FEWEST_SIZES = 3  # as many as the power law has parameters

EXPONENTS = np.geomspace(0.01, 5, 320)

LINE_POINTS = 40

ANYWHERE = (TrainSize(place="below", train_samples=None), TrainSize(place="above", train_samples=None))


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

    def sizes_at(self, errors: Floats) -> Floats:
        """The sizes, shape (m,), at which each law falls to the m errors given.

        -inf where it is there at the smallest size measured, inf where it is not at the largest: never a size beyond.
        """
        ends = self.errors(np.array([self.smallest, self.largest]))
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = self.excess / (errors - self.asymptote)
            inside = self.smallest * ratio ** (1 / self.exponent)
        return np.where(ends[:, 0] <= errors, -np.inf, np.where(ends[:, 1] > errors, np.inf, inside))


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
        resampled: m laws, of m resamples of the test samples
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


def break_even_sizes(
    fitted: Fits, error: float, resampled: Fits, errors: Floats, confidence: float
) -> tuple[TrainSize, TrainSize, TrainSize]:
    """The train size from which the law is no worse than another arm, and the ends of its percentile interval.

    Args:
        error: the other arm's
        errors: the other arm's in the m resamples that the resampled laws come from
    """
    estimate = float(fitted.sizes_at(np.array([error]))[0])
    low, high = _bounds(resampled.sizes_at(errors), confidence)
    return _train_size(estimate), _train_size(min(low, estimate)), _train_size(max(high, estimate))


def in_words(sizes: Sequence[TrainSize], smallest: int, largest: int, confidence: float) -> str:
    """`about 420 train samples (95% interval 210 to 900)`, or that the size is not within what was measured."""
    estimate, low, high = sizes
    if estimate.place == "below":
        said = f"not within this range: already at the smallest size, {smallest:,}"
    elif estimate.place == "above":
        said = f"not within this range: not yet at the largest size, {largest:,}"
    else:
        said = f"about {estimate.train_samples:,} train samples"
    if low.place == high.place != "within":
        return f"{said}; so says the whole {100 * confidence:g}% interval"
    ends = [
        {"below": f"under {smallest:,}", "above": f"over {largest:,}"}.get(end.place) or f"{end.train_samples:,}"
        for end in (low, high)
    ]
    return f"{said} ({100 * confidence:g}% interval {ends[0]} to {ends[1]})"


def _train_size(value: float) -> TrainSize:
    if math.isinf(value):
        return TrainSize(place="below" if value < 0 else "above", train_samples=None)
    return TrainSize(place="within", train_samples=math.ceil(value - 1e-9))


def _bounds(values: NDArray[np.float64], confidence: float) -> tuple[float, float]:
    """A percentile interval by order statistics, outwards: infinite values have no mean to interpolate to."""
    ordered, tail = np.sort(values), (1 - confidence) / 2 * (len(values) - 1)
    return float(ordered[math.floor(tail)]), float(ordered[math.ceil(len(values) - 1 - tail)])
