"""The report's first two figures, which the verdict rests on: size against score, and paired differences."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence, Set
from itertools import product
from typing import Any, cast

import plotly.graph_objects as go

from slingshot.artifacts.comparison import ArmSummary, Comparison, PairComparison
from slingshot.artifacts.cost import ArmCost
from slingshot.config.models import parameters_of
from slingshot.report.figures.style import (
    COLORS,
    KINDS,
    NEUTRAL,
    ArmStyle,
    Figure,
    Table,
    error_bars,
    group_name,
    layout_of,
    plain,
    plot_of,
    styles_of,
    symbol_of,
)
from slingshot.report.formats import (
    MISSING,
    count,
    difference,
    level,
    number,
    p_value,
    sentence_case,
    with_interval,
)

LARGEST_MARKER, SMALLEST_MARKER = 30.0, 8.0  # pixels across

DODGE, WIDEST = 0.012, 0.05  # shares of the size axis: between arms of one size, and over all of them

FEW_PAIRS = 20

AXIS = "#8a8f98"


def serving_seconds(cost: ArmCost | None) -> float | None:
    """Device seconds per 1,000 dialogues."""
    return cost.per_1000_dialogues.device_seconds if cost else None


def unit_of(cost: ArmCost | None) -> str | None:
    """Whose seconds an arm took, GPU or CPU; None where its steps ran on both, as such seconds do not add up."""
    units = {step.unit for step in (cost.training, cost.predict) if step} if cost else set()
    return units.pop().upper() if len(units) == 1 else None


def size_against_score(comparison: Comparison, unit: str) -> Figure:
    """The estimand over parameters; the marker's area is the cost of serving, among arms on devices of its kind."""
    arms = comparison.arms
    sized = [arm for arm in arms if parameters_of(arm.size)]
    unsized = [arm for arm in arms if not parameters_of(arm.size)]
    costs = {arm.arm: serving_seconds(arm.cost) for arm in arms}
    units = {arm.arm: arm.cost.predict.unit.upper() for arm in arms if arm.cost and costs[arm.arm]}
    mixed = len(set(units.values())) > 1
    most = {unit: max(costs[path] or 0.0 for path, its in units.items() if its == unit) for unit in units.values()}
    areas = {path: (costs[path] or 0.0) / most[unit] for path, unit in units.items()}
    places, styles = _dodged(sized), styles_of(arms)
    beaten = beaten_by_tfidf(comparison)
    traces = []
    for kind, finetuned in product(KINDS, (False, True)):
        chosen = [arm for arm in sized if (arm.kind, arm.finetuned) == (kind, finetuned)]
        if chosen:
            traces.append(_markers(chosen, places, costs, units, areas, styles))
    layout = layout_of(
        430 if len(arms) <= 10 else 560,
        showlegend=True,
        annotations=_arm_labels(sized, places, beaten) + [_unsized_label(arm, beaten) for arm in unsized],
        shapes=[shape for arm in unsized for shape in _unsized_band(arm, styles[arm.arm].color)],
    )
    layout.xaxis.update(type="log", title="parameters", **_size_ticks(sized))
    measure = comparison.measure
    layout.yaxis.update(title=f"{measure}, %", rangemode="tozero")
    rows = [
        [
            f"{arm.arm} ({units[arm.arm]})" if mixed and arm.arm in units else arm.arm,
            arm.size or MISSING,
            with_interval(arm.score),
            count(arm.score.n),
            number(costs[arm.arm]),
        ]
        for arm in arms
    ]
    columns = ["Arm", "Parameters", f"{sentence_case(measure)}, %", "n", f"{unit} s per 1,000 dialogues"]
    texts = [f"{arm.arm}{f' ({arm.size})' if arm.size else ''}: {with_interval(arm.score)}." for arm in arms]
    alt = f"{sentence_case(measure)} in percent over model size. {' '.join(texts)}"
    notes = ["Seconds of a GPU and of a CPU can't be compared: areas are to scale among arms of one of them."]
    figure, both = plot_of(traces, layout), len({units[arm.arm] for arm in sized if arm.arm in units}) > 1
    return Figure("size_against_score", figure, alt, Table(columns, rows), notes if both else [])


