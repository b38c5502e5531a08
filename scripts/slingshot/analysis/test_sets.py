"""Computing test_sets.json: how the arms do on further test sets, and how much they lose on the way."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from slingshot.analysis.groups import Correct, Groups, groups_of
from slingshot.analysis.scoring import check_order
from slingshot.analysis.significance import paired_difference, paired_p
from slingshot.artifacts.comparison import PairComparison, read_comparison
from slingshot.artifacts.layout import ArmFiles, ResultFiles
from slingshot.artifacts.metrics import AnswerKind, Metrics, Score, read_metrics
from slingshot.artifacts.predictions import Prediction, read_predictions
from slingshot.artifacts.splits import read_split
from slingshot.artifacts.test_sets import ArmOnTestSet, Drop, OneTestSet, PairOnTestSet, TestSets
from slingshot.config.specs import CompareTestSetsSpec


def compare_test_sets(spec: CompareTestSetsSpec, results: ResultFiles) -> TestSets:
    """Every arm's scores on each further test set with the drop from the study's own, and the verdict's pairs there."""
    comparison = read_comparison(results.comparison)
    answer = comparison.verdict.answer
    pairs = [pair for pair in comparison.comparisons if pair.family == "primary" and pair.answer == answer]
    every_arm = [arm.arm for arm in comparison.arms]
    return TestSets(
        confidence=spec.statistics.confidence,
        answer=answer,
        test_sets=[_one(name, spec, results, every_arm, pairs, answer) for name in spec.test_sets],
    )


def _one(
    name: str,
    spec: CompareTestSetsSpec,
    results: ResultFiles,
    every_arm: Sequence[str],
    pairs: Sequence[PairComparison],
    answer: AnswerKind,
) -> OneTestSet:
    split = read_split(results.data.test_set(name))
    arms = spec.arms[name]
    right = {arm: _correct(results.arm(arm).test_set(name), split, arm, answer) for arm in arms}
    main = {arm: read_metrics(results.arm(arm).metrics) for arm in arms}
    return OneTestSet(
        name=name,
        n_samples=len(split),
        main_n_samples=next(iter(main.values())).n_samples if main else 0,
        arms=[_arm(arm, results.arm(arm).test_set(name), main[arm], answer) for arm in arms],
        pairs=[
            _pair(pair, right[pair.first], right[pair.second], spec, groups_of(split))
            for pair in pairs
            if pair.first in right and pair.second in right
        ],
        not_answered=[arm for arm in every_arm if arm not in right],
    )


def _correct(files: ArmFiles, split: pd.DataFrame, arm: str, answer: AnswerKind) -> Correct:
    predictions = read_predictions(files.predictions)
    check_order(predictions, split, arm)
    return np.array([_answer(each, answer) == each.label for each in predictions], dtype=bool)


def _answer(prediction: Prediction, answer: AnswerKind) -> str | None:
    if answer == "constrained" and prediction.constrained_code is not None:
        return prediction.constrained_code
    return prediction.code


def _arm(arm: str, files: ArmFiles, main: Metrics, answer: AnswerKind) -> ArmOnTestSet:
    here = read_metrics(files.metrics)
    scores, main_scores = _scores(here, answer), _scores(main, answer)
    return ArmOnTestSet(
        arm=arm,
        exact_match=scores.pop("exact_match"),
        main_exact_match=main_scores["exact_match"],
        drop=drop_of(main_scores.pop("exact_match"), _scores(here, answer)["exact_match"]),
        scores=scores,
        main_scores=main_scores,
    )


def _scores(metrics: Metrics, answer: AnswerKind) -> dict[str, Score]:
    scores = metrics.answers.get(answer, metrics.answers["free"])
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
    pair: PairComparison, first: Correct, second: Correct, spec: CompareTestSetsSpec, groups: Groups
) -> PairOnTestSet:
    return PairOnTestSet(
        first=pair.first,
        second=pair.second,
        difference=paired_difference(first, second, spec.statistics.confidence, groups),
        main_difference=pair.difference,
        p=paired_p(first, second, groups),
    )
