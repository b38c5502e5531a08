"""The report's figures of scores in detail: by level and by group, calibration, confusion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import plotly.graph_objects as go

from slingshot.artifacts.comparison import Comparison
from slingshot.artifacts.metrics import Confusion, GroupScore, LevelScores, Metrics, RankedScores, Score, ScoredLevel
from slingshot.report.figures.style import (
    NEUTRAL,
    SEQUENTIAL,
    ArmStyle,
    Figure,
    Table,
    error_bars,
    file_name,
    layout_of,
    plain,
    plot_of,
    shortened,
)
from slingshot.report.formats import count, percent, sentence_case, with_interval

# Levels, deepest first, with their names and symbols.
LEVELS: dict[ScoredLevel, tuple[str, str]] = {
    "code": ("code", "circle"),
    "label": ("label", "circle"),
    "category": ("category", "square"),
    "block": ("block", "diamond"),
    "chapter": ("chapter", "triangle-up"),
}

MOST_WITH_BARS = 8  # arms in one plot of lines, above which intervals would hide one another

MOST_WITH_NUMBERS = 25  # columns of a heat map, above which numbers would not fit the cells


def scores_by_level(comparison: Comparison, metrics: Mapping[str, Metrics]) -> Figure | None:
    """Accuracy at each level of the tree, one row per arm, one symbol per level.

    None where no level says more than exact match; a level at which each arm scores as one level deeper is left out.
    """
    arms = [arm.arm for arm in reversed(comparison.arms)]
    scores = {arm: metrics[arm].answers["free"].levels for arm in arms}
    levels = _telling_levels(list(scores.values()))
    if len(levels) < 2:
        return None
    accuracy = {arm: {level: found.accuracy for level, found in scores[arm].items()} for arm in arms}
    rows = [
        [arm, LEVELS[level][0], *_level_row(scores[arm][level])]
        for arm in reversed(arms)
        for level in levels
        if level in scores[arm]
    ]
    columns = ["Arm", "Level", "Accuracy", "Macro precision", "Macro recall", "Macro F1"]
    columns += ["Weighted precision", "Weighted recall", "Weighted F1"]
    texts = ", ".join(LEVELS[level][0] for level in levels)
    alt = f"Accuracy of each arm, by level ({texts}); the table holds the numbers."
    return Figure("scores_by_level", plot_levels(accuracy, levels, "accuracy, %"), alt, Table(columns, rows))


def _telling_levels(scores: Sequence[Mapping[ScoredLevel, LevelScores]]) -> list[ScoredLevel]:
    """Levels, deepest first, without those whose accuracies repeat the level below."""
    telling: list[ScoredLevel] = []
    for level in LEVELS:
        values = [found[level].accuracy.value if level in found else None for found in scores]
        below = [found[telling[-1]].accuracy.value if telling and telling[-1] in found else None for found in scores]
        if any(value is not None for value in values) and values != below:
            telling.append(level)
    return telling


def has_groups(groups: Mapping[str, Sequence[GroupScore]]) -> bool:
    """Whether the scores are of several groups: one alone repeats exact match."""
    return len({group.group for scores in groups.values() for group in scores}) > 1


def plot_levels(
    scores: Mapping[str, Mapping[ScoredLevel, Score]], levels: Sequence[ScoredLevel], title: str
) -> go.Figure:
    """One row per arm, from below, one symbol per level; an arm may lack levels."""
    traces = []
    for place, level in enumerate(levels):
        # Levels of an arm are staggered, so that overlapping intervals stay readable.
        shift = 0.2 * ((len(levels) - 1) / 2 - place)
        having = [(row + shift, arm, scores[arm][level]) for row, arm in enumerate(scores) if level in scores[arm]]
        traces.append(level_trace(level, having))
    layout = layout_of(110 + 46 * len(scores), showlegend=True)
    layout.xaxis.update(title=title, rangemode="tozero")
    names = {"tickvals": list(range(len(scores))), "ticktext": [plain(arm) for arm in scores]}
    layout.yaxis.update(range=[-0.6, len(scores) - 0.4], showgrid=False, **names)
    return plot_of(traces, layout)


def level_trace(level: ScoredLevel, having: Sequence[tuple[float, str, Score]]) -> go.Scatter:
    title, symbol = LEVELS[level]
    scores = [score for _, _, score in having]
    return go.Scatter(
        x=[100 * score.value for score in scores],
        y=[row for row, _, _ in having],
        error_x=error_bars(scores) | {"width": 0, "color": NEUTRAL},
        mode="markers",
        name=title,
        marker={"symbol": symbol, "size": 9, "color": NEUTRAL},
        text=[
            f"<b>{plain(arm)}</b><br>{title}: {with_interval(score)} %, n = {count(score.n)}"
            for _, arm, score in having
        ],
        hovertemplate="%{text}<extra></extra>",
    )


def _level_row(scores: LevelScores) -> list[str]:
    macro = [scores.macro_precision, scores.macro_recall, scores.macro_f1]
    weighted = [scores.weighted_precision, scores.weighted_recall, scores.weighted_f1]
    return [with_interval(score) for score in [scores.accuracy, *macro, *weighted]]


def scores_by_chapter(groups: Mapping[str, Sequence[GroupScore]]) -> Figure:
    """Exact match by chapter of the true code: one row per chapter, one column per arm."""
    arms = list(groups)
    chapters = {group.group: group for scores in groups.values() for group in scores}
    order = sorted(chapters, key=_number_first)
    found = {arm: {group.group: group.accuracy for group in scores} for arm, scores in groups.items()}
    titles = {chapter: f"{chapter} {chapters[chapter].title or ''}".strip() for chapter in order}
    sizes = {chapter: count(chapters[chapter].accuracy.n) for chapter in order}
    heat = _heat_map(
        [[100 * score.value if (score := found[arm].get(chapter)) else None for arm in arms] for chapter in order],
        [[f"{with_interval(found[arm].get(chapter))} %, n = {sizes[chapter]}" for arm in arms] for chapter in order],
        arms,
        [titles[chapter] for chapter in order],
    )
    heat.update(texttemplate="%{z:.0f}" if len(arms) <= MOST_WITH_NUMBERS else None, xgap=2, ygap=2)
    heat.update(hovertemplate="<b>%{x}</b><br>%{y}<br>%{customdata}<extra></extra>")
    layout = layout_of(110 + 24 * len(order))
    layout.xaxis.update(type="category", showgrid=False, side="top", tickangle=-60 if len(arms) > 6 else None)
    names = [plain(f"{shortened(titles[chapter], 34)} ({sizes[chapter]})") for chapter in order]
    layout.yaxis.update(type="category", autorange="reversed", showgrid=False)
    layout.yaxis.update(tickvals=[plain(titles[chapter]) for chapter in order], ticktext=names)
    rows = [
        [titles[chapter], sizes[chapter], *(with_interval(found[arm].get(chapter)) for arm in arms)]
        for chapter in order
    ]
    alt = "Exact match in percent of each arm in each chapter of true codes; the table holds the numbers."
    return Figure("scores_by_chapter", plot_of([heat], layout), alt, Table(["Chapter", "n", *arms], rows))


def _number_first(chapter: str) -> tuple[int, str]:
    return (int(chapter), "") if chapter.isdigit() else (1000, chapter)


def _heat_map(
    values: list[list[float | None]], texts: list[list[str]], columns: Sequence[str], rows: Sequence[str]
) -> go.Heatmap:
    """Percents as colour; `texts` is what a cell's number rests on."""
    return go.Heatmap(
        z=values,
        x=[plain(column) for column in columns],
        y=[plain(row) for row in rows],
        customdata=texts,
        colorscale=SEQUENTIAL,
        zmin=0,
        zmax=100,
        xgap=1,
        ygap=1,
        showscale=False,
    )


