"""The headline: what to use, what it costs, and what else could explain the difference."""

from __future__ import annotations

import numpy as np
import pytest

from slingshot.analysis.compare import judge_both, summaries_of
from slingshot.analysis.evidence import Evidence
from slingshot.analysis.groups import independent
from slingshot.analysis.headline import amount
from slingshot.analysis.pairs import compare_pairs, pairs_of
from slingshot.artifacts.cost import ArmCost, ServingCost, StepCost
from slingshot.artifacts.metrics import AnswerKind
from slingshot.config.reporting import Cost
from slingshot.config.specs import CompareSpec
from tests.unit.analysis.simulated_arms import (
    LABELS,
    SETTINGS,
    Simulated,
    draw_arms,
    judge_arms,
    judge_right,
    right_first,
    text_of,
)


def test_a_linear_baseline_that_wins_is_what_the_headline_recommends() -> None:
    """The demo: specialization is above size, and both are far below TF-IDF."""
    verdict = judge_right(
        {"llm/a": right_first(151, 0), "slm/c": right_first(151, 32), "baseline/tfidf": right_first(151, 104)}
    )
    assert verdict.outcome == "specialization"
    assert verdict.best == "baseline/tfidf"
    assert text_of(verdict).startswith("Use TF-IDF: it answers 68.9% of 151 test dialogues exactly.")
    assert "significantly better than the best language model, c (3B, finetuned) 21.2%" in text_of(verdict)


def test_a_linear_baseline_that_equals_the_best_model_is_named() -> None:
    arms = draw_arms(np.random.default_rng(5), 200, llm_a=0.1, slm_c=0.6, baseline_tfidf=0.58)
    verdict = judge_right(arms)
    assert verdict.outcome == "specialization"
    assert text_of(verdict).startswith("Highest score of 3 arms: c (3B, finetuned)")  # not: use it
    assert "not shown to be better than TF-IDF" in text_of(verdict) and "try that first" in text_of(verdict)
    assert not any(caveat.startswith("c (3B") for caveat in verdict.caveats)  # it is said once


def test_how_the_best_arm_stands_to_each_rival_is_said_once_and_which_network_is_no_language_model() -> None:
    """MTS-Dialog: a caveat and two remarks said the same, of `SmolLM2 (135M)`, an embedding, as of a language model."""
    arms = [
        Simulated("slm/smol", right_first(225, 186), size="135M"),
        Simulated("slm/smol/classify", right_first(225, 184), size="135M", design="heads"),
        Simulated("baseline/tfidf", np.roll(right_first(225, 171), 25)),
        Simulated("embedding/smol", np.roll(right_first(225, 176), 20), size="135M", finetuned=True),
        Simulated("encoder/e", right_first(225, 100)),
    ]
    verdict = judge_arms(arms)[0]
    said = [line for line in [*verdict.remarks, *verdict.caveats] if line.startswith("smol (135M, finetuned)")]
    said = [line for line in said if "[slm/smol/classify]" not in line]
    rivals = [line for line in said if "TF-IDF" in line or "embedding" in line]
    assert len(rivals) == 1
    assert "(difference +6.7 points, simultaneous 95% interval −0.6 to +14.2) and smol (135M, embedding)" in rivals[0]
    assert rivals[0].endswith("): try those first.")


def test_a_rival_that_leads_is_not_named_again_in_a_caveat_on_the_best_model() -> None:
    arms = [
        Simulated("slm/c", right_first(200, 80)),
        Simulated("baseline/tfidf", right_first(200, 150)),
        Simulated("encoder/e", right_first(200, 20)),
    ]
    verdict = judge_arms(arms)[0]
    assert "TF-IDF is significantly better than e (encoder) 10.0% and the best language model, c" in text_of(verdict)
    assert not any("TF-IDF" in caveat for caveat in verdict.caveats)


