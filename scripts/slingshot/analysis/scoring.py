"""Computing metrics.json: answers against truths, at every level of the code tree."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from sklearn.metrics import confusion_matrix
from statsmodels.stats.proportion import proportion_confint

from slingshot.analysis.bootstrap import Floats, intervals
from slingshot.artifacts.labels import Label
from slingshot.artifacts.metrics import (
    AnswerKind,
    AnswerScores,
    CalibrationBin,
    Confusion,
    GroupScore,
    HierarchicalScores,
    LevelScores,
    Metrics,
    RankedScores,
    Score,
    ScoredLevel,
)
from slingshot.artifacts.predictions import Prediction
from slingshot.config.reporting import Statistics
from slingshot.config.specs import ScoreSpec
from slingshot.core.errors import StudyError
from slingshot.data import icd10

Answers = Sequence[str | None]

Correct = NDArray[np.bool_]

NO_ANSWER = ""  # no label is empty, so it is wrong everywhere

TREE: tuple[ScoredLevel, ...] = ("code", "category", "block", "chapter")

FREQUENCIES = ((0, 0), (1, 4), (5, 9), (10, 49), (50, math.inf))

CALIBRATION_BINS = 10

LARGEST_PLAIN_CONFUSION = 40


def score_arm(
    spec: ScoreSpec,
    predictions: Sequence[Prediction],
    test: pd.DataFrame,
    labels: Sequence[Label],
    training: dict[str, Any] | None,
    provenance: dict[str, str],
) -> Metrics:
    """All scores of one arm.

    Args:
        test: the split, with sample_id, text, label and, for ICD-10-CM, category, block and chapter.

    Raises:
        StudyError: the predictions are not of this split, sample for sample.
    """
    check_order(predictions, test, spec.arm)
    kinds: dict[AnswerKind, list[str | None]] = {"free": [prediction.code for prediction in predictions]}
    if any(prediction.constrained_code is not None for prediction in predictions):  # an endpoint may refuse some
        kinds["constrained"] = [prediction.constrained_code for prediction in predictions]
    answers = {kind: answer_scores(answered, test, labels, spec) for kind, answered in kinds.items()}
    free = answers["free"]
    target = free.levels["label" if spec.labels == "plain" else spec.level]
    return Metrics(
        model_type=spec.model_type,
        model_size=spec.model_size,
        training_status=spec.training_status,
        n_samples=len(predictions),
        exact_match_accuracy=free.exact_match.value,
        f1=target.weighted_f1.value,
        precision=target.weighted_precision.value,
        recall=target.weighted_recall.value,
        training_metrics=training,
        arm=spec.arm,
        model_name=spec.model_name,
        labels=spec.labels,
        level=spec.level,
        confidence=spec.statistics.confidence,
        resamples=spec.statistics.resamples,
        answers=answers,
        ranked=ranked_scores(predictions, spec.statistics),
        truncated_samples=sum(prediction.truncated for prediction in predictions),
        provenance=provenance,
    )


def check_order(predictions: Sequence[Prediction], test: pd.DataFrame, arm: str) -> None:
    """Refuse predictions that are not of the split's samples in the split's order."""
    answered, asked = [prediction.sample_id for prediction in predictions], list(test["sample_id"])
    if answered != asked:
        odd = next((pair for pair in zip(answered, asked, strict=False) if pair[0] != pair[1]), None)
        where = f"first at sample {odd[1]}" if odd else f"{len(answered)} answers for {len(asked)} samples"
        raise StudyError(f"{arm}: its predictions are not of this test split ({where}); run its predict step again")


def answer_scores(answered: Answers, test: pd.DataFrame, labels: Sequence[Label], spec: ScoreSpec) -> AnswerScores:
    """Scores of one way to answer."""
    by_name = {label.label: label for label in labels}
    statistics = spec.statistics
    correct = np.array([answer == truth for answer, truth in zip(answered, test["label"], strict=True)], dtype=bool)
    parsable = np.array([answer is not None for answer in answered])
    known = np.array([answer in by_name for answer in answered])
    valid = np.array([answer is not None and is_valid(answer, by_name) for answer in answered])
    plain = spec.labels == "plain"
    lifted = lifted_answers(answered, test, by_name, spec)
    groups = grouped(test, by_name, correct, plain, statistics.confidence)
    return AnswerScores(
        exact_match=proportion(correct, statistics.confidence),
        parsable=proportion(parsable, statistics.confidence),
        valid=None if plain else proportion(valid, statistics.confidence),
        known=proportion(known, statistics.confidence),
        levels={level: level_scores(truths, given, statistics) for level, (truths, given) in lifted.items()},
        hierarchical=None if plain or spec.level in ("block", "chapter") else hierarchical(answered, test, statistics),
        **groups,
        confusion=confusion_of(lifted, by_name, plain),
    )


def proportion(correct: Correct, confidence: float) -> Score:
    """A share with Wilson's score interval (Wilson 1927), which holds near 0 and 1 where the bootstrap collapses."""
    n, hits = len(correct), int(np.sum(correct))
    low, high = proportion_confint(hits, n, alpha=1 - confidence, method="wilson")
    share = hits / n
    return Score(value=share, low=min(max(low, 0.0), share), high=max(min(high, 1.0), share), n=n, method="wilson")


