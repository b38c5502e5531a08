"""Quantiles and tails of distributions, by scipy.special: importing scipy.stats takes half a second, in steps of which
many take two or three seconds."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

Floats = NDArray[np.float64]


def normal_quantile(p: float) -> float:
    return float(special.ndtri(p))


def normal_above(value: float) -> float:
    """The chance of more than a value."""
    return float(special.ndtr(-value))


def student_quantile(p: float, freedom: float) -> float:
    return float(special.stdtrit(freedom, p))


def student_above(value: float, freedom: float) -> float:
    """The chance of more than a value."""
    return float(special.stdtr(freedom, -value))


def beta_quantile(p: float, a: float, b: float) -> float:
    return float(special.betaincinv(a, b, p))


def binomial_chance(k: ArrayLike, n: ArrayLike, p: ArrayLike) -> Floats:
    """The chance of exactly k of n."""
    k, n = np.asarray(k), np.asarray(n)
    ways = special.gammaln(n + 1) - special.gammaln(k + 1) - special.gammaln(n - k + 1)
    return _floats(np.exp(ways + special.xlogy(k, p) + special.xlog1py(n - k, -np.asarray(p))))


def binomial_up_to(k: ArrayLike, n: ArrayLike, p: ArrayLike) -> Floats:
    """The chance of at most k of n; k from 0 to n."""
    return _floats(special.bdtr(k, n, p))


def binomial_above(k: ArrayLike, n: ArrayLike, p: ArrayLike) -> Floats:
    """The chance of more than k of n; k from 0 to n."""
    return _floats(special.bdtrc(k, n, p))


def binomial_quantile(chance: float, n: ArrayLike, p: float) -> NDArray[np.int64]:
    """The smallest k for which at most k of n has this chance, but for rounding."""
    n = np.asarray(n)
    above = np.where(n > 0, np.ceil(special.bdtrik(chance, np.maximum(n, 1), p)), 0)
    below = np.maximum(above - 1, 0)
    return np.where(special.bdtr(below, n, p) >= chance * (1 - 1e-12), below, above).astype(np.int64)


def _floats(values: Any) -> Floats:
    return np.asarray(values, dtype=np.float64)
