"""predictions.jsonl: what a record holds, and that single labels leave no trace of sets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from slingshot.artifacts.predictions import Prediction, read_predictions, set_fields, write_predictions
from slingshot.core.errors import StudyError


def prediction(**fields: Any) -> Prediction:
    return Prediction(**{"sample_id": "a", "raw": "x", "prompt_tokens": 3, "new_tokens": 1, **fields})


def test_a_single_label_leaves_the_fields_of_sets_out_of_the_file(tmp_path: Path) -> None:
    write_predictions(tmp_path / "p.jsonl", [prediction(label="I10", code="I10")])
    assert (tmp_path / "p.jsonl").read_text() == (
        '{"sample_id": "a", "label": "I10", "raw": "x", "code": "I10", "constrained_code": null, "candidates": [], '
        '"prompt_tokens": 3, "new_tokens": 1, "truncated": false}\n'
    )


@pytest.mark.parametrize(("codes", "text"), [(["J189", "I10"], "J189; I10"), ([], ""), (None, None)])
def test_sets_come_back_as_lists_and_as_texts(tmp_path: Path, codes: list[str] | None, text: str | None) -> None:
    written = prediction(**set_fields(["I10", "J189"], codes))
    write_predictions(tmp_path / "p.jsonl", [written])
    (read,) = read_predictions(tmp_path / "p.jsonl")
    assert read == written
    assert (read.labels, read.label, read.codes, read.code) == (["I10", "J189"], "I10; J189", codes, text)
    assert read.constrained_codes is None and read.constrained_code is None


def test_a_set_with_a_repeat_is_no_prediction(tmp_path: Path) -> None:
    line = (
        prediction(**set_fields(["I10"], ["I10"])).model_dump_json().replace('"codes":["I10"]', '"codes":["B20","B20"]')
    )
    (tmp_path / "p.jsonl").write_text(line)
    with pytest.raises(StudyError, match="names a label twice"):
        read_predictions(tmp_path / "p.jsonl")