def is_valid(answer: str, by_name: dict[str, Label]) -> bool:
    """Whether ICD-10-CM has the answer; labels of the study were checked when the data were prepared."""
    return answer in by_name or icd10.is_valid(answer)


def lifted_answers(
    answered: Answers, test: pd.DataFrame, by_name: dict[str, Label], spec: ScoreSpec
) -> dict[ScoredLevel, tuple[list[str], list[str]]]:
    """Truths and answers at the target's level and at each above it; an unreadable answer is NO_ANSWER."""
    if spec.labels == "plain":
        return {"label": (list(test["label"]), [answer or NO_ANSWER for answer in answered])}
    levels = TREE[TREE.index(spec.level) :]
    return {
        level: (
            [at_level(truth, level, by_name) for truth in test["label"]],
            [at_level(answer, level, by_name) if answer else NO_ANSWER for answer in answered],
        )
        for level in levels
    }


def at_level(label: str, level: ScoredLevel, by_name: dict[str, Label]) -> str:
    """A label's ancestor at a level; what has none there stands for itself."""
    entry = icd10.find(label)
    if entry is not None and level != "label":
        return entry.at(level)
    known = by_name.get(label)
    return (getattr(known, level, None) or label) if known else label


def level_scores(truths: list[str], given: list[str], statistics: Statistics) -> LevelScores:
    """Accuracy, and precision, recall and F1 as macro and weighted averages over the labels among the truths.

    As scikit-learn's precision_recall_fscore_support with `labels` set to the truths' labels and zero_division 0. An
    answer outside them misses its truth and has no row of its own, so that all arms are averaged over the same labels.
    In a resample the average is over the labels that stand in it.
    """
    labels = sorted(set(truths))
    index = {label: number for number, label in enumerate(labels)}
    n = len(truths)
    true = np.array([index[label] for label in truths])
    answer = np.array([index.get(label, -1) for label in given])
    hit = true == answer
    truth_of, answer_of = one_hot(true, len(labels)), one_hot(answer, len(labels))
    hit_of = one_hot(np.where(hit, true, -1), len(labels))

    def averages(weights: Floats) -> Floats:
        hits, asked, said = weights @ hit_of, weights @ truth_of, weights @ answer_of
        precision = np.divide(hits, said, out=np.zeros_like(hits), where=said > 0)
        recall = np.divide(hits, asked, out=np.zeros_like(hits), where=asked > 0)
        both = precision + recall
        f1 = np.divide(2 * precision * recall, both, out=np.zeros_like(hits), where=both > 0)
        present = (asked > 0).sum(axis=1)
        macro = [np.where(asked > 0, score, 0).sum(axis=1) / present for score in (precision, recall, f1)]
        weighted = [(score * asked).sum(axis=1) / asked.sum(axis=1) for score in (precision, recall, f1)]
        return np.stack([*macro, *weighted], axis=1)

    names = ("macro_precision", "macro_recall", "macro_f1", "weighted_precision", "weighted_recall", "weighted_f1")
    return LevelScores(
        accuracy=proportion(hit, statistics.confidence),
        **bootstrapped(averages, names, n, statistics),
        true_labels=len(labels),
        answered_labels=len(set(given) - {NO_ANSWER}),
    )


