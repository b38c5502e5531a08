"""What the report's figures share: their record, colours, layout and the escaping of texts.

Colours and symbols tell kinds of arms apart on a light and on a dark ground, in print and to the colour-blind
(after Okabe and Ito 2008); no figure needs colour alone. Texts from data and models are escaped, as Plotly reads
some HTML.
"""

from __future__ import annotations

import html
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import plotly.graph_objects as go

from slingshot.report.formats import number

COLORS = {
    "llm": "#2f75b5",
    "slm": "#d1580b",
    "baseline": "#7a7a7a",
    "ensemble": "#1b8a63",
    "embedding": "#7a6bc9",
    "encoder": "#b5478f",
    "predictions": "#a07800",
}

SYMBOLS = {
    "llm": "square",
    "slm": "circle",
    "baseline": "diamond",
    "embedding": "triangle-up",
    "encoder": "cross",
    "predictions": "star",
}

KINDS = {
    "llm": "large",
    "slm": "small",
    "baseline": "TF-IDF",
    "embedding": "embedding",
    "encoder": "encoder",
    "predictions": "imported",
}

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

SIGNIFICANT, LEVEL_COLORS = "#00798c", ("#00798c", "#4fa3ad", "#8d6fb0", "#6b7280")  # no kind has one of these

DASHES = ("solid", "dash", "dot", "dashdot")

SEQUENTIAL = [[0.0, "#f2f6fb"], [0.3, "#cfe0f1"], [0.6, "#94bfe4"], [0.8, "#4a8ac6"], [1.0, "#0f4c8a"]]

INK, PAPER, GRID = "#1f2328", "#ffffff", "#d9dde2"


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


def plain(text: object) -> str:
    """A text from data or models as Plotly is to show it: its HTML is text, its line ends are spaces."""
    return html.escape(" ".join(str(text).split()), quote=False)


def shortened(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"


def layout_of(height: int, **settings: Any) -> go.Layout:
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


def plot_of(traces: Iterable[Any], layout: go.Layout) -> go.Figure:
    """A figure whose traces bear names of their own: else Plotly gives them random ones."""
    plot = go.Figure(data=list(traces), layout=layout)
    for index, trace in enumerate(plot.data):
        trace.uid = f"trace{index}"
    return plot


def log_ticks(values: Sequence[float]) -> dict[str, Any]:
    """A logarithmic axis around the values, with numbers at 1, 2 and 5 of each decade; at its powers of ten alone
    where there are many."""
    low, high = min(values) / 1.6, max(values) * 1.6
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = (1, 2, 5) if math.log10(high / low) < 3 else (1,)
    ticks = [step * 10.0**decade for decade in decades for step in steps if low <= step * 10.0**decade <= high]
    return {
        "type": "log",
        "range": [math.log10(low), math.log10(high)],
        "tickvals": ticks,
        "ticktext": [number(tick, 1) for tick in ticks],
    }


def group_name(kind: str, finetuned: bool) -> str:
    """What a legend calls arms of one kind and treatment; only language models come untrained and finetuned."""
    return f"{KINDS[kind]}, {'finetuned' if finetuned else 'untrained'}" if kind in ("llm", "slm") else KINDS[kind]


def error_bars(scores: Sequence[Any], scale: float = 100) -> dict[str, Any]:
    """Error bars from the estimates to the ends of their intervals."""
    return {
        "type": "data",
        "symmetric": False,
        "array": [scale * (score.high - score.value) for score in scores],
        "arrayminus": [scale * (score.value - score.low) for score in scores],
        "thickness": 1.5,
        "width": 4,
    }


def line_of(index: int, width: float = 2) -> dict[str, Any]:
    """The line of the index-th series: ten colours, then the same colours dashed."""
    dash = DASHES[index // len(CATEGORICAL) % len(DASHES)]
    return {"color": CATEGORICAL[index % len(CATEGORICAL)], "dash": dash, "width": width}


def file_name(arm: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]", "_", arm)
