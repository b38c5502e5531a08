"""Each declared pair of arms on the same samples: difference, test, correction for its family, levels of the tree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from slingshot.analysis.decision import excludes_zero, margin_finding
from slingshot.analysis.families import declare_pairs, repeats
from slingshot.analysis.groups import Groups, independent
from slingshot.analysis.intervals import difference_of, jackknife
from slingshot.analysis.outcomes import Outcome
from slingshot.analysis.scoring import TREE, at_level, hierarchical_counts, hierarchical_f1
from slingshot.analysis.set_scores import (
    exact_match_difference,
    hierarchical_f1_difference,
    macro_f1_difference,
    micro_f1_difference,
)
from slingshot.analysis.significance import cohens_g, compare_runs, discordant, mean_of_runs, paired_difference
from slingshot.artifacts.comparison import Family, PairComparison, SeedMean
from slingshot.artifacts.labels import Label
from slingshot.artifacts.metrics import AnswerKind, Difference
from slingshot.config.arms import Arm
from slingshot.config.reporting import Statistics
from slingshot.data.code_trees import tree_of


@dataclass(frozen=True)
class Pair:
    """Two arms and the number of pairs that their family declares, whether or not all of them have results.

    `first_runs` and `second_runs` are all finetunes of the arm's recipe: itself and those with other seeds.
    """

    family: Family
    family_size: int
    first: Outcome
    second: Outcome
    first_runs: tuple[Outcome, ...]
    second_runs: tuple[Outcome, ...]


def pairs_of(arms: Sequence[Arm], outcomes: Sequence[Outcome]) -> list[Pair]:
    """The declared pairs of which both arms have results.

    Args:
        arms: every arm of the study; families are counted over them, so a result that is missing loosens nothing
        outcomes: the arms that have results
    """
    there = {outcome.path: outcome for outcome in outcomes}
    declared = declare_pairs(arms)
    families = [pair.family for pair in declared]
    return [
        Pair(
            pair.family,
            families.count(pair.family),
            there[pair.first.path],
            there[pair.second.path],
            runs_of(there[pair.first.path], outcomes),
            runs_of(there[pair.second.path], outcomes),
        )
        for pair in declared
        if pair.first.path in there and pair.second.path in there
    ]


def runs_of(outcome: Outcome, outcomes: Sequence[Outcome]) -> tuple[Outcome, ...]:
    """The arm and its repetitions with other seeds."""
    return (outcome, *(each for each in outcomes if repeats(each.arm, outcome.arm)))


def seed_means(
    outcome: Outcome, outcomes: Sequence[Outcome], confidence: float, groups: Groups
) -> dict[AnswerKind, SeedMean]:
    """The mean of the estimand over the seeds of an arm's recipe, by kind of answer; empty with one seed."""
    found: dict[AnswerKind, SeedMean] = {}
    kinds: tuple[AnswerKind, ...] = ("free", "constrained")
    for kind in kinds:
        runs = [run.values(kind) for run in runs_of(outcome, outcomes) if run.way(kind)]
        if outcome.way(kind) and len(runs) > 1:
            mean = mean_of_runs(runs, confidence, groups)
            found[kind] = SeedMean(value=mean.value, low=mean.low, high=mean.high, runs=len(runs))
    return found


def answering(pairs: Sequence[Pair], kind: AnswerKind) -> list[Pair]:
    """The pairs whose arms both answer in this way."""
    return [pair for pair in pairs if pair.first.way(kind) and pair.second.way(kind)]


def compare_pairs(
    pairs: Sequence[Pair],
    kind: AnswerKind,
    labels: Sequence[Label],
    statistics: Statistics,
    groups: Groups | None = None,
) -> list[PairComparison]:
    """Each pair's difference and test; p-values and simultaneous intervals count the pair's whole family.

    Args:
        groups: of the test samples; None where each stands for itself
    """
    pairs = answering(pairs, kind)
    groups = groups or independent(len(pairs[0].first.predictions) if pairs else 0)
    hierarchical = hierarchical_differences(pairs, kind, statistics.confidence, groups)
    compared = []
    for pair in pairs:
        found = compare_pair(pair, kind, labels, statistics, groups)
        difference = hierarchical.get((pair.first.path, pair.second.path))
        levels = found.levels | ({"hierarchical_f1": difference} if difference else {})
        compared.append(found.model_copy(update={"levels": levels}))
    return compared


