"""Computing metrics.json: answers against truths, at every level of the code tree."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, hstack

from slingshot.analysis.calibration import brier_parts, brier_score, calibration_bins, calibration_error
from slingshot.analysis.groups import Correct, Floats, Groups, design_effect, groups_of, independent
from slingshot.analysis.intervals import Function, critical, jackknife, jackknife_interval, wilson_interval
from slingshot.artifacts.labels import Label
from slingshot.artifacts.metrics import (
    AnswerKind,
    AnswerScores,
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
from slingshot.config.base import LabelSystem
from slingshot.config.specs import ScoreSpec
from slingshot.core.distributions import normal_quantile
from slingshot.core.errors import StudyError
from slingshot.data.code_trees import tree_of

ReadAnswers = Sequence[str | None]


NO_ANSWER = ""  # no label is empty, so it is wrong everywhere

TREE: tuple[ScoredLevel, ...] = ("code", "category", "block", "chapter")

FREQUENCIES = ((0, 0), (1, 4), (5, 9), (10, 49), (50, math.inf))

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
        test: the split, with sample_id, text, label, group and, for ICD-10-CM, category, block and chapter.

    Raises:
        StudyError: the predictions are not of this split, sample for sample.
    """
    check_order(predictions, test, spec.arm)
    kinds: dict[AnswerKind, list[str | None]] = {"free": [prediction.code for prediction in predictions]}
    if any(prediction.constrained_code is not None for prediction in predictions):  # an endpoint may refuse some
        kinds["constrained"] = [prediction.constrained_code for prediction in predictions]
    groups = groups_of(test)
    answers = {kind: answer_scores(answered, test, labels, spec, groups) for kind, answered in kinds.items()}
    free = answers["free"]
    target = free.levels["label" if spec.labels == "plain" else spec.level]
    return Metrics(
        **described_arm(spec, predictions),
        exact_match_accuracy=free.exact_match.value,
        f1=target.weighted_f1.value,
        precision=target.weighted_precision.value,
        recall=target.weighted_recall.value,
        training_metrics=training,
        answers=answers,
        ranked=ranked_scores(predictions, groups, spec.statistics.confidence),
        provenance=provenance,
    )


def described_arm(spec: ScoreSpec, predictions: Sequence[Prediction]) -> dict[str, Any]:
    """What metrics.json says of an arm besides its scores."""
    return {
        "model_type": spec.model_type,
        "model_size": spec.model_size,
        "training_status": spec.training_status,
        "n_samples": len(predictions),
        "arm": spec.arm,
        "model_name": spec.model_name,
        "labels": spec.labels,
        "level": spec.level,
        "confidence": spec.statistics.confidence,
        "resamples": spec.statistics.resamples,
        "truncated_samples": sum(prediction.truncated for prediction in predictions),
    }


def check_order(predictions: Sequence[Prediction], test: pd.DataFrame, arm: str) -> None:
    """Refuse predictions that are not of the split's samples in the split's order."""
    answered, asked = [prediction.sample_id for prediction in predictions], list(test["sample_id"])
    if answered != asked:
        odd = next((pair for pair in zip(answered, asked, strict=False) if pair[0] != pair[1]), None)
        where = f"first at sample {odd[1]}" if odd else f"{len(answered)} answers for {len(asked)} samples"
        raise StudyError(f"{arm}: its predictions are not of this test split ({where}); run its predict step again")


def answer_scores(
    answered: ReadAnswers, test: pd.DataFrame, labels: Sequence[Label], spec: ScoreSpec, groups: Groups
) -> AnswerScores:
    """Scores of one way to answer."""
    by_name = {label.label: label for label in labels}
    confidence = spec.statistics.confidence
    correct = np.array([answer == truth for answer, truth in zip(answered, test["label"], strict=True)], dtype=bool)
    parsable = np.array([answer is not None for answer in answered])
    known = np.array([answer in by_name for answer in answered])
    valid = np.array([answer is not None and is_valid(answer, by_name, spec.labels) for answer in answered])
    plain = spec.labels == "plain"
    lifted = lifted_answers(answered, test, by_name, spec)
    tree = not plain and spec.level not in ("block", "chapter")
    return AnswerScores(
        exact_match=proportion(correct, confidence, groups),
        parsable=proportion(parsable, confidence, groups),
        valid=None if plain else proportion(valid, confidence, groups),
        known=proportion(known, confidence, groups),
        levels={level: level_scores(truths, given, groups, confidence) for level, (truths, given) in lifted.items()},
        hierarchical=hierarchical(answered, test, spec.labels, groups, confidence) if tree else None,
        **by_parts(test, by_name, correct, spec.labels, groups, confidence),
        confusion=confusion_of(lifted, by_name, spec.labels),
    )


