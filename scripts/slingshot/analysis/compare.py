"""Computing comparison.json: from what the arms left behind to pairs, ensembles, costs and the verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from slingshot.analysis.bootstrap import Floats, intervals
from slingshot.analysis.cost import arm_cost, break_even, memory_row
from slingshot.analysis.designs import Scored, findings
from slingshot.analysis.ensemble import ensemble
from slingshot.analysis.scoring import TREE, at_level, check_order, hierarchical_counts, hierarchical_f1
from slingshot.analysis.significance import (
    cohens_g,
    discordant,
    holm,
    mcnemar_p,
    minimal_detectable_difference,
    paired_difference,
)
from slingshot.analysis.verdict import verdict_of
from slingshot.artifacts.comparison import ArmSummary, Comparison, Ensemble, Family, PairComparison
from slingshot.artifacts.cost import ArmCost, BreakEven
from slingshot.artifacts.labels import Label
from slingshot.artifacts.layout import ResultFiles
from slingshot.artifacts.metrics import AnswerKind, Difference, Metrics, Score, read_metrics
from slingshot.artifacts.predictions import Prediction, read_predictions
from slingshot.artifacts.records import ProcessRecord, StepRecord, read_process_record, read_step_record
from slingshot.config.arms import Arm
from slingshot.config.reporting import Statistics
from slingshot.config.specs import CompareSpec
from slingshot.core.errors import StudyError

Correct = NDArray[np.bool_]


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

    @property
    def path(self) -> str:
        return self.arm.path

    def answers(self, kind: AnswerKind) -> list[str | None]:
        return [prediction.code if kind == "free" else prediction.constrained_code for prediction in self.predictions]

    def correct(self, kind: AnswerKind) -> Correct:
        return np.array(
            [answer == each.label for answer, each in zip(self.answers(kind), self.predictions, strict=True)],
            dtype=bool,
        )


@dataclass(frozen=True)
class Pair:
    family: Family
    first: Outcome
    second: Outcome


def read_outcome(arm: Arm, results: Path, with_validation: bool = False) -> Outcome:
    """Read an arm's folder.

    Raises:
        FileNotFoundError: a file that the arm's steps write is not there.
    """
    files = ResultFiles(results).arm(arm.path)
    predicts, trained = "predict" in arm.steps, "finetune" in arm.steps
    validated = with_validation and arm.generates and arm.design is None
    return Outcome(
        arm=arm,
        metrics=read_metrics(files.metrics),
        predictions=read_predictions(files.predictions),
        predict=read_step_record(files.record("predict")) if predicts else None,
        predict_process=read_process_record(files.process("predict")) if predicts else None,
        finetune=read_step_record(files.record("finetune")) if trained else None,
        finetune_process=read_process_record(files.process("finetune")) if trained else None,
        validation=read_predictions(files.validation.predictions) if validated else None,
    )


def read_outcomes(spec: CompareSpec, results: Path, allow_missing: bool) -> tuple[list[Outcome], list[str]]:
    """All arms that are there, and the paths of those that are not.

    Raises:
        StudyError: an arm is not there and `allow_missing` is false, or no arm is.
    """
    outcomes, missing = [], []
    for arm in spec.arms:
        try:
            outcomes.append(read_outcome(arm, results, spec.ensemble_weights == "validation"))
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


def compare(
    spec: CompareSpec, outcomes: Sequence[Outcome], missing: list[str], test: pd.DataFrame, labels: Sequence[Label]
) -> Comparison:
    """The whole comparison over one test split."""
    for outcome in outcomes:
        check_order(outcome.predictions, test, outcome.path)
    costs = {outcome.path: cost for outcome in outcomes if (cost := cost_of(outcome, spec)) is not None}
    kinds: list[AnswerKind] = ["free"]
    if all("constrained" in outcome.metrics.answers for outcome in outcomes if outcome.arm.generates):
        kinds.append("constrained")
    pairs = pairs_of(outcomes)
    compared = {kind: compare_pairs(pairs, kind, labels, spec.statistics) for kind in kinds}
    summaries = [summary_of(outcome, spec, costs) for outcome in outcomes]
    return Comparison(
        confidence=spec.statistics.confidence,
        resamples=spec.statistics.resamples,
        seed=spec.statistics.seed,
        n_samples=len(test),
        arms=summaries,
        missing=missing,
        verdict=verdict_of(summaries, compared["free"], "free", spec.statistics.confidence),
        constrained_verdict=verdict_of(summaries, compared["constrained"], "constrained", spec.statistics.confidence)
        if "constrained" in compared
        else None,
        comparisons=[pair for kind in kinds for pair in compared[kind]],
        ensembles=ensembles_of(pairs, spec.statistics),
        break_even=break_evens_of(pairs, costs),
        currency=spec.cost.currency,
        gpu_hour_price=spec.cost.gpu_hour_price,
        token_prices=spec.token_prices,
        kwh_price=spec.cost.kwh_price,
        memory_ledger=[
            memory_row(process)
            for outcome in outcomes
            for process in (outcome.finetune_process, outcome.predict_process)
            if process
        ],
        provenance={f"{outcome.path} predictions": outcome.metrics.provenance["predictions"] for outcome in outcomes},
        designs=findings([scored_of(outcome) for outcome in outcomes], spec.statistics),
    )


def scored_of(outcome: Outcome) -> Scored:
    """What the designs' analysis needs of an arm: its answers, and what its records say of its treatment."""
    training = outcome.metrics.training_metrics or {}
    predicted = outcome.predict.spec if outcome.predict else {}
    finetuned = outcome.finetune.spec if outcome.finetune else {}
    return Scored(
        arm=outcome.arm,
        correct=outcome.correct("free"),
        exact_match=outcome.metrics.answers["free"].exact_match,
        shots=predicted.get("few_shot", {}).get("k", outcome.arm.shots or 0),
        train_samples=training.get("train_samples"),
        hold_steps=finetuned.get("hold_steps", False),
        seed=outcome.finetune.seed if outcome.finetune else None,
        training=training,
    )


