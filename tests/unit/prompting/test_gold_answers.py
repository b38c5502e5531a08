"""What a reader would take from true-to-life outputs of language models, by the rules of docs/prompting.md."""

from __future__ import annotations

import unicodedata

import pytest

from slingshot.prompting.answers import AnswerReader, read_answer

CODES = {
    "J45909": "Unspecified asthma, uncomplicated",
    "J189": "Pneumonia, unspecified organism",
    "A047": "Enterocolitis due to Clostridium difficile",
    "G8929": "Other chronic pain",
    "E119": "Type 2 diabetes mellitus without complications",
    "K259": None,
}

DIALOGUE_ECHO = "Doctor: What brings you in?\nPatient: I wheeze.\nAnswer: J45.909"

GOLD = [
    # the issue's own
    ("It is not J18.9. The code is J45.909.", "J45909"),
    ("drug q12 and p53 positive; code J45.909", "J45909"),
    # thinking
    ("<think>Could be J18.9, or E11.9.</think>\n\nJ45.909", "J45909"),
    ("Maybe J18.9? No fever, so no.\n</think>\nThe answer is J45.909", "J45909"),  # the template opened the thought
    ("<think>\nIt may be J18.9 or", None),  # the thought never ended
    ("[THINK]J18.9 fits[/THINK]**J45.909**", "J45909"),
    ("<|channel|>analysis<|message|>J18.9?<|end|><|start|>assistant<|channel|>final<|message|>J45.909", "J45909"),
    ("<|channel|>analysis<|message|>J18.9, I think, or", None),
    ("<reasoning>E11.9 was mentioned</reasoning> A04.7", "A047"),
    # whole answers
    ("J45.909", "J45909"),
    ("j45909", "J45909"),
    ("  `J45.909`. ", "J45909"),
    ("**J45.909**", "J45909"),
    ("\N{LEFT DOUBLE QUOTATION MARK}J45.909\N{RIGHT DOUBLE QUOTATION MARK}", "J45909"),
    ("\N{FULLWIDTH LATIN CAPITAL LETTER J}45.909", "J45909"),
    ("J45\\.909", "J45909"),
    ("J45.\N{ZERO WIDTH SPACE}909", "J45909"),
    ("```\nJ45.909\n```", "J45909"),
    ("Pneumonia, unspecified organism", "J189"),  # by its description alone
    ("unspecified asthma uncomplicated", "J45909"),
    # JSON
    ('{"code": "J45.909"}', "J45909"),
    ('```json\n{\n  "diagnosis": "Asthma",\n  "icd10_code": "j45.909"\n}\n```', "J45909"),
    ('{"reasoning": "not J18.9, rather A04.7", "answer": "J45909"}', "J45909"),
    ('Here you go: {"codes": ["J45.909", "J18.9"]}', "J45909"),
    ('{"result": {"code": "A04.7", "confidence": 0.9}}', "A047"),
    ('["J45.909", "A04.7"]', "J45909"),
    ('{"code": "J45.909", "description": "Unspecified ast', "J45909"),  # cut by the limit of tokens
    ('{"code": "J45.909"}\n\nJ18.9 was considered.', "J45909"),
    # answer marks
    ("Answer: J45.909\nJ18.9 would need an infiltrate.", "J45909"),
    ("ICD-10-CM code: J45.909 (not J18.9)", "J45909"),
    ("The ICD-10 code is **J45.909**, as J18.9 needs an X-ray.", "J45909"),
    ("**Code:** J45.909", "J45909"),
    ("**Answer**: j45909", "J45909"),
    ("Final answer: A04.7. (Code: J18.9 was my first guess.)", "A047"),
    ("So $\\boxed{J45.909}$. Compare J18.9.", "J45909"),
    ("\\boxed{\\text{A04.7}}", "A047"),
    ("Answer:\n\nJ45.909", "J45909"),
    ("I considered J18.9 first. The best match is **J45.909**; J18.9 lacks fever.", "J45909"),
    ("Diagnosis: Unspecified asthma, uncomplicated", "J45909"),
    ("Code: J45.909\nAlternative code: J18.9", "J45909"),
    (DIALOGUE_ECHO, "J45909"),
    # a line by itself, a list
    ("J45.909\n\nExplanation: wheezing, as opposed to J18.9, which is pneumonia.", "J45909"),
    ("J45.909\nThis differs from J18.9.", "J45909"),
    ("1. J45.909 - asthma\n2. J18.9 - pneumonia\n3. A04.7", "J45909"),
    # running text: the last that is not denied
    ("J18.9 came to mind, but the picture fits J45.909.", "J45909"),
    ("The patient has asthma (J45.909), not pneumonia (J18.9).", "J45909"),
    ("J45.909 rather than J18.9", "J45909"),
    ("J45.909, excludes J18.9", "J45909"),
    ("We use J45.909. J18.9 is ruled out.", "J45909"),
    ("J45.909 fits best; J18.9 isn\N{RIGHT SINGLE QUOTATION MARK}t appropriate here.", "J45909"),
    ("It isn\N{RIGHT SINGLE QUOTATION MARK}t J18.9 but J45.909", "J45909"),
    ("Neither J18.9 nor A04.7: it must be J45.909", "J45909"),
    ("J45.909 is right, neither J18.9 nor A04.7.", "J45909"),
    ("This is not J18.9.", None),
    ("Other chronic pain, not elsewhere classified G89.29", "G8929"),  # denies nothing
    ("asthma \N{EM DASH} J45.909", "J45909"),
    ("Not only J18.9 would be wrong: I say J45.909", "J45909"),
    ("vitamin B12 and HbA1c were normal, T4 too: A04.7", "A047"),
    ("Room q12, gene p53, no code", None),
    ("The patient has pneumonia, unspecified organism, I believe.", "J189"),
    ("asthma or pneumonia, hard to say", None),
    # refusals and nothing
    ("I'm sorry, but I can't give medical advice.", None),
    ("As an AI, I cannot diagnose. Please see a doctor.", None),
    ("", None),
    ("\n\n", None),
    ("N/A", None),
    # other languages
    ("Es ist nicht J18.9, sondern J45.909.", "J45909"),
    ("El c\u00f3digo es J45.909, no J18.9.", "J45909"),
    ("No es J18.9, sino J45.909", "J45909"),
    ("Le code est J45.909 plut\u00f4t que J18.9", "J45909"),
    ("R\u00e9ponse : J45.909", "J45909"),
    ("\u7b54\u6848\uff1aJ45.909\u3002", "J45909"),
]


