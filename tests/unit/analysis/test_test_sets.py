"""From the study's own test split to another: the drop and its interval, the verdict's pairs there."""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from slingshot.analysis.scoring import proportion, score_arm
from slingshot.analysis.test_sets import compare_test_sets, drop_of
from slingshot.artifacts.labels import read_labels
from slingshot.artifacts.layout import ResultFiles
from slingshot.artifacts.metrics import read_metrics
from slingshot.artifacts.predictions import write_predictions
from slingshot.artifacts.splits import read_split
from slingshot.artifacts.test_sets import TestSets
from slingshot.config.arms import ORIGINS
from slingshot.config.reporting import Statistics
from slingshot.config.specs import CompareTestSetsSpec, ScoreSpec
from slingshot.core.errors import StudyError
from slingshot.report.dag import graph_of_arms
from slingshot.report.page import make_page, render
from slingshot.report.results import read_results
from tests import results_tree
from tests.unit.report.test_design_figures import QWEN, Designed

STATISTICS = Statistics(resamples=200)
HERE = 80  # of the 200 samples, the further test set has the first


def compared(
    folder: Path, only: tuple[str, ...] = (), contenders: Sequence[results_tree.Contender] = results_tree.CONTENDERS
) -> tuple[ResultFiles, TestSets, results_tree.Tree]:
    """A study whose further test set is the first samples of its own, with the same answers."""
    tree = results_tree.build(folder, samples=200, contenders=contenders)
    results_tree.finish(tree, contenders)
    files = ResultFiles(folder)
    split = read_split(files.data.test).iloc[:HERE]
    files.data.test_set("b").parent.mkdir()
    split.to_parquet(files.data.test_set("b"))
    labels = read_labels(files.data.labels)
    paths = [one.path for one in contenders if not only or one.path in only]
    for one in contenders:
        if one.path in paths:
            on_set = files.arm(one.path).test_set("b")
            predictions = tree.predictions[one.path][:HERE]
            on_set.folder.mkdir(parents=True)
            write_predictions(on_set.predictions, predictions)
            spec = ScoreSpec(
                arm=one.path, model_type=ORIGINS[one.arm.kind].model_type, model_name=one.name, model_size=one.size,
                training_status="finetuned", labels="icd10cm", level="code", statistics=STATISTICS,
            )  # fmt: skip
            score_arm(spec, predictions, split, labels, None, {}).write(on_set.metrics)
    spec = CompareTestSetsSpec(test_sets=["b"], arms={"b": paths}, statistics=STATISTICS)
    return files, compare_test_sets(spec, files), tree


def test_every_arm_is_scored_there_with_its_drop_and_the_verdicts_pairs(tmp_path: Path) -> None:
    files, found, tree = compared(tmp_path)
    [one] = found.test_sets
    assert (one.name, one.n_samples, one.main_n_samples, one.not_answered) == ("b", HERE, 200, [])
    assert [arm.arm for arm in one.arms] == [each.path for each in results_tree.CONTENDERS]
    for arm in one.arms:
        right = np.array([answer.code == answer.label for answer in tree.predictions[arm.arm]])
        assert arm.exact_match.value == pytest.approx(right[:HERE].mean())
        assert arm.main_exact_match == read_metrics(files.arm(arm.arm).metrics).answers["free"].exact_match
        assert arm.drop.value == pytest.approx(right.mean() - right[:HERE].mean())
        assert arm.drop.low < arm.drop.value < arm.drop.high
        assert {"macro_f1", "hierarchical_f1"} <= set(arm.scores)
    assert {(pair.first, pair.second) for pair in one.pairs} == {
        (small, large) for small in ("slm/llama3b", "slm/qwen3b") for large in ("llm/llama8b", "llm/mistral7b")
    }
    assert all(pair.difference.n == HERE for pair in one.pairs)


def test_a_pair_compares_the_means_of_seeds_there_as_on_the_studys_own_split(tmp_path: Path) -> None:
    seeds = [Designed(f"slm/qwen3b/seed{seed}", QWEN, "3B", 0.6, "seeds", {"seed": seed}) for seed in (1, 2)]
    _, found, tree = compared(tmp_path, contenders=[*results_tree.CONTENDERS, *seeds])
    right = {
        arm: np.mean([each.code == each.label for each in answers[:HERE]]) for arm, answers in tree.predictions.items()
    }
    mean = np.mean([right["slm/qwen3b"], right["slm/qwen3b/seed1"], right["slm/qwen3b/seed2"]])
    (pair,) = (pair for pair in found.test_sets[0].pairs if (pair.first, pair.second) == ("slm/qwen3b", "llm/llama8b"))
    assert mean != pytest.approx(right["slm/qwen3b"])
    assert pair.difference.value == pytest.approx(mean - right["llm/llama8b"])
    assert (pair.difference.method, pair.main_difference.method) == ("seeds", "seeds")


def test_the_report_shows_it_and_leaves_the_section_out_where_there_is_none(tmp_path: Path) -> None:
    files, found, tree = compared(tmp_path)

    def html() -> str:
        results = read_results(tmp_path)
        return render(results, tree.spec, make_page(results), graph_of_arms(tree.spec.arms))

    assert "Further test sets" not in html()
    found.write(files.test_sets)
    assert "<h3>b (80 samples)</h3>" in html()


def test_an_arm_without_answers_to_it_is_named(tmp_path: Path) -> None:
    _, found, _ = compared(tmp_path, only=("llm/llama8b", "slm/qwen3b"))
    assert found.test_sets[0].not_answered == ["llm/mistral7b", "slm/llama3b", "baseline/tfidf"]
    assert [(pair.first, pair.second) for pair in found.test_sets[0].pairs] == [("slm/qwen3b", "llm/llama8b")]


def test_answers_of_another_split_are_refused(tmp_path: Path) -> None:
    files, _, _ = compared(tmp_path)
    shutil.copy(files.arm("llm/llama8b").predictions, files.arm("llm/llama8b").test_set("b").predictions)
    spec = CompareTestSetsSpec(test_sets=["b"], arms={"b": ["llm/llama8b"]}, statistics=STATISTICS)
    with pytest.raises(StudyError, match="its predictions are not of this test split"):
        compare_test_sets(spec, files)


def test_newcombes_interval_is_that_of_his_paper() -> None:
    """Table II of Newcombe (1998), method 10: 56/70 against 48/80, 0.2000 (0.0524, 0.3339)."""
    first = proportion(np.arange(70) < 56, 0.95)
    second = proportion(np.arange(80) < 48, 0.95)
    drop = drop_of(first, second)
    assert (round(drop.value, 4), round(drop.low, 4), round(drop.high, 4)) == (0.2, 0.0524, 0.3339)


@pytest.mark.parametrize(("main", "here"), [(0.9, 0.6), (0.98, 0.98), (0.02, 0.0), (0.5, 0.5)])
def test_the_drops_interval_covers_as_it_says(main: float, here: float) -> None:
    """Simulation: n = 150 and 60; 95% nominal. The bound is four standard errors of 400 repeats below 0.93."""
    random = np.random.default_rng(7)
    covered = 0
    for _ in range(400):
        drop = drop_of(proportion(random.random(150) < main, 0.95), proportion(random.random(60) < here, 0.95))
        covered += drop.low <= main - here <= drop.high
    assert covered / 400 >= 0.93 - 4 * math.sqrt(0.93 * 0.07 / 400)
