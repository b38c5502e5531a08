"""The verdict on simulated arms: seldom wrong without an effect, usually right with one, no more than it knows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray

from slingshot.analysis.compare import judge_both, summary_of
from slingshot.analysis.decision import margin_finding
from slingshot.analysis.families import competes, declare_pairs, describe_treatment
from slingshot.analysis.headline import amount
from slingshot.analysis.outcomes import Outcome
from slingshot.analysis.pairs import compare_pairs, pairs_of
from slingshot.analysis.scoring import proportion
from slingshot.analysis.significance import paired_difference
from slingshot.artifacts.comparison import Verdict
from slingshot.artifacts.cost import ArmCost, ServingCost, StepCost
from slingshot.artifacts.labels import Label
from slingshot.artifacts.metrics import AnswerKind, AnswerScores, Difference, LevelScores, Metrics
from slingshot.artifacts.predictions import Prediction
from slingshot.artifacts.records import StepRecord
from slingshot.config.arms import Arm
from slingshot.config.reporting import Cost, Statistics
from slingshot.config.specs import CompareSpec

SETTINGS = Statistics(resamples=100, seed=1)
LABELS = [Label(label=label, train_samples=1) for label in ("yes", "no")]
Right = NDArray[np.bool_]


@dataclass(frozen=True)
class Simulated:
    """An arm that answers `yes` where it is right, on samples whose label is `yes`."""

    path: str
    right: Right
    parsable: float = 1.0
    constrained: Right | None = None
    size: str | None = None
    design: str | None = None
    finetuned: bool | None = None
    shots: int = 0
    train_size: int | None = None
    seed: int | None = None

    @property
    def arm(self) -> Arm:
        kind, model, *variant = self.path.split("/")
        return Arm(
            kind=kind,
            model=model,
            variant="/".join(variant) or None,
            finetuned=kind in ("slm", "baseline", "encoder") if self.finetuned is None else self.finetuned,
            design=self.design,
            train_size=self.train_size,
            seed=self.seed,
        )

    @property
    def outcome(self) -> Outcome:
        arm, ways = self.arm, {"free": self.right}
        if self.constrained is not None:
            ways["constrained"] = self.constrained
        size = self.size or {"llm": "8B", "slm": "3B"}.get(arm.kind)
        metrics = Metrics.model_construct(
            labels="plain",
            level="code",
            model_name={"tfidf": "TF-IDF"}.get(arm.model, arm.model),
            model_size=size if size != "unknown" else None,
            answers={kind: self.scores(right) for kind, right in ways.items()},
            ranked=None,
        )
        forced = [None] * len(self.right) if self.constrained is None else list(self.constrained)
        predictions = [
            Prediction(
                sample_id=str(number),
                label="yes",
                raw="",
                code="yes" if hit else "no",
                constrained_code=None if other is None else "yes" if other else "no",
                prompt_tokens=1,
                new_tokens=1,
            )
            for number, (hit, other) in enumerate(zip(self.right, forced, strict=True))
        ]
        predict = StepRecord.model_construct(spec={"few_shot": {"k": self.shots}})
        return Outcome(arm, metrics, predictions, predict, None, None, None, None)

    def scores(self, right: Right) -> AnswerScores:
        share = proportion(right, 0.95)
        level = LevelScores.model_construct(accuracy=share, micro_f1=share, macro_f1=share, weighted_f1=share)
        read = share.model_copy(update={"value": self.parsable})
        return AnswerScores.model_construct(
            exact_match=share, parsable=read, known=share, valid=None, hierarchical=None, levels={"label": level}
        )


def verdicts(
    arms: Sequence[Simulated], statistics: Statistics = SETTINGS, costs: Mapping[str, ArmCost] | None = None
) -> tuple[Verdict, Verdict | None]:
    outcomes = [arm.outcome for arm in arms]
    spec = CompareSpec(
        arms=[each.arm for each in outcomes],
        result_keys={each.path: each.path for each in outcomes},
        ensemble_weights="equal",
        statistics=statistics,
        cost=Cost(),
    )
    pairs = pairs_of(spec.arms, outcomes)
    kinds: list[AnswerKind] = ["free", *(["constrained"] if all(arm.constrained is not None for arm in arms) else [])]
    compared = {kind: compare_pairs(pairs, kind, LABELS, statistics) for kind in kinds}
    return judge_both(spec, [summary_of(each, spec, dict(costs or {})) for each in outcomes], compared)


def judged(arms: Mapping[str, Right], parsable: float = 1.0) -> Verdict:
    return verdicts([Simulated(path, right, parsable) for path, right in arms.items()])[0]


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
    assert (verdict.outcome, verdict.winners, verdict.best) == ("specialization", ["slm/c"], "slm/c")
    assert verdict.sentence.startswith("Use c (3B, finetuned): it answers 60.0% of 200 test dialogues exactly.")
    assert "Specialization beats size here: c (3B, finetuned) 60.0% against b (8B, untrained) 40.0%" in verdict.sentence
    pair = next(line for line in verdict.evidence if line.startswith("c (3B, finetuned) against b"))
    assert "+20.0 points (simultaneous 95% interval" in pair and "adjusted p < 0.001" in pair


def test_size_is_told_with_its_own_sign() -> None:
    verdict = judged({"llm/a": block(200, 120), "slm/c": block(200, 60)})
    assert (verdict.outcome, verdict.winners, verdict.best) == ("size", ["llm/a"], "llm/a")
    assert "Size beats specialization here: a (8B, untrained) 60.0% against c (3B, finetuned) 30.0%" in verdict.sentence
    assert "\u221230.0 points" in verdict.evidence[0]


def test_a_win_on_each_side_without_a_winner_is_mixed() -> None:
    verdict = judged(
        {"llm/a": block(200, 120), "llm/b": block(200, 20), "slm/c": block(200, 60), "slm/d": block(200, 118)}
    )
    assert (verdict.outcome, verdict.winners) == ("mixed", [])
    assert verdict.sentence.startswith("Highest score of 4 arms: a")
    assert "3 of 4 pairs differ" in verdict.sentence


def test_an_undecided_verdict_claims_no_power() -> None:
    verdict = judged(drawn(np.random.default_rng(14), 200, llm_a=0.4, slm_c=0.42))
    assert verdict.outcome == "undecided"
    assert "at n = 200" in verdict.sentence and "more test samples" in verdict.sentence
    everything = " ".join([verdict.sentence, *verdict.evidence, *verdict.facts])
    assert "80%" not in everything and "chance to show" not in everything and "too few answers" not in everything
    assert any("no two arms are called equal" in fact for fact in verdict.facts)


@pytest.mark.parametrize("path", ["slm/c", "llm/a"])
def test_without_a_pair_the_best_arm_its_rival_and_its_form_are_still_told(path: str) -> None:
    arms = [Simulated(path, block(200, 20), parsable=0.4), Simulated("baseline/tfidf", block(200, 120))]
    verdict, _ = verdicts(arms)
    assert (verdict.outcome, verdict.best) == ("undecided", "baseline/tfidf")
    assert verdict.sentence.startswith("Use TF-IDF: it answers 60.0%")
    assert "Size against specialization is not tested" in verdict.sentence
    assert any("no label could be read" in caveat for caveat in verdict.caveats)
    assert any("significantly worse than TF-IDF" in caveat for caveat in verdict.caveats)


def test_a_linear_baseline_that_wins_is_what_the_headline_recommends() -> None:
    """The demo: specialization is above size, and both are far below TF-IDF."""
    verdict = judged({"llm/a": block(151, 0), "slm/c": block(151, 32), "baseline/tfidf": block(151, 104)})
    assert verdict.outcome == "specialization"
    assert verdict.best == "baseline/tfidf"
    assert verdict.sentence.startswith("Use TF-IDF: it answers 68.9% of 151 test dialogues exactly.")
    assert "significantly better than the best language model, c (3B, finetuned) 21.2%" in verdict.sentence


def test_a_linear_baseline_that_equals_the_best_model_is_named() -> None:
    arms = drawn(np.random.default_rng(5), 200, llm_a=0.1, slm_c=0.6, baseline_tfidf=0.58)
    verdict = judged(arms)
    assert verdict.outcome == "specialization"
    assert verdict.sentence.startswith("Highest score of 3 arms: c (3B, finetuned)")  # not: use it
    assert "not shown to be better than TF-IDF" in verdict.sentence and "try that first" in verdict.sentence
    assert any("c (3B, finetuned) is not shown to be better than TF-IDF" in caveat for caveat in verdict.caveats)


@pytest.mark.parametrize(
    ("design", "finetuned", "shots", "outcome", "told"),
    [
        ("few_shot", False, 5, "size", "big (8B, untrained, 5 examples)"),
        ("crossed", True, 0, "both", "big (8B, finetuned)"),
        ("sweep", True, 0, "both", "big (8B, finetuned)"),
    ],
)
def test_every_way_to_use_a_large_model_can_win(
    design: str, finetuned: bool, shots: int, outcome: str, told: str
) -> None:
    arms = [
        Simulated("llm/big", block(150, 15)),
        Simulated("slm/c", block(150, 82)),
        Simulated("llm/big/other", block(150, 140), design=design, finetuned=finetuned, shots=shots),
    ]
    verdict, _ = verdicts(arms)
    assert (verdict.outcome, verdict.best) == (outcome, "llm/big/other")
    assert verdict.sentence.startswith(f"Use {told}: it answers 93.3%")
    assert "Specialization beats size" not in verdict.sentence
    assert (
        "3 arms competed; 2 pairs" in verdict.facts[0] and "Without the designs' arms it would be 1" in verdict.facts[0]
    )


def test_parts_of_train_change_no_family_and_win_nothing() -> None:
    plain = [
        Simulated("llm/a", block(300, 100)),
        Simulated("slm/c", block(300, 119)),
        Simulated("baseline/tfidf", block(300, 90)),
    ]
    part = Simulated("slm/c/train48", block(300, 299), 0.1, design="learning_curve", train_size=48)
    alone, with_part = verdicts(plain)[0], verdicts([*plain, part])[0]
    assert alone.evidence == with_part.evidence
    assert alone.facts == with_part.facts
    assert alone.caveats == with_part.caveats  # and none on the arm of 48 samples, which the sentence is not about
    assert with_part.best == "slm/c"
    assert "One seed" in with_part.sentence


def test_seeds_make_the_one_verdict_that_of_their_mean_and_change_no_family() -> None:
    """Own seed 119 of 300 right, three more 99, 100 and 101: one lucky seed beats 100, the recipe does not."""
    arms = [Simulated("llm/a", block(300, 100)), Simulated("slm/c", block(300, 119))]
    seeds = [Simulated(f"slm/c/seed{n}", block(300, 99 + n), design="seeds", seed=n) for n in range(3)]
    assert verdicts(arms)[0].outcome == "specialization"
    verdict = verdicts([*arms, *seeds])[0]
    assert verdict.outcome == "undecided"
    assert "over 4 seeds" in verdict.evidence[0]
    assert "simultaneous" not in verdict.evidence[0]
    assert "One seed" not in verdict.sentence
    assert any("samples and seeds" in fact for fact in verdict.facts)


def test_a_few_seeds_of_an_equal_recipe_seldom_win() -> None:
    """At 6 points between seeds the seeds' verdict was wrong in 14% of studies with 3 and in 25% with 2."""
    generator, wrong, runs = np.random.default_rng(3), 0, 3
    for _ in range(50):
        shares = {f"slm_c{n}": 0.5 + generator.normal(0, 0.06) for n in range(runs)}
        right = drawn(generator, 1500, llm_a=0.5, **shares)
        first, *more = (right[f"slm/c{n}"] for n in range(runs))
        arms = [Simulated("llm/a", right["llm/a"]), Simulated("slm/c", first)]
        arms += [Simulated(f"slm/c/seed{n}", each, design="seeds", seed=n) for n, each in enumerate(more)]
        wrong += verdicts(arms)[0].outcome != "undecided"
    assert wrong <= 7  # of 50 at 5%: more with a chance under 1%


