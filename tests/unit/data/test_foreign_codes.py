"""Codes of other systems are recognized and refused with a count, never read as ICD-10-CM."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slingshot.artifacts.layout import DataFiles
from slingshot.config.data import Columns, Data, FileData
from slingshot.config.specs import PrepareDataSpec
from slingshot.core.errors import StudyError
from slingshot.data import cells, foreign_codes, icd10, labels
from slingshot.data.prepare import prepare

LEVELS = ("code", "category", "block", "chapter")


@pytest.mark.parametrize(
    ("code", "system"),
    [
        ("E849.0", "ICD-9-CM"),  # at home; E84 is cystic fibrosis
        ("e849.0", "ICD-9-CM"),
        ("E8490", "ICD-9-CM"),
        ("250.00", "ICD-9-CM"),
        ("25000", "ICD-9-CM"),
        ("401.9", "ICD-9-CM"),
        ("V45.81", "ICD-9-CM"),  # bypass status; V45 is an accident
        ("V4581", "ICD-9-CM"),
        ("I10.-", "ICD-10 of WHO or GM"),
        ("A17.0+", "ICD-10 of WHO or GM"),
        ("G01*", "ICD-10 of WHO or GM"),
        ("J96.0!", "ICD-10 of WHO or GM"),
        ("E11.90G", "ICD-10-GM"),
        ("44054006", "SNOMED CT"),
        ("5A11", "ICD-11"),
        ("CA23.32", "ICD-11"),
        ("0DTJ4ZZ", "ICD-10-PCS"),
        ("5-511.11", "OPS"),
        ("4548-4", "LOINC"),
    ],
)
@pytest.mark.parametrize("level", LEVELS)
def test_a_code_of_another_system_is_refused_at_every_level(code: str, system: str, level: Any) -> None:
    assert labels.target_of(code, "icd10cm", level) == (None, labels.foreign(system))


@pytest.mark.parametrize(
    "cell",
    ["E11.9;I10", "E11.9, I10", "E11.9|I10", "E11.9/I10", "E11.9 I10", "E119\nI10", "A17.0+ G01*", "E119 & I10"],
)
@pytest.mark.parametrize("level", LEVELS)
def test_several_codes_in_a_cell_are_several_at_every_level(cell: str, level: Any) -> None:
    assert labels.target_of(cells.plain_value(cell)[0] or "", "icd10cm", level) == (None, cells.SEVERAL)


def test_one_code_twice_in_a_cell_is_one() -> None:
    target, _ = labels.target_of("E11.9; E119", "icd10cm", "code")
    assert target is not None
    assert target.code == "E119"


@pytest.mark.parametrize("cell", ["E11.9 Type 2 diabetes", "diabetes", "A0", "A04.7 or so;", "A00-A09", "E119TYPE2"])
@pytest.mark.parametrize("level", LEVELS)
def test_what_only_begins_like_a_code_is_no_code(cell: str, level: Any) -> None:
    assert labels.target_of(cell, "icd10cm", level) == (None, labels.NOT_IN_CODE_SET)


def test_a_retired_code_whose_category_is_taken_is_counted() -> None:
    target, change = labels.target_of("A04.99", "icd10cm", "category")
    assert target is not None
    assert (target.label, change) == ("A04", labels.CATEGORY_TAKEN)


@given(st.sampled_from(icd10.all_labels("code")[::97]), st.sampled_from("\u200b\ufeff\xad\u200e\u200d"), st.booleans())
def test_no_code_of_the_code_set_is_taken_for_foreign(code: str, sign: str, dot: bool) -> None:
    written = sign + (icd10.dotted(code) if dot else code) + sign
    target, _ = labels.target_of(cells.plain_value(written)[0] or "", "icd10cm", "code")
    assert target is not None
    assert target.code == code


@given(st.integers(0, 99_999), st.sampled_from(["", "E", "V"]))
def test_no_icd9_code_with_its_dot_in_its_place_is_read_at_a_higher_level(number: int, letter: str) -> None:
    digits = f"{number:05}"
    code = {"": f"{digits[:3]}.{digits[3:]}", "E": f"E{digits[:3]}.{digits[3]}", "V": f"V{digits[:2]}.{digits[2:4]}"}[
        letter
    ]
    target, _ = labels.target_of(code, "icd10cm", "category")
    if target is not None:  # V10.0 is written alike in both: planning judges the column
        assert letter == "V"
        assert foreign_codes.may_be_icd9(target.code) or icd10.find(target.code)


# ---------------------------------------------------------------- the column as a whole


def run(folder: Path, codes: list[str], **data: Any) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    rows = [{"text": " ".join(f"w{n}" for n in rng.integers(0, 10_000, 30)), "label": code} for code in codes]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = {"max_dropped_share": 1.0, **data}
    spec = PrepareDataSpec(data=Data(source=FileData(path="rows.jsonl"), columns=Columns(), **data), source_digest=None)
    return prepare(spec, folder, DataFiles(folder / "out"))


def test_foreign_codes_are_counted_by_system(tmp_path: Path) -> None:
    report = run(tmp_path, ["A04.7", "B20"] * 20 + ["250.00", "I10.-", "E11.9;I10"])
    assert {reason: entry["rows"] for reason, entry in report["dropped"].items()} == {
        labels.foreign("ICD-9-CM"): 1,
        labels.foreign("ICD-10 of WHO or GM"): 1,
        cells.SEVERAL: 1,
    }
    assert report["dropped"][labels.foreign("ICD-9-CM")]["examples"] == ["rows.jsonl row 41 (250.00)"]


def test_a_column_of_icd9_is_refused_though_some_codes_could_be_icd10(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="30 rows hold ICD-9-CM codes, so 20 rows with codes such as E849 or V10 may"):
        run(tmp_path, ["E849", "V10"] * 10 + ["250.00", "401.9", "428.0"] * 10)


def test_a_column_known_by_its_categories_alone_is_refused(tmp_path: Path) -> None:
    codes = ["E11.90", "I10.00", "J18.99"] * 10 + ["A04.7"] * 10
    with pytest.raises(StudyError, match=r"30 of 40 codes are not in ICD-10-CM 2026 .* their first three characters"):
        run(tmp_path, codes, level="category", max_dropped_share=0.05)


def test_the_release_of_the_code_set_is_named_by_year(tmp_path: Path) -> None:
    assert run(tmp_path, ["A04.7", "B20"] * 20)["code_set"] == "ICD-10-CM 2026 (April 2026), simple-icd-10-cm 1.5.0"


def test_the_message_shows_an_invisible_sign(tmp_path: Path) -> None:
    report = run(tmp_path, ["A04.7", "B20"] * 20 + ["W\u200b99999"])
    assert report["dropped"][labels.NOT_IN_CODE_SET]["examples"] == ["rows.jsonl row 41 (W\\u200b99999)"]
