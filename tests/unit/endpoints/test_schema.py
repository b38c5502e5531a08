"""Labels ranked by the tokens' alternatives, on tokens written by hand."""

from __future__ import annotations

import math

import pytest

from slingshot.endpoints.replies import TokenChoice, _finite
from slingshot.endpoints.schema import answer_schema, label_of, labels_listed, rank_labels, rank_listed

WRITTEN = {"flu A": "flu A", "flu B": "flu B", "a cold": "a cold", 'said "ill"': "ill"}


def tokens(*parts):
    """(text, probability, {other: probability}) each."""
    return [
        TokenChoice(text, math.log(chance), [(other, math.log(value)) for other, value in others.items()])
        for text, chance, others in parts
    ]


def chances(found):
    return {one.code: round(math.exp(one.log_probability), 3) for one in found}


def test_alternatives_count_where_they_tell_one_label_apart():
    answered = tokens(
        ('{"answer": ', 1, {}), ('"fl', 0.7, {'"fl': 0.7, '"a': 0.2, '"f': 0.05, "Sure": 0.05}),
        ("u ", 1, {}), ('A"', 0.6, {'A"': 0.6, "B": 0.3, "b": 0.1}), ("}", 1, {}),
    )  # fmt: skip
    found = rank_labels(answered, WRITTEN, 5)
    assert [one.code for one in found] == ["flu A", "flu B", "a cold"]
    # "f tells no two labels apart, b begins none; a cold: 0.2; flu B: 0.7 times 0.3
    assert chances(found) == {"flu A": 0.42, "flu B": 0.21, "a cold": 0.2}
    assert [one.code for one in rank_labels(answered, WRITTEN, 2)] == ["flu A", "flu B"]


def test_two_tokens_that_begin_one_label_add_up_and_none_stands_above_the_answer():
    answered = tokens(('{"answer":"', 1, {}), ("flu A", 0.3, {"a": 0.25, "a c": 0.15}), ('"}', 1, {}))
    found = rank_labels(answered, WRITTEN, 5)
    assert chances(found) == {"flu A": 0.3, "a cold": 0.3}


def test_an_answer_with_quotes_is_found():
    answered = tokens(('{"answer":"', 1, {}), ('said \\"ill\\"', 0.5, {}), ('"}', 1, {}))
    assert chances(rank_labels(answered, WRITTEN, 5)) == {"ill": 0.5}


@pytest.mark.parametrize("text", ["", "flu A", '{"code": "flu A"}', '{"answer": "measles"}', '{"answer": "flu '])
def test_what_is_no_answer_to_the_schema_has_no_candidates(text):
    assert rank_labels(tokens((text, 0.5, {})), WRITTEN, 5) == []
    assert label_of(text, WRITTEN) is None


@pytest.mark.parametrize("text", ['{"answer": "flu A"}', ' {"answer":"flu A" }\n'])
def test_an_answer_to_the_schema_is_read(text):
    assert label_of(text, WRITTEN) == "flu A"


@pytest.mark.parametrize("value", [float("-inf"), float("nan"), -20_000.0])
def test_impossible_tokens_have_a_number(value):
    assert _finite(value) == -10_000.0


def test_a_list_ranks_labels_by_their_probability_to_be_in_it():
    answered = tokens(
        ('{"answers": [', 1, {}), ('"fl', 0.7, {'"fl': 0.7, '"a': 0.2}), ("u ", 1, {}), ('A"', 0.5, {"B": 0.3}),
        (", ", 1, {}), ('"a cold"', 0.6, {'"flu A"': 0.3, '"flu B"': 0.1}), ("]}", 1, {}),
    )  # fmt: skip
    # flu A: 0.7 * 0.5; a cold: 1 - (1 - 0.2)(1 - 0.6); flu B: 1 - (1 - 0.7 * 0.3)(1 - 0.1); flu A again says nothing
    assert chances(rank_listed(answered, WRITTEN, 5)) == {"a cold": 0.68, "flu A": 0.35, "flu B": 0.289}
    assert [one.code for one in rank_listed(answered, WRITTEN, 1)] == ["a cold"]
    assert rank_listed(tokens(('{"answer": "flu A"}', 1, {})), WRITTEN, 5) == []


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ('{"answers": ["a cold", "flu A", "a cold"]}', ["a cold", "flu A"]),
        ('{"answers": []}', []),
        ('{"answers": ["measles"]}', None),
        ('{"answers": "flu A"}', None),
        ('{"answers": ["flu A"', None),
    ],
)
def test_a_list_of_answers_is_read_whole_or_not_at_all(text, labels):
    assert labels_listed(text, WRITTEN) == labels
    schema = answer_schema(WRITTEN, several=True)["json_schema"]["schema"]
    assert schema["properties"]["answers"]["items"]["enum"] == list(WRITTEN)