def proportion(correct: Correct, confidence: float, groups: Groups | None = None) -> Score:
    """A share with Wilson's score interval (1927), which holds near 0 and 1 where the bootstrap collapses.

    Groups count as the number of independent samples that would give the same variance: n over the design effect, with
    Student's quantile of the groups' degrees of freedom.
    """
    n, groups = len(correct), groups or independent(len(correct))
    share = int(np.sum(correct)) / n
    effect = design_effect(correct.astype(float), groups)
    quantile = critical(confidence, groups) if groups.matter else normal_quantile((1 + confidence) / 2)
    low, high = wilson_interval(share, n / effect, quantile)
    return Score(value=share, low=low, high=high, n=n, method="wilson", design_effect=effect if groups.matter else None)


def is_valid(answer: str, by_name: dict[str, Label], system: LabelSystem) -> bool:
    """Whether the code tree has the answer; labels of the study were checked when the data were prepared."""
    tree = tree_of(system)
    return answer in by_name or (tree is not None and tree.is_valid(answer))


def lifted_answers(
    answered: ReadAnswers, test: pd.DataFrame, by_name: dict[str, Label], spec: ScoreSpec
) -> dict[ScoredLevel, tuple[list[str], list[str]]]:
    """Truths and answers at the target's level and at each above it; an unreadable answer is NO_ANSWER."""
    if spec.labels == "plain":
        return {"label": (list(test["label"]), [answer or NO_ANSWER for answer in answered])}
    levels = TREE[TREE.index(spec.level) :]
    return {
        level: (
            [at_level(truth, level, by_name, spec.labels) for truth in test["label"]],
            [at_level(answer, level, by_name, spec.labels) if answer else NO_ANSWER for answer in answered],
        )
        for level in levels
    }


def at_level(label: str, level: ScoredLevel, by_name: dict[str, Label], system: LabelSystem) -> str:
    """A label's ancestor at a level; what has none there stands for itself."""
    tree = tree_of(system)
    entry = tree.find(label) if tree is not None else None
    if entry is not None and level != "label":
        return entry.at(level)
    known = by_name.get(label)
    return (getattr(known, level, None) or label) if known else label


def level_scores(truths: list[str], given: list[str], groups: Groups, confidence: float) -> LevelScores:
    """Accuracy, and precision, recall and F1 as macro and weighted averages over the labels among the truths.

    Answers outside these labels are not averaged over but count against the truth that they miss. So are the scores
    of scikit-learn's precision_recall_fscore_support with `labels` set to the labels among the truths.
    """
    labels = sorted(set(truths))
    index = {label: number for number, label in enumerate(labels)}
    true = np.array([index[label] for label in truths])
    answer = np.array([index.get(label, -1) for label in given])
    hit = true == answer
    count = len(labels)
    counted = hstack(
        [
            one_hot(np.where(hit, true, -1), count),
            one_hot(true, count),
            one_hot(answer, count),
            csr_matrix(np.array([label != NO_ANSWER for label in given], dtype=float)[:, None]),
        ],
        format="csr",
    )

    def averages(sums: Floats) -> Floats:
        hits, asked, predicted, answered = np.split(sums, (count, 2 * count, 3 * count), axis=1)
        precision = np.divide(hits, predicted, out=np.zeros_like(hits), where=predicted > 0)
        recall = np.divide(hits, asked, out=np.zeros_like(hits), where=asked > 0)
        f1 = np.divide(2 * hits, asked + predicted, out=np.zeros_like(hits), where=asked > 0)
        present, n = (asked > 0).sum(axis=1), asked.sum(axis=1)
        macro = [np.where(asked > 0, score, 0).sum(axis=1) / present for score in (precision, recall, f1)]
        weighted = [(score * asked).sum(axis=1) / n for score in (precision, recall, f1)]
        micro = 2 * hits.sum(axis=1) / (n + answered[:, 0])
        return np.stack([*macro, *weighted, micro], axis=1)

    names = ("macro_precision", "macro_recall", "macro_f1", "weighted_precision", "weighted_recall", "weighted_f1")
    return LevelScores(
        accuracy=proportion(hit, confidence, groups),
        **jackknifed(averages, counted, (*names, "micro_f1"), groups, confidence, capped=True),
        true_labels=len(labels),
        answered_labels=len(set(given) - {NO_ANSWER}),
    )


