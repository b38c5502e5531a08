"""The arm that needs no language model: TF-IDF of words and character n-grams with a linear classifier.

Ridge regression on the labels' indicators (a least-squares support vector machine: Suykens and Vandewalle 1999), solved
in its dual form: one Cholesky factor of samples x samples serves all labels, so thousands of labels cost little more
than ten. With too many samples for that, one logistic regression per label by stochastic gradient descent. Settings and
the link from scores to probabilities are chosen on the validation split. docs/baseline.md has what was measured.
Where a text has several labels, each label's indicator is fitted against the rest in the same way.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize_scalar
from scipy.sparse import csr_matrix
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import SGDClassifier
from sklearn.multiclass import OneVsRestClassifier

from slingshot.artifacts.predictions import Prediction
from slingshot.artifacts.records import timed
from slingshot.core.errors import StudyError
from slingshot.rivals.kept_objects import keep_vectorizer, read_object, restore_vectorizer, write_object
from slingshot.rivals.pipeline import Answered, FitJob, Texts, predictions_of
from slingshot.rivals.set_answers import best_threshold
from slingshot.rivals.set_models import Sigmoid, fit_sigmoid

log = logging.getLogger(__name__)

Floats = NDArray[np.float64]

PENALTIES = (0.1, 0.3, 1.0, 3.0, 10.0)

SET_PENALTIES = (0.03, *PENALTIES)  # with several labels each is rarer, and less shrinking is better

PENALTY_UNCHOSEN = 1.0  # where there is no validation split

SGD_PENALTIES = (1e-4, 1e-5, 1e-6)

SGD_EPOCHS = 5

MOST_DUAL_SAMPLES = 15_000  # 1.8 GB of kernel and as much again for its factor

MOST_FEATURES = 200_000

MOST_WEIGHTS = 250_000_000  # 2 GB, of the gradient descent

ROWS = 512  # of a kernel that are computed at once

FLOORS = (1e-4, 1e-3, 3e-3, 1e-2, 3e-2)


@dataclass(frozen=True)
class Link:
    """Probabilities from scores: each score above 0, plus `floor`, to the power of `exponent`, scaled to add up to 1.

    Ridge scores estimate the labels' probabilities but are spread too evenly over many labels; the power sharpens them.
    A softmax, with or without a temperature, was far off: docs/baseline.md.
    """

    floor: float = 0.01
    exponent: float = 2.5

    def probabilities(self, scores: Floats) -> Floats:
        """Shape (texts, labels), rows add up to 1."""
        logs = self.exponent * np.log(np.maximum(scores, 0) + self.floor)
        powers = np.exp(logs - logs.max(axis=1, keepdims=True))
        return powers / powers.sum(axis=1, keepdims=True)


@dataclass(frozen=True)
class Setting:
    """What is chosen on validation: the strength of the L2 penalty, and whether character n-grams count."""

    penalty: float
    characters: bool

    def __str__(self) -> str:
        return f"penalty {self.penalty:g}, words{' and characters' if self.characters else ''}"


class Scorer(Protocol):
    """A fitted linear model."""

    def score(self, texts: Sequence[str]) -> Floats:
        """One row per text, one column per label."""


@dataclass(frozen=True)
class Ridge:
    """Train's features by each vectorizer, and what each train sample adds to a label's score: (samples, labels)."""

    vectorizers: list[TfidfVectorizer]
    features: list[csr_matrix]
    coefficients: Floats

    def score(self, texts: Sequence[str]) -> Floats:
        parts = zip(self.vectorizers, self.features, strict=True)
        alike = sum(kernel(vectorizer.transform(texts), features) for vectorizer, features in parts)
        return np.asarray(alike @ self.coefficients)


@dataclass(frozen=True)
class Descent:
    """Logistic regressions, one per label; their probabilities are the scores."""

    vectorizer: TfidfVectorizer
    model: Any

    def score(self, texts: Sequence[str]) -> Floats:
        return np.asarray(self.model.predict_proba(self.vectorizer.transform(texts)))


@dataclass(frozen=True)
class Classifier:
    """A fitted classifier; `labels` are in the order of the probabilities' columns."""

    scorer: Scorer
    link: Link | Sigmoid
    labels: NDArray[np.str_]
    setting: Setting

    def probabilities(self, texts: Sequence[str]) -> Floats:
        """One row per text, one column per label."""
        return self.link.probabilities(self.scorer.score(texts))


