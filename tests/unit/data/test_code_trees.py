"""Code trees of the study's own, and their converters."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from slingshot.analysis.scoring import score_arm
from slingshot.artifacts.labels import Label, read_labels
from slingshot.artifacts.layout import DataFiles
from slingshot.artifacts.metrics import read_metrics
from slingshot.artifacts.predictions import Prediction
from slingshot.artifacts.splits import read_split
from slingshot.config.base import TreeLabels
from slingshot.config.data import Data, FileData
from slingshot.config.reporting import Statistics
from slingshot.config.specs import PrepareDataSpec, ScoreSpec
from slingshot.core.errors import StudyError
from slingshot.data import labels
from slingshot.data.code_trees import read_tree, tree_of
from slingshot.data.prepare import prepare
from slingshot.data.tree_converters import Form, convert_tree
from slingshot.prompting.answers import read_answer

TREE = """code,parent,description,level
A,,General,chapter
A1,A,Fevers,block
A01,A1,Fever,category
A01.1,A01,Fever with chills,code
A01.2,A01,Fever without chills,code
B,,Blood,chapter
B02,B,Anaemia,category
"""


@pytest.fixture
def system(tmp_path: Path) -> TreeLabels:
    (tmp_path / "tree.csv").write_text(TREE)
    return TreeLabels(tree=str(tmp_path / "tree.csv"), digest=str(tmp_path))


def test_a_tree_knows_its_levels(system: TreeLabels) -> None:
    tree = tree_of(system)
    assert tree is not None
    code = tree.find(tree.normalize("a011"))
    assert code is not None
    assert (code.code, code.category, code.block, code.chapter, code.billable) == ("A01.1", "A01", "A1", "A", True)
    assert tree.lineage("A01.1") == {"A01.1", "A01", "A1", "A"}
    anaemia = tree.find("B02")
    assert anaemia is not None
    assert (anaemia.category, anaemia.block, anaemia.chapter) == ("B02", "B02", "B")
    assert tree.all_labels("code") == ("A01", "A01.1", "A01.2", "B02")
    assert tree.all_labels("chapter") == ("A", "B")
    assert (tree.find("A"), tree.find("Z")) == (None, None)
    assert tree.describe("A1", "block") == "Fevers"


def test_levels_are_told_by_depth_where_no_column_says_them(tmp_path: Path) -> None:
    lines = [",".join(line.split(",")[:3]) for line in TREE.splitlines()]
    (tmp_path / "tree.csv").write_text("\n".join(lines))
    tree = read_tree(tmp_path / "tree.csv")
    code = tree.find("A01.1")
    assert code is not None
    assert (code.category, code.block, code.chapter) == ("A01", "A1", "A")
    assert tree.all_labels("code") == ("A01", "A01.1", "A01.2", "B02")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("code,description\nA,x\n", "a code tree needs the column parent"),
        ("code,parent,description\nA,B,x\n", "line 2: the parent B of A is not in the file"),
        ("code,parent,description\nA,B,x\nB,A,y\n", "line 2: the code A stands above itself"),
        ("code,parent,description\nA.1,,x\na1,,y\n", "line 3: the code a1 stands in line 2 already"),
        (
            "code,parent,description,level\nA,,x,part\n",
            "line 2: level must be chapter, block, category, code, not",
        ),
        ("code,parent,description\n,,x\n", "line 2: the code is empty"),
        ("code,parent,description\n", "holds no codes"),
    ],
)
def test_a_broken_tree_is_one_sentence(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "tree.csv").write_text(content)
    with pytest.raises(StudyError, match=message):
        read_tree(tmp_path / "tree.csv")
    with pytest.raises(StudyError, match=r"data.labels.tree: .*none.csv is missing"):
        read_tree(tmp_path / "none.csv")


@pytest.mark.parametrize(
    ("raw", "level", "label"),
    [
        ("The code is A01.1.", "code", "A01.1"),
        ("a011", "code", "A01.1"),
        ("A01.1", "category", "A01"),
        ("A01.2 (fever)", "block", "A1"),
        ("Chapter B", "chapter", "B"),
        ("nothing", "code", None),
    ],
)
def test_an_answer_is_read_with_the_tree(system: TreeLabels, raw: str, level: Any, label: str | None) -> None:
    tree = tree_of(system)
    assert tree is not None
    assert read_answer(raw, set(tree.all_labels(level)), system, level) == label


@pytest.mark.parametrize(("level", "names"), [("code", ["A01.1", "A01.2", "B02"]), ("chapter", ["A", "B"])])
def test_a_study_with_a_tree_of_its_own(tmp_path: Path, level: Any, names: list[str]) -> None:
    (tmp_path / "tree.csv").write_text(TREE)
    rng = np.random.default_rng(1)
    codes = ["A01.1", "a012", "B02", "A09"]
    rows = [{"text": " ".join(f"w{n}" for n in rng.integers(0, 999, 30)), "label": codes[n % 4]} for n in range(80)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = Data(
        source=FileData(path="rows.jsonl"), labels=TreeLabels(tree="tree.csv"), level=level, max_dropped_share=1
    )
    files = DataFiles(tmp_path / "out")
    report = prepare(PrepareDataSpec(data=data, source_digest=None), tmp_path, files)
    assert report["dropped"][labels.NOT_IN_CODE_SET]["rows"] == 20
    assert report["code_set"].startswith("tree.csv sha256:")
    assert [label.label for label in read_labels(files.labels)] == names
    train = read_split(files.train)
    assert set(train["chapter"]) == {"A", "B"}
    assert set(train["label"]) == set(names)


# ---------------------------------------------------------------- converters

ICD9 = """0010  Cholera due to vibrio cholerae
0019  Cholera, unspecified
25000 Diabetes mellitus without mention of complication, type II
25001 Diabetes mellitus, type I
4019  Unspecified essential hypertension
V4581 Aortocoronary bypass status
E8490 Home accidents
"""


def claml(tag: str, attributes: str, inner: str, label: str) -> str:
    return f'<{tag} {attributes}>{inner}<Rubric kind="preferred"><Label>{label}</Label></Rubric></{tag}>'


LONG = '<Rubric kind="preferredLong"><Label>Long</Label></Rubric>'
CLAML = f"""<ClaML version="2.0.0">
{claml("ModifierClass", 'code=".0" modifier="M4"', '<SuperClass code="M4"/>', "With coma")}
{claml("ModifierClass", 'code=".9" modifier="M4"', '<SuperClass code="M4"/>', "Without complications")}
{claml("Class", 'code="IV" kind="chapter"', '<SubClass code="E10-E14"/>', "Endocrine diseases")}
{claml("Class", 'code="E10-E14" kind="block"', '<SuperClass code="IV"/><SubClass code="E11"/>', "Diabetes")}
{
    claml(
        "Class",
        'code="E11" kind="category"',
        '<SuperClass code="E10-E14"/><ModifiedBy code="M4"/>',
        "Type 2 diabetes <Reference>E10</Reference>",
    )
}
{claml("Class", 'code="E15" kind="category"', '<SuperClass code="E10-E14"/><SubClass code="E15.1"/>', "Coma")}
{claml("Class", 'code="E15.1" kind="category"', f'<SuperClass code="E15"/>{LONG}', "Short")}
</ClaML>"""
META = """3;N;X;01;A00;A00.-;A00;A00;Cholera;Cholera;;;001
4;T;X;01;A00;A00.0;A00.0;A000;Cholera durch Vibrio cholerae;Cholera;x;;001
3;N;X;01;A15;A17.-+;A17;A17;Tuberkulose des Nervensystems;;;;001
4;T;X;01;A15;A17.0+;A17.0;A170;Meningitis;;;;001
5;T;X;01;A15;A17.01+;A17.01;A1701;Meningitis genauer;;;;001
"""
ORDER = (
    f"{'00001':5} {'A00':7} 0 {'Cholera':60} Cholera\n"
    f"{'00002':5} {'A000':7} 1 {'Cholera biovar':60} Cholera due to Vibrio cholerae 01, biovar cholerae\n"
    f"{'00003':5} {'A01':7} 0 {'Typhoid':60} Typhoid and paratyphoid fevers\n"
    f"{'00004':5} {'A010':7} 0 {'Typhoid fever':60} Typhoid fever\n"
    f"{'00005':5} {'A0100':7} 1 {'Typhoid unsp':60} Typhoid fever, unspecified\n"
)


@pytest.mark.parametrize(
    ("form", "name", "content", "code", "expected"),
    [
        ("icd9cm", "dx.txt", ICD9, "E849.0", ("E849.0", "E849", "E846-E849", "E000-E999", "Home accidents")),
        (
            "icd9cm",
            "dx.txt",
            ICD9,
            "25000",
            ("250.00", "250", "249-259", "240-279", "Diabetes mellitus without mention"),
        ),
        ("icd9cm", "dx.txt", ICD9, "V45.81", ("V45.81", "V45", "V40-V49", "V01-V91", "Aortocoronary bypass status")),
        ("claml", "a.xml", CLAML, "E11.9", ("E11.9", "E11", "E10-E14", "IV", "Type 2 diabetes, Without complications")),
        ("claml", "a.xml", CLAML, "E151", ("E15.1", "E15", "E10-E14", "IV", "Long")),
        ("meta", "icd10gm2024syst_kodes.txt", META, "A17.01", ("A17.01", "A17", "A15-A19", "01", "Meningitis genauer")),
        (
            "icpc2",
            "icpc.csv",
            "id;code;title\n1;K86;Hypertension\n2;-50;Medication\n",
            "k86",
            ("K86", "K86", "K70-K99", "K", "Hyp"),
        ),
        ("icd10cm", "order.txt", ORDER, "A01.00", ("A0100", "A01", "A00-A09", "1", "Typhoid fever, unspecified")),
    ],
)
def test_a_publishers_file_becomes_a_tree(
    tmp_path: Path, form: Form, name: str, content: str, code: str, expected: tuple[str, ...]
) -> None:
    (tmp_path / name).write_text(content)
    (tmp_path / "icd10gm2024syst_kapitel.txt").write_text("01;Infektiöse Krankheiten\n")
    (tmp_path / "icd10gm2024syst_gruppen.txt").write_text("A00;A09;01;Darm\nA15;A19;01;Tuberkulose\n")
    assert convert_tree(form, tmp_path / name, tmp_path / "tree.csv") > 1
    tree = read_tree(tmp_path / "tree.csv")
    found = tree.find(tree.normalize(code))
    assert found is not None
    assert (found.code, found.category, found.block, found.chapter) == expected[:4]
    assert found.description.startswith(expected[4])
    assert found.billable
    assert tree.lineage(found.code) >= {found.code, found.category, found.chapter}


def test_the_titles_of_groups_and_chapters_come_from_the_tables_beside(tmp_path: Path) -> None:
    (tmp_path / "icd102019syst_codes.txt").write_text(META)
    (tmp_path / "icd102019syst_chapters.txt").write_text("01;Certain infectious diseases\n")
    (tmp_path / "icd102019syst_groups.txt").write_text("A00;A09;01;Intestinal infectious diseases\n")
    convert_tree("meta", tmp_path / "icd102019syst_codes.txt", tmp_path / "tree.csv")
    tree = read_tree(tmp_path / "tree.csv")
    assert tree.describe("A00-A09", "block") == "Intestinal infectious diseases"
    assert tree.describe("01", "chapter") == "Certain infectious diseases"


@pytest.mark.parametrize("form", ["icd9cm", "claml", "meta", "icpc2", "icd10cm"])
def test_a_file_of_another_form_is_one_sentence(tmp_path: Path, form: Form) -> None:
    (tmp_path / "a.txt").write_text("what is this\nno codes at all\n")
    with pytest.raises(StudyError, match=r"a\.txt (holds no codes|is not)"):
        convert_tree(form, tmp_path / "a.txt", tmp_path / "tree.csv")
    assert not (tmp_path / "tree.csv").exists()
    with pytest.raises(StudyError, match=r"is missing: convert_tree\.py reads one file"):
        convert_tree(form, tmp_path / "none.txt", tmp_path / "tree.csv")


def test_answers_are_scored_with_the_tree(system: TreeLabels) -> None:
    truths = ["A01.1", "A01.2", "B02"] * 10
    answers = ["A01.1", "A01.1", None] * 10  # right; the category is right; unreadable
    rows = [{"sample_id": f"{n}", "text": "a b", "label": label} for n, label in enumerate(truths)]
    predictions = [
        Prediction(sample_id=f"{n}", label=label, raw="", code=code, candidates=[], prompt_tokens=1, new_tokens=1)
        for n, (label, code) in enumerate(zip(truths, answers, strict=True))
    ]
    spec = ScoreSpec(
        arm="llm/a",
        model_type="LLM",
        model_name="a",
        model_size=None,
        training_status="untrained",
        labels=system,
        level="code",
        statistics=Statistics(resamples=100),
    )
    study = [Label(label=label, train_samples=1) for label in sorted(set(truths))]
    metrics = score_arm(spec, predictions, pd.DataFrame(rows), study, None, {})
    scores = metrics.answers["free"]
    assert scores.exact_match.value == pytest.approx(1 / 3)
    assert {level: round(found.accuracy.value, 3) for level, found in scores.levels.items()} == {
        "code": 0.333,
        "category": 0.667,
        "block": 0.667,
        "chapter": 0.667,
    }
    assert scores.hierarchical is not None  # shares 4 + 3 + 0 nodes of 4 + 4 + 2
    assert scores.hierarchical.f1.value == pytest.approx(0.7)
    assert [(part.group, part.title) for part in scores.by_chapter] == [("A", "General"), ("B", "Blood")]
    metrics.write(Path(system.tree).parent / "metrics.json")
    assert read_metrics(Path(system.tree).parent / "metrics.json").labels == system
