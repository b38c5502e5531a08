"""A text file's lines held against its rows; lists in a label's cell; what takes long or never ends."""

from __future__ import annotations

import gzip
import os
import time
from contextlib import suppress
from pathlib import Path

import pytest

from slingshot.config.data import FileData
from slingshot.core.errors import StudyError
from slingshot.core.fingerprints import fingerprint
from slingshot.data import cells, lines
from slingshot.data.code_trees import read_tree
from slingshot.data.labels import code_test
from slingshot.data.readers import read_rows
from tests.unit.data.reading import COLUMNS, read, written

ROWS = [{"text": f"text {n}", "label": f"L{n % 3}"} for n in range(5)]
CSV = "text,label\n" + "".join(f"{row['text']},{row['label']}\n" for row in ROWS)
UNIQUE = 'text,label\n"one, two, three\nfour",X0\n'  # a row that is quoted as it should be


@pytest.mark.parametrize(
    ("content", "message"),
    [
        # no label comes twice, so no line within has a known one
        (
            'text,label\na,L1\n"Ow,L2\nit is 5",L3\nb,L4\n',
            "each of 4 lines has all 2 fields, .* lines 3 to 4, 3 rows in",
        ),
        ('text;label\n"Ow;L2\nit is 5";L3\nb;L4\n', "each of 3 lines has all 2 fields"),
        (UNIQUE + 'he said "no" twice,L1\n"Ow,L2\nit is 5",L3\n', "lines 2 to 3: .* in line 4 a field holds marks"),
        (UNIQUE + '5" long,L1\n', "lines 2 to 3: .* in line 4 a field holds marks without being quoted"),
    ],
)
def test_lines_and_rows_that_can_not_agree_are_an_error(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(StudyError, match=message):
        read(written(tmp_path / "a.csv", content), separator=";" if content.startswith("text;") else ",")


def test_a_line_within_a_row_that_holds_a_code_is_a_row(tmp_path: Path) -> None:
    """The codes E119 and I10 stand there once each, so only the code set tells that they are labels."""
    path = written(tmp_path / "a.csv", 'text,label\na,J45\n"Ow, no,E11.9\nb,I10\nit is 5",K35.80\n')
    for is_label, refused in ((code_test("icd10cm"), True), (code_test("plain"), False)):
        rows = read_rows(FileData(path="a.csv"), COLUMNS, tmp_path, is_label)
        if refused:
            with pytest.raises(StudyError, match=r"lines 3 to 5: a quotation mark makes one row .* 'I10'"):
                list(rows.batches)
        else:
            assert sum(map(len, rows.batches)) == 2
    assert path.exists()


def test_lines_are_counted_against_rows(tmp_path: Path) -> None:
    written(tmp_path / "a.csv", UNIQUE + '\nx,L1\n"say ""no""",L2\n')
    written(tmp_path / "b.tsv", 'text\tlabel\n"Ow\tL1\n\nx\tL2\n')
    written(tmp_path / "c.jsonl", '{"text": "x", "label": "L1"}\n\n{"text": "y", "label": "L2"}\n')
    written(tmp_path / "d.csv", 'text,"la\nbel",label\nx,1,L1\n')
    counts = {}
    for name in ("a.csv", "b.tsv", "c.jsonl", "d.csv"):
        rows = read_rows(FileData(path=name), COLUMNS, tmp_path)
        assert sum(map(len, rows.batches)) == rows.line_counts()[name]["rows"]
        counts[name] = tuple(rows.line_counts()[name].values())
    #                  lines, header, blank, rows, over several lines, lines of these
    assert counts == {
        "a.csv": (6, 1, 1, 3, 1, 2),
        "b.tsv": (4, 1, 1, 2, 0, 0),
        "c.jsonl": (3, 0, 1, 2, 0, 0),
        "d.csv": (3, 2, 0, 1, 0, 0),
    }
    for total, header, blank, found, several, of_these in counts.values():
        assert total == header + blank + (found - several) + of_these


def test_a_header_that_comes_again_is_no_row(tmp_path: Path) -> None:
    """Shards that were put together with `cat`: the second header once was a sample of the label `label`."""
    for name, content in (("a.csv", CSV + CSV), ("a.tsv", (CSV + CSV).replace(",", "\t"))):
        written(tmp_path / name, content)
        assert read(tmp_path / name) == ROWS + ROWS
        rows = read_rows(FileData(path=name), COLUMNS, tmp_path)
        assert sum(map(len, rows.batches)) == 10
        assert (rows.line_counts()[name]["header"], rows.line_counts()[name]["rows"]) == (2, 10)


def test_a_line_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "LONGEST_LINE", 1000)
    written(tmp_path / "a.csv.gz", gzip.compress(b"text,label\n" + b"x" * 5000))
    with pytest.raises(StudyError, match=r"a.csv.gz, line 2 has more than 1,000 characters: is it a table at all"):
        read(tmp_path / "a.csv.gz")


# ---------------------------------------------------------------- lists in a label's cell, and what never ends


@pytest.mark.parametrize(
    ("cell", "single", "several"),
    [
        ("['A047']", "A047", ["A047"]),
        ("[pain, acute]", "pain, acute", ["pain", "acute"]),
        ("['pain, acute']", "pain, acute", ["pain, acute"]),
        ('["M\\u00e9ni\\u00e8re"]', "Ménière", ["Ménière"]),
        ("['E119' 'I10']", None, ["E119", "I10"]),  # as NumPy prints an array
        ("['a',\n 'b, c']", None, ["a", "b, c"]),
        ("[1.0]", "1", ["1"]),
        ("[1, 2]", None, ["1", "2"]),
        ("[A047,]", "A047", ["A047"]),
        ("[null]", "", []),
        ("[ ]", "", []),
    ],
)
def test_a_list_in_a_cell_is_read_as_it_is_written(cell: str, single: str | None, several: list[str]) -> None:
    assert cells.label_values(cell, None)[0] == several
    if single is None:
        with pytest.raises(ValueError, match=cells.SEVERAL):
            cells.plain_value(cell)
    else:
        assert (cells.plain_value(cell)[0] or "") == single


@pytest.mark.parametrize(
    "cell",
    ["[" + " " * 1000, "[" + " " * 10**5, "[" + "," * 10**5 + "]", "[" * 10**5 + "]" * 10**5, "['" + "a " * 10**5],
)
def test_no_cell_takes_long(cell: str) -> None:
    start = time.perf_counter()
    for read_cell in (cells.plain_value, cells.description_value, cells.group_value):
        with suppress(ValueError):
            read_cell(cell)
    cells.label_values(cell, None)
    assert time.perf_counter() - start < 2  # [ and 1,000 blanks took 164 s


@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_a_pipe_or_device_as_a_source_is_refused_before_it_is_opened(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.csv"
    os.mkfifo(path) if kind == "pipe" else path.symlink_to("/dev/zero")
    with pytest.raises(StudyError, match=r"data.source.path: a.csv is a pipe or a device"):
        read(path)
    with pytest.raises(StudyError, match=r"config.yaml: data.source.path: .*a.csv is a pipe or a device"):
        fingerprint(path, "config.yaml: data.source.path", tmp_path / "memory.json")
    with pytest.raises(StudyError, match=r"data.labels.tree: .* is a folder, a pipe or a device"):
        read_tree(path)