def scores_by_group(
    name: str,
    title: str,
    groups: Mapping[str, Sequence[GroupScore]],
    styles: Mapping[str, ArmStyle],
    measure: str = "exact match",
) -> Figure:
    """Exact match, or another score, over ordered groups (train frequency, length): one line per arm."""
    order = list(dict.fromkeys(group.group for scores in groups.values() for group in scores))
    sizes = {group.group: count(group.accuracy.n) for scores in groups.values() for group in scores}
    found = {arm: {group.group: group.accuracy for group in scores} for arm, scores in groups.items()}
    traces = [
        _group_trace(arm, index, len(groups), styles[arm], order, found[arm], title) for index, arm in enumerate(groups)
    ]
    layout = layout_of(380 + 8 * len(groups), showlegend=True)
    ticks = [f"{plain(group)}<br>n = {sizes[group]}" for group in order]
    layout.xaxis.update(title=plain(title), tickvals=list(range(len(order))), ticktext=ticks, showgrid=False)
    layout.yaxis.update(title=f"{measure}, %", rangemode="tozero")
    rows = [[group, sizes[group], *(with_interval(found[arm].get(group)) for arm in groups)] for group in order]
    alt = f"{sentence_case(measure)} in percent by {title}, a line for each arm; the table holds the numbers."
    notes = (
        [] if len(groups) <= MOST_WITH_BARS else ["The table holds the intervals: here they would hide one another."]
    )
    return Figure(name, plot_of(traces, layout), alt, Table([title, "n", *groups], rows), notes)


