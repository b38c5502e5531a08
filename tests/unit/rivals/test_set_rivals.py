"""Rivals of samples with several labels: one-against-rest models, sets chosen on validation, files that answer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.multiclass import OneVsRestClassifier

from slingshot.artifacts.predictions import read_predictions
from slingshot.config.specs import ImportPredictionsSpec, PredictFittedSpec
from slingshot.core.errors import StudyError
from slingshot.core.files import read_json
from slingshot.rivals import tfidf
from slingshot.rivals.fitting import predict
from slingshot.rivals.imported import import_predictions
from slingshot.rivals.pipeline import Texts, load_fitted, read_pipeline
from slingshot.rivals.set_answers import answered_sets, best_threshold, choose_rule, indicators_of
from slingshot.rivals.set_models import fit_logistic, fit_sigmoid
from tests.rival_steps import fit_and_answer, write_rival_study

LABELS = ["L0", "L1", "L2", "L3"]
WORDS = [f"own{label}x{number}" for label in range(4) for number in range(6)] + [f"any{n}" for n in range(60)]


def documents(count: int, seed: int) -> pd.DataFrame:
    """Texts of 1 to 3 labels, each label with 3 words of its own, and 6 words of none."""
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        labels = rng.choice(4, size=rng.integers(1, 4), replace=False)
        words = [f"own{label}x{rng.integers(6)}" for label in labels for _ in range(3)]
        words += [f"any{rng.integers(60)}" for _ in range(6)]
        names = [f"L{label}" for label in labels]
        rows.append((f"{seed:02x}{number:014x}", " ".join(words), ";".join(names), names))
    return pd.DataFrame(rows, columns=["sample_id", "text", "label", "labels"])


def texts(count: int, seed: int) -> Texts:
    split = documents(count, seed)
    return Texts(split["text"].tolist(), split["label"].tolist(), split["labels"].tolist())


RECIPES = {
    "tfidf": {"rival": "tfidf"},
    "embedding": {"rival": "embedding", "classifier": {"regularization": [0.01, 0.1]}},
    "encoder": {
        "rival": "encoder", "epochs": 8, "learning_rate": 0.01, "batch_size": 8, "patience": None,
        "class_weights": "root",
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rival_study(tmp_path_factory.mktemp("study"), WORDS, documents, 50, list(LABELS))


@pytest.fixture(scope="module", params=list(RECIPES))
def arm(request: pytest.FixtureRequest, study: Path) -> Path:
    """The folder of a finished arm."""
    out = study / f"results/{request.param}/tiny"
    out.mkdir(parents=True)
    card = None if request.param == "tfidf" else study / "results/models/tiny.json"
    fit_and_answer(study / "results/data", out, RECIPES[request.param], card, candidates=100, several=True)
    return out


def test_sets_are_learned_and_ranked(arm: Path) -> None:
    answers, split = read_predictions(arm / "predictions.jsonl"), documents(50, 2)
    assert [each.labels for each in answers] == split["labels"].tolist()
    assert {len(each.candidates) for each in answers} == {4}
    predicted = indicators_of([each.codes or [] for each in answers], LABELS)
    true = indicators_of(split["labels"].tolist(), LABELS)
    assert f1_score(true, predicted, average="micro") > 0.75  # every label at every text: 0.67
    for each in answers:
        ranking = [candidate.code for candidate in each.candidates]
        assert each.codes == ranking[: len(each.codes or [])]  # the likeliest, in their order
        assert each.code == each.raw == "; ".join(each.codes or [])


def test_the_files_answer_new_texts_alike(arm: Path) -> None:
    split, rule = documents(50, 2), read_pipeline(arm / "fitted").sets
    fitted = load_fitted(arm / "fitted")
    assert rule is not None
    assert read_json(arm / "training.json")["sets"] == rule.model_dump(mode="json")
    answers = read_predictions(arm / "predictions.jsonl")
    sets = answered_sets(fitted.answer(split["text"].tolist()).probabilities, fitted.labels, rule)
    assert sets == [each.codes for each in answers]
    spec = PredictFittedSpec(rival="any", candidates=2, several=True)
    [new], _ = predict(spec, "an arm", arm / "fitted", [split[["sample_id", "text", "label"]]], "cpu")
    assert [each.codes for each in new] == sets
    assert {tuple(each.labels or []) for each in new} == {()}


def test_a_pipeline_of_sets_answers_no_study_of_single_labels(arm: Path) -> None:
    with pytest.raises(StudyError, match=r"was fitted with data\.several set: fit it again"):
        predict(PredictFittedSpec(rival="any", candidates=2), "an arm", arm / "fitted", [documents(5, 2)], "cpu")


def test_the_threshold_is_the_best_of_all() -> None:
    rng = np.random.default_rng(1)
    true = (rng.random((60, 5)) < 0.3).astype(float)
    scores = np.round(true * rng.random((60, 5)) + 0.6 * rng.random((60, 5)), 2)  # with equals
    threshold, f1 = best_threshold(scores, true, int(true.sum()))
    assert f1 == pytest.approx(f1_score(true, scores >= threshold, average="micro"))
    for other in np.unique(scores):
        assert f1_score(true, scores >= other, average="micro") <= f1 + 1e-12


def test_the_better_way_is_taken_and_labels_that_train_lacks_are_missed() -> None:
    probabilities = np.array([[0.9, 0.8, 0.1], [0.3, 0.2, 0.1]])  # the second text is unsure of all
    rule = choose_rule(probabilities, [["A", "B"], ["A", "B"]], ["A", "B", "C"])
    assert (rule.way, rule.k) == ("threshold", 2)  # a threshold of 0.15 does it, too, and equals are its
    by_size = choose_rule(np.array([[0.5, 0.4, 0.1], [0.3, 0.2, 0.15]]), [["A"], ["A"]], ["A", "B", "C"])
    assert (by_size.way, by_size.k) == ("top_k", 1)
    assert answered_sets(np.array([[0.1, 0.3, 0.2]]), ["A", "B", "C"], by_size) == [["B"]]
    unseen = choose_rule(np.array([[0.9]]), [["A", "X"]], ["A"])
    assert unseen.validation_micro_f1["threshold"] == pytest.approx(2 / 3)


def test_without_validation_a_label_is_answered_where_it_is_likelier_than_not() -> None:
    rule = choose_rule(np.zeros((0, 1)), [], ["A"])
    assert answered_sets(np.array([[0.6, 0.4]]), ["A", "B"], rule) == [["A"]]
    classifier = tfidf.fit_texts(texts(80, 1), Texts([], [], []), 1)
    assert classifier.setting == tfidf.Setting(tfidf.PENALTY_UNCHOSEN, characters=True)


@pytest.mark.parametrize("balanced", [False, True])
def test_logistic_regressions_at_once_are_those_of_scikit_learn(balanced: bool) -> None:
    rng = np.random.default_rng(2)
    vectors = rng.normal(size=(80, 6))
    true = (vectors @ rng.normal(size=(6, 3)) + rng.normal(size=(80, 3)) > 1).astype(float)
    ours = fit_logistic(vectors, true, 0.5, balanced)
    theirs = OneVsRestClassifier(
        LogisticRegression(C=0.5, class_weight="balanced" if balanced else None, tol=1e-8, max_iter=1000)
    ).fit(vectors, true.astype(int))
    np.testing.assert_allclose(ours.probabilities(vectors), theirs.predict_proba(vectors), atol=2e-4)


def test_the_curve_from_scores_to_probabilities_is_found() -> None:
    rng = np.random.default_rng(3)
    scores = rng.random((400, 30))
    true = (rng.random((400, 30)) < 1 / (1 + np.exp(-(6 * scores - 4)))).astype(float)
    found = fit_sigmoid(scores, true)
    assert (found.slope, found.intercept) == (pytest.approx(6, abs=0.4), pytest.approx(-4, abs=0.3))


def test_more_samples_than_a_kernel_holds_are_learned_by_descent(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tfidf, "MOST_DUAL_SAMPLES", 50)
    classifier = tfidf.fit_texts(texts(120, 1), texts(40, 2), 1)
    assert isinstance(classifier.scorer, tfidf.Descent)
    tfidf.FittedTfidf(classifier).save(tmp_path)
    test = texts(50, 3)
    probabilities = tfidf.load_rival(tmp_path, "cpu").answer(test.texts).probabilities
    np.testing.assert_array_equal(probabilities, classifier.probabilities(test.texts))
    _, f1 = best_threshold(probabilities, test.indicators(LABELS), sum(map(len, test.sets or [])))
    assert f1 > 0.85


def test_imported_answers_are_lists_or_parted_by_a_sign(tmp_path: Path) -> None:
    split = pd.DataFrame(
        {
            "sample_id": list("abcdef"),
            "text": list("abcdef"),
            "label": "",
            "labels": [["J069", "I10"], ["I10"], ["I10"], [], ["J069"], ["I10"]],
        }
    )
    (tmp_path / "coder.jsonl").write_text(
        '{"id": "a", "answer": ["I10", "J06.9", "i10"]}\n{"id": "b", "answer": "J06.9; I10"}\n'
        '{"id": "c", "answer": "none of them"}\n{"id": "d", "answer": ""}\n{"id": "e", "answer": "[\\"I10\\"]"}\n'
    )
    spec = ImportPredictionsSpec.model_validate(
        {"file": "coder.jsonl", "file_digest": "", "allow_missing": True, "labels": "icd10cm", "level": "code"}
        | {"several": True, "columns": {"sample_id": "id"}}
    )
    found = import_predictions(spec, tmp_path, split, ["J069", "I10"])
    assert [each.codes for each in found] == [["I10", "J069"], ["J069", "I10"], None, [], ["I10"], None]
    assert [each.labels for each in found] == split["labels"].tolist()
