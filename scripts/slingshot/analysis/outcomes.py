"""What each arm of a study left behind, as the comparison reads it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from slingshot.analysis.groups import Correct, Floats
from slingshot.analysis.set_scores import Answered, Sets, micro_f1_values
from slingshot.artifacts.layout import ArmFiles, ResultFiles
from slingshot.artifacts.manifest import original_digest
from slingshot.artifacts.metrics import AnswerKind, Metrics, Score, read_metrics
from slingshot.artifacts.predictions import Prediction, is_right, read_predictions
from slingshot.artifacts.records import ProcessRecord, StepRecord, read_process_record, read_step_record
from slingshot.config.arms import Arm
from slingshot.config.reporting import Estimand
from slingshot.config.specs import CompareSpec
from slingshot.core.errors import StudyError


@dataclass(frozen=True)
class Outcome:
    """What one arm left behind."""

    arm: Arm
    metrics: Metrics
    predictions: list[Prediction]
    predict: StepRecord | None
    predict_process: ProcessRecord | None
    finetune: StepRecord | None
    finetune_process: ProcessRecord | None
    validation: list[Prediction] | None
    estimand: Estimand = "exact_match"

    @property
    def path(self) -> str:
        return self.arm.path

    def way(self, kind: AnswerKind) -> AnswerKind | None:
        """The kind of answer that is used where `kind` is asked for; None where the arm has none.

        An arm that writes nothing has one answer, which counts as free and as constrained.
        """
        if kind in self.metrics.answers:
            return kind
        return "free" if self.classifies or not self.arm.generates else None

    @property
    def classifies(self) -> bool:
        """Whether a head over labels answers, which can say nothing but a known label."""
        return self.predict is not None and self.predict.spec.get("head") == "classify"

    @property
    def gives_probabilities(self) -> bool:
        """Whether a candidate's probability is one among labels; that of a written answer is one among all texts."""
        return self.classifies or not self.arm.generates

    def answers(self, kind: AnswerKind) -> list[str | None]:
        """One label per sample, None where none could be read.

        Raises:
            ValueError: the arm does not answer in this way.
        """
        free = self._read_way(kind) == "free"
        return [each.code if free else each.constrained_code for each in self.predictions]

    def sets(self, kind: AnswerKind) -> Answered:
        """One set per sample, where samples have several labels; errors as `answers`."""
        free = self._read_way(kind) == "free"
        return [each.codes if free else each.constrained_codes for each in self.predictions]

    @property
    def truths(self) -> Sets:
        """Each sample's set, where samples have several labels."""
        return [each.labels or [] for each in self.predictions]

    @property
    def several(self) -> bool:
        """Whether samples have several labels."""
        return bool(self.predictions) and self.predictions[0].labels is not None

    def correct(self, kind: AnswerKind) -> Correct:
        """Shape (samples,): whether the answer is the label, or the whole set."""
        constrained = self._read_way(kind) == "constrained"
        return np.array([is_right(each, constrained) for each in self.predictions], dtype=bool)

    def values(self, kind: AnswerKind) -> Floats:
        """Each sample's part of the estimand, of shape (samples,): their mean is the arm's score."""
        if self.estimand == "micro_f1":
            return micro_f1_values(self.truths, self.sets(kind))
        return self.correct(kind).astype(float)

    def score(self, kind: AnswerKind) -> Score:
        """The estimand with its interval."""
        found = self.metrics.answers[kind]
        return found.exact_match if self.estimand == "exact_match" or found.sets is None else found.sets.micro.f1

    def _read_way(self, kind: AnswerKind) -> AnswerKind:
        way = self.way(kind)
        if way is None:
            raise ValueError(f"{self.path} has no {kind} answers")
        return way

    @property
    def shots(self) -> int:
        """Worked examples in the prompt."""
        predicted = self.predict.spec if self.predict else {}
        return int(predicted.get("few_shot", {}).get("k", self.arm.shots or 0))


def metrics_of_answers(files: ArmFiles, results: ResultFiles) -> Metrics:
    """An arm's metrics, if they were computed from the answers that lie beside them.

    Raises:
        StudyError: they were computed from others, or say another exact match than these have.
    """
    metrics = read_metrics(files.metrics)
    again = f"score the arm again with `snakemake --force {files.metrics}`"
    if metrics.provenance.get("predictions") not in (None, original_digest(files.predictions, results)):
        raise StudyError(f"{files.metrics} was computed from other answers than {files.predictions}: {again}")
    stated = metrics.exact_match_accuracy
    if "free" in metrics.answers and abs(stated - metrics.answers["free"].exact_match.value) > 1e-9:
        raise StudyError(f"{files.metrics} states an exact match of {stated:g} in one place and another below: {again}")
    return metrics


def read_outcome(arm: Arm, results: Path, validated: bool = False, estimand: Estimand = "exact_match") -> Outcome:
    """Read an arm's folder.

    Raises:
        FileNotFoundError: a file that the arm's steps write is not there.
    """
    files = ResultFiles(results).arm(arm.path)
    predicts, trained = "predict" in arm.steps, "finetune" in arm.steps
    return Outcome(
        arm=arm,
        metrics=metrics_of_answers(files, ResultFiles(results)),
        predictions=read_predictions(files.predictions),
        predict=read_step_record(files.record("predict")) if predicts else None,
        predict_process=read_process_record(files.process("predict")) if predicts else None,
        finetune=read_step_record(files.record("finetune")) if trained else None,
        finetune_process=read_process_record(files.process("finetune")) if trained else None,
        validation=read_predictions(files.validation.predictions) if validated else None,
        estimand=estimand,
    )


def read_outcomes(spec: CompareSpec, results: Path, allow_missing: bool) -> tuple[list[Outcome], list[str]]:
    """All arms that are there, and the paths of those that are not.

    Raises:
        StudyError: an arm is not there and `allow_missing` is false, or no arm is.
    """
    outcomes, missing = [], []
    for arm in spec.arms:
        try:
            estimand = spec.statistics.estimand_of(spec.several)
            outcomes.append(read_outcome(arm, results, arm.path in spec.validated, estimand))
        except FileNotFoundError as error:
            if not allow_missing:
                raise StudyError(
                    f"{arm.path}: {error.filename} is missing; run its steps with `snakemake "
                    f"results/{arm.path}/metrics.json`, or compare what is there with `snakemake report_available`"
                ) from None
            missing.append(arm.path)
    if not outcomes:
        raise StudyError("no arm has results yet: there is nothing to compare")
    return outcomes, missing
