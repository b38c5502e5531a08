"""What the report says of rivals: selective coding, the best arms by label frequency, ceilings, beaten arms."""

from __future__ import annotations

import pytest

from slingshot.analysis.families import competes, describe_treatment
from slingshot.analysis.groups import independent
from slingshot.analysis.rivalry import selective_of
from slingshot.artifacts.comparison import Comparison
from slingshot.config.arms import Arm
from slingshot.config.reporting import Statistics
from slingshot.report import dag
from slingshot.report.figures.overview import beaten_by_tfidf, size_against_score
from slingshot.report.figures.selective import selective_coding
from slingshot.report.page import make_page, render
from slingshot.report.results import Results, read_results
from tests import results_tree
from tests.results_tree import CONTENDERS


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> results_tree.Tree:
    built = results_tree.build(tmp_path_factory.mktemp("study") / "results", samples=80)
    results_tree.finish(built, CONTENDERS)
    return built


@pytest.fixture(scope="module")
def results(tree: results_tree.Tree) -> Results:
    return read_results(tree.folder)


def with_selective(comparison: Comparison, tree: results_tree.Tree) -> Comparison:
    class Answered:
        def __init__(self, path: str) -> None:
            self.path, self.predictions, self.validation = path, tree.predictions[path], tree.predictions[path]

    groups = independent(len(tree.samples))
    found = selective_of([Answered(one.path) for one in CONTENDERS[2:]], Statistics(selective_precision=0.6), groups)
    return comparison.model_copy(update={"selective": found})


def test_the_page_shows_selective_coding_and_the_best_arms_by_frequency(tree, results):
    shown = Results(**{**vars(results), "comparison": with_selective(results.comparison, tree)})
    page = make_page(shown)
    assert page.figures["selective_coding"].table.rows[0][0] == "slm/llama3b"
    html = render(shown, tree.spec, page, dag.graph_of_arms(tree.spec.arms))
    assert "Coded without a human" in html and "reached 60.0% precision on validation" in html
    assert results.comparison.by_frequency
    assert "Not significantly worse" in html


def test_without_validation_there_is_no_selective_coding(results):
    assert results.comparison.selective == []
    assert selective_coding(results.comparison, {}) is None


def test_an_arm_that_tfidf_beats_says_so_in_the_picture(results):
    compared = results.comparison.comparisons
    pairs = [pair for pair in compared if pair.second == "baseline/tfidf" and pair.answer == "free"]
    lost = pairs[0].model_copy(
        update={
            "significant": True,
            "difference": pairs[0].difference.model_copy(update={"value": -0.2, "low": -0.3, "high": -0.1}),
        }
    )
    comparison = results.comparison.model_copy(update={"comparisons": [lost]})
    assert beaten_by_tfidf(comparison) == {lost.first}
    texts = [label.text for label in size_against_score(comparison, "GPU").plot.layout.annotations]
    assert f"{lost.first} (TF-IDF is better)" in texts
    won = lost.model_copy(update={"difference": pairs[0].difference.model_copy(update={"value": 0.2})})
    assert beaten_by_tfidf(results.comparison.model_copy(update={"comparisons": [won]})) == set()


def test_a_human_coder_is_a_ceiling_and_never_recommended(results):
    human = Arm(kind="predictions", model="second", finetuned=False, human=True)
    assert not competes(human) and describe_treatment(human, 0) == "a human coder"
    assert competes(Arm(kind="predictions", model="vendor", finetuned=False))
    arms = [
        arm.model_copy(update={"human": True}) if arm.kind == "baseline" else arm for arm in results.comparison.arms
    ]
    comparison = results.comparison.model_copy(update={"arms": arms, "comparisons": []})
    texts = [label.text for label in size_against_score(comparison, "GPU").plot.layout.annotations]
    assert "baseline/tfidf (human agreement: the ceiling)" in texts
