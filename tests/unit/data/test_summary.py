"""What the report says about the data before any score."""

from pathlib import Path

import pytest

from slingshot.data.summary import misspelt_labels, warnings_of
from tests.unit.data.medsynth_rows import prepare_rows


@pytest.mark.parametrize(("first", "said"), [("What it was", True), ("cough", False)])
def test_a_first_row_that_may_be_a_second_header_is_said(tmp_path: Path, first: str, said: bool) -> None:
    rows = [{"Dialogue": f"patient {n} says {n * 7}", "ICD10": ["cough", "flu"][n % 2]} for n in range(1, 41)]
    rows = [{"Dialogue": "What they said", "ICD10": first}, *rows]
    _, report = prepare_rows(tmp_path, [row | {"ICD10_desc": ""} for row in rows], labels="plain")
    warning = f"no other row has the label of the first one, {first!r}: a second header must be removed"
    assert (warning in warnings_of(report)) == said


def test_a_slip_of_the_pen_is_told_from_labels_that_differ_on_purpose():
    train = {"Speculation": 40, "Transmission": 30, "type 1": 20, "type 2": 1, "Other": 2}
    train |= {"type II disease": 30, "type I disease": 2, "Hyperthyroidism": 50, "Hypothyroidism": 2}
    report = {
        "splits": {"train": {"label_counts": train}, "test": {"label_counts": {"Speculaton": 1, "Speculation": 7}}}
    }
    assert misspelt_labels(report) == [
        "label 'Speculaton' has 1 sample and is written almost like 'Speculation' (47): is it the same?"
    ]


def test_of_many_slips_a_few_are_named():
    counts = {f"a long name {letter}": 20 for letter in "abcdefghijkl"} | {
        f"a long nam {letter}": 1 for letter in "abcdefghijkl"
    }
    found = misspelt_labels({"splits": {"train": {"label_counts": counts}}})
    assert len(found) == 6 and found[-1] == "and 7 more rare labels like these"
