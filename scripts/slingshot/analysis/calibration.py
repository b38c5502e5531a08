"""How well probabilities are calibrated: Brier score, its parts, a calibration error without the bias of small bins."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from slingshot.analysis.groups import Correct, Floats, Groups
from slingshot.analysis.intervals import critical, jackknife, jackknife_interval
from slingshot.artifacts.metrics import BrierParts, CalibrationBin, Score

BINS = 10  # at most, of the error and of the drawn curve

SAMPLES_PER_BIN = 10  # at least, of the error's bins


def brier_score(probabilities: Floats, correct: Correct, groups: Groups, confidence: float) -> Score:
    """Mean squared distance of probability and outcome (Brier 1950, Monthly Weather Review 78:1). Low is good.

    A mean over samples and a proper score, so it has no bias; what it is made of is in `brier_parts`. Where hardly an
    answer is wrong the losses that are there say little of those to come: the interval reaches at least Student's
    quantile times the standard error that the losses have if the probabilities are right. Without that it covered 0.43
    for 30 samples at 98%.
    """
    losses = (probabilities - correct) ** 2
    found = jackknife(lambda sums: sums[:, :1] / sums[:, 1:], np.stack([losses, np.ones_like(losses)], axis=1), groups)
    value = float(found.values[0])
    low, high = jackknife_interval(value, float(found.variances[0]), groups, confidence)
    assumed = probabilities * (1 - probabilities) * (1 - 2 * probabilities) ** 2
    reach = critical(confidence, groups) * float(np.sqrt(assumed.mean() / len(losses) * groups.largest_effect))
    low, high = max(min(low, value - reach), 0.0), min(max(high, value + reach), 1.0)
    return Score(value=value, low=low, high=high, n=len(losses), method="jackknife")


def brier_parts(probabilities: Floats, correct: Correct, groups: Groups) -> BrierParts:
    """Murphy's parts (1973, Journal of Applied Meteorology 12:595) without their bias, over bins of equal count.

    Reliability is the squared calibration error, resolution how far the bins' accuracies lie apart, uncertainty what no
    probability can help: score = reliability - resolution + uncertainty + what varies within bins. In small bins chance
    adds to the first two; each bin's own variance is taken off (Ferro and Fricker 2012, Quarterly Journal of the Royal
    Meteorological Society 138:1954), so either can be a little below 0.
    """
    bins = _bins(probabilities)
    n, accuracy = len(correct), float(correct.mean())
    outcomes = correct.astype(np.float64)
    uncertainty = accuracy * (1 - accuracy) * n / (n - 1) if n > 1 else 0.0
    spread = _Pairs.of(outcomes - accuracy, bins, groups).error
    own = _total_pairs(outcomes - accuracy, groups)
    return BrierParts(
        reliability=_Pairs.of(correct - probabilities, bins, groups).error,
        resolution=spread - own,
        uncertainty=uncertainty,
    )


def calibration_error(probabilities: Floats, correct: Correct, groups: Groups, confidence: float) -> Score:
    """Root of the mean squared distance of probability and accuracy over bins of equal count, without bias.

    Chance alone sets the accuracy of a small bin off its probability, so that the expected calibration error of Guo et
    al. (2017) is far above 0 for a perfect arm. A product of two different samples' distances has no such bias: the
    mean over all pairs of a bin estimates its squared distance (Kumar, Liang and Ma 2019, arXiv:1909.10155). Pairs
    within one group are left out. The interval is the jackknife's on the squared scale, never surer than if each
    outcome had the variance that its probability says; negative squares count as 0.
    """
    bins = _bins(probabilities)
    pairs = _Pairs.of(correct - probabilities, bins, groups)
    assumed = np.bincount(bins, probabilities * (1 - probabilities)).astype(np.float64)
    variance = max(pairs.variance, pairs.null_variance(assumed) * groups.largest_effect**2)
    reach = critical(confidence, groups) * np.sqrt(variance)
    squares = pairs.error + np.array([0.0, -reach, reach])
    value, low, high = (float(root) for root in np.sqrt(np.maximum(squares, 0.0)))
    return Score(value=value, low=min(low, 1.0), high=min(high, 1.0), n=len(correct), method="jackknife")


@dataclass(frozen=True)
class _Pairs:
    """Sums over groups and bins, both (groups, bins): of the distances, and of samples."""

    sums: Floats
    counts: Floats

    @classmethod
    def of(cls, distances: Floats, bins: NDArray[np.int64], groups: Groups) -> _Pairs:
        one_hot = np.zeros((len(bins), int(bins.max()) + 1))
        one_hot[np.arange(len(bins)), bins] = 1
        return cls(groups.sums(one_hot * distances[:, None]), groups.sums(one_hot))

    @property
    def error(self) -> float:
        """Mean over samples of their bin's squared distance."""
        return float(_weighted(self.sums.sum(0), (self.sums**2).sum(0), self.counts.sum(0), (self.counts**2).sum(0)))

    @property
    def variance(self) -> float:
        """The jackknife's, of `error`."""
        count = len(self.sums)
        if count < 2:
            return 0.0
        left_out = _weighted(
            self.sums.sum(0) - self.sums,
            (self.sums**2).sum(0) - self.sums**2,
            self.counts.sum(0) - self.counts,
            (self.counts**2).sum(0) - self.counts**2,
        )
        return float((count - 1) / count * np.sum((left_out - left_out.mean()) ** 2))

    def null_variance(self, assumed: Floats) -> float:
        """Of `error` where every probability is right: `assumed` are the outcomes' variances, summed over each bin."""
        counts = self.counts.sum(0)
        there = counts > 1
        return float(2 * np.sum(assumed[there] ** 2 / (counts[there] * (counts[there] - 1))) / counts.sum() ** 2)


def _weighted(sums: Floats, squares: Floats, counts: Floats, squared_counts: Floats) -> Floats:
    """Each bin's mean product over pairs of different groups, averaged over samples; shapes (..., bins) to (...)."""
    pairs = counts**2 - squared_counts
    products = np.divide(sums**2 - squares, pairs, out=np.zeros_like(sums), where=pairs > 0)
    return np.asarray((products * counts).sum(axis=-1) / counts.sum(axis=-1))


def _total_pairs(distances: Floats, groups: Groups) -> float:
    return _Pairs.of(distances, np.zeros(len(distances), dtype=np.int64), groups).error


def _bins(probabilities: Floats) -> NDArray[np.int64]:
    """Bins of equal count, of at least SAMPLES_PER_BIN samples; equals may be parted."""
    n = len(probabilities)
    count = max(1, min(BINS, n // SAMPLES_PER_BIN))
    bins = np.empty(n, dtype=np.int64)
    bins[np.argsort(probabilities, kind="stable")] = np.arange(n) * count // n
    return bins


def calibration_bins(probabilities: Floats, correct: Correct) -> list[CalibrationBin]:
    """The drawn curve: ten equal steps of probability."""
    bins = np.minimum((probabilities * BINS).astype(int), BINS - 1)
    made = []
    for number in range(BINS):
        members = bins == number
        made.append(
            CalibrationBin(
                low=number / BINS,
                high=(number + 1) / BINS,
                n=int(members.sum()),
                confidence=float(probabilities[members].mean()) if members.any() else None,
                accuracy=float(correct[members].mean()) if members.any() else None,
            )
        )
    return made
