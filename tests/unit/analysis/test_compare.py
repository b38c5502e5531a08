"""score and compare as programs: from what the arms left behind to metrics.json, comparison.json and results.json."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest

from slingshot.artifacts.comparison import Comparison, read_comparison
from slingshot.artifacts.metrics import ScoredLevel, read_metrics
from slingshot.config.arms import ORIGINS
from slingshot.config.reporting import Cost, Statistics
from slingshot.config.specs import CompareSpec, ScoreSpec
from slingshot.core.files import read_json
from tests import results_tree

SCRIPTS = Path(__file__).parents[3] / "scripts"
SAMPLES = 150
KEYS = {
    "llm/llama8b": "LLM_Meta-Llama-3_1-8B-Instruct_untrained",
    "llm/mistral7b": "LLM_Mistral-7B-Instruct-v0_3_untrained",
    "slm/llama3b": "SLM_Llama-3_2-3B-Instruct_finetuned",
    "slm/qwen3b": "SLM_Qwen2_5-3B-Instruct_finetuned",
    "baseline/tfidf": "BASELINE_tfidf_finetuned",
}
STATISTICS = Statistics(resamples=200)


def program(name: str, *arguments: object) -> str | None:
    """Run a program in this process, where the code tree is loaded but once; its error message, if it ended in one."""
    command = [f"{name}.py", *map(str, arguments)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", command)
        try:
            runpy.run_path(str(SCRIPTS / f"{name}.py"), run_name="__main__")
        except SystemExit as end:
            return str(end.code)
    return None


def score(results: Path, contender: results_tree.Contender) -> None:
    kind = contender.arm.kind
    spec = ScoreSpec(
        arm=contender.path,
        model_type=ORIGINS[kind].model_type,
        model_name=contender.name,
        model_size=contender.size,
        training_status="finetuned" if contender.arm.finetuned else "untrained",
        labels="icd10cm",
        level="code",
        statistics=STATISTICS,
    )
    folder = results / contender.path
    ran = program(
        "score",
        *("--spec", spec.model_dump_json(), "--predictions", folder / "predictions.jsonl"),
        *("--test", results / "data/test.parquet", "--labels", results / "data/labels.json"),
        *(["--training", folder / "training.json"] if kind == "slm" else []),
        *("--metrics", folder / "metrics.json"),
    )
    assert ran is None


def compare(results: Path, *options: str) -> str | None:
    arms = [contender.arm for contender in results_tree.CONTENDERS]
    spec = CompareSpec(
        arms=arms, result_keys=KEYS, ensemble_weights="equal", statistics=STATISTICS, cost=Cost(gpu_hour_price=2.5)
    )
    outputs = ("--comparison", results / "comparison.json", "--results-json", results / "results.json")
    return program("compare", "--spec", spec.model_dump_json(), "--results", results, *outputs, *options)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study") / "results"
    results_tree.build(folder, samples=SAMPLES)
    for contender in results_tree.CONTENDERS:
        score(folder, contender)
    ran = compare(folder)
    assert ran is None
    return folder


@pytest.fixture(scope="module")
def comparison(results: Path) -> Comparison:
    return read_comparison(results / "comparison.json")


def test_results_json_has_the_originals_keys(results: Path) -> None:
    original = read_json(results / "results.json")
    assert set(original) == set(KEYS.values())
    entry = original["SLM_Qwen2_5-3B-Instruct_finetuned"]
    assert (entry["model_type"], entry["model_size"], entry["training_status"]) == ("SLM", "3B", "finetuned")
    assert entry["n_samples"] == SAMPLES
    assert {"exact_match_accuracy", "f1", "precision", "recall", "training_metrics"} <= set(entry)
    assert entry["training_metrics"]
    assert "training_metrics" not in original["LLM_Mistral-7B-Instruct-v0_3_untrained"]


def test_every_score_lies_in_its_interval(results: Path) -> None:
    metrics = read_metrics(results / "slm/qwen3b/metrics.json")
    free = metrics.answers["free"]
    levels: list[ScoredLevel] = ["code", "category", "block", "chapter"]
    assert set(free.levels) == set(levels)
    accuracy = [free.levels[level].accuracy.value for level in levels]
    assert accuracy == sorted(accuracy)  # who has the code right has all above it right
    assert free.exact_match.value == accuracy[0] == metrics.exact_match_accuracy
    for level in free.levels.values():
        for each in (level.macro_f1, level.weighted_f1, level.weighted_recall):
            assert each.low <= each.value <= each.high
            assert each.n == SAMPLES
        assert level.weighted_recall.value == pytest.approx(level.accuracy.value)
    assert sum(group.accuracy.n for group in free.by_chapter) == SAMPLES
    assert free.confusion is not None
    assert sum(map(sum, free.confusion.counts)) == SAMPLES


def test_every_finetuned_arm_meets_every_untrained_one(comparison: Comparison) -> None:
    primary = {(pair.first, pair.second) for pair in comparison.comparisons if pair.family == "primary"}
    assert primary == {(small, large) for small in list(KEYS)[2:4] for large in list(KEYS)[:2]}
    against_baseline = {pair.first for pair in comparison.comparisons if pair.family == "baseline"}
    assert against_baseline == set(KEYS) - {"baseline/tfidf"}
    for pair in comparison.comparisons:
        assert pair.difference.value == pytest.approx((pair.only_first_right - pair.only_second_right) / SAMPLES)
        assert pair.adjusted_p >= pair.p
        assert set(pair.levels) == {"category_accuracy", "block_accuracy", "chapter_accuracy", "hierarchical_f1"}


def test_each_primary_pair_has_an_ensemble_and_break_even_volumes(comparison: Comparison) -> None:
    assert len(comparison.ensembles) == 4
    assert len(comparison.break_even) == 4 * 3
    for ensemble in comparison.ensembles:
        shares = (ensemble.both_right, ensemble.only_finetuned_right, ensemble.only_zero_shot_right)
        assert sum(shares) == pytest.approx(ensemble.oracle_accuracy)
        assert ensemble.oracle_accuracy + ensemble.both_wrong == pytest.approx(1)
        assert ensemble.accuracy.value <= ensemble.oracle_accuracy


def test_each_model_step_has_a_row_of_the_memory_ledger(comparison: Comparison) -> None:
    rows = [(row.arm, row.step) for row in comparison.memory_ledger]
    assert sorted(rows) == sorted([(arm, "predict") for arm in KEYS] + [(arm, "finetune") for arm in list(KEYS)[2:]])


def test_the_same_inputs_give_the_same_bytes(results: Path) -> None:
    before = (results / "comparison.json").read_bytes()
    assert compare(results) is None
    assert (results / "comparison.json").read_bytes() == before


def test_a_missing_arm_is_an_error_unless_it_may_be_missing(results: Path) -> None:
    metrics, away = results / "llm/mistral7b/metrics.json", results / "away.json"
    metrics.rename(away)
    try:
        refused = compare(results)
        assert refused is not None
        assert "metrics.json is missing" in refused
        assert compare(results, "--allow-missing") is None
        comparison = read_comparison(results / "comparison.json")
        assert comparison.missing == ["llm/mistral7b"]
        assert "llm/mistral7b" not in {arm.arm for arm in comparison.arms}
    finally:
        away.rename(metrics)


def test_predictions_of_other_samples_are_refused(results: Path) -> None:
    predictions = results / "llm/llama8b/predictions.jsonl"
    lines = predictions.read_text(encoding="utf-8").splitlines(keepends=True)
    predictions.write_text("".join([lines[1], lines[0], *lines[2:]]), encoding="utf-8")
    try:
        refused = compare(results)
        assert refused is not None
        assert "computed from other answers" in refused
    finally:
        predictions.write_text("".join(lines), encoding="utf-8")
