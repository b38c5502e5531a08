"""The study's answer: every finetuned arm against every zero-shot arm, on the same samples."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from slingshot.artifacts.cost import ArmCost, BreakEven, MemoryRow
from slingshot.artifacts.metrics import AnswerKind, Difference, Score
from slingshot.artifacts.records import Record, read_sealed, write_sealed
from slingshot.artifacts.rivalry import Ensemble, FrequencyGroup, HeadComparison, SelectiveCoding
from slingshot.config.base import ArmKind, SelectBy
from slingshot.config.endpoints import TokenPrices
from slingshot.config.reporting import Estimand

Family = Literal["primary", "baseline", "secondary"]

Outcome = Literal["specialization", "size", "both", "mixed", "undecided"]

Side = Literal["small", "large", "rival"]

MarginFinding = Literal["equivalent", "first_not_worse", "second_not_worse"]


MEASURES: dict[Estimand, str] = {"exact_match": "exact match", "micro_f1": "micro F1"}


class SeedMean(Record):
    """The mean score of a recipe's runs with several seeds; its interval is over seeds and samples."""

    value: float
    low: float
    high: float
    runs: int


class ArmSummary(Record):
    """A row of the table of arms. The rest of an arm's scores stands in its metrics.json."""

    arm: str = Field(description="its folder under results/, and its name everywhere")
    kind: ArmKind
    model: str
    variant: str | None
    finetuned: bool
    name: str = Field(description="the model's name, as people know it")
    size: str | None
    side: Side = Field(description="of the study's question; rival: an arm of neither side, e.g. TF-IDF")
    treatment: str = Field(description="what was done with the model, in words, e.g. `untrained, 5 examples`")
    design: str | None = Field(description="the design that added the arm; null: the study itself")
    competes: bool = Field(description="it may be recommended, and its pairs are primary or baseline ones")
    choices: int = Field(1, description="settings or prompts that it was chosen from on validation")
    human: bool = Field(False, description="a human coder, whose agreement with the labels is shown as the ceiling")
    result_key: str
    scores: dict[str, Score] = Field(
        description="exact_match, micro_f1, macro_f1, weighted_f1, parsable, known always; valid, category_accuracy, "
        "block_accuracy, chapter_accuracy, hierarchical_f1, top_1, top_3, top_5, brier, calibration_error, "
        "constrained_exact_match where they exist; of sets those of report/tables.py's SET_SCORES"
    )
    seed_means: dict[AnswerKind, SeedMean] = Field(
        default={},
        description="the estimand as headline and pairs have it, by kind of answer, where the arm's recipe has runs "
        "with several seeds; `scores` are of the arm's own run. Empty with one seed",
    )
    cost: ArmCost | None = Field(description="null where nothing ran here: imported predictions")
    estimand: Estimand | None = Field(
        None, description="the key of `scores` that pairs, verdict and designs are of; left out: exact_match"
    )

    ONLY_IF_THERE: ClassVar[tuple[str, ...]] = ("estimand",)

    @property
    def score(self) -> Score:
        """The estimand, of free answers."""
        return self.scores[self.estimand or "exact_match"]

    @property
    def measure(self) -> str:
        """The estimand in words."""
        return MEASURES[self.estimand or "exact_match"]

    @property
    def recipe_score(self) -> Score | SeedMean:
        """The estimand as headline and pairs have it: the mean of the arm's seeds where it has several."""
        return self.seed_means.get("free", self.score)