def test_caveats_name_the_treatment_of_arms_that_the_sentence_is_about() -> None:
    arms = [
        Simulated("llm/a", block(200, 20)),
        Simulated("slm/c", block(200, 120)),
        Simulated("llm/a/shots5", block(200, 30), 0.5, design="few_shot", shots=5),
    ]
    caveats = verdicts(arms)[0].caveats
    assert caveats == [
        "From 50.0% of the answers of a (8B, untrained, 5 examples) no label could be read: its form counts against it "
        "as much as its knowledge."
    ]


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
        Simulated("llm/a", block(200, 10), 0.05, constrained=block(200, forced)),
        Simulated("slm/c", block(200, 150), constrained=block(200, 150)),
    ]
    verdict, constrained = verdicts(arms)
    assert verdict.outcome == "specialization"
    assert "Only 5.0% of the answers of a (8B, untrained) could be read." in verdict.sentence
    assert told in verdict.sentence
    assert constrained is not None and constrained.sentence.startswith("With only known labels allowed: ")


def test_unreadable_answers_without_constrained_ones_say_how_to_tell_them_apart() -> None:
    verdict = judged({"llm/a": block(200, 0), "slm/c": block(200, 120)}, parsable=0.0)
    assert "Only 0.0% of the answers" in verdict.sentence and "generation.constrained: true" in verdict.sentence


