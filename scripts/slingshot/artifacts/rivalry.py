"""Findings that compare ways to answer: share without a human, labels that each arm wins, writing or a head, votes."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from slingshot.artifacts.metrics import Difference, Score
from slingshot.artifacts.records import Record


class CoveragePoint(Record):
    """A share of the test samples, those that the arm is surest of, and how often it is right there."""

    coverage: float
    precision: float


class SelectiveCoding(Record):
    """What an arm could code without a human: the samples whose best candidate is likely enough.

    The threshold is the lowest at which the arm has the wanted precision on validation; test was not looked at.
    """

    arm: str
    wanted_precision: float
    threshold: float | None = Field(description="least probability; null: no threshold reaches the precision")
    validation_samples: int
    validation_coverage: float
    validation_precision: float | None = Field(description="null where nothing is covered")
    coverage: Score = Field(description="share of the test samples that need no human")
    precision: Score | None = Field(description="right answers among them; null where there are none")
    curve: list[CoveragePoint] = Field(description="on test, over all thresholds; at most 100 points")


class FrequencyGroup(Record):
    """The test samples whose label has N train samples, N in one range, and which arm answers them best."""

    group: str = Field(description="0: unseen in train; else a range of train samples per label")
    n: int
    labels: int
    best: list[str] = Field(description="arms with most exact matches; several where they are equal")
    accuracy: Score = Field(description="of the best")
    not_worse: list[str] = Field(
        description="other arms that are not significantly worse than the best (exact McNemar test, or sign flips of "
        "whole groups, against the first of them; Bonferroni's correction over all pairs of arms, as the best was "
        "chosen on the same samples)"
    )


class HeadPoint(Record):
    """One model finetuned to write the label and with a head over labels, on the same train samples."""

    train_samples: int
    samples_per_label: float
    writing: str
    head: str
    writing_score: Score
    head_score: Score
    difference: Difference = Field(description="exact match, head minus writing")


class HeadComparison(Record):
    model: str
    points: list[HeadPoint]


class Ensemble(Record):
    """Two arms that vote with the probabilities of their candidates. Shares are of the test samples.

    A member is judged by its best candidate, which is what it votes for: the gain is that of voting, and not that of
    ranking candidates rather than answering freely. Of sets, accuracy and gains are micro F1 of the labels whose pooled
    probability reaches a threshold that is chosen with the weight, a member has a threshold of its own, and shares are
    of the true labels.
    """

    finetuned: str
    zero_shot: str
    weights: Literal["validation", "equal"] = Field(description="fitted on validation answers, or 1/2 each")
    finetuned_weight: float = Field(description="the zero-shot arm's is 1 minus this")
    accuracy: Score
    best_member: str | None = Field(description="by exact matches on validation; null without validation answers")
    gain: Difference | None = Field(description="ensemble minus best_member; null where that is null")
    gain_over_finetuned: Difference
    gain_over_zero_shot: Difference
    both_right: float
    only_finetuned_right: float
    only_zero_shot_right: float
    both_wrong: float
    oracle_accuracy: float = Field(description="share where at least one member was right; a pooled vote may exceed it")
