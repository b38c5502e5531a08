"""Sets from probabilities: a threshold or the k likeliest labels, chosen on validation for the best micro F1.

With one threshold for all labels, as in Edin et al. (2023): a threshold per label would rest on the few documents that
have it. Both ways are plug-in rules: they act as if the estimated probabilities were the true ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from slingshot.artifacts.records import Record

Floats = NDArray[np.float64]

Sets = Sequence[Sequence[str]]

UNCHOSEN = 0.5  # the threshold where there is no validation split

MOST_LABELS = 50  # that the k likeliest may be: no study of clinical codes has more per document


class SetRule(Record):
    """How probabilities become a set."""

    way: Literal["threshold", "top_k"]
    threshold: float = Field(description="labels at least as likely are answered, where the way is threshold")
    k: int = Field(description="the k likeliest labels are answered, where the way is top_k")
    validation_micro_f1: dict[Literal["threshold", "top_k"], float] = Field(
        description="of the best threshold and the best k; empty: no validation split, and 1/2 is the threshold"
    )


def indicators_of(sets: Sets, labels: Sequence[str]) -> Floats:
    """Shape (n, labels): 1 where a set has the label; labels that are not in `labels` are left out."""
    place = {label: column for column, label in enumerate(labels)}
    made = np.zeros((len(sets), len(labels)))
    for row, each in enumerate(sets):
        made[row, [place[label] for label in each if label in place]] = 1.0
    return made


def choose_rule(probabilities: Floats, truths: Sets, labels: Sequence[str]) -> SetRule:
    """The better way by micro F1 on validation, of equals the threshold.

    Args:
        probabilities: shape (n, labels)
        truths: each sample's set; a label that train lacks can't be answered, and counts as missed
    """
    if not len(truths):
        return SetRule(way="threshold", threshold=UNCHOSEN, k=1, validation_micro_f1={})
    true, total = indicators_of(truths, labels), sum(len(set(each)) for each in truths)
    threshold, by_threshold = best_threshold(probabilities, true, total)
    k, by_k = _best_k(probabilities, true, total)
    return SetRule(
        way="threshold" if by_threshold >= by_k else "top_k",
        threshold=threshold,
        k=k,
        validation_micro_f1={"threshold": by_threshold, "top_k": by_k},
    )


def best_threshold(scores: Floats, true: Floats, total: int) -> tuple[float, float]:
    """The threshold of the highest micro F1, of equals the highest, half way to the next lower score; and that F1.

    Args:
        scores, true: shape (n, labels); `true` holds 1 and 0
        total: true pairs of a sample and a label, those among other labels included

    >>> best_threshold(np.array([[0.9, 0.2], [0.6, 0.1]]), np.array([[1.0, 0.0], [1.0, 0.0]]), 2)
    (0.4, 1.0)
    """
    order = np.argsort(-scores, axis=None, kind="stable")
    falling, right = scores.ravel()[order], np.cumsum(true.ravel()[order])
    f1 = 2 * right / (np.arange(1, len(falling) + 1) + total)
    f1[:-1][falling[1:] == falling[:-1]] = -1.0  # equals are answered together
    best = int(f1.argmax())
    below = falling[best + 1] if best + 1 < len(falling) else falling[best]
    return float((falling[best] + below) / 2), float(f1[best])


def _best_k(scores: Floats, true: Floats, total: int) -> tuple[int, float]:
    """The number of likeliest labels of the highest micro F1, of equals the lowest; and that F1."""
    most = min(MOST_LABELS, scores.shape[1])
    order = np.argsort(-scores, axis=1, kind="stable")[:, :most]
    right = np.cumsum(np.take_along_axis(true, order, axis=1).sum(axis=0))
    f1 = 2 * right / (len(scores) * np.arange(1, most + 1) + total)
    return int(f1.argmax()) + 1, float(f1.max())


def answered_sets(probabilities: Floats, labels: Sequence[str], rule: SetRule) -> list[list[str]]:
    """Each row's set, the likeliest label first."""
    sets = []
    for row in probabilities:
        order = np.argsort(-row, kind="stable")
        chosen = order[row[order] >= rule.threshold] if rule.way == "threshold" else order[: rule.k]
        sets.append([str(labels[column]) for column in chosen])
    return sets
