"""Which answers a human should look at: those below the probability that the study fitted on validation."""

from __future__ import annotations

import math
from dataclasses import dataclass

from slingshot.artifacts.comparison import read_comparison
from slingshot.artifacts.layout import ResultFiles
from slingshot.artifacts.predictions import Prediction


@dataclass(frozen=True)
class Review:
    """An answer needs none where its code is the likeliest candidate and at least as likely as `threshold`.

    `threshold` is a probability; None: none reached the precision on validation, so that every answer needs one.
    """

    threshold: float | None
    precision: float

    def is_needed(self, prediction: Prediction, code: str | None) -> bool:
        if self.threshold is None or code is None or not prediction.candidates:
            return True
        best = prediction.candidates[0]
        return best.code != code or math.exp(best.log_probability) < self.threshold

    @property
    def rule(self) -> str:
        if self.threshold is None:
            return f"no threshold gave {self.precision:.0%} right answers on validation"
        return f"less likely than {self.threshold:.3f}, above which {self.precision:.0%} were right on validation"


def review_of(results: ResultFiles, arm: str) -> Review | None:
    """The threshold of selective coding; None where the study fitted none for this arm, as it ranks no candidates."""
    if not results.comparison.exists():
        return None
    for fitted in read_comparison(results.comparison).selective:
        if fitted.arm == arm:
            return Review(fitted.threshold, fitted.wanted_precision)
    return None