def fit(
    train: Sequence[str],
    labels: Sequence[str],
    validation: Sequence[str],
    validation_labels: Sequence[str],
    seed: int,
) -> Classifier:
    """Fit on train with the setting that does best on validation.

    Of the settings whose hits on validation are within a standard error of the best, the one of highest likelihood.

    Raises:
        StudyError: train holds one label only.
    """
    return fit_texts(Texts(list(train), list(labels)), Texts(list(validation), list(validation_labels)), seed)


def fit_texts(train: Texts, validation: Texts, seed: int) -> Classifier:
    """As `fit`; where texts have several labels, the setting of the best micro F1 on validation is taken.

    Raises:
        StudyError: train holds one label only.
    """
    names = np.asarray(train.names)
    if len(names) < 2:
        raise StudyError(
            f"train holds {len(names)} label; the TF-IDF baseline needs two or more (baseline.tfidf: false)"
        )
    place = {name: column for column, name in enumerate(names.tolist())}
    if train.sets is None:
        truth = np.array([place.get(label, -1) for label in validation.labels], dtype=int)
        choose: Choose = partial(_choose_for_labels, truth)
    else:
        total = sum(map(len, validation.sets or []))
        choose = partial(_choose_for_sets, validation.indicators(train.names), total)
    if len(train.texts) <= MOST_DUAL_SAMPLES:
        return _fit_ridge(train, names, validation.texts, choose)
    return _fit_descent(train, names, validation.texts, choose, seed)


Scored = Iterator[tuple["Setting", Floats]]  # each setting with its scores on validation

Choose = Callable[[Scored], tuple["Setting", "Link | Sigmoid"]]


def _choose_for_labels(truth: NDArray[np.int_], scored: Scored) -> tuple[Setting, Link]:
    return _choose(_Trial(setting, scores, truth) for setting, scores in scored)


def _choose_for_sets(true: Floats, total: int, scored: Scored) -> tuple[Setting, Sigmoid]:
    """The setting whose best threshold has the highest micro F1, of equals the first, with its link.

    Args:
        true: shape (samples, labels), 1 and 0
        total: the samples' labels, those that train lacks included
    """
    best: tuple[float, Setting, Floats] | None = None
    for setting, scores in scored:
        f1 = best_threshold(scores, true, total)[1]
        log.info("%s: micro F1 %.1f%% on validation", setting, 100 * f1)
        if best is None or f1 > best[0]:
            best = f1, setting, scores
    assert best is not None
    return best[1], fit_sigmoid(best[2], true)


@dataclass(frozen=True)
class _Trial:
    """A setting's scores on validation."""

    setting: Setting
    scores: Floats
    truth: NDArray[np.int_]

    @property
    def hits(self) -> float:
        return float(np.mean(self.scores.argmax(axis=1) == self.truth))


def _choose(trials: Iterator[_Trial]) -> tuple[Setting, Link]:
    """The setting by hits, then by likelihood, with its link."""
    tried = list(trials)
    most = max(trial.hits for trial in tried)
    slack = np.sqrt(most * (1 - most) / len(tried[0].truth))
    linked = [(trial, *fit_link(trial.scores, trial.truth)) for trial in tried if trial.hits >= most - slack]
    for trial, link, loss in linked:
        log.info(
            "%s: %.1f%% right on validation, %.3f nats per sample, exponent %.2f, floor %g",
            *(trial.setting, 100 * trial.hits, loss, link.exponent, link.floor),
        )
    best, link, _ = min(linked, key=lambda entry: entry[2])
    return best.setting, link


