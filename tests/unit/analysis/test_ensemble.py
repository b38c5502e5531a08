"""Votes against a plain loop, weights from validation, and shares that follow from the members' answers."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from slingshot.analysis.ensemble import ensemble, has_candidates
from slingshot.artifacts.predictions import Candidate, Prediction
from slingshot.artifacts.rivalry import Ensemble
from slingshot.core.errors import StudyError

CODES = [f"C{number}" for number in range(8)]


def prediction(sample: int, label: str, code: str | None, probabilities: dict[str, float] | None = None) -> Prediction:
    ranked = sorted((probabilities or {}).items(), key=lambda pair: -pair[1])
    return Prediction(
        sample_id=f"s{sample}",
        label=label,
        raw=code or "no idea",
        code=code,
        candidates=[Candidate(code=name, log_probability=math.log(share)) for name, share in ranked],
        prompt_tokens=1,
        new_tokens=1,
    )


def answers(truths: Sequence[str], given: Sequence[str | None]) -> list[Prediction]:
    """Answers with one sure candidate each; none where nothing could be read."""
    pairs = enumerate(zip(truths, given, strict=True))
    return [prediction(index, truth, code, {code: 0.9} if code else None) for index, (truth, code) in pairs]


def simulated(random: np.random.Generator, truths: Sequence[str], sharpness: float) -> list[Prediction]:
    """Ranked candidates that favour the truth the more, the larger `sharpness` is; they add up to less than 1."""
    made = []
    for index, truth in enumerate(truths):
        scores = random.normal(size=len(CODES)) + sharpness * np.array([code == truth for code in CODES])
        shares = 0.8 * np.exp(scores) / np.exp(scores).sum()
        best = np.argsort(-shares)[:5]
        probabilities = {CODES[place]: float(shares[place]) for place in best}
        made.append(prediction(index, truth, CODES[best[0]], probabilities))
    return made


def voted(
    small: Sequence[Prediction],
    large: Sequence[Prediction],
    validation: tuple[Sequence[Prediction], Sequence[Prediction]] | None = None,
) -> Ensemble:
    on_validation = validation or (None, None)
    return ensemble(
        "slm/small",
        "llm/large",
        small,
        large,
        *on_validation,
        confidence=0.95,
    )


def pooled_by_a_loop(small: Prediction, large: Prediction, weight: float) -> str:
    votes: dict[str, float] = {}
    for member, share in ((small, weight), (large, 1 - weight)):
        total = sum(math.exp(candidate.log_probability) for candidate in member.candidates)
        for candidate in member.candidates:
            votes[candidate.code] = votes.get(candidate.code, 0) + share * math.exp(candidate.log_probability) / total
    return max(votes, key=lambda code: votes[code])


def test_probabilities_are_pooled_as_by_a_plain_loop() -> None:
    random = np.random.default_rng(3)
    truths = [str(code) for code in random.choice(CODES, 300)]
    small, large = simulated(random, truths, 1.5), simulated(random, truths, 1.0)
    result = voted(small, large)
    right = [pooled_by_a_loop(one, other, 0.5) == truth for one, other, truth in zip(small, large, truths, strict=True)]
    assert (result.weights, result.finetuned_weight, result.best_member, result.gain) == ("equal", 0.5, None, None)
    assert result.accuracy.value == pytest.approx(np.mean(right))
    assert result.accuracy.n == 300
    assert result.accuracy.low < result.accuracy.value < result.accuracy.high


def test_two_independent_arms_of_like_skill_gain_by_pooling() -> None:
    random = np.random.default_rng(5)
    truths = [str(code) for code in random.choice(CODES, 2000)]
    result = voted(simulated(random, truths, 1.5), simulated(random, truths, 1.5))
    assert result.gain_over_finetuned.low > 0 and result.gain_over_zero_shot.low > 0


def test_shares_and_oracle_by_hand() -> None:
    """Of ten samples both are right on 3, the finetuned arm alone on 4, the zero-shot arm alone on 2, neither on 1."""
    truths = ["A"] * 10
    small = answers(truths, ["A"] * 7 + ["B"] * 3)
    large = answers(truths, ["A"] * 3 + ["C"] * 4 + ["A"] * 2 + ["C"])
    result = voted(small, large)
    shares = (result.both_right, result.only_finetuned_right, result.only_zero_shot_right, result.both_wrong)
    assert shares == pytest.approx((0.3, 0.4, 0.2, 0.1))
    assert result.oracle_accuracy == pytest.approx(0.9)
    assert result.gain_over_finetuned.value == 0.0  # ties go to the finetuned arm
    assert result.gain_over_zero_shot.value == pytest.approx(0.2)


def test_a_sample_without_candidates_casts_no_vote() -> None:
    truths = ["A", "A", "A", "A"]
    result = voted(answers(truths, [None, None, "A", "B"]), answers(truths, ["A", None, "B", "A"]))
    assert result.accuracy.value == pytest.approx(0.5)  # the first by the zero-shot arm, the third by the tie
    assert result.gain_over_finetuned.value == pytest.approx(0.25)


def test_a_pooled_vote_can_exceed_what_one_right_member_reaches() -> None:
    """Both have the truth second, each behind another label: together it comes first."""
    small = [prediction(0, "A", "B", {"B": 0.5, "A": 0.45})]
    large = [prediction(0, "A", "C", {"C": 0.5, "A": 0.45})]
    result = voted(small, large)
    assert (result.accuracy.value, result.oracle_accuracy) == (1.0, 0.0)


def test_arms_without_candidates_are_no_ensemble() -> None:
    truths = ["A", "B"]
    bare = [prediction(index, truth, truth) for index, truth in enumerate(truths)]
    assert not has_candidates(bare)
    with pytest.raises(StudyError, match="llm/large has no candidates to vote with"):
        voted(answers(truths, truths), bare)


def test_the_better_member_is_picked_on_validation_whatever_test_says() -> None:
    truths = ["A", "B", "C"]
    wrong, right = answers(truths, ["X"] * 3), answers(truths, truths)
    result = voted(right, wrong, (wrong, right))
    assert result.best_member == "llm/large"
    assert result.gain == result.gain_over_zero_shot


def test_the_weight_is_the_best_on_validation_and_nothing_of_test_moves_it() -> None:
    random = np.random.default_rng(7)
    validation_truths = [str(code) for code in random.choice(CODES, 400)]
    validation = (simulated(random, validation_truths, 2.5), simulated(random, validation_truths, 0.3))
    truths = [str(code) for code in random.choice(CODES, 200)]
    strong, weak = simulated(random, truths, 2.5), simulated(random, truths, 0.3)
    result = voted(strong, weak, validation)
    assert result.weights == "validation"
    assert result.finetuned_weight > 0.5

    def matches(weight: float) -> int:
        pairs = zip(*validation, validation_truths, strict=True)
        return sum(pooled_by_a_loop(one, other, weight) == truth for one, other, truth in pairs)

    assert matches(result.finetuned_weight) == max(matches(step / 100) for step in range(101))
    assert voted(weak, strong, validation).finetuned_weight == result.finetuned_weight


def test_weights_that_do_equally_well_are_equal_weights() -> None:
    truths = ["A", "B"]
    same = [prediction(index, truth, truth, {truth: 0.9}) for index, truth in enumerate(truths)]
    result = voted(same, same, (same, same))
    assert (result.weights, result.finetuned_weight) == ("validation", 0.5)


def test_a_better_zero_shot_arm_gets_the_vote() -> None:
    truths = ["A", "B", "C"]
    wrong, right = answers(truths, ["X"] * 3), answers(truths, truths)
    result = voted(wrong, right, (wrong, right))
    assert result.finetuned_weight == pytest.approx(0.49)  # the nearest to 1/2 of those with most matches
    assert result.accuracy.value == 1.0
    assert result.best_member == "llm/large"


def test_a_member_is_judged_by_its_votes() -> None:
    truths = ["A", "B"]
    ranked = [prediction(index, truth, None, {truth: 0.9, "Z": 0.1}) for index, truth in enumerate(truths)]
    result = voted(ranked, ranked)
    assert (result.both_right, result.gain_over_finetuned.value) == (1.0, 0.0)


def test_the_same_input_gives_the_same_result() -> None:
    random = np.random.default_rng(9)
    truths = [str(code) for code in random.choice(CODES, 50)]
    small, large = simulated(random, truths, 1.0), simulated(random, truths, 1.0)
    assert voted(small, large) == voted(small, large)


def test_other_samples_or_another_order_are_refused() -> None:
    truths = ["A", "B"]
    first = answers(truths, truths)
    with pytest.raises(StudyError, match="slm/small and llm/large answered different samples"):
        voted(first, first[::-1])
    with pytest.raises(StudyError, match="different samples"):
        voted(first, first[:1])
    with pytest.raises(StudyError, match="no predictions"):
        voted([], [])
