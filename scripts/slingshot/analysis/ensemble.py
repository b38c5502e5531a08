"""Votes of a large zero-shot model and a small finetuned one, where both rank candidates.

Two arms with one answer each can't vote: where they differ there is no majority. So an arm without candidates is in no
ensemble.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from slingshot.analysis.groups import Groups
from slingshot.analysis.scoring import proportion
from slingshot.analysis.significance import paired_difference
from slingshot.artifacts.predictions import Prediction
from slingshot.artifacts.rivalry import Ensemble
from slingshot.core.errors import StudyError

EQUAL = 0.5

GRID = np.arange(101) / 100  # weights of the finetuned arm that are tried on validation


def ensemble(
    finetuned: str,
    zero_shot: str,
    finetuned_predictions: Sequence[Prediction],
    zero_shot_predictions: Sequence[Prediction],
    finetuned_validation: Sequence[Prediction] | None,
    zero_shot_validation: Sequence[Prediction] | None,
    confidence: float,
    groups: Groups | None = None,
) -> Ensemble:
    """Let two arms vote on the test samples.

    The vote is a linear opinion pool (Stone 1961): a label's votes are the finetuned arm's weight times the
    probability that this arm gives it, plus 1 minus the weight times the zero-shot arm's. An arm's probabilities are
    those of its candidates, scaled to add up to 1; on a sample without candidates it casts no vote. A tie goes to the
    finetuned arm. The better member is picked on validation, never on test.

    Args:
        finetuned, zero_shot: the arms' paths.
        finetuned_predictions, zero_shot_predictions: their answers on test, in the same order.
        finetuned_validation, zero_shot_validation: their answers on validation, in the same order. With both, the
            weight is the one with most exact matches there, of equals the nearest to 1/2; else it is 1/2.
        groups: of the test samples; None where each stands for itself.

    Raises:
        StudyError: the arms answered different samples, or none, or an arm has no candidates.
    """
    for path, answers in ((finetuned, finetuned_predictions), (zero_shot, zero_shot_predictions)):
        if answers and not has_candidates(answers):
            raise StudyError(f"{path} has no candidates to vote with: set generation.candidates and predict again")
    ballots = _ballots(finetuned, zero_shot, finetuned_predictions, zero_shot_predictions)
    weight, better = EQUAL, None
    if finetuned_validation and zero_shot_validation:
        validated = _ballots(finetuned, zero_shot, finetuned_validation, zero_shot_validation)
        weight = _fitted_weight(validated)
        better = finetuned if validated.right(1.0).sum() >= validated.right(0.0).sum() else zero_shot
    right, small, large = (ballots.right(share) for share in (weight, 1.0, 0.0))
    over_small, over_large = (paired_difference(right, member, confidence, groups) for member in (small, large))
    return Ensemble(
        finetuned=finetuned,
        zero_shot=zero_shot,
        weights="validation" if better else "equal",
        finetuned_weight=weight,
        accuracy=proportion(right, confidence, groups),
        best_member=better,
        gain={finetuned: over_small, zero_shot: over_large}.get(better or ""),
        gain_over_finetuned=over_small,
        gain_over_zero_shot=over_large,
        both_right=float(np.mean(small & large)),
        only_finetuned_right=float(np.mean(small & ~large)),
        only_zero_shot_right=float(np.mean(large & ~small)),
        both_wrong=float(np.mean(~small & ~large)),
        oracle_accuracy=float(np.mean(small | large)),
    )


def has_candidates(predictions: Sequence[Prediction]) -> bool:
    """Whether an arm ranks candidates, on any sample."""
    return any(one.candidates for one in predictions)


@dataclass(frozen=True)
class _Ballots:
    """Each sample's labels that an arm voted for, the finetuned arm's first.

    `finetuned` and `zero_shot` are probabilities and `truth` is whether the label is the true one; all are of shape
    (samples, labels of the sample with most), filled up with labels that nobody voted for.
    """

    finetuned: NDArray[np.float64]
    zero_shot: NDArray[np.float64]
    truth: NDArray[np.bool_]

    def right(self, weight: float) -> NDArray[np.bool_]:
        """Whether the vote is right, of shape (samples,), under a weight of the finetuned arm."""
        pooled = weight * self.finetuned + (1 - weight) * self.zero_shot
        chosen = pooled.argmax(axis=1)  # the first of equals
        rows = np.arange(len(pooled))
        return self.truth[rows, chosen] & (pooled[rows, chosen] > 0)


def _fitted_weight(ballots: _Ballots) -> float:
    matches = np.array([ballots.right(weight).sum() for weight in GRID])
    best = GRID[matches == matches.max()]
    return float(best[np.abs(best - EQUAL).argmin()])


def _ballots(finetuned: str, zero_shot: str, small: Sequence[Prediction], large: Sequence[Prediction]) -> _Ballots:
    check_same_samples(finetuned, zero_shot, small, large)
    sides = [[_probabilities(prediction) for prediction in side] for side in (small, large)]
    pairs = list(zip(*sides, strict=True))
    labels = [list(dict.fromkeys([*first, *second])) for first, second in pairs]
    shape = (len(pairs), max(1, *map(len, labels)))
    ballots = _Ballots(np.zeros(shape), np.zeros(shape), np.zeros(shape, dtype=bool))
    for row, ((first, second), voted, prediction) in enumerate(zip(pairs, labels, small, strict=True)):
        for column, label in enumerate(voted):
            ballots.finetuned[row, column] = first.get(label, 0.0)
            ballots.zero_shot[row, column] = second.get(label, 0.0)
            ballots.truth[row, column] = label == prediction.label
    return ballots


def _probabilities(prediction: Prediction) -> dict[str, float]:
    """Label to its share of one vote, the best first; empty without candidates."""
    if not prediction.candidates:
        return {}
    best = prediction.candidates[0].log_probability
    shares = {one.code: float(np.exp(one.log_probability - best)) for one in prediction.candidates}
    total = sum(shares.values())
    return {code: share / total for code, share in shares.items()}


def check_same_samples(
    finetuned: str, zero_shot: str, small: Sequence[Prediction], large: Sequence[Prediction]
) -> None:
    """Raises:
    StudyError: the arms answered none, or not the same samples in the same order.
    """
    if not small:
        raise StudyError(f"{finetuned} has no predictions, so it cannot vote: run its predict step again")
    if [(one.sample_id, one.label) for one in small] != [(one.sample_id, one.label) for one in large]:
        raise StudyError(
            f"{finetuned} and {zero_shot} answered different samples, or in another order: "
            "run the predict steps of both again, on the same split"
        )
