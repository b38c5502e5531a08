"""Computing comparison.json: from what the arms left behind to pairs, ensembles, costs and the verdict."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from slingshot.analysis.cost import arm_cost, break_even, memory_row
from slingshot.analysis.designs import Scored, findings
from slingshot.analysis.ensemble import ensemble, has_candidates
from slingshot.analysis.families import competes, describe_treatment, side_of
from slingshot.analysis.groups import Groups, groups_of
from slingshot.analysis.outcomes import Outcome, read_outcomes
from slingshot.analysis.pairs import Pair, answering, compare_pairs, pairs_of, seed_means
from slingshot.analysis.rivalry import frequency_groups, heads_of, selective_of
from slingshot.analysis.scoring import check_order
from slingshot.analysis.set_ensemble import set_ensemble
from slingshot.analysis.verdict import Evidence, judge
from slingshot.artifacts.comparison import (
    ArmSummary,
    Comparison,
    DesignFindings,
    Ensemble,
    PairComparison,
    Verdict,
    write_comparison,
)
from slingshot.artifacts.cost import ArmCost, BreakEven
from slingshot.artifacts.labels import Label, read_labels
from slingshot.artifacts.layout import ResultFiles
from slingshot.artifacts.metrics import AnswerKind, AnswerScores, Metrics, Score, SetScores
from slingshot.artifacts.splits import read_split
from slingshot.config.base import EnsembleWeights
from slingshot.config.reporting import Statistics
from slingshot.config.specs import CompareSpec
from slingshot.core.files import write_json
from slingshot.core.terminal import say


def compare_results(
    spec: CompareSpec, files: ResultFiles, comparison: Path, results_json: Path, allow_missing: bool
) -> None:
    """Read what the arms left behind; write comparison.json and results.json, and say the verdict.

    Raises:
        StudyError: an arm has no results and `allow_missing` is not set, or they are not of this test split.
    """
    outcomes, missing = read_outcomes(spec, files.folder, allow_missing)
    compared = compare(spec, outcomes, missing, read_split(files.data.test), read_labels(files.data.labels))
    write_comparison(comparison, compared)
    write_json(results_json, original_results(spec, outcomes))
    for line in (compared.verdict.sentence, *compared.verdict.remarks):
        say(line)


def compare(
    spec: CompareSpec, outcomes: Sequence[Outcome], missing: list[str], test: pd.DataFrame, labels: Sequence[Label]
) -> Comparison:
    """The whole comparison over one test split."""
    for outcome in outcomes:
        check_order(outcome.predictions, test, outcome.path)
    groups = groups_of(test)
    costs = {outcome.path: cost for outcome in outcomes if (cost := cost_of(outcome, spec)) is not None}
    pairs = pairs_of(spec.arms, outcomes)
    kinds: list[AnswerKind] = ["free"]
    if separates_form(pairs, outcomes):
        kinds.append("constrained")
    compared = {kind: compare_pairs(pairs, kind, labels, spec.statistics, groups) for kind in kinds}
    summaries = summaries_of(outcomes, spec, costs, groups)
    verdict, constrained = judge_both(spec, summaries, compared)
    return Comparison(
        confidence=spec.statistics.confidence,
        resamples=spec.statistics.resamples,
        seed=spec.statistics.seed,
        n_samples=len(test),
        arms=summaries,
        missing=missing,
        verdict=verdict,
        constrained_verdict=constrained,
        comparisons=[pair for kind in kinds for pair in compared[kind]],
        ensembles=ensembles_of(pairs, spec.ensemble_weights, spec.statistics.confidence, groups),
        break_even=break_evens_of(pairs, costs, spec),
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
        designs=designs_of(outcomes, labels, spec.statistics, groups),
        selective=[] if spec.several else selective_of(outcomes, spec.statistics, groups),
        by_frequency=[]
        if spec.several
        else frequency_groups(outcomes, test, labels, spec.statistics.confidence, groups),
    )


def separates_form(pairs: Sequence[Pair], outcomes: Sequence[Outcome]) -> bool:
    """Whether constrained answers can carry a verdict too: those of a primary pair, or of all without such a pair."""
    primary = [pair for pair in pairs if pair.family == "primary"]
    if primary:
        return bool(answering(primary, "constrained"))
    models = [outcome for outcome in outcomes if outcome.arm.generates]
    return bool(models) and all(outcome.way("constrained") for outcome in models)


def judge_both(
    spec: CompareSpec, summaries: Sequence[ArmSummary], compared: dict[AnswerKind, list[PairComparison]]
) -> tuple[Verdict, Verdict | None]:
    """The verdict on free answers, which says what constrained ones change, and that on constrained ones."""

    def evidence(kind: AnswerKind) -> Evidence:
        return Evidence(
            {arm.arm: arm for arm in summaries},
            compared[kind],
            kind,
            spec.statistics.confidence,
            spec.statistics.margin,
            spec.cost.currency,
        )

    free = evidence("free")
    constrained = judge(evidence("constrained"), free=free) if "constrained" in compared else None
    return judge(free, constrained), constrained


def designs_of(
    outcomes: Sequence[Outcome], labels: Sequence[Label], statistics: Statistics, groups: Groups
) -> DesignFindings | None:
    """What the designs' arms say; None for a study without designs."""
    scored = [scored_of(outcome) for outcome in outcomes]
    found = findings(scored, statistics, groups)
    if found is None:
        return None
    in_train = sum(label.train_samples > 0 for label in labels)
    return found.model_copy(update={"heads": heads_of(scored, in_train, statistics.confidence, groups)})


