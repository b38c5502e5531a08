"""The verdict as it is shown, for every design: arms are named by what was done with them, and nothing else leads."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from slingshot.report.results import read_results
from tests import results_tree
from tests.results_tree import CONTENDERS, finish
from tests.unit.report.test_design_figures import LLAMA, QWEN, Designed
from tests.unit.report.test_page import html_of

CLASSIFY = {"head": "classify"}
FINETUNED_SMALL, UNTRAINED_LARGE = "Best finetuned small model", "Best untrained large model"


def shown(folder: Path, added: Designed) -> tuple[str, str]:
    """The verdict's section as text, and the row of the added arm in the table of arms."""
    contenders = (*CONTENDERS, added)
    tree = results_tree.build(folder, samples=60, contenders=contenders)
    if added.treatment.get("best_of"):
        training = {"candidates": {added.path: {"validation_loss": 1.0}}, "chosen": added.path}
        path = tree.folder / added.path / "training.json"
        if path.exists():  # prompts are chosen among without training
            results_tree.write_json(path, results_tree.read_json(path) | training)
    if added.treatment.get("setting") == CLASSIFY:
        for name, keys in (("training.json", CLASSIFY), ("predict.json", {"spec": CLASSIFY})):
            path = tree.folder / added.path / name
            results_tree.write_json(path, results_tree.read_json(path) | keys)
    finish(tree, contenders)
    html = html_of(tree)
    table = html.partition('<section id="arms"')[2]
    row = re.search(rf'<th scope="row">[^\n]*{added.path}<.*?</tr>', table, re.S)
    assert row and read_results(tree.folder).comparison.arms
    verdict = html.partition('<section id="verdict"')[2].partition(">")[2].partition("</section>")[0]
    return _text(verdict), _text(row[0])


def _text(html: str) -> str:
    return " ".join(unescape(re.sub("<[^>]*>", " ", html)).replace("\xa0", " ").split())


@pytest.mark.parametrize(
    ("path", "design", "treatment", "label", "words"),
    [
        ("llm/llama8b/finetuned", "crossed", {}, "Best finetuned large model", "finetuned"),
        ("llm/llama8b/shots5", "few_shot", {"shots": 5}, UNTRAINED_LARGE, "untrained, 5 examples"),
        (
            "llm/llama8b/best",
            "sweep",
            {"best_of": ["a"]},
            "Best finetuned large model",
            "settings chosen on validation",
        ),
        ("slm/qwen3b/best", "sweep", {"best_of": ["a"]}, FINETUNED_SMALL, "settings chosen on validation"),
        ("slm/qwen3b/untrained", "crossed", {}, "Best untrained small model", "untrained"),
        (
            "slm/qwen3b/shots5",
            "few_shot",
            {"shots": 5, "finetuned": False},
            "Best untrained small model",
            "untrained, 5 examples",
        ),
        ("slm/qwen3b/classify", "heads", {"setting": CLASSIFY}, FINETUNED_SMALL, "finetuned, a head answers"),
        ("llm/llama8b/classify", "heads", {"setting": CLASSIFY}, "Best finetuned large model", "a head answers"),
        (
            "llm/llama8b/best_prompt",
            "prompts",
            {"best_of": ["a", "b"], "finetuned": False},
            UNTRAINED_LARGE,
            "untrained, settings chosen on validation",
        ),
    ],
)
def test_an_arm_of_a_design_that_leads_is_labelled_by_its_treatment(
    tmp_path: Path, path: str, design: str, treatment: dict[str, Any], label: str, words: str
) -> None:
    name = LLAMA if path.startswith("llm") else QWEN
    verdict, row = shown(tmp_path, Designed(path, name, "8B" if name == LLAMA else "3B", 0.99, design, treatment))
    leaders = re.findall(r"(Best \w+(?: \w+)*?), by exact match: (\S+) \(([^)]*)\)", verdict)
    assert (label, path) in [(title, arm) for title, arm, _ in leaders]
    for title, arm, what in leaders:
        if "model" in title:
            assert title.split()[1] in what.split(", ")[2], (title, arm, what)
            assert ("large" in title) == arm.startswith("llm/"), (title, arm)
    assert words in row
    if label == "Best untrained small model":  # it answers another question, and is not recommended
        assert path not in verdict.partition("What it rests on")[0]
        return
    assert verdict.startswith(f"Verdict Use {name} (")
    assert words in verdict.partition("exactly")[0]
    assert ("Specialization beats size" in verdict) == path.startswith("slm/")


@pytest.mark.parametrize(
    ("path", "design", "treatment", "words"),
    [
        ("slm/qwen3b/train20", "learning_curve", {"train_size": 20}, "finetuned on 20 samples"),
        (
            "slm/llama3b/classify_train20",
            "heads",
            {"train_size": 20, "setting": CLASSIFY},
            "finetuned on 20 samples, a head answers",
        ),
        ("slm/qwen3b/train20", "heads", {"train_size": 20}, "finetuned on 20 samples"),
        ("llm/mistral7b/seed7", "seeds", {"seed": 7}, "finetuned, seed 7"),
    ],
)
def test_a_repetition_or_a_part_of_train_leads_nothing_however_lucky(
    tmp_path: Path, path: str, design: str, treatment: dict[str, Any], words: str
) -> None:
    verdict, row = shown(tmp_path, Designed(path, QWEN, "3B", 0.99, design, treatment))
    assert words in row
    assert path not in verdict and words not in verdict


def test_an_arm_with_several_seeds_leads_with_their_mean_and_both_scores_are_told_apart(tmp_path: Path) -> None:
    seeds = [Designed(f"slm/qwen3b/seed{seed}", QWEN, "3B", 0.75, "seeds", {"seed": seed}) for seed in (7, 8)]
    contenders = (*CONTENDERS, *seeds)
    tree = results_tree.build(tmp_path, samples=200, contenders=contenders)
    finish(tree, contenders)
    (arm,) = (each for each in read_results(tree.folder).comparison.arms if each.arm == "slm/qwen3b")
    own, mean = f"{100 * arm.scores['exact_match'].value:.1f}", f"{100 * arm.seed_means['free'].value:.1f}"
    assert own != mean
    html = html_of(tree)
    verdict = _text(html.partition('<section id="verdict"')[2].partition("</section>")[0])
    assert f"answers {mean}% of 200 test dialogues exactly (mean of 3 seeds)" in verdict
    assert re.search(
        rf"Best finetuned small model, by exact match: slm/qwen3b \([^)]*\), {mean} .*?mean of 3 seeds", verdict
    )
    assert "tables and figures of arms show the run of the study's own seed" in verdict
    table = _text(html.partition('<section id="arms"')[2].partition("</section>")[0])
    assert f"slm/qwen3b is shown with the run of its own seed, exact match {own} %" in table
    assert f"rest on the mean of 3 seeds, {mean} [" in table


def test_a_human_coder_leads_nothing(tmp_path: Path) -> None:
    coder = Designed("predictions/coder", "coder", None, 0.99, None, {"human": True, "finetuned": False})
    verdict, _ = shown(tmp_path, coder)
    assert "predictions/coder" not in verdict and "Use coder" not in verdict


def test_what_the_test_split_can_show_is_said_with_its_assumption(tmp_path: Path) -> None:
    tree = results_tree.build(tmp_path, samples=60)
    finish(tree)
    data = _text(html_of(tree).partition('<section id="data"')[2].partition("</section>")[0])
    assert "two arms that 60 test samples show with a chance of 80% at 95% confidence" in data
    assert "20.1 points where one arm alone is right on 30% of them" in data