def _group_trace(
    arm: str, index: int, arms: int, style: ArmStyle, order: Sequence[str], found: Mapping[str, Score], title: str
) -> go.Scatter:
    """An arm's line; arms stand side by side where their intervals are drawn."""
    shift = 0.05 * (index - (arms - 1) / 2) if arms <= MOST_WITH_BARS else 0
    groups = [group for group in order if group in found]
    scores = [found[group] for group in groups]
    return go.Scatter(
        x=[order.index(group) + shift for group in groups],
        y=[100 * score.value for score in scores],
        error_y=error_bars(scores) | {"color": style.color} if arms <= MOST_WITH_BARS else None,
        mode="lines+markers",
        name=plain(arm),
        line=style.line(),
        marker={"symbol": style.symbol, "size": 8},
        text=[
            f"<b>{plain(arm)}</b><br>{plain(title)} {plain(group)}<br>{with_interval(score)} %, n = {count(score.n)}"
            for group, score in zip(groups, scores, strict=True)
        ],
        hovertemplate="%{text}<extra></extra>",
    )


def calibration(
    comparison: Comparison, metrics: Mapping[str, Metrics], styles: Mapping[str, ArmStyle]
) -> Figure | None:
    """Reliability diagram of the best candidate's probability (Guo et al. 2017), of arms that have one among labels.

    None where no arm has, or each arm's probabilities stand in one bin.
    """
    judged = [arm.arm for arm in comparison.arms if "calibration_error" in arm.scores]
    ranked = {arm: scores for arm in judged if (scores := metrics[arm].ranked)}
    bins = [{entry.low for entry in scores.calibration if entry.n} for scores in ranked.values()]
    if not any(len(filled) > 1 for filled in bins):
        return None
    dotted = {"color": "#8a8f98", "dash": "dot", "width": 1.5}
    traces = [
        go.Scatter(x=[0, 100], y=[0, 100], mode="lines", name="perfectly calibrated", line=dotted, hoverinfo="skip")
    ]
    traces += [_reliability(arm, scores, styles[arm]) for arm, scores in ranked.items()]
    layout = layout_of(420 + 8 * len(ranked), showlegend=True)
    layout.xaxis.update(title="mean probability of the best candidate, %", range=[0, 102])
    layout.yaxis.update(title="best candidate right, %", range=[0, 102])
    rows = [
        [
            arm,
            f"{percent(one.low, 0)}–{percent(one.high, 0)}",
            count(one.n),
            percent(one.confidence),
            percent(one.accuracy),
        ]
        for arm, scores in ranked.items()
        for one in scores.calibration
    ]
    columns = ["Arm", "Bin, %", "n", "Mean probability, %", "Right, %"]
    alt = "Share of right best candidates over their mean probability in ten bins; the table holds the numbers."
    return Figure("calibration", plot_of(traces, layout), alt, Table(columns, rows))


