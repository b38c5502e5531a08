"""New texts are read as the study read its own: turns in lists, separators, encodings, codes as labels."""

import io
import json

import pytest

from slingshot.config.data import Columns, Data, FileData, Several
from slingshot.core.errors import StudyError
from slingshot.deployment.new_texts import Wanted, read_new_texts

CODED = Data(source=FileData(path="a.csv"), columns=Columns(), labels="icd10cm")


def write(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


def test_a_list_of_turns_is_a_text(tmp_path):
    lines = [json.dumps({"text": ["Doctor: Well?", "Patient: I cough."]}), json.dumps({"text": "NULL"})]
    found = read_new_texts(write(tmp_path / "new.jsonl", "\n".join(lines)), Wanted(["text"]))
    assert found.texts == ["Doctor: Well?\nPatient: I cough."]
    assert found.empty_rows == [2]


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_the_separator_is_the_one_that_the_columns_are_found_by(tmp_path, separator):
    content = f"id{separator}text\n1{separator}I cough\n"
    found = read_new_texts(write(tmp_path / "new.csv", content), Wanted(["text"], identifier="id"))
    assert (found.texts, found.identifiers) == (["I cough"], ["1"])


def test_the_encoding_is_the_studys_where_it_is_not_utf_8(tmp_path):
    path = tmp_path / "new.csv"
    wanted = Wanted(["text"], data=Data(source=FileData(path="a.csv", encoding="cp1252"), columns=Columns()))
    assert read_new_texts(write(path, "text\nHüfte\n".encode("cp1252")), wanted).texts == ["Hüfte"]
    assert read_new_texts(write(path, "text\nHüfte\n"), wanted).texts == ["Hüfte"]
    with pytest.raises(StudyError, match="line 2: byte 0xfc is not UTF-8"):
        read_new_texts(write(path, "text\nHüfte\n".encode("cp1252")), Wanted(["text"]))


@pytest.mark.parametrize(
    ("level", "labels"), [("code", ["A047", "A047", "", "X"]), ("category", ["A04", "A04", "", "X"])]
)
def test_a_label_is_written_as_the_study_writes_it(tmp_path, level, labels):
    rows = [{"text": "I cough", "code": code} for code in ("a04.7", ["A04.7"], None, "X")]
    path = write(tmp_path / "new.jsonl", "\n".join(map(json.dumps, rows)))
    wanted = Wanted(["text"], label="code", data=CODED.model_copy(update={"level": level}))
    assert read_new_texts(path, wanted).labels == labels


def test_numbers_are_labels_as_the_study_has_them(tmp_path):
    path = write(tmp_path / "new.csv", "text,label\na b,1.0\nc d,0\n")
    assert read_new_texts(path, Wanted(["text"], label="label")).labels == ["1", "0"]
    assert read_new_texts(path, Wanted(["text"], label="label", as_written=True)).labels == ["1.0", "0"]


def test_a_set_of_labels_is_written_as_the_study_writes_it(tmp_path):
    path = write(tmp_path / "new.csv", 'text,codes\nI cough,a04.7;I10;I10\nI ache,"X;I10"\nI fall,\n')
    data = CODED.model_copy(update={"several": Several(separator=";")})
    found = read_new_texts(path, Wanted(["text"], label="codes", data=data))
    assert found.sets == [["A047", "I10"], ["X", "I10"], []]


@pytest.mark.parametrize(("content", "texts"), [("\ufeffI cough\nI ache\n".encode(), 2), (b"I \xff cough\n", 0)])
def test_standard_input_is_utf_8(monkeypatch, content, texts):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))
    if texts:
        assert read_new_texts("-", Wanted(["text"])).texts == ["I cough", "I ache"]
        return
    with pytest.raises(StudyError, match=r"standard input is not UTF-8 \(byte 3\)"):
        read_new_texts("-", Wanted(["text"]))
