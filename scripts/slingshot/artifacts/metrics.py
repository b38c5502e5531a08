"""metrics.json: an arm's scores at each level of the code tree, each with its interval."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from slingshot.artifacts.records import Record, read_sealed, write_sealed
from slingshot.config.base import LabelSystem, Level, ModelType, TrainingStatus

AnswerKind = Literal["free", "constrained"]

ScoredLevel = Literal["code", "category", "block", "chapter", "label"]  # label: the only level of plain labels


class Score(Record):
    """An estimate over n samples and its interval at the study's confidence; `low <= value <= high`."""

    value: float
    low: float
    high: float
    n: int = Field(description="samples that the score rests on")
    method: Literal["wilson", "jackknife"]
    design_effect: float | None = Field(
        None,
        description="of a share: its variance over that of independent samples; null where no group of the split has "
        "more than one member",
    )


class LevelScores(Record):
    """Scores of answers and truths lifted to one level of the tree; an unreadable answer is wrong at every level.

    A macro average is over the labels that occur in the split. Where many occur once or twice its expectation depends
    on the size of the split: it is that of a split of n samples, not of the population. Accuracy and micro F1 are not.
    """

    accuracy: Score
    micro_f1: Score = Field(description="of all labels' hits together; accuracy where every sample has an answer")
    macro_precision: Score
    macro_recall: Score
    macro_f1: Score
    weighted_precision: Score
    weighted_recall: Score
    weighted_f1: Score
    true_labels: int = Field(description="distinct labels among the truths")
    answered_labels: int = Field(description="distinct labels among the answers")


class HierarchicalScores(Record):
    """Over codes with all their ancestors (Kiritchenko et al. 2006). An answer that could not be read, or that is no
    code of the tree, counts as a wrong one with as many ancestors as the truth."""

    precision: Score
    recall: Score
    f1: Score


class GroupScore(Record):
    """Exact matches among the samples of one group: a chapter, a range of train frequency or of length."""

    group: str = Field(description="as shown: a chapter's number, `1-9`, `0` …")
    title: str | None = Field(None, description="a chapter's title")
    accuracy: Score


class Confusion(Record):
    """Counts of truths (rows) against answers (columns), by chapter or, for plain labels, by label."""

    level: ScoredLevel
    labels: list[str] = Field(description="of the rows, and of all columns but the last")
    titles: list[str] = Field(description="what the labels mean, in the same order; the label itself where unknown")
    counts: list[list[int]] = Field(
        description="len(labels) rows of len(labels) + 1: the last column is no answer, or one that is no label of the "
        "study or code of the tree"
    )


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
    """Micro scores over all of the study's labels in one range of train samples per label."""

    train_samples: str
    labels: int = Field(description="those of them that are true of a test sample")
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
    levels: dict[ScoredLevel, PrecisionRecall] = Field(
        description="micro, over sets lifted to each level of the tree above the target's; empty for plain labels"
    )
    at_rank: list[AtRank] = Field(description="empty where an arm ranks no labels")
    by_train_frequency: list[FrequencyScores]
    test_labels: int
    mean_labels: float = Field(description="labels per sample, of the truths")
    mean_answered: float = Field(description="labels per sample, of the answers")


class AnswerScores(Record):
    """All scores of one way to answer: freely, or with only known labels allowed.

    Where samples have several labels, `sets` has the scores: an exact match is of the whole set, an answer is valid or
    known where each of its labels is, and what is said of single labels is empty.
    """

    ONLY_IF_THERE: ClassVar[tuple[str, ...]] = ("sets",)

    exact_match: Score
    parsable: Score = Field(description="share of answers that a label could be read from")
    valid: Score | None = Field(
        description="share of answers that are in the ICD-10-CM code set; null for plain labels"
    )
    known: Score = Field(description="share of answers that are labels of this study")
    levels: dict[ScoredLevel, LevelScores]
    hierarchical: HierarchicalScores | None
    by_chapter: list[GroupScore] = Field(description="empty for plain labels")
    by_train_frequency: list[GroupScore] = Field(description="by how often the true label stands in train")
    by_length: list[GroupScore] = Field(description="by words of the text, in fifths of the test split")
    confusion: Confusion | None = Field(description="null for more than 40 plain labels, and for sets")
    sets: SetScores | None = Field(None, description="left out where samples have one label each")


class CalibrationBin(Record):
    low: float
    high: float
    n: int
    confidence: float | None = Field(description="mean probability in the bin; null for an empty bin")
    accuracy: float | None


class BrierParts(Record):
    """Of the Brier score over bins of equal count, each without bias (Ferro and Fricker 2012)."""

    reliability: float = Field(description="squared distance of probability and accuracy; near 0 for a calibrated arm")
    resolution: float = Field(description="how far the accuracies of the bins lie apart; high is good")
    uncertainty: float = Field(description="variance of right or wrong itself")


class RankedScores(Record):
    """Scores of the ranked candidates. A sample without candidates is missed at every k and has no probability."""

    top_1: Score
    top_3: Score | None = Field(description="null where no sample has 3 candidates")
    top_5: Score | None
    without_candidates: int = Field(description="samples")
    brier: Score | None = Field(
        description="mean squared distance of the best candidate's probability and whether it is right; null with "
        "fewer than 2 samples with candidates, or where all are of one group"
    )
    brier_parts: BrierParts | None
    calibration_error: Score | None = Field(
        description="root of the mean squared distance of probability and accuracy, without the bias of small bins"
    )
    calibration: list[CalibrationBin] = Field(description="of the best candidate's probability, ten equal bins")


class Metrics(Record):
    """metrics.json. The first nine keys are the original's, as plain numbers; f1, precision and recall are weighted
    averages over the labels at the target level, of the free answers; of sets they are micro scores."""

    model_type: ModelType
    model_size: str | None
    training_status: TrainingStatus
    n_samples: int
    exact_match_accuracy: float
    f1: float
    precision: float
    recall: float
    training_metrics: dict[str, Any] | None = Field(None, description="training.json of a finetuned arm")

    arm: str
    model_name: str
    labels: LabelSystem
    level: Level
    confidence: float
    resamples: int
    answers: dict[AnswerKind, AnswerScores] = Field(description="free always; constrained where the study asks for it")
    ranked: RankedScores | None = Field(description="null where no candidates were asked for")
    truncated_samples: int = Field(description="prompts that lost the middle of their dialogue")
    provenance: dict[str, str] = Field(description="digests of the files that were read, versions of packages")


SEAL = "metrics"  # key of `provenance`: the digest of all the rest


def write_metrics(path: Path | str, metrics: Metrics) -> None:
    """Write metrics.json with a digest of its own content, by which a later edit shows."""
    write_sealed(metrics, path, SEAL)


def read_metrics(path: Path | str) -> Metrics:
    """Read metrics.json.

    Raises:
        MissingFileError: it is not there.
        StudyError: it is damaged, of another version, or was edited since it was written.
    """
    return read_sealed(Metrics, path, SEAL)


class Difference(Record):
    """A paired difference of two scores over the same n samples, with its interval; `low <= value <= high`."""

    value: float
    low: float
    high: float
    n: int
    method: Literal["tango", "student", "seeds", "jackknife"] = Field(
        description="tango: right or wrong; student: other scores and contrasts; seeds: means over several runs, seeds "
        "counted; jackknife: scores that are no means"
    )
    design_effect: float | None = Field(
        None, description="variance over that of independent samples; null where no group has more than one member"
    )
