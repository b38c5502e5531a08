"""What a paper needs: methods, prompts, tables."""

from __future__ import annotations

import csv
import io

import pytest

from slingshot.core.environment import slingshot_version
from slingshot.report.paper import label_table, methods_of, prompts_of, tables_of
from slingshot.report.results import Results, read_results
from tests import results_tree
from tests.results_tree import finish

PROMPT = {"system": "Name the code.", "user": "{{ text }} {{ answer_form }}", "answer": "code", "max_tokens": 100}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    tree = results_tree.build(tmp_path_factory.mktemp("results"), samples=40)
    finish(tree, results_tree.CONTENDERS)
    found = read_results(tree.folder)
    for steps in found.steps.values():
        steps[-1].spec["prompt"] = PROMPT
    return found


def test_the_version_names_the_commit_that_it_runs_from() -> None:
    assert slingshot_version().startswith("0.1.0")


def test_a_prompt_that_arms_share_is_shown_once_with_a_sample(results: Results) -> None:
    (shown,) = prompts_of(results, "My back hurts.")
    assert set(shown.arms) == set(results.steps)
    assert [message["role"] for message in shown.messages] == ["system", "user"]
    assert shown.messages[1]["content"] == "My back hurts. <code>"


def test_labels_hold_each_arms_share_of_right_answers(results: Results) -> None:
    rows = label_table(results)
    assert sum(row["n"] for row in rows) == 40
    assert [row["n"] for row in rows] == sorted((row["n"] for row in rows), reverse=True)
    for arm in results.comparison.arms:
        mean = sum(row["n"] * row[arm.arm] for row in rows) / 40
        assert mean == pytest.approx(arm.scores["exact_match"].value)


def test_tables_hold_what_the_comparison_says(results: Results) -> None:
    tables = tables_of(results)
    pairs = list(csv.DictReader(io.StringIO(tables["differences.csv"])))
    assert [float(pair["difference"]) for pair in pairs] == [
        pair.difference.value for pair in results.comparison.comparisons
    ]
    assert tables["differences.tex"].count("\\\\\n") == 1 + len(pairs)
    assert len(tables["labels.csv"].splitlines()) == 1 + len(label_table(results))


def test_methods_name_every_arm_and_the_samples(results: Results) -> None:
    text = " ".join(methods_of(results))
    assert all(f"{arm.arm}: {arm.name}" in text for arm in results.comparison.arms)
    assert "Exact match on 40 test samples with 95% intervals" in text
    assert "{'" not in text
