"""Computing metrics.json where samples have several labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from slingshot.analysis.groups import Groups, groups_of
from slingshot.analysis.scoring import TREE, at_level, check_order, described_arm, is_valid, proportion
from slingshot.analysis.set_scores import Answered, Sets, set_scores
from slingshot.artifacts.labels import Label
from slingshot.artifacts.metrics import AnswerKind, AnswerScores, Metrics, ScoredLevel
from slingshot.artifacts.predictions import Prediction
from slingshot.artifacts.splits import LABELS
from slingshot.config.specs import ScoreSpec
from slingshot.data.code_trees import tree_of


def score_sets(
    spec: ScoreSpec,
    predictions: Sequence[Prediction],
    test: pd.DataFrame,
    labels: Sequence[Label],
    training: dict[str, Any] | None,
    provenance: dict[str, str],
) -> Metrics:
    """All scores of one arm; arguments and errors are those of `scoring.score_arm`.

    Rankings are scored with the free answers alone: an arm ranks labels once.
    """
    check_order(predictions, test, spec.arm)
    kinds: dict[AnswerKind, Answered] = {"free": [each.codes for each in predictions]}
    if any(each.constrained_codes is not None for each in predictions):
        kinds["constrained"] = [each.constrained_codes for each in predictions]
    rankings = [[candidate.code for candidate in each.candidates] for each in predictions]
    truths, groups = [list(map(str, each)) for each in test[LABELS.name]], groups_of(test)
    answers = {
        kind: _answer_scores(
            truths, answered, rankings if kind == "free" and any(rankings) else None, labels, spec, groups
        )
        for kind, answered in kinds.items()
    }
    free = answers["free"]
    assert free.sets is not None
    return Metrics(
        **described_arm(spec, predictions),
        exact_match_accuracy=free.exact_match.value,
        f1=free.sets.micro.f1.value,
        precision=free.sets.micro.precision.value,
        recall=free.sets.micro.recall.value,
        training_metrics=training,
        answers=answers,
        ranked=None,
        provenance=provenance,
    )


def _answer_scores(
    truths: Sets, answered: Answered, rankings: Sets | None, labels: Sequence[Label], spec: ScoreSpec, groups: Groups
) -> AnswerScores:
    """Scores of one way to answer."""
    by_name = {label.label: label for label in labels}
    confidence, plain = spec.statistics.confidence, spec.labels == "plain"
    parsable = np.array([answer is not None for answer in answered])
    known = [answer is not None and all(each in by_name for each in answer) for answer in answered]
    valid = [answer is not None and all(is_valid(each, by_name, spec.labels) for each in answer) for answer in answered]
    sets = set_scores(
        truths,
        answered,
        rankings,
        {label.label: label.train_samples for label in labels},
        None if spec.level in ("block", "chapter") else tree_of(spec.labels),
        groups,
        confidence,
        lifted_sets(truths, answered, by_name, spec),
    )
    return AnswerScores(
        exact_match=sets.exact_match,
        parsable=proportion(parsable, confidence, groups),
        valid=None if plain else proportion(np.array(valid), confidence, groups),
        known=proportion(np.array(known), confidence, groups),
        levels={},
        hierarchical=None,
        by_chapter=[],
        by_train_frequency=[],
        by_length=[],
        confusion=None,
        sets=sets,
    )


def lifted_sets(
    truths: Sets, answered: Answered, by_name: dict[str, Label], spec: ScoreSpec
) -> dict[ScoredLevel, tuple[Sets, Sets]]:
    """Truths and answers at each level above the target's, where codes of one ancestor are one."""
    if spec.labels == "plain":
        return {}

    def lifted(sets: Answered, level: ScoredLevel) -> Sets:
        return [sorted({at_level(label, level, by_name, spec.labels) for label in each or ()}) for each in sets]

    return {level: (lifted(truths, level), lifted(answered, level)) for level in TREE[TREE.index(spec.level) + 1 :]}