@pytest.mark.parametrize(
    ("small", "large", "told"),
    [("135M", "135M", "nearly one size (135M)"), ("113M", "135M", "nearly one size (113M, 135M)"), ("3B", "8B", None)],
)
def test_sides_of_one_size_are_named(small: str, large: str, told: str | None) -> None:
    arms = [Simulated("llm/a", block(200, 10), size=large), Simulated("slm/c", block(200, 150), size=small)]
    sentence = verdicts(arms)[0].sentence
    assert told in sentence if told else "one size" not in sentence


def test_an_unknown_size_is_said() -> None:
    arms = [Simulated("llm/a", block(200, 10), size="unknown"), Simulated("slm/c", block(200, 150))]
    verdict, _ = verdicts(arms)
    assert "The size of some arms is not known" in verdict.sentence
    assert "a (untrained)" in verdict.evidence[0]


def test_one_seed_is_said_until_there_are_more() -> None:
    arms = [Simulated("llm/a", block(200, 10)), Simulated("slm/c", block(200, 150))]
    assert "One seed" in verdicts(arms)[0].sentence
    more = Simulated("slm/c/seed1", block(200, 149), design="seeds", seed=1)
    assert "One seed" not in verdicts([*arms, more])[0].sentence


def test_the_headline_says_what_the_best_arm_costs() -> None:
    step = StepCost.model_construct(unit="gpu", device_seconds=1800.0, money=None)
    serving = ServingCost(device_seconds=44.0, energy_wh=None, money=None)
    costs = {"slm/c": ArmCost.model_construct(training=step, predict=step, per_1000_dialogues=serving)}
    arms = [Simulated("llm/a", block(200, 10)), Simulated("slm/c", block(200, 150))]
    assert "exactly, for 44 GPU seconds per 1,000 dialogues after 30 GPU minutes of training." in (
        verdicts(arms, costs=costs)[0].sentence
    )


