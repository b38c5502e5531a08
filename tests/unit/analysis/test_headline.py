"""The headline: what to use, what it costs, and what else could explain the difference."""

from __future__ import annotations

import numpy as np
import pytest

from slingshot.analysis.headline import amount
from slingshot.artifacts.cost import ArmCost, ServingCost, StepCost
from tests.unit.analysis.simulated_arms import Simulated, draw_arms, judge_arms, judge_right, right_first


def test_a_linear_baseline_that_wins_is_what_the_headline_recommends() -> None:
    """The demo: specialization is above size, and both are far below TF-IDF."""
    verdict = judge_right(
        {"llm/a": right_first(151, 0), "slm/c": right_first(151, 32), "baseline/tfidf": right_first(151, 104)}
    )
    assert verdict.outcome == "specialization"
    assert verdict.best == "baseline/tfidf"
    assert verdict.sentence.startswith("Use TF-IDF: it answers 68.9% of 151 test dialogues exactly.")
    assert "significantly better than the best language model, c (3B, finetuned) 21.2%" in verdict.sentence


def test_a_linear_baseline_that_equals_the_best_model_is_named() -> None:
    arms = draw_arms(np.random.default_rng(5), 200, llm_a=0.1, slm_c=0.6, baseline_tfidf=0.58)
    verdict = judge_right(arms)
    assert verdict.outcome == "specialization"
    assert verdict.sentence.startswith("Highest score of 3 arms: c (3B, finetuned)")  # not: use it
    assert "not shown to be better than TF-IDF" in verdict.sentence and "try that first" in verdict.sentence
    assert any("c (3B, finetuned) is not shown to be better than TF-IDF" in caveat for caveat in verdict.caveats)


@pytest.mark.parametrize(
    ("forced", "told"),
    [
        (60, "The same holds with only known labels allowed: it is knowledge, not form."),
        (150, "With only known labels allowed the outcome is undecided, so form decides here"),
        (190, "With only known labels allowed the outcome is size, so form decides here"),
    ],
)
def test_knowledge_and_form_are_told_apart(forced: int, told: str) -> None:
    arms = [
        Simulated("llm/a", right_first(200, 10), 0.05, constrained=right_first(200, forced)),
        Simulated("slm/c", right_first(200, 150), constrained=right_first(200, 150)),
    ]
    verdict, constrained = judge_arms(arms)
    assert verdict.outcome == "specialization"
    assert "Only 5.0% of the answers of a (8B, untrained) could be read." in verdict.sentence
    assert told in verdict.sentence
    assert constrained is not None and constrained.sentence.startswith("With only known labels allowed: ")


def test_unreadable_answers_without_constrained_ones_say_how_to_tell_them_apart() -> None:
    verdict = judge_right({"llm/a": right_first(200, 0), "slm/c": right_first(200, 120)}, parsable=0.0)
    assert "Only 0.0% of the answers" in verdict.sentence and "generation.constrained: true" in verdict.sentence


@pytest.mark.parametrize(
    ("small", "large", "told"),
    [("135M", "135M", "nearly one size (135M)"), ("113M", "135M", "nearly one size (113M, 135M)"), ("3B", "8B", None)],
)
def test_sides_of_one_size_are_named(small: str, large: str, told: str | None) -> None:
    arms = [Simulated("llm/a", right_first(200, 10), size=large), Simulated("slm/c", right_first(200, 150), size=small)]
    sentence = judge_arms(arms)[0].sentence
    assert told in sentence if told else "one size" not in sentence


def test_an_unknown_size_is_said() -> None:
    arms = [Simulated("llm/a", right_first(200, 10), size="unknown"), Simulated("slm/c", right_first(200, 150))]
    verdict, _ = judge_arms(arms)
    assert "The size of some arms is not known" in verdict.sentence
    assert "a (untrained)" in verdict.evidence[0]


def test_one_seed_is_said_until_there_are_more() -> None:
    arms = [Simulated("llm/a", right_first(200, 10)), Simulated("slm/c", right_first(200, 150))]
    assert "One seed" in judge_arms(arms)[0].sentence
    more = Simulated("slm/c/seed1", right_first(200, 149), design="seeds", seed=1)
    assert "One seed" not in judge_arms([*arms, more])[0].sentence


def test_the_headline_says_what_the_best_arm_costs() -> None:
    step = StepCost.model_construct(unit="gpu", device_seconds=1800.0, money=None)
    serving = ServingCost(device_seconds=44.0, energy_wh=None, money=None)
    costs = {"slm/c": ArmCost.model_construct(training=step, predict=step, per_1000_dialogues=serving)}
    arms = [Simulated("llm/a", right_first(200, 10)), Simulated("slm/c", right_first(200, 150))]
    assert "exactly, for 44 GPU seconds per 1,000 dialogues after 30 GPU minutes of training." in (
        judge_arms(arms, costs=costs)[0].sentence
    )


@pytest.mark.parametrize(
    ("value", "text"), [(1234.5, "1,234"), (44.06, "44.1"), (0.01234, "0.0123"), (0.0, "0"), (1e-7, "under 0.0001")]
)
def test_amounts_have_no_exponent(value: float, text: str) -> None:
    assert amount(value) == text


def test_a_rival_that_another_rival_equals_is_not_recommended_alone() -> None:
    arms = [
        Simulated("llm/a", right_first(200, 10)),
        Simulated("slm/c", right_first(200, 80)),
        Simulated("encoder/e", right_first(200, 150)),
        Simulated("baseline/tfidf", right_first(200, 148)),
    ]
    sentence = judge_arms(arms)[0].sentence
    assert sentence.startswith("Highest score of 4 arms: e")
    assert "It is not shown to be better than TF-IDF 74.0%" in sentence and "choose by cost" in sentence
    assert "It is significantly better than the best language model, c (3B, finetuned) 40.0%" in sentence
