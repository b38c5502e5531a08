"""Which side an arm is on, what its treatment is called, and which pairs the config declares."""

from __future__ import annotations

from dataclasses import replace

from slingshot.analysis.families import competes, declare_pairs, describe_treatment
from slingshot.artifacts.records import StepRecord
from slingshot.config.arms import Arm
from tests.unit.analysis.simulated_arms import Simulated, judge_arms, right_first


def test_a_kind_of_arm_that_nobody_knew_is_a_rival() -> None:
    arms = [
        Simulated("llm/a", right_first(200, 10)),
        Simulated("slm/c", right_first(200, 80)),
        Simulated("encoder/e", right_first(200, 180)),
    ]
    verdict, _ = judge_arms(arms)
    assert verdict.best == "encoder/e"
    assert verdict.outcome == "specialization"
    assert any("worse than e" in caveat for caveat in verdict.caveats)


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


def test_a_head_that_knows_only_labels_answers_both_ways_and_is_named() -> None:
    plain = Simulated("slm/c", right_first(200, 80)).outcome
    head = replace(plain, predict=StepRecord.model_construct(spec={"head": "classify"}))
    assert (plain.way("constrained"), head.way("constrained")) == (None, "free")
    assert describe_treatment(head.arm, 0, head.classifies) == "finetuned, a head answers"
