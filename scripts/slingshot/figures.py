"""The report's figures: each a Plotly figure, a text that stands in for it, and the numbers that it draws.

Colours and symbols tell kinds of arms apart on a light and on a dark ground, in print and to the colour-blind
(after Okabe and Ito 2008); no figure needs colour alone. Texts from data and models are escaped, as Plotly reads
some HTML.
"""

from __future__ import annotations

import html
import logging
import math
import re
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import plotly.graph_objects as go

from slingshot.comparison import ArmSummary, Comparison, PairComparison
from slingshot.cost import ArmCost, MemoryRow
from slingshot.files import replacing
from slingshot.formats import MISSING, count, difference, gibibytes, number, p_value, percent, with_interval
from slingshot.metrics import Confusion, GroupScore, Metrics, Score, ScoredLevel

log = logging.getLogger(__name__)

COLORS = {"llm": "#2f75b5", "slm": "#d1580b", "baseline": "#7a7a7a", "ensemble": "#1b8a63"}
SYMBOLS = {"llm": "square", "slm": "circle", "baseline": "diamond"}
KINDS = {"llm": "large, zero-shot", "slm": "small, finetuned", "baseline": "baseline, no language model"}
CATEGORICAL = (
    "#2f75b5",
    "#d1580b",
    "#1b8a63",
    "#b5478f",
    "#a07800",
    "#5b8bd9",
    "#c4453c",
    "#5f7f2a",
    "#7a6bc9",
    "#7a7a7a",
)
DASHES = ("solid", "dash", "dot", "dashdot")
LEVELS: dict[ScoredLevel, tuple[str, str]] = {
    "code": ("code", "circle"),
    "label": ("label", "circle"),
    "category": ("category", "square"),
    "block": ("block", "diamond"),
    "chapter": ("chapter", "triangle-up"),
}
SEQUENTIAL = [[0.0, "#f2f6fb"], [0.25, "#c2d8ee"], [0.5, "#7fb0dd"], [0.75, "#3a7fc0"], [1.0, "#0f4c8a"]]
INK, PAPER, GRID = "#1f2328", "#ffffff", "#d9dde2"
MAX_POINTS = 400
EXPORT_WIDTH = 760


@dataclass(frozen=True)
class Table:
    """The numbers behind a figure, as written."""

    columns: list[str]
    rows: list[list[str]]


@dataclass(frozen=True)
class Figure:
    """A figure, named after its file; `alt` says what it shows to who cannot see it."""

    name: str
    plot: go.Figure
    alt: str
    table: Table
    notes: list[str] = field(default_factory=list)


# ---------------------------------------------------------------- what is shared


def plain(text: object) -> str:
    """A text from data or models as Plotly is to show it: its HTML is text, its line ends are spaces."""
    return html.escape(" ".join(str(text).split()), quote=False)