@pytest.mark.parametrize(("raw", "code"), GOLD, ids=range(len(GOLD)))
def test_a_code_is_read_as_a_reader_would(raw, code):
    assert AnswerReader(CODES, "icd10cm").read(raw) == code


PLAIN = {
    "positive": None,
    "negative": None,
    "Crohn's disease": None,
    "urinary tract infection": None,
    "infection": None,
    "CC": "chief complaint",
    "neumon\u00eda": None,
    "peptic ulcer": "Ulcus pepticum",
}

GOLD_PLAIN = [
    ("Label: positive", "positive"),
    ("The label is **negative**.", "negative"),
    ("It is not positive, it is negative", "negative"),
    ("I'd say the patient has a urinary tract infection.", "urinary tract infection"),
    ("Crohn\N{RIGHT SINGLE QUOTATION MARK}s disease", "Crohn's disease"),
    ("crohns", None),
    (unicodedata.normalize("NFD", "Neumon\u00eda"), "neumon\u00eda"),
    ('{"label": "Negative"}', "negative"),
    ("urinary tract infection or peptic ulcer", None),  # two are named
    ("He drank 30 cc of it", None),
    ("Section: CC", "CC"),
    ("chief complaint", "CC"),
    ("This is the chief complaint section", "CC"),
    ("Ulcus pepticum", "peptic ulcer"),
    ("urinary tract", "urinary tract infection"),  # cut, and only one begins so
    ("urinary tra", "urinary tract infection"),
    ("Positive: the cough is productive, so negative is wrong", "positive"),
    ("<think>negative?</think>positive", "positive"),
    ("I can't say.", None),
    ("peptic ulcer\n\nThe patient said infection.", "peptic ulcer"),
]


@pytest.mark.parametrize(("raw", "label"), GOLD_PLAIN, ids=range(len(GOLD_PLAIN)))
def test_a_plain_label_is_read_as_a_reader_would(raw, label):
    assert AnswerReader(PLAIN, "plain").read(raw) == label


def test_composed_and_decomposed_answers_are_the_same():
    for raw, code in GOLD:
        assert read_answer(unicodedata.normalize("NFD", raw), CODES, "icd10cm") == code


def test_all_labels_of_an_answer_can_be_had():
    reader = AnswerReader(CODES, "icd10cm")
    assert reader.mentioned("J45.909; A04.7, not J18.9; J45909") == ["J45909", "A047"]
    assert AnswerReader(PLAIN, "plain").mentioned("peptic ulcer and infection") == ["peptic ulcer", "infection"]