def _dodged(arms: Sequence[ArmSummary]) -> dict[str, float]:
    """A place on the size axis for each arm: arms of one size stand side by side around it."""
    places = {}
    low, high = _size_range(arms)
    for size in {arm.size for arm in arms}:
        same = [arm for arm in arms if arm.size == size]
        step = (high - low) * min(DODGE, WIDEST / len(same))
        for index, arm in enumerate(same):
            places[arm.arm] = cast(float, parameters_of(size)) * 10 ** (step * (index - (len(same) - 1) / 2))
    return places


def _markers(
    arms: Sequence[ArmSummary],
    places: Mapping[str, float],
    costs: Mapping[str, float | None],
    units: Mapping[str, str],
    areas: Mapping[str, float],
    styles: Mapping[str, ArmStyle],
) -> go.Scatter:
    """Arms of one kind, whose hue they have, and treatment.

    Args:
        areas: of the arms whose cost is known, 1 for the dearest on its kind of device; small ones are drawn as large
            as can still be seen, and arms without one hollow.
    """
    kind, finetuned = arms[0].kind, arms[0].finetuned
    symbol = symbol_of(kind, finetuned)
    drawn = [areas.get(arm.arm) for arm in arms]
    texts = [
        f"<b>{plain(arm.arm)}</b><br>{plain(arm.name)}, {plain(arm.size)}"
        f"<br>{arm.measure} {with_interval(arm.score)} %, n = {count(arm.score.n)}"
        f"<br>{number(costs[arm.arm])} {units.get(arm.arm, 'device')} s per 1,000 dialogues"
        for arm in arms
    ]
    return go.Scatter(
        x=[places[arm.arm] for arm in arms],
        y=[100 * arm.score.value for arm in arms],
        error_y=error_bars([arm.score for arm in arms]) | {"color": COLORS[kind]},  # one colour per trace in Plotly
        mode="markers",
        name=group_name(kind, finetuned),
        marker={
            "color": [styles[arm.arm].color for arm in arms],
            "size": [max(SMALLEST_MARKER, LARGEST_MARKER * math.sqrt(area)) if area else 12.0 for area in drawn],
            "symbol": [symbol + ("" if area else "-open") for area in drawn],
            "opacity": 0.7,
        },
        text=texts,
        hovertemplate="%{text}<extra></extra>",
    )


def beaten_by_tfidf(comparison: Comparison) -> set[str]:
    """Arms that are significantly worse than TF-IDF, by their free answers."""
    tfidf = {arm.arm for arm in comparison.arms if arm.kind == "baseline"}
    found = set()
    for pair in comparison.comparisons:
        if pair.significant and pair.answer == "free":
            if pair.second in tfidf and pair.difference.value < 0:
                found.add(pair.first)
            elif pair.first in tfidf and pair.difference.value > 0:
                found.add(pair.second)
    return found


def _named(arm: ArmSummary, beaten: Set[str]) -> str:
    name = f"{arm.arm} (human agreement: the ceiling)" if arm.human else arm.arm
    return f"{name} (TF-IDF is better)" if arm.arm in beaten else name


def _arm_labels(arms: Sequence[ArmSummary], places: Mapping[str, float], beaten: Set[str]) -> list[dict[str, Any]]:
    """Names in columns to the right of the markers, moved apart where they would cover one another.

    A thin line leads from each name to its marker.
    """
    low, high = _size_range(arms)
    top = max((100 * arm.score.high for arm in arms), default=100)
    labels = []
    for cluster in _clusters(arms, 0.16 * (high - low)):
        cluster = sorted(cluster, key=lambda arm: -arm.score.value)
        column = math.log10(max(places[arm.arm] for arm in cluster)) + 0.045 * (high - low)
        heights = _spread([100 * arm.score.value for arm in cluster], 0.05 * top)
        labels += [
            {
                "x": math.log10(places[arm.arm]),
                "y": 100 * arm.score.value,
                "ax": column,
                "ay": height,
                "axref": "x",
                "ayref": "y",
                "arrowhead": 0,
                "arrowwidth": 0.6,
                "arrowcolor": AXIS,
                "standoff": 6,
                "xanchor": "left",
                "text": plain(_named(arm, beaten)),
                "font": {"size": 12},
            }
            for arm, height in zip(cluster, heights, strict=True)
        ]
    return labels


