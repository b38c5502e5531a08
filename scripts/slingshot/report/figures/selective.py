"""Coverage against precision: which share of the dialogues an arm codes without a human, and how well."""

from __future__ import annotations

from collections.abc import Mapping

import plotly.graph_objects as go

from slingshot.artifacts.comparison import Comparison
from slingshot.report.figures.style import Figure, Table, layout_of, plain, plot_of, styles_of
from slingshot.report.formats import MISSING, number, percent, with_interval


def selective_coding(comparison: Comparison, kinds: Mapping[str, str]) -> Figure | None:
    """A curve per arm on test, with a marker where the threshold from validation lies; None without any."""
    found = comparison.selective
    if not found:
        return None
    wanted = found[0].wanted_precision
    traces = []
    styles = styles_of(comparison.arms)
    for one in found:
        traces.append(
            go.Scatter(
                x=[100 * point.coverage for point in one.curve],
                y=[100 * point.precision for point in one.curve],
                mode="lines",
                name=plain(one.arm),
                line=styles[one.arm].line(),
                hovertemplate=f"{plain(one.arm)}<br>%{{x:.1f}} % covered, %{{y:.1f}} % right<extra></extra>",
            )
        )
        if one.precision is not None:
            marker = {"color": styles[one.arm].color, "size": 10, "symbol": "diamond"}
            traces.append(
                go.Scatter(
                    x=[100 * one.coverage.value],
                    y=[100 * one.precision.value],
                    mode="markers",
                    marker=marker,
                    showlegend=False,
                    hovertemplate=f"{plain(one.arm)}: threshold of validation<extra></extra>",
                )
            )
    layout = layout_of(420, showlegend=True)
    layout.xaxis.update(title="coded without a human, % of the test samples", range=[0, 100])
    layout.yaxis.update(title="of these right, %")
    layout.update(shapes=[_line(100 * wanted)])
    rows = [
        [
            one.arm,
            kinds.get(one.arm, ""),
            MISSING if one.threshold is None else number(one.threshold),
            with_interval(one.coverage),
            with_interval(one.precision) if one.precision else MISSING,
        ]
        for one in found
    ]
    columns = ["Arm", "Kind", "Least probability", "Coverage, %", "Precision, %"]
    sentences = " ".join(f"{row[0]}: {row[3]} covered, {row[4]} right." for row in rows)
    alt = f"Precision in percent over coverage in percent, wanted {percent(wanted)}. {sentences}"
    return Figure("selective_coding", plot_of(traces, layout), alt, Table(columns, rows))


def _line(height: float) -> dict[str, object]:
    line = {"dash": "dot", "width": 1, "color": "#8a8f98"}
    return {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": height, "y1": height, "line": line}