def one_hot(labels: NDArray[np.int64], count: int) -> csr_matrix:
    """Shape (n, count): a 1 where a sample has a label; the row of a label below 0 is empty."""
    rows = np.flatnonzero(labels >= 0)
    return csr_matrix((np.ones(len(rows)), (rows, labels[rows])), shape=(len(labels), count))


def bootstrapped(
    function: Callable[[Floats], Floats], names: Sequence[str], n: int, statistics: Statistics
) -> dict[str, Score]:
    """The named statistics with their bootstrap intervals."""
    estimates, bounds = intervals(function, n, statistics.confidence, statistics.resamples, statistics.seed)
    return {
        name: Score(value=float(estimate), low=float(low), high=float(high), n=n, method="bootstrap")
        for name, estimate, (low, high) in zip(names, estimates, bounds, strict=True)
    }


def hierarchical(answered: Answers, test: pd.DataFrame, statistics: Statistics) -> HierarchicalScores:
    """Precision, recall and F1 over codes with all their ancestors (Kiritchenko, Matwin, Nock and Famili 2006)."""
    counts = hierarchical_counts(answered, list(test["label"]))
    names = ("precision", "recall", "f1")
    return HierarchicalScores(
        **bootstrapped(lambda weights: hierarchical_f1(weights @ counts), names, len(counts), statistics)
    )


def hierarchical_counts(answered: Answers, truths: Sequence[str]) -> Floats:
    """Shape (n, 3): nodes of the tree that answer and truth share, that the answer has, that the truth has."""
    rows = []
    for answer, truth in zip(answered, truths, strict=True):
        said, asked = icd10.lineage(answer) if answer else frozenset(), icd10.lineage(truth)
        rows.append((len(said & asked), len(said), len(asked)))
    return np.array(rows, dtype=np.float64)


def hierarchical_f1(sums: Floats) -> Floats:
    """Shape (m, 3) of summed counts to (m, 3) of precision, recall and F1."""
    shared, said, asked = sums.T
    precision = np.divide(shared, said, out=np.zeros_like(shared), where=said > 0)
    recall = np.divide(shared, asked, out=np.zeros_like(shared), where=asked > 0)
    both = precision + recall
    f1 = np.divide(2 * precision * recall, both, out=np.zeros_like(shared), where=both > 0)
    return np.stack([precision, recall, f1], axis=1)


def grouped(
    test: pd.DataFrame, by_name: dict[str, Label], correct: Correct, plain: bool, confidence: float
) -> dict[str, list[GroupScore]]:
    """Exact matches by chapter, by how often the label stands in train, and by length."""
    frequency = np.array([by_name[label].train_samples if label in by_name else 0 for label in test["label"]])
    words = np.array([len(text.split()) for text in test["text"]])
    chapters = [] if plain else [at_level(label, "chapter", by_name) for label in test["label"]]
    return {
        "by_chapter": [
            group_score(np.array(chapters) == chapter, correct, confidence, chapter, chapter_title(chapter))
            for chapter in sorted(set(chapters), key=lambda chapter: (len(chapter), chapter))
        ],
        "by_train_frequency": [
            group_score(members, correct, confidence, span(low, high))
            for low, high in FREQUENCIES
            if (members := (low <= frequency) & (frequency <= high)).any()
        ],
        "by_length": by_fifths(words, correct, confidence),
    }


def group_score(
    members: Correct, correct: Correct, confidence: float, group: str, title: str | None = None
) -> GroupScore:
    return GroupScore(group=group, title=title, accuracy=proportion(correct[members], confidence))


def span(low: float, high: float) -> str:
    if high == math.inf:
        return f"{low} and more"
    return str(low) if low == high else f"{low}-{high}"


