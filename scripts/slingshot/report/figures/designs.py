"""The report's figures of what the designs say: learning curves, treatments crossed, seeds, score against cost."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import plotly.graph_objects as go

from slingshot.artifacts.comparison import ArmSummary, Comparison, DesignFindings, LinePoint, MeasuredCurve, TrainSize
from slingshot.artifacts.metrics import Score
from slingshot.report.figures.overview import AXIS, serving_seconds, unit_of
from slingshot.report.figures.style import (
    COLORS,
    KINDS,
    ArmStyle,
    Figure,
    Table,
    error_bars,
    group_name,
    layout_of,
    log_ticks,
    plain,
    plot_of,
    style_of_model,
    styles_of,
    symbol_of,
)
from slingshot.report.formats import MISSING, count, difference, number, percent, sentence_case, with_interval

SERVED = 1_000  # dialogues that the cost of an arm is reckoned for


def learning_curves(comparison: Comparison, designs: DesignFindings) -> Figure | None:
    """The estimand over train size with the fitted curves; arms without training lie across as bands."""
    if not designs.curves:
        return None
    untrained = [arm for arm in comparison.arms if not arm.finetuned]
    traces: list[go.Scatter] = []
    styles = styles_of(comparison.arms)
    for curve in designs.curves:
        style = style_of_model(curve.model, comparison.arms)
        if curve.line:
            traces += _fitted(curve.line, style)
        traces.append(_measured(curve, style, comparison.measure))
    layout = layout_of(
        460,
        showlegend=True,
        shapes=[shape for arm in untrained for shape in _band(arm.score, styles[arm.arm].color)],
        annotations=[_band_label(arm) for arm in untrained],
    )
    sizes = sorted({point.train_samples for curve in designs.curves for point in curve.points})
    layout.xaxis.update(type="log", title="train samples", tickvals=sizes, ticktext=[count(size) for size in sizes])
    layout.yaxis.update(title=f"{comparison.measure}, %", rangemode="tozero")
    rows = [
        [curve.model, count(point.train_samples), point.arm, with_interval(point.exact_match)]
        for curve in designs.curves
        for point in curve.points
    ]
    entries = [(curve, entry) for curve in designs.curves for entry in curve.break_even]
    alt = f"{sentence_case(comparison.measure)} over train size. " + " ".join(
        entry.sentence for _, entry in entries[:20]
    )
    table = Table(["Model", "Train samples", "Arm", f"{sentence_case(comparison.measure)}, %"], rows)
    return Figure("learning_curve", plot_of(traces, layout), alt, table)


def _fitted(points: Sequence[LinePoint], style: ArmStyle) -> list[go.Scatter]:
    """A fitted curve and, under it, its band."""
    sizes = [point.train_samples for point in points]
    around = [100 * point.high for point in points] + [100 * point.low for point in reversed(points)]
    quiet: dict[str, Any] = {"hoverinfo": "skip", "showlegend": False}
    band = go.Scatter(
        x=sizes + sizes[::-1], y=around, fill="toself", fillcolor=style.color, opacity=0.18, line={"width": 0}, **quiet
    )
    line = go.Scatter(x=sizes, y=[100 * point.value for point in points], mode="lines", line=style.line(), **quiet)
    return [band, line]


def _measured(curve: MeasuredCurve, style: ArmStyle, measure: str) -> go.Scatter:
    scores = [point.exact_match for point in curve.points]
    return go.Scatter(
        x=[point.train_samples for point in curve.points],
        y=[100 * score.value for score in scores],
        error_y=error_bars(scores) | {"color": style.color},
        mode="markers",
        name=plain(curve.model),
        marker={"size": 9, "color": style.color},
        text=[
            f"<b>{plain(point.arm)}</b><br>{count(point.train_samples)} train samples"
            f"<br>{measure} {with_interval(point.exact_match)} %"
            for point in curve.points
        ],
        hovertemplate="%{text}<extra></extra>",
    )


def _band(score: Score, color: str) -> list[dict[str, Any]]:
    """An arm without training across the plot: its interval as a band, its score as a line."""
    across = {"xref": "paper", "x0": 0, "x1": 1, "yref": "y", "layer": "below"}
    low, middle, high = 100 * score.low, 100 * score.value, 100 * score.high
    return [
        across | {"type": "rect", "y0": low, "y1": high, "fillcolor": color, "opacity": 0.12, "line": {"width": 0}},
        across | {"type": "line", "y0": middle, "y1": middle, "line": {"color": color, "width": 1.2, "dash": "dash"}},
    ]


def _band_label(arm: ArmSummary) -> dict[str, Any]:
    return {
        "xref": "paper",
        "x": 0.005,
        "xanchor": "left",
        "y": 100 * arm.score.value,
        "yanchor": "bottom",
        "text": plain(arm.arm),
        "showarrow": False,
        "font": {"size": 12},
    }


def train_size(size: TrainSize | None) -> str:
    """A train size, or on which side of the measured range it lies; a dash where no curve gives one."""
    if size is None:
        return MISSING
    return {"below": "below the range", "above": "above the range"}.get(size.place) or count(size.train_samples)


def interaction(comparison: Comparison, designs: DesignFindings) -> Figure | None:
    """The estimand untrained and finetuned, one line per model: lines that are not parallel are an interaction."""
    if not designs.gains:
        return None
    arms = {arm.arm: arm for arm in comparison.arms}
    traces = []
    for index, gain in enumerate(designs.gains):
        ends = [arms[gain.untrained], arms[gain.finetuned]]
        size = f", {plain(ends[0].size)}" if ends[0].size else ""
        shift = 0.02 * (index - (len(designs.gains) - 1) / 2)
        traces.append(
            go.Scatter(
                x=[shift, 1 + shift],
                y=[100 * arm.score.value for arm in ends],
                error_y=error_bars([arm.score for arm in ends]),
                mode="lines+markers",
                name=f"{plain(gain.model)}{size}",
                line=style_of_model(gain.model, comparison.arms).line(),
                marker={"size": 10, "symbol": ["square", "circle"]},
                text=[f"<b>{plain(arm.arm)}</b><br>{arm.measure} {with_interval(arm.score)} %" for arm in ends],
                hovertemplate="%{text}<extra></extra>",
            )
        )
    layout = layout_of(420, showlegend=True)
    layout.xaxis.update(tickvals=[0, 1], ticktext=["untrained", "finetuned"], range=[-0.3, 1.3])
    layout.yaxis.update(title=f"{comparison.measure}, %", rangemode="tozero")
    rows = [
        [
            gain.model,
            with_interval(arms[gain.untrained].score),
            with_interval(arms[gain.finetuned].score),
            difference(gain.difference),
        ]
        for gain in designs.gains
    ]
    texts = " ".join(f"{row[0]}: {row[1]} untrained, {row[2]} finetuned." for row in rows)
    table = Table(["Model", "Untrained, %", "Finetuned, %", "Gain, points"], rows)
    alt = f"{sentence_case(comparison.measure)} before and after finetuning. {texts}"
    return Figure("interaction", plot_of(traces, layout), alt, table)


def seeds(comparison: Comparison, designs: DesignFindings) -> Figure | None:
    """Each seed's score with its interval over samples, and the mean with its interval over both."""
    if not designs.seeds:
        return None
    traces, rows, names = [], [], []
    for index, variation in enumerate(designs.seeds):
        names.append(plain(variation.model))
        color = style_of_model(variation.model, comparison.arms).color
        m = len(variation.runs)
        heights = [-index + 0.3 * (1 - 2 * place / m) for place in range(m)]
        runs = [run.exact_match for run in variation.runs]
        texts = [
            f"<b>{plain(run.arm)}</b><br>seed {run.seed}, {with_interval(run.exact_match)} %" for run in variation.runs
        ]
        traces.append(_row(runs, heights, "a seed, over samples", color, "circle-open", texts, index == 0))
        mean = f"<b>{plain(variation.model)}</b><br>mean of {m} seeds, {with_interval(variation.mean)} %"
        traces.append(
            _row(
                [variation.mean],
                [-index - 0.36],
                "mean, over seeds and samples",
                color,
                "diamond",
                [mean],
                index == 0,
            )
        )
        rows += [
            [run.arm, MISSING if run.seed is None else str(run.seed), with_interval(run.exact_match)]
            for run in variation.runs
        ]
        rows.append([f"{variation.model}, mean", f"{m} seeds", with_interval(variation.mean)])
    layout = layout_of(110 + 100 * len(designs.seeds), showlegend=True)
    layout.xaxis.update(title=f"{comparison.measure}, %")
    layout.yaxis.update(tickvals=[-index for index in range(len(names))], ticktext=names, range=[0.6 - len(names), 0.6])
    alt = " ".join(
        f"{each.model}: mean {with_interval(each.mean)} % over {len(each.runs)} seeds, standard deviation between "
        f"seeds {percent(each.between_seeds)} points, standard error over samples {percent(each.between_samples)}."
        for each in designs.seeds
    )
    table = Table(["Arm", "Seed", f"{sentence_case(comparison.measure)}, %"], rows)
    return Figure("seeds", plot_of(traces, layout), alt, table)


