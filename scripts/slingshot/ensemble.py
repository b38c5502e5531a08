"""Votes of a large zero-shot model and a small finetuned one, and what the best possible vote would reach."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from slingshot.metrics import Score
from slingshot.records import Record
from slingshot.statistics import Difference


class Ensemble(Record):
    """Two arms that vote. Shares are of the test samples; the four shares add up to 1."""

    finetuned: str
    zero_shot: str
    weights: Literal["validation", "equal"] = Field(description="fitted on validation answers, or 1/2 each")
    finetuned_weight: float = Field(description="the zero-shot arm's is 1 minus this")
    votes: Literal["probabilities", "answers"] = Field(description="candidates' probabilities, or one vote an answer")
    accuracy: Score
    best_member: str
    gain: Difference = Field(description="ensemble minus its better member")
    both_right: float
    only_finetuned_right: float
    only_zero_shot_right: float
    both_wrong: float
    oracle_accuracy: float = Field(description="share where at least one was right")
    oracle_gap: float = Field(description="oracle accuracy minus the better member's accuracy")
