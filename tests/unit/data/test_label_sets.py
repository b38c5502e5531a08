"""Samples with several labels: read, dealt and counted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from slingshot.artifacts.labels import read_labels
from slingshot.artifacts.layout import DataFiles
from slingshot.artifacts.splits import SCHEMA, SPLITS, read_split
from slingshot.config.data import Columns, Data, FileData, Several
from slingshot.config.specs import PrepareDataSpec
from slingshot.core.hashing import seeded
from slingshot.data import labels
from slingshot.data.intake import LEFT_OUT
from slingshot.data.planning import DUPLICATE
from slingshot.data.prepare import prepare
from slingshot.data.splitting import deal_sets
from slingshot.report.data_page import write_data_page

CODES = ["A047", "B20", "E1165", "I10", "J189", "K219", "N390", "M545"]


def dialogue(number: int) -> str:
    return " ".join(f"w{value}" for value in np.random.default_rng(number).integers(0, 10_000, 40))


def rows(count: int = 80) -> list[dict[str, Any]]:
    random = np.random.default_rng(3)
    return [
        {
            "text": dialogue(n),
            "label": [CODES[c] for c in random.permutation(8)[: random.integers(1, 6)]],
            "who": n // 2,
        }
        for n in range(count)
    ]


def run(folder: Path, given_rows: list[dict[str, Any]], several: Several | None = None, **data: Any) -> Any:
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in given_rows))
    data = {"max_dropped_share": 1.0, **data}
    spec = PrepareDataSpec(
        data=Data(source=FileData(path="rows.jsonl"), several=several or Several(), **data), source_digest=None
    )
    files = DataFiles(folder / "out")
    report = prepare(spec, folder, files)
    frames = [read_split(files.split(name)).assign(split=name) for name in SPLITS]
    return files, report, pd.concat(frames, ignore_index=True)


@pytest.mark.parametrize("way", ["list", "json", "python", "cell"])
def test_a_list_a_written_list_and_a_cell_with_a_separator_are_the_same_set(tmp_path: Path, way: str) -> None:
    given_rows = rows()
    written = {"list": list, "json": json.dumps, "python": str, "cell": " ; ".join}[way]
    _, report, samples = run(
        tmp_path, [{**row, "label": written(row["label"])} for row in given_rows], Several(separator=";")
    )
    by_text = dict(zip(samples["text"], samples["labels"], strict=True))
    assert all(list(by_text[row["text"]]) == row["label"] for row in given_rows)  # the order is kept
    assert report["labels"]["count"] == 8
    assert report["dropped"] == {}


def test_the_order_of_a_set_makes_no_other_sample_and_repeats_count_once(tmp_path: Path) -> None:
    given_rows = rows()
    again = [{**row, "label": [*row["label"][::-1], row["label"][0].lower()]} for row in given_rows[:9]]
    _, report, samples = run(tmp_path, given_rows + again)
    assert len(samples) == 80
    assert report["dropped"][DUPLICATE]["rows"] == 9


def test_a_label_that_stands_for_nothing_is_left_out_and_counted(tmp_path: Path) -> None:
    given_rows = rows()
    given_rows[0]["label"] = ["A047", "E849.0", None, "NULL"]
    given_rows[1]["label"] = ["E849.0"]
    given_rows[2]["label"] = []
    _, report, samples = run(tmp_path, given_rows)
    assert report["changed"][f"{LEFT_OUT}: {labels.foreign('ICD-9-CM')}"]["rows"] == 1
    assert report["dropped"][labels.foreign("ICD-9-CM")]["rows"] == 1
    assert report["dropped"][labels.NO_LABEL]["rows"] == 1
    assert list(samples.loc[samples["text"] == given_rows[0]["text"], "labels"].iloc[0]) == ["A047"]
    _, report, samples = run(tmp_path, given_rows, Several(allow_empty=True))
    assert labels.NO_LABEL not in report["dropped"]
    assert (samples["labels"].map(len) == 0).sum() == 1


def test_counts_are_by_label_and_by_set_size(tmp_path: Path) -> None:
    files, report, samples = run(tmp_path, rows())
    for name in SPLITS:
        part = samples[samples["split"] == name]
        exploded = part["labels"].explode().value_counts()
        assert report["splits"][name]["label_counts"] == exploded.to_dict()
        sizes = part["labels"].map(len).value_counts()
        assert report["splits"][name]["set_sizes"] == {str(size): count for size, count in sizes.items()}
    train = {label.label: label.train_samples for label in read_labels(files.labels)}
    assert train == report["splits"]["train"]["label_counts"]
    write_data_page(files)
    assert "Labels per sample" in files.page.read_text()


def test_labels_of_test_that_train_never_shows_are_counted_by_sample(tmp_path: Path) -> None:
    given_rows = [{"text": dialogue(n), "label": ["I10", "B20"], "fold": "train"} for n in range(20)]
    given_rows += [{"text": dialogue(n), "label": ["I10"], "fold": "dev"} for n in range(20, 25)]
    given_rows += [{"text": dialogue(n), "label": ["I10", "A047", "J189"], "fold": "test"} for n in range(25, 30)]
    _, report, _ = run(tmp_path, given_rows, columns=Columns(split="fold"), split={"method": "column"})
    assert report["leakage"]["test_labels_unseen_in_train"] == {"labels": 2, "samples": 5, "first": ["A047", "J189"]}


def test_no_group_is_split_and_the_order_of_rows_does_not_matter(tmp_path: Path) -> None:
    _, _, samples = run(tmp_path, rows(), columns=Columns(group="who"))
    assert (samples.groupby("group")["split"].nunique() == 1).all()
    before = samples[["sample_id", "split"]]
    _, _, samples = run(tmp_path, rows()[::-1], columns=Columns(group="who"))
    assert samples[["sample_id", "split"]].equals(before)


@given(st.integers(0, 2**32 - 1))
def test_iterative_stratification_keeps_each_labels_shares_better_than_chance(seed: int) -> None:
    random = np.random.default_rng(seed)
    members = csr_matrix((random.random((200, 12)) < np.linspace(0.03, 0.5, 12)).astype(np.int64))
    groups = random.integers(0, 120, 200)
    hashes = seeded(groups.astype(np.uint64), seed % 1000, "test")
    shares = np.array([0.7, 0.15, 0.15])
    split = deal_sets(hashes, members, groups, shares)
    assert all(len(set(split[groups == group])) == 1 for group in set(groups.tolist()))
    assert np.abs(np.bincount(split, minlength=3) / 200 - shares).max() < 0.1

    def off(dealt: np.ndarray) -> float:
        totals = np.asarray(members.sum(axis=0)).ravel()
        parts = np.stack([np.asarray(members[np.flatnonzero(dealt == s)].sum(axis=0)).ravel() for s in range(3)])
        return float(np.abs(parts / np.maximum(totals, 1) - shares[:, None]).mean())

    chance = [off(random.choice(3, size=120, p=shares)[groups]) for _ in range(20)]
    assert off(split) < np.mean(chance)


def test_a_split_of_no_share_gets_no_sample() -> None:
    members = csr_matrix(np.eye(10, dtype=np.int64))
    split = deal_sets(np.arange(10, dtype=np.uint64), members, np.arange(10), np.array([0.5, 0.0, 0.5]))
    assert set(split.tolist()) == {0, 2}


def test_one_label_each_keeps_the_schema(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text(
        "".join(json.dumps({"text": dialogue(n), "label": CODES[n % 8]}) + "\n" for n in range(60))
    )
    files = DataFiles(tmp_path / "out")
    report = prepare(
        PrepareDataSpec(data=Data(source=FileData(path="rows.jsonl")), source_digest=None), tmp_path, files
    )
    assert pyarrow.parquet.read_schema(files.train).names == SCHEMA.names
    assert "set_sizes" not in report["splits"]["train"]