def test_a_kind_of_arm_that_nobody_knew_is_a_rival() -> None:
    arms = [
        Simulated("llm/a", block(200, 10)),
        Simulated("slm/c", block(200, 80)),
        Simulated("encoder/e", block(200, 180)),
    ]
    verdict, _ = verdicts(arms)
    assert verdict.best == "encoder/e"
    assert verdict.outcome == "specialization"
    assert any("worse than e" in caveat for caveat in verdict.caveats)


def test_a_missing_result_loosens_nothing() -> None:
    arms = [Simulated("llm/a", block(200, 10)), Simulated("llm/b", block(200, 10)), Simulated("slm/c", block(200, 30))]
    outcomes = [arm.outcome for arm in arms]
    declared = [each.arm for each in outcomes]
    whole = compare_pairs(pairs_of(declared, outcomes), "free", LABELS, SETTINGS)
    part = compare_pairs(pairs_of(declared, [outcomes[0], outcomes[2]]), "free", LABELS, SETTINGS)
    assert part == [pair for pair in whole if pair.second == "llm/a"]


def test_every_pair_of_finetuned_and_large_is_declared_by_the_config_alone() -> None:
    arms = [
        Arm(kind="llm", model="a", finetuned=False),
        Arm(kind="llm", model="a", variant="finetuned", finetuned=True, design="crossed"),
        Arm(kind="llm", model="a", variant="shots5", finetuned=False, design="few_shot", shots=5),
        Arm(kind="llm", model="a", variant="seed1", finetuned=True, design="seeds", seed=1),
        Arm(kind="slm", model="c", variant="train50", finetuned=True, design="heads", train_size=50),
        Arm(kind="slm", model="c", finetuned=True),
        Arm(kind="slm", model="c", variant="untrained", finetuned=False, design="crossed"),
        Arm(kind="slm", model="c", variant="train48", finetuned=True, design="learning_curve", train_size=48),
        Arm(kind="baseline", model="tfidf", finetuned=True),
        Arm(kind="predictions", model="doctors", finetuned=False, human=True),
    ]
    declared = declare_pairs(arms)
    primary = [(pair.first.path, pair.second.path) for pair in declared if pair.family == "primary"]
    assert primary == [("slm/c", path) for path in ("llm/a", "llm/a/finetuned", "llm/a/shots5")]
    baseline = [pair.first.path for pair in declared if pair.family == "baseline"]
    assert baseline == ["llm/a", "llm/a/finetuned", "llm/a/shots5", "slm/c"]
    named = [(pair.first.path, pair.second.path) for pair in declared]
    assert len(named) == len(set(named))
    assert [arm.path for arm in arms if not competes(arm)] == [
        "llm/a/seed1",
        "slm/c/train50",
        "slm/c/untrained",
        "slm/c/train48",
        "predictions/doctors",
    ]


