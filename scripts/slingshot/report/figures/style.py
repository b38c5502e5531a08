"""What the report's figures share: their record, colours, layout and the escaping of texts.

Colours and symbols distinguish kinds of arms on a light and on a dark ground, in print and for the colour-blind
(after Okabe and Ito 2008); no figure needs colour alone. Texts from data and models are escaped, as Plotly reads
some HTML.
"""

from __future__ import annotations

import html
import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import plotly.graph_objects as go

from slingshot.artifacts.comparison import ArmSummary
from slingshot.report.formats import number

# One meaning per colour: the hue is an arm's kind, its shade the arm, in every figure. What is no arm is neutral.
COLORS = {
    "llm": "#2f75b5",
    "slm": "#d1580b",
    "baseline": "#00798c",
    "embedding": "#7a6bc9",
    "encoder": "#b5478f",
    "predictions": "#a07800",
}

NEUTRAL = "#737b87"  # 4.2 on the light ground and 4.1 on the dark one (WCAG's contrast)

SHADES = (0.0, 0.3, -0.3)  # of a kind's first, second and third arm: mixed with white, or with black below 0

DASHES = ("solid", "dash", "dot", "dashdot")

KINDS = {
    "llm": "large",
    "slm": "small",
    "baseline": "TF-IDF",
    "embedding": "embedding",
    "encoder": "encoder",
    "predictions": "imported",
}

# Of a share, from 0 to 100%: lightness alone, in no kind's hue.
SEQUENTIAL = [[0.0, "#f3f4f6"], [0.3, "#d3d7dd"], [0.6, "#a3abb6"], [0.8, "#6a7483"], [1.0, "#39424f"]]

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
    """A figure whose traces have fixed ids: Plotly would give them random ones."""
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


@dataclass(frozen=True)
class ArmStyle:
    """How an arm looks in every figure."""

    color: str
    dash: str
    symbol: str

    def line(self, width: float = 2) -> dict[str, Any]:
        return {"color": self.color, "dash": self.dash, "width": width}


def styles_of(arms: Sequence[ArmSummary]) -> dict[str, ArmStyle]:
    """Arm to its style: three shades and four dashes distinguish twelve arms of one kind."""
    styles: dict[str, ArmStyle] = {}
    count: Counter[str] = Counter()
    for arm in arms:
        place = count[arm.kind]
        count[arm.kind] += 1
        color = mix_color(COLORS[arm.kind], SHADES[place % len(SHADES)])
        styles[arm.arm] = ArmStyle(color, DASHES[place % len(DASHES)], symbol_of(arm.kind, arm.finetuned))
    return styles


def style_of_model(model: str, arms: Sequence[ArmSummary]) -> ArmStyle:
    """The style of what stands for a model under several treatments: its finetuned arm's, else its first arm's."""
    own = sorted((arm for arm in arms if arm.model == model), key=lambda arm: (not arm.finetuned, arm.design or ""))
    return styles_of(arms)[own[0].arm]


def symbol_of(kind: str, finetuned: bool) -> str:
    """A marker: of language models a circle is finetuned, a square is not; rivals have one each."""
    if kind in ("llm", "slm"):
        return "circle" if finetuned else "square"
    return {"baseline": "diamond", "embedding": "triangle-up", "encoder": "cross", "predictions": "star"}[kind]


def mix_color(color: str, share: float) -> str:
    """A colour (#rrggbb) with a share of white in it, or of black where the share is below 0."""
    ground = 255 if share > 0 else 0
    parts = (int(color[place : place + 2], 16) for place in (1, 3, 5))
    return "#" + "".join(f"{round(part + (ground - part) * abs(share)):02x}" for part in parts)


def file_name(arm: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]", "_", arm)
