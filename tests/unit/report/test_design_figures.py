"""A designed study's report: it shows every design, and a plain study's shows none of it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from slingshot.config.arms import Arm
from slingshot.core.files import read_json, write_json
from slingshot.report.figures.designs import front_of, total_seconds
from slingshot.report.figures.overview import LARGEST_MARKER, serving_seconds, size_against_score, unit_of
from slingshot.report.figures.style import Figure
from slingshot.report.page import Page, make_page
from slingshot.report.results import read_results
from tests import results_tree
from tests.results_tree import CONTENDERS, Contender, Tree, finish
from tests.unit.report.test_page import html_of


@dataclass(frozen=True)
class Designed(Contender):
    """An arm that a design adds."""

    design: Any = "crossed"
    treatment: dict[str, Any] = field(default_factory=dict)

    @property
    def arm(self) -> Arm:
        finetuned = {"untrained": False, "shots5": False}.get(self.path.split("/")[-1], True)
        return super().arm.model_copy(update={"design": self.design, "finetuned": finetuned, **self.treatment})


QWEN, LLAMA = "Qwen2.5-3B-Instruct", "Meta-Llama-3.1-8B-Instruct"
CANDIDATES = ["slm/qwen3b/sweep-r-8", "slm/qwen3b/sweep-r-64"]
ADDED = (
    Designed("slm/qwen3b/untrained", QWEN, "3B", 0.20),
    Designed("llm/llama8b/finetuned", LLAMA, "8B", 0.75),
    *(
        Designed(f"slm/qwen3b/train{size}", QWEN, "3B", skill, "learning_curve", {"train_size": size})
        for size, skill in ((20, 0.40), (60, 0.50), (200, 0.62))
    ),
    Designed("slm/qwen3b/seed1", QWEN, "3B", 0.72, "seeds", {"seed": 1}),
    Designed("slm/qwen3b/seed2", QWEN, "3B", 0.68, "seeds", {"seed": 2}),
    Designed("llm/llama8b/shots5", LLAMA, "8B", 0.58, "few_shot", {"shots": 5}),
    Designed("slm/qwen3b/best", QWEN, "3B", 0.71, "sweep", {"best_of": CANDIDATES}),
)


def change_training(tree: Tree, arm: str, **facts: Any) -> None:
    path = tree.folder / arm / "training.json"
    write_json(path, read_json(path) | facts)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    contenders = (*CONTENDERS, *ADDED)
    tree = results_tree.build(tmp_path_factory.mktemp("designed"), samples=300, contenders=contenders)
    for size in (20, 60, 200):
        change_training(tree, f"slm/qwen3b/train{size}", train_samples=size)
    change_training(
        tree,
        "slm/qwen3b/best",
        chosen="slm/qwen3b/sweep-r-64",
        candidates={
            "slm/qwen3b/sweep-r-8": {"validation_loss": 0.9},
            "slm/qwen3b/sweep-r-64": {"validation_loss": 0.7},
        },
    )
    finish(tree, contenders)
    return tree


@pytest.fixture(scope="module")
def page(tree: Tree) -> Page:
    return make_page(read_results(tree.folder))


@pytest.fixture(scope="module")
def section(tree: Tree) -> str:
    found = re.search(r'<section id="designs".*?</section>', html_of(tree), flags=re.DOTALL)
    assert found
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", found[0])).split())


@pytest.mark.parametrize("name", ["learning_curve", "interaction", "seeds", "pareto_front"])
def test_each_design_has_its_figure_with_numbers(page: Page, name: str) -> None:
    drawn = page.figures[name]
    assert drawn.table.rows
    assert drawn.alt


def test_the_curve_is_drawn_with_its_band_and_the_untrained_arms_across(page: Page) -> None:
    plot = page.figures["learning_curve"].plot
    assert [len(trace.x) for trace in plot.data] == [80, 40, 4]  # band, line, measured sizes
    assert len(plot.layout.shapes) == 2 * 4  # two large models, one of them with examples too, one small untrained


def test_the_section_answers_each_question(section: str) -> None:
    assert "the same epochs" in section
    assert "What size gives, and what training" in section
    assert re.search(r"standard deviation between 3 seeds \d+\.\d points; standard error of one run", section)
    assert "2 candidates competed by validation loss on the validation split; slm/qwen3b/sweep-r-64 won" in section
    assert "The test split was read once" in section
    assert re.search(r"llama8b 5 llm/llama8b/shots5 .* qwen3b: (\d+|below the range|above the range)\.", section)


def test_the_verdict_says_how_many_seeds_it_counts(tree: Tree) -> None:
    verdict = read_results(tree.folder).comparison.verdict
    (fact,) = (fact for fact in verdict.facts if fact.startswith("Seeds: "))
    assert "samples and seeds" in fact
    assert fact in unescape(html_of(tree))


def test_no_arm_off_the_front_is_cheaper_and_better_than_one_on_it(tree: Tree) -> None:
    arms = [arm for arm in read_results(tree.folder).comparison.arms if arm.cost]
    costs = {arm.arm: total_seconds(arm) or 0.0 for arm in arms}
    front = {arm.arm for arm in front_of(arms, costs)}

    def score(arm: Any) -> float:
        return float(arm.scores["exact_match"].value)

    for arm in arms:
        beaten = any(costs[each.arm] <= costs[arm.arm] and score(each) > score(arm) for each in arms)
        assert (arm.arm in front) == (not beaten)


def test_seconds_of_a_gpu_and_of_a_cpu_have_a_front_each(tree: Tree, page: Page) -> None:
    """TF-IDF's few CPU seconds kept every arm below its score off the front of GPU seconds."""
    arms = [arm for arm in read_results(tree.folder).comparison.arms if total_seconds(arm)]
    costs = {arm.arm: total_seconds(arm) or 0.0 for arm in arms}
    drawn = page.figures["pareto_front"]
    fronts = {trace.name: len(trace.x) for trace in drawn.plot.data if trace.mode == "lines"}
    of = {unit: [arm for arm in arms if unit_of(arm.cost) == unit] for unit in ("GPU", "CPU")}
    assert fronts == {f"Pareto front, {unit}": len(front_of(each, costs)) for unit, each in of.items()}
    assert "can't be compared" in drawn.notes[0]