def original_results(spec: CompareSpec, outcomes: Sequence[Outcome]) -> dict[str, dict[str, object]]:
    """results.json: the earlier pipeline's keys to each arm's scores, its own keys first."""
    return {
        spec.result_keys[outcome.path]: outcome.metrics.model_dump(
            mode="json", exclude={"training_metrics"} if outcome.metrics.training_metrics is None else None
        )
        for outcome in outcomes
    }


def pairs_of(outcomes: Sequence[Outcome]) -> list[Pair]:
    """Every finetuned arm against every zero-shot arm, then every language model against each rival."""
    models = [outcome for outcome in outcomes if outcome.arm.generates]
    rivals = [outcome for outcome in outcomes if not outcome.arm.generates]
    pairs = [
        Pair(family_of(first.arm, second.arm), first, second)
        for first in models
        for second in models
        if first.arm.finetuned and not second.arm.finetuned
    ]
    return pairs + [Pair("baseline", first, second) for first in models for second in rivals]


def family_of(finetuned: Arm, zero_shot: Arm) -> Family:
    """The verdict rests on the study's own arms; what designs add is tested apart from it."""
    own = finetuned.design is None and zero_shot.design is None
    return "primary" if own and finetuned.kind == "slm" and zero_shot.kind == "llm" else "secondary"


def compare_pairs(
    pairs: Sequence[Pair], kind: AnswerKind, labels: Sequence[Label], statistics: Statistics
) -> list[PairComparison]:
    """Each pair's difference and test; p-values are adjusted within their family."""
    compared = []
    hierarchical = hierarchical_differences(pairs, kind, statistics)
    for family in ("primary", "secondary", "baseline"):
        members = [pair for pair in pairs if pair.family == family]
        counts = [discordant(*correct_answers(pair, kind)) for pair in members]
        p_values = [mcnemar_p(*count) for count in counts]
        for pair, count, p, adjusted in zip(members, counts, p_values, holm(p_values), strict=True):
            found = compare_pair(pair, kind, count, p, adjusted, len(members), labels, statistics)
            difference = hierarchical.get((pair.first.path, pair.second.path))
            levels = found.levels | ({"hierarchical_f1": difference} if difference else {})
            compared.append(found.model_copy(update={"levels": levels}))
    return compared


def correct_answers(pair: Pair, kind: AnswerKind) -> tuple[Correct, Correct]:
    """Right or wrong, sample by sample; what writes nothing answers in one way only."""
    second: AnswerKind = "free" if not pair.second.arm.generates else kind
    return pair.first.correct(kind), pair.second.correct(second)


def compare_pair(
    pair: Pair,
    kind: AnswerKind,
    count: tuple[int, int],
    p: float,
    adjusted: float,
    family_size: int,
    labels: Sequence[Label],
    statistics: Statistics,
) -> PairComparison:
    first, second = correct_answers(pair, kind)
    level = 1 - statistics.confidence
    return PairComparison(
        family=pair.family,
        answer=kind,
        first=pair.first.path,
        second=pair.second.path,
        difference=paired_difference(first, second, statistics.confidence, statistics.resamples, statistics.seed),
        only_first_right=count[0],
        only_second_right=count[1],
        p=p,
        adjusted_p=adjusted,
        significant=adjusted <= level,
        cohens_g=cohens_g(*count),
        odds_ratio=count[0] / count[1] if count[1] else None,
        minimal_detectable_difference=minimal_detectable_difference(sum(count), len(first), level / family_size),
        levels=level_differences(pair, kind, labels, statistics),
    )


