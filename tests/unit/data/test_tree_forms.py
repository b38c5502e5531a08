"""The converters on the forms that publishers really use, as their files have them.

The lines here are written by hand after the files: CMS32_DESC_LONG_DX.txt, DIMDI's x1gma2004, x1gma2011 and x1gmt2017,
WHO's icd102019en.xml, ICPC-2e of Portugal and of Norway. docs/data.md says what the whole files gave.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import openpyxl
import pytest

from slingshot.core.errors import StudyError
from slingshot.data.code_trees import TableTree, read_tree
from slingshot.data.icd9_blocks import section_of
from slingshot.data.tree_converters import Form, convert_tree


def converted(form: Form, path: Path) -> TableTree:
    convert_tree(form, path, path.parent / "tree.csv")
    return read_tree(path.parent / "tree.csv")


def levels(tree: TableTree, code: str) -> tuple[str, str, str, str]:
    found = tree.find(tree.normalize(code))
    assert found is not None, code
    return found.code, found.category, found.block, found.chapter


@pytest.mark.parametrize("encoding", ["latin-1", "utf-8"])
def test_cms_codes_in_either_encoding(tmp_path: Path, encoding: str) -> None:
    lines = (
        "38600 Ménière's disease, unspecified\n00581 Food poisoning due to Vibrio vulnificus\nV8541 Body Mass Index\n"
    )
    (tmp_path / "dx.txt").write_bytes(lines.encode(encoding))
    tree = converted("icd9cm", tmp_path / "dx.txt")
    assert tree.describe("386.00", "code") == "Ménière's disease, unspecified"
    assert levels(tree, "00581") == ("005.81", "005", "001-009", "001-139")
    assert levels(tree, "V8541") == ("V85.41", "V85", "V85-V85", "V01-V91")
    assert tree.describe("V85-V85", "block") == "Body mass index"


def test_each_category_of_icd9_is_of_one_section() -> None:
    starts = [span.split("-") for span in dict.fromkeys(section[0] for section in named_sections())]
    assert starts == sorted(starts, key=lambda span: (span[0][0] in "VE", span[0][0] == "E", span[0]))
    assert all(first <= last for first, last in starts)
    assert all(one[1] < next_[0] for one, next_ in pairwise(starts) if one[0][0] == next_[0][0])
    assert section_of("E030") == ("E001-E030", "Activity")
    assert section_of("030") == ("030-041", "Other bacterial diseases")
    assert section_of("019") is None


def named_sections() -> list[tuple[str, str]]:
    names = [f"{n:03}" for n in range(1, 1000)] + [f"V{n:02}" for n in range(1, 92)] + [f"E{n:03}" for n in range(1000)]
    return [section for name in names if (section := section_of(name))]


def test_dimdis_tables_of_2004_are_of_dos_with_two_fields_per_group(tmp_path: Path) -> None:
    rows = (
        "3;N;X;08;H80;H81.-;H81;H81;Störungen der Vestibularfunktion;V;V;UNDEF;2-072\r\n"
        "4;T;X;08;H80;H81.0;H81.0;H810;Ménière-Krankheit;P;P;UNDEF;2-072\r\n"
        "3;N;X;08;H80;H83.-;H83;H83;Sonstige Krankheiten des Innenohres;V;V;UNDEF;2-072\r\n"
    )
    (tmp_path / "codes.txt").write_bytes(rows.encode("cp850"))
    (tmp_path / "gruppen.txt").write_bytes("H80;Krankheiten des Innenohres\r\n".encode("cp850"))
    (tmp_path / "Kapitel.txt").write_bytes("08;Krankheiten des Ohres und des Warzenfortsatzes\r\n".encode("cp850"))
    tree = converted("meta", tmp_path / "codes.txt")
    assert levels(tree, "H810") == ("H81.0", "H81", "H80-H83", "08")
    assert tree.describe("H81.0", "code") == "Ménière-Krankheit"
    assert tree.describe("H80-H83", "block") == "Krankheiten des Innenohres"
    assert tree.describe("08", "chapter").startswith("Krankheiten des Ohres")


def test_dimdis_tables_of_2011_have_the_year_at_the_end_of_the_name(tmp_path: Path) -> None:
    rows = "3;N;X;22;U00;U04.-!;U04;U04;SARS;V;V\n4;T;X;22;U00;U04.9!;U04.9;U049;SARS, nicht näher bezeichnet;Z;Z\n"
    (tmp_path / "icd10gmsyst_kodes2011.txt").write_text(rows)
    (tmp_path / "icd10gmsyst_gruppen2011.txt").write_text("U00;U49;22;Vorläufige Zuordnungen\n")
    (tmp_path / "icd10gmsyst_kapitel2011.txt").write_text("22;Schlüsselnummern für besondere Zwecke\n")
    tree = converted("meta", tmp_path / "icd10gmsyst_kodes2011.txt")
    assert levels(tree, "U04.9") == ("U04.9", "U04", "U00-U49", "22")
    assert tree.describe("U00-U49", "block") == "Vorläufige Zuordnungen"


# ---------------------------------------------------------------- ICPC-2


def test_icpc2_with_quoted_fields_over_several_lines_and_separators_inside(tmp_path: Path) -> None:
    """Portugal's ICPC-2e 4.4: commas between fields, semicolons and line ends within them."""
    rows = (
        "cod,componente,nome,nome_curto,incl,excl\n"
        "-30,2,Exame médico/avaliação de saúde-completo,Ex médico,,\n"
        '12,1,linha,x,"; ; ; ;",\n'
        'A01,1,Dor generalizada/múltiplos locais,Dor general,"a; b; c; d;\ne; f; g","N17; N99; L20"\n'
        'K86,7,"Hipertensão, sem complicações",Hipertensão,"x; y; z",K87; K85\n'
    )
    (tmp_path / "icpc.csv").write_text(rows)
    tree = converted("icpc2", tmp_path / "icpc.csv")
    assert tree.all_labels("code") == ("-30", "A01", "K86")
    assert tree.describe("K86", "code") == "Hipertensão, sem complicações"
    assert levels(tree, "k86") == ("K86", "K86", "K70-K99", "K")
    assert levels(tree, "A01") == ("A01", "A01", "A01-A29", "A")
    assert levels(tree, "-30") == ("-30", "-30", "-30", "PROCESS")


