"""What prepare refuses, and that a failure leaves nothing half written."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest

from slingshot.artifacts.splits import SplitWriter, read_split
from slingshot.config.data import Columns, Data, FileData
from slingshot.config.specs import PrepareDataSpec
from slingshot.core.errors import StudyError
from slingshot.data import prepare as dataset
from slingshot.data.cells import NOT_TEXT
from tests.unit.data.medsynth_rows import MEDSYNTH, make_dialogue, make_rows, prepare_rows

PROGRAM = Path(dataset.__file__).parents[2] / "prepare_data.py"


def test_too_many_dropped_rows_are_an_error(tmp_path: Path) -> None:
    rows = make_rows()
    for row in rows[:3]:
        row["Dialogue"] = None
    prepare_rows(tmp_path, rows, max_dropped_share=0.1)
    with pytest.raises(
        StudyError, match=r"3 of 40 rows would be dropped.*= 0.05.*3 for 'no text', e\.g\. rows.jsonl row 1"
    ):
        prepare_rows(tmp_path, rows, max_dropped_share=0.05)
    with pytest.raises(StudyError, match="same text and label as another row"):
        prepare_rows(tmp_path, make_rows() * 2, max_dropped_share=0.4)


def test_one_label_only_is_no_study(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"'ICD10' holds one label only \(B20\)"):
        prepare_rows(tmp_path, [{**row, "ICD10": "B20"} for row in make_rows()])


def test_fewer_rows_than_labels_is_no_study(tmp_path: Path) -> None:
    rows = [{"text": make_dialogue(n), "label": f"L{n}"} for n in range(40)]
    with pytest.raises(StudyError, match=r"'label' holds 40 labels in 40 samples.*right column"):
        prepare_rows(tmp_path, rows, Columns(), labels="plain")


def test_an_empty_split_is_no_study(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"data\.split\.(validation|test): 0\.15 of 40 samples gives an empty split"):
        prepare_rows(
            tmp_path,
            [{**row, "patient": f"p{n % 2}"} for n, row in enumerate(make_rows())],
            MEDSYNTH.model_copy(update={"group": "patient"}),
        )


def test_no_rows_left_is_no_study(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="40 of 40 rows would be dropped"):
        prepare_rows(tmp_path, [{**row, "Dialogue": "?!"} for row in make_rows()])


def test_a_text_that_is_a_number_is_dropped_and_counted(tmp_path: Path) -> None:
    rows = make_rows()
    rows[0]["Dialogue"] = 17
    rows[1]["Dialogue"] = ["[doctor] turn one", "[patient] turn two"]
    samples, report = prepare_rows(tmp_path, rows)
    assert report["dropped"][NOT_TEXT]["rows"] == 1
    assert "Doctor: turn one\nPatient: turn two" in set(samples["text"])


@pytest.mark.parametrize(
    "content", [b"", b"Dialogue,ICD10,ICD10_desc\nx,y\n", b"Dialogue,ICD10,ICD10_desc\n\xff,B20,x\n"]
)
def test_the_program_leaves_nothing_half_written(
    tmp_path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "rows.csv").write_bytes(content)
    spec = PrepareDataSpec(data=Data(source=FileData(path="rows.csv"), columns=MEDSYNTH), source_digest=None)
    words = ["--spec", spec.model_dump_json(), "--study", str(tmp_path), "--data", str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", [str(PROGRAM), *words])
    with pytest.raises(SystemExit, match=r"^error: .*rows\.csv"):
        runpy.run_path(str(PROGRAM), run_name="__main__")
    assert not list((tmp_path / "out").iterdir()) if (tmp_path / "out").exists() else True


def test_a_failure_while_writing_leaves_the_earlier_outputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare_rows(tmp_path, make_rows())
    before = {path: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    monkeypatch.setattr(SplitWriter, "add", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        prepare_rows(tmp_path, make_rows(80))
    assert {path: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before


def test_a_split_read_back_is_checked(tmp_path: Path) -> None:
    prepare_rows(tmp_path, make_rows())
    train = tmp_path / "out/train.parquet"
    assert list(read_split(train, ("sample_id", "label")).columns) == ["sample_id", "label"]
    with pytest.raises(StudyError, match="which the label set lacks"):
        read_split(train, known={"A047"})
    train.write_bytes(train.read_bytes()[:100])
    with pytest.raises(StudyError, match=r"can't be read .* run prepare_data again"):
        read_split(train)