def level_differences(
    pair: Pair, kind: AnswerKind, labels: Sequence[Label], statistics: Statistics
) -> dict[str, Difference]:
    """Differences of accuracy above the target's level, where the labels have a tree."""
    metrics = pair.first.metrics
    if metrics.labels == "plain":
        return {}
    by_name = {label.label: label for label in labels}
    answers = answers_of(pair.first, kind), answers_of(pair.second, kind)
    truths = [prediction.label for prediction in pair.first.predictions]
    differences = {}
    for level in TREE[TREE.index(metrics.level) + 1 :]:
        asked = [at_level(truth, level, by_name) for truth in truths]
        first, second = (
            np.array(
                [
                    said is not None and at_level(said, level, by_name) == want
                    for said, want in zip(given, asked, strict=True)
                ]
            )
            for given in answers
        )
        differences[f"{level}_accuracy"] = paired_difference(
            first, second, statistics.confidence, statistics.resamples, statistics.seed
        )
    return differences


def hierarchical_differences(
    pairs: Sequence[Pair], kind: AnswerKind, statistics: Statistics
) -> dict[tuple[str, str], Difference]:
    """Differences of hierarchical F1, by the paths of a pair's arms; all from the same resamples, drawn once."""
    trees = [pair for pair in pairs if pair.first.metrics.answers["free"].hierarchical is not None]
    if not trees:
        return {}
    truths = [prediction.label for prediction in trees[0].first.predictions]
    arms = {outcome.path: outcome for pair in trees for outcome in (pair.first, pair.second)}
    counts = {path: hierarchical_counts(answers_of(outcome, kind), truths) for path, outcome in arms.items()}
    names = [(pair.first.path, pair.second.path) for pair in trees]

    def differences(weights: Floats) -> Floats:
        f1 = {path: hierarchical_f1(weights @ each)[:, 2] for path, each in counts.items()}
        return np.stack([f1[first] - f1[second] for first, second in names], axis=1)

    n = len(truths)
    values, bounds = intervals(differences, n, statistics.confidence, statistics.resamples, statistics.seed)
    return {
        name: Difference(value=float(value), low=float(low), high=float(high), n=n, method="bootstrap")
        for name, value, (low, high) in zip(names, values, bounds, strict=True)
    }


def answers_of(outcome: Outcome, kind: AnswerKind) -> list[str | None]:
    """An arm's answers; what writes nothing answers in one way only."""
    return outcome.answers("free" if not outcome.arm.generates else kind)


def cost_of(outcome: Outcome, spec: CompareSpec) -> ArmCost | None:
    if outcome.predict is None or outcome.predict_process is None:
        return None
    return arm_cost(
        outcome.path,
        outcome.predict,
        outcome.predict_process,
        outcome.finetune,
        outcome.finetune_process,
        spec.cost,
        spec.token_prices.get(outcome.path),
    )


def summary_of(outcome: Outcome, spec: CompareSpec, costs: dict[str, ArmCost]) -> ArmSummary:
    arm, metrics = outcome.arm, outcome.metrics
    return ArmSummary(
        arm=arm.path,
        kind=arm.kind,
        model=arm.model,
        variant=arm.variant,
        finetuned=arm.finetuned,
        name=metrics.model_name,
        size=metrics.model_size,
        result_key=spec.result_keys[arm.path],
        scores=scores_of(metrics),
        cost=costs.get(arm.path),
    )


def scores_of(metrics: Metrics) -> dict[str, Score]:
    """The scores that the table of arms shows; ArmSummary names them."""
    free = metrics.answers["free"]
    target = free.levels["label" if metrics.labels == "plain" else metrics.level]
    scores: dict[str, Score | None] = {
        "exact_match": free.exact_match,
        "macro_f1": target.macro_f1,
        "weighted_f1": target.weighted_f1,
        "parsable": free.parsable,
        "known": free.known,
        "valid": free.valid,
        "hierarchical_f1": free.hierarchical.f1 if free.hierarchical else None,
    }
    scores |= {
        f"{level}_accuracy": each.accuracy
        for level, each in free.levels.items()
        if level not in ("label", metrics.level)
    }
    if "constrained" in metrics.answers:
        scores["constrained_exact_match"] = metrics.answers["constrained"].exact_match
    if ranked := metrics.ranked:
        scores |= {"top_1": ranked.top_1, "top_3": ranked.top_3, "top_5": ranked.top_5}
        scores["expected_calibration_error"] = ranked.expected_calibration_error
    return {name: score for name, score in scores.items() if score is not None}


def ensembles_of(pairs: Sequence[Pair], statistics: Statistics) -> list[Ensemble]:
    """One for each pair that the verdict rests on."""
    return [
        ensemble(
            pair.first.path,
            pair.second.path,
            pair.first.predictions,
            pair.second.predictions,
            pair.first.validation,
            pair.second.validation,
            statistics.confidence,
            statistics.resamples,
            statistics.seed,
        )
        for pair in pairs
        if pair.family == "primary"
    ]


def break_evens_of(pairs: Sequence[Pair], costs: dict[str, ArmCost]) -> list[BreakEven]:
    return [
        each
        for pair in pairs
        if pair.family == "primary"
        for each in break_even(costs[pair.first.path], costs[pair.second.path])
    ]
