"""Which answers need a review."""

import math

import pytest

from slingshot.artifacts.predictions import Candidate, Prediction
from slingshot.deployment.review import Review


def prediction(probability, code="A"):
    ranked = [Candidate(code="A", log_probability=math.log(probability)), Candidate(code="B", log_probability=-9.0)]
    return Prediction(sample_id="1", label="", raw="A", code=code, candidates=ranked, prompt_tokens=1, new_tokens=1)


@pytest.mark.parametrize(
    ("threshold", "probability", "code", "needed"),
    [
        (0.6, 0.7, "A", False),
        (0.6, 0.5, "A", True),
        (0.6, 0.7, "B", True),  # what was written is not the likeliest
        (0.6, 0.7, None, True),
        (None, 0.99, "A", True),  # no threshold reached the precision
    ],
)
def test_an_answer_that_is_not_sure_needs_a_review(threshold, probability, code, needed):
    assert Review(threshold, 0.95).is_needed(prediction(probability, code), code) == needed


def test_without_candidates_every_answer_needs_a_review():
    bare = prediction(0.9).model_copy(update={"candidates": []})
    assert Review(0.1, 0.95).is_needed(bare, "A")
