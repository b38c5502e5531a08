"""A study made for a file: what is read of it is written so that `snakemake data` reads the same."""

import json
from collections import Counter

import pandas as pd
import pytest

from slingshot.config.data import FileData
from slingshot.config.study import load_study
from slingshot.core.errors import StudyError
from slingshot.study.new_study import find_hints, write_study

TEXTS = [f"text {number}, of a visit" for number in range(40)]


def make(folder, labels, text="text", label="label", suffix=".csv", **how):
    """The study of 40 texts whose labels come round, and what was said of it."""
    folder.mkdir(exist_ok=True)
    frame = pd.DataFrame({text: TEXTS, label: [labels[number % len(labels)] for number in range(40)]})
    path = folder / f"texts{suffix}"
    frame.to_parquet(path) if suffix == ".parquet" else frame.to_csv(path, index=False, **how)
    said = write_study(folder / "mine", path, text, label, False)
    return load_study(folder / "mine/config.yaml"), said


@pytest.mark.parametrize(
    "names",
    [
        ("null", "yes"),
        ("on", "Off"),
        ("1", "="),
        (".5", "1e3"),
        ("~", "2024-01-01"),
        ("\U0001f600", "é"),
        ("a: b", "#"),
    ],
)
def test_names_of_columns_are_read_back_as_names(tmp_path, names):
    study, _ = make(tmp_path, ["a", "b"], *names)
    assert (study.data.columns.text, study.data.columns.label) == names


@pytest.mark.parametrize("separator", [";", "\t", "|", ","])
def test_the_separator_is_found_by_the_columns(tmp_path, separator):
    study, said = make(tmp_path, ["a", "b"], sep=separator)
    assert isinstance(study.data.source, FileData)
    assert study.data.source.separator == (None if separator == "," else separator)
    assert "40 rows, 2 different labels" in said


@pytest.mark.parametrize("write", [list, str, json.dumps])
def test_codes_in_lists_of_one_are_codes(tmp_path, write):
    study, said = make(tmp_path, [write(["A04.7"]), write(["I10"])], suffix=".parquet")
    assert (study.data.labels, study.data.several) == ("icd10cm", None)
    assert "2 different labels (ICD-10-CM codes)" in said


@pytest.mark.parametrize("between", [";", "; ", "|", ", ", "/", " + ", " "])
def test_several_codes_in_a_cell_are_a_set(tmp_path, between):
    study, said = make(tmp_path, [f"A04.7{between}I10", "I10", f"E11.9{between}B20{between}I10"])
    assert study.data.labels == "icd10cm" and study.data.several is not None
    assert study.data.several.separator == (between.strip() or " ")
    assert "4 different labels (ICD-10-CM codes, several in a row)" in said


@pytest.mark.parametrize(("labels", "system"), [(["I10", "A04.7"], "icd10cm"), (["pain", "fever"], "plain")])
def test_lists_of_several_labels_are_sets(tmp_path, labels, system):
    study, _ = make(tmp_path, [labels, labels[:1]], suffix=".parquet")
    assert study.data.labels == system and study.data.several is not None
    assert study.data.several.separator is None


def test_a_cell_that_now_and_then_has_several_codes_makes_no_study_of_sets(tmp_path):
    study, _ = make(tmp_path, ["I10", "A04.7"] * 19 + ["I10;A04.7", "B20"])
    assert (study.data.labels, study.data.several) == ("icd10cm", None)


def test_what_looks_like_a_second_header_or_like_sets_is_noted(tmp_path):
    _, said = make(tmp_path, ["ICD code", *["I10", "A04.7"] * 20])
    assert "note: no other row has the label of the first one, 'ICD code'" in said
    assert "second header" not in make(tmp_path / "b", ["x", "y"])[1]
    sets = Counter({"pain;fever": 9, "pain;cough": 9, "fever;cough": 9, "cough": 1})
    assert "'pain;fever' look like several" in find_hints(sets, False)[0]
    assert find_hints(Counter({"pain; acute": 9, "fever": 9}), False) == []


def test_a_file_that_no_separator_fits_is_refused(tmp_path):
    with pytest.raises(StudyError, match=r"has no column 'text'; did you mean text\^label"):
        make(tmp_path, ["a", "b"], sep="^")


def test_a_file_in_the_studys_place_is_refused(tmp_path):
    (tmp_path / "mine").write_text("")
    with pytest.raises(StudyError, match="mine is a file, and a study is a folder"):
        make(tmp_path, ["a", "b"])


def test_a_word_that_counts_as_no_label_is_said(tmp_path):
    _, said = make(tmp_path, ["None", "smoker", "former"])
    assert "14 of them without a label, 2 different labels" in said
    assert "note: 'None' counts as no label; where it is one, set data.nulls: []" in said
    assert "counts as no label" not in make(tmp_path / "b", ["", "smoker", "former"])[1]


def test_a_mixture_of_codes_and_others_is_said():
    (note,) = find_hints(Counter({"I10": 6, "A04.7": 6, "E1O.9": 8}), False)
    assert note.startswith("note: 12 of 20 labels are ICD-10-CM codes, others such as 'E1O.9' are not")
