"""The study's answer: every finetuned arm against every zero-shot arm, on the same samples."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from slingshot.cost import ArmCost, BreakEven, MemoryRow
from slingshot.ensemble import Ensemble
from slingshot.files import read_json
from slingshot.metrics import AnswerKind, Score
from slingshot.records import Record
from slingshot.statistics import Difference

Family = Literal["primary", "baseline", "secondary"]
Outcome = Literal["specialization", "size", "mixed", "undecided"]


class ArmSummary(Record):
    """A row of the table of arms. The rest of an arm's scores stands in its metrics.json."""

    arm: str = Field(description="its folder under results/, and its name everywhere")
    kind: Literal["llm", "slm", "baseline"]
    model: str
    variant: str | None
    finetuned: bool
    name: str = Field(description="the model's name, as people know it")
    size: str | None
    result_key: str
    scores: dict[str, Score] = Field(
        description="exact_match, macro_f1, weighted_f1, parsable, known always; valid, category_accuracy, "
        "block_accuracy, chapter_accuracy, hierarchical_f1, top_1, top_3, top_5, expected_calibration_error, "
        "constrained_exact_match where they exist"
    )
    cost: ArmCost | None = Field(description="null for a baseline")


class PairComparison(Record):
    """`first` minus `second`, exact matches on the same samples. Positive: first is better."""

    family: Family = Field(
        description="primary: finetuned small against zero-shot large models, which the verdict rests on; "
        "baseline: an arm against TF-IDF; secondary: any other finetuned against zero-shot pair"
    )
    answer: AnswerKind
    first: str
    second: str
    difference: Difference
    only_first_right: int
    only_second_right: int
    p: float = Field(description="exact McNemar test, two-sided")
    adjusted_p: float = Field(description="Holm's, over the pairs of the same family and answer")
    significant: bool = Field(description="adjusted_p <= 1 - confidence")
    cohens_g: float | None = Field(description="share of discordant pairs that first wins, minus 1/2; null without any")
    odds_ratio: float | None = Field(description="only_first_right / only_second_right; null where that is not finite")
    minimal_detectable_difference: float | None = Field(
        description="smallest difference that n samples with this discordance show with 80% power at the level "
        "1 - confidence over the family's size; null where not even one-sided discordance would have sufficed"
    )
    levels: dict[str, Difference] = Field(
        description="differences of category_accuracy, block_accuracy, chapter_accuracy, hierarchical_f1 where they "
        "exist; intervals only, not tested"
    )


class Verdict(Record):
    """What the evidence allows and no more; docs/statistics.md defines the rule."""

    outcome: Outcome
    sentence: str
    caveats: list[str] = Field(description="sentences that belong beside it")
    answer: AnswerKind
    winners: list[str] = Field(description="arms of the winning side that beat every arm of the other side")


class Comparison(Record):
    """comparison.json."""

    confidence: float
    resamples: int
    seed: int
    n_samples: int
    arms: list[ArmSummary]
    missing: list[str] = Field(description="arms of the study whose results are not there yet")
    verdict: Verdict
    constrained_verdict: Verdict | None = Field(
        description="the same rule over constrained answers, where all have them"
    )
    comparisons: list[PairComparison]
    ensembles: list[Ensemble]
    break_even: list[BreakEven]
    currency: str
    gpu_hour_price: float | None
    kwh_price: float | None
    memory_ledger: list[MemoryRow]
    provenance: dict[str, str]


def read_comparison(path: Path | str) -> Comparison:
    return Comparison.model_validate(read_json(path))