class PairComparison(Record):
    """`first` minus `second`, the estimand on the same samples. Positive: first is better.

    The estimand is exact match, or micro F1 where the arms' `estimand` says so: its test then flips which arm is which,
    and only_first_right to odds_ratio still are of whole sets.
    """

    family: Family = Field(
        description="primary: finetuned small against large models, however these are used, which the verdict rests "
        "on; baseline: a competing arm against a rival such as TF-IDF; secondary: every other pair"
    )
    family_size: int = Field(description="pairs that the config declares in the family, with results or without")
    answer: AnswerKind
    first: str
    second: str
    difference: Difference = Field(
        description="interval of this pair alone; it leaves out 0 exactly where p is at most 1 - confidence"
    )
    simultaneous: Difference = Field(
        description="interval at 1 - (1 - confidence) / family_size: with that probability all of the family's hold "
        "at once; it leaves out 0 exactly where the pair is significant"
    )
    first_runs: int = Field(1, description="finetunes with different seeds whose mean the difference is of")
    second_runs: int = 1
    only_first_right: int = Field(description="of the two arms' own runs, whatever the number of seeds")
    only_second_right: int
    p: float = Field(
        description="two-sided: exact McNemar test, or sign flips of scores between 0 and 1, of whole groups where the "
        "split has groups, but no smaller than the level at which the interval ends at 0; with several runs that "
        "level, over samples and seeds"
    )
    adjusted_p: float = Field(description="Bonferroni's: p times family_size, at most 1")
    significant: bool = Field(description="adjusted_p <= 1 - confidence and the simultaneous interval leaves out 0")
    margin: MarginFinding | None = Field(
        description="what the simultaneous interval says of statistics.margin; null: nothing, or no margin is set"
    )
    cohens_g: float | None = Field(description="share of discordant pairs that first wins, minus 1/2; null without any")
    odds_ratio: float | None = Field(description="only_first_right / only_second_right; null where that is not finite")
    levels: dict[str, Difference] = Field(
        description="differences of category_accuracy, block_accuracy, chapter_accuracy, hierarchical_f1 where they "
        "exist, and of sets those of macro_f1 and of exact_match or micro_f1, of the two arms' own runs, whatever the "
        "number of seeds; intervals only, not tested"
    )


class Verdict(Record):
    """What the evidence allows and no more; docs/statistics.md defines the rule."""

    outcome: Outcome
    sentence: str = Field(description="the headline: what to use, and how size and specialization compare")
    remarks: list[str] = Field(default=[], description="sentences that belong to it: rivals, form, sizes, seeds")
    evidence: list[str] = Field(default=[], description="each primary pair's difference, in words")
    facts: list[str] = Field(default=[], description="how many arms competed, the correction, the margin")
    caveats: list[str] = Field(description="sentences that belong beside it")
    answer: AnswerKind
    best: str | None = Field(None, description="the competing arm that the headline recommends or names first")
    winners: list[str] = Field(description="arms of the winning side that beat every arm of the other side")


class Estimate(Record):
    """A number and its interval at the study's confidence; `low <= value <= high`."""

    value: float
    low: float
    high: float


class TrainingGain(Record):
    """What finetuning gave one model, on the same samples."""

    model: str
    untrained: str
    finetuned: str
    difference: Difference = Field(description="exact match, finetuned minus untrained")


class Crossed(Record):
    """A small and a large model, each untrained and finetuned: exact match, 2 by 2. Effects are shares."""

    small: str
    large: str
    arms: dict[Literal["small_untrained", "small_finetuned", "large_untrained", "large_finetuned"], str]
    size: Difference = Field(description="large minus small, mean over untrained and finetuned")
    specialization: Difference = Field(description="finetuned minus untrained, mean over small and large")
    interaction: Difference = Field(description="gain of the small model from training minus that of the large one")


class CurvePoint(Record):
    arm: str
    train_samples: int
    exact_match: Score


class LinePoint(Record):
    """A point of a drawn learning curve: the best shape's, with an interval that needs no shape."""

    train_samples: float
    value: float = Field(description="exact match")
    low: float
    high: float


class PowerLaw(Record):
    """1 - exact match = asymptote + scale * n^-exponent, over the sizes measured."""

    asymptote: float
    asymptote_interval: tuple[float, float]
    scale: float
    exponent: float
    exponent_interval: tuple[float, float]
    largest_residual: float = Field(description="largest distance of a measured point from the curve, a share")


ShapeName = Literal["power law", "sigmoid", "logarithm"]


class CurveShape(Record):
    """A shape and how well it predicts measured sizes that it was not fitted to."""

    shape: ShapeName
    held_out_error: float | None = Field(
        description="root mean square, a share; null with too few sizes to hold one out"
    )


class TrainingNoise(Record):
    """How far two runs of one size with other seeds lie apart."""

    deviation: float = Field(description="standard deviation of exact match, a share")
    source: Literal["seeds", "residuals", "none"] = Field(
        description="the model's runs with several seeds; else distances of the sizes from the curve, which hold test "
        "noise, too; none: too few sizes for either, and the intervals are over test samples alone"
    )
    freedom: int = Field(description="degrees of freedom of the estimate")


class TrainSize(Record):
    """A train size, or on which side of the measured range it lies."""

    place: Literal["below", "within", "above"]
    train_samples: int | None = Field(description="null unless it is within the range")