NORWAY = [
    ["Code", "Title", "ShortTitle"],
    ["A01", "Pain general/multiple sites", "Pain general"],
    ["B90", "HIV-infection/aids", "HIV"],
]


@pytest.mark.parametrize("kind", ["xlsx", "semicolons", "bars"])
def test_icpc2_as_norway_and_others_give_it_out(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"icpc-2e.{'xlsx' if kind == 'xlsx' else 'txt'}"
    if kind == "xlsx":
        book = openpyxl.Workbook()
        for row in [["WONCA"], *NORWAY]:
            book.active.append(row)
        book.save(path)
    elif kind == "semicolons":  # with two lines of a heading
        lines = ["-- ICPC-2e-v7.0", "--", *(";".join(f'"{cell}"' for cell in row) for row in NORWAY)]
        path.write_text("\r\n".join(lines))
    else:
        path.write_text("A01|PAIN GENERAL/MULTIPLE SITES|1|A||\nB90|HIV-INFECTION/AIDS|7|B||\n")
    tree = converted("icpc2", path)
    assert tree.all_labels("code") == ("A01", "B90")
    assert tree.describe("B90", "code").casefold() == "hiv-infection/aids"


# ---------------------------------------------------------------- ClaML


def claml_class(code: str, parent: str, label: str, *inner: str, kind: str = "category") -> str:
    above = f'<SuperClass code="{parent}"/>' if parent else ""
    rubric = f'<Rubric id="D1" kind="preferred"><Label xml:lang="en" xml:space="default">{label}</Label></Rubric>'
    return f'<Class code="{code}" kind="{kind}">{above}{"".join(inner)}{rubric}</Class>\n'


def signs(modifier: str, **meanings: str) -> str:
    """A modifier with its classes; a sign is written `d0` for `.0` and `s0` for `0`."""
    return "".join(
        f'<ModifierClass code="{name.replace("d", ".").replace("s", "")}" modifier="{modifier}">'
        f'<SuperClass code="{modifier}"/><Rubric kind="preferred"><Label>{meaning}</Label></Rubric></ModifierClass>\n'
        for name, meaning in meanings.items()
    )


CLASSES = (
    claml_class("II", "", "Neoplasms", kind="chapter"),
    claml_class("C00-C97", "II", "Malignant neoplasms", kind="block"),
    claml_class("C00-C75", "C00-C97", "Stated or presumed to be primary", kind="block"),
    claml_class("C15-C26", "C00-C75", "Malignant neoplasms of digestive organs", kind="block"),
    claml_class("C22", "C15-C26", "Malignant neoplasm of liver"),
    claml_class("C22.0", "C22", "Liver cell carcinoma"),
    claml_class("IV", "", "Endocrine diseases", kind="chapter"),
    claml_class("E10-E14", "IV", "Diabetes mellitus", kind="block"),
    claml_class("E10", "E10-E14", "Type 1 diabetes mellitus", '<ModifiedBy code="S04E10_4"/>'),
    claml_class(
        "E11",
        "E10-E14",
        "Type 2 diabetes mellitus",
        '<ModifiedBy code="S04E10_5"/>',
        '<ModifiedBy all="false" code="S04E10_4"><ValidModifierClass code=".9"/></ModifiedBy>',
    ),
    claml_class("IX", "", "Diseases of the circulatory system", kind="chapter"),
    claml_class("I70-I79", "IX", "Diseases of arteries", kind="block"),
    claml_class("I70", "I70-I79", "Atherosclerosis", '<SubClass code="I70.0"/>', '<ModifiedBy code="I70M10_4"/>'),
    claml_class("I70.0", "I70", "Atherosclerosis of aorta"),
    claml_class("I70.1", "I70", "Of renal artery", '<ExcludeModifier code="I70M10_4"/>'),
    claml_class("XIII", "", "Musculoskeletal diseases", kind="chapter"),
    claml_class("M00-M25", "XIII", "Arthropathies", '<ModifiedBy code="S13M00_5"/>', kind="block"),
    claml_class("M00", "M00-M25", "Pyogenic arthritis"),
    claml_class("M00.0", "M00", 'Staphylococcal arthritis<Reference usage="dagger">B95.6</Reference>'),
    claml_class("M00.1", "M00", "Pneumococcal arthritis"),
    claml_class("M00.01", "M00.0", "written out"),
    claml_class(
        "M13",
        "XIII",
        "Other arthritis",
        '<Rubric kind="modifierlink"><Label><Reference code="S13M00_5">list</Reference></Label></Rubric>',
    ),
    claml_class("XX", "", "External causes", kind="chapter"),
    claml_class("W00-W19", "XX", "Falls", kind="block"),
    claml_class("W00", "W00-W19", "Fall on ice", '<ModifiedBy code="S20W00_4"/>'),
    claml_class(
        "D51",
        "IV",
        'Vitamin B<Term class="subscript">12</Term> deficiency<Para>anaemia '
        '<Fragment type="item">in <Reference>K90</Reference>adults</Fragment></Para>',
    ),
)
MODIFIERS = (
    signs("S04E10_4", d0="With coma", d9="Without complications"),
    signs("S04E10_5", s0="not derailed", s1="derailed"),
    signs("S13M00_5", s0="Multiple sites", s1="Shoulder region", s7="Ankle and foot"),
    signs("I70M10_4", s0="Without gangrene", s1="With gangrene"),
    signs("S20W00_4", s0="Home", s9="Unspecified place"),
)
WHO = f"""<?xml version="1.0" encoding="utf-8"?>
<!DOCTYPE ClaML SYSTEM "ClaML.dtd">
<ClaML version="2.0.0">
<Meta name="lang" value="en"/><Identifier authority="WHO" uid="icd10_2019"/>
<Title date="2019-01-01" name="ICD-10-EN-2019" version="2019">International Statistical Classification</Title>
<ClassKinds><ClassKind name="category"/><ClassKind name="block"/><ClassKind name="chapter"/></ClassKinds>
<Modifier code="S04E10_4"><SubClass code=".0"/><SubClass code=".9"/></Modifier>
{"".join(MODIFIERS)}{"".join(CLASSES)}</ClaML>"""


def test_claml_writes_its_modifiers_out(tmp_path: Path) -> None:
    (tmp_path / "icd102019en.xml").write_text(WHO)
    tree = converted("claml", tmp_path / "icd102019en.xml")
    assert set(tree.all_labels("code")) == {
        *("C22", "C22.0", "E10", "E10.0", "E10.9", "E11", "E11.9", "E11.90", "E11.91"),
        *("I70", "I70.0", "I70.00", "I70.01", "I70.1", "M00", "M00.0", "M00.01", "M00.1", "M00.10", "M00.11", "M00.17"),
        *("M13", "M13.X0", "M13.X1", "M13.X7", "W00", "W00.0", "W00.9", "D51"),
    }
    assert tree.describe("E11.91", "code") == "Type 2 diabetes mellitus, Without complications, derailed"
    assert tree.describe("M00.01", "code") == "written out"
    assert tree.describe("M00.0", "code") == "Staphylococcal arthritis"
    assert tree.describe("D51", "category") == "Vitamin B12 deficiency anaemia in adults"
    assert levels(tree, "i7001") == ("I70.01", "I70", "I70-I79", "IX")
    assert levels(tree, "W000") == ("W00.0", "W00", "W00-W19", "XX")


def test_of_nested_blocks_the_inmost_is_the_block_as_in_the_tables_of_groups(tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_text(WHO)
    tree = converted("claml", tmp_path / "a.xml")
    assert levels(tree, "C220") == ("C22.0", "C22", "C15-C26", "II")
    assert tree.lineage("C22.0") == {"C22.0", "C22", "C15-C26", "C00-C75", "C00-C97", "II"}


def test_a_modifier_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    only = claml_class("E10", "", "x", '<ModifiedBy code="S4"/>')
    (tmp_path / "a.xml").write_text(f"<ClaML>{only}</ClaML>")
    with pytest.raises(StudyError, match="the class E10 names the modifier S4, which the file does not hold"):
        convert_tree("claml", tmp_path / "a.xml", tmp_path / "tree.csv")
