"""Examples are drawn as the study says, and never from the sample itself."""

from __future__ import annotations

import pytest

from slingshot.config.recipe import FewShot
from slingshot.core.errors import StudyError
from slingshot.prompting.examples import choose_examples
from slingshot.prompting.right_answers import AnswerWriter

TRAIN = [
    {"text": "sore throat and fever, white tonsils", "label": "J020", "description": "Streptococcal pharyngitis"},
    {"text": "itching rash on both hands after gardening", "label": "L237", "description": "Contact dermatitis"},
    {"text": "burning stomach pain, worse at night", "label": "K259", "description": "Gastric ulcer"},
    {"text": "fever, cough and stabbing chest pain", "label": "J189", "description": None},
]


def test_random_examples_are_the_same_for_all_texts_and_for_the_seed():
    few = FewShot(k=2, seed=7)
    chosen = choose_examples(few, TRAIN, ["a", "b", "c"], AnswerWriter("code"))
    assert chosen[0] == chosen[1] == chosen[2] and len(chosen[0]) == 2
    assert chosen == choose_examples(few, TRAIN, ["a", "b", "c"], AnswerWriter("code"))
    others = [choose_examples(FewShot(k=2, seed=seed), TRAIN, ["a"], AnswerWriter("code"))[0] for seed in range(12)]
    assert any(other != chosen[0] for other in others)


def test_nearest_examples_come_last_nearest():
    few = FewShot(k=2, selection="nearest")
    texts = ["he has a rash and itching hands", "high fever with a cough"]
    rash, cough = choose_examples(few, TRAIN, texts, AnswerWriter("description code"))
    assert rash[-1].answer == "Contact dermatitis L237"
    assert cough[-1].text.startswith("fever, cough") and cough[0].text.startswith("sore throat")
    assert cough[-1].answer == "J189"


def test_a_train_sample_is_not_its_own_example():
    few = FewShot(k=3, selection="nearest")
    (chosen,) = choose_examples(few, TRAIN, [TRAIN[0]["text"]], AnswerWriter("code"))
    assert len(chosen) == 3 and all(example.text != TRAIN[0]["text"] for example in chosen)


def test_too_few_samples_is_said():
    with pytest.raises(StudyError, match=r"few_shot\.k is 5, but train has 4"):
        choose_examples(FewShot(k=5), TRAIN, ["x"], AnswerWriter("code"))
