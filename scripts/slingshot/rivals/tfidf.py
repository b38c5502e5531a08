"""The arm that needs no language model: TF-IDF with a linear classifier.

One logistic regression a label (one against the rest), trained by stochastic gradient descent, which is as accurate
as a multinomial one on our data and stays feasible with thousands of labels. Its only free choice, the strength of
the L2 penalty, is made on the validation split.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import SGDClassifier

from slingshot.artifacts.predictions import Prediction
from slingshot.artifacts.records import timed
from slingshot.core.errors import StudyError
from slingshot.rivals.kept_objects import read_object, write_object
from slingshot.rivals.pipeline import Answered, FitJob, predictions_of

log = logging.getLogger(__name__)

PENALTIES = (1e-3, 1e-4, 1e-5, 1e-6)

PENALTY_UNCHOSEN = 1e-5  # where there is no validation split

EPOCHS = 20  # at most

MANY_LABELS = 500  # from here on a few passes must do: time grows with labels times samples

EPOCHS_MANY = 5

PENALTIES_MANY = (1e-4, 1e-5, 1e-6)

MOST_FEATURES = 100_000

MOST_WEIGHTS = 250_000_000  # 2 GB


@dataclass(frozen=True)
class Classifier:
    """A fitted vectorizer and classifier; `labels` are in the order of the probabilities' columns."""

    vectorizer: TfidfVectorizer
    model: SGDClassifier
    labels: NDArray[np.str_]
    penalty: float

    def probabilities(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """One row a text, one column a label."""
        return self.model.predict_proba(self.vectorizer.transform(texts))


def fit(
    train: Sequence[str],
    labels: Sequence[str],
    validation: Sequence[str],
    validation_labels: Sequence[str],
    seed: int,
) -> Classifier:
    """Fit on train with the penalty that is most often right on validation, of equals the strongest.

    Raises:
        StudyError: train holds one label only.
    """
    count = len(set(labels))
    if count < 2:
        raise StudyError(f"train holds {count} label; the TF-IDF baseline needs two or more (baseline.tfidf: false)")
    vectorizer = TfidfVectorizer(
        sublinear_tf=True, strip_accents="unicode", max_features=max(1000, min(MOST_FEATURES, MOST_WEIGHTS // count))
    )
    features = vectorizer.fit_transform(train)
    log.info("TF-IDF: %d samples, %d words, %d labels", len(train), features.shape[1], count)
    if not len(validation):
        return _fit_one(vectorizer, features, labels, PENALTY_UNCHOSEN, seed)
    held_out = vectorizer.transform(validation)
    best, best_accuracy = None, -1.0
    for penalty in PENALTIES if count < MANY_LABELS else PENALTIES_MANY:
        candidate = _fit_one(vectorizer, features, labels, penalty, seed)
        accuracy = float(np.mean(candidate.model.predict(held_out) == np.asarray(validation_labels)))
        log.info("penalty %g: %.1f%% right on validation", penalty, 100 * accuracy)
        if accuracy > best_accuracy:
            best, best_accuracy = candidate, accuracy
    assert best is not None
    return best


def _fit_one(
    vectorizer: TfidfVectorizer, features: object, labels: Sequence[str], penalty: float, seed: int
) -> Classifier:
    threads = int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)
    epochs, tolerance = (EPOCHS, 1e-3) if len(set(labels)) < MANY_LABELS else (EPOCHS_MANY, None)
    model = SGDClassifier(
        loss="log_loss", alpha=penalty, max_iter=epochs, tol=tolerance, random_state=seed, n_jobs=threads
    )
    _fit_quietly(model, features, labels)
    return Classifier(vectorizer, model, model.classes_, penalty)


def _fit_quietly(model: SGDClassifier, features: object, labels: Sequence[str]) -> None:
    """Fit without a warning for each label that EPOCHS did not bring to its tolerance: that is a stopping rule."""
    import warnings

    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(features, np.asarray(labels))


@dataclass(frozen=True)
class FittedTfidf:
    """The classifier as an arm: slingshot.rivals.pipeline.Fitted."""

    classifier: Classifier
    training: dict[str, Any]

    @property
    def labels(self) -> list[str]:
        return [str(label) for label in self.classifier.labels]

    def answer(self, texts: Sequence[str]) -> Answered:
        return Answered(self.classifier.probabilities(texts), [0] * len(texts), [False] * len(texts))

    def save(self, folder: Path) -> None:
        write_object(folder / "classifier.skops", [self.classifier.vectorizer, self.classifier.model])


def fit_rival(job: FitJob) -> FittedTfidf:
    """Fit on train with the penalty that validation prefers.

    Raises:
        StudyError: train holds one label only.
    """
    texts, labels = job.train.texts, job.train.labels
    with timed(job.seconds, "train"):
        classifier = fit(texts, labels, job.validation.texts, job.validation.labels, job.seed)
    return FittedTfidf(classifier, {"penalty": classifier.penalty})


def load_rival(folder: Path, device: str) -> FittedTfidf:
    """Read what FittedTfidf.save wrote; it runs on any device's host."""
    vectorizer, model = read_object(folder / "classifier.skops")
    return FittedTfidf(Classifier(vectorizer, model, model.classes_, float(model.alpha)), {})


def predictions(
    classifier: Classifier, ids: Sequence[str], texts: Sequence[str], labels: Sequence[str], candidates: int
) -> list[Prediction]:
    """A prediction per sample, with its `candidates` likeliest labels (at least one) and their log-probabilities."""
    fitted = FittedTfidf(classifier, {})
    return predictions_of(fitted.answer(texts), fitted.labels, ids, labels, candidates)
