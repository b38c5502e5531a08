"""What can be wrong with a source, and what is said about it: one sentence with the place and the fix."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import datasets
import huggingface_hub
import pandas as pd
import pytest
from huggingface_hub import errors

from slingshot.config.data import Columns, FileData, HubData
from slingshot.core.errors import StudyError
from slingshot.data.readers import read_rows
from slingshot.data.tables import ROWS_PER_BATCH
from tests.unit.data.reading import COLUMNS, assert_refused, read, written

ROWS = [{"text": f"text {n}", "label": f"L{n % 3}"} for n in range(5)]


# ---------------------------------------------------------------- what is read


def test_every_format_gives_the_same_rows(tmp_path: Path) -> None:
    table = pd.DataFrame(ROWS)
    table.to_csv(tmp_path / "a.csv", index=False)
    table.to_csv(tmp_path / "a.tsv", index=False, sep="\t")
    table.to_parquet(tmp_path / "a.parquet")
    table.to_json(tmp_path / "a.jsonl", orient="records", lines=True)
    for suffix in ("csv", "tsv", "parquet", "jsonl"):
        assert read(tmp_path / f"a.{suffix}") == ROWS


def test_a_folder_of_shards_is_read_in_the_order_of_names(tmp_path: Path) -> None:
    folder = tmp_path / "shards"
    folder.mkdir()
    pd.DataFrame(ROWS[3:]).to_parquet(folder / "part-2.parquet")
    pd.DataFrame(ROWS[:3]).to_csv(folder / "part-1.csv", index=False)
    written(folder / ".hidden.csv", "")
    (folder / ".ipynb_checkpoints").mkdir()
    written(folder / ".ipynb_checkpoints/a-checkpoint.csv", "")
    (folder / "made_by_spark.csv").mkdir()
    written(folder / "README.md", "no data")
    assert read(folder) == ROWS
    origin = read_rows(FileData(path="shards"), COLUMNS, tmp_path).origin
    assert list(origin["files"]) == ["part-1.csv", "part-2.parquet"]


def test_spaces_around_a_header_and_a_byte_order_mark_do_not_matter(tmp_path: Path) -> None:
    assert read(written(tmp_path / "a.csv", "\ufeff text,label \nx,y\n")) == [{"text": "x", "label": "y"}]


def test_quoted_line_ends_belong_to_their_field(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", 'text,label\n"one\n""two"", three",y\n\n"z",w\n')
    assert [row["text"] for row in read(path)] == ['one\n"two", three', "z"]


def test_cells_are_not_guessed_at(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", "text,label\nNA,1E10\n007,0012\n")
    assert read(path) == [{"text": "NA", "label": "1E10"}, {"text": "007", "label": "0012"}]


def test_more_rows_than_a_batch_keep_their_numbers(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", "text,label\n" + "x,y\n" * (2 * ROWS_PER_BATCH + 1))
    batches = list(read_rows(FileData(path="a.csv"), COLUMNS, path.parent).batches)
    assert [batch.first_row for batch in batches] == [1, ROWS_PER_BATCH + 1, 2 * ROWS_PER_BATCH + 1]
    assert [len(batch) for batch in batches] == [ROWS_PER_BATCH, ROWS_PER_BATCH, 1]


# ---------------------------------------------------------------- what is refused

BROKEN: dict[str, tuple[str, str | bytes, str]] = {
    "empty": ("a.csv", "", r"a\.csv is empty"),
    "header only": ("a.csv", "text,label\n", "a.csv has a header but no rows"),
    "too few fields": ("a.csv", "text,label\nx,y\nz\n", r"a\.csv, line 3: 1 fields where the header has 2; fix"),
    "too many fields": ("a.csv", 'text,label\n"x\nx",y\nz,w,v\n', r"a\.csv, line 4: 3 fields where the header has 2"),
    "open quotation": ("a.csv", 'text,label\nx,y\n"z,w\nv,u\n', r"a\.csv, line 3: a quotation mark .* never closed"),
    "text after quotation": ("a.csv", 'text,label\n"x"z,y\n', r"a\.csv, line 2: cannot be read as CSV"),
    "latin-1": ("a.csv", "text,label\nx,y\nm\xfcde,y\n".encode("latin-1"), r"a\.csv, line 3: byte 0xfc is not UTF-8"),
    "latin-1 JSON": ("a.jsonl", '{"text": "\xe9", "label": "y"}\n'.encode("latin-1"), "line 1: byte 0xe9 is not UTF-8"),
    "utf-16": (
        "a.csv",
        "text,label\nx,y\n".encode("utf-16"),
        r"a\.csv is UTF-16, not UTF-8: set data\.source\.encoding: utf-16",
    ),
    "zipped": ("a.csv", b"PK\x03\x04....", r"a\.csv is a zip archive"),
    "bad JSON": ("a.jsonl", '{"text": "x", "label": "y"}\n{"text": "x"', r"a\.jsonl, line 2: is not JSON"),
    "JSON list": ("a.jsonl", "[1]\n", r"line 1: must be a JSON object, not list"),
    "no Parquet": ("a.parquet", b"text,label\n", r"a\.parquet is not a whole Parquet file"),
    "unknown format": ("a.txt", b"text,label\n", r"a\.txt must end in \.csv, \.tsv, \.jsonl, \.parquet"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_file_is_one_sentence(tmp_path: Path, case: str) -> None:
    assert_refused(tmp_path, *BROKEN[case])


def test_a_parquet_file_cut_short_is_refused(tmp_path: Path) -> None:
    pd.DataFrame(ROWS * 1000).to_parquet(tmp_path / "whole.parquet")
    whole = (tmp_path / "whole.parquet").read_bytes()
    for size in (len(whole) // 2, len(whole) - 1, 10):
        with pytest.raises(StudyError, match=r"is not a whole Parquet file .* copy or download it again"):
            read(written(tmp_path / "cut.parquet", whole[:size]))


def test_line_one_million_is_named(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", "text,label\n" + "x,y\n" * 999_998 + "x,y,z\n" + "x,y\n" * 10)
    with pytest.raises(StudyError, match="line 1000000: 3 fields where the header has 2"):
        read(path)


def test_a_quotation_mark_left_open_does_not_swallow_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    with path.open("w") as out:
        out.write('text,label\nx,y\n"z,w\n')
        for _ in range(18):
            out.write("v,u\n" * 2**18)
    with pytest.raises(StudyError, match="line 3: a quotation mark that opens there is never closed"):
        read(path)


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ("lable", "has no column 'lable'; did you mean label?"),
        ("LABEL", "has no column 'LABEL'; did you mean label?"),
        ("icd", "has no column 'icd'; it has 'text', 'label'"),
    ],
)
@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_a_misspelt_column_brings_the_nearest_to_mind(tmp_path: Path, column: str, message: str, suffix: str) -> None:
    table = pd.DataFrame(ROWS)
    path = tmp_path / f"a.{suffix}"
    path.write_text(
        {"csv": table.to_csv(index=False), "jsonl": table.to_json(orient="records", lines=True)}.get(suffix, "")
    )
    if suffix == "parquet":
        table.to_parquet(path)
    with pytest.raises(StudyError) as refusal:
        read(path, Columns(text="text", label=column))
    assert message in str(refusal.value)


def test_a_missing_file_brings_the_nearest_to_mind(tmp_path: Path) -> None:
    written(tmp_path / "dialogues.csv", "text,label\nx,y\n")
    with pytest.raises(StudyError, match=r"dialogs\.csv is missing; did you mean dialogues\.csv\?"):
        read(tmp_path / "dialogs.csv")
    with pytest.raises(StudyError, match="is missing; the path is relative to the study's folder"):
        read(tmp_path / "nowhere" / "dialogs.csv")
    (tmp_path / "none").mkdir()
    with pytest.raises(StudyError, match="the folder none holds no"):
        read(tmp_path / "none")


# ---------------------------------------------------------------- the hub

HUB = HubData(hub="owner/name", revision="v1")
COMMIT = "0123456789abcdef0123456789abcdef01234567"


RESPONSE = MagicMock()  # of whichever HTTP client the hub's version uses
FAULTS: dict[str, tuple[Exception, str]] = {
    "gated": (errors.GatedRepoError("401", response=RESPONSE), "owner/name is gated: accept its terms .* HF_TOKEN"),
    "revision": (errors.RevisionNotFoundError("404", response=RESPONSE), "has no revision 'v1': name a commit"),
    "absent": (errors.RepositoryNotFoundError("404", response=RESPONSE), "does not exist on the hub, or is private"),
    "offline": (
        errors.OfflineModeIsEnabled("offline mode"),
        "can't be reached or read: offline mode; check the network",
    ),
    "no network": (ConnectionError("Name or service not known"), "can't be reached or read: Name or service not known"),
}


@pytest.mark.parametrize("case", FAULTS)
def test_what_goes_wrong_on_the_hub_is_one_sentence(monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    fault, message = FAULTS[case]

    def fail(*_: Any, **__: Any) -> None:
        raise fault

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", fail)
    with pytest.raises(StudyError, match=message) as refusal:
        read_rows(HUB, COLUMNS, Path())
    assert "\n" not in str(refusal.value)


def test_hub_rows_come_at_the_recorded_commit_and_run_no_code(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def load_dataset(name: str, **options: Any) -> datasets.DatasetDict:
        asked.update(options, name=name)
        part = datasets.Dataset.from_list([{" text": row["text"], "label": [row["label"]]} for row in ROWS])
        return datasets.DatasetDict({"train": part, "extra": part.select([0])})

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", lambda *_, **__: SimpleNamespace(sha=COMMIT))
    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    rows = read_rows(HUB, COLUMNS, Path())
    batches = list(rows.batches)
    assert asked == {"name": "owner/name", "revision": COMMIT, "split": None}
    assert rows.origin == {"hub": "owner/name", "revision": "v1", "commit": COMMIT, "splits": ["extra", "train"]}
    assert [batch.where for batch in batches] == ["owner/name/extra", "owner/name/train"]
    assert batches[1].columns == {"text": [row["text"] for row in ROWS], "label": [[row["label"]] for row in ROWS]}
    with pytest.raises(StudyError, match="did you mean label"):
        list(read_rows(HUB, Columns(label="labels"), Path()).batches)


def test_a_hub_split_that_does_not_exist_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def load_dataset(name: str, **_: Any) -> None:
        raise ValueError("Unknown split \"tset\". Should be one of ['train'].\nmore")

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", lambda *_, **__: SimpleNamespace(sha=COMMIT))
    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(StudyError, match=r'split tset\) .* Unknown split "tset"'):
        read_rows(HubData(hub="owner/name", split="tset"), COLUMNS, Path())


def test_lists_in_json_lines_stay_lists(tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl", json.dumps({"text": ["a", "b"], "label": ["x"]}) + '\n{"label": 1.0}\n')
    assert read(path) == [{"text": ["a", "b"], "label": ["x"]}, {"text": None, "label": 1.0}]


@pytest.mark.parametrize(
    ("key", "value", "name", "refused"),
    [
        ("sheet", "Rows", "a.csv", "sheet is for a workbook"),
        ("separator", ";", "a.jsonl", "separator is for lines of fields"),
        ("encoding", "cp1252", "a.parquet", "encoding is for a text"),
        ("encoding", "cp1252", "a.csv", None),
    ],
)
def test_a_setting_that_no_file_is_read_by_is_refused(
    tmp_path: Path, key: str, value: str, name: str, refused: str | None
) -> None:
    frame = pd.DataFrame({"text": ["a"], "label": ["b"]})
    path = tmp_path / name
    if path.suffix == ".parquet":
        frame.to_parquet(path)
    else:
        path.write_text(frame.to_csv(index=False) if path.suffix == ".csv" else '{"text": "a", "label": "b"}\n')
    source = FileData.model_validate({"path": name, key: value})
    if refused:
        with pytest.raises(StudyError, match=rf"data\.source\.{refused}.*, and {name} is none"):
            read_rows(source, Columns(), tmp_path)
    else:
        assert sum(len(batch) for batch in read_rows(source, Columns(), tmp_path).batches) == 1
