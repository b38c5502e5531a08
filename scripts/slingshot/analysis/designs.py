"""What a study's designs say: effects of size and training, learning curves, seeds, few-shot ladders, sweeps.

All of it rests on the free answers to the same test samples, and is of the study's estimand (`statistics.estimand`);
records call it exact_match in every study. docs/designs.md explains each number.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from slingshot.analysis import learning_curve
from slingshot.analysis.bootstrap import resample_weights
from slingshot.analysis.curve_shapes import FittedShape, fit_best_shape
from slingshot.analysis.groups import Correct, Floats, Groups, design_effect
from slingshot.analysis.intervals import mean_interval
from slingshot.analysis.significance import compare_runs, mean_of_runs, paired_difference
from slingshot.artifacts.comparison import (
    Crossed,
    CurvePoint,
    DesignFindings,
    Estimate,
    MeasuredCurve,
    SeedRun,
    SeedVariation,
    ShotLadder,
    ShotStep,
    SweepChoice,
    SweptCandidate,
    TrainingGain,
    TrainingNoise,
    TrainSizeBreakEven,
)
from slingshot.artifacts.metrics import Difference, Score
from slingshot.config.arms import Arm
from slingshot.config.reporting import Statistics

Resampled = dict[str, Floats]  # an arm's path to its exact match in each resample


@dataclass(frozen=True)
class Scored:
    """An arm with what the designs' analysis needs of it."""

    arm: Arm
    values: Floats | Correct  # each sample's part of the estimand; right or wrong where that is exact match
    exact_match: Score
    shots: int
    train_samples: int | None
    hold_steps: bool
    seed: int | None
    training: dict[str, Any]

    @property
    def path(self) -> str:
        return self.arm.path


def findings(scored: Sequence[Scored], statistics: Statistics, groups: Groups) -> DesignFindings | None:
    """Everything that the designs' arms say; None for a study without designs."""
    if not any(each.arm.design for each in scored):
        return None
    resampled = resampled_means(scored, statistics, groups)
    variations = (seeds_of(model, scored, statistics, groups) for model in _models(scored, "seeds"))
    seeds = [variation for variation in variations if variation is not None]
    return DesignFindings(
        crossed=list(crossed_of(scored, statistics, groups)),
        gains=list(gains_of(scored, statistics, groups)),
        curves=[
            curve
            for model in _models(scored, "learning_curve")
            if (curve := curve_of(model, scored, resampled, statistics, groups)) is not None
        ],
        seeds=seeds,
        ladders=[ladder_of(model, scored, statistics, groups) for model in _models(scored, "few_shot")],
        sweeps=[sweep_of(each) for each in scored if each.arm.best_of and each.arm.finetuned],
    )


def resampled_means(scored: Sequence[Scored], statistics: Statistics, groups: Groups) -> Resampled:
    """Each arm's exact match in each of m resamples of the test samples, the same resamples for all arms."""
    right = np.array([each.values for each in scored], dtype=float)
    means = np.concatenate(
        [weights @ right.T / weights.sum(axis=1)[:, None] for weights in resample_weights(groups, statistics)]
    )
    return {each.path: means[:, column] for column, each in enumerate(scored)}


def _models(scored: Sequence[Scored], design: str) -> list[str]:
    return list(dict.fromkeys(each.arm.model for each in scored if each.arm.design == design))


def _own(model: str, finetuned: bool, scored: Sequence[Scored]) -> Scored | None:
    """The model's arm without further treatment: the study's own, or the other treatment that `crossed` adds."""
    found = (
        each
        for each in scored
        if each.arm.model == model and each.arm.finetuned == finetuned and each.arm.design in (None, "crossed")
    )
    return next(found, None)


def crossed_of(scored: Sequence[Scored], statistics: Statistics, groups: Groups) -> Iterator[Crossed]:
    """Each small with each large model of which both treatments are there.

    Main effects are differences of means; the interaction is the difference of the two gains, not halved (Box, Hunter
    and Hunter 2005, *Statistics for Experimenters*, chapter 5, halve it).
    """
    small, large = (_models_of_kind(kind, scored) for kind in ("slm", "llm"))
    for one, other in product(small, large):
        cells = [_own(model, finetuned, scored) for model in (one, other) for finetuned in (False, True)]
        there = [cell for cell in cells if cell is not None]
        if len(there) < 4:
            continue
        right = np.array([cell.values for cell in there], dtype=float)
        names = ("small_untrained", "small_finetuned", "large_untrained", "large_finetuned")
        yield Crossed(
            small=one,
            large=other,
            arms={name: cell.path for name, cell in zip(names, there, strict=True)},
            size=contrast(right, (-0.5, -0.5, 0.5, 0.5), statistics.confidence, groups),
            specialization=contrast(right, (-0.5, 0.5, -0.5, 0.5), statistics.confidence, groups),
            interaction=contrast(right, (-1, 1, 1, -1), statistics.confidence, groups),
        )


