"""test_sets.json: every arm on the further test sets, beside the study's own test split."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from slingshot.artifacts.metrics import AnswerKind, Difference, Score
from slingshot.artifacts.records import Record, read_record


class Drop(Record):
    """A share on the study's test split minus that on another test set; `low <= value <= high`. Positive: it falls."""

    value: float
    low: float
    high: float
    method: Literal["newcombe"] = Field("newcombe", description="of two independent shares, from their own intervals")


class ArmOnTestSet(Record):
    """Of sets, exact_match and main_exact_match are the study's estimand (statistics.estimand)."""

    arm: str
    exact_match: Score
    main_exact_match: Score
    drop: Drop
    scores: dict[str, Score] = Field(description="macro_f1 and what else metrics.json has at the target's level")
    main_scores: dict[str, Score] = Field(description="likewise on the study's test split")


class PairOnTestSet(Record):
    """A pair that the verdict rests on: `first` minus `second` on the same samples of the further test set."""

    first: str
    second: str
    difference: Difference
    main_difference: Difference
    p: float = Field(
        description="two-sided, as on the study's own test split; not adjusted: the verdict does not rest on it"
    )


class OneTestSet(Record):
    name: str
    n_samples: int
    main_n_samples: int
    arms: list[ArmOnTestSet]
    pairs: list[PairOnTestSet]
    not_answered: list[str] = Field(description="paths of imported arms that have no file for it")


class TestSets(Record):
    __test__ = False  # not one of pytest's

    confidence: float
    answer: AnswerKind = Field(description="the kind of answer that the verdict is about")
    test_sets: list[OneTestSet]


def read_test_sets(path: Path | str) -> TestSets:
    return read_record(TestSets, path)
