"""From a source to splits: MedSynth's quirks, nothing lost silently, no dependence on the order of rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from slingshot.artifacts.labels import read_labels
from slingshot.config.data import Columns, MaxSamples, Split
from slingshot.core.errors import StudyError
from slingshot.data import cells, labels
from slingshot.data import cleaning as texts
from slingshot.data import prepare as dataset
from slingshot.data.intake import MASKED, NO_TEXT
from slingshot.data.planning import DUPLICATE
from slingshot.data.prepare import SPLITS
from slingshot.data.summary import warnings_of
from tests.unit.data.medsynth_rows import CODES, MEDSYNTH, make_dialogue, make_rows, prepare_rows

# ---------------------------------------------------------------- MedSynth's quirks


def test_spaces_in_headers(tmp_path: Path) -> None:
    samples, _ = prepare_rows(tmp_path, [{f" {key}": value for key, value in row.items()} for row in make_rows()])
    assert len(samples) == 40


def test_codes_in_lists_with_dots_and_small_letters(tmp_path: Path) -> None:
    rows = make_rows()
    rows[0]["ICD10"], rows[1]["ICD10"], rows[2]["ICD10"] = ["A047"], "['B20']", "e11.65"
    samples, report = prepare_rows(tmp_path, rows)
    assert sorted(samples["label"]) == sorted(row["ICD10"] for row in make_rows())
    assert report["changed"][cells.FROM_LIST]["rows"] == 2
    assert report["changed"][labels.CODE_FORM]["rows"] == 1
    assert set(report["changed"][labels.CODE_FORM]["examples"]) <= set(samples["sample_id"])


def test_null_dialogues_are_dropped_and_named(tmp_path: Path) -> None:
    rows = make_rows()
    rows[3]["Dialogue"], rows[5]["Dialogue"], rows[7]["Dialogue"] = None, "  ", "nan"
    samples, report = prepare_rows(tmp_path, rows)
    assert len(samples) == 37
    assert report["dropped"] == {
        NO_TEXT: {"rows": 3, "examples": ["rows.jsonl row 4", "rows.jsonl row 6", "rows.jsonl row 8"]}
    }


def test_fences_headings_and_turn_marks_are_counted(tmp_path: Path) -> None:
    rows = make_rows()
    rows[0]["Dialogue"] = "```\n##### Visit\n**Doctor:** Hi. " + make_dialogue(1000) + "\n```"
    samples, report = prepare_rows(tmp_path, rows)
    assert report["changed"][texts.FENCE]["rows"] == report["changed"][texts.HEADING]["rows"] == 1
    assert report["changed"][texts.TURN]["rows"] == 40
    assert samples["text"].str.match(r"(Visit\n)?Doctor: ").all()
    assert not samples["text"].str.contains(r"[\[`#*]").any()


def test_codes_no_longer_in_the_code_set_are_dropped_or_stand_for_their_category(tmp_path: Path) -> None:
    rows = make_rows()
    rows[0]["ICD10"] = "A0499"
    samples, report = prepare_rows(tmp_path, rows)
    assert len(samples) == 39
    assert report["dropped"][labels.NOT_IN_CODE_SET] == {"rows": 1, "examples": ["rows.jsonl row 1 (A0499)"]}
    samples, report = prepare_rows(tmp_path, rows, level="category")
    assert len(samples) == 40
    assert report["dropped"] == {}


def test_parent_codes_stay_and_are_counted(tmp_path: Path) -> None:
    _, report = prepare_rows(tmp_path, make_rows())
    assert report["labels"]["not_billable"] == sum(
        label.billable is False for label in read_labels(tmp_path / "out/labels.json")
    )
    assert report["labels"]["not_billable"] >= 1  # A047 has codes below it


def test_exact_duplicates_are_dropped_and_counted(tmp_path: Path) -> None:
    rows = make_rows()
    samples, report = prepare_rows(tmp_path, [*rows, rows[0], rows[0], rows[9]])
    assert len(samples) == 40
    assert report["dropped"][DUPLICATE]["rows"] == 3
    assert set(report["dropped"][DUPLICATE]["examples"]) <= set(samples["sample_id"])


def test_one_text_with_several_labels_stays_together_and_is_counted(tmp_path: Path) -> None:
    rows = make_rows()
    again = [{**row, "ICD10": "I10" if row["ICD10"] != "I10" else "B20"} for row in rows[:10]]
    samples, report = prepare_rows(tmp_path, rows + again)
    assert len(samples) == 50
    assert samples["sample_id"].is_unique
    assert (samples.groupby("text")["split"].nunique() == 1).all()
    assert report["same_text_different_labels"]["texts"] == 10
    assert report["same_text_different_labels"]["samples"] == 20
    assert sum(report["leakage"]["exact_duplicates"].values()) == 0


@pytest.mark.parametrize("method", ["stratified", "hash"])
def test_near_duplicates_stand_in_one_split(tmp_path: Path, method: str) -> None:
    rows = [{**row, "Dialogue": make_dialogue(n, 200)} for n, row in enumerate(make_rows())]
    twins = [{**row, "Dialogue": row["Dialogue"].replace("Hello", "Good morning")} for row in rows]
    samples, report = prepare_rows(tmp_path, rows + twins, split=Split(method=method))
    family = samples["text"].str.split().str[-1]  # the last word tells the originals apart
    assert samples.groupby(family)["split"].nunique().max() == 1
    assert samples.groupby(family)["group"].nunique().max() == 1
    assert report["groups"]["near_duplicate_clusters"] == 40
    assert sum(report["leakage"]["near_duplicates"].values()) == 0


def test_near_duplicates_are_reported_where_they_are_not_grouped(tmp_path: Path) -> None:
    rows = [{**row, "Dialogue": make_dialogue(n, 200)} for n, row in enumerate(make_rows())]
    twins = [{**row, "Dialogue": row["Dialogue"].replace("Hello", "Good morning")} for row in rows]
    samples, report = prepare_rows(tmp_path, rows + twins, split=Split(near_duplicate_similarity=None))
    family = samples["text"].str.split().str[-1]
    in_train = set(family[samples["split"] == "train"])
    expected = family[samples["split"] == "test"].isin(in_train).sum()
    assert expected > 0
    assert report["leakage"]["near_duplicates"]["test in train"] == expected
    assert not report["leakage"]["grouped_by_near_duplicates"]


def test_texts_that_print_their_code_are_counted_and_masked_on_request(tmp_path: Path) -> None:
    rows = make_rows()
    rows[0]["Dialogue"] += " Assessment: A04.7."
    rows[1]["Dialogue"] += " So you have disease 1, I fear."
    rows[2]["Dialogue"] += " Not B20."
    samples, report = prepare_rows(tmp_path, rows)
    leak = report["leakage"]
    assert sum(leak["prints_own_label"][split]["samples"] for split in SPLITS) == 1
    assert sum(leak["prints_own_description"][split]["samples"] for split in SPLITS) == 1
    assert samples["text"].str.contains("A04.7", regex=False).sum() == 1
    masked, report = prepare_rows(tmp_path, rows, mask_label_mentions=True)
    assert not masked["text"].str.contains("A04.7", regex=False).any()
    assert masked["text"].str.contains("Assessment: ___.", regex=False).sum() == 1
    assert report["changed"][MASKED]["rows"] == 1
    assert set(masked["sample_id"]) == set(samples["sample_id"])


# ---------------------------------------------------------------- columns, levels, labels


def test_several_text_columns_are_joined(tmp_path: Path) -> None:
    rows = [{"Note": f"note {n}", **row} for n, row in enumerate(make_rows())]
    rows[4]["Note"] = None
    columns = MEDSYNTH.model_copy(update={"text": ["Note", "Dialogue"]})
    samples, _ = prepare_rows(tmp_path, rows, columns)
    assert samples["text"].str.match(r"note \d+\n\nDoctor: ").sum() == 39
    assert samples["text"].str.match(r"Doctor: ").sum() == 1


@pytest.mark.parametrize(("level", "label"), [("category", "A04"), ("block", "A00-A09"), ("chapter", "1")])
def test_the_label_stands_at_the_level_asked_for(tmp_path: Path, level: str, label: str) -> None:
    samples, _ = prepare_rows(tmp_path, make_rows(80), level=level)
    row = samples[samples["code"] == "A047"].iloc[0]
    assert (row["label"], row["category"], row["block"], row["chapter"]) == (label, "A04", "A00-A09", "1")
    known = {entry.label: entry for entry in read_labels(tmp_path / "out/labels.json")}
    assert set(known) == set(samples["label"])
    assert known[label].train_samples == ((samples["label"] == label) & (samples["split"] == "train")).sum()
    assert row["description"] == known[label].description
    assert list(known) == sorted(known)


def test_plain_labels_need_no_tree(tmp_path: Path) -> None:
    rows = [{"text": make_dialogue(n), "label": ["yes", "no"][n % 2]} for n in range(40)]
    samples, report = prepare_rows(tmp_path, rows, Columns(), labels="plain")
    assert set(samples["label"]) == {"yes", "no"}
    assert samples[["description", "category", "block", "chapter"]].isna().all().all()
    assert report["code_set"] is None


@pytest.mark.parametrize("twin", ["YES", "y es", "ye\uff53"])
def test_labels_that_differ_only_by_case_form_or_blanks_are_an_error(tmp_path: Path, twin: str) -> None:
    rows = [{"text": make_dialogue(n), "label": ["yes", "no", twin][n % 3]} for n in range(40)]
    with pytest.raises(StudyError, match="differ only by case, form or blanks"):
        prepare_rows(tmp_path, rows, Columns(), labels="plain")


@pytest.mark.parametrize("write", [str, float])
def test_labels_written_as_floats_are_whole_numbers(tmp_path: Path, write: Any) -> None:
    rows = [{"text": make_dialogue(n), "label": write(float(n % 3))} for n in range(40)]
    rows[0]["label"] = None
    samples, report = prepare_rows(tmp_path, rows, Columns(), labels="plain")
    assert set(samples["label"]) == {"0", "1", "2"}
    assert report["changed"][cells.FROM_FLOAT]["rows"] == 39
    with pytest.raises(StudyError, match=r"39 for 'code not in the code set', e\.g\. .*need data\.labels: plain"):
        prepare_rows(tmp_path, rows, Columns(), max_dropped_share=0.05)


# ---------------------------------------------------------------- splits


def test_a_column_groups_and_twins_join_groups(tmp_path: Path) -> None:
    rows = [{**row, "patient": f"p{n // 4}"} for n, row in enumerate(make_rows(80))]
    rows[79]["Dialogue"] = rows[0]["Dialogue"]  # patient 19 now shares a text with patient 0
    columns = MEDSYNTH.model_copy(update={"group": "patient"})
    samples, report = prepare_rows(tmp_path, rows, columns)
    assert (samples.groupby("group")["split"].nunique() == 1).all()
    assert report["groups"]["count"] == 19
    assert report["groups"]["largest"] == 8


def test_shares_hold(tmp_path: Path) -> None:
    samples, report = prepare_rows(tmp_path, make_rows(400))
    assert samples["split"].value_counts().to_dict() == {"train": 280, "validation": 60, "test": 60}
    assert report["splits"]["test"]["samples"] == 60
    assert sum(report["splits"]["test"]["label_counts"].values()) == 60


def test_under_hash_rows_added_elsewhere_move_nothing(tmp_path: Path) -> None:
    few, _ = prepare_rows(tmp_path / "few", make_rows(100), split=Split(method="hash"))
    many, _ = prepare_rows(tmp_path / "many", make_rows(400), split=Split(method="hash"))
    before = few.set_index("sample_id")["split"]
    after = many.set_index("sample_id")["split"]
    assert (after[before.index] == before).all()


def test_a_larger_max_samples_extends_the_smaller_sample(tmp_path: Path) -> None:
    whole, _ = prepare_rows(tmp_path, make_rows(400))
    known = read_labels(tmp_path / "out/labels.json")
    taken: set[str] = set()
    for count in (16, 80, 280):
        samples, report = prepare_rows(tmp_path, make_rows(400), max_samples=MaxSamples(train=count))
        train = samples[samples["split"] == "train"]
        assert len(train) == count
        assert taken <= set(train["sample_id"]) <= set(whole[whole["split"] == "train"]["sample_id"])
        assert train["label"].value_counts().max() - train["label"].value_counts().min() <= 2
        assert [x.label for x in read_labels(tmp_path / "out/labels.json")] == [x.label for x in known]
        assert report["rows"]["left_out_by_max_samples"] == 280 - count
        taken = set(train["sample_id"])


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "out").glob("*.parquet")}


ROW = st.tuples(st.integers(0, 25), st.sampled_from(CODES[:4]), st.sampled_from([None, "p1", "p2", "p3", "p4"]))


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(ROW, min_size=12, max_size=60), st.randoms(use_true_random=False), st.sampled_from(["hash", "stratified"])
)
def test_no_row_is_lost_no_group_is_split_and_order_does_not_matter(
    tmp_path: Path, rows: list[tuple[int, str, str | None]], random: Any, method: str
) -> None:
    source = [{"Dialogue": make_dialogue(text), "ICD10": code, "patient": patient} for text, code, patient in rows]
    columns = Columns(text="Dialogue", label="ICD10", group="patient")
    split = Split(train=0.5, validation=0.25, test=0.25, method=method)
    try:
        samples, report = prepare_rows(tmp_path, source, columns, split=split)
    except StudyError as refusal:
        with pytest.raises(StudyError) as again:
            prepare_rows(tmp_path, random.sample(source, len(source)), columns, split=split)
        assert str(again.value) == str(refusal)
        return
    assert len(samples) == len({(text, code) for text, code, _ in rows})
    assert report["rows"]["read"] == len(rows) == len(samples) + report["rows"]["dropped"]
    split_of = {(row.text.split()[-1], row.label): row.split for row in samples.itertuples()}
    patients: dict[str, set[str]] = {}
    for text, code, patient in rows:
        patients.setdefault(patient or "", set()).add(split_of[make_dialogue(text).split()[-1], code])
    assert all(len(found) == 1 for patient, found in patients.items() if patient)
    before = bytes_of(tmp_path)
    prepare_rows(tmp_path, random.sample(source, len(source)), columns, split=split)
    assert bytes_of(tmp_path) == before


def test_many_buckets_and_row_groups_give_the_same_samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare_rows(tmp_path, make_rows(400))
    one = bytes_of(tmp_path)
    monkeypatch.setattr("slingshot.data.intake._BUCKET_BYTES", 1000)
    prepare_rows(tmp_path, make_rows(400))
    assert bytes_of(tmp_path) == one
    monkeypatch.setattr("slingshot.artifacts.splits.ROWS_PER_GROUP", 16)
    monkeypatch.setattr(dataset, "ROWS_PER_GROUP", 16)
    samples, _ = prepare_rows(tmp_path, make_rows(400))
    for _, split in samples.groupby("split"):
        assert split["sample_id"].is_monotonic_increasing
    assert len(samples) == 400


def test_rows_without_a_group_are_said(tmp_path: Path) -> None:
    rows = [{**row, "patient": f"p{n}" if n % 4 == 0 else ""} for n, row in enumerate(make_rows(80))]
    _, report = prepare_rows(tmp_path, rows, MEDSYNTH.model_copy(update={"group": "patient"}))
    assert report["groups"]["rows_without_a_group"] == 60
    assert any(line.startswith("60 of 80 rows have no group") for line in warnings_of(report))
    _, report = prepare_rows(tmp_path, rows)
    assert report["groups"]["rows_without_a_group"] == 0