def _clusters(arms: Sequence[ArmSummary], gap: float) -> list[list[ArmSummary]]:
    """Arms whose sizes lie so close (in decades) that names beside them could meet."""
    clusters: list[list[ArmSummary]] = []
    last = -math.inf
    for arm in sorted(arms, key=lambda arm: cast(float, parameters_of(arm.size))):
        here = math.log10(cast(float, parameters_of(arm.size)))
        if here - last > gap:
            clusters.append([])
        clusters[-1].append(arm)
        last = here
    return clusters


def _spread(wanted: Sequence[float], gap: float) -> list[float]:
    """Falling heights at least `gap` apart, none below 0 if that can be, near the wanted ones on the whole."""
    heights: list[float] = []
    for height in wanted:
        heights.append(min(height, heights[-1] - gap) if heights else height)
    shift = sum(want - height for want, height in zip(wanted, heights, strict=True)) / max(len(heights), 1)
    shift = max(shift, -min(heights, default=0))
    return [height + shift for height in heights]


def _unsized_band(arm: ArmSummary, color: str) -> list[dict[str, Any]]:
    """A line and its interval across the plot: an arm that has no size."""
    score = arm.score
    across = {"xref": "paper", "x0": 0, "x1": 1, "yref": "y", "layer": "below"}
    low, middle, high = 100 * score.low, 100 * score.value, 100 * score.high
    return [
        across | {"type": "rect", "y0": low, "y1": high, "fillcolor": color, "opacity": 0.18, "line": {"width": 0}},
        across | {"type": "line", "y0": middle, "y1": middle, "line": {"color": color, "width": 1.5, "dash": "dash"}},
    ]


def _unsized_label(arm: ArmSummary, beaten: Set[str]) -> dict[str, Any]:
    return {
        "xref": "paper",
        "x": 0.005,
        "y": 100 * arm.score.value,
        "yanchor": "bottom",
        "xanchor": "left",
        "text": plain(_named(arm, beaten) + (" (size unknown)" if arm.kind in ("llm", "slm") else "")),
        "showarrow": False,
        "font": {"size": 12},
    }


def _size_range(arms: Sequence[ArmSummary]) -> tuple[float, float]:
    """The size axis in decades, with room on the right for names."""
    sizes = [math.log10(cast(float, parameters_of(arm.size))) for arm in arms]
    low, high = min(sizes, default=0), max(sizes, default=1)
    return low - 0.15, high + max(0.3, 0.4 * (high - low))


def _size_ticks(arms: Sequence[ArmSummary]) -> dict[str, Any]:
    """Ticks at the sizes that occur, thinned so that no two overlap."""
    if not arms:
        return {"visible": False}
    low, high = _size_range(arms)
    ticks: list[tuple[float, str | None]] = []
    for value, text in sorted({(cast(float, parameters_of(arm.size)), arm.size) for arm in arms}):
        if not ticks or math.log10(value / ticks[-1][0]) > 0.03 * (high - low):
            ticks.append((value, text))
    return {
        "tickvals": [value for value, _ in ticks],
        "ticktext": [plain(text) for _, text in ticks],
        "range": [low, high],
    }