def compare_pair(
    pair: Pair, kind: AnswerKind, labels: Sequence[Label], statistics: Statistics, groups: Groups
) -> PairComparison:
    """Bonferroni's correction (Dunn 1961), as its intervals and its test agree; Holm's has no such intervals."""
    counts = discordant(pair.first.correct(kind), pair.second.correct(kind))
    first, second = (
        [run.values(kind) for run in runs if run.way(kind)] for runs in (pair.first_runs, pair.second_runs)
    )
    level = 1 - statistics.confidence
    own = compare_runs(first, second, statistics.confidence, groups)
    simultaneous = compare_runs(first, second, 1 - level / pair.family_size, groups).difference
    p, adjusted = own.p, min(1.0, own.p * pair.family_size)
    return PairComparison(
        family=pair.family,
        family_size=pair.family_size,
        answer=kind,
        first=pair.first.path,
        second=pair.second.path,
        difference=own.difference,
        simultaneous=simultaneous,
        first_runs=len(first),
        second_runs=len(second),
        only_first_right=counts[0],
        only_second_right=counts[1],
        p=p,
        adjusted_p=adjusted,
        significant=adjusted <= level and excludes_zero(simultaneous),
        margin=margin_finding(simultaneous, statistics.margin),
        cohens_g=cohens_g(*counts),
        odds_ratio=counts[0] / counts[1] if counts[1] else None,
        levels=level_differences(pair, kind, labels, statistics.confidence, groups),
    )


def level_differences(
    pair: Pair, kind: AnswerKind, labels: Sequence[Label], confidence: float, groups: Groups
) -> dict[str, Difference]:
    """Differences of accuracy above the target's level, where labels have a tree; of sets, of their other scores."""
    metrics = pair.first.metrics
    if pair.first.several:
        return set_differences(pair, kind, confidence, groups)
    if metrics.labels == "plain":
        return {}
    by_name = {label.label: label for label in labels}
    answers = pair.first.answers(kind), pair.second.answers(kind)
    truths = [prediction.label for prediction in pair.first.predictions]
    differences = {}
    for level in TREE[TREE.index(metrics.level) + 1 :]:
        asked = [at_level(truth, level, by_name, metrics.labels) for truth in truths]
        first, second = (
            np.array(
                [
                    answer is not None and at_level(answer, level, by_name, metrics.labels) == want
                    for answer, want in zip(given, asked, strict=True)
                ]
            )
            for given in answers
        )
        differences[f"{level}_accuracy"] = paired_difference(first, second, confidence, groups)
    return differences


def set_differences(pair: Pair, kind: AnswerKind, confidence: float, groups: Groups) -> dict[str, Difference]:
    """Differences of the scores of sets beside the estimand."""
    truths, sides = pair.first.truths, (pair.first.sets(kind), pair.second.sets(kind))
    found = {"macro_f1": macro_f1_difference(truths, *sides, groups, confidence)}
    if pair.first.estimand == "micro_f1":
        found["exact_match"] = exact_match_difference(truths, *sides, groups, confidence)
    else:
        found["micro_f1"] = micro_f1_difference(truths, *sides, groups, confidence)
    metrics = pair.first.metrics
    scores, tree = metrics.answers["free"].sets, tree_of(metrics.labels)
    if tree is not None and scores is not None and scores.hierarchical is not None:
        found["hierarchical_f1"] = hierarchical_f1_difference(truths, *sides, tree, groups, confidence)
    return found


def hierarchical_differences(
    pairs: Sequence[Pair], kind: AnswerKind, confidence: float, groups: Groups
) -> dict[tuple[str, str], Difference]:
    """Differences of hierarchical F1, by the paths of a pair's arms."""
    trees = [pair for pair in pairs if pair.first.metrics.answers["free"].hierarchical is not None]
    arms = {outcome.path: outcome for pair in trees for outcome in (pair.first, pair.second)}
    found = {}
    for path, outcome in arms.items():
        truths = [prediction.label for prediction in outcome.predictions]
        counts = hierarchical_counts(outcome.answers(kind), truths, outcome.metrics.labels)
        found[path] = jackknife(lambda sums: hierarchical_f1(sums)[:, 2:], counts, groups)
    names = [(pair.first.path, pair.second.path) for pair in trees]
    return {(first, second): difference_of(found[first], found[second], groups, confidence) for first, second in names}
