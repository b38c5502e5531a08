"""Which answers a human should look at: those below the probability that the study fitted on validation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from slingshot.artifacts.layout import ArmFiles
from slingshot.artifacts.predictions import Prediction
from slingshot.core.files import read_json


@dataclass(frozen=True)
class Review:
    """Answers whose log-probability is below `threshold`, and those that hold no code, need a review."""

    threshold: float
    precision: float

    def is_needed(self, prediction: Prediction) -> bool:
        if prediction.code is None:
            return True
        likely = {each.code: each.log_probability for each in prediction.candidates}
        return likely.get(prediction.code, -float("inf")) < self.threshold

    @property
    def rule(self) -> str:
        return f"less sure than the answers of which {self.precision:.0%} were right on validation"


def review_of(files: ArmFiles) -> Review | None:
    """The arm's threshold; None where the study fitted none, for example for want of candidates."""
    found: dict[str, Any] | None = read_json(files.metrics).get("selective")
    if not found or found.get("threshold") is None:
        return None
    return Review(float(found["threshold"]), float(found["target_precision"]))
