"""The report of samples with several labels in a browser: right, extra and missed labels, and what the filter finds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from slingshot.artifacts.predictions import is_right
from slingshot.report.page import write_report
from slingshot.report.results import read_results
from tests import results_tree
from tests.browser.conftest import until


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> results_tree.Tree:
    tree = results_tree.build(tmp_path_factory.mktemp("sets") / "results", samples=40, several=True)
    results_tree.finish(tree)
    write_report(tree.folder / "report.html", None, read_results(tree.folder), tree.spec)
    return tree


def test_a_sample_shows_right_extra_and_missed_labels(open_report: Callable[..., Any], sets: results_tree.Tree) -> None:
    opened = open_report(sets)
    page, arm = opened.page, "slm/llama3b"
    page.get_by_label("Arm").last.select_option(label=arm)
    row = page.locator("#samples-list li").first.locator("table.answers tr").first
    first = sets.predictions[arm][0]
    codes, labels = first.codes or [], first.labels or []
    for kind, expected in {
        "right": [f"✓ {code}" for code in codes if code in labels],
        "extra": [f"+ {code}" for code in codes if code not in labels],
        "missed": [f"− {label}" for label in labels if label not in codes],
    }.items():
        assert row.locator(f".label.{kind}").all_inner_texts() == (expected if first.codes is not None else [])
    page.get_by_label("Its answer is").select_option("right")
    right = sum(is_right(each) for each in sets.predictions[arm])
    until(page, f"document.getElementById('found').textContent.startsWith('{right} of')")
    assert opened.complaints == []
