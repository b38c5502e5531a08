"""Which labels each arm wins, and whether a finetuned model should write its answer or choose it with a head."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from slingshot.analysis.designs import Scored
from slingshot.analysis.ensemble import has_candidates
from slingshot.analysis.groups import Correct, Groups
from slingshot.analysis.outcomes import Outcome
from slingshot.analysis.scoring import FREQUENCIES, proportion, span
from slingshot.analysis.selective import selective_coding
from slingshot.analysis.significance import paired_difference, paired_p
from slingshot.artifacts.labels import Label
from slingshot.artifacts.rivalry import FrequencyGroup, HeadComparison, HeadPoint, SelectiveCoding
from slingshot.config.reporting import Statistics


def selective_of(outcomes: Sequence[Outcome], statistics: Statistics, groups: Groups) -> list[SelectiveCoding]:
    """Selective coding of each arm that ranks candidates on test and on validation."""
    return [
        selective_coding(
            outcome.path,
            outcome.predictions,
            outcome.validation,
            statistics.selective_precision,
            statistics.confidence,
            groups,
        )
        for outcome in outcomes
        if outcome.validation and has_candidates(outcome.validation) and has_candidates(outcome.predictions)
    ]


def frequency_groups(
    outcomes: Sequence[Outcome], test: pd.DataFrame, labels: Sequence[Label], confidence: float, groups: Groups
) -> list[FrequencyGroup]:
    """The best arms for labels that are unseen, rare or common in train; each label counts by its test samples."""
    in_train = {label.label: label.train_samples for label in labels}
    frequency = np.array([in_train.get(label, 0) for label in test["label"]])
    correct = {outcome.path: outcome.correct("free") for outcome in outcomes}
    found = []
    for low, high in FREQUENCIES:
        members = (low <= frequency) & (frequency <= high)
        if not members.any():
            continue
        together = groups.among(members)
        right = {path: each[members] for path, each in correct.items()}
        best, others = best_of_group(right, together)
        found.append(
            FrequencyGroup(
                group=span(low, high),
                n=int(members.sum()),
                labels=test["label"][members].nunique(),
                best=best,
                accuracy=proportion(right[best[0]], confidence, together),
                not_worse=[path for path, p in others.items() if p > 1 - confidence],
            )
        )
    return found


def best_of_group(right: dict[str, Correct], groups: Groups) -> tuple[list[str], dict[str, float]]:
    """The arms with most right answers, and each other arm's adjusted p beside the first of them.

    Bonferroni over all pairs of arms, as any of them might have been the best on these samples: corrected for the
    other arms alone, one of ten equal arms would be called worse far too often (docs/statistics.md, coverage).
    """
    most = max(each.sum() for each in right.values())
    best = [path for path, each in right.items() if each.sum() == most]
    every_pair = len(right) * (len(right) - 1) / 2
    return best, {
        path: min(1.0, every_pair * paired_p(right[best[0]], each, groups))
        for path, each in right.items()
        if path not in best
    }


def heads_of(scored: Sequence[Scored], train_labels: int, confidence: float, groups: Groups) -> list[HeadComparison]:
    """For each model of designs.heads its two ways to answer, by train size.

    Args:
        train_labels: distinct labels in train.
    """
    found = []
    for model in dict.fromkeys(each.arm.model for each in scored if each.arm.design == "heads"):
        points = []
        ways: dict[int, dict[str, Scored]] = {}
        for each in scored:
            plain = each.arm.design in (None, "crossed", "learning_curve", "heads")
            if each.arm.model == model and each.arm.finetuned and plain and each.train_samples:
                ways.setdefault(each.train_samples, {}).setdefault(each.training.get("head", "write"), each)
        for size, pair in sorted(ways.items()):
            if len(pair) == 2:
                points.append(_point(size, train_labels, pair["write"], pair["classify"], confidence, groups))
        if points:
            found.append(HeadComparison(model=model, points=points))
    return found


def _point(
    size: int, train_labels: int, write: Scored, classify: Scored, confidence: float, groups: Groups
) -> HeadPoint:
    return HeadPoint(
        train_samples=size,
        samples_per_label=size / max(1, train_labels),
        writing=write.path,
        head=classify.path,
        writing_score=write.exact_match,
        head_score=classify.exact_match,
        difference=paired_difference(classify.values, write.values, confidence, groups),
    )
