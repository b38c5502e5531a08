"""The verdict on simulated arms: seldom wrong without an effect, usually right with one, no more than it knows."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping
from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray

from slingshot.analysis.compare import Outcome, compare_pairs, pairs_of, summary_of
from slingshot.analysis.scoring import proportion
from slingshot.analysis.verdict import verdict_of
from slingshot.artifacts.comparison import Verdict
from slingshot.artifacts.labels import Label
from slingshot.artifacts.metrics import AnswerScores, LevelScores, Metrics
from slingshot.artifacts.predictions import Prediction
from slingshot.config.arms import Arm
from slingshot.config.reporting import Cost, Statistics
from slingshot.config.specs import CompareSpec

SETTINGS = Statistics(resamples=100, seed=1)
LABELS = [Label(label=label, train_samples=1) for label in ("yes", "no")]
KINDS = {"llm": False, "slm": True, "baseline": True}
Right = NDArray[np.bool_]


@pytest.fixture(autouse=True, scope="module")
def _nothing_to_collect() -> Iterator[None]:
    """statsmodels collects garbage in each Holm correction: a simulation would do little else."""
    gc.freeze()
    yield
    gc.unfreeze()


def outcome(path: str, right: Right, parsable: float = 1.0) -> Outcome:
    """An arm that answers `yes` where it is right, on samples whose label is `yes`."""
    kind, model = path.split("/")
    share = proportion(right, 0.95)
    level = LevelScores.model_construct(accuracy=share, macro_f1=share, weighted_f1=share)
    read = share.model_copy(update={"value": parsable})
    free = AnswerScores.model_construct(
        exact_match=share, parsable=read, known=share, valid=None, hierarchical=None, levels={"label": level}
    )
    metrics = Metrics.model_construct(
        labels="plain", level="code", model_name=model, model_size="3B", answers={"free": free}, ranked=None
    )
    predictions = [
        Prediction(
            sample_id=str(number), label="yes", raw="", code="yes" if hit else "no", prompt_tokens=1, new_tokens=1
        )
        for number, hit in enumerate(right)
    ]
    arm = Arm(kind=kind, model=model, finetuned=KINDS[kind])
    return Outcome(arm, metrics, predictions, None, None, None, None, None)


def judged(arms: Mapping[str, Right], parsable: float = 1.0) -> Verdict:
    outcomes = [outcome(path, right, parsable) for path, right in arms.items()]
    spec = CompareSpec(
        arms=[each.arm for each in outcomes],
        result_keys={each.path: each.path for each in outcomes},
        ensemble_weights="equal",
        statistics=SETTINGS,
        cost=Cost(),
    )
    compared = compare_pairs(pairs_of(outcomes), "free", LABELS, SETTINGS)
    return verdict_of([summary_of(each, spec, {}) for each in outcomes], compared, "free", SETTINGS.confidence)


def drawn(generator: np.random.Generator, n: int, **accuracy: float) -> dict[str, Right]:
    """Arms that share half of each sample's luck, so that their answers agree as those of real models do."""
    common = generator.random(n)
    own = {name: np.where(generator.random(n) < 0.5, common, generator.random(n)) for name in accuracy}
    return {name.replace("_", "/"): own[name] < accuracy[name] for name in accuracy}


def block(n: int, right: int) -> Right:
    return np.arange(n) < right


def test_without_an_effect_a_side_wins_no_more_often_than_the_level() -> None:
    generator = np.random.default_rng(11)
    equal = {f"{kind}_{model}": 0.4 for kind, model in product(("llm", "slm"), "ab")}
    outcomes = [judged(drawn(generator, 120, **equal)).outcome for _ in range(150)]
    assert np.mean([outcome != "undecided" for outcome in outcomes]) <= 0.05


def test_one_side_without_an_effect_wins_no_more_often_than_the_level() -> None:
    """A small model better than one large model, equal to the other: specialization would be a false claim."""
    generator = np.random.default_rng(12)
    outcomes = [judged(drawn(generator, 120, llm_a=0.1, llm_b=0.5, slm_a=0.5)).outcome for _ in range(150)]
    assert np.mean([outcome == "specialization" for outcome in outcomes]) <= 0.05
    assert np.mean([outcome == "mixed" for outcome in outcomes]) > 0.8


@pytest.mark.parametrize(("better", "expected"), [("slm", "specialization"), ("llm", "size")])
def test_a_large_effect_is_found(better: str, expected: str) -> None:
    generator = np.random.default_rng(13)
    accuracy = {f"{kind}_{model}": 0.55 if kind == better else 0.3 for kind, model in product(("llm", "slm"), "ab")}
    outcomes = [judged(drawn(generator, 200, **accuracy)).outcome for _ in range(40)]
    assert outcomes.count(expected) >= 38


def test_a_winner_beats_every_arm_of_the_other_side() -> None:
    arms = {"llm/a": block(200, 40), "llm/b": block(200, 80), "slm/c": block(200, 120), "slm/d": block(200, 60)}
    verdict = judged(arms)
    assert verdict.outcome == "specialization"
    assert verdict.winners == ["slm/c"]
    for part in ("c (3B, finetuned)", "60.0%", "n = 200", "+20.0 points", "+40.0 points", "Holm-adjusted p < 0.001"):
        assert part.replace("n = 200", "200") in verdict.sentence


def test_size_is_told_with_its_sign_turned() -> None:
    verdict = judged({"llm/a": block(200, 120), "slm/c": block(200, 60)})
    assert verdict.outcome == "size"
    assert verdict.winners == ["llm/a"]
    assert "+30.0 points" in verdict.sentence


def test_a_win_on_each_side_without_a_winner_is_mixed() -> None:
    verdict = judged(
        {"llm/a": block(200, 120), "llm/b": block(200, 20), "slm/c": block(200, 60), "slm/d": block(200, 118)}
    )
    assert verdict.outcome == "mixed"
    assert verdict.winners == []


def test_an_undecided_verdict_says_what_could_have_shown() -> None:
    arms = drawn(np.random.default_rng(14), 200, llm_a=0.4, slm_c=0.42)
    verdict = judged(arms)
    assert verdict.outcome == "undecided"
    assert "80% chance" in verdict.sentence
    assert "200" in verdict.sentence


def test_without_a_pair_there_is_no_verdict() -> None:
    verdict = judged({"slm/c": block(50, 20)})
    assert verdict.outcome == "undecided"
    assert verdict.sentence.startswith("No verdict")


def test_a_model_that_does_not_beat_tfidf_is_named() -> None:
    arms = {"llm/a": block(200, 20), "slm/c": block(200, 120), "baseline/tfidf": block(200, 118)}
    verdict = judged(arms)
    assert verdict.outcome == "specialization"
    assert any("c (3B, finetuned)" in caveat and "does not significantly beat" in caveat for caveat in verdict.caveats)
    assert any("a (3B, untrained)" in caveat and "significantly worse" in caveat for caveat in verdict.caveats)


def test_unreadable_answers_are_named() -> None:
    verdict = judged({"llm/a": block(200, 20), "slm/c": block(200, 120)}, parsable=0.7)
    assert sum("no label could be read" in caveat for caveat in verdict.caveats) == 2
