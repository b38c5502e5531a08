"""Splits that a data set brings: kept as they are, leakage between them reported, dropped only on request."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import huggingface_hub
import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from slingshot.artifacts.layout import DataFiles
from slingshot.artifacts.splits import SPLITS, read_split
from slingshot.config.data import Columns, Data, FileData, HubData, Split
from slingshot.config.specs import PrepareDataSpec
from slingshot.core.errors import StudyError
from slingshot.data.intake import NO_SPLIT
from slingshot.data.planning import DUPLICATE, LEAKED
from slingshot.data.prepare import prepare
from slingshot.data.summary import warnings_of

COLUMN = Split(method="column")


def dialogue(number: int, words: int = 40) -> str:
    return " ".join(f"w{value}" for value in np.random.default_rng(number).integers(0, 10_000, words))


def rows(count: int = 60) -> list[dict[str, Any]]:
    names = ["train"] * 4 + ["dev", "Test"]
    return [
        {"text": dialogue(n), "label": f"L{n // 6 % 3}", "fold": names[n % 6], "who": f"p{n}"} for n in range(count)
    ]


def run(folder: Path, source: Any, **data: Any) -> tuple[dict[str, pd.DataFrame], dict[str, Any]]:
    """Each split, and dataset.json."""
    folder.mkdir(exist_ok=True)
    if isinstance(source, list):
        (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in source))
        source = FileData(path="rows.jsonl")
    data = {"labels": "plain", "max_dropped_share": 1.0, **data}
    spec = PrepareDataSpec(data=Data(source=source, **data), source_digest=None)
    files = DataFiles(folder / "out")
    prepare(spec, folder, files)
    return {name: read_split(files.split(name)) for name in SPLITS}, json.loads(files.dataset.read_text())


def texts_of(given: list[dict[str, Any]], *names: str) -> set[str]:
    return {row["text"] for row in given if row["fold"] in names}


def test_a_column_says_which_split_a_row_is_of(tmp_path: Path) -> None:
    given = rows()
    splits, report = run(tmp_path, given, columns=Columns(split="fold"), split=COLUMN)
    for ours, theirs in (("train", "train"), ("validation", "dev"), ("test", "Test")):
        assert set(splits[ours]["text"]) == texts_of(given, theirs)
    assert warnings_of(report) == []


def test_values_are_mapped_and_others_dropped_with_a_count(tmp_path: Path) -> None:
    given = rows()
    values = {"train": "train", "dev": "test", "Test": "validation"}
    split = Split(method="column", values=values)
    splits, report = run(tmp_path, given, columns=Columns(split="fold"), split=split)
    assert set(splits["test"]["text"]) == texts_of(given, "dev")
    given[3]["fold"], given[9]["fold"], given[10]["fold"] = "holdout", None, "NULL"
    _, report = run(tmp_path, given, columns=Columns(split="fold"), split=split)
    assert report["dropped"][NO_SPLIT]["rows"] == 3
    assert report["dropped"][NO_SPLIT]["examples"][0] == "rows.jsonl row 4 (holdout)"


@pytest.mark.parametrize("write", [int, float, str])
def test_splits_may_be_numbers(tmp_path: Path, write: Any) -> None:
    given = [{**row, "fold": write({"train": 0, "dev": 1, "Test": 2}[row["fold"]])} for row in rows()]
    split = Split(method="column", values={"0": "train", "1": "validation", "2": "test"})
    columns = Columns(split="fold")
    _, report = run(tmp_path, given, columns=columns, split=split)
    assert [report["splits"][name]["samples"] for name in SPLITS] == [40, 10, 10]
    with pytest.raises(StudyError, match=r"row 1 \(0(\.0)?\)"):
        run(tmp_path, given, columns=columns, split=COLUMN, max_dropped_share=0.05)


def test_one_file_for_each_split(tmp_path: Path) -> None:
    given = rows()
    files = {}
    for ours, theirs in (("train", "train"), ("validation", "dev"), ("test", "Test")):
        frame = pd.DataFrame([row for row in given if row["fold"] == theirs])
        frame.to_csv(tmp_path / f"set-{theirs}.csv", index=False)
        files[ours] = f"set-{theirs}.csv"
    splits, report = run(tmp_path, FileData(path=files), split=Split(method="source"))
    assert set(splits["validation"]["text"]) == texts_of(given, "dev")
    assert set(splits["test"]["text"]) == texts_of(given, "Test")
    assert sorted(report["source"]["files"]) == [
        "test: set-Test.csv",
        "train: set-train.csv",
        "validation: set-dev.csv",
    ]


@pytest.mark.parametrize("split", [None, {"train": "train", "validation": "dev", "test": "Test"}])
def test_the_hubs_own_splits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, split: Any) -> None:
    given = rows()
    parts = {
        name: datasets.Dataset.from_list([row for row in given if row["fold"] == name])
        for name in ("train", "dev", "Test")
    }
    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", lambda *_, **__: SimpleNamespace(sha="0" * 40))
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: datasets.DatasetDict(parts))
    splits, _ = run(tmp_path, HubData(hub="owner/name", split=split), split=Split(method="source"))
    assert set(splits["test"]["text"]) == texts_of(given, "Test")
    assert set(splits["train"]["text"]) == texts_of(given, "train")
    with pytest.raises(StudyError, match="owner/name has no split 'tset'; it has train, dev, Test"):
        absent = {"train": "train", "validation": "dev", "test": "tset"}
        run(tmp_path, HubData(hub="owner/name", split=absent), split=Split(method="source"))


def leaky() -> list[dict[str, Any]]:
    """Row 0 of train again in test, nearly row 6 in validation, and a patient of train in test."""
    given = rows()
    near = given[6]["text"].rsplit(" ", 1)[0] + " other"
    return [
        *given,
        {**given[0], "fold": "test"},
        {**given[6], "text": near, "fold": "dev"},
        {"text": dialogue(1000), "label": "L0", "fold": "test", "who": "p12"},
    ]


def test_leakage_between_given_splits_is_reported_and_nothing_is_fixed_in_silence(tmp_path: Path) -> None:
    columns = Columns(split="fold", group="who")
    splits, report = run(tmp_path, leaky(), columns=columns, split=COLUMN)
    assert [len(splits[name]) for name in SPLITS] == [40, 11, 12]
    assert report["dropped"] == {}
    leakage = report["leakage"]
    assert leakage["exact_duplicates"]["test in train"] == 1
    assert leakage["near_duplicates"]["validation in train"] == 1
    assert leakage["groups_across_splits"] == {"groups": 3, "samples": 6}
    warnings = "\n".join(warnings_of(report))
    assert "1 of 12 samples of test have the same text in train" in warnings
    assert "1 of 11 samples of validation have nearly the same text in train" in warnings
    assert "3 groups with 6 samples stand in more than one split" in warnings


def test_leaked_samples_are_dropped_on_request(tmp_path: Path) -> None:
    split = Split(method="column", drop_leaked=True)
    splits, report = run(tmp_path, leaky(), columns=Columns(split="fold", group="who"), split=split)
    assert [len(splits[name]) for name in SPLITS] == [37, 11, 12]
    assert report["dropped"][LEAKED]["rows"] == 3
    assert set(report["dropped"][LEAKED]["examples"]).isdisjoint(set(splits["train"]["sample_id"]))
    assert sum(report["leakage"]["exact_duplicates"].values()) == 0
    assert report["leakage"]["groups_across_splits"]["groups"] == 0


def test_a_duplicate_within_a_split_is_dropped_and_one_across_is_kept(tmp_path: Path) -> None:
    given = rows()
    splits, report = run(
        tmp_path,
        [*given, given[0], {**given[0], "fold": "dev"}],
        columns=Columns(split="fold"),
        split=COLUMN,
    )
    assert report["dropped"][DUPLICATE]["rows"] == 1
    assert len(splits["train"]) == 40
    assert len(splits["validation"]) == 11


def test_validation_is_dealt_from_train_where_the_study_says_so(tmp_path: Path) -> None:
    given = [row for row in rows() if row["fold"] != "dev"]
    with pytest.raises(StudyError, match=r"no sample of validation is given; .* data.split.validation_from_train"):
        run(tmp_path, given, columns=Columns(split="fold"), split=COLUMN)
    split = Split(method="column", validation_from_train=0.25)
    splits, _ = run(tmp_path, given, columns=Columns(split="fold"), split=split)
    assert [len(splits[name]) for name in SPLITS] == [30, 10, 10]
    assert set(splits["test"]["text"]) == texts_of(given, "Test")
    with pytest.raises(StudyError, match="the source gives 10 samples of validation itself"):
        run(tmp_path, rows(), columns=Columns(split="fold"), split=split)


@pytest.mark.parametrize("name", ["train", "dev", "Test"])
def test_an_empty_given_split_is_an_error_before_anything_runs(tmp_path: Path, name: str) -> None:
    given = [row for row in rows() if row["fold"] != name]
    with pytest.raises(StudyError, match=r"data.split.method: column: no sample of (train|validation|test) is given"):
        run(tmp_path, given, columns=Columns(split="fold"), split=COLUMN)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"split": {"method": "column"}}, "needs columns.split"),
        ({"columns": {"split": "fold"}}, "columns.split is read with split.method: column alone"),
        ({"split": {"method": "source"}}, "needs source.path or source.split as"),
        ({"source": {"path": {"train": "a.csv", "test": "b.csv"}}}, "split.method must be source"),
        ({"split": {"drop_leaked": True}}, "drop_leaked is for the splits that a data set brings"),
        ({"split": {"method": "column", "validation_from_train": 1}}, "must be more than 0 and less than 1"),
    ],
)
def test_keys_that_contradict_each_other_are_an_error(data: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Data.model_validate({"source": {"path": "a.csv"}, "labels": "plain", **data})
