"""Which shape a learning curve has: three compared by how well each predicts the sizes that it was not fitted to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from slingshot.analysis.groups import Floats
from slingshot.artifacts.comparison import CurveShape, ShapeName

GRID_POINTS = 400

FEWEST_TO_COMPARE = 4  # sizes: one is held out, and three parameters are fitted to the others


@dataclass(frozen=True)
class Shape:
    """error(n) = a + b * basis(n), a and b at least 0; `bases` maps k sizes to (settings, k)."""

    name: ShapeName
    parameters: int
    bases: Callable[[Floats, float, float], Floats]


def _power(sizes: Floats, smallest: float, _: float) -> Floats:
    return (sizes[None, :] / smallest) ** -np.geomspace(0.01, 5, 160)[:, None]


def _sigmoid(sizes: Floats, smallest: float, largest: float) -> Floats:
    middle = np.geomspace(smallest / 2, largest * 2, 40)[:, None, None]
    steepness = np.array([0.5, 0.75, 1, 1.5, 2, 3, 4, 6, 8])[None, :, None]
    return (1 / (1 + (sizes[None, None, :] / middle) ** steepness)).reshape(-1, len(sizes))


def _logarithm(sizes: Floats, smallest: float, largest: float) -> Floats:
    return 1 - np.log(sizes / smallest)[None, :] / np.log(largest / smallest)


SHAPES = (Shape("power law", 3, _power), Shape("sigmoid", 4, _sigmoid), Shape("logarithm", 2, _logarithm))


@dataclass(frozen=True)
class FittedShape:
    """The shape that predicts best, its errors at a fine grid of sizes, and its residual variance."""

    shapes: list[CurveShape]
    best: ShapeName
    grid: Floats
    errors: Floats
    variance: float
    freedom: int

    def size_at(self, error: float) -> float:
        """The smallest size at which the curve is no worse than `error`; -inf and inf where it is outside the sizes."""
        reached = np.flatnonzero(self.errors <= error)
        if len(reached) == 0:
            return np.inf
        return -np.inf if reached[0] == 0 else float(self.grid[reached[0]])


def fit_best_shape(sizes: Floats, errors: Floats) -> FittedShape:
    """Choose among SHAPES by held-out error, the power law where there are too few sizes to hold one out.

    Args:
        sizes: k train sizes in rising order, at least 3 of them different
        errors: k shares
    """
    compared = [CurveShape(shape=shape.name, held_out_error=_held_out_error(shape, sizes, errors)) for shape in SHAPES]
    known = [each for each in compared if each.held_out_error is not None]
    best = min(known, key=lambda each: each.held_out_error or 0.0).shape if known else "power law"
    shape = next(each for each in SHAPES if each.name == best)
    grid = np.geomspace(sizes[0], sizes[-1], GRID_POINTS)
    predicted = _predict(shape, sizes, errors, np.concatenate([sizes, grid]))
    freedom = len(sizes) - shape.parameters
    residuals = errors - predicted[: len(sizes)]
    if freedom < 1:
        freedom = len(sizes) - SHAPES[0].parameters
        residuals = errors - _predict(SHAPES[0], sizes, errors, sizes)
    variance = float(np.sum(residuals**2)) / freedom if freedom > 0 else 0.0
    return FittedShape(compared, best, grid, np.minimum(predicted[len(sizes) :], 1.0), variance, freedom)


def _held_out_error(shape: Shape, sizes: Floats, errors: Floats) -> float | None:
    """Root mean square over the inner sizes, each predicted from all others; None where that leaves too few."""
    inner = [size for size in np.unique(sizes)[1:-1] if np.sum(sizes != size) >= max(shape.parameters, 3)]
    if len(np.unique(sizes)) < FEWEST_TO_COMPARE or not inner:
        return None
    missed = [
        errors[sizes == size] - _predict(shape, sizes[sizes != size], errors[sizes != size], np.array([size]))
        for size in inner
    ]
    return float(np.sqrt(np.mean(np.concatenate(missed) ** 2)))


def _predict(shape: Shape, sizes: Floats, errors: Floats, wanted: Floats) -> Floats:
    """Errors at the wanted sizes of the least-squares fit; given the basis it is linear in a and b."""
    both = shape.bases(np.concatenate([sizes, wanted]), float(sizes.min()), float(sizes.max()))
    basis, k = both[:, : len(sizes)], len(sizes)
    x, xx, xy, y = basis.sum(1), (basis**2).sum(1), basis @ errors, float(errors.sum())
    spread = k * xx - x**2
    b = np.divide(k * xy - x * y, spread, out=np.zeros_like(spread), where=spread > 1e-12)
    a = (y - b * x) / k
    a, b = np.where(a < 0, 0, a), np.where(a < 0, xy / xx, b)
    a, b = np.where(b < 0, y / k, a), np.where(b < 0, 0, b)
    best = int(np.sum((a[:, None] + b[:, None] * basis - errors) ** 2, axis=1).argmin())
    return np.asarray(a[best] + b[best] * both[best, len(sizes) :])
