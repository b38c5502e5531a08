"""The comparison where samples have several labels: its estimand, pairs, verdict, ensembles and designs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import f1_score

from slingshot.analysis import significance
from slingshot.analysis.designs import Scored, seeds_of
from slingshot.analysis.ensemble import ensemble
from slingshot.analysis.groups import Groups, independent
from slingshot.analysis.prompt_choice import choose_prompt
from slingshot.analysis.set_ensemble import set_ensemble
from slingshot.analysis.set_scores import indicators, micro_f1_difference, micro_f1_values
from slingshot.artifacts.comparison import Comparison, read_comparison
from slingshot.artifacts.layout import ResultFiles
from slingshot.artifacts.metrics import Score, read_metrics
from slingshot.artifacts.predictions import Candidate, Prediction, read_predictions, set_fields, write_predictions
from slingshot.config.arms import Arm
from slingshot.config.reporting import Statistics
from slingshot.config.specs import ChoosePromptSpec
from slingshot.config.study import parse_study
from slingshot.core.errors import StudyError
from slingshot.core.files import read_json
from tests import results_tree
from tests.unit.analysis.test_set_scores import drawn


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tree = results_tree.build(tmp_path_factory.mktemp("results"), samples=150, several=True)
    results_tree.finish(tree)
    return tree.folder


@pytest.fixture(scope="module")
def comparison(results: Path) -> Comparison:
    return read_comparison(results / "comparison.json")


def test_an_arm_has_the_scores_of_its_sets(results: Path, comparison: Comparison) -> None:
    path = "slm/qwen3b"
    answers = read_predictions(results / path / "predictions.jsonl")
    names = sorted({label for each in answers for label in [*(each.labels or []), *(each.codes or [])]})
    true, predicted = (
        indicators(sets, names).toarray()
        for sets in ([each.labels or [] for each in answers], [each.codes or [] for each in answers])
    )
    arm = next(arm for arm in comparison.arms if arm.arm == path)
    assert arm.score == arm.scores["micro_f1"]
    assert arm.score.value == pytest.approx(f1_score(true, predicted, average="micro"), abs=1e-12)
    assert arm.scores["exact_match"].value == pytest.approx((true == predicted).all(axis=1).mean(), abs=0.05)
    assert arm.scores["parsable"].value < 1
    assert arm.scores["exact_match"].value <= arm.scores["micro_f1"].value < arm.scores["chapter_micro_f1"].value
    metrics = read_metrics(results / path / "metrics.json")
    assert metrics.f1 == arm.score.value and metrics.ranked is None
    assert {"precision_at_5", "recall_at_15", "mean_average_precision"} <= arm.scores.keys()


def test_pairs_and_verdict_are_of_micro_f1(comparison: Comparison) -> None:
    arms = {arm.arm: arm for arm in comparison.arms}
    assert (comparison.estimand, comparison.measure, comparison.several) == ("micro_f1", "micro F1", True)
    for pair in comparison.comparisons:
        gap = arms[pair.first].score.value - arms[pair.second].score.value
        assert pair.difference.value == pytest.approx(gap, abs=1e-9)
        assert pair.significant == (
            pair.adjusted_p <= 0.05 and not pair.simultaneous.low <= 0 <= pair.simultaneous.high
        )
        assert {"macro_f1", "exact_match", "hierarchical_f1"} <= pair.levels.keys()
    assert "its micro F1 is" in comparison.verdict.sentence
    assert any("What is compared is micro F1" in fact for fact in comparison.verdict.facts)
    assert comparison.selective == [] and comparison.by_frequency == []


def test_a_comparison_of_single_labels_says_nothing_of_sets(tmp_path: Path) -> None:
    tree = results_tree.build(tmp_path, samples=40)
    results_tree.finish(tree)
    for path in (tmp_path / "comparison.json", tmp_path / "slm/qwen3b/metrics.json"):
        text = path.read_text()
        assert "estimand" not in text and '"sets"' not in text


def test_parts_of_micro_f1_average_to_it_and_vary_as_it_does() -> None:
    truths, answers, _, _ = drawn(1, n=200)
    values = micro_f1_values(truths, answers)
    names = sorted({label for each in [*truths, *answers] for label in each})
    table = [indicators(each, names).toarray() for each in (truths, answers)]
    assert values.mean() == pytest.approx(f1_score(*table, average="micro"), abs=1e-12)
    random, again = np.random.default_rng(1), []
    for _ in range(300):
        chosen = random.integers(200, size=200)
        again.append(f1_score(table[0][chosen], table[1][chosen], average="micro"))
    assert values.std() / np.sqrt(200) == pytest.approx(np.std(again), rel=0.15)
    assert micro_f1_values([[], []], [[], None]).tolist() == [0.0, 0.0]


def test_groups_make_the_difference_less_sure() -> None:
    truths, answers, _, _ = drawn(2, n=120)
    other = [each[:1] for each in answers]
    together = Groups(np.repeat(np.arange(30), 4), 30)
    alike = [truths[4 * (number // 4)] for number in range(120)], [answers[4 * (number // 4)] for number in range(120)]
    less = [other[4 * (number // 4)] for number in range(120)]
    apart = micro_f1_difference(*alike, less, independent(120), 0.95)
    grouped = micro_f1_difference(*alike, less, together, 0.95)
    assert grouped.value == apart.value and grouped.design_effect == pytest.approx(4, abs=0.3)
    assert grouped.high - grouped.low > 1.7 * (apart.high - apart.low)


def test_of_many_samples_the_signs_need_not_be_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    totals = np.random.default_rng(4).normal(0.05, 1, size=1200)
    computed = significance.sign_flip_p(totals)
    monkeypatch.setattr(significance, "FLIPPED", 2000)
    assert computed == pytest.approx(significance.sign_flip_p(totals), abs=0.01)


def voter(sample: str, labels: list[str], **shares: float) -> Prediction:
    candidates = [Candidate(code=code, log_probability=float(np.log(share))) for code, share in shares.items()]
    return Prediction(
        sample_id=sample, raw="", **set_fields(labels, []), candidates=candidates, prompt_tokens=0, new_tokens=0
    )


def test_two_arms_vote_on_each_label() -> None:
    small = [voter(str(n), ["A", "B"], A=0.9, B=0.4, C=0.45) for n in range(10)]
    large = [voter(str(n), ["A", "B"], A=0.3, B=0.8, C=0.2) for n in range(10)]
    found = set_ensemble("s", "l", small, large, small, large, 0.95)
    assert found.accuracy.value == 1.0  # pooled: A 0.6, B 0.6, C 0.33
    assert found.weights == "validation" and 0 < found.finetuned_weight < 1
    assert found.gain_over_finetuned.value == pytest.approx(1 - 0.8)  # alone: at best A, B and C
    equal = set_ensemble("s", "l", small, large, None, None, 0.95)
    assert equal.finetuned_weight == 0.5 and equal.best_member is None
    assert (equal.both_right, equal.only_finetuned_right, equal.only_zero_shot_right) == (0.0, 0.5, 0.5)
    with pytest.raises(StudyError, match="answered different samples"):
        set_ensemble("s", "l", small, large[::-1], None, None, 0.95)
    assert ensemble is not set_ensemble


def test_seeds_of_sets_count_samples_by_their_parts() -> None:
    truths, answers, _, _ = drawn(3, n=150)
    runs = [micro_f1_values(truths, each) for each in (answers, [each[:2] for each in answers])]
    scored = [
        Scored(
            arm=Arm(kind="slm", model="s", variant=f"seed{n}" if n else None, finetuned=True, seed=n or None,
                    design="seeds" if n else None),
            values=values,
            exact_match=Score(value=values.mean(), low=0, high=1, n=150, method="jackknife"),
            shots=0, train_samples=100, hold_steps=False, seed=n, training={},
        )
        for n, values in enumerate(runs)
    ]  # fmt: skip
    found = seeds_of("s", scored, Statistics(), independent(150))
    assert found is not None
    assert found.mean.value == pytest.approx(np.mean([each.mean() for each in runs]))
    assert found.between_samples == pytest.approx(np.sqrt(np.mean([each.var() for each in runs]) / 150))


def test_a_prompt_is_chosen_by_micro_f1(tmp_path: Path) -> None:
    files = ResultFiles(tmp_path)
    answers = {"llm/a/one": [["A"], ["B"]], "llm/a/two": [["A", "B"], ["A", "B"]]}
    for path, codes in answers.items():
        write_predictions(
            files.arm(path).validation.predictions,
            [
                Prediction(sample_id=str(n), raw="", **set_fields(["B", "A"], each), prompt_tokens=0, new_tokens=0)
                for n, each in enumerate(codes)
            ],
        )
    choose_prompt(ChoosePromptSpec(candidates=list(answers)), files, "llm/a/best_prompt")
    choice = read_json(files.arm("llm/a/best_prompt").choice)
    assert choice["chosen"] == "llm/a/two"
    assert choice["candidates"]["llm/a/one"]["validation_micro_f1"] == pytest.approx(2 / 3)


@pytest.mark.parametrize(("several", "fault"), [(None, "micro_f1 needs data.several"), ({}, None)])
def test_micro_f1_is_compared_where_samples_have_sets(several: Any, fault: str | None) -> None:
    raw = {
        "data": {"source": {"path": "a.csv"}, **({"several": several} if several is not None else {})},
        "statistics": {"estimand": "micro_f1"},
        "llm": {"a": {"source": {"folder": "a"}, "size": "1B"}},
    }
    if fault is None:
        assert parse_study(raw).statistics.estimand_of(True) == "micro_f1"
        return
    with pytest.raises(StudyError, match=fault):
        parse_study(raw)