def _reliability(arm: str, scores: RankedScores, style: ArmStyle) -> go.Scatter:
    bins = [entry for entry in scores.calibration if entry.confidence is not None and entry.accuracy is not None]
    return go.Scatter(
        x=[100 * cast(float, entry.confidence) for entry in bins],
        y=[100 * cast(float, entry.accuracy) for entry in bins],
        mode="lines+markers",
        name=f"{plain(arm)}: calibration error {with_interval(scores.calibration_error)} %",
        line=style.line(),
        marker={"symbol": style.symbol, "size": 8},
        text=[
            f"<b>{plain(arm)}</b><br>mean probability {percent(entry.confidence)} %"
            f"<br>right {percent(entry.accuracy)} %, n = {count(entry.n)}"
            for entry in bins
        ],
        hovertemplate="%{text}<extra></extra>",
    )


def confusion(arm: str, counts: Confusion) -> Figure:
    """Truths against answers: colour is the share of a row, the number is the count."""
    counts = _by_frequency(counts) if counts.level == "label" else counts
    columns = [*counts.labels, "no answer"]
    totals = [sum(row) for row in counts.counts]
    named = [
        f"{label} {title}" if label != title else label
        for label, title in zip(counts.labels, counts.titles, strict=True)
    ]
    heat = _heat_map(
        [
            [100 * value / total if total else None for value in row]
            for row, total in zip(counts.counts, totals, strict=True)
        ],
        [
            [f"{count(value)} of {count(total)}" for value in row]
            for row, total in zip(counts.counts, totals, strict=True)
        ],
        columns,
        named,
    )
    heat.update(hovertemplate="true %{y}<br>answered %{x}<br>%{customdata}<extra></extra>")
    if len(columns) <= MOST_WITH_NUMBERS:
        heat.update(text=[[count(value) if value else "" for value in row] for row in counts.counts])
        heat.update(texttemplate="%{text}")
    layout = layout_of(130 + 24 * len(counts.labels))
    layout.xaxis.update(type="category", title="answered", showgrid=False, **_answered_ticks(columns))
    layout.yaxis.update(type="category", autorange="reversed", showgrid=False)
    layout.yaxis.update(tickvals=list(map(plain, named)), ticktext=[plain(shortened(name, 30)) for name in named])
    diagonal = sum(row[index] for index, row in enumerate(counts.counts))
    right = f"{count(diagonal)} of {count(sum(totals))} answers"
    alt = f"Confusion of {arm}, by {counts.level}: {right} stand on the diagonal; the table holds the counts."
    table = Table(
        ["True \\ answered", *columns],
        [[name, *map(count, row)] for name, row in zip(named, counts.counts, strict=True)],
    )
    return Figure(f"confusion_{file_name(arm)}", plot_of([heat], layout), alt, table)


def _by_frequency(counts: Confusion) -> Confusion:
    """Plain labels by how often they are true; chapters stand in the tree's order already."""
    order = sorted(range(len(counts.labels)), key=lambda index: -sum(counts.counts[index]))
    return Confusion(
        level=counts.level,
        labels=[counts.labels[index] for index in order],
        titles=[counts.titles[index] for index in order],
        counts=[[counts.counts[row][column] for column in [*order, len(order)]] for row in order],
    )


def _answered_ticks(columns: Sequence[str]) -> dict[str, Any]:
    upright = max(map(len, columns[:-1]), default=0) > 6 or len(columns) > 12
    return {
        "tickvals": list(map(plain, columns)),  # by name: a number would be taken for a category of that name
        "ticktext": [*(plain(shortened(column, 16)) for column in columns[:-1]), "none"],
        "tickangle": -90 if upright else 0,
    }
