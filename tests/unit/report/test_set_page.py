"""The report where samples have several labels: what it says of sets, and what it leaves out with a sentence."""

from __future__ import annotations

import base64
import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from slingshot.report import dag as dag_picture
from slingshot.report.error_browser import pack
from slingshot.report.page import Page, make_page, render
from slingshot.report.paper import tables_of
from slingshot.report.results import Results, read_results
from tests import results_tree


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> tuple[Results, Page, str]:
    tree = results_tree.build(tmp_path_factory.mktemp("results"), samples=60, several=True)
    results_tree.finish(tree)
    results = read_results(tree.folder)
    page = make_page(results)
    return results, page, render(results, tree.spec, page, dag_picture.graph_of_arms(tree.spec.arms))


def test_figures_are_of_micro_f1(shown: tuple[Results, Page, str]) -> None:
    _, page, html = shown
    assert {"size_against_score", "paired_differences", "scores_by_level", "pareto_front"} <= page.figures.keys()
    assert page.confusions == {}
    for absent in ("scores_by_chapter", "scores_by_length", "calibration", "selective_coding"):
        assert absent not in page.figures
    assert page.figures["size_against_score"].plot.layout.yaxis.title.text == "micro F1, %"
    levels = page.figures["scores_by_level"].table.rows
    assert [row[1] for row in levels[:4]] == ["code", "category", "block", "chapter"]
    alts = [figure.alt for figure in page.all]
    assert not any("xact match" in alt for alt in alts)
    for sentence in (
        "are left out: they are of one label per sample",
        "so there is no picture of confusion",
        "Micro F1 of the first arm minus that of the second",
        "flipping at random which arm is which",
        "What is compared is micro F1",
    ):
        assert sentence in html
    assert "McNemar" not in html.partition('id="errors"')[0].partition("<main>")[2]


def test_the_tables_have_the_scores_of_sets(shown: tuple[Results, Page, str]) -> None:
    results, _, html = shown
    tables = tables_of(results)
    heading = tables["arms.csv"].splitlines()[0]
    for key in ("micro_f1", "macro_f1_code_set", "examples_f1", "precision_at_5", "recall_at_15", "category_micro_f1"):
        assert key in heading
    assert "weighted_f1" not in heading and "top_1" not in heading
    assert "micro_f1_mean_of_seeds" in heading and "exact_match_mean_of_seeds" not in heading
    assert "Micro F1 &" in tables["arms.tex"]
    label, n, *f1 = tables["labels.csv"].splitlines()[1].split(",")
    assert int(n) == sum(label in set(each) for each in results.test["labels"])
    assert all(0 <= float(value) <= 1 for value in f1)
    assert ">P@5<" in html


def test_the_error_browser_holds_sets_as_lists(shown: tuple[Results, Page, str]) -> None:
    results, _, _ = shown
    content: dict[str, Any] = json.loads(
        gzip.decompress(base64.b64decode(pack(results.test, results.predictions, {}).payload))
    )
    assert content["labels"] == [list(each) for each in results.test["labels"]]
    for arm, answered in zip(content["arms"], content["answers"]["arms"], strict=True):
        codes = [content["answers"]["codes"][place] if place >= 0 else None for place in answered["code"]]
        assert codes == [each.codes for each in results.predictions[arm]]


def test_with_one_label_nothing_is_a_list(tmp_path: Path) -> None:
    tree = results_tree.build(tmp_path, samples=20)
    results_tree.finish(tree)
    results = read_results(tree.folder)
    content = json.loads(gzip.decompress(base64.b64decode(pack(results.test, results.predictions, {}).payload)))
    assert all(isinstance(each, str) for each in [*content["labels"], *content["answers"]["codes"]])