def fit_link(scores: Floats, truth: NDArray[np.int_]) -> tuple[Link, float]:
    """The link under which the truths are likeliest, and their mean negative log-likelihood.

    Args:
        scores: shape (samples, labels)
        truth: columns of the true labels; -1: a label that train does not hold, left out, as no link can reach it
    """
    seen = truth >= 0
    if not seen.any():
        return Link(), float("inf")
    scores, truth = scores[seen], truth[seen]
    rows = np.arange(len(truth))
    best, least = Link(), float("inf")
    for floor in FLOORS:
        logs = np.log(np.maximum(scores, 0) + floor)

        def loss(exponent: float, logs: Floats = logs) -> float:
            powers = exponent * logs
            highest = powers.max(axis=1)
            total = highest + np.log(np.exp(powers - highest[:, None]).sum(axis=1))
            return float(np.mean(total - powers[rows, truth]))

        found = minimize_scalar(loss, bounds=(0.2, 8.0), method="bounded", options={"xatol": 0.02})
        if found.fun < least:
            best, least = Link(floor, float(found.x)), float(found.fun)
    return best, least


def _fit_ridge(train: Texts, names: NDArray[np.str_], validation: Sequence[str], choose: Choose) -> Classifier:
    count = len(train.texts)
    words, characters = _vectorizer(count), _vectorizer(count, characters=True)
    parts = [(each, each.fit_transform(train.texts)) for each in (words, characters)]
    log.info("TF-IDF: %d samples, %d labels, %s features", count, len(names), [m.shape[1] for _, m in parts])
    kernels = [kernel(features, features) for _, features in parts]
    held_out = [kernel(each.transform(validation), features) for each, features in parts] if len(validation) else []
    indicators = train.indicators(names.tolist())
    penalties = PENALTIES if train.sets is None else SET_PENALTIES

    def solve(setting: Setting) -> Floats:
        system = kernels[0] + kernels[1] if setting.characters else kernels[0].copy()
        system[np.diag_indices_from(system)] += setting.penalty
        return cho_solve(cho_factor(system, lower=True, overwrite_a=True, check_finite=False), indicators)

    def scored() -> Scored:
        for setting in (Setting(penalty, use) for use in (True, False) for penalty in penalties):
            against = held_out[0] + held_out[1] if setting.characters else held_out[0]
            yield setting, against @ solve(setting)

    unchosen = Setting(PENALTY_UNCHOSEN, True), Link() if train.sets is None else Sigmoid()
    setting, link = choose(scored()) if held_out else unchosen
    used = parts if setting.characters else parts[:1]
    ridge = Ridge([each for each, _ in used], [features for _, features in used], solve(setting))
    return Classifier(ridge, link, names, setting)


def _vectorizer(samples: int, characters: bool = False, most: int = MOST_FEATURES) -> TfidfVectorizer:
    shared = {"sublinear_tf": True, "strip_accents": "unicode", "max_features": most}
    if not characters:
        return TfidfVectorizer(**shared)
    # What stands in most texts weighs little and takes most of a kernel's time.
    most_texts = 0.5 if samples >= 1000 else 1.0
    return TfidfVectorizer(**shared, analyzer="char_wb", ngram_range=(2, 5), max_df=most_texts)


def kernel(left: csr_matrix, right: csr_matrix) -> Floats:
    """Dot products of rows, of shape (rows of left, rows of right), in blocks of ROWS."""
    result = np.empty((left.shape[0], right.shape[0]))
    turned = right.T.tocsr()
    for start in range(0, left.shape[0], ROWS):
        result[start : start + ROWS] = (left[start : start + ROWS] @ turned).toarray()
    return result