class TrainSizeBreakEven(Record):
    """The train size from which the finetuned model is no worse than an untrained arm.

    The interval's ends are measured sizes: the last that is surely worse, and the first that is surely better. It needs
    no shape, only a curve that does not get worse. The estimate is the curve's of the best shape.
    """

    untrained: str
    shots: int = Field(description="examples in the untrained arm's prompt")
    estimate: TrainSize | None = Field(
        description="null where no shape fits: the sentence then names the interval only"
    )
    low: TrainSize
    high: TrainSize
    sentence: str


class MeasuredCurve(Record):
    """Finetunes of one model on nested, stratified subsets of train.

    Intervals of points are over test samples, those of the curve and of break-even sizes over training noise, too.
    """

    model: str
    hold: Literal["epochs", "steps"] = Field(description="what was the same for every size")
    points: list[CurvePoint]
    power_law: PowerLaw | None = Field(
        description="null where another shape predicts held-out sizes better, none does so well, or there are "
        "fewer than four different sizes to hold one out"
    )
    shapes: list[CurveShape] = Field(default=[])
    best_shape: ShapeName | None = Field(None, description="by held-out error; break-even estimates are from it")
    fits: bool = Field(True, description="false: no shape predicts held-out sizes within their noise")
    line: list[LinePoint] = Field(
        default=[],
        description="the best shape from the smallest to the largest size; its band rests on the measured sizes beside "
        "each point and needs no shape, only a score that does not fall with the size",
    )
    training_noise: TrainingNoise | None = None
    break_even: list[TrainSizeBreakEven]


class SeedRun(Record):
    arm: str
    seed: int | None
    exact_match: Score


class SeedVariation(Record):
    """One model finetuned with several seeds. `mean` counts seeds and samples."""

    model: str
    runs: list[SeedRun]
    mean: Estimate
    between_seeds: float = Field(description="standard deviation of exact match between seeds, on the same samples")
    between_samples: float = Field(description="standard error of one run's exact match over test samples")
    against: dict[str, Estimate] = Field(description="untrained large arm to the mean minus its exact match")


class ShotStep(Record):
    k: int
    arm: str
    exact_match: Score
    gain: Difference | None = Field(description="over the ladder's smallest k; null for that itself")


class ShotLadder(Record):
    model: str
    steps: list[ShotStep]


class SweptCandidate(Record):
    arm: str
    score: float


class SweepChoice(Record):
    """Candidates competed on validation; the test split was read once, for the chosen one."""

    model: str
    arm: str
    select_by: SelectBy
    candidates: list[SweptCandidate] = Field(description="the best first")
    chosen: str
    exact_match: Score


class DesignFindings(Record):
    crossed: list[Crossed]
    gains: list[TrainingGain]
    curves: list[MeasuredCurve]
    seeds: list[SeedVariation]
    ladders: list[ShotLadder]
    sweeps: list[SweepChoice]
    heads: list[HeadComparison] = Field(default=[], description="writing against a head over labels, by train size")


class Comparison(Record):
    """comparison.json. In `designs` the estimand is called exact_match in every study."""

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
    token_prices: dict[str, TokenPrices] = Field(
        default={}, description="path of an arm behind an endpoint to what its tokens cost"
    )
    kwh_price: float | None
    memory_ledger: list[MemoryRow]
    provenance: dict[str, str]
    designs: DesignFindings | None = Field(None, description="null for a study without designs")
    selective: list[SelectiveCoding] = Field(default=[], description="of arms that rank candidates on validation, too")
    by_frequency: list[FrequencyGroup] = Field(default=[], description="the best arms by how often a label is in train")

    @property
    def estimand(self) -> Estimand:
        """The score that pairs, verdict and designs are of."""
        return self.arms[0].estimand or "exact_match" if self.arms else "exact_match"

    @property
    def measure(self) -> str:
        """The estimand in words."""
        return MEASURES[self.estimand]

    @property
    def several(self) -> bool:
        """Whether samples have several labels each."""
        return any("macro_f1_code_set" in arm.scores for arm in self.arms)


def write_comparison(path: Path | str, comparison: Comparison) -> None:
    write_sealed(comparison, path)


def read_comparison(path: Path | str) -> Comparison:
    """Raises as artifacts.metrics.read_metrics."""
    return read_sealed(Comparison, path)
