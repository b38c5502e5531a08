"""What a paper needs: methods, prompts, tables."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pandas as pd
import pytest

from slingshot.core.environment import slingshot_version
from slingshot.report.formats import points
from slingshot.report.methods import (
    describe_answering,
    describe_data,
    describe_finetune,
    describe_scoring,
    describe_source,
    methods_of,
)
from slingshot.report.paper import label_table, prompts_of, tables_of
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
    assert [int(pair["family_size"]) for pair in pairs] == [pair.family_size for pair in results.comparison.comparisons]
    first = results.comparison.comparisons[0]
    assert f"{first.first} & {first.second} & free & primary & 4 & " in tables["differences.tex"]
    value, low, high = (
        f"${points(each).replace('−', '-')}$"
        for each in (first.simultaneous.value, first.simultaneous.low, first.simultaneous.high)
    )
    assert f" & 4 & {value} [{low}, {high}] & " in tables["differences.tex"]
    assert len(tables["labels.csv"].splitlines()) == 1 + len(label_table(results))


def test_methods_name_every_arm_and_the_samples(results: Results) -> None:
    text = " ".join(methods_of(results))
    assert all(f"{arm.arm} is {arm.name}" in text for arm in results.comparison.arms)
    assert "Exact match on 40 test samples with 95% intervals" in text
    assert "{'" not in text and "None" not in text
    assert tables_of(results)["methods.txt"].rstrip("\n").split("\n\n") == methods_of(results)


def test_methods_count_the_pairs_that_the_correction_counts(results: Results) -> None:
    """Where arms had no results yet, the pairs that are there were called all, and one pair corrected."""
    comparison = results.comparison
    assert "4 primary comparisons" in describe_scoring(comparison)
    assert "with Bonferroni's correction for 4 and simultaneous intervals" in describe_scoring(comparison)
    primary = [pair for pair in comparison.comparisons if pair.family == "primary"]
    few = describe_scoring(comparison.model_copy(update={"comparisons": primary[:3]}))
    assert "comparisons of a language model and an arm that is none, declared by the config, were" in (
        describe_scoring(comparison)
    )
    assert "3 of 4 primary comparisons" in few and "correction for 4" in few
    one = primary[0].model_copy(update={"family_size": 1})
    alone = describe_scoring(comparison.model_copy(update={"comparisons": [one]}))
    assert "1 primary comparison of a finetuned small and a large model, declared by the config, was tested" in alone
    assert "Bonferroni" not in alone


def test_methods_and_facts_say_that_samples_come_in_groups(tmp_path: Path) -> None:
    """Without a pair of a small and a large model nothing said so."""
    rivals = [results_tree.CONTENDERS[4], results_tree.Contender("embedding/minilm", "MiniLM", "22.7M", 0.6)]
    tree = results_tree.build(tmp_path, samples=40, contenders=rivals)
    for number, row in enumerate(tree.samples):
        row["group"] = str(number // 2)
    pd.DataFrame(tree.samples).to_parquet(tmp_path / "data/test.parquet")
    finish(tree, rivals)
    comparison = read_results(tmp_path).comparison
    scoring = describe_scoring(comparison)
    assert "with Student's quantiles, over whole groups of samples" in scoring
    assert scoring.endswith(
        "1 secondary comparison, declared by the config, was tested on the same samples by exact McNemar tests of "
        "whole groups, no p below the level at which its interval ends at 0."
    )
    assert any(fact.startswith("Test samples come in groups") for fact in comparison.verdict.facts)


def test_methods_say_what_the_config_asked_for(results: Results) -> None:
    """Each value is one that differs from its default."""
    step = results.steps["slm/llama3b"][0].model_copy(
        update={
            "spec": {
                "finetune": {
                    "learning_rate": 0.0003,
                    "batch_size": 7,
                    "epochs": 2.5,
                    "warmup_share": 0.11,
                    "patience": None,
                    "fp8": True,
                    "select_by": "validation_exact_match",
                    "lora": {"r": "auto", "alpha": 18, "dropout": 0.07, "layers": 4, "targets": ["q_proj"]},
                }
            }
        }
    )
    text = " ".join(describe_finetune(step, {"lora_r": 9}))
    for part in (
        "rank 9, alpha 18, dropout 0.07",
        "on q_proj of the last 4 layers",
        "2.50 epochs in batches of 7",
        "learning rate of 0.0003 (cosine schedule, warm-up 11%)",
        "seed 42",
        "highest exact match on validation",
        "frozen weights were multiplied in 8 bits (e4m3)",
    ):
        assert part in text
    assert "stopped" not in text
    answered = step.model_copy(
        update={
            "spec": {
                "generation": {"max_new_tokens": 12, "constrained": True, "candidates": 5},
                "few_shot": {"k": 3, "selection": "nearest"},
                "quantization": "nf4",
            },
            "truncated_samples": 6,
        }
    )
    text = " ".join(describe_answering(answered))
    assert "in at most 12 tokens, with 3 examples from train (nearest), with nf4 weights." in text
    assert "known labels only" in text and "5 likeliest" in text and "6 of its prompts" in text


def test_of_many_files_the_methods_name_a_few() -> None:
    files = {f"{number}.csv": str(number) * 64 for number in range(8)}
    text = describe_source({"hub": "a/b", "revision": "c", "files": files})
    assert text.startswith("0.csv (SHA-256 000000000000), 1.csv") and "5.csv" not in text
    assert text.endswith(" and 3 more files of hub: a/b; revision: c")
    assert describe_source({"hub": "a/b"}) == "hub: a/b"


def test_methods_say_how_the_data_were_dealt() -> None:
    text = describe_data(
        {
            "source": {"path": "a.csv", "files": {"a.csv": "f" * 64}},
            "digest": "d" * 64,
            "rows": {"read": 50, "dropped": 2},
            "dropped": {"no label": {"rows": 2}},
            "labels": {"system": "plain", "count": 6},
            "splits": {"train": {"samples": 30}, "test": {"samples": 18}},
            "spec": {
                "data": {
                    "split": {"method": "stratified", "seed": 5, "near_duplicate_similarity": 0.7},
                    "mask_label_mentions": True,
                    "drop_closing_turn": True,
                }
            },
        }
    )
    assert "are those of a.csv (SHA-256 ffffffffffff)." in text and "dddd" not in text
    assert "Of 50 rows 2 were dropped (no label: 2). There are 6 plain labels." in text
    assert "30 train, 18 test samples by the method stratified, seed 5" in text
    assert "at least 0.7" in text and "masked" in text and "closing turn" in text
