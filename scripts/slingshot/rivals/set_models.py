"""One-against-rest models of samples with several labels: scores or vectors to each label's probability."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

Floats = NDArray[np.float64]

ITERATIONS = 1000

TOLERANCE = 1e-4  # of the largest derivative, as scikit-learn's


@dataclass(frozen=True)
class Sigmoid:
    """Probabilities from scores by one logistic curve for all labels (Platt 1999)."""

    slope: float = 10.0
    intercept: float = -3.0

    def probabilities(self, scores: Floats) -> Floats:
        """Shape (texts, labels): each label's probability to be in the set."""
        return np.asarray(expit(self.slope * scores + self.intercept))


def fit_sigmoid(scores: Floats, true: Floats) -> Sigmoid:
    """The logistic curve of least binary cross-entropy over all pairs of a sample and a label.

    Args:
        scores, true: shape (n, labels); `true` holds 1 and 0
    """
    x, y = scores.ravel(), true.ravel()
    if not 0 < y.mean() < 1:
        return Sigmoid()
    fitted = minimize(lambda ab: _cross_entropy(ab, x, y), np.array([1.0, np.log(y.mean())]), jac=True, method="BFGS")
    slope, intercept = fitted.x
    return Sigmoid(float(slope), float(intercept)) if slope > 0 else Sigmoid()


def _cross_entropy(ab: Floats, x: Floats, y: Floats) -> tuple[float, Floats]:
    z = ab[0] * x + ab[1]
    residual = expit(z) - y
    return float(np.mean(np.logaddexp(0, z) - y * z)), np.array([np.mean(residual * x), np.mean(residual)])


@dataclass(frozen=True)
class Logistic:
    """A logistic regression per label; shapes (labels, width) and (labels,)."""

    weights: Floats
    intercepts: Floats

    def probabilities(self, vectors: Floats) -> Floats:
        """Shape (texts, labels)."""
        return np.asarray(expit(vectors @ self.weights.T + self.intercepts))


def fit_logistic(
    vectors: Floats, true: Floats, strength: float, balanced: bool = False, start: Logistic | None = None
) -> Logistic:
    """Logistic regressions of all labels at once, each as scikit-learn's: C times cross-entropy plus half the squares.

    The labels' problems are apart, so that the minimum of their sum is that of each; one L-BFGS over all costs a
    matrix product per step, where one fit per label would cost thousands of calls.

    Args:
        vectors: shape (n, width)
        true: shape (n, labels), 1 and 0
        strength: C
        balanced: each label's samples with and without it weigh the same in its sum
        start: where to begin, e.g. the fit of another C
    """
    n, width = vectors.shape
    count = true.shape[1]
    weight = np.ones_like(true)
    if balanced:
        having = np.maximum(true.sum(axis=0), 1)
        weight = np.where(true > 0, n / (2 * having), n / (2 * np.maximum(n - having, 1)))

    def objective(flat: Floats) -> tuple[float, Floats]:
        parameters = flat.reshape(count, width + 1)
        z = vectors @ parameters[:, :-1].T + parameters[:, -1]
        loss = strength * float(np.sum(weight * (np.logaddexp(0, z) - true * z)))
        residual = strength * weight * (expit(z) - true)
        gradient = np.empty_like(parameters)
        gradient[:, :-1] = residual.T @ vectors + parameters[:, :-1]
        gradient[:, -1] = residual.sum(axis=0)
        return loss + 0.5 * float(np.sum(parameters[:, :-1] ** 2)), gradient.ravel()

    if start is None:
        share = np.clip(true.mean(axis=0), 0.5 / n, 1 - 0.5 / n)
        start = Logistic(np.zeros((count, width)), np.zeros(count) if balanced else np.log(share / (1 - share)))
    first = np.hstack([start.weights, start.intercepts[:, None]]).ravel()
    options = {"maxiter": ITERATIONS, "gtol": TOLERANCE, "ftol": 1e-12}
    found = minimize(objective, first, jac=True, method="L-BFGS-B", options=options).x.reshape(count, width + 1)
    return Logistic(found[:, :-1].copy(), found[:, -1].copy())