def one_hot(labels: NDArray[np.int64], count: int) -> csr_matrix:
    """Shape (n, count): a 1 where a sample has a label; the row of a label below 0 is empty."""
    rows = np.flatnonzero(labels >= 0)
    return csr_matrix((np.ones(len(rows)), (rows, labels[rows])), shape=(len(labels), count))


def jackknifed(
    function: Function,
    features: Floats | csr_matrix,
    names: Sequence[str],
    groups: Groups,
    confidence: float,
    capped: bool = False,
) -> dict[str, Score]:
    """The named statistics with their intervals: arguments as `intervals.jackknife` and its interval take them."""
    found = jackknife(function, features, groups)
    scores = {}
    for name, value, variance in zip(names, found.values, found.variances, strict=True):
        low, high = jackknife_interval(float(value), float(variance), groups, confidence, capped)
        scores[name] = Score(value=float(value), low=low, high=high, n=len(groups.index), method="jackknife")
    return scores


def hierarchical(
    answered: ReadAnswers, test: pd.DataFrame, system: LabelSystem, groups: Groups, confidence: float
) -> HierarchicalScores:
    """Precision, recall and F1 over codes with all their ancestors (Kiritchenko, Matwin, Nock and Famili 2006)."""
    counts = hierarchical_counts(answered, list(test["label"]), system)
    names = ("precision", "recall", "f1")
    return HierarchicalScores(**jackknifed(hierarchical_f1, counts, names, groups, confidence))


def hierarchical_counts(answered: ReadAnswers, truths: Sequence[str], system: LabelSystem) -> Floats:
    """Shape (n, 3): nodes of the tree that answer and truth share, that the answer has, that the truth has.

    An answer that could not be read, or that the tree does not have, is wrong at every level: it counts as one with as
    many nodes as the truth and none of them shared. Left out it would not lower precision: 10% right and the rest
    unreadable would be perfect.
    """
    tree, rows = tree_of(system), []
    assert tree is not None, "plain labels have no ancestors"
    for answer, truth in zip(answered, truths, strict=True):
        asked = tree.lineage(truth)
        predicted = tree.lineage(answer) if answer else frozenset()
        rows.append((len(predicted & asked), len(predicted or asked), len(asked)))
    return np.array(rows, dtype=np.float64)


def hierarchical_f1(sums: Floats) -> Floats:
    """Shape (m, 3) of summed counts to (m, 3) of precision, recall and F1."""
    shared, predicted, asked = sums.T
    precision = np.divide(shared, predicted, out=np.zeros_like(shared), where=predicted > 0)
    recall = np.divide(shared, asked, out=np.zeros_like(shared), where=asked > 0)
    both = precision + recall
    f1 = np.divide(2 * precision * recall, both, out=np.zeros_like(shared), where=both > 0)
    return np.stack([precision, recall, f1], axis=1)


def by_parts(
    test: pd.DataFrame,
    by_name: dict[str, Label],
    correct: Correct,
    system: LabelSystem,
    groups: Groups,
    confidence: float,
) -> dict[str, list[GroupScore]]:
    """Exact matches by chapter, by how often the label stands in train, and by length."""
    frequency = np.array([by_name[label].train_samples if label in by_name else 0 for label in test["label"]])
    words = np.array([len(text.split()) for text in test["text"]])
    at_chapter = [] if system == "plain" else [at_level(each, "chapter", by_name, system) for each in test["label"]]
    chapters = np.array(at_chapter)

    def part(members: Correct, name: str, title: str | None = None) -> GroupScore:
        accuracy = proportion(correct[members], confidence, groups.among(members))
        return GroupScore(group=name, title=title, accuracy=accuracy)

    return {
        "by_chapter": [
            part(chapters == chapter, chapter, chapter_title(chapter, system))
            for chapter in sorted(set(chapters.tolist()), key=lambda chapter: (len(chapter), chapter))
        ],
        "by_train_frequency": [
            part(members, span(low, high))
            for low, high in FREQUENCIES
            if (members := (low <= frequency) & (frequency <= high)).any()
        ],
        "by_length": [part(members, span(words[members].min(), words[members].max())) for members in fifths(words)],
    }


