"""Answers of other systems, read from a file."""

import json
import math
from pathlib import Path

import pandas as pd
import pytest

from slingshot.artifacts.labels import Label, write_labels
from slingshot.config.specs import ImportPredictionsSpec
from slingshot.core.errors import StudyError
from slingshot.rivals.imported import import_file, import_predictions

TEST = pd.DataFrame(
    {
        "sample_id": ["1a", "2b", "3c"],
        "text": ["Doctor:  I cough.\nPatient: Yes.", "It burns.", "My back."],
        "label": ["J069", "N390", "M545"],
    }
)
LABELS = ["J069", "N390", "M545"]


def imported(folder: Path, file: str, content: str, **settings: object):
    (folder / file).write_text(content, encoding="utf-8")
    spec = {"file": file, "file_digest": "", "allow_missing": False, "labels": "icd10cm", "level": "code"}
    return import_predictions(ImportPredictionsSpec.model_validate(spec | settings), folder, TEST, LABELS)


def test_answers_by_id_are_read_as_labels_in_the_order_of_the_split(tmp_path):
    content = "id,code\n3c,M54.5\n1a,j06.9 (acute)\n2b,\n9z,A04.7\n"
    found = imported(tmp_path, "vendor.csv", content, columns={"sample_id": "id", "answer": "code"})
    assert [(each.sample_id, each.code) for each in found] == [("1a", "J069"), ("2b", None), ("3c", "M545")]
    assert found[0].raw == "j06.9 (acute)"
    assert [each.label for each in found] == TEST["label"].tolist()


def test_answers_by_text_match_whatever_the_blanks(tmp_path):
    rows = [
        {"dialogue": text.replace("\n", "  "), "answer": label}
        for text, label in zip(TEST["text"], LABELS, strict=True)
    ]
    content = "\n".join(map(json.dumps, rows))
    found = imported(tmp_path, "coder.jsonl", content, columns={"text": "dialogue"})
    assert [each.code for each in found] == LABELS


def test_answers_are_read_with_the_separator_that_has_their_columns(tmp_path):
    content = 'id;code;note\n1a;J069;"a, b"\n2b;N390;\n3c;M545;c\n'
    found = imported(tmp_path, "vendor.csv", content, columns={"sample_id": "id", "answer": "code"})
    assert [each.code for each in found] == LABELS


def test_candidates_with_probabilities_are_ranked(tmp_path):
    content = 'id,answer,more\n1a,J069,"N390:0.2 J06.9:0.7 nonsense:0.1"\n2b,N390,\n3c,M545,M545:1.0\n'
    columns = {"sample_id": "id", "candidates": "more"}
    first, second, third = imported(tmp_path, "v.csv", content, columns=columns)
    assert [(one.code, round(math.exp(one.log_probability), 6)) for one in first.candidates] == [
        ("J069", 0.7),
        ("N390", 0.2),
    ]
    assert second.candidates == []
    assert third.candidates[0].log_probability == 0.0


@pytest.mark.parametrize(
    ("content", "settings", "message"),
    [
        ("id,answer\n1a,J069\n3c,M545\n", {}, r"answers 2 of 3 test samples; the first without an answer is 2b"),
        ("id,answer\n7,J069\n", {}, r"answers no sample_id of the test split"),
        ("id,answer\n1a,J069\n1a,N390\n", {}, r"v\.csv, row 2 answers a sample again, and in another way"),
        ("id,code\n1a,J069\n", {}, r"^v\.csv has no column 'answer'; it has 'id', 'code'"),
        (
            "id,answer,more\n1a,J069,J069:2\n",
            {"columns": {"sample_id": "id", "candidates": "more"}},
            r"v\.csv, row 1: the candidate 'J069:2' must be CODE or CODE:PROBABILITY",
        ),
    ],
)
def test_what_is_wrong_is_one_sentence(tmp_path, content, settings, message):
    with pytest.raises(StudyError, match=message):
        imported(tmp_path, "v.csv", content, **({"columns": {"sample_id": "id"}} | settings))


def test_a_sample_without_an_answer_counts_as_wrong_where_that_is_allowed(tmp_path):
    columns = {"sample_id": "id"}
    found = imported(tmp_path, "v.csv", "id,answer\n1a,J069\n", columns=columns, allow_missing=True)
    assert [each.code for each in found] == ["J069", None, None]


def test_a_file_of_no_known_kind_is_refused(tmp_path):
    with pytest.raises(StudyError, match=r"v\.json must end in \.csv.*: write one object per line \(jq -c '\.\[\]'\)"):
        imported(tmp_path, "v.json", "[]", columns={"sample_id": "id"})


def test_answers_that_no_label_can_be_read_from_are_said(tmp_path, caplog):
    TEST.to_parquet(tmp_path / "test.parquet")
    (tmp_path / "v.csv").write_text("id,answer\n1a,J069\n2b,who knows\n3c,\n")
    write_labels(tmp_path / "labels.json", [Label(label=name, train_samples=1) for name in LABELS])
    spec = {"file": "v.csv", "file_digest": "", "allow_missing": False, "labels": "icd10cm", "level": "code"}
    spec |= {"columns": {"sample_id": "id"}}
    with caplog.at_level("INFO"):
        import_file(
            ImportPredictionsSpec.model_validate(spec),
            tmp_path,
            tmp_path / "test.parquet",
            tmp_path / "labels.json",
            tmp_path / "predictions.jsonl",
        )
    assert "1 of 3 answers hold no label of the study and count as wrong, e.g. 'who knows' (2b)" in caplog.text
    assert "1 of 3 answers are empty or missing and count as wrong, e.g. that to 3c" in caplog.text
