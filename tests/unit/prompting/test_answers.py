"""What is read out of what a model said."""

import pytest

from slingshot.data import icd10
from slingshot.prompting.answers import read_answer

CODES = {"A047", "J4520", "E784", "O321XX0"}


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        ("A047", "A047"),
        ("A04.7", "A047"),
        (" a04.7.", "A047"),
        ("The code is J45.20 (mild asthma), not A04.7.", "J4520"),
        ("Enterocolitis due to Clostridium difficile A047", "A047"),
        ("**O32.1XX0**", "O321XX0"),
        ("I10", "I10"),  # valid, though not a label of the study
        ("Z99.99, better: A047", "A047"),  # the first one is no code
        ("vitamin B12 deficiency, A047", "A047"),
        ("E784", "E784"),
        ("XA047Y", None),
        ("2024", None),
        ("", None),
        ("I cannot help with that.", None),
    ],
)
def test_the_first_valid_code_counts(raw, code):
    assert read_answer(raw, CODES, "icd10cm") == code


@pytest.mark.parametrize(
    ("raw", "level", "label"),
    [
        ("A04.7", "category", "A04"),
        ("A04", "category", "A04"),
        ("A00-A09", "block", "A00-A09"),
        ("A00 \N{EN DASH} A09 intestinal", "block", "A00-A09"),
        ("A047", "block", "A00-A09"),
        ("A047", "chapter", "1"),
        ("Chapter 10", "chapter", "10"),
        ("none", "chapter", None),
    ],
)
def test_above_code_level_a_code_counts_for_its_ancestor(raw, level, label):
    labels = {"category": {"A04"}, "block": {"A00-A09"}, "chapter": {"1", "10"}}[level]
    assert read_answer(raw, labels, "icd10cm", level) == label


@pytest.mark.parametrize(
    ("raw", "label"),
    [
        ("GENHX", "GENHX"),
        ("genhx.", "GENHX"),
        (" Past  medical history ", "past medical history"),
        ("GENHX: general history", "GENHX"),
        ("past medical", "past medical history"),
        ("past", None),  # two labels begin so
        ("nothing of the kind", None),
        ("", None),
    ],
)
def test_plain_labels_match_exactly_then_by_their_one_prefix(raw, label):
    assert read_answer(raw, {"GENHX", "past medical history", "past surgery"}, "plain") == label


@pytest.mark.parametrize("level", ["code", "category", "block", "chapter"])
def test_every_label_of_the_code_set_can_be_answered(level):
    labels = icd10.all_labels(level)
    names = [icd10.dotted(label) if level == "code" else label for label in labels]
    unread = [
        label
        for label, name in zip(labels, names, strict=True)
        if read_answer(name, (label,), "icd10cm", level) != label
    ]
    assert unread == []
    assert "QA00101" in icd10.all_labels("code")  # a letter is the second sign