@pytest.mark.parametrize(
    ("forced", "expected"),
    [
        (60, "The outcome is the same with only known labels allowed: it is knowledge, not form."),
        (150, "With only known labels allowed the outcome is undecided, so it may be form that decides: compare"),
        (190, "With only known labels allowed the outcome is size, so form decides here: compare"),
    ],
)
def test_knowledge_and_form_are_told_apart(forced: int, expected: str) -> None:
    arms = [
        Simulated("llm/a", right_first(200, 10), 0.05, constrained=right_first(200, forced)),
        Simulated("slm/c", right_first(200, 150), constrained=right_first(200, 150)),
    ]
    verdict, constrained = judge_arms(arms)
    assert verdict.outcome == "specialization"
    assert "Only 5.0% of the answers of a (8B, untrained) could be read." in text_of(verdict)
    assert expected in text_of(verdict)
    assert constrained is not None and text_of(constrained).startswith("With only known labels allowed: ")
    best = "Use a (8B, untrained): it answers 95.0%" if forced == 190 else "Use c (3B, finetuned): it answers 75.0%"
    assert (best in text_of(constrained)) == (best not in text_of(verdict))  # advice stands once where it is the same


def test_unreadable_answers_without_constrained_ones_say_how_to_tell_them_apart() -> None:
    verdict = judge_right({"llm/a": right_first(200, 0), "slm/c": right_first(200, 120)}, parsable=0.0)
    assert "Only 0.0% of the answers" in text_of(verdict) and "generation.constrained: true" in text_of(verdict)


@pytest.mark.parametrize(
    ("small", "large", "expected"),
    [("135M", "135M", "nearly one size (135M)"), ("113M", "135M", "nearly one size (113M, 135M)"), ("3B", "8B", None)],
)
def test_sides_of_one_size_are_named(small: str, large: str, expected: str | None) -> None:
    arms = [Simulated("llm/a", right_first(200, 10), size=large), Simulated("slm/c", right_first(200, 150), size=small)]
    sentence = text_of(judge_arms(arms)[0])
    assert expected in sentence if expected else "one size" not in sentence


def test_an_unknown_size_is_said() -> None:
    arms = [Simulated("llm/a", right_first(200, 10), size="unknown"), Simulated("slm/c", right_first(200, 150))]
    verdict, _ = judge_arms(arms)
    assert "The size of some arms is not known" in text_of(verdict)
    assert "a (untrained)" in verdict.evidence[0]


def test_one_seed_is_said_until_there_are_more() -> None:
    arms = [Simulated("llm/a", right_first(200, 10)), Simulated("slm/c", right_first(200, 150))]
    assert "One seed" in text_of(judge_arms(arms)[0])
    more = Simulated("slm/c/seed1", right_first(200, 149), design="seeds", seed=1)
    assert "One seed" not in text_of(judge_arms([*arms, more])[0])


