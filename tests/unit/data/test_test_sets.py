"""Further test sets, the data page, and what is said of the data before any model runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from slingshot.artifacts.labels import read_labels
from slingshot.artifacts.layout import DataFiles
from slingshot.artifacts.splits import SPLITS, read_split
from slingshot.config.data import Columns, Data, ExternalSet, FileData
from slingshot.config.specs import PrepareDataSpec
from slingshot.core.errors import StudyError
from slingshot.data import leakage
from slingshot.data.intake import CLOSING_TURN, MASKED
from slingshot.data.prepare import prepare
from slingshot.data.summary import warnings_of
from slingshot.report.data_page import write_data_page


def dialogue(number: int, words: int = 40) -> str:
    return " ".join(f"w{value}" for value in np.random.default_rng(number).integers(0, 10_000, words))


def rows(count: int = 60, start: int = 0) -> list[dict[str, Any]]:
    return [{"text": dialogue(start + n), "label": f"L{n % 3}"} for n in range(count)]


def written(path: Path, given: list[dict[str, Any]]) -> FileData:
    path.write_text("".join(json.dumps(row) + "\n" for row in given))
    return FileData(path=path.name)


def run(folder: Path, given: list[dict[str, Any]], **data: Any) -> tuple[DataFiles, dict[str, Any]]:
    source = written(folder / "rows.jsonl", given)
    data = {"labels": "plain", "max_dropped_share": 1.0, **data}
    files = DataFiles(folder / "out")
    spec = PrepareDataSpec(data=Data(source=source, **data), source_digest=None)
    return files, prepare(spec, folder, files)


def split_bytes(files: DataFiles) -> list[bytes]:
    return [files.split(name).read_bytes() for name in SPLITS]


def test_a_further_test_set_changes_nothing_of_the_study(tmp_path: Path) -> None:
    files, _ = run(tmp_path, rows())
    before = split_bytes(files), files.labels.read_bytes()
    near = rows()[0]["text"].rsplit(" ", 1)[0] + " other"
    other = [{"note": row["text"], "code": row["label"]} for row in rows(20, start=500)]
    other += [
        {"note": near, "code": "L0"},
        {"note": rows()[1]["text"], "code": "L1"},
        {"note": dialogue(900), "code": "New"},
    ]
    hospital = ExternalSet(source=written(tmp_path / "b.jsonl", other), columns=Columns(text="note", label="code"))
    files, report = run(tmp_path, rows(), test_sets={"hospital_b": hospital})
    assert (split_bytes(files), files.labels.read_bytes()) == before

    found = read_split(files.test_set("hospital_b"))
    assert len(found) == 23
    assert set(found["label"]) == {"L0", "L1", "L2", "New"}
    assert "New" not in {label.label for label in read_labels(files.labels)}
    set_report = report["test_sets"]["hospital_b"]
    assert set_report["rows"] == {"read": 23, "dropped": 0, "samples": 23, "left_out_by_max_samples": 0}
    assert sum(set_report["leakage"]["exact_duplicates_in"].values()) == 1
    assert sum(set_report["leakage"]["near_duplicates_in"].values()) == 2
    assert set_report["leakage"]["labels_unseen_in_train"] == {"labels": 1, "samples": 1, "first": ["New"]}
    assert any(line.startswith("test_sets.hospital_b: 1 of 23 samples have a label") for line in warnings_of(report))


def test_a_test_set_is_read_with_the_studys_columns_and_labels_where_it_names_none(tmp_path: Path) -> None:
    source = written(tmp_path / "b.jsonl", rows(30, start=300))
    files, _ = run(tmp_path, rows(), test_sets={"b": ExternalSet(source=source, max_samples=7)})
    assert len(read_split(files.test_set("b"))) == 7


def test_what_is_wrong_with_a_test_set_names_it(tmp_path: Path) -> None:
    source = written(tmp_path / "b.jsonl", [{"text": "", "label": "L1"}, *rows(2)])
    with pytest.raises(StudyError, match=r"data.test_sets.b: 1 of 3 rows would be dropped"):
        run(tmp_path, rows(), max_dropped_share=0.1, test_sets={"b": ExternalSet(source=source)})
    with pytest.raises(ValueError, match=r"test_sets.b.labels must be plain exactly where data.labels is"):
        run(tmp_path, rows(), test_sets={"b": ExternalSet(source=source, labels="icd10cm")})


# ---------------------------------------------------------------- total leakage


def told_dialogues(closing: str = "I believe you have {label}.") -> list[dict[str, Any]]:
    names = ["asthma", "migraine", "gout"]
    return [
        {
            "text": f"[doctor] {dialogue(n)}\n[patient] {dialogue(n + 500)}\n"
            f"[doctor] {closing.format(label=names[n % 3])}\n[patient] Thank you.",
            "label": names[n % 3],
        }
        for n in range(60)
    ]


def test_total_leakage_is_said_with_what_to_do(tmp_path: Path) -> None:
    _, report = run(tmp_path, told_dialogues())
    [line] = [line for line in warnings_of(report) if "print their own label" in line]
    assert line.startswith("All texts in test print their own label")
    assert "data.drop_closing_turn or data.mask_label_mentions" in line


def test_a_closing_turn_that_states_the_label_is_dropped_on_request(tmp_path: Path) -> None:
    files, report = run(tmp_path, told_dialogues(), drop_closing_turn=True)
    assert report["changed"][CLOSING_TURN]["rows"] == 60
    assert report["leakage"]["prints_own_label"]["test"]["samples"] == 0
    assert not any("print their own" in line for line in warnings_of(report))
    for text in read_split(files.test)["text"]:
        assert [line.partition(":")[0] for line in text.splitlines()] == ["Doctor", "Patient"]


def test_plain_labels_are_masked_on_request(tmp_path: Path) -> None:
    files, report = run(tmp_path, told_dialogues(), mask_label_mentions=True)
    assert report["changed"][MASKED]["rows"] == 60
    assert read_split(files.test)["text"].str.contains("I believe you have ___.", regex=False).all()
    assert not any("print their own label" in line for line in warnings_of(report))


def test_a_closing_turn_is_known_by_the_description_too() -> None:
    text = "Doctor: Any pain?\nPatient: My chest.\nDoctor: It is angina."
    states = lambda turn: "angina" in turn  # noqa: E731
    assert leakage.without_closing_turn(text, states) == "Doctor: Any pain?\nPatient: My chest."
    assert leakage.without_closing_turn(text + "\nPatient: Thanks.", states) == "Doctor: Any pain?\nPatient: My chest."
    early = "Doctor: angina?\nPatient: No.\nDoctor: Fine.\nPatient: Bye."
    assert leakage.without_closing_turn(early, states) == early
    assert leakage.without_closing_turn("angina all over", states) == "angina all over"
    assert leakage.without_closing_turn("Doctor: angina.", states) == "Doctor: angina."


# ---------------------------------------------------------------- the page


def test_the_page_shows_counts_drops_changes_and_near_duplicates_and_escapes_all(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>"
    given = rows()
    given[0]["text"] = f"```\n{evil} {given[0]['text']}\n```"
    near = given[1]["text"].rsplit(" ", 1)[0] + f" {evil}"
    given += [{"text": near, "label": "L1"}, {"text": "", "label": evil}, {"text": dialogue(999), "label": f"L{evil}"}]
    other = [*rows(9, start=700), {"text": given[1]["text"], "label": "L2"}]
    sets = {"b": ExternalSet(source=written(tmp_path / "b.jsonl", other))}
    files, report = run(tmp_path, given, test_sets=sets)
    assert report["changed"] != {}
    write_data_page(files)
    page = files.page.read_text()
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    for words in (
        "code fence removed",
        "no text",
        "rows.jsonl row 62",
        "b (further test set)",
        "L2",
        "nearly the same",
    ):
        assert words in page
    assert near.split()[0] in page
    pairs = json.loads(files.examples.read_text())["near_duplicates"]
    assert [{side["label"] for side in pair} for pair in pairs] == [{"L1"}]


def test_a_page_of_many_labels_stays_short(tmp_path: Path) -> None:
    given = [{"text": dialogue(n), "label": f"L{n % 400}"} for n in range(2000)]
    files, _ = run(tmp_path, given)
    write_data_page(files)
    assert "The 200 commonest of 400 labels" in files.page.read_text()
    assert files.page.stat().st_size < 200_000


def test_a_column_that_a_further_test_set_lacks_is_named_by_its_own_key(tmp_path: Path) -> None:
    source = written(tmp_path / "b.jsonl", [{"note": dialogue(1), "code": "L0"}])
    hospital = ExternalSet(source=source, columns=Columns(text="notes", label="code"))
    with pytest.raises(StudyError, match=r"^data\.test_sets\.hospital_b\.columns: b\.jsonl has no column 'notes'; did"):
        run(tmp_path, rows(), test_sets={"hospital_b": hospital})
    with pytest.raises(StudyError, match=r"^data\.columns: rows\.jsonl has no column 'txt'; did you mean text\?"):
        run(tmp_path, rows(), columns=Columns(text="txt"))
