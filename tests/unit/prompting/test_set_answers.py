"""Sets of labels: what a right answer says, and what is read out of an answer."""

from __future__ import annotations

import pytest

from slingshot.artifacts.labels import Label
from slingshot.config.specs import AnswerSet, PromptText
from slingshot.prompting.answers import AnswerReader
from slingshot.prompting.prompter import Prompter
from slingshot.prompting.right_answers import AnswerWriter
from slingshot.prompting.template import fill_template
from tests.tiny import TEMPLATES, byte_tokenizer

CODES = {
    "J189": "Pneumonia, unspecified organism",
    "I10": "Essential (primary) hypertension",
    "E119": None,
    "A047": None,
}

PLAIN = {"heart failure": None, "asthma": None, "chronic pain": None, "pain": None}


@pytest.mark.parametrize(
    ("raw", "codes"),
    [
        ("J18.9\nI10", ["J189", "I10"]),
        ("i10\nj18.9", ["I10", "J189"]),  # in whatever case, in the answer's order
        ("J189\nJ18.9\nI10", ["J189", "I10"]),  # once each
        ("J18.9, I10; E11.9 | A04.7", ["J189", "I10", "E119", "A047"]),
        ("J18.9 and I10", ["J189", "I10"]),
        ("- J18.9: pneumonia\n- I10: hypertension", ["J189", "I10"]),
        ("1. I10 Essential hypertension\n2) J18.9\n(3) **E11.9**", ["I10", "J189", "E119"]),
        ("Pneumonia, unspecified organism\nI10", ["J189", "I10"]),
        ('["I10", "J18.9"]', ["I10", "J189"]),
        ('Here you are:\n```json\n{"codes": [{"code": "I10"}, {"code": "E11.9"}]}\n```', ["I10", "E119"]),
        ('{"codes": []}', []),
        ("none", []),
        ("None.", []),
        ("No ICD-10 codes apply.", []),
        ("[]", []),
        ("", None),
        ("I cannot help with that.", None),
        ("<think>A04.7? No: J18.9.</think>I10\nJ18.9", ["I10", "J189"]),
        ("<think>J18.9, still thinking", None),
        ("The patient has I10 and J18.9, but not A04.7.", ["I10", "J189"]),
        ("A04.7 was considered. Final answer: I10, J18.9", ["I10", "J189"]),
        ("The history names A04.7.\n\nCodes:\n- I10\n- J18.9", ["I10", "J189"]),
        ("Codes: none", []),
    ],
)
def test_all_codes_of_an_answer_are_read_once_each_and_none_that_is_denied(raw, codes):
    assert AnswerReader(CODES, "icd10cm").read_set(raw) == codes


@pytest.mark.parametrize(
    ("raw", "labels"),
    [
        ("heart failure\nasthma", ["heart failure", "asthma"]),
        ("Asthma, Heart Failure", ["asthma", "heart failure"]),
        ("* asthma\n* chronic pain", ["asthma", "chronic pain"]),  # not "pain" besides
        ("The text is about asthma and, later, chronic pain.", ["asthma", "chronic pain"]),
        ("asthma: since childhood\npain: in the knee", ["asthma", "pain"]),
        ("heart", None),  # begun, which counts for a single label alone
    ],
)
def test_plain_labels_of_an_answer(raw, labels):
    assert AnswerReader(PLAIN, "plain").read_set(raw) == labels


LABELS = [
    Label(label="I10", description="Hypertension", train_samples=3),
    Label(label="J189", description=None, train_samples=9),
    Label(label="E119", description="Type 2\ndiabetes", train_samples=3),
]


@pytest.mark.parametrize(
    ("order", "form", "lines"),
    [
        ("code", "code", ("E119", "I10", "J189")),
        ("frequency", "code", ("J189", "E119", "I10")),
        ("code", "code description", ("E119 Type 2 diabetes", "I10 Hypertension", "J189")),
    ],
)
def test_a_right_answer_lists_the_set_in_the_studys_order(order, form, lines):
    writer = AnswerWriter(form, AnswerSet(order=order, empty=True), LABELS)
    assert writer.lines({"labels": ["J189", "I10", "E119"]}) == lines
    assert AnswerReader({label.label: None for label in LABELS}, "icd10cm").read_set(
        writer.text({"labels": ["J189", "I10", "E119"]})
    ) == writer.ordered(["I10", "E119", "J189"])
    assert writer.lines({"labels": []}) == ("none",)


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_completion_of_lines_is_the_text_with_line_ends(template):
    tokenizer = byte_tokenizer(template)
    text = PromptText(
        system="", user="{{ text }} {{ answer_form }}", answer="code", max_tokens=99,
        several=AnswerSet(order="code", empty=True),
    )  # fmt: skip
    made = Prompter(tokenizer, text)
    ids = made.completion_of(("I10", "J189", "E119"))
    assert tokenizer.decode(ids[:-1]).strip() == "I10\nJ189\nE119" and ids[-1] in made.end_ids
    assert ids[: len(made.completion("I10", "")) - 1] == made.completion("I10", "")[:-1]
    assert fill_template(text.user, text, "x") == "x one code per line (or the word none if there is no code)"