def test_the_headline_says_what_the_best_arm_costs() -> None:
    step = StepCost.model_construct(unit="gpu", device_seconds=1800.0, money=None)
    serving = ServingCost(device_seconds=44.0, energy_wh=None, money=None)
    costs = {"slm/c": ArmCost.model_construct(training=step, predict=step, per_1000_dialogues=serving)}
    arms = [Simulated("llm/a", right_first(200, 10)), Simulated("slm/c", right_first(200, 150))]
    assert "exactly, for 44 seconds on the GPU per 1,000 dialogues after 30 minutes on the GPU of training." in (
        text_of(judge_arms(arms, costs=costs)[0])
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
    sentence = text_of(judge_arms(arms)[0])
    assert sentence.startswith("Highest score of 4 arms: e (encoder): ")
    assert "e (encoder) is not shown to be better than TF-IDF 74.0%" in sentence and "undecided" in sentence
    assert "e (encoder) is significantly better than the best language model, c (3B, finetuned) 40.0%" in sentence


def test_the_headline_names_the_arms_that_have_one_seed_where_others_have_more() -> None:
    arms = [
        Simulated("llm/a", right_first(200, 10)),
        Simulated("slm/c", right_first(200, 150)),
        Simulated("slm/c/seed1", right_first(200, 149), design="seeds", seed=1),
        Simulated("slm/d", right_first(200, 120)),
    ]
    assert "One seed of d (3B, finetuned): another may move" in text_of(judge_arms(arms)[0])


def test_one_seed_is_said_of_a_finetuned_arm_without_a_large_one_and_of_an_encoder() -> None:
    small = [Simulated("slm/c", right_first(200, 150)), Simulated("baseline/tfidf", right_first(200, 100))]
    assert "One seed: another may move a finetuned arm" in text_of(judge_arms(small)[0])
    encoder = [Simulated("encoder/e", right_first(200, 190)), Simulated("baseline/tfidf", right_first(200, 100))]
    assert "One seed of e (encoder)" in text_of(judge_arms(encoder)[0])
    untrained = [Simulated("llm/a", right_first(200, 150)), Simulated("baseline/tfidf", right_first(200, 100))]
    assert "One seed" not in text_of(judge_arms(untrained)[0])


def test_score_and_pairs_of_an_arm_with_several_seeds_are_of_their_mean() -> None:
    """Own seed 119 of 300; the mean of 119, 99, 100 and 101 is 34.9%, and another small arm has 36.7%."""
    arms = [
        Simulated("llm/a", right_first(300, 60)),
        Simulated("slm/c", right_first(300, 119)),
        Simulated("slm/d", right_first(300, 110)),
    ]
    seeds = [Simulated(f"slm/c/seed{n}", right_first(300, 99 + n), design="seeds", seed=n) for n in range(3)]
    assert judge_arms(arms)[0].best == "slm/c"
    verdict = judge_arms([*arms, *seeds])[0]
    assert verdict.best == "slm/d"  # a lucky seed is not named first
    assert "mean of" not in text_of(verdict)
    alone = judge_arms([arms[0], arms[1], *seeds])[0]
    assert "it answers 34.9% of 300 test dialogues exactly (mean of 4 seeds)" in text_of(alone)
    assert "+14.9 points over 4 seeds" in alone.evidence[0]
    assert any("tables and figures of arms show the run of the study's own seed" in fact for fact in alone.facts)


def test_constrained_answers_have_their_own_mean_over_seeds() -> None:
    arms = [
        Simulated("llm/a", right_first(300, 60), constrained=right_first(300, 60)),
        Simulated("slm/c", right_first(300, 120), constrained=right_first(300, 180)),
        Simulated("slm/c/seed1", right_first(300, 100), constrained=right_first(300, 160), design="seeds", seed=1),
    ]
    free, constrained = judge_arms(arms)
    assert "36.7% of 300 test dialogues exactly (mean of 2 seeds)" in text_of(free)
    assert constrained is not None
    assert "56.7% of 300 test dialogues exactly (mean of 2 seeds)" in text_of(constrained)


def test_a_significant_difference_within_the_margin_is_said_not_to_matter() -> None:
    """20 of 3,000 with a margin of 5 points: `Use c`, `beats size`, and no word of the margin."""
    settings = SETTINGS.model_copy(update={"margin": 5.0})
    arms = [Simulated("llm/a", right_first(3000, 1500)), Simulated("slm/c", right_first(3000, 1520))]
    verdict = judge_arms(arms, settings)[0]
    assert verdict.outcome == "specialization"
    assert verdict.sentence.startswith("Highest score of 2 arms: c (3B, finetuned)")
    assert "50.0%, though by less than the 5 points that matter: choose by cost." in verdict.sentence
    assert verdict.evidence[0].endswith("p < 0.001); equal within 5 points.")
    rival = judge_arms([*arms, Simulated("baseline/tfidf", right_first(3000, 1540))], settings)[0]
    assert rival.sentence.startswith("Highest score of 3 arms: TF-IDF")
    equal = "TF-IDF is equal within 5 points to the best language model, c (3B, finetuned) 50.7% (difference +0.7"
    assert equal in text_of(rival)
    wide = [arms[0], Simulated("slm/c", right_first(3000, 2000))]
    assert judge_arms(wide, settings)[0].sentence.startswith("Use c")


def test_an_arm_without_constrained_answers_leads_no_constrained_verdict() -> None:
    """The free score of an arm behind an endpoint was given under `With only known labels allowed`."""
    there = [
        Simulated("llm/a", right_first(300, 60), constrained=right_first(300, 70)),
        Simulated("llm/b", right_first(300, 250)),
        Simulated("slm/c", right_first(300, 150), constrained=right_first(300, 160)),
    ]
    outcomes = [each.outcome for each in there]
    arms = [each.arm for each in outcomes]
    spec = CompareSpec(
        arms=arms,
        result_keys={each.path: each.path for each in outcomes},
        ensemble_weights="equal",
        statistics=SETTINGS,
        cost=Cost(),
    )
    pairs = pairs_of(arms, outcomes)
    kinds: tuple[AnswerKind, ...] = ("free", "constrained")
    compared = {kind: compare_pairs(pairs, kind, LABELS, SETTINGS) for kind in kinds}
    free, constrained = judge_both(spec, summaries_of(outcomes, spec, {}, independent(300)), compared)
    assert free.best == "llm/b"
    assert constrained is not None
    assert constrained.best == "slm/c"
    assert "it answers 53.3% of 300" in constrained.sentence


def test_declared_pairs_without_results_are_said_beside_the_verdict() -> None:
    there = [Simulated("llm/a", right_first(300, 60)), Simulated("slm/c", right_first(300, 150))]
    outcomes = [each.outcome for each in there]
    missing = Simulated("llm/b", right_first(300, 0)).arm
    spec = CompareSpec(
        arms=[*(each.arm for each in outcomes), missing],
        result_keys={each.path: each.path for each in outcomes},
        ensemble_weights="equal",
        statistics=SETTINGS,
        cost=Cost(),
    )
    compared = compare_pairs(pairs_of(spec.arms, outcomes), "free", LABELS, SETTINGS)
    verdict, _ = judge_both(spec, summaries_of(outcomes, spec, {}, independent(300)), {"free": compared})
    assert "1 of 2 declared pairs of a finetuned small and a large arm has no results yet" in verdict.caveats[0]
    assert not any("no results yet" in caveat for caveat in judge_arms(there)[0].caveats)


def test_an_arm_that_stands_alone_is_not_recommended() -> None:
    alone = text_of(judge_arms([Simulated("baseline/tfidf", right_first(100, 20))])[0])
    assert alone.startswith("Highest score of 1 arm: TF-IDF: it answers 20.0%")


def test_arms_of_one_score_are_named_and_their_difference_has_no_minus() -> None:
    arms = [
        Simulated("llm/a", right_first(200, 10)),
        Simulated("slm/c", right_first(200, 150)),
        Simulated("slm/d", right_first(200, 150)),
    ]
    assert "The same score: d (3B, finetuned)." in text_of(judge_arms(arms)[0])
    rivals = [Simulated("baseline/tfidf", right_first(100, 50)), Simulated("encoder/e", ~right_first(100, 50))]
    told = text_of(judge_arms(rivals)[0])
    assert "The same score: e (encoder)." in told
    assert "e (encoder) 50.0% (difference 0.0 points, 95% interval −20.3 to +20.3)" in told
    assert "The same score" not in text_of(judge_arms(arms[:2])[0])


def test_arms_of_the_other_side_and_rivals_with_the_same_score_are_named_too() -> None:
    """`Highest score of 3 arms: a` was said of three arms with 46.7% each."""
    arms = [Simulated(path, right_first(15, 7)) for path in ("llm/a", "slm/c", "baseline/tfidf")]
    assert "The same score: c (3B, finetuned) and TF-IDF." in text_of(judge_arms(arms)[0])


def test_an_undecided_verdict_over_few_seeds_does_not_ask_for_test_samples_alone() -> None:
    """2 seeds at 61.7 and 53.3% against 33.3% of 300: no number of samples decides that."""
    arms = [Simulated("llm/a", right_first(300, 100)), Simulated("slm/c", right_first(300, 185))]
    more = Simulated("slm/c/seed1", right_first(300, 160), design="seeds", seed=1)
    verdict = judge_arms([*arms, more])[0]
    assert verdict.outcome == "undecided"
    assert "more test samples or seeds would narrow it" in verdict.sentence


def test_what_known_labels_alone_do_not_change_is_not_said_again() -> None:
    """The demo without a large model: the headline's second sentence came twice."""
    arms = [
        Simulated("slm/c", right_first(200, 80), constrained=right_first(200, 82)),
        Simulated("encoder/e", right_first(200, 150), constrained=right_first(200, 150)),
    ]
    verdict, constrained = judge_arms(arms)
    assert constrained is not None
    assert "Size against specialization is not tested" in verdict.sentence
    assert constrained.sentence == "With only known labels allowed: the advice is the same."


@pytest.mark.parametrize(("p", "text"), [(0.0504, "p = 0.0504"), (0.04996, "p = 0.050"), (1.0, "p = 1.000")])
def test_no_p_is_rounded_across_the_level(p: float, text: str) -> None:
    assert Evidence({}, [], "free", 0.95, None, "USD").p_in_words(p) == text


def test_the_corrected_level_is_not_rounded_up() -> None:
    """0.05 / 4 was written as 0.013, which p = 0.0128 reaches and yet is not significant."""
    arms = [Simulated(path, right_first(100, 10)) for path in ("llm/a", "llm/b", "slm/c", "slm/d")]
    assert any("must reach p <= 0.0125 instead of 0.05" in fact for fact in judge_arms(arms)[0].facts)