def by_fifths(words: NDArray[np.int64], correct: Correct, confidence: float) -> list[GroupScore]:
    """Groups of about equal size; equal lengths stay together."""
    edges = np.unique(np.quantile(words, np.linspace(0, 1, 6), method="lower"))
    upper = edges[1:] if len(edges) > 1 else edges
    fifth = np.searchsorted(upper, words, side="left")
    groups = []
    for number in np.unique(fifth):
        members = fifth == number
        groups.append(group_score(members, correct, confidence, span(words[members].min(), words[members].max())))
    return groups


def chapter_title(chapter: str) -> str | None:
    try:
        return icd10.describe(chapter, "chapter")
    except KeyError:
        return None


def confusion_of(
    lifted: dict[ScoredLevel, tuple[list[str], list[str]]], by_name: dict[str, Label], plain: bool
) -> Confusion | None:
    """Chapters against chapters, or plain labels against plain labels where they are few."""
    level: ScoredLevel = "label" if plain else "chapter"
    truths, given = lifted[level]
    labels = sorted(set(truths) | (set(given) - {NO_ANSWER}), key=lambda label: (len(label), label))
    if plain:
        labels = [label for label in labels if label in by_name]
        if len(labels) > LARGEST_PLAIN_CONFUSION:
            return None
    kept = [answer if answer in labels else NO_ANSWER for answer in given]
    counts = confusion_matrix(truths, kept, labels=[*labels, NO_ANSWER])[:-1]
    titles = [(None if plain else chapter_title(label)) or label for label in labels]
    return Confusion(level=level, labels=labels, titles=titles, counts=counts.tolist())


def ranked_scores(predictions: Sequence[Prediction], statistics: Statistics) -> RankedScores | None:
    """Top-k accuracy, and how far the best candidate's probability is from its accuracy; None without candidates.

    A sample without any, which an endpoint can leave, counts as not found, and is left out of the calibration.
    """
    ranked = [prediction for prediction in predictions if prediction.candidates]
    if not ranked:
        return None
    kept = min(len(prediction.candidates) for prediction in ranked)
    ranks = np.array([rank_of_truth(prediction) for prediction in predictions])
    probabilities = np.exp([prediction.candidates[0].log_probability for prediction in ranked])
    correct = np.array([rank_of_truth(prediction) == 0 for prediction in ranked])
    error = bootstrapped(
        lambda weights: calibration_error(weights, probabilities, correct)[:, None],
        ("expected_calibration_error",),
        len(ranked),
        statistics,
    )
    return RankedScores(
        top_1=proportion(ranks < 1, statistics.confidence),
        top_3=proportion(ranks < 3, statistics.confidence) if kept >= 3 else None,
        top_5=proportion(ranks < 5, statistics.confidence) if kept >= 5 else None,
        **error,
        calibration=calibration_bins(probabilities, correct),
    )


def rank_of_truth(prediction: Prediction) -> float:
    codes = [candidate.code for candidate in prediction.candidates]
    return codes.index(prediction.label) if prediction.label in codes else np.inf


def bin_of(probabilities: Floats) -> NDArray[np.int64]:
    return np.minimum((probabilities * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)


def calibration_error(weights: Floats, probabilities: Floats, correct: Correct) -> Floats:
    """Expected calibration error with equal bins (Guo et al. 2017, arXiv:1706.04599), of shape (m,)."""
    gaps = one_hot(bin_of(probabilities), CALIBRATION_BINS).multiply((correct - probabilities)[:, None]).tocsr()
    return np.abs(weights @ gaps).sum(axis=1) / weights.sum(axis=1)


def calibration_bins(probabilities: Floats, correct: Correct) -> list[CalibrationBin]:
    bins = bin_of(probabilities)
    made = []
    for number in range(CALIBRATION_BINS):
        members = bins == number
        made.append(
            CalibrationBin(
                low=number / CALIBRATION_BINS,
                high=(number + 1) / CALIBRATION_BINS,
                n=int(members.sum()),
                confidence=float(probabilities[members].mean()) if members.any() else None,
                accuracy=float(correct[members].mean()) if members.any() else None,
            )
        )
    return made