def test_all_intervals_of_a_family_hold_at_once() -> None:
    """Four pairs with true differences of 5 points: simultaneous intervals cover all four, single ones do not."""
    generator = np.random.default_rng(6)
    held = {"difference": 0, "simultaneous": 0}
    for _ in range(150):
        arms = drawn(generator, 300, llm_a=0.4, llm_b=0.4, slm_c=0.45, slm_d=0.45)
        outcomes = [Simulated(path, right).outcome for path, right in arms.items()]
        pairs = compare_pairs(
            pairs_of([each.arm for each in outcomes], outcomes), "free", LABELS, Statistics(resamples=1000)
        )
        for name in held:
            held[name] += all(getattr(pair, name).low <= 0.05 <= getattr(pair, name).high for pair in pairs)
    assert held["simultaneous"] / 150 >= 0.93
    assert held["difference"] < held["simultaneous"]


@pytest.mark.parametrize(
    ("low", "high", "finding"),
    [
        (-0.02, 0.02, "equivalent"),
        (-0.02, 0.2, "first_not_worse"),
        (-0.2, 0.02, "second_not_worse"),
        (-0.2, 0.2, None),
        (-0.03, 0.02, "second_not_worse"),
    ],
)
def test_a_margin_is_judged_by_the_whole_interval(low: float, high: float, finding: str | None) -> None:
    difference = Difference(value=0.0, low=low, high=high, n=100, method="tango")
    assert margin_finding(difference, 3.0) == finding
    assert margin_finding(difference, None) is None


def test_arms_that_differ_by_the_margin_are_seldom_called_equivalent() -> None:
    generator, found = np.random.default_rng(8), 0
    for _ in range(400):
        first, second = generator.random((2, 1500)) < np.array([[0.55], [0.5]])
        difference = paired_difference(first, second, 0.95)
        found += margin_finding(difference, 5.0) in ("equivalent", "second_not_worse")
    assert found / 400 <= 0.05


def test_equal_arms_are_equivalent_within_a_margin() -> None:
    arms = drawn(np.random.default_rng(2), 3000, llm_a=0.5, slm_c=0.5)
    simulated = [Simulated(path, right) for path, right in arms.items()]
    verdict, _ = verdicts(simulated, Statistics(resamples=500, margin=5))
    assert verdict.outcome == "undecided"
    assert "equal within 5 points" in verdict.sentence
    assert "equal within 5 points" in verdict.evidence[0]


@pytest.mark.parametrize(
    ("value", "text"), [(1234.5, "1,234"), (44.06, "44.1"), (0.01234, "0.0123"), (0.0, "0"), (1e-7, "under 0.0001")]
)
def test_amounts_have_no_exponent(value: float, text: str) -> None:
    assert amount(value) == text


def test_a_rival_that_another_rival_equals_is_not_recommended_alone() -> None:
    arms = [
        Simulated("llm/a", block(200, 10)),
        Simulated("slm/c", block(200, 80)),
        Simulated("encoder/e", block(200, 150)),
        Simulated("baseline/tfidf", block(200, 148)),
    ]
    sentence = verdicts(arms)[0].sentence
    assert sentence.startswith("Highest score of 4 arms: e")
    assert "It is not shown to be better than TF-IDF 74.0%" in sentence and "choose by cost" in sentence
    assert "It is significantly better than the best language model, c (3B, finetuned) 40.0%" in sentence


def test_a_head_that_knows_only_labels_answers_both_ways_and_is_named() -> None:
    plain = Simulated("slm/c", block(200, 80)).outcome
    head = replace(plain, predict=StepRecord.model_construct(spec={"head": "classify"}))
    assert (plain.way("constrained"), head.way("constrained")) == (None, "free")
    assert describe_treatment(head.arm, 0, head.classifies) == "finetuned, a head answers"
