"""The report's figures of scores in detail where samples have several labels: by level, and by train frequency."""

from __future__ import annotations

from collections.abc import Mapping

from slingshot.artifacts.comparison import Comparison
from slingshot.artifacts.metrics import GroupScore, Metrics, PrecisionRecall, Score, ScoredLevel, SetScores
from slingshot.report.figures.scores import LEVELS, has_groups, plot_levels, scores_by_group
from slingshot.report.figures.style import Figure, Table, styles_of
from slingshot.report.formats import with_interval


def draw(comparison: Comparison, metrics: Mapping[str, Metrics]) -> list[Figure | None]:
    """Both figures, as far as they say something; nothing where samples have one label each."""
    sets = {arm: scores.answers["free"].sets for arm, scores in metrics.items()}
    there = {arm: found for arm, found in sets.items() if found is not None}
    if not there:
        return []
    target = next(iter(metrics.values()))
    level: ScoredLevel = "label" if target.labels == "plain" else target.level
    styles = styles_of(comparison.arms)
    groups = {
        arm: [GroupScore(group=each.train_samples, accuracy=each.micro.f1) for each in found.by_train_frequency]
        for arm, found in there.items()
    }
    title = "samples of the label in train"
    by_frequency = scores_by_group("scores_by_train_frequency", title, groups, styles, "micro F1")
    return [scores_by_level(there, level), by_frequency if has_groups(groups) else None]


def scores_by_level(sets: Mapping[str, SetScores], target: ScoredLevel) -> Figure:
    """Micro F1 at each level of the tree, one row per arm, one symbol per level."""
    arms = list(sets)[::-1]
    found: dict[str, dict[ScoredLevel, PrecisionRecall]] = {
        arm: {target: scores.micro, **scores.levels} for arm, scores in sets.items()
    }
    levels = [level for level in LEVELS if any(level in scores for scores in found.values())]
    f1 = {arm: {level: scores.f1 for level, scores in found[arm].items()} for arm in arms}
    rows = [
        [arm, LEVELS[level][0], *map(with_interval, _parts(found[arm][level]))]
        for arm in sets
        for level in levels
        if level in found[arm]
    ]
    texts = ", ".join(LEVELS[level][0] for level in levels)
    alt = f"Micro F1 of each arm, by level ({texts}); the table holds the numbers."
    columns = ["Arm", "Level", "Micro precision", "Micro recall", "Micro F1"]
    return Figure("scores_by_level", plot_levels(f1, levels, "micro F1, %"), alt, Table(columns, rows))


def _parts(scores: PrecisionRecall) -> list[Score]:
    return [scores.precision, scores.recall, scores.f1]
