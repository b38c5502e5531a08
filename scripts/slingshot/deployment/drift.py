"""How new texts differ from those that a study was made of: what a reader should know before trusting the answers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from slingshot.artifacts.layout import ResultFiles
from slingshot.artifacts.predictions import Prediction, read_predictions
from slingshot.artifacts.splits import read_samples
from slingshot.config.arms import Arm

MOST_TRAIN_TEXTS = 20_000  # nearest neighbours among more change little and take minutes

# A share of unknown words, or of answers without a code, this much above the study's own is a warning.
NOTABLE = 0.05


class Drift(BaseModel):
    """New texts beside the study's. Shares are from 0 to 1; `study` figures are of the test split, against train."""

    model_config = ConfigDict(extra="forbid")

    texts: int
    words_median: float
    study_words_median: float
    unknown_words: float = Field(description="share of the words that no train text has")
    study_unknown_words: float
    nearest_similarity_median: float = Field(description="TF-IDF cosine with the nearest train text")
    study_nearest_similarity_median: float
    without_code: float = Field(description="share of texts from whose answer no code was read")
    study_without_code: float


def measure_drift(texts: Sequence[str], predictions: Sequence[Prediction], results: ResultFiles, arm: Arm) -> Drift:
    """Compare new texts and their answers with the study's test split, each against the train split."""
    train = _texts(results.data.train)[:MOST_TRAIN_TEXTS]
    test = _texts(results.data.test)
    known = {word for text in train for word in _words(text)}
    own = read_predictions(results.arm(arm.path).predictions)
    nearest, own_nearest = _nearest(train, [list(texts), test])
    return Drift(
        texts=len(texts),
        words_median=_median([len(_words(text)) for text in texts]),
        study_words_median=_median([len(_words(text)) for text in test]),
        unknown_words=_unknown(texts, known),
        study_unknown_words=_unknown(test, known),
        nearest_similarity_median=nearest,
        study_nearest_similarity_median=own_nearest,
        without_code=_share([prediction.code is None for prediction in predictions]),
        study_without_code=_share([prediction.code is None for prediction in own]),
    )


def describe_drift(drift: Drift) -> list[str]:
    """The figures in words, a warning where the new texts are notably further away than the study's own."""
    lines = [
        f"words per text: {drift.words_median:.0f} in the median (the study's test split: "
        f"{drift.study_words_median:.0f}); unknown to train: {drift.unknown_words:.1%} "
        f"({drift.study_unknown_words:.1%}); nearest train text: {drift.nearest_similarity_median:.2f} similar "
        f"({drift.study_nearest_similarity_median:.2f}); "
        f"no code in what was written freely: {drift.without_code:.1%} "
        f"({drift.study_without_code:.1%})"
    ]
    if drift.unknown_words > drift.study_unknown_words + NOTABLE:
        lines.append("warning: these texts use words that the study's texts do not: its scores may not hold for them")
    if drift.without_code > drift.study_without_code + NOTABLE:
        lines.append("warning: more answers than in the study hold no code: look at some of them")
    return lines


def _texts(path: Path) -> list[str]:
    return [sample["text"] for sample in read_samples(path, ("text",))]


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def _unknown(texts: Sequence[str], known: set[str]) -> float:
    words = [word for text in texts for word in _words(text)]
    return _share([word not in known for word in words])


def _share(flags: Sequence[bool]) -> float:
    return float(np.mean(flags)) if len(flags) else 0.0


def _median(values: Sequence[float]) -> float:
    return float(np.median(values)) if len(values) else 0.0


def _nearest(train: Sequence[str], groups: Sequence[Sequence[str]]) -> list[float]:
    """The median, per group of texts, of the cosine similarity with the nearest train text by TF-IDF over words."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(sublinear_tf=True, token_pattern=r"\w+")
    rows = vectorizer.fit_transform(train)
    found = []
    for texts in groups:
        others = vectorizer.transform(texts)
        best: list[float] = []
        for start in range(0, len(texts), 256):
            best += (others[start : start + 256] @ rows.T).max(axis=1).toarray().ravel().tolist()
        found.append(_median(best))
    return found
