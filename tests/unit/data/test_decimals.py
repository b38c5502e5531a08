"""Labels that look like numbers: no zero is added, taken away or overlooked where it is part of a code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from slingshot.config.data import Columns
from slingshot.core.errors import StudyError
from slingshot.data.cells import FROM_FLOAT
from slingshot.data.decimals import has_decimals, zeros_are_lost
from tests.unit.data.medsynth_rows import make_dialogue, prepare_file

TREE = """code,parent,description
1,,Diseases
2,1,Block
250,2,Diabetes mellitus
250.0,250,without complication
250.00,250.0,type II
250.1,250,with ketoacidosis
250.10,250.1,type II
401,2,Essential hypertension
401.0,401,malignant
401.8,401,other
401.9,401,unspecified
"""


def prepare_labels(folder: Path, cells: list[Any], kind: str = "csv", **data: Any) -> tuple[set[str], dict]:
    """The labels that a study has of 40 dialogues, and dataset.json."""
    frame = pd.DataFrame(
        {"text": [make_dialogue(n) for n in range(40)], "label": [cells[n % len(cells)] for n in range(40)]}
    )
    if kind == "csv":
        frame.to_csv(folder / "a.csv", index=False)
    else:
        frame.to_parquet(folder / "a.parquet")
    (folder / "tree.csv").write_text(TREE)
    samples, report = prepare_file(folder, f"a.{kind}", Columns(), **{"labels": "plain", **data})
    return set(samples["label"]), report


@pytest.mark.parametrize("system", ["plain", {"tree": "tree.csv"}])
@pytest.mark.parametrize("labels", [["250.00", "250.10", "401.0", "401.9"], ["401.0", "250.00"], ["401.9", "401.0"]])
def test_codes_with_zeros_at_their_end_stay_as_they_are_written(tmp_path: Path, system: Any, labels: list[str]) -> None:
    found, report = prepare_labels(tmp_path, labels, labels=system)
    assert found == set(labels)
    assert FROM_FLOAT not in report["changed"]


def test_whole_numbers_alone_lose_what_a_program_added(tmp_path: Path) -> None:
    assert prepare_labels(tmp_path, ["1.0", "2", "3.0"])[0] == {"1", "2", "3"}
    assert prepare_labels(tmp_path, [1.0, 2.0], "parquet")[0] == {"1", "2"}
    assert prepare_labels(tmp_path, [0.0, 0.5, 1.0], "parquet")[0] == {"0.0", "0.5", "1.0"}


def test_a_code_kept_as_a_number_is_not_read_as_another(tmp_path: Path) -> None:
    tree = {"tree": "tree.csv"}
    with pytest.raises(StudyError, match=r"10 for 'code kept as a number.*row 1 \(250\.1\)"):
        prepare_labels(tmp_path, [250.1, 401.9, 401.9, 401.9], "parquet", labels=tree, max_dropped_share=0.05)
    found, report = prepare_labels(tmp_path, [401.0, 401.9, 250.1, 401.8], "parquet", labels=tree, max_dropped_share=1)
    assert found == {"401.8", "401.9"}  # 401.0 may have been 401

    assert [entry["rows"] for entry in report["dropped"].values()] == [20]


@pytest.mark.parametrize(
    ("label", "has"), [("401.9", 1), ("250.00", 1), ("E849.0", 1), ("1.0", 0), ("1", 0), ("x.9", 0), ("1.2.3", 0)]
)
def test_decimals_are_told_from_what_a_program_adds(label: str, has: int) -> None:
    assert has_decimals(label) == has


def test_plain_labels_have_no_zeros_to_lose() -> None:
    assert not zeros_are_lost(250.1, "plain")
    assert not zeros_are_lost(True, "icd10cm")
