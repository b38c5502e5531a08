"""Computing test_sets.json: how the arms do on further test sets, and how much they lose on the way."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from slingshot.analysis.families import repeats
from slingshot.analysis.groups import Correct, Floats, Groups, groups_of
from slingshot.analysis.scoring import check_order
from slingshot.analysis.set_scores import micro_f1_values
from slingshot.analysis.significance import compare_runs
from slingshot.artifacts.comparison import ArmSummary, PairComparison, read_comparison
from slingshot.artifacts.layout import ArmFiles, ResultFiles
from slingshot.artifacts.metrics import AnswerKind, Metrics, Score, read_metrics
from slingshot.artifacts.predictions import is_right, read_predictions
from slingshot.artifacts.splits import read_split
from slingshot.artifacts.test_sets import ArmOnTestSet, Drop, OneTestSet, PairOnTestSet, TestSets
from slingshot.config.reporting import Estimand
from slingshot.config.specs import CompareTestSetsSpec


def compare_test_sets(spec: CompareTestSetsSpec, results: ResultFiles) -> TestSets:
    """Every arm's scores on each further test set with the drop from the study's own, and the verdict's pairs there."""
    comparison = read_comparison(results.comparison)
    answer = comparison.verdict.answer
    pairs = [pair for pair in comparison.comparisons if pair.family == "primary" and pair.answer == answer]
    return TestSets(
        confidence=spec.statistics.confidence,
        answer=answer,
        test_sets=[_one(name, spec, results, comparison.arms, pairs, answer) for name in spec.test_sets],
    )


def _one(
    name: str,
    spec: CompareTestSetsSpec,
    results: ResultFiles,
    summaries: Sequence[ArmSummary],
    pairs: Sequence[PairComparison],
    answer: AnswerKind,
) -> OneTestSet:
    split = read_split(results.data.test_set(name))
    arms = spec.arms[name]
    estimand = spec.statistics.estimand_of(spec.several)
    right = {arm: _values(results.arm(arm).test_set(name), split, arm, answer, estimand) for arm in arms}
    by_path = {each.arm: each for each in summaries}

    def runs_of(arm: str) -> list[Floats | Correct]:
        others = [each.arm for each in summaries if repeats(each, by_path[arm])]
        return [right[path] for path in (arm, *others) if path in right]

    main = {arm: read_metrics(results.arm(arm).metrics) for arm in arms}
    return OneTestSet(
        name=name,
        n_samples=len(split),
        main_n_samples=next(iter(main.values())).n_samples if main else 0,
        arms=[_arm(arm, results.arm(arm).test_set(name), main[arm], answer, estimand) for arm in arms],
        pairs=[
            _pair(pair, runs_of(pair.first), runs_of(pair.second), spec, groups_of(split))
            for pair in pairs
            if pair.first in right and pair.second in right
        ],
        not_answered=[each.arm for each in summaries if each.arm not in right],
    )


def _values(files: ArmFiles, split: pd.DataFrame, arm: str, answer: AnswerKind, estimand: Estimand) -> Floats | Correct:
    """Each sample's part of the estimand."""
    predictions = read_predictions(files.predictions)
    check_order(predictions, split, arm)
    constrained = [answer == "constrained" and each.constrained_code is not None for each in predictions]
    if estimand == "micro_f1":
        sets = [
            each.constrained_codes if way else each.codes for each, way in zip(predictions, constrained, strict=True)
        ]
        return micro_f1_values([each.labels or [] for each in predictions], sets)
    return np.array([is_right(each, way) for each, way in zip(predictions, constrained, strict=True)], dtype=bool)


def _arm(arm: str, files: ArmFiles, main: Metrics, answer: AnswerKind, estimand: Estimand) -> ArmOnTestSet:
    here = read_metrics(files.metrics)
    scores, main_scores = _scores(here, answer), _scores(main, answer)
    own, main_own = scores.pop(estimand), main_scores.pop(estimand)
    return ArmOnTestSet(
        arm=arm,
        exact_match=own,
        main_exact_match=main_own,
        drop=drop_of(main_own, own),
        scores=scores,
        main_scores=main_scores,
    )


def _scores(metrics: Metrics, answer: AnswerKind) -> dict[str, Score]:
    scores = metrics.answers.get(answer, metrics.answers["free"])
    if (sets := scores.sets) is not None:
        named = {"micro_f1": sets.micro.f1, "exact_match": sets.exact_match, "macro_f1": sets.macro.f1}
        return named | ({"hierarchical_f1": sets.hierarchical.f1} if sets.hierarchical else {})
    target = scores.levels["label" if metrics.labels == "plain" else metrics.level]
    found: dict[str, Score] = {"exact_match": scores.exact_match, "macro_f1": target.macro_f1}
    if scores.hierarchical is not None:
        found["hierarchical_f1"] = scores.hierarchical.f1
    return found


def drop_of(main: Score, here: Score) -> Drop:
    """`main` minus `here`, of two sets of samples that have nothing to do with each other.

    Newcombe's hybrid score interval (1998, Statistics in Medicine 17:873, method 10): from each share's own score
    interval, so that it keeps its width at shares of 0 and 1, and groups count where the shares' intervals count them.
    """
    value = main.value - here.value
    low = value - math.hypot(main.value - main.low, here.high - here.value)
    high = value + math.hypot(main.high - main.value, here.value - here.low)
    return Drop(value=value, low=max(low, -1.0), high=min(high, 1.0))


def _pair(
    pair: PairComparison,
    first: Sequence[Floats | Correct],
    second: Sequence[Floats | Correct],
    spec: CompareTestSetsSpec,
    groups: Groups,
) -> PairOnTestSet:
    """Each side as its runs, as on the study's own test split."""
    runs = [[run.astype(float) for run in side] for side in (first, second)]
    found = compare_runs(runs[0], runs[1], spec.statistics.confidence, groups)
    return PairOnTestSet(
        first=pair.first,
        second=pair.second,
        difference=found.difference,
        main_difference=pair.difference,
        p=found.p,
    )
