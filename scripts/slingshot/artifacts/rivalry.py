"""Findings that compare ways to answer: which share needs no human, which labels each arm wins, writing or a head."""

from __future__ import annotations

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
    """The test samples whose label stands in train so often, and which arm answers them best."""

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