def forest(pairs: Sequence[PairComparison], confidence: float, measure: str = "exact match") -> Figure:
    """Paired differences of the estimand with their simultaneous intervals, one row per pair."""
    test = "McNemar" if measure == "exact match" else "sign flips"
    rows = list(reversed(pairs))
    longest = max((len(_pair_text(pair)) for pair in rows), default=0)
    layout = layout_of(
        90 + (32 if len(rows) <= FEW_PAIRS else 26) * len(rows),
        showlegend=True,
        annotations=[_pair_label(pair, index) for index, pair in enumerate(rows)],
        shapes=[
            {"type": "line", "x0": 0, "x1": 0, "yref": "paper", "y0": 0, "y1": 1, "line": {"color": AXIS, "width": 1.5}}
            | {"layer": "below"}
        ],
    )
    # The text has a column of its own; report.js puts it above the intervals where the page is narrow.
    layout.xaxis.update(title="difference, percentage points", domain=[min(0.62, 6.6 * longest / 760), 1])
    layout.yaxis.update(visible=False, range=[-0.6, len(rows) - 0.1])
    columns = ["First", "Second", f"Difference, points [simultaneous {level(confidence)} interval]"]
    columns += ["Only first right", "Only second right", "p (pair alone)", "p (adjusted)", "n"]
    texts = " ".join(f"{pair.first} minus {pair.second}: {difference(pair.simultaneous)}." for pair in pairs[:20])
    alt = f"Paired differences of {measure} in percentage points. {texts}"
    table = Table(columns, [_pair_row(pair) for pair in pairs])
    return Figure("paired_differences", plot_of(_differences(rows, test), layout), alt, table)


def _differences(rows: Sequence[PairComparison], test: str) -> list[go.Scatter]:
    """Filled markers where the difference is significant, hollow ones where it is not."""
    traces = []
    for significant, texts in ((True, "significant in its family"), (False, "not significant")):
        chosen = [(index, pair) for index, pair in enumerate(rows) if pair.significant == significant]
        if not chosen:
            continue
        differences = [pair.simultaneous for _, pair in chosen]
        traces.append(
            go.Scatter(
                x=[100 * value.value for value in differences],
                y=[index for index, _ in chosen],
                error_x=error_bars(differences) | {"color": NEUTRAL},
                mode="markers",
                name=texts,
                marker={
                    "symbol": "circle" if significant else "circle-open",
                    "size": 10,
                    "color": NEUTRAL,
                    "line": {"width": 2, "color": NEUTRAL},
                },
                text=[_pair_hover_text(pair, test) for _, pair in chosen],
                hovertemplate="%{text}<extra></extra>",
            )
        )
    return traces


def _pair_label(pair: PairComparison, row: int) -> dict[str, Any]:
    """A pair's names and numbers in the column left of the intervals."""
    return {
        "xref": "paper",
        "x": 0,
        "xanchor": "left",
        "y": row,
        "showarrow": False,
        "align": "left",
        "text": plain(_pair_text(pair)),
        "font": {"size": 12},
    }


def _pair_text(pair: PairComparison) -> str:
    return f"{pair.first} − {pair.second}: {difference(pair.simultaneous)}"


def _pair_row(pair: PairComparison) -> list[str]:
    return [
        pair.first,
        pair.second,
        difference(pair.simultaneous),
        count(pair.only_first_right),
        count(pair.only_second_right),
        p_value(pair.p),
        p_value(pair.adjusted_p),
        count(pair.difference.n),
    ]


def _pair_hover_text(pair: PairComparison, test: str) -> str:
    of_seeds = max(pair.first_runs, pair.second_runs) > 1
    named = "p over samples and seeds," if of_seeds else "exact McNemar p" if test == "McNemar" else f"{test}, p"
    return (
        f"<b>{plain(pair.first)} − {plain(pair.second)}</b>"
        f"<br>{difference(pair.simultaneous)} points (simultaneous interval), n = {count(pair.difference.n)}"
        f"<br>only the first right: {count(pair.only_first_right)}, only the second: {count(pair.only_second_right)}"
        f"<br>{named} {p_value(pair.p)}, adjusted {p_value(pair.adjusted_p)}"
    )
