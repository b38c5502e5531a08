"""What the reader must not do silently: each fault with its kind, found with small files."""

from __future__ import annotations

import bz2
import gzip
import json
from datetime import date, datetime, time
from pathlib import Path
from typing import Any

import openpyxl
import pyarrow
import pyarrow.parquet
import pytest
from pydantic import ValidationError

from slingshot.config.data import Columns, FileData
from slingshot.core.errors import StudyError
from slingshot.data import cells, cleaning
from tests.unit.data.reading import assert_refused, read, written

ROWS = [{"text": f"text {n}", "label": f"L{n % 3}"} for n in range(5)]
CSV = "text,label\n" + "".join(f"{row['text']},{row['label']}\n" for row in ROWS)


# ---------------------------------------------------------------- line separators inside texts


@pytest.mark.parametrize("sign", ["\f", "\v", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029"])
def test_a_line_separator_is_a_line_end(sign: str) -> None:
    assert (
        cleaning.clean(f"[doctor] Any pain?{sign}[patient] no{sign}none")[0] == "Doctor: Any pain?\nPatient: no\nnone"
    )


def test_a_unit_separator_is_a_blank_and_other_controls_are_nothing() -> None:
    assert cleaning.clean("one\x1ftwo")[0] == "one two"
    assert cleaning.clean("one\x1ftwo é")[0] == "one two é"
    assert cleaning.clean("o\x00ne")[0] == "one"


# ---------------------------------------------------------------- quotation marks in TSV and CSV


def test_a_tsv_whose_fields_begin_with_a_quote_loses_no_row(tmp_path: Path) -> None:
    lines = [f'"Ow," he said {n}\tL{n % 3}' if n % 4 else f'"{n} inches\tL{n % 3}' for n in range(80)]
    rows = read(written(tmp_path / "a.tsv", "text\tlabel\n" + "\n".join(lines) + "\n"))
    assert len(rows) == 80
    assert rows[0]["text"] == '"0 inches'
    assert rows[1]["text"] == '"Ow," he said 1'


def test_a_tsv_that_is_quoted_is_read_as_quoted(tmp_path: Path) -> None:
    assert read(written(tmp_path / "a.tsv", 'text\tlabel\n"x ""y"""\tL\n')) == [{"text": 'x "y"', "label": "L"}]
    rows = read(written(tmp_path / "b.tsv", 'text\tlabel\n"one\ntwo\tthree"\tL\nx\tM\n'))
    assert rows == [{"text": "one\ntwo\tthree", "label": "L"}, {"text": "x", "label": "M"}]


@pytest.mark.parametrize(
    ("columns", "row"),
    [("text,label", "{text},{label}"), ("label,text", "{label},{text}"), ("label,text,id", "{label},{text},7")],
)
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_rows_that_a_quotation_mark_swallows_are_an_error(
    tmp_path: Path, columns: str, row: str, separator: str
) -> None:
    texts = ["a", '"5 inches', "b", '6"', "c"] if row.startswith("{text}") else ["a", '"5 inches', "b", "c", 'd"']
    if separator == "\t":
        texts = [*texts, '"two\nlines"']  # or else each line is a row, and nothing is swallowed
    lines = [row.format(text=text, label=f"L{n % 2}") for n, text in enumerate(texts)]
    content = "\n".join([columns, *lines]) + "\n"
    path = written(tmp_path / ("a.tsv" if separator == "\t" else "a.csv"), content.replace(",", separator))
    if row.startswith("{text}"):  # the mark closes where a field does not end
        pattern = r"line 3: cannot be read as CSV|lines 3 to 5: a quotation mark makes one row"
    else:
        pattern = r"lines 3 to 6: a quotation mark makes one row of them, .* the label 'L. ?'"
    with pytest.raises(StudyError, match=pattern):
        read(path, separator=separator)


def test_a_mark_that_closes_two_rows_below_swallows_them(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", 'text,label\nx,L0\ny,L1\n"Oh no,L1\nit is 5",L0\n')
    with pytest.raises(StudyError, match=r"lines 4 to 5: .* the label 'L1' \(1 such rows\); double the mark"):
        read(path)


def test_dialogues_with_commas_in_quotes_are_no_swallowed_rows(tmp_path: Path) -> None:
    text = "Doctor: Hello, there\nPatient: Hello, doctor\nDoctor: Yes, no"
    path = written(tmp_path / "a.csv", "text,label\n" + f'"{text}",no\n"{text}",yes\n')
    assert [row["text"] for row in read(path)] == [text, text]


# ---------------------------------------------------------------- two columns of one name


@pytest.mark.parametrize("twin", ["text", " text"])
def test_two_columns_of_one_name_are_an_error(tmp_path: Path, twin: str) -> None:
    table = pyarrow.table([["a"], ["b"], ["L"]], names=["text", twin, "label"])
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    written(tmp_path / "a.csv", f"text,{twin},label\na,b,L\n")
    written(tmp_path / "a.tsv", f"text\t{twin}\tlabel\na\tb\tL\n")
    book = openpyxl.Workbook()
    for line in (["text", twin, "label"], ["a", "b", "L"]):
        book.active.append(line)
    book.save(tmp_path / "a.xlsx")
    for name in ("a.csv", "a.tsv", "a.parquet", "a.xlsx"):
        with pytest.raises(StudyError, match="has 2 columns of the name 'text'; rename all but one"):
            read(tmp_path / name)
    written(tmp_path / "a.jsonl", f'{{"text": "a", "{twin}": "b", "label": "L"}}\n')
    with pytest.raises(StudyError, match="line 1: the key 'text' stands there twice"):
        read(tmp_path / "a.jsonl")


def test_two_columns_of_a_name_that_nobody_reads_are_no_error(tmp_path: Path) -> None:
    assert read(written(tmp_path / "a.csv", "id,text,label,id\n1,x,L,2\n")) == [{"text": "x", "label": "L"}]
    assert read(written(tmp_path / "a.jsonl", '{"id": 1, "id": 2, "text": "x", "label": "L"}\n'))[0]["text"] == "x"


# ---------------------------------------------------------------- what can't be seen


@pytest.mark.parametrize(
    "sign", ["\u200b", "\ufeff", "\xad", "\u200e", "\u200f", "\u202a", "\u2060", "\ud83d", "\u200d"]
)
def test_invisible_signs_make_no_second_label(sign: str) -> None:
    for text in (f"{sign}asthma", f"asthma{sign}"):
        assert cells.plain_value(text)[0] == cells.plain_value("asthma")[0]
        assert cells.plain_value(text)[1] == [cells.UNSEEN]
        assert cells.group_value(text)[0] == "asthma"
        assert cells.description_value(text)[0] == "asthma"


def test_labels_of_different_unicode_forms_or_blanks_are_one() -> None:
    names = {
        cells.plain_value(text)[0] for text in ("Ménière  disease", "Me\u0301nie\u0300re disease", "Ménière\xa0disease")
    }
    assert names == {"Ménière disease"}
    assert cells.plain_value("\u0645\u06cc\u200c\u062e\u0648")[0] == "\u0645\u06cc\u200c\u062e\u0648"  # joins letters


def test_a_message_shows_what_can_not_be_seen() -> None:
    assert cells.shown("A04.7\u200b") == "A04.7\\u200b"
    assert cells.shown("\ud83d") == "\\ud83d"
    assert cells.shown("Ménière") == "Ménière"
    assert cells.shown("\u0415119", looks_plain=True) == "\u0415119, which is '\\u0415119'"  # a Cyrillic E


# ---------------------------------------------------------------- written nulls


@pytest.mark.parametrize(
    "cell", ["NULL", "nan", "None", "N/A", "", " ", "-", "NA", "#N/A", "<NA>", "\u2014", "NaT", None, float("nan")]
)
def test_written_nulls_are_nothing_in_any_column_but_the_text(cell: Any) -> None:
    assert (
        cells.plain_value(cell, ["null", "nan", "none", "n/a", "-", "na", "#n/a", "<na>", "\u2014", "nat"])[0] is None
    )
    assert cells.group_value(cell)[0] is None
    assert cells.description_value(cell)[0] is None
    assert cells.description_value([cell, cell])[0] is None


def test_a_study_may_have_a_label_called_none() -> None:
    assert cells.plain_value("None", [])[0] == "None"


# ---------------------------------------------------------------- identifiers


def test_an_identifier_is_the_same_as_number_and_as_text() -> None:
    ways = [5, 5.0, "5", "5.0", " 5.00 ", "5\u200b", [5.0]]
    assert {cells.group_value(way)[0] for way in ways} == {"5"}
    assert cells.group_value(1e16)[0] == "10000000000000000"
    assert cells.group_value("05")[0] == "05"
    assert cells.group_value("5.5")[0] == "5.5"
    assert cells.group_value("5.0")[1] == [cells.GROUP_FLOAT]


# ---------------------------------------------------------------- Parquet's richer types


def parquet(path: Path, label: pyarrow.Array, **others: pyarrow.Array) -> Path:
    columns = {"text": pyarrow.array(["x", "y"]), "label": label, **others}
    pyarrow.parquet.write_table(pyarrow.table(columns), path)
    return path


def test_bytes_are_text(tmp_path: Path) -> None:
    path = parquet(tmp_path / "a.parquet", pyarrow.array([b"M\xc3\xa9ni\xc3\xa8re", b"\xff"]))
    assert read(path)[0]["label"] == "Ménière"
    with pytest.raises(ValueError, match=cells.NOT_A_NAME):
        cells.plain_value(read(path)[1]["label"])


def test_categories_keep_their_names(tmp_path: Path) -> None:
    named = pyarrow.array(["asthma", "flu"]).dictionary_encode()
    assert [row["label"] for row in read(parquet(tmp_path / "a.parquet", named))] == ["asthma", "flu"]


@pytest.mark.parametrize("names", [["flu", "asthma"], {"0": "flu", "1": "asthma"}])
def test_classes_that_are_numbers_get_their_names_back(tmp_path: Path, names: Any) -> None:
    table = pyarrow.table({"text": ["x", "y", "z"], "label": pyarrow.array([1, 0, -1], pyarrow.int64())})
    feature = {"label": {"names": names, "_type": "ClassLabel"}}
    info = json.dumps({"info": {"features": feature}})
    pyarrow.parquet.write_table(table.replace_schema_metadata({"huggingface": info}), tmp_path / "a.parquet")
    assert [row["label"] for row in read(tmp_path / "a.parquet")] == ["asthma", "flu", None]


@pytest.mark.parametrize("column", ["text", "label", "what", "who"])
@pytest.mark.parametrize(
    "kind", [pyarrow.struct([("a", pyarrow.string())]), pyarrow.list_(pyarrow.struct([("a", pyarrow.string())]))]
)
def test_objects_are_an_error_that_names_the_column(tmp_path: Path, column: str, kind: pyarrow.DataType) -> None:
    cell: Any = [{"a": "x"}] if pyarrow.types.is_list(kind) else {"a": "x"}
    columns = {name: pyarrow.array(["x", "y"]) for name in ("text", "label", "what", "who")}
    columns[column] = pyarrow.array([cell, cell], kind)
    pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / "a.parquet")
    with pytest.raises(StudyError, match=rf"has objects in the column '{column}' \(.*struct<a: string>"):
        read(tmp_path / "a.parquet", Columns(description="what", group="who"))


def test_lists_in_the_description_are_joined_and_objects_left_out() -> None:
    assert cells.description_value(["a", None, "b", "a"]) == ("a; b", [cells.DESCRIPTION_FORM])
    assert cells.description_value({"a": 1}) == (None, [cells.DESCRIPTION_FORM])
    assert cells.description_value(7) == (None, [cells.DESCRIPTION_FORM])


@pytest.mark.parametrize("cell", [{"a": 1}, b"\xff", [["a"], ["b"]]])
def test_an_object_is_no_label(cell: Any) -> None:
    with pytest.raises(ValueError, match=f"{cells.NOT_A_NAME}|{cells.SEVERAL}"):
        cells.plain_value(cell)


# ---------------------------------------------------------------- JSON Lines


def test_a_first_line_may_lack_a_key_that_another_has(tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl", '{"text": "x", "label": "L"}\n{"text": "y", "label": "M", " who": 5}\n')
    assert [row["who"] for row in read(path, Columns(group="who"))] == [None, 5]
    with pytest.raises(StudyError, match="has no column 'whom'; did you mean who"):
        read(path, Columns(group="whom"))


def test_half_an_emoji_is_read(tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl", '{"text": "x \\ud83d", "label": "L\\ud83d"}\n')
    [row] = read(path)
    assert cells.plain_value(row["label"])[0] == "L"
    assert cleaning.clean(row["text"])[0] == "x"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('[{"text": "x"}]\n', r"must be a JSON object, not list; a JSON array .* jq"),
        ('[\n{"text": "x"}\n]\n', "is not JSON .* whole object on each line"),
        ("[" * 100_000, "lists in lists without end|is not JSON"),
    ],
)
def test_json_that_is_no_json_lines_is_said(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(StudyError, match=message):
        read(written(tmp_path / "a.jsonl", content))


# ---------------------------------------------------------------- what a file really is


def test_packed_files_are_read_whatever_their_name(tmp_path: Path) -> None:
    whole = CSV.encode()
    zstd = pyarrow.compress(whole, codec="zstd", asbytes=True)
    for name, content in (
        ("a.csv.gz", gzip.compress(whole)),
        ("a.csv.bz2", bz2.compress(whole)),
        ("a.csv", gzip.compress(whole)),
        ("b.csv.zst", zstd),
        ("c.jsonl.gz", gzip.compress("\n".join(map(json.dumps, ROWS)).encode())),
    ):
        assert read(written(tmp_path / name, content)) == ROWS
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), tmp_path / "a.parquet")
    assert read(written(tmp_path / "b.parquet.gz", gzip.compress((tmp_path / "a.parquet").read_bytes()))) == ROWS


def test_a_packed_file_cut_short_is_one_sentence(tmp_path: Path) -> None:
    whole = gzip.compress((CSV * 10_000).encode())
    with pytest.raises(StudyError, match=r"can't be unpacked .* copy or download it again"):
        read(written(tmp_path / "a.csv.gz", whole[: len(whole) // 2]))


@pytest.mark.parametrize("name", ["a.xlsx", "a.csv"])
def test_a_workbook_is_read_whatever_its_name(tmp_path: Path, name: str) -> None:
    book = openpyxl.Workbook()
    for line in (["text", "label"], *[list(row.values()) for row in ROWS], [None, None], ["x", 5.0]):
        book.active.append(line)
    book.create_sheet("empty")
    book.save(tmp_path / "a.xlsx")
    (tmp_path / "a.xlsx").rename(tmp_path / name)
    assert read(tmp_path / name) == [*ROWS, {"text": "x", "label": 5}]
    book.create_sheet("notes").append(["text"])
    book.save(tmp_path / "b.xlsx")
    with pytest.raises(StudyError, match=r"has 2 sheets with rows \(Sheet, notes\): set data.source.sheet"):
        read(tmp_path / "b.xlsx")
    assert len(read(tmp_path / "b.xlsx", sheet="Sheet")) == 6
    with pytest.raises(StudyError, match="has no sheet 'note' with rows; it has Sheet, notes"):
        read(tmp_path / "b.xlsx", sheet="note")


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n"
STRANGE = {
    "json": ("a.csv", b'\n[{"text": "x"}]', r"is JSON: write one object per line \(jq -c '.\[\]'\) and name it .jsonl"),
    "json lines": ("a.tsv", b'{"text": "x"}\n', "is JSON: write one object per line"),
    "tar": ("a.csv", b"a.csv".ljust(257, b"\0") + b"ustar\x0000", "is a tar archive: unpack it"),
    "lz4": ("a.csv", b"\x04\x22\x4d\x18abc", "is compressed with lz4: unpack it, or pack it with gzip"),
    "picture": ("a.csv", b"\x89PNG\r\n", "is a picture: get the table that it shows"),
    "xml": ("a.csv", b'<?xml version="1.0"?><Workbook>', "is an XML document: save its table as .xlsx"),
    "r": ("a.csv", gzip.compress(b"RDX3\nX\n"), "is an R file: save it as Parquet"),
    "lfs": ("a.csv", POINTER, "is a Git LFS pointer, not the data itself: run `git lfs pull`"),
    "lfs parquet": ("a.parquet", POINTER, "is a Git LFS pointer"),
    "xls": ("a.xlsx", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "is an old Office file .* save it as .xlsx or as CSV"),
    "web page": ("a.csv", b"\n<!DOCTYPE html><html>", "is a web page, not data: the download failed"),
    "parquet": ("a.csv", b"PAR1....", "is a Parquet file: rename it to a.parquet"),
    "pickle": ("a.csv", b"\x80\x04\x95", "is a Python pickle, which we never open"),
    "xz": ("a.csv", b"\xfd7zXZ\x00", "is compressed with xz: unpack it"),
    "text as xlsx": ("a.xlsx", CSV.encode(), "is no workbook: if it is text, rename it"),
    "semicolons": ("a.csv", CSV.replace(",", ";").encode(), 'has a semicolon between .* data.source.separator: ";"'),
    "tabs": ("a.csv", CSV.replace(",", "\t").encode(), r'has a tab between .* data.source.separator: "\\t"'),
    "commas": ("a.tsv", CSV.encode(), 'has a comma between its fields, not a tab: set data.source.separator: ","'),
    "utf-16 without mark": ("a.csv", CSV.encode("utf-16-le"), "holds zero bytes, as UTF-16 does: .* utf-16-le"),
    "utf-32": ("a.csv", CSV.encode("utf-32"), "is UTF-32, not UTF-8: set data.source.encoding: utf-32"),
    "latin-1": ("a.csv", "text,label\né,y\n".encode("latin-1"), "line 2: byte 0xe9 is not UTF-8: .*cp1252"),
}  # fmt: skip


@pytest.mark.parametrize("case", STRANGE)
def test_a_file_of_another_kind_is_said_with_what_to_do(tmp_path: Path, case: str) -> None:
    assert_refused(tmp_path, *STRANGE[case])


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "cp1252", "latin-1", "UTF-8"])
def test_another_encoding_is_read_where_it_is_named(tmp_path: Path, encoding: str) -> None:
    path = written(tmp_path / "a.csv", "text,label\né,y\n".encode(encoding))
    assert read(path, encoding=encoding) == [{"text": "é", "label": "y"}]


@pytest.mark.parametrize("encoding", ["utf8-16", "base64", "rot13", ""])
def test_an_encoding_that_is_none_is_refused_in_the_config(encoding: str) -> None:
    with pytest.raises(ValidationError, match=f"Python knows no encoding '{encoding}'"):
        FileData(path="a.csv", encoding=encoding)


def test_another_separator_is_read_where_it_is_named(tmp_path: Path) -> None:
    for separator in (";", "|", "\t"):
        path = written(tmp_path / "a.csv", CSV.replace(",", separator))
        assert read(path, separator=separator) == ROWS


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
def test_a_carriage_return_within_an_unquoted_text_makes_no_second_row(tmp_path: Path, name: str, end: str) -> None:
    separator = {"a.csv": ",", "a.tsv": "\t"}[name]
    rows = [("label", "text"), ("x", "a b"), ("y", "I fell.\rHe said"), ("x", "c")]
    lines = [separator.join(row) for row in rows]
    lines[2] += f"{separator}so"  # each of its two lines has all fields
    message = r"line 3: ends in a carriage return \(CR\) alone.*put the text in quotes"
    assert_refused(tmp_path, name, end.join(lines), message)


@pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
def test_carriage_returns_that_end_every_line_or_stand_in_quotes_are_read(tmp_path: Path, name: str) -> None:
    separator = {"a.csv": ",", "a.tsv": "\t"}[name]
    content = f"label{separator}text\nx{separator}a\ny{separator}b\n"
    for end in ("\r", "\r\n"):
        assert len(read(written(tmp_path / name, content.replace("\n", end)))) == 2
    assert len(read(written(tmp_path / name, f'{content}z{separator}"c\rd"\n'))) == 3


@pytest.mark.parametrize("before", ["# exported in 2024", "sep=,", '"a title, with a comma"', ""])
def test_lines_before_the_header_are_an_error_that_names_its_line(tmp_path: Path, before: str) -> None:
    message = "its header stands in line 2: remove the lines before it"
    assert_refused(tmp_path, "a.csv", f'{before}\n"text",label\na,x\n', message)


@pytest.mark.parametrize("kind", [pyarrow.float32(), pyarrow.float64()])
def test_numbers_of_few_bits_are_read_as_they_were_written(tmp_path: Path, kind: pyarrow.DataType) -> None:
    path = parquet(tmp_path / "a.parquet", pyarrow.array([0.1, None], kind))
    assert [row["label"] for row in read(path)] == [0.1, None]


@pytest.mark.parametrize("cell", [date(2024, 5, 3), datetime(2024, 5, 3), [time(3, 5)]])
def test_a_date_is_no_label_but_may_be_a_group(cell: Any) -> None:
    with pytest.raises(ValueError, match="label is a date"):
        cells.plain_value(cell)
    assert cells.group_value(cell)[0]
