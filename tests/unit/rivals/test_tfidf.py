import math

import numpy as np
import pandas as pd
import pytest

from slingshot.core.errors import StudyError
from slingshot.rivals import tfidf


def samples(count: int, seed: int, labels: int = 4) -> pd.DataFrame:
    """Texts of 12 words, of which 4 belong to the label."""
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        label = number % labels
        words = [f"own{label}x{rng.integers(6)}" for _ in range(4)] + [f"any{rng.integers(200)}" for _ in range(8)]
        rows.append((f"{seed:02x}{number:014x}", " ".join(words), f"L{label}"))
    return pd.DataFrame(rows, columns=["sample_id", "text", "label"])


def fitted(train: pd.DataFrame, validation: pd.DataFrame) -> tfidf.Classifier:
    return tfidf.fit(
        train["text"].tolist(),
        train["label"].tolist(),
        validation["text"].tolist(),
        validation["label"].tolist(),
        42,
    )


def test_what_the_words_say_is_learned() -> None:
    classifier = fitted(samples(80, 1), samples(40, 2))
    test = samples(60, 3)
    answers = tfidf.predictions(
        classifier, test["sample_id"].tolist(), test["text"].tolist(), test["label"].tolist(), 3
    )
    assert sum(answer.code == answer.label for answer in answers) >= 55
    assert classifier.penalty in tfidf.PENALTIES
    for answer in answers:
        logs = [candidate.log_probability for candidate in answer.candidates]
        assert len(logs) == 3
        assert logs == sorted(logs, reverse=True)
        assert sum(map(math.exp, logs)) <= 1 + 1e-9
        assert answer.candidates[0].code == answer.code == answer.raw


def test_shuffled_labels_teach_nothing() -> None:
    train = samples(200, 1)
    train["label"] = np.random.default_rng(0).permutation(train["label"])
    test = samples(100, 3)
    classifier = fitted(train, samples(40, 2))
    answers = tfidf.predictions(
        classifier, test["sample_id"].tolist(), test["text"].tolist(), test["label"].tolist(), 1
    )
    assert sum(answer.code == answer.label for answer in answers) < 60


def test_two_labels_and_no_validation() -> None:
    classifier = fitted(samples(40, 1, labels=2), samples(0, 2))
    assert classifier.penalty == tfidf.PENALTY_UNCHOSEN
    assert classifier.probabilities(["own0x1 own0x2"]).shape == (1, 2)


def test_one_label_is_refused() -> None:
    with pytest.raises(StudyError, match=r"train holds 1 label; .*baseline\.tfidf: false"):
        fitted(samples(40, 1, labels=1), samples(0, 2))
