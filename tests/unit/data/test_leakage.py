import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slingshot.data import leakage


@pytest.mark.parametrize("text", ["Assessment: A04.7.", "(A047)", "code a04.7, today", "A04.7"])
def test_a_printed_code_is_noticed_and_masked(text: str) -> None:
    assert leakage.mentions(text, "A047", "icd10cm")
    masked = leakage.mask(text, "A047", "icd10cm")
    assert not leakage.mentions(masked, "A047", "icd10cm")
    assert masked == text.replace("A04.7", "___").replace("A047", "___").replace("a04.7", "___")


@pytest.mark.parametrize("text", ["A04.71", "A0471", "BA04.7", "A04", "A04 7", "1.A047"])
def test_another_code_is_none(text: str) -> None:
    assert not leakage.mentions(text, "A047", "icd10cm")


def test_a_category_is_not_found_in_its_codes() -> None:
    assert leakage.mentions("I10 it is.", "I10", "icd10cm")
    assert not leakage.mentions("A04.7 it is", "A04", "icd10cm")


def test_plain_labels_are_whole_words() -> None:
    assert leakage.mentions("Any allergy?", "ALLERGY", "plain")
    assert leakage.mentions("see fam/sochx", "FAM/SOCHX", "plain")
    assert not leakage.mentions("allergyx", "ALLERGY", "plain")


def test_a_label_that_is_a_number_is_not_every_number() -> None:
    text = "3 of 10 patients, aged 3"
    assert not leakage.mentions(text, "3", "plain")
    assert leakage.mask(text, "3", "plain") == text
    assert leakage.mentions("a 3B lesion", "3b", "plain")


def test_descriptions_are_compared_word_by_word() -> None:
    text = ["the", "acute", "otitis", "media", "of"]
    assert leakage.contains_words(text, leakage.phrase("ACUTE  OTITIS, media"))
    assert not leakage.contains_words(text, leakage.phrase("otitis mediax"))
    assert not leakage.contains_words(text, ())


@given(st.lists(st.tuples(st.integers(-1, 2), st.integers(0, 9)), min_size=1, max_size=60))
def test_overlap_counts_the_samples_with_a_counterpart(rows: list[tuple[int, int]]) -> None:
    split = np.array([row[0] for row in rows], np.int8)
    identity = np.array([row[1] for row in rows])
    (counts,) = leakage.overlap(split, identity)
    train = {value for number, value in rows if number == 0}
    assert counts["test in train"] == sum(number == 2 and value in train for number, value in rows)
    assert len(counts) == 6


def test_lengths_of_nothing_and_of_something() -> None:
    assert leakage.lengths(np.zeros(0, np.int64)) == {}
    summary = leakage.lengths(np.arange(101))
    assert (summary["min"], summary["q50"], summary["q95"], summary["max"], summary["mean"]) == (0, 50, 95, 100, 50)


@pytest.mark.parametrize(
    ("turns", "kept"),
    [
        (["Doctor: hello", "Patient: ill", "Doctor: it is asthma", "Patient: thanks"], 2),
        (["Doctor: hello", "Patient: is it asthma?", "Doctor: it is asthma", "Patient: asthma, ok"], 1),
        (["Doctor: asthma", "Patient: ill"], 2),  # the first turn always stays
        (["Doctor: asthma"], 1),
        (["Doctor: it was asthma", "Patient: no", "Doctor: yes", "Patient: no"], 4),  # not a closing turn
        (["no turn at all, asthma"], 1),
    ],
)
def test_a_closing_turn_that_states_the_label_goes_with_what_follows(turns: list[str], kept: int) -> None:
    text = "\n".join(turns)
    assert leakage.without_closing_turn(text, lambda turn: "asthma" in turn) == "\n".join(turns[:kept])


def test_many_turns_that_state_the_label_take_no_longer_than_reading_them() -> None:
    text = "Doctor: hello\n" + "Patient: asthma\n" * 20_000
    start = time.perf_counter()
    assert leakage.without_closing_turn(text, lambda turn: "asthma" in turn) == "Doctor: hello"
    assert time.perf_counter() - start < 2
