import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix

from slingshot.core.errors import StudyError
from slingshot.rivals import tfidf
from slingshot.rivals.kept_objects import keep_vectorizer, read_object, restore_vectorizer, write_object


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
    assert classifier.setting.penalty in tfidf.PENALTIES
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
    assert classifier.setting == tfidf.Setting(tfidf.PENALTY_UNCHOSEN, characters=True)
    assert classifier.probabilities(["own0x1 own0x2"]).shape == (1, 2)


def test_one_label_is_refused() -> None:
    with pytest.raises(StudyError, match=r"train holds 1 label; .*baseline\.tfidf: false"):
        fitted(samples(40, 1, labels=1), samples(0, 2))


def test_probabilities_are_calibrated_where_labels_are_many() -> None:
    """60 labels that share most of their words: the mean confidence is near the share of hits."""
    rng = np.random.default_rng(3)

    def drawn(count: int) -> tuple[list[str], list[str]]:
        labels = rng.integers(60, size=count)
        own = [[f"own{label}x{rng.integers(4)}" for _ in range(rng.integers(3))] for label in labels]
        return [" ".join([*words, *(f"any{rng.integers(300)}" for _ in range(10))]) for words in own], [
            f"L{label}" for label in labels
        ]

    (train, labels), (validation, held_out), (test, truth) = drawn(900), drawn(400), drawn(600)
    classifier = tfidf.fit(train, labels, validation, held_out, 1)
    probability = classifier.probabilities(test)
    right = classifier.labels[probability.argmax(axis=1)] == np.array(truth)
    assert probability.sum(axis=1) == pytest.approx(1)
    assert 0.4 < right.mean() < 0.9
    assert abs(probability.max(axis=1).mean() - right.mean()) < 0.15
    scores = classifier.scorer.score(test)
    softmax = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    columns = np.searchsorted(classifier.labels, truth)
    rows = np.arange(len(truth))
    assert np.log(probability[rows, columns]).mean() > np.log(softmax[rows, columns]).mean() + 1


def test_of_settings_with_like_hits_the_likelier_is_chosen() -> None:
    truth = np.arange(100) % 4
    sure, unsure = np.full((100, 4), 0.1), np.full((100, 4), 0.1)
    sure[np.arange(100), truth] = 0.9
    sure[:10] = np.roll(sure[:10], 1, axis=1)
    unsure[np.arange(100), truth] = 0.12
    unsure[:8] = np.roll(np.where(np.arange(4) == truth[:8, None], 5.0, 0.0), 1, axis=1)
    trials = [
        tfidf._Trial(tfidf.Setting(1.0, True), unsure, truth),
        tfidf._Trial(tfidf.Setting(3.0, True), sure, truth),
    ]
    assert trials[0].hits > trials[1].hits
    assert tfidf._choose(iter(trials))[0].penalty == 3.0


def test_what_a_single_word_hides_its_characters_tell() -> None:
    """Each text has another inflection of its label's stem: no word of test stands in train."""
    endings = [a + b for a in "abcdefghij" for b in "klmnop"]
    stems = ["cardio", "nephro", "hepato", "dermat"]

    def texts(some: list[str]) -> tuple[list[str], list[str]]:
        return [f"{stem}{end}" for end in some for stem in stems], [stem for _ in some for stem in stems]

    (train, labels), (validation, held_out), (test, truth) = (
        texts(endings[:20]),
        texts(endings[20:40]),
        texts(endings[40:]),
    )
    classifier = tfidf.fit(train, labels, validation, held_out, 1)
    assert classifier.setting.characters
    assert (classifier.labels[classifier.probabilities(test).argmax(axis=1)] == np.array(truth)).mean() > 0.95


def test_more_samples_than_a_kernel_holds_are_learned_by_descent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tfidf, "MOST_DUAL_SAMPLES", 50)
    classifier = fitted(samples(80, 1), samples(40, 2))
    assert isinstance(classifier.scorer, tfidf.Descent)
    test = samples(60, 3)
    best = classifier.labels[classifier.probabilities(test["text"].tolist()).argmax(axis=1)]
    assert (best == test["label"].to_numpy()).mean() > 0.9


def test_a_kernel_in_blocks_is_the_product_of_the_matrices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tfidf, "ROWS", 3)
    left, right = csr_matrix(np.arange(28.0).reshape(7, 4)), csr_matrix(np.eye(5, 4))
    assert tfidf.kernel(left, right) == pytest.approx(left.toarray() @ right.toarray().T)


@pytest.mark.parametrize("characters", [False, True])
def test_a_kept_vectorizer_counts_alike(characters: bool, tmp_path: Path) -> None:
    """Terms of odd letters and line ends included; the file is small and quickly read."""
    train = ["Fiebre alta\nde 39 °C,\u2028dolor.", "Naïve ﬁbrosis — a\tb c\r\nd", "fiebre dolor dolor b c"]
    vectorizer = tfidf._vectorizer(3, characters=characters).fit(train)
    write_object(tmp_path / "kept.skops", [keep_vectorizer(vectorizer)])
    again = restore_vectorizer(read_object(tmp_path / "kept.skops")[0])
    texts = [*train, "DOLOR de fiébre"]
    assert (again.transform(texts) != vectorizer.transform(texts)).nnz == 0
    assert again.get_feature_names_out().tolist() == vectorizer.get_feature_names_out().tolist()
