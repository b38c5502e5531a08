"""Each declared pair of arms on the same samples: difference, test, correction for its family, levels of the tree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from slingshot.analysis.bootstrap import Floats, intervals
from slingshot.analysis.decision import agree_with_test, excludes_zero, margin_finding
from slingshot.analysis.families import declare_pairs
from slingshot.analysis.outcomes import Outcome
from slingshot.analysis.scoring import TREE, at_level, hierarchical_counts, hierarchical_f1
from slingshot.analysis.significance import cohens_g, discordant, mcnemar_p, paired_difference
from slingshot.artifacts.comparison import Family, PairComparison
from slingshot.artifacts.labels import Label
from slingshot.artifacts.metrics import AnswerKind, Difference
from slingshot.config.arms import Arm
from slingshot.config.reporting import Statistics


@dataclass(frozen=True)
class Pair:
    """Two arms and the number of pairs that their family declares, whether or not all of them have results."""

    family: Family
    family_size: int
    first: Outcome
    second: Outcome


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
        Pair(pair.family, families.count(pair.family), there[pair.first.path], there[pair.second.path])
        for pair in declared
        if pair.first.path in there and pair.second.path in there
    ]


def answering(pairs: Sequence[Pair], kind: AnswerKind) -> list[Pair]:
    """The pairs whose arms both answer in this way."""
    return [pair for pair in pairs if pair.first.way(kind) and pair.second.way(kind)]


def compare_pairs(
    pairs: Sequence[Pair], kind: AnswerKind, labels: Sequence[Label], statistics: Statistics
) -> list[PairComparison]:
    """Each pair's difference and test; p-values and simultaneous intervals count the pair's whole family."""
    pairs = answering(pairs, kind)
    hierarchical = hierarchical_differences(pairs, kind, statistics)
    compared = []
    for pair in pairs:
        found = compare_pair(pair, kind, labels, statistics)
        difference = hierarchical.get((pair.first.path, pair.second.path))
        levels = found.levels | ({"hierarchical_f1": difference} if difference else {})
        compared.append(found.model_copy(update={"levels": levels}))
    return compared


def compare_pair(pair: Pair, kind: AnswerKind, labels: Sequence[Label], statistics: Statistics) -> PairComparison:
    """Bonferroni's correction (Dunn 1961), as its intervals and its test agree; Holm's has no such intervals."""
    first, second = pair.first.correct(kind), pair.second.correct(kind)
    counts = discordant(first, second)
    p = mcnemar_p(*counts)
    level = 1 - statistics.confidence
    own = paired_difference(first, second, statistics.confidence, statistics.resamples, statistics.seed)
    strict = 1 - level / pair.family_size
    wide = paired_difference(first, second, strict, statistics.resamples, statistics.seed)
    simultaneous = agree_with_test(wide, p, strict, *counts)
    adjusted = min(1.0, p * pair.family_size)
    return PairComparison(
        family=pair.family,
        family_size=pair.family_size,
        answer=kind,
        first=pair.first.path,
        second=pair.second.path,
        difference=agree_with_test(own, p, statistics.confidence, *counts),
        simultaneous=simultaneous,
        only_first_right=counts[0],
        only_second_right=counts[1],
        p=p,
        adjusted_p=adjusted,
        significant=adjusted <= level and excludes_zero(simultaneous),
        margin=margin_finding(simultaneous, statistics.margin),
        cohens_g=cohens_g(*counts),
        odds_ratio=counts[0] / counts[1] if counts[1] else None,
        levels=level_differences(pair, kind, labels, statistics),
    )


def level_differences(
    pair: Pair, kind: AnswerKind, labels: Sequence[Label], statistics: Statistics
) -> dict[str, Difference]:
    """Differences of accuracy above the target's level, where the labels have a tree."""
    metrics = pair.first.metrics
    if metrics.labels == "plain":
        return {}
    by_name = {label.label: label for label in labels}
    answers = pair.first.answers(kind), pair.second.answers(kind)
    truths = [prediction.label for prediction in pair.first.predictions]
    differences = {}
    for level in TREE[TREE.index(metrics.level) + 1 :]:
        asked = [at_level(truth, level, by_name) for truth in truths]
        first, second = (
            np.array(
                [
                    said is not None and at_level(said, level, by_name) == want
                    for said, want in zip(given, asked, strict=True)
                ]
            )
            for given in answers
        )
        differences[f"{level}_accuracy"] = paired_difference(
            first, second, statistics.confidence, statistics.resamples, statistics.seed
        )
    return differences


def hierarchical_differences(
    pairs: Sequence[Pair], kind: AnswerKind, statistics: Statistics
) -> dict[tuple[str, str], Difference]:
    """Differences of hierarchical F1, by the paths of a pair's arms; all from the same resamples, drawn once."""
    trees = [pair for pair in pairs if pair.first.metrics.answers["free"].hierarchical is not None]
    if not trees:
        return {}
    truths = [prediction.label for prediction in trees[0].first.predictions]
    arms = {outcome.path: outcome for pair in trees for outcome in (pair.first, pair.second)}
    counts = {path: hierarchical_counts(outcome.answers(kind), truths) for path, outcome in arms.items()}
    names = [(pair.first.path, pair.second.path) for pair in trees]

    def differences(weights: Floats) -> Floats:
        f1 = {path: hierarchical_f1(weights @ each)[:, 2] for path, each in counts.items()}
        return np.stack([f1[first] - f1[second] for first, second in names], axis=1)

    n = len(truths)
    values, bounds = intervals(differences, n, statistics.confidence, statistics.resamples, statistics.seed)
    return {
        name: Difference(value=float(value), low=float(low), high=float(high), n=n, method="bootstrap")
        for name, value, (low, high) in zip(names, values, bounds, strict=True)
    }
