"""Groups of samples that are no independent evidence: dialogues of one patient, rewordings of one case."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

Floats = NDArray[np.float64]
Correct = NDArray[np.bool_]  # an entry per sample: whether its answer is right

Values = TypeVar("Values", Floats, csr_matrix)


@dataclass(frozen=True)
class Groups:
    """The group of each of n samples, as `index` from 0 to `count` - 1."""

    index: NDArray[np.int64]
    count: int

    @cached_property
    def sizes(self) -> Floats:
        """Shape (count,)."""
        return np.bincount(self.index, minlength=self.count).astype(np.float64)

    @property
    def matter(self) -> bool:
        """Whether any group has more than one member."""
        return self.count < len(self.index)

    @property
    def largest_effect(self) -> float:
        """The design effect if all members of a group were alike: the mean size of a sample's group."""
        return float(np.sum(self.sizes**2) / len(self.index))

    @property
    def freedom(self) -> float:
        """Degrees of freedom of a variance over groups: one less than as many groups of one size tell as much.

        Kish's effective number, n^2 / sum of squared sizes. It is the number of groups where they are equally large;
        with one of them large, a count of all would promise more than the variance, which that one dominates, can hold.
        """
        return max(len(self.index) / self.largest_effect - 1, 1.0)

    @cached_property
    def members(self) -> csr_matrix:
        """Shape (count, n): 1 where a sample is of a group."""
        n = len(self.index)
        return csr_matrix((np.ones(n), (self.index, np.arange(n))), shape=(self.count, n))

    def sums(self, values: Values) -> Values:
        """Sums over each group, shape (count, ...), of values of shape (n, ...), dense or sparse."""
        return values if not self.matter and self._in_order else self.members @ values

    def among(self, chosen: NDArray[np.bool_]) -> Groups:
        """The groups of the chosen samples alone."""
        return of_names(self.index[chosen])

    @cached_property
    def _in_order(self) -> bool:
        return bool(np.array_equal(self.index, np.arange(len(self.index))))


def independent(n: int) -> Groups:
    """Each of n samples is a group of its own."""
    return Groups(np.arange(n), n)


def of_names(names: NDArray[np.generic]) -> Groups:
    """Samples of one name are one group."""
    _, index = np.unique(names, return_inverse=True)
    return Groups(index.astype(np.int64), int(index.max()) + 1 if len(index) else 0)


def groups_of(split: pd.DataFrame) -> Groups:
    """A split's groups by its column `group`; a sample without one is a group of its own."""
    n = len(split)
    if "group" not in split:
        return independent(n)
    own = np.array([f"\0{number}" for number in range(n)], dtype=object)
    named = split["group"].fillna("").to_numpy(dtype=object)
    groups = of_names(np.where(named == "", own, named).astype(str))
    return groups if groups.matter else independent(n)


def design_effect(values: Floats, groups: Groups) -> float:
    """Variance of the mean of n values over that of n independent ones (Kish 1965, *Survey Sampling*), at least 1.

    Estimated by leaving out each group in turn (Efron and Stein 1981): a large group pulls the mean towards itself, so
    its total's distance from it alone is too small. Where all values are the same, or all are of one group, it says
    nothing; then the largest effect that the groups' sizes allow is assumed.
    """
    if not groups.matter:
        return 1.0
    if groups.count < 2:
        return groups.largest_effect
    around = values - values.mean()
    alone = float(np.sum(around**2))
    if alone <= 1e-12 * len(values):
        return groups.largest_effect
    moved = groups.sums(around) / (1 - groups.sizes / len(values))
    together = float(np.sum(moved**2)) * (groups.count - 1) / groups.count
    return max(1.0, together / alone)
