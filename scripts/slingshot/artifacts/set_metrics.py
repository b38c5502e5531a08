"""The scores of answers that are sets of labels."""

from __future__ import annotations

from pydantic import Field

from slingshot.artifacts.metrics import Score
from slingshot.artifacts.records import Record


class PrecisionRecall(Record):
    precision: Score
    recall: Score
    f1: Score


class AtRank(Record):
    """Of the k labels ranked first: how many are right, and how many of the right ones are there."""

    k: int
    precision: Score
    recall: Score


class FrequencyScores(Record):
    """Micro scores over the labels that stand so often in train."""

    train_samples: str
    labels: int
    micro: PrecisionRecall


class SetScores(Record):
    """Scores of one arm; docs/statistics.md has the definitions. Intervals at the study's confidence."""

    exact_match: Score = Field(description="share of samples whose whole set is right")
    micro: PrecisionRecall = Field(description="over all pairs of a sample and a label")
    macro: PrecisionRecall = Field(description="mean over the labels of the test split; no mean of an absent label")
    macro_code_set: PrecisionRecall = Field(
        description="mean over all labels of the study; one that is neither true nor answered counts 0"
    )
    examples: PrecisionRecall = Field(description="mean over the samples; an empty set counts 0, as in scikit-learn")
    hierarchical: PrecisionRecall | None = Field(
        description="micro over sets with all their ancestors (Kiritchenko et al. 2006); null for plain labels"
    )
    mean_average_precision: Score | None = Field(description="null where an arm ranks no labels")
    at_rank: list[AtRank] = Field(description="empty where an arm ranks no labels")
    by_train_frequency: list[FrequencyScores]
    test_labels: int
    mean_labels: float = Field(description="labels per sample, of the truths")
    mean_answered: float = Field(description="labels per sample, of the answers")
