"""What a dry run knows to go wrong: wrong columns and labels, full windows, weights without a GPU."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from slingshot.config.study import Study, parse_study
from slingshot.study.checks import describe_devices, file_faults, find_faults

MODEL = {"source": {"hub": "a/b"}, "size": "1B"}


def study_of(folder: Path, rows: str = "text,label\na cough,I10\n", **sections: Any) -> Study:
    (folder / "texts.csv").write_text(rows)
    return parse_study(
        {"data": {"source": {"path": "texts.csv"}}, "llm": {"large": MODEL}, "slm": {"small": MODEL | {"size": "2B"}}}
        | sections
    )


def faults_of(folder: Path, study: Study) -> list[str]:
    return find_faults(study, folder, folder / "results")


def test_a_right_study_has_none(tmp_path: Path) -> None:
    assert faults_of(tmp_path, study_of(tmp_path)) == []


def test_a_column_that_the_file_lacks_is_named_with_the_nearest(tmp_path: Path) -> None:
    (fault,) = faults_of(tmp_path, study_of(tmp_path, "text,lable\na,I10\n"))
    assert "label" in fault and "did you mean lable" in fault


def test_labels_of_another_system_are_named(tmp_path: Path) -> None:
    study = study_of(
        tmp_path, "text,label\n" + "".join(f"text {n},{'asthma' if n % 2 else 'I10'}\n" for n in range(40))
    )
    (fault,) = faults_of(tmp_path, study)
    assert "data.labels is icd10cm, but 20 of the first 40 labels" in fault and "'asthma'" in fault
    data = {"source": {"path": "texts.csv"}, "labels": "plain"}
    assert faults_of(tmp_path, study.model_copy(update={"data": study.data.model_validate(data)})) == []


def test_a_test_sets_file_is_looked_at_too(tmp_path: Path) -> None:
    (tmp_path / "other.csv").write_text("words,label\na,I10\n")
    data = {"source": {"path": "texts.csv"}, "test_sets": {"b": {"source": {"path": "other.csv"}}}}
    (fault,) = faults_of(tmp_path, study_of(tmp_path, data=data))
    assert "other.csv" in fault and "text" in fault


@pytest.mark.parametrize("content", [b"text;label\na;I10\n", "text,label\ncaf\xe9,I10\n".encode("cp1252")])
def test_a_test_sets_own_key_says_how_its_file_is_read(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "other.csv").write_bytes(content)
    data = {"source": {"path": "texts.csv"}, "test_sets": {"b": {"source": {"path": "other.csv"}}}}
    (fault,) = faults_of(tmp_path, study_of(tmp_path, data=data))
    assert "set data.test_sets.b.source." in fault and "data.source" not in fault


def test_files_that_are_missing_are_named_by_their_keys(tmp_path: Path) -> None:
    data = {"source": {"path": "texts.csv"}, "test_sets": {"b": {"source": {"path": "texts.csv"}}}}
    columns = {"sample_id": "id"}
    study = study_of(
        tmp_path,
        data=data,
        prompt={"file": "prompts/mine.yaml"},
        embedding={"mini": {"source": {"folder": "mini"}, "size": "22M"}},
        predictions={"vendor": {"file": "answers.csv", "columns": columns, "test_sets": {"b": "b.csv"}}},
    )
    assert [fault.replace(str(tmp_path), "") for fault in file_faults(study, tmp_path)] == [
        "/prompts/mine.yaml is missing: write one, or correct prompt.file in config.yaml",
        "config.yaml: embedding.mini.source: /mini is missing; correct the path (it counts from the study's folder)",
        "config.yaml: predictions.vendor.file: /answers.csv is missing; correct the path (it counts from the study's "
        "folder)",
        "config.yaml: predictions.vendor.test_sets.b: /b.csv is missing; correct the path (it counts from the study's "
        "folder)",
    ]
    for name in ("answers.csv", "b.csv"):
        (tmp_path / name).write_text("id,answer\n1,I10\n")
    (tmp_path / "mini").mkdir()
    assert file_faults(study.model_copy(update={"llm": {}, "slm": {}}), tmp_path) == []


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"id,Answer\n1,I10\n", "predictions.vendor.columns: answers.csv has no column 'answer'; did you mean Answer?"),
        (b"id,answer\n1,\xe9\n", "predictions.vendor.file: answers.csv, line 2: byte 0xe9 is not UTF-8: save the file"),
    ],
)
def test_a_file_of_answers_is_looked_at_before_anything_runs(tmp_path: Path, content: bytes, fault: str) -> None:
    """No key of the study's source speaks of such a file."""
    (tmp_path / "answers.csv").write_bytes(content)
    answers = {"vendor": {"file": "answers.csv", "columns": {"sample_id": "id"}}}
    (found,) = file_faults(study_of(tmp_path, llm={}, slm={}, predictions=answers), tmp_path)
    assert found.replace(f"{tmp_path}/", "").startswith(f"config.yaml: {fault}") and "data.source" not in found