def shortened(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"


def parameters(size: str | None) -> float | None:
    """`8B` as 8e9; None where the size is not said."""
    if not size:
        return None
    return float(size[:-1]) * {"K": 1e3, "M": 1e6, "B": 1e9}[size[-1]]


def _layout(height: int, **settings: Any) -> go.Layout:
    """What all figures share. The ground is transparent: the page's own shows through."""
    axis = {"gridcolor": GRID, "zeroline": False, "linecolor": GRID, "automargin": True, "fixedrange": True}
    base: dict[str, Any] = {
        "height": height,
        "margin": {"l": 8, "r": 12, "t": 8, "b": 8, "pad": 4},
        "font": {"family": "system-ui, -apple-system, Segoe UI, Roboto, Helvetica, Arial, sans-serif", "size": 13},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "showlegend": False,
        "legend": {"orientation": "h", "yanchor": "bottom", "y": 1.01, "x": 0, "xanchor": "left"},
        "hoverlabel": {"align": "left"},
        "dragmode": False,
        "template": "none",
    }
    layout = go.Layout(base)
    layout.update(xaxis=axis, yaxis=axis)
    layout.update(settings)
    return layout


def _plot(traces: Iterable[Any], layout: go.Layout) -> go.Figure:
    return go.Figure(data=list(traces), layout=layout)


def _errors(scores: Sequence[Any], scale: float = 100) -> dict[str, Any]:
    """Error bars from the estimates to the ends of their intervals."""
    return {
        "type": "data",
        "symmetric": False,
        "array": [scale * (score.high - score.value) for score in scores],
        "arrayminus": [scale * (score.value - score.low) for score in scores],
        "thickness": 1.5,
        "width": 4,
    }


def _style(arm: ArmSummary) -> dict[str, Any]:
    return {"color": COLORS[arm.kind], "symbol": SYMBOLS[arm.kind]}


# ---------------------------------------------------------------- size against score


def size_against_score(comparison: Comparison, unit: str) -> Figure:
    """Exact match over parameters; the marker's area is the cost of serving."""
    sized = [arm for arm in comparison.arms if parameters(arm.size)]
    unsized = [arm for arm in comparison.arms if not parameters(arm.size)]
    costs = {arm.arm: _serving_seconds(arm.cost) for arm in comparison.arms}
    most = max((cost for cost in costs.values() if cost), default=None)
    places = _dodged(sized)
    traces = [
        _sized_trace([arm for arm in sized if arm.kind == kind], kind, places, costs, most, unit)
        for kind in ("llm", "slm")
    ]
    layout = _layout(
        430,
        showlegend=True,
        annotations=_arm_labels(sized, places) + [_unsized_label(arm) for arm in unsized],
        shapes=[shape for arm in unsized for shape in _unsized_band(arm)],
    )
    layout.xaxis.update(type="log", title="parameters", **_size_ticks(sized))
    layout.yaxis.update(title="exact match, %", rangemode="tozero")
    rows = [
        [
            arm.arm,
            arm.size or MISSING,
            with_interval(arm.scores["exact_match"]),
            count(arm.scores["exact_match"].n),
            number(costs[arm.arm]),
        ]
        for arm in comparison.arms
    ]
    alt = "Exact match in percent over model size. " + " ".join(
        f"{arm.arm}{f' ({arm.size})' if arm.size else ''}: {with_interval(arm.scores['exact_match'])}."
        for arm in comparison.arms
    )
    columns = ["Arm", "Parameters", "Exact match, % [interval]", "n", f"{unit} s per 1,000 dialogues"]
    return Figure("size_against_score", _plot([t for t in traces if t], layout), alt, Table(columns, rows))


def _serving_seconds(cost: ArmCost | None) -> float | None:
    return cost.per_1000_dialogues.device_seconds if cost else None


def _dodged(arms: Sequence[ArmSummary]) -> dict[str, float]:
    """A place on the size axis for each arm: arms of one size stand side by side, 6% apart."""
    places = {}
    for size in {arm.size for arm in arms}:
        same = [arm for arm in arms if arm.size == size]
        for index, arm in enumerate(same):
            places[arm.arm] = cast(float, parameters(size)) * 1.06 ** (index - (len(same) - 1) / 2)
    return places


def _sized_trace(
    arms: Sequence[ArmSummary],
    kind: str,
    places: Mapping[str, float],
    costs: Mapping[str, float | None],
    most: float | None,
    unit: str,
) -> go.Scatter | None:
    if not arms:
        return None
    scores = [arm.scores["exact_match"] for arm in arms]
    # Area is proportional to cost, down to a size that can still be seen; hollow where the cost is not known.
    sizes = [max(8.0, 44 * math.sqrt(cost / most)) if (cost := costs[arm.arm]) and most else 12.0 for arm in arms]
    symbols = [SYMBOLS[kind] + ("" if costs[arm.arm] else "-open") for arm in arms]
    said = [
        f"<b>{plain(arm.arm)}</b><br>{plain(arm.name)}, {plain(arm.size)}<br>exact match {with_interval(score)} %, n = {count(score.n)}"
        f"<br>{number(costs[arm.arm])} {unit} s per 1,000 dialogues"
        for arm, score in zip(arms, scores, strict=True)
    ]
    return go.Scatter(
        x=[places[arm.arm] for arm in arms],
        y=[100 * score.value for score in scores],
        error_y=_errors(scores) | {"color": COLORS[kind]},
        mode="markers",
        name=KINDS[kind],
        marker={"color": COLORS[kind], "size": sizes, "symbol": symbols, "opacity": 0.85},
        text=said,
        hovertemplate="%{text}<extra></extra>",
    )


def _arm_labels(arms: Sequence[ArmSummary], places: Mapping[str, float]) -> list[dict[str, Any]]:
    """Names beside the markers, moved apart where they would cover one another."""
    top = max((100 * arm.scores["exact_match"].high for arm in arms), default=100)
    heights: dict[str, float] = {}
    labels = []
    gap = top * 0.055
    for arm in sorted(arms, key=lambda arm: -arm.scores["exact_match"].value):
        wanted = 100 * arm.scores["exact_match"].value
        near = [
            heights[other.arm] for other in arms if other.arm in heights and _near(places[arm.arm], places[other.arm])
        ]
        height = min([wanted, *(other - gap for other in near)])
        heights[arm.arm] = height
        labels.append(
            {
                "x": math.log10(places[arm.arm]),
                "y": wanted,
                "text": plain(arm.arm),
                "showarrow": True,
                "arrowhead": 0,
                "arrowwidth": 0.7,
                "arrowcolor": "#8a8f98" if wanted - height > gap / 2 else "rgba(0,0,0,0)",
                "ax": 26,
                "ay": round((wanted - height) / top * 300),
                "xanchor": "left",
                "font": {"size": 12},
                "captureevents": False,
            }
        )
    return labels


def _near(first: float, second: float) -> bool:
    """Whether two places on the size axis are so close that labels beside them could meet."""
    return abs(math.log10(first / second)) < 0.35


def _unsized_band(arm: ArmSummary) -> list[dict[str, Any]]:
    """A line and its interval across the plot: an arm that has no size."""
    score = arm.scores["exact_match"]
    across = {"xref": "paper", "x0": 0, "x1": 1, "yref": "y", "layer": "below"}
    color = COLORS[arm.kind]
    return [
        across
        | {
            "type": "rect",
            "y0": 100 * score.low,
            "y1": 100 * score.high,
            "fillcolor": color,
            "opacity": 0.18,
            "line": {"width": 0},
        },
        across
        | {
            "type": "line",
            "y0": 100 * score.value,
            "y1": 100 * score.value,
            "line": {"color": color, "width": 1.5, "dash": "dash"},
        },
    ]


def _unsized_label(arm: ArmSummary) -> dict[str, Any]:
    return {
        "xref": "paper",
        "x": 0.005,
        "y": 100 * arm.scores["exact_match"].value,
        "yanchor": "bottom",
        "xanchor": "left",
        "text": plain(arm.arm),
        "showarrow": False,
        "font": {"size": 12},
    }


def _size_ticks(arms: Sequence[ArmSummary]) -> dict[str, Any]:
    """Ticks at the sizes that occur, thinned so that no two overlap, and room on the right for names."""
    sizes = sorted({(cast(float, parameters(arm.size)), arm.size) for arm in arms})
    if not sizes:
        return {"visible": False}
    ticks: list[tuple[float, str | None]] = []
    for value, text in sizes:
        if not ticks or math.log10(value / ticks[-1][0]) > 0.06:
            ticks.append((value, text))
    low, high = math.log10(sizes[0][0]), math.log10(sizes[-1][0])
    return {
        "tickvals": [value for value, _ in ticks],
        "ticktext": [plain(text) for _, text in ticks],
        "range": [low - 0.2, high + max(0.3, 0.35 * (high - low))],
    }


# ---------------------------------------------------------------- paired differences


def forest(pairs: Sequence[PairComparison], confidence: float, name: str = "paired_differences") -> Figure:
    """Paired differences of exact match with their intervals, a row a pair."""
    rows = list(reversed(pairs))
    traces = []
    for significant, symbol, said in (
        (True, "circle", "significant after Holm"),
        (False, "circle-open", "not significant"),
    ):
        chosen = [index for index, pair in enumerate(rows) if pair.significant == significant]
        if not chosen:
            continue
        differences = [rows[index].difference for index in chosen]
        traces.append(
            go.Scatter(
                x=[100 * value.value for value in differences],
                y=chosen,
                error_x=_errors(differences),
                mode="markers",
                name=said,
                marker={
                    "symbol": symbol,
                    "size": 10,
                    "color": COLORS["slm"] if significant else COLORS["baseline"],
                    "line": {"width": 2},
                },
                text=[_pair_said(rows[index]) for index in chosen],
                hovertemplate="%{text}<extra></extra>",
            )
        )
    labels = [
        {
            "xref": "paper",
            "x": 0,
            "xanchor": "left",
            "y": index,
            "yshift": 13,
            "showarrow": False,
            "align": "left",
            "text": _pair_label(pair),
            "font": {"size": 12},
        }
        for index, pair in enumerate(rows)
    ]
    layout = _layout(
        90 + 44 * len(rows),
        showlegend=True,
        annotations=labels,
        shapes=[
            {
                "type": "line",
                "x0": 0,
                "x1": 0,
                "yref": "paper",
                "y0": 0,
                "y1": 1,
                "line": {"color": "#8a8f98", "width": 1.5},
                "layer": "below",
            }
        ],
    )
    layout.xaxis.update(title="difference of exact match, percentage points (right: the first arm is better)")
    layout.yaxis.update(visible=False, range=[-0.6, len(rows) - 0.1])
    table = Table(
        [
            "First",
            "Second",
            f"Difference, points [{percent(confidence, 0)}% interval]",
            "Only first right",
            "Only second right",
            "p (McNemar)",
            "p (Holm)",
            "n",
        ],
        [
            [
                pair.first,
                pair.second,
                difference(pair.difference),
                count(pair.only_first_right),
                count(pair.only_second_right),
                p_value(pair.p),
                p_value(pair.adjusted_p),
                count(pair.difference.n),
            ]
            for pair in pairs
        ],
    )
    alt = "Paired differences of exact match in percentage points. " + " ".join(
        f"{pair.first} minus {pair.second}: {difference(pair.difference)}." for pair in pairs[:20]
    )
    return Figure(name, _plot(traces, layout), alt, table)


def _pair_label(pair: PairComparison) -> str:
    return f"{plain(pair.first)} {'−'} {plain(pair.second)}: {difference(pair.difference)}"


def _pair_said(pair: PairComparison) -> str:
    return (
        f"<b>{plain(pair.first)} − {plain(pair.second)}</b><br>{difference(pair.difference)} points, n = {count(pair.difference.n)}"
        f"<br>only the first right: {count(pair.only_first_right)}, only the second: {count(pair.only_second_right)}"
        f"<br>exact McNemar p {p_value(pair.p)}, after Holm {p_value(pair.adjusted_p)}"
    )


# ---------------------------------------------------------------- scores by level and by group


def scores_by_level(comparison: Comparison, metrics: Mapping[str, Metrics]) -> Figure:
    """Accuracy at each level of the tree, a row an arm, a symbol a level."""
    arms = [arm for arm in reversed(comparison.arms) if arm.arm in metrics]
    levels = [level for level in LEVELS if any(level in metrics[arm.arm].answers["free"].levels for arm in arms)]
    traces = []
    for place, level in enumerate(levels):
        having = [(index, arm) for index, arm in enumerate(arms) if level in metrics[arm.arm].answers["free"].levels]
        scores = [metrics[arm.arm].answers["free"].levels[level].accuracy for _, arm in having]
        title, symbol = LEVELS[level]
        traces.append(
            go.Scatter(
                x=[100 * score.value for score in scores],
                # Levels of an arm are staggered, so that intervals which overlap can be told apart.
                y=[index + 0.22 * ((len(levels) - 1) / 2 - place) for index, _ in having],
                error_x=_errors(scores) | {"width": 0},
                mode="markers",
                name=title,
                marker={"symbol": symbol, "size": 9, "color": CATEGORICAL[place]},
                text=[
                    f"<b>{plain(arm.arm)}</b><br>{title}: {with_interval(score)} %, n = {count(score.n)}"
                    for (_, arm), score in zip(having, scores, strict=True)
                ],
                hovertemplate="%{text}<extra></extra>",
            )
        )
    layout = _layout(110 + 46 * len(arms), showlegend=True)
    layout.xaxis.update(title="accuracy, %", rangemode="tozero")
    layout.yaxis.update(
        tickvals=list(range(len(arms))),
        ticktext=[plain(arm.arm) for arm in arms],
        range=[-0.6, len(arms) - 0.4],
        showgrid=False,
    )
    rows = [
        [
            arm.arm,
            LEVELS[level][0],
            with_interval(scores.accuracy),
            with_interval(scores.macro_precision),
            with_interval(scores.macro_recall),
            with_interval(scores.macro_f1),
            with_interval(scores.weighted_f1),
        ]
        for arm in comparison.arms
        if arm.arm in metrics
        for level in levels
        if (scores := metrics[arm.arm].answers["free"].levels.get(level))
    ]
    columns = ["Arm", "Level", "Accuracy", "Macro precision", "Macro recall", "Macro F1", "Weighted F1"]
    alt = f"Accuracy of each arm at the levels {', '.join(LEVELS[level][0] for level in levels)}; the table holds the numbers."
    return Figure("scores_by_level", _plot(traces, layout), alt, Table(columns, rows))


def scores_by_chapter(groups: Mapping[str, Sequence[GroupScore]]) -> Figure:
    """Exact match by chapter of the true code: a row a chapter, a column an arm."""
    arms = list(groups)
    chapters = {group.group: group for scores in groups.values() for group in scores}
    order = list(reversed(chapters))
    found = {arm: {group.group: group.accuracy for group in scores} for arm, scores in groups.items()}
    values = [[100 * score.value if (score := found[arm].get(chapter)) else None for arm in arms] for chapter in order]
    said = [
        [
            f"<b>{plain(arm)}</b><br>{plain(chapter)} {plain(chapters[chapter].title or '')}<br>{with_interval(found[arm].get(chapter))} %, n = {count(chapters[chapter].accuracy.n)}"
            for arm in arms
        ]
        for chapter in order
    ]
    titles = {chapter: f"{chapter} {group.title or ''}".strip() for chapter, group in chapters.items()}
    names = [f"{plain(shortened(titles[chapter], 34))} ({count(chapters[chapter].accuracy.n)})" for chapter in order]
    heat = go.Heatmap(
        z=values,
        x=list(range(len(arms))),
        y=list(range(len(order))),
        colorscale=SEQUENTIAL,
        zmin=0,
        zmax=100,
        xgap=2,
        ygap=2,
        text=said,
        hovertemplate="%{text}<extra></extra>",
        texttemplate="%{z:.0f}" if len(arms) <= 10 else None,
        colorbar={"title": {"text": "exact match, %", "side": "right"}, "thickness": 12, "outlinewidth": 0},
        showscale=len(arms) > 10,
    )
    layout = _layout(110 + 24 * len(order))
    layout.xaxis.update(
        tickvals=list(range(len(arms))), ticktext=[plain(arm) for arm in arms], showgrid=False, side="top"
    )
    layout.yaxis.update(tickvals=list(range(len(order))), ticktext=names, showgrid=False)
    rows = [
        [
            f"{chapter} {chapters[chapter].title or ''}".strip(),
            count(chapters[chapter].accuracy.n),
            *(with_interval(found[arm].get(chapter)) for arm in arms),
        ]
        for chapter in chapters
    ]
    alt = "Exact match in percent of each arm in each chapter; the number of test samples stands behind a chapter's name; the table holds the numbers."
    return Figure("scores_by_chapter", _plot([heat], layout), alt, Table(["Chapter", "n", *arms], rows))


def scores_by_group(
    name: str, title: str, groups: Mapping[str, Sequence[GroupScore]], kinds: Mapping[str, str]
) -> Figure:
    """Exact match over ordered groups (train frequency, length): a line an arm."""
    order = list(dict.fromkeys(group.group for scores in groups.values() for group in scores))
    traces = []
    for index, (arm, scores) in enumerate(groups.items()):
        shift = 0.05 * (index - (len(groups) - 1) / 2) if len(groups) <= 8 else 0
        accuracies = [group.accuracy for group in scores]
        traces.append(
            go.Scatter(
                x=[order.index(group.group) + shift for group in scores],
                y=[100 * score.value for score in accuracies],
                error_y=_errors(accuracies) if len(groups) <= 8 else None,
                mode="lines+markers",
                name=plain(arm),
                line={
                    "color": CATEGORICAL[index % len(CATEGORICAL)],
                    "dash": DASHES[index // len(CATEGORICAL) % len(DASHES)],
                    "width": 2,
                },
                marker={"symbol": SYMBOLS[kinds[arm]], "size": 8},
                text=[
                    f"<b>{plain(arm)}</b><br>{plain(title)} {plain(group.group)}<br>{with_interval(group.accuracy)} %, n = {count(group.accuracy.n)}"
                    for group in scores
                ],
                hovertemplate="%{text}<extra></extra>",
            )
        )
    sizes = {group.group: group.accuracy.n for scores in groups.values() for group in scores}
    layout = _layout(380 + 8 * len(groups), showlegend=True)
    layout.xaxis.update(
        title=plain(title),
        tickvals=list(range(len(order))),
        ticktext=[f"{plain(group)}<br>n = {count(sizes[group])}" for group in order],
        showgrid=False,
    )
    layout.yaxis.update(title="exact match, %", rangemode="tozero")
    found = {arm: {group.group: group.accuracy for group in scores} for arm, scores in groups.items()}
    rows = [[group, count(sizes[group]), *(with_interval(found[arm].get(group)) for arm in groups)] for group in order]
    alt = f"Exact match in percent by {title}, a line for each arm; the table holds the numbers."
    return Figure(name, _plot(traces, layout), alt, Table([title, "n", *groups], rows))


def calibration(metrics: Mapping[str, Metrics], kinds: Mapping[str, str]) -> Figure | None:
    """Reliability diagram of the best candidate's probability (Guo et al. 2017); None where no arm ranked any."""
    ranked = {arm: scores.ranked for arm, scores in metrics.items() if scores.ranked}
    if not ranked:
        return None
    traces: list[go.Scatter] = [
        go.Scatter(
            x=[0, 100],
            y=[0, 100],
            mode="lines",
            name="perfectly calibrated",
            line={"color": "#8a8f98", "dash": "dot", "width": 1.5},
            hoverinfo="skip",
        )
    ]
    rows = []
    for index, (arm, scores) in enumerate(ranked.items()):
        bins = [entry for entry in scores.calibration if entry.confidence is not None and entry.accuracy is not None]
        traces.append(
            go.Scatter(
                x=[100 * cast(float, entry.confidence) for entry in bins],
                y=[100 * cast(float, entry.accuracy) for entry in bins],
                mode="lines+markers",
                name=f"{plain(arm)}: ECE {percent(scores.expected_calibration_error.value)} %",
                line={
                    "color": CATEGORICAL[index % len(CATEGORICAL)],
                    "dash": DASHES[index // len(CATEGORICAL) % len(DASHES)],
                },
                marker={"symbol": SYMBOLS[kinds[arm]], "size": 8},
                text=[
                    f"<b>{plain(arm)}</b><br>mean probability {percent(entry.confidence)} %<br>right {percent(entry.accuracy)} %, n = {count(entry.n)}"
                    for entry in bins
                ],
                hovertemplate="%{text}<extra></extra>",
            )
        )
        rows += [
            [
                arm,
                f"{percent(entry.low, 0)}–{percent(entry.high, 0)}",
                count(entry.n),
                percent(entry.confidence),
                percent(entry.accuracy),
            ]
            for entry in scores.calibration
        ]
    layout = _layout(420 + 8 * len(ranked), showlegend=True)
    layout.xaxis.update(title="mean probability of the best candidate, %", range=[0, 102])
    layout.yaxis.update(title="best candidate right, %", range=[0, 102])
    alt = "Share of right best candidates over their mean probability in ten bins; the table holds the numbers."
    return Figure(
        "calibration",
        _plot(traces, layout),
        alt,
        Table(["Arm", "Bin, %", "n", "Mean probability, %", "Right, %"], rows),
    )


# ---------------------------------------------------------------- confusion


def confusion(arm: str, counts: Confusion) -> Figure:
    """Truths against answers: colour is the share of a row, the number is the count."""
    columns = [*counts.labels, "no answer"]
    totals = [sum(row) for row in counts.counts]
    shares = [
        [100 * value / total if total else None for value in row]
        for row, total in zip(counts.counts, totals, strict=True)
    ]
    said = [
        [
            f"true {plain(label)} {plain(title)}<br>answered {plain(column)}<br>{count(value)} of {count(total)}"
            for column, value in zip(columns, row, strict=True)
        ]
        for label, title, row, total in zip(counts.labels, counts.titles, counts.counts, totals, strict=True)
    ]
    shown = [[count(value) if value else "" for value in row] for row in counts.counts]
    heat = go.Heatmap(
        z=shares,
        x=list(range(len(columns))),
        y=list(range(len(counts.labels))),
        customdata=said,
        text=shown if len(columns) <= 25 else None,
        texttemplate="%{text}" if len(columns) <= 25 else None,
        hovertemplate="%{customdata}<extra></extra>",
        colorscale=SEQUENTIAL,
        zmin=0,
        zmax=100,
        xgap=1,
        ygap=1,
        showscale=False,
    )
    long = max((len(label) for label in counts.labels), default=0) > 8
    names = [
        plain(shortened(label if label == title or long else f"{label} {title}", 30))
        for label, title in zip(counts.labels, counts.titles, strict=True)
    ]
    layout = _layout(130 + 24 * len(counts.labels))
    layout.xaxis.update(
        title="answered",
        tickvals=list(range(len(columns))),
        ticktext=[plain(shortened(column, 14)) for column in columns],
        tickangle=-90 if long or len(columns) > 12 else 0,
        showgrid=False,
    )
    layout.yaxis.update(
        title="true", tickvals=list(range(len(counts.labels))), ticktext=names, showgrid=False, autorange="reversed"
    )
    diagonal = sum(row[index] for index, row in enumerate(counts.counts))
    alt = f"Confusion of {arm} between {len(counts.labels)} groups ({counts.level}): {diagonal} of {sum(totals)} answers stand on the diagonal; the table holds the counts."
    rows = [
        [f"{label} {title}" if label != title else label, *map(count, row)]
        for label, title, row in zip(counts.labels, counts.titles, counts.counts, strict=True)
    ]
    return Figure(
        f"confusion_{_file_name(arm)}", _plot([heat], layout), alt, Table(["True \\ answered", *columns], rows)
    )


# ---------------------------------------------------------------- training


def training_curves(logs: Mapping[str, Sequence[Mapping[str, Any]]], best_steps: Mapping[str, int | None]) -> Figure:
    """Loss in training (thin) and on validation (thick) over optimizer steps; a star marks the step that was kept."""
    traces = []
    rows = []
    thinned = []
    for index, (arm, lines) in enumerate(logs.items()):
        color = CATEGORICAL[index % len(CATEGORICAL)]
        losses = [(line["step"], line["loss"]) for line in lines if line.get("loss") is not None]
        evaluated = [
            (line["step"], line["validation_loss"]) for line in lines if line.get("validation_loss") is not None
        ]
        if len(losses) > MAX_POINTS:
            thinned.append(
                f"{arm}: {count(len(losses))} training losses are drawn as means of {math.ceil(len(losses) / MAX_POINTS)} steps."
            )
            losses = _means(losses, MAX_POINTS)
        traces.append(_curve(losses, f"{plain(arm)}, training", color, arm, {"width": 1}, "lines", 0.55))
        if evaluated:
            traces.append(
                _curve(evaluated, f"{plain(arm)}, validation", color, arm, {"width": 2.5}, "lines+markers", 1)
            )
        best = best_steps.get(arm)
        kept = next((loss for step, loss in evaluated if step == best), None)
        if kept is not None:
            traces.append(
                go.Scatter(
                    x=[best], y=[kept], mode="markers", showlegend=False, legendgroup=arm, marker={"symbol": "star", "size": 16, "color": color, "line": {"width": 1, "color": PAPER}},
                    hovertemplate=f"{plain(arm)}: kept, step {best}, validation loss {number(kept)}<extra></extra>",
                )
            )  # fmt: skip
        rows += [[arm, count(step), number(loss), "kept" if step == best else ""] for step, loss in evaluated]
    layout = _layout(400 + 10 * len(logs), showlegend=True)
    layout.xaxis.update(title="optimizer step", rangemode="tozero")
    layout.yaxis.update(title="loss", rangemode="tozero")
    alt = (
        "Training and validation loss over optimizer steps for "
        + ", ".join(logs)
        + "; the table holds the validation losses."
    )
    return Figure(
        "training_curves", _plot(traces, layout), alt, Table(["Arm", "Step", "Validation loss", ""], rows), thinned
    )


def _curve(
    points: Sequence[tuple[float, float]],
    name: str,
    color: str,
    arm: str,
    line: dict[str, Any],
    mode: str,
    opacity: float,
) -> go.Scatter:
    return go.Scatter(
        x=[step for step, _ in points],
        y=[round(loss, 5) for _, loss in points],
        mode=mode,
        name=name,
        legendgroup=arm,
        opacity=opacity,
        line=line | {"color": color},
        marker={"size": 7, "color": color},
        hovertemplate=f"{name}<br>step %{{x}}: %{{y:.4f}}<extra></extra>",
    )


def _means(points: Sequence[tuple[float, float]], most: int) -> list[tuple[float, float]]:
    """At most `most` points: means over equal runs of steps, each at its run's last step."""
    run = math.ceil(len(points) / most)
    chunks = [points[start : start + run] for start in range(0, len(points), run)]
    return [(chunk[-1][0], sum(loss for _, loss in chunk) / len(chunk)) for chunk in chunks]


# ---------------------------------------------------------------- cost and memory


def cumulative_cost(comparison: Comparison, unit: str) -> Figure | None:
    """Device seconds of finetuning and serving over the number of dialogues, a line an arm; None without any cost."""
    costs = {arm.arm: arm for arm in comparison.arms if _serving_seconds(arm.cost)}
    if not costs:
        return None
    volumes = _volumes(
        [entry.dialogues for entry in comparison.break_even if entry.resource == "device_seconds" and entry.dialogues]
    )
    traces = []
    rows = []
    for index, (path, arm) in enumerate(costs.items()):
        cost = cast(ArmCost, arm.cost)
        training = cost.training.device_seconds if cost.training else 0.0
        per_dialogue = cast(float, cost.per_1000_dialogues.device_seconds) / 1000
        traces.append(
            go.Scatter(
                x=volumes,
                y=[training + per_dialogue * volume for volume in volumes],
                mode="lines",
                name=plain(path),
                line={
                    "color": CATEGORICAL[index % len(CATEGORICAL)],
                    "dash": "dash" if arm.kind == "llm" else "solid",
                    "width": 2,
                },
                hovertemplate=f"<b>{plain(path)}</b><br>%{{x:,.0f}} dialogues: %{{y:,.0f}} {unit} s<extra></extra>",
            )
        )
        rows.append(
            [
                path,
                number(training) if cost.training else "0",
                number(1000 * per_dialogue),
                *(number(training + per_dialogue * volume) for volume in (1_000, 100_000)),
            ]
        )
    layout = _layout(380 + 8 * len(costs), showlegend=True)
    layout.xaxis.update(type="log", title="dialogues", dtick=1, exponentformat="none", separatethousands=True)
    layout.yaxis.update(
        type="log", title=f"{unit} seconds, training included", dtick=1, exponentformat="none", separatethousands=True
    )
    columns = ["Arm", f"Training, {unit} s", f"Per 1,000 dialogues, {unit} s", "After 1,000", "After 100,000"]
    alt = f"{unit} seconds spent on finetuning and serving over the number of dialogues; lines that cross are break-even volumes; the table holds the numbers."
    return Figure("cumulative_cost", _plot(traces, layout), alt, Table(columns, rows))


def _volumes(break_even: Sequence[int]) -> list[float]:
    """Dialogues from 10 to ten times beyond the last break-even, evenly on a log scale."""
    last = max([10_000, *(10 * volume for volume in break_even)])
    last = min(last, 10**9)
    steps = 60
    return [10 * (last / 10) ** (step / steps) for step in range(steps + 1)]


def memory_ledger(ledger: Sequence[MemoryRow]) -> Figure | None:
    """Device memory before, at the peak of and after each step's process; main memory where there is no device."""
    if not ledger:
        return None
    rows = list(reversed(ledger))
    on_device = any(row.peak is not None for row in rows)
    marks: list[tuple[str, str, list[float | None]]]
    if on_device:
        marks = [
            ("before", "line-ns-open", [row.before for row in rows]),
            ("peak", "circle", [row.peak for row in rows]),
            ("after", "diamond-open", [row.after for row in rows]),
        ]
    else:
        marks = [("peak of main memory", "circle", [row.peak_resident for row in rows])]
    colors = {"before": CATEGORICAL[0], "after": CATEGORICAL[2]}
    traces = []
    for title, symbol, values in marks:
        traces.append(
            go.Scatter(
                x=[value / 2**30 if value is not None else None for value in values],
                y=list(range(len(rows))),
                mode="markers",
                name=title,
                marker={
                    "symbol": symbol,
                    "size": 12,
                    "color": colors.get(title, COLORS["slm"]),
                    "line": {"width": 2, "color": colors.get(title, COLORS["slm"])},
                },
                hovertemplate=f"{title}: %{{x:.2f}} GiB<extra></extra>",
            )
        )
    layout = _layout(110 + 28 * len(rows), showlegend=True)
    layout.xaxis.update(title=f"GiB {'of device memory' if on_device else 'of main memory'}", rangemode="tozero")
    layout.yaxis.update(
        tickvals=list(range(len(rows))),
        ticktext=[plain(f"{row.arm} {row.step}") for row in rows],
        range=[-0.7, len(rows) - 0.3],
    )
    table = Table(
        ["Arm", "Step", "Before, GiB", "Peak, GiB", "After, GiB", "Main memory, GiB"],
        [
            [
                row.arm,
                row.step,
                gibibytes(row.before),
                gibibytes(row.peak),
                gibibytes(row.after),
                gibibytes(row.peak_resident),
            ]
            for row in ledger
        ],
    )
    alt = "Memory around each step's process; the table holds the numbers."
    return Figure("memory_ledger", _plot(traces, layout), alt, table)


# ---------------------------------------------------------------- files for a paper


def write_figures(figures: Sequence[Figure], folder: Path | str) -> list[Path]:
    """Write each figure as SVG, all in one run of Chromium; without Chromium say so and write none.

    The files name no time and no random number: the same figures give the same bytes with the same Chromium.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    browser = next(
        (
            found
            for name in ("chromium", "chromium-browser", "google-chrome", "chrome")
            if (found := shutil.which(name))
        ),
        None,
    )
    if browser is None:
        log.info(
            "%s: no SVG written: kaleido needs Chromium, and none is on PATH; the report itself is complete", folder
        )
        return []
    import kaleido  # imported late: it starts an event loop's worth of modules that a report without Chromium needs not

    written = []
    with tempfile.TemporaryDirectory() as scratch:
        wanted = [
            {
                "fig": _for_paper(figure.plot),
                "path": str(Path(scratch) / f"{figure.name}.svg"),
                "opts": {"format": "svg", "width": EXPORT_WIDTH, "height": figure.plot.layout.height},
            }
            for figure in figures
        ]
        kaleido.write_fig_from_object_sync(wanted, kopts={"mathjax": False, "timeout": 90, "path": browser})
        for figure in figures:
            target = folder / f"{figure.name}.svg"
            drawn = (Path(scratch) / target.name).read_text(encoding="utf-8")
            with replacing(target) as temporary:
                temporary.write_text(_without_random_ids(drawn), encoding="utf-8")
            written.append(target)
    return written


def _for_paper(plot: go.Figure) -> dict[str, Any]:
    copy = go.Figure(plot)
    copy.update_layout(paper_bgcolor=PAPER, plot_bgcolor=PAPER, font={"color": INK})
    return cast(dict[str, Any], copy.to_dict())


def _without_random_ids(svg: str) -> str:
    """Plotly's ids hold six random hex digits, the same throughout a drawing: named by order instead."""
    ids: dict[str, str] = {}
    return re.sub(
        r"(?<=[a-z-])([0-9a-f]{6})(?=x|y|-|\"|\)|')",
        lambda match: (
            ids.setdefault(match[1], f"{len(ids):06x}")
            if f"clip{match[1]}" in svg or f"defs-{match[1]}" in svg
            else match[1]
        ),
        svg,
    )


def _file_name(arm: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]", "_", arm)


def score_of(score: Score | None) -> str:
    return with_interval(score)
