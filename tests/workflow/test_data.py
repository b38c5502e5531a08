"""Fixed splits and a further test set through Snakemake: the data's page, and the one arm that costs nothing."""

import json

import pytest
import yaml

from slingshot.artifacts.splits import read_split
from tests.workflow import small_study

pytestmark = [pytest.mark.workflow, pytest.mark.slow]


def test_fixed_splits_and_a_further_test_set_run_through_snakemake(tmp_path):
    lines = small_study._dialogues(72)
    parts = {"train": lines[:48], "validation": lines[48:60], "test": [*lines[60:], lines[0]]}  # one test row leaks
    for name, rows in {**parts, "hospital_b": lines[20:32]}.items():
        (tmp_path / f"{name}.csv").write_text("text,label,description\n" + "".join(rows))
    (tmp_path / "prompt.yaml").write_text("system: Name the code.\nuser: '{{ text }}'\n")
    config = small_study.config()
    config["data"] = {
        "source": {"path": {name: f"{name}.csv" for name in parts}},
        "columns": {"description": "description"},
        "labels": "plain",
        "split": {"method": "source", "near_duplicate_similarity": None},
        "test_sets": {"hospital_b": {"source": {"path": "hospital_b.csv"}}},
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    results = tmp_path / "results"
    wanted = ("results/data/data.html", "results/baseline/tfidf/test_sets/hospital_b/metrics.json")
    code, said = small_study.run(tmp_path, "--cores", "1", *wanted)
    assert code == 0, said[-3000:]

    dataset = json.loads((results / "data/dataset.json").read_text())
    assert {name: part["samples"] for name, part in dataset["splits"].items()} == {
        "train": 48,
        "validation": 12,
        "test": 13,
    }
    assert dataset["leakage"]["exact_duplicates"]["test in train"] == 1
    assert dataset["lines"]["test: test.csv"]["rows"] == 13
    assert len(read_split(results / "data/test_sets/hospital_b.parquet")) == 12
    page = (results / "data/data.html").read_text()
    for sentence in (
        "1 of 13 samples of test have the same text in train",
        "test_sets.hospital_b: 12 of 12 samples have (nearly) the same text in train",
    ):
        assert sentence in page
        assert sentence in said  # the last lines of `snakemake data`
    metrics = json.loads((results / "baseline/tfidf/test_sets/hospital_b/metrics.json").read_text())
    assert metrics["n_samples"] == 12
    assert metrics["exact_match_accuracy"] == 1.0  # its texts stand in train, as the page says

    (tmp_path / "validation.csv").write_text("text,label,description\n")
    code, said = small_study.run(tmp_path, "--cores", "1", "results/data/data.html")
    assert code != 0
    assert "validation.csv has a header but no rows" in said
