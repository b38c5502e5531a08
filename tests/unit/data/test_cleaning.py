import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slingshot.data import cleaning as texts

TURNS = ["[doctor]", "[patient]:", "**Doctor:**", "**Patient**:", "[[parent]]", "Doctor:", "guest_family:"]
FORMS = ["```", "```text\n", "#####", "# ", "~~~\n", "\ufeff", "\x00", "\u200b", "e\u0301", "\ud800"]
PLAIN = ["\n", "\r\n", " ", "\t", "word", "#1", ":", "*"]
MARKS = st.sampled_from(TURNS + FORMS + PLAIN)


@pytest.mark.parametrize(
    "mark",
    [
        "[doctor]",
        "[Doctor]:",
        "[DOCTOR] :",
        "**Doctor:**",
        "**Doctor**:",
        "**[doctor]:**",
        "__Doctor:__",
        "doctor:",
        "DOCTOR :",
    ],
)
def test_every_turn_mark_becomes_one(mark: str) -> None:
    cleaned, changes = texts.clean(f"{mark} How are you?\n{mark} Since when?")
    assert cleaned == "Doctor: How are you?\nDoctor: Since when?"
    assert changes == [texts.TURN]


def test_turns_on_one_line_are_parted() -> None:
    cleaned, _ = texts.clean("[doctor] How are you? [patient] My knee hurts. [parent] He fell.")
    assert cleaned == "Doctor: How are you?\nPatient: My knee hurts.\nParent: He fell."


def test_other_brackets_and_colons_stay() -> None:
    text = "Doctor: So [laughs] the dose is: 5 mg [every day].\nPlan: rest\n[inaudible] yes\nOn 10:30 __init__"
    assert texts.clean(text) == (text, [])


def test_code_fence_and_heading_marks_go_and_their_text_stays() -> None:
    cleaned, changes = texts.clean("```markdown\n##### Visit\n[doctor] Hello\n#1 fan, dose #2\n```")
    assert cleaned == "Visit\nDoctor: Hello\n#1 fan, dose #2"
    assert set(changes) == {texts.FENCE, texts.HEADING, texts.TURN}


def test_line_ends_and_invisible_characters_are_fixed() -> None:
    cleaned, changes = texts.clean("\ufeffDoctor: a\u0301\x00 \r\n\r\n\r\n\r\nPatient: b\r")
    assert cleaned == "Doctor: \xe1\n\nPatient: b"
    assert changes == [texts.FORM]


@given(st.lists(st.one_of(MARKS, st.text(max_size=12)), max_size=12).map("".join))
def test_cleaning_twice_is_cleaning_once(text: str) -> None:
    cleaned, _ = texts.clean(text)
    assert texts.clean(cleaned) == (cleaned, [])
    cleaned.encode("utf-8")


@given(st.lists(st.from_regex(r"[a-z0-9]{1,8}", fullmatch=True), min_size=1), st.lists(MARKS, max_size=6))
def test_no_word_of_the_content_is_lost(content: list[str], marks: list[str]) -> None:
    text = "\n".join(f"{mark} {word}" for mark, word in zip(marks + [""] * len(content), content, strict=False))
    found = texts.words(texts.clean(text)[0])
    assert [word for word in found if word in set(content)][-1:] == content[-1:]
    assert set(content) <= set(found)


@given(st.text())
def test_words_do_not_depend_on_case_or_unicode_form(text: str) -> None:
    composed, _ = texts.clean(unicodedata.normalize("NFD", text))
    assert texts.words(composed) == texts.words(texts.clean(unicodedata.normalize("NFC", text))[0])


def test_white_space_around_a_mark_is_tidied_and_not_counted():
    assert texts.clean("Doctor:  How are you?\nPatient:\tTired.") == ("Doctor: How are you?\nPatient: Tired.", [])
