"""Single labels ranked by their probability to be in a list that a language model writes.

A list names a label at one of its places or not at all. At each place of the list that was written, the model gives
each label's probability to stand there after what stands before, h_n. A label that is none of the first n - 1 is the
n-th with h_n, so that it is in the list with 1 - prod(1 - h_n): the discrete survival function with the hazards h_n
(Cox 1972, "Regression models and life-tables", section 8). It is an approximation: what stands before is the likeliest
beginning, not each that could be; behind the list's end no label is looked at; and a label that is not among a place's
likeliest counts 0 there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

LEAST_MISSING = 1e-12  # a label's probability not to be in the list, at least: its logarithm must be finite

DECIMALS = 6  # of log-probabilities


class InList:
    """Collects the places of one list."""

    def __init__(self) -> None:
        self._missing: dict[str, float] = {}  # label to the logarithm of its probability not to be there
        self._named: set[str] = set()

    def add(self, hazards: Mapping[str, float], written: str | None) -> None:
        """Enter a place: labels with their probabilities to stand there, and the label that was written there."""
        for label, hazard in hazards.items():
            if label not in self._named:
                missing = self._missing.get(label, 0.0) + math.log(max(1 - hazard, LEAST_MISSING))
                self._missing[label] = max(missing, math.log(LEAST_MISSING))
        if written is not None:
            self._named.add(written)

    def best(self, count: int) -> list[tuple[str, float]]:
        """The labels likeliest to be in the list, each with its natural log-probability, rounded to 6 decimals."""
        found = [
            (label, round(math.log(-math.expm1(missing)), DECIMALS))
            for label, missing in self._missing.items()
            if missing < 0
        ]
        return sorted(found, key=lambda one: (-one[1], one[0]))[:count]