def _fit_descent(
    train: Texts, names: NDArray[np.str_], validation: Sequence[str], choose: Choose, seed: int
) -> Classifier:
    """One logistic regression per label, on words alone, for more samples than a kernel can hold."""
    count = len(train.texts)
    vectorizer = _vectorizer(count, most=max(1000, min(MOST_FEATURES, MOST_WEIGHTS // len(names))))
    features = vectorizer.fit_transform(train.texts)
    log.info("TF-IDF: %d samples, %d labels, %d words", count, len(names), features.shape[1])

    def solve(setting: Setting) -> Any:
        model = SGDClassifier(loss="log_loss", alpha=setting.penalty, max_iter=SGD_EPOCHS, tol=None, random_state=seed)
        if train.sets is None:
            return model.fit(features, np.searchsorted(names, train.labels))
        return OneVsRestClassifier(model).fit(features, train.indicators(names.tolist()).astype(int))

    settings = [Setting(penalty, False) for penalty in SGD_PENALTIES]
    setting, link = settings[1], Link(exponent=1.0) if train.sets is None else Sigmoid()
    if len(validation):
        setting, link = choose((each, Descent(vectorizer, solve(each)).score(validation)) for each in settings)
    return Classifier(Descent(vectorizer, solve(setting)), link, names, setting)


@dataclass(frozen=True)
class FittedTfidf:
    """The classifier as an arm: a slingshot.rivals.pipeline.Fitted."""

    classifier: Classifier

    @property
    def labels(self) -> list[str]:
        return [str(label) for label in self.classifier.labels]

    @property
    def training(self) -> dict[str, Any]:
        """What was chosen on validation."""
        setting, link = self.classifier.setting, self.classifier.link
        chosen = {"penalty": setting.penalty, "characters": setting.characters}
        if isinstance(link, Sigmoid):
            return {**chosen, "link_slope": link.slope, "link_intercept": link.intercept}
        return {**chosen, "link_floor": link.floor, "link_exponent": link.exponent}

    def answer(self, texts: Sequence[str]) -> Answered:
        return Answered(self.classifier.probabilities(texts), [0] * len(texts), [False] * len(texts))

    def save(self, folder: Path) -> None:
        scorer = self.classifier.scorer
        if isinstance(scorer, Ridge):
            parts = {
                "vectorizers": [keep_vectorizer(each) for each in scorer.vectorizers],
                "features": [[each.data, each.indices, each.indptr, *each.shape] for each in scorer.features],
                "coefficients": scorer.coefficients,
            }
        else:
            assert isinstance(scorer, Descent)
            parts = {"vectorizer": keep_vectorizer(scorer.vectorizer), "model": scorer.model}
        labels = np.asarray(self.classifier.labels)
        write_object(folder / "classifier.skops", {"labels": labels, **self.training, **parts})


def fit_rival(job: FitJob) -> FittedTfidf:
    """Fit on train with the setting that validation prefers.

    Raises:
        StudyError: train holds one label only.
    """
    with timed(job.seconds, "train"):
        classifier = fit_texts(job.train, job.validation, job.seed)
    return FittedTfidf(classifier)


def load_rival(folder: Path, device: str) -> FittedTfidf:
    """Read what FittedTfidf.save wrote; it runs on any device's host."""
    kept = read_object(folder / "classifier.skops")
    if "model" in kept:
        scorer: Scorer = Descent(restore_vectorizer(kept["vectorizer"]), kept["model"])
    else:
        features = [
            csr_matrix((data, indices, pointers), shape=(rows, columns))
            for data, indices, pointers, rows, columns in kept["features"]
        ]
        scorer = Ridge([restore_vectorizer(each) for each in kept["vectorizers"]], features, kept["coefficients"])
    setting = Setting(kept["penalty"], kept["characters"])
    link: Link | Sigmoid
    if "link_slope" in kept:
        link = Sigmoid(kept["link_slope"], kept["link_intercept"])
    else:
        link = Link(kept["link_floor"], kept["link_exponent"])
    return FittedTfidf(Classifier(scorer, link, kept["labels"], setting))


def predictions(
    classifier: Classifier, ids: Sequence[str], texts: Sequence[str], labels: Sequence[str], candidates: int
) -> list[Prediction]:
    """A prediction per sample, with its `candidates` likeliest labels (at least one) and their log-probabilities."""
    fitted = FittedTfidf(classifier)
    return predictions_of(fitted.answer(texts), fitted.labels, ids, labels, candidates)