def span(low: float, high: float) -> str:
    if high == math.inf:
        return f"{low} and more"
    return str(low) if low == high else f"{low}-{high}"


def fifths(words: NDArray[np.int64]) -> list[Correct]:
    """Masks of five parts of about equal count; equal lengths stay together."""
    edges = np.unique(np.quantile(words, np.linspace(0, 1, 6), method="lower"))
    upper = edges[1:] if len(edges) > 1 else edges
    fifth = np.searchsorted(upper, words, side="left")
    return [fifth == number for number in np.unique(fifth)]


def chapter_title(chapter: str, system: LabelSystem) -> str | None:
    tree = tree_of(system)
    try:
        return tree.describe(chapter, "chapter") or None if tree is not None else None
    except KeyError:
        return None


def confusion_of(
    lifted: dict[ScoredLevel, tuple[list[str], list[str]]], by_name: dict[str, Label], system: LabelSystem
) -> Confusion | None:
    """Chapters against chapters, or plain labels against plain labels where they are few.

    An answer that is no label of the study, or no code of the tree, has neither: it stands in the last column.
    """
    plain = system == "plain"
    level: ScoredLevel = "label" if plain else "chapter"
    truths, given = lifted[level]
    answered = {label for label in given if (label in by_name if plain else in_tree(label, level, system))}
    labels = sorted(set(truths) | answered, key=lambda label: (len(label), label))
    if plain and len(labels) > LARGEST_PLAIN_CONFUSION:
        return None
    kept = [answer if answer in labels else NO_ANSWER for answer in given]
    pairs = Counter(zip(truths, kept, strict=True))
    counts = [[pairs[truth, answer] for answer in (*labels, NO_ANSWER)] for truth in labels]
    titles = [chapter_title(label, system) or label for label in labels]
    return Confusion(level=level, labels=labels, titles=titles, counts=counts)


def in_tree(label: str, level: ScoredLevel, system: LabelSystem) -> bool:
    """Whether the code tree has the label at a level; what has no ancestor there stands for itself and is not in it."""
    tree = tree_of(system)
    try:
        return tree is not None and level != "label" and tree.describe(label, level) is not None
    except KeyError:
        return False


def ranked_scores(predictions: Sequence[Prediction], groups: Groups, confidence: float) -> RankedScores | None:
    """Top-k accuracy, and what the best candidate's probability is worth; None where no sample has candidates."""
    counts = np.array([len(prediction.candidates) for prediction in predictions])
    if counts.max() == 0:
        return None
    ranks = np.array([rank_of_truth(prediction) for prediction in predictions])
    having = counts > 0
    probabilities = np.exp([each.candidates[0].log_probability for each in predictions if each.candidates])
    correct, among = ranks[having] == 0, groups.among(having)
    judged = among.count > 1  # one group alone has no pair of samples that tell of chance
    return RankedScores(
        top_1=proportion(ranks < 1, confidence, groups),
        top_3=proportion(ranks < 3, confidence, groups) if counts.max() >= 3 else None,
        top_5=proportion(ranks < 5, confidence, groups) if counts.max() >= 5 else None,
        without_candidates=int(np.sum(~having)),
        brier=brier_score(probabilities, correct, among, confidence) if judged else None,
        brier_parts=brier_parts(probabilities, correct, among) if judged else None,
        calibration_error=calibration_error(probabilities, correct, among, confidence) if judged else None,
        calibration=calibration_bins(probabilities, correct),
    )


def rank_of_truth(prediction: Prediction) -> float:
    codes = [candidate.code for candidate in prediction.candidates]
    return codes.index(prediction.label) if prediction.label in codes else np.inf
