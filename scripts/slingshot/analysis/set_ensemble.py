"""Votes of two arms on which labels are in a sample's set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from slingshot.analysis.ensemble import EQUAL, GRID, check_same_samples
from slingshot.analysis.groups import Correct, Floats, Groups, independent
from slingshot.analysis.scoring import jackknifed
from slingshot.analysis.set_scores import counts_of, micro_f1_difference, precision_recall_f1
from slingshot.artifacts.predictions import Prediction
from slingshot.artifacts.rivalry import Ensemble
from slingshot.rivals.set_answers import UNCHOSEN, best_threshold


def set_ensemble(
    finetuned: str,
    zero_shot: str,
    finetuned_predictions: Sequence[Prediction],
    zero_shot_predictions: Sequence[Prediction],
    finetuned_validation: Sequence[Prediction] | None,
    zero_shot_validation: Sequence[Prediction] | None,
    confidence: float,
    groups: Groups | None = None,
) -> Ensemble:
    """Let two arms vote on each label: those are answered whose pooled probability reaches a threshold.

    The pool is linear: weight times the finetuned arm's probability plus 1 minus the weight times the other's; a label
    that an arm does not rank has 0. Weight and threshold have the best micro F1 on validation, of equal weights the
    nearest to 1/2; without validation both are 1/2. A member answers by a threshold of its own, chosen likewise.
    Arguments and errors are those of `ensemble.ensemble`.
    """
    check_same_samples(finetuned, zero_shot, finetuned_predictions, zero_shot_predictions)
    test = _Pool.of(finetuned_predictions, zero_shot_predictions)
    weight, thresholds, better = EQUAL, dict.fromkeys((EQUAL, 1.0, 0.0), UNCHOSEN), None
    if finetuned_validation and zero_shot_validation:
        check_same_samples(finetuned, zero_shot, finetuned_validation, zero_shot_validation)
        held_out = _Pool.of(finetuned_validation, zero_shot_validation)
        found = {float(each): held_out.best_threshold(float(each)) for each in GRID}
        best = max(f1 for _, f1 in found.values())
        weight = min((each for each, (_, f1) in found.items() if f1 == best), key=lambda each: abs(each - EQUAL))
        thresholds = {each: threshold for each, (threshold, _) in found.items()}
        better = finetuned if found[1.0][1] >= found[0.0][1] else zero_shot
    groups = groups or independent(len(finetuned_predictions))
    truths = [each.labels or [] for each in finetuned_predictions]
    vote, small, large = (test.answers(share, thresholds[share]) for share in (weight, 1.0, 0.0))
    over_small, over_large = (micro_f1_difference(truths, vote, each, groups, confidence) for each in (small, large))
    names = ("precision", "recall", "f1")
    by_small, by_large = (_hits(truths, each) for each in (small, large))
    return Ensemble(
        finetuned=finetuned,
        zero_shot=zero_shot,
        weights="validation" if better else "equal",
        finetuned_weight=weight,
        accuracy=jackknifed(precision_recall_f1, counts_of(truths, vote), names, groups, confidence)["f1"],
        best_member=better,
        gain={finetuned: over_small, zero_shot: over_large}.get(better or ""),
        gain_over_finetuned=over_small,
        gain_over_zero_shot=over_large,
        both_right=_share(by_small & by_large),
        only_finetuned_right=_share(by_small & ~by_large),
        only_zero_shot_right=_share(by_large & ~by_small),
        both_wrong=_share(~by_small & ~by_large),
        oracle_accuracy=_share(by_small | by_large),
    )


@dataclass(frozen=True)
class _Pool:
    """Each sample's labels that either arm ranks; probabilities and truth of shape (samples, most labels of one)."""

    labels: list[list[str]]
    finetuned: Floats
    zero_shot: Floats
    truth: Floats
    total: int

    @classmethod
    def of(cls, small: Sequence[Prediction], large: Sequence[Prediction]) -> _Pool:
        sides = [[{one.code: np.exp(one.log_probability) for one in each.candidates} for each in side]
                 for side in (small, large)]  # fmt: skip
        labels = [list(dict.fromkeys([*first, *second])) for first, second in zip(*sides, strict=True)]
        shape = (len(labels), max(1, *map(len, labels)))
        pool = cls(
            labels, np.zeros(shape), np.zeros(shape), np.zeros(shape), sum(len(each.labels or []) for each in small)
        )
        for row, (first, second, ranked, one) in enumerate(zip(*sides, labels, small, strict=True)):
            for column, label in enumerate(ranked):
                pool.finetuned[row, column] = first.get(label, 0.0)
                pool.zero_shot[row, column] = second.get(label, 0.0)
                pool.truth[row, column] = label in (one.labels or [])
        return pool

    def best_threshold(self, weight: float) -> tuple[float, float]:
        return best_threshold(self._pooled(weight), self.truth, self.total)

    def answers(self, weight: float, threshold: float) -> list[list[str]]:
        """The labels at least as likely as the threshold; one that neither arm finds possible is never answered."""
        taken = (pooled := self._pooled(weight)) >= max(threshold, np.finfo(float).tiny)
        return [
            [labels[column] for column in np.argsort(-row, kind="stable") if column < len(labels) and chosen[column]]
            for labels, row, chosen in zip(self.labels, pooled, taken, strict=True)
        ]

    def _pooled(self, weight: float) -> Floats:
        return weight * self.finetuned + (1 - weight) * self.zero_shot


def _hits(truths: Sequence[Sequence[str]], answers: Sequence[Sequence[str]]) -> Correct:
    """Of each true label of each sample, one after the other, whether it is answered."""
    pairs = zip(truths, answers, strict=True)
    return np.array([label in set(answer) for truth, answer in pairs for label in truth], dtype=bool)


def _share(chosen: Correct) -> float:
    return float(chosen.mean()) if len(chosen) else 0.0
