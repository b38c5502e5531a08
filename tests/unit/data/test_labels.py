from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slingshot.artifacts.labels import Label, read_labels, write_labels
from slingshot.core.errors import StudyError
from slingshot.data import cells, icd10, labels


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        (["A047"], "A047"),
        (["A047", "A047", None], "A047"),
        ("['A047']", "A047"),
        ('["A047"]', "A047"),
        ("[A047]", "A047"),
        (" A047 ", "A047"),
        (1.0, "1"),
        ("1.0", "1"),
        (2, "2"),
        ("1.5", "1.5"),
        ("FAM/SOCHX", "FAM/SOCHX"),
        ("a, b", "a, b"),
        (None, None),
        (float("nan"), None),
        ("  ", None),
        ([], None),
        ("[]", None),
    ],
)
def test_a_cell_is_one_text(cell: Any, value: str | None) -> None:
    assert cells.plain_value(cell)[0] == value


@pytest.mark.parametrize("cell", [["A047", "B20"], "['A047', 'B20']"])
def test_several_labels_in_a_cell_are_no_label(cell: Any) -> None:
    with pytest.raises(ValueError, match=cells.SEVERAL):
        cells.plain_value(cell)


def test_what_was_changed_is_said() -> None:
    assert cells.plain_value(["A047"])[1] == [cells.FROM_LIST]
    assert cells.plain_value("1.0")[1] == [cells.FROM_FLOAT]
    assert labels.target_of("a04.7", "icd10cm", "code")[1] == labels.CODE_FORM
    assert labels.target_of("A047", "icd10cm", "code")[1] is None


@pytest.mark.parametrize(
    ("level", "label"), [("code", "A047"), ("category", "A04"), ("block", "A00-A09"), ("chapter", "1")]
)
def test_the_target_stands_at_the_level_asked_for(level: Any, label: str) -> None:
    target, _ = labels.target_of("A04.7", "icd10cm", level)
    assert target is not None
    assert (target.label, target.code) == (label, "A047")
    full = labels.label_of(target, "icd10cm", level, "FROM THE DATA", 3)
    assert (full.label, full.chapter, full.train_samples) == (label, "1", 3)
    assert (full.description == "FROM THE DATA") == (level == "code")
    assert (full.category is None) == (level in ("block", "chapter"))


def test_a_retired_code_has_a_target_only_above_its_level() -> None:
    assert labels.target_of("A0499", "icd10cm", "code") == (None, labels.NOT_IN_CODE_SET)
    target, _ = labels.target_of("A0499", "icd10cm", "category")
    assert target is not None
    assert target.label == "A04"


def test_the_code_set_describes_what_the_data_does_not() -> None:
    target, _ = labels.target_of("A047", "icd10cm", "code")
    assert target is not None
    label = labels.label_of(target, "icd10cm", "code", None, 0)
    assert label.description == icd10.describe("A047", "code")
    assert label.billable is False


@given(st.sampled_from(icd10.all_labels("code")[::211]), st.booleans(), st.booleans(), st.text(" \t", max_size=2))
def test_every_writing_of_a_code_has_one_target(code: str, dot: bool, small: bool, space: str) -> None:
    written = space + (icd10.dotted(code) if dot else code) + space
    written = written.lower() if small else written
    assert labels.target_of(written, "icd10cm", "code")[0] == labels.target_of(code, "icd10cm", "code")[0]


def test_a_label_set_survives_its_file(tmp_path: Path) -> None:
    target, _ = labels.target_of("A047", "icd10cm", "code")
    assert target is not None
    written = [labels.label_of(target, "icd10cm", "code", None, 7), Label(label="x", train_samples=1)]
    write_labels(tmp_path / "labels.json", written)
    assert read_labels(tmp_path / "labels.json") == written
    (tmp_path / "labels.json").write_text('[{"label": 1}]')
    with pytest.raises(StudyError, match=r"labels\.json is not what this version writes .0\.label"):
        read_labels(tmp_path / "labels.json")