def _models_of_kind(kind: str, scored: Sequence[Scored]) -> list[str]:
    return list(dict.fromkeys(each.arm.model for each in scored if each.arm.kind == kind))


def gains_of(scored: Sequence[Scored], statistics: Statistics, groups: Groups) -> Iterator[TrainingGain]:
    """Finetuned minus untrained for each model that has both."""
    for model in dict.fromkeys(each.arm.model for each in scored):
        untrained, finetuned = _own(model, False, scored), _own(model, True, scored)
        if untrained is not None and finetuned is not None:
            yield TrainingGain(
                model=model,
                untrained=untrained.path,
                finetuned=finetuned.path,
                difference=paired_difference(finetuned.values, untrained.values, statistics.confidence, groups),
            )


def contrast(right: Floats, weights: Sequence[float], confidence: float, groups: Groups) -> Difference:
    """A weighted sum of the arms' exact matches, with its paired interval (`intervals.mean_interval`).

    Args:
        right: shape (arms, n), 1 where an arm is right
        weights: one per arm, of sum 0
    """
    each = np.asarray(weights) @ right
    extreme = float(np.maximum(np.asarray(weights), 0).sum())
    low, high = mean_interval(each, extreme, groups, confidence)
    effect = design_effect(each, groups) if groups.matter else None
    return Difference(value=float(each.mean()), low=low, high=high, n=len(each), method="student", design_effect=effect)


def curve_of(
    model: str, scored: Sequence[Scored], resampled: Resampled, statistics: Statistics, groups: Groups
) -> MeasuredCurve | None:
    """A model's finetunes by train size, the fitted law, and where it meets each untrained arm."""
    runs = [each for each in scored if each.arm.model == model and each.arm.design == "learning_curve"]
    whole = _own(model, True, scored)
    runs = sorted(
        (each for each in [*runs, *([whole] if whole else [])] if each.train_samples),
        key=lambda each: each.train_samples or 0,
    )
    if not runs:
        return None
    curve = MeasuredCurve(
        model=model,
        hold="steps" if any(each.hold_steps for each in runs) else "epochs",
        points=[
            CurvePoint(arm=each.path, train_samples=each.train_samples or 0, exact_match=each.exact_match)
            for each in runs
        ],
        power_law=None,
        break_even=[],
    )
    if len({each.train_samples for each in runs}) < learning_curve.FEWEST_SIZES:
        return curve
    seeds = [each.exact_match.value for each in _seed_runs(model, scored)]
    return curve.model_copy(update=_fitted(runs, seeds, scored, resampled, statistics, groups))


def _fitted(
    runs: Sequence[Scored],
    seeds: Sequence[float],
    scored: Sequence[Scored],
    resampled: Resampled,
    statistics: Statistics,
    groups: Groups,
) -> dict[str, Any]:
    """The fields of a MeasuredCurve that rest on a fit: at least three sizes, in rising order."""
    sizes = np.array([each.train_samples for each in runs], dtype=float)
    errors = np.array([1 - each.values.mean() for each in runs])
    shape = fit_best_shape(sizes, errors)
    noise = learning_curve.training_noise(shape, seeds)
    again = 1 - np.stack([resampled[each.path] for each in runs], axis=1)
    n = len(runs[0].values)
    law = None
    if learning_curve.follows_law(shape, errors, n, noise):
        law = learning_curve.power_law(sizes, errors, again, noise, statistics.confidence, statistics.seed)
    fits = learning_curve.fits_well(shape, errors, n, noise)
    return {
        "power_law": law,
        "shapes": shape.shapes,
        "best_shape": shape.best,
        "fits": fits,
        "line": learning_curve.drawn_line(
            sizes, [each.exact_match for each in runs], shape, noise, statistics.confidence
        ),
        "training_noise": noise,
        "break_even": [
            _break_even(runs, other, sizes, shape if fits else None, noise, statistics.confidence, groups)
            for other in scored
            if not other.arm.finetuned
        ],
    }