def test_a_study_without_arms_is_known_to_fail(tmp_path: Path) -> None:
    (fault,) = faults_of(tmp_path, study_of(tmp_path, llm={}, slm={}, baseline={"tfidf": False}))
    assert fault.startswith("the study has no arm")


@pytest.mark.parametrize(("window", "k", "full"), [(128, 0, False), (32, 0, True), (128, 5, True)])
def test_a_window_without_room_for_a_text_is_known_before(tmp_path: Path, window: int, k: int, full: bool) -> None:
    """The default instruction has some 48 words; an example at least 20, as data that are prepared say."""
    (tmp_path / "results/data").mkdir(parents=True)
    splits = {"train": {"samples": 9, "label_counts": {"I10": 9}, "words": {"min": 20}}}
    (tmp_path / "results/data/dataset.json").write_text(json.dumps({"splits": splits}))
    study = study_of(tmp_path, llm={"large": MODEL | {"prompt": {"max_tokens": window}, "few_shot": {"k": k}}})
    faults = faults_of(tmp_path, study)
    assert [fault.startswith("llm/large: its instruction") for fault in faults] == [True] * full
    assert all((f"and {k} examples of at least 20 words" in fault) == (k > 0) for fault in faults)


def test_weights_that_need_a_gpu_are_refused_on_a_processor(tmp_path: Path) -> None:
    on_cpu = MODEL | {"quantization": "nf4", "hardware": {"device": "cpu"}}
    (fault,) = faults_of(tmp_path, study_of(tmp_path, llm={"large": on_cpu}))
    assert "large: quantization: nf4 needs a GPU" in fault
    assert faults_of(tmp_path, study_of(tmp_path, llm={"large": on_cpu | {"unquantized_without_gpu": True}})) == []


@pytest.mark.parametrize(
    ("changed", "refused"), [({}, False), ({"quantization": "nf4"}, True), ({"hardware": {"device": "cpu"}}, True)]
)
def test_fp8_finetuning_wants_unquantized_weights_on_a_gpu(tmp_path: Path, changed: dict, refused: bool) -> None:
    small = MODEL | changed | {"unquantized_without_gpu": True, "finetune": {"fp8": True}}
    faults = faults_of(tmp_path, study_of(tmp_path, slm={"small": small}))
    assert [fault.startswith("small: finetune.fp8 needs unquantized weights on a GPU") for fault in faults] == [
        True
    ] * refused


def test_fp8_finetuning_is_looked_at_wherever_a_recipe_stands(tmp_path: Path) -> None:
    nf4 = MODEL | {"quantization": "nf4"}
    swept = {"sweep": {"models": ["small"], "grid": {"fp8": [True, False]}}}
    for study in (
        study_of(tmp_path, llm={"large": nf4}, designs={"crossed": ["large"]}, finetune={"fp8": True}),
        study_of(tmp_path, slm={"small": nf4}, designs=swept),
    ):
        (fault,) = faults_of(tmp_path, study)
        assert "finetune.fp8 needs unquantized weights" in fault


def test_a_setting_for_files_of_a_kind_that_is_not_there_is_named(tmp_path: Path) -> None:
    for source, complaint in (({"sheet": "Rows"}, "sheet is for a workbook, and texts.csv is none"), ({}, None)):
        study = study_of(tmp_path, data={"source": {"path": "texts.csv", **source}, "labels": "plain"})
        assert [complaint in fault for fault in faults_of(tmp_path, study)] == [True] * bool(complaint)


def test_a_setting_of_a_further_test_set_is_named_as_that_sets(tmp_path: Path) -> None:
    clinic = {"source": {"path": "texts.csv", "sheet": "Rows"}, "columns": {"text": "Dialogue", "label": "ICD10"}}
    study = study_of(
        tmp_path, data={"source": {"path": "texts.csv"}, "labels": "plain", "test_sets": {"clinic": clinic}}
    )
    assert ["data.test_sets.clinic.source.sheet is for" in fault for fault in faults_of(tmp_path, study)] == [True]


def test_arms_that_want_a_gpu_are_named_where_none_is_seen(tmp_path: Path) -> None:
    study = study_of(tmp_path, slm={"small": MODEL | {"hardware": {"device": "cpu"}}})
    text = describe_devices(study, ["llm/large", "slm/small", "baseline/tfidf"], has_gpu=False)
    assert "llm/large would run" in text and "slm/small" not in text
    assert describe_devices(study, ["llm/large"], has_gpu=True) == ""
    assert describe_devices(study, ["slm/small"], has_gpu=False) == ""