def _row(
    scores: Sequence[Any], heights: Sequence[float], name: str, color: str, symbol: str, texts: list[str], legend: bool
) -> go.Scatter:
    return go.Scatter(
        x=[100 * score.value for score in scores],
        y=list(heights),
        error_x=error_bars(scores) | {"color": color},
        mode="markers",
        name=name,
        legendgroup=name,
        showlegend=legend,
        marker={"symbol": symbol, "size": 9, "color": color, "line": {"width": 2, "color": color}},
        text=texts,
        hovertemplate="%{text}<extra></extra>",
    )


def pareto(comparison: Comparison, unit: str) -> Figure | None:
    """The estimand over the seconds of training and serving, and the arms that no other beats in both.

    Seconds of a GPU and of a CPU have a front each. None where fewer than two arms' costs are known.
    """
    costs = {arm.arm: cost for arm in comparison.arms if (cost := total_seconds(arm))}
    known = [arm for arm in comparison.arms if arm.arm in costs]
    if len(known) < 2:
        return None
    fronts = {
        of: front_of([arm for arm in known if unit_of(arm.cost) == of], costs)
        for of in dict.fromkeys(unit_of(arm.cost) or unit for arm in known)
    }
    mixed = len(fronts) > 1
    traces = [_front_line(front, costs, f", {of}" if mixed else "") for of, front in fronts.items()]
    for kind, finetuned in product(KINDS, (False, True)):
        chosen = [arm for arm in known if (arm.kind, arm.finetuned) == (kind, finetuned)]
        if chosen:
            traces.append(_costed(chosen, costs, styles_of(comparison.arms)))
    front = [arm for each in fronts.values() for arm in each]
    names = {arm.arm for arm in front}
    layout = layout_of(430, showlegend=True, annotations=[_name_beside(arm, costs) for arm in front])
    layout.xaxis.update(
        title=f"{unit} seconds of training and of {SERVED:,} dialogues", **log_ticks(list(costs.values()))
    )
    layout.yaxis.update(title=f"{comparison.measure}, %", rangemode="tozero")
    rows = [
        [
            f"{arm.arm} ({unit_of(arm.cost)})" if mixed else arm.arm,
            number(costs[arm.arm]),
            with_interval(arm.score),
            "yes" if arm.arm in names else "",
        ]
        for arm in sorted(known, key=lambda arm: costs[arm.arm])
    ]
    alt = f"{sentence_case(comparison.measure)} over {unit} seconds of training and serving {SERVED:,} dialogues. " + (
        " ".join(
            f"On the Pareto front{f' of {of} seconds' if mixed else ''}: {', '.join(arm.arm for arm in each)}."
            for of, each in fronts.items()
        )
    )
    table = Table(["Arm", f"{unit} seconds", f"{sentence_case(comparison.measure)}, %", "On the front"], rows)
    notes = ["Seconds of a GPU and of a CPU can't be compared: each has a front of its own."] if mixed else []
    return Figure("pareto_front", plot_of(traces, layout), alt, table, notes)