def scored_of(outcome: Outcome) -> Scored:
    """What the designs' analysis needs of an arm: its answers, and what its records say of its treatment."""
    training = outcome.metrics.training_metrics or {}
    finetuned = outcome.finetune.spec if outcome.finetune else {}
    return Scored(
        arm=outcome.arm,
        values=outcome.values("free"),
        exact_match=outcome.score("free"),
        shots=outcome.shots,
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


def summaries_of(
    outcomes: Sequence[Outcome], spec: CompareSpec, costs: dict[str, ArmCost], groups: Groups
) -> list[ArmSummary]:
    """A row for each arm; one whose recipe has several seeds also has their mean."""
    return [
        summary_of(outcome, spec, costs).model_copy(
            update={"seed_means": seed_means(outcome, outcomes, spec.statistics.confidence, groups)}
        )
        for outcome in outcomes
    ]


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
        side=side_of(arm),
        treatment=describe_treatment(arm, outcome.shots, outcome.classifies),
        design=arm.design,
        competes=competes(arm),
        choices=max(len(arm.best_of), 1),
        human=arm.human,
        result_key=spec.result_keys[arm.path],
        scores=scores_of(metrics, outcome.gives_probabilities),
        cost=costs.get(arm.path),
        estimand=None if outcome.estimand == "exact_match" else outcome.estimand,
    )


def scores_of(metrics: Metrics, probabilities: bool) -> dict[str, Score]:
    """The scores that the table of arms shows; ArmSummary names them.

    Args:
        probabilities: candidates have probabilities among labels, which can be calibrated or not.
    """
    free = metrics.answers["free"]
    if free.sets is not None:
        return set_scores_of(metrics, free, free.sets)
    target = free.levels["label" if metrics.labels == "plain" else metrics.level]
    scores: dict[str, Score | None] = {
        "exact_match": free.exact_match,
        "micro_f1": target.micro_f1,
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
        if probabilities:
            scores |= {"brier": ranked.brier, "calibration_error": ranked.calibration_error}
    return {name: score for name, score in scores.items() if score is not None}


def set_scores_of(metrics: Metrics, free: AnswerScores, sets: SetScores) -> dict[str, Score]:
    """As `scores_of`, where samples have several labels."""
    scores: dict[str, Score | None] = {
        "exact_match": sets.exact_match,
        "micro_f1": sets.micro.f1,
        "micro_precision": sets.micro.precision,
        "micro_recall": sets.micro.recall,
        "macro_f1": sets.macro.f1,
        "macro_f1_code_set": sets.macro_code_set.f1,
        "examples_f1": sets.examples.f1,
        "hierarchical_f1": sets.hierarchical.f1 if sets.hierarchical else None,
        "mean_average_precision": sets.mean_average_precision,
        "parsable": free.parsable,
        "known": free.known,
        "valid": free.valid,
    }
    scores |= {f"{level}_micro_f1": found.f1 for level, found in sets.levels.items()}
    for each in sets.at_rank:
        scores |= {f"precision_at_{each.k}": each.precision, f"recall_at_{each.k}": each.recall}
    if (constrained := metrics.answers.get("constrained")) and constrained.sets is not None:
        scores["constrained_exact_match"] = constrained.exact_match
        scores["constrained_micro_f1"] = constrained.sets.micro.f1
    return {name: score for name, score in scores.items() if score is not None}


def ensembles_of(pairs: Sequence[Pair], weights: EnsembleWeights, confidence: float, groups: Groups) -> list[Ensemble]:
    """One for each pair of the study's own arms that the verdict rests on, where both rank candidates to vote with."""
    return [
        (set_ensemble if pair.first.several else ensemble)(
            pair.first.path,
            pair.second.path,
            pair.first.predictions,
            pair.second.predictions,
            pair.first.validation if weights == "validation" else None,
            pair.second.validation if weights == "validation" else None,
            confidence,
            groups,
        )
        for pair in pairs
        if pair.family == "primary"
        and pair.first.arm.design is None
        and pair.second.arm.design is None
        and has_candidates(pair.first.predictions)
        and has_candidates(pair.second.predictions)
    ]


def break_evens_of(pairs: Sequence[Pair], costs: dict[str, ArmCost], spec: CompareSpec) -> list[BreakEven]:
    """Where a finetuned small arm has paid for its training beside an untrained large one."""
    return [
        each
        for pair in pairs
        if pair.family == "primary" and not pair.second.arm.finetuned
        if pair.first.path in costs and pair.second.path in costs
        for each in break_even(
            costs[pair.first.path], costs[pair.second.path], spec.cost.rate_noise, spec.statistics.confidence
        )
    ]
