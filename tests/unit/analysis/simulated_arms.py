"""Arms with simulated answers, and the verdict on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from slingshot.analysis.compare import judge_both, summaries_of
from slingshot.analysis.groups import independent
from slingshot.analysis.outcomes import Outcome
from slingshot.analysis.pairs import compare_pairs, pairs_of
from slingshot.analysis.scoring import proportion
from slingshot.artifacts.comparison import Verdict
from slingshot.artifacts.cost import ArmCost
from slingshot.artifacts.labels import Label
from slingshot.artifacts.metrics import AnswerKind, AnswerScores, LevelScores, Metrics
from slingshot.artifacts.predictions import Prediction
from slingshot.artifacts.records import StepRecord
from slingshot.config.arms import Arm
from slingshot.config.reporting import Cost, Statistics
from slingshot.config.specs import CompareSpec

SETTINGS = Statistics(resamples=100, seed=1)
LABELS = [Label(label=label, train_samples=1) for label in ("yes", "no")]
Right = NDArray[np.bool_]


def text_of(verdict: Verdict) -> str:
    """The headline and what belongs to it."""
    return " ".join([verdict.sentence, *verdict.remarks])


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


def judge_arms(
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
    return judge_both(spec, summaries_of(outcomes, spec, dict(costs or {}), independent(len(arms[0].right))), compared)


def judge_right(arms: Mapping[str, Right], parsable: float = 1.0) -> Verdict:
    return judge_arms([Simulated(path, right, parsable) for path, right in arms.items()])[0]


def draw_arms(generator: np.random.Generator, n: int, **accuracy: float) -> dict[str, Right]:
    """Arms that share half of each sample's luck, so that their answers agree as those of real models do."""
    common = generator.random(n)
    own = {name: np.where(generator.random(n) < 0.5, common, generator.random(n)) for name in accuracy}
    return {name.replace("_", "/"): own[name] < accuracy[name] for name in accuracy}


def right_first(n: int, right: int) -> Right:
    return np.arange(n) < right