def test_areas_of_serving_costs_are_to_scale_among_devices_of_one_kind(tree: Tree) -> None:
    """An encoder's few CPU seconds were drawn beside a large network's GPU seconds, as if they could be compared."""
    comparison = read_results(tree.folder).comparison
    sized = [arm for arm in comparison.arms if arm.size and arm.cost and serving_seconds(arm.cost)]
    first = min(sized, key=lambda arm: serving_seconds(arm.cost) or 0.0)
    assert first.cost is not None
    on_cpu = first.cost.predict.model_copy(update={"unit": "cpu"})
    moved = first.model_copy(update={"cost": first.cost.model_copy(update={"predict": on_cpu})})
    arms = [moved if arm.arm == first.arm else arm for arm in comparison.arms]

    def size_of_first(figure: Figure) -> float:
        drawn = [pair for trace in figure.plot.data for pair in zip(trace.text, trace.marker.size, strict=True)]
        return next(size for text, size in drawn if f"<b>{first.arm}</b>" in text)

    drawn = size_against_score(comparison.model_copy(update={"arms": arms}), "device")
    assert size_of_first(drawn) == LARGEST_MARKER > size_of_first(size_against_score(comparison, "GPU"))
    assert "among arms of one of them" in drawn.notes[0]
    assert f"{first.arm} (CPU)" in [row[0] for row in drawn.table.rows]
    assert size_against_score(comparison, "GPU").notes == []


def test_a_plain_study_shows_no_design(tmp_path: Path) -> None:
    plain = results_tree.build(tmp_path, samples=40)
    finish(plain)
    html = html_of(plain)
    assert 'id="designs"' not in html
    assert 'href="#designs"' not in html