def total_seconds(arm: ArmSummary) -> float | None:
    """Device seconds of finetuning and of answering SERVED dialogues.

    None where either was not measured, or one was on a GPU and the other on a CPU.
    """
    serving = serving_seconds(arm.cost)
    if not serving or arm.cost is None or (arm.finetuned and arm.cost.training is None) or unit_of(arm.cost) is None:
        return None
    trained = arm.cost.training.device_seconds if arm.cost.training else 0
    return (trained or 0) + serving * SERVED / 1000


def front_of(arms: Sequence[ArmSummary], costs: dict[str, float]) -> list[ArmSummary]:
    """Arms than which no other costs less and scores at least as high (Pareto's front), by rising cost."""
    front: list[ArmSummary] = []
    for arm in sorted(arms, key=lambda arm: (costs[arm.arm], -arm.score.value)):
        if not front or arm.score.value > front[-1].score.value:
            front.append(arm)
    return front


def _front_line(front: Sequence[ArmSummary], costs: dict[str, float], of: str) -> go.Scatter:
    return go.Scatter(
        x=[costs[arm.arm] for arm in front],
        y=[100 * arm.score.value for arm in front],
        mode="lines",
        name=f"Pareto front{of}",
        line={"color": AXIS, "width": 1.5, "dash": "dot", "shape": "hv"},
        hoverinfo="skip",
    )


def _costed(arms: Sequence[ArmSummary], costs: dict[str, float], styles: Mapping[str, ArmStyle]) -> go.Scatter:
    """Arms of one kind, whose hue they have, and treatment."""
    kind, finetuned = arms[0].kind, arms[0].finetuned
    return go.Scatter(
        x=[costs[arm.arm] for arm in arms],
        y=[100 * arm.score.value for arm in arms],
        error_y=error_bars([arm.score for arm in arms]) | {"color": COLORS[kind]},
        mode="markers",
        name=group_name(kind, finetuned),
        marker={
            "size": 11,
            "color": [styles[arm.arm].color for arm in arms],
            "symbol": symbol_of(kind, finetuned),
        },
        text=[
            f"<b>{plain(arm.arm)}</b><br>{number(costs[arm.arm])} {unit_of(arm.cost)} s"
            f"<br>{arm.measure} {with_interval(arm.score)} %"
            for arm in arms
        ],
        hovertemplate="%{text}<extra></extra>",
    )


def _name_beside(arm: ArmSummary, costs: dict[str, float]) -> dict[str, Any]:
    """The name on the side of the marker where the plot has room."""
    low, high = math.log10(min(costs.values())), math.log10(max(costs.values()))
    left = math.log10(costs[arm.arm]) < low + (high - low) / 3
    return {
        "x": math.log10(costs[arm.arm]),
        "y": 100 * arm.score.value,
        "xshift": 8 if left else -8,
        "yshift": 8,
        "xanchor": "left" if left else "right",
        "yanchor": "bottom",
        "text": plain(arm.arm),
        "showarrow": False,
        "font": {"size": 12},
    }
