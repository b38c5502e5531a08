"""What a prompt shows of the study's labels."""

import pytest

from slingshot.artifacts.labels import Label
from slingshot.config.specs import PromptText
from slingshot.prompting.label_lists import LabelLists

LABELS = [
    Label(label=label, description=words, category=None, block=None, chapter=None, billable=None, train_samples=1)
    for label, words in {
        "J020": "Streptococcal pharyngitis",
        "K259": "Gastric ulcer",
        "L237": "Contact dermatitis from plants",
        "Z000": None,
    }.items()
]
TRAIN = [
    {"text": "my throat hurts when I swallow", "label": "J020"},
    {"text": "my belly burns at night", "label": "K259"},
    {"text": "ivy gave me blisters on both arms", "label": "L237"},
]


def lists(user="{{ text }} {{ candidates }}", candidates=2, train=TRAIN):
    prompt = PromptText(system="Code.", user=user, answer="code", max_tokens=400, candidates=candidates)
    return LabelLists(prompt, LABELS, lambda: train)


def test_all_labels_stand_there_a_line_each_with_their_descriptions():
    shown = lists("{{ text }} {{ labels }}", 0).of(["a", "b"])
    expected = (
        "- J020: Streptococcal pharyngitis\n- K259: Gastric ulcer\n- L237: Contact dermatitis from plants\n- Z000"
    )
    assert [each.labels for each in shown] == [expected, expected]


def test_candidates_are_the_labels_whose_description_or_train_text_is_most_like_the_text():
    found = [each.candidates.splitlines() for each in lists().of(["it burns in my belly", "gastric ulcer of old"])]
    assert [lines[0] for lines in found] == ["- K259: Gastric ulcer"] * 2
    assert [len(lines) for lines in found] == [2, 2]


def test_a_train_text_is_not_compared_with_itself():
    """Else a finetuned model would learn that the first candidate is always right."""
    own = TRAIN[2]["text"]
    (shown,) = lists(candidates=1).of([own])
    assert shown.candidates != "- L237: Contact dermatitis from plants"
    (near,) = lists(candidates=1).of([own + " again"])
    assert near.candidates == "- L237: Contact dermatitis from plants"


def test_recall_is_the_share_of_samples_whose_label_is_among_the_candidates():
    one = lists(candidates=1)
    texts, gold = ["my belly burns", "a throat that hurts"], ["K259", "L237"]
    assert one.recall(texts, [[label] for label in gold]) == 0.5
    assert one.recall(texts[:1], [["K259", "J020"]]) == 0.5  # of a set of labels, each counts
    samples = [{"text": text, "label": label} for text, label in zip(texts, gold, strict=True)]
    assert one.describe_recall(samples) == ["recall at 1 of the labels that prompts show: 50.0%"]
    assert lists("{{ text }}", 0).describe_recall(samples) == []


def test_train_is_not_read_where_no_candidates_are_ranked():
    prompt = PromptText(system="Code.", user="{{ text }} {{ labels }}", answer="code", max_tokens=400)
    LabelLists(prompt, LABELS, lambda: pytest.fail("train was read")).of(["a"])