def _break_even(
    runs: Sequence[Scored],
    other: Scored,
    sizes: Floats,
    shape: FittedShape | None,
    noise: TrainingNoise,
    confidence: float,
    groups: Groups,
) -> TrainSizeBreakEven:
    """From which size the runs match an untrained arm; `shape` is None where none fits."""
    differences = [each.values.astype(float) - other.values for each in runs]
    low, high = learning_curve.break_even_bounds(sizes, differences, noise, confidence, groups)
    estimate = None
    if shape is not None:
        estimate = learning_curve.enclosed(shape.size_at(float(1 - other.values.mean())), low, high)
    ends = learning_curve.train_size(low), learning_curve.train_size(high)
    words = learning_curve.in_words(estimate, *ends, int(sizes[0]), int(sizes[-1]), confidence)
    counted = "" if noise.source != "none" else " Training noise is not counted: it takes more sizes or designs.seeds."
    return TrainSizeBreakEven(
        untrained=other.path,
        shots=other.shots,
        estimate=estimate,
        low=ends[0],
        high=ends[1],
        sentence=f"{runs[0].arm.model} matches {other.path}: {words}.{counted}",
    )


def seeds_of(model: str, scored: Sequence[Scored], statistics: Statistics, groups: Groups) -> SeedVariation | None:
    """Runs of one recipe with several seeds, their mean, and it beside each untrained large arm.

    None where there is but one run.
    """
    runs = _seed_runs(model, scored)
    if len(runs) < 2:
        return None
    shares = np.array([each.exact_match.value for each in runs])
    answers = [each.values.astype(float) for each in runs]
    share = float(shares.mean())
    against = {
        other.path: compare_runs(answers, [other.values.astype(float)], statistics.confidence, groups).difference
        for other in _large_untrained(scored)
    }
    return SeedVariation(
        model=model,
        runs=[SeedRun(arm=each.path, seed=each.seed, exact_match=each.exact_match) for each in runs],
        mean=mean_of_runs(answers, statistics.confidence, groups),
        between_seeds=float(shares.std(ddof=1)),
        between_samples=_standard_error(answers, share, groups),
        against={path: Estimate(value=each.value, low=each.low, high=each.high) for path, each in against.items()},
    )


def _standard_error(answers: Sequence[Floats], share: float, groups: Groups) -> float:
    """Of one run's score over test samples, in whole groups where there are groups.

    The variance of an answer is the binomial's where each is right or wrong, else that of the samples' parts.
    """
    binary = all(np.isin(each, (0, 1)).all() for each in answers)
    variance = share * (1 - share) if binary else np.mean([each.var() for each in answers])
    effect = np.mean([design_effect(each, groups) for each in answers])
    return float(np.sqrt(variance * effect / len(answers[0])))


def _seed_runs(model: str, scored: Sequence[Scored]) -> list[Scored]:
    own = _own(model, True, scored)
    others = [each for each in scored if each.arm.model == model and each.arm.design == "seeds"]
    return [*([own] if own else []), *others]


def _large_untrained(scored: Sequence[Scored]) -> list[Scored]:
    return [each for each in scored if each.arm.kind == "llm" and not each.arm.finetuned and each.arm.design is None]


def ladder_of(model: str, scored: Sequence[Scored], statistics: Statistics, groups: Groups) -> ShotLadder:
    """A model's scores by the number of examples in the prompt, each beside the fewest."""
    rungs = [each for each in scored if each.arm.model == model and each.arm.design == "few_shot"]
    own = _own(model, False, scored)
    rungs = sorted([*([own] if own else []), *rungs], key=lambda each: each.shots)
    least = rungs[0]
    return ShotLadder(
        model=model,
        steps=[
            ShotStep(
                k=each.shots,
                arm=each.path,
                exact_match=each.exact_match,
                gain=None
                if each is least
                else paired_difference(each.values, least.values, statistics.confidence, groups),
            )
            for each in rungs
        ],
    )


def sweep_of(best: Scored) -> SweepChoice:
    """Who competed on validation, by what, and who won."""
    scores = best.training["candidates"]
    select_by = next(iter(next(iter(scores.values()))))
    candidates = [SweptCandidate(arm=arm, score=score[select_by]) for arm, score in scores.items()]
    return SweepChoice(
        model=best.arm.model,
        arm=best.path,
        select_by=select_by,
        candidates=sorted(candidates, key=lambda each: each.score, reverse=select_by != "validation_loss"),
        chosen=best.training["chosen"],
        exact_match=best.exact_match,
    )
