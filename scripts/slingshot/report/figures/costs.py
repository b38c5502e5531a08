"""The report's figures of what the arms took: training, cost, memory."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

import plotly.graph_objects as go

from slingshot.artifacts.comparison import ArmSummary, Comparison
from slingshot.artifacts.cost import MemoryRow
from slingshot.report.figures.overview import serving_seconds, unit_of
from slingshot.report.figures.style import (
    NEUTRAL,
    PAPER,
    ArmStyle,
    Figure,
    Table,
    layout_of,
    log_ticks,
    plain,
    plot_of,
    styles_of,
)
from slingshot.report.formats import count, gibibytes, number

MOST_POINTS = 400  # of a training curve

Points = Sequence[tuple[float, float]]


def training_curves(
    logs: Mapping[str, Sequence[Mapping[str, Any]]],
    best_steps: Mapping[str, int | None],
    styles: Mapping[str, ArmStyle],
) -> Figure:
    """Loss in training (thin) and on validation (thick) over optimizer steps; a star marks the step that was kept."""
    traces: list[go.Scatter] = []
    rows = []
    notes = []
    for arm, lines in logs.items():
        losses, evaluated = _points(lines, "loss"), _points(lines, "validation_loss")
        run = math.ceil(len(losses) / MOST_POINTS)
        if run > 1:
            notes.append(f"{arm}: each point of training stands for the mean of {run} steps.")
        best = best_steps.get(arm)
        traces += _curves(arm, styles[arm], _means(losses, run), evaluated, best)
        rows += [[arm, count(step), number(loss, 4), "kept" if step == best else ""] for step, loss in evaluated]
    layout = layout_of(400 + 10 * len(logs), showlegend=True)
    layout.xaxis.update(title="optimizer step", rangemode="tozero")
    layout.yaxis.update(title="loss", rangemode="tozero")
    alt = f"Training and validation loss over optimizer steps of {', '.join(logs)}; the table holds validation losses."
    table = Table(["Arm", "Step", "Validation loss", "Kept"], rows)
    return Figure("training_curves", plot_of(traces, layout), alt, table, notes)


def _points(lines: Sequence[Mapping[str, Any]], key: str) -> Points:
    return [(line["step"], line[key]) for line in lines if line.get(key) is not None]


def _means(points: Points, run: int) -> Points:
    """Means over runs of N steps, each at its run's last step."""
    chunks = [points[start : start + run] for start in range(0, len(points), max(run, 1))]
    return [(chunk[-1][0], sum(loss for _, loss in chunk) / len(chunk)) for chunk in chunks]


def _curves(arm: str, style: ArmStyle, losses: Points, evaluated: Points, best: int | None) -> list[go.Scatter]:
    """An arm's curve in training, on validation where it was evaluated, and the star of the step that was kept."""
    name = plain(arm)
    curves = [_curve(losses, f"{name}, training", style.line(1), "lines", arm, opacity=0.6)]
    if evaluated:
        curves.append(_curve(evaluated, f"{name}, validation", style.line(2.5), "lines+markers", arm))
    kept = [(step, loss) for step, loss in evaluated if step == best]
    if kept:
        star = {"symbol": "star", "size": 16, "color": style.color, "line": {"width": 1, "color": PAPER}}
        curves.append(_curve(kept, f"{name}, kept", style.line(), "markers", arm, marker=star, showlegend=False))
    return curves


def _curve(points: Points, name: str, line: dict[str, Any], mode: str, arm: str, **style: Any) -> go.Scatter:
    return go.Scatter(
        x=[step for step, _ in points],
        y=[round(loss, 5) for _, loss in points],
        mode=mode,
        name=name,
        line=line,
        legendgroup=arm,
        hovertemplate=f"{name}<br>step %{{x}}: %{{y:.4f}}<extra></extra>",
        **style,
    )


def cumulative_cost(comparison: Comparison, unit: str) -> Figure | None:
    """Device seconds of finetuning and serving over the number of dialogues, one line per arm whose cost is known.

    None where no arm's is.
    """
    known = [arm for arm in comparison.arms if _training_seconds(arm) is not None and serving_seconds(arm.cost)]
    if not known:
        return None
    mixed = len({unit_of(arm.cost) for arm in known}) > 1
    entries = [entry for entry in comparison.break_even if entry.resource == "device_seconds"]
    volumes = _volumes([entry.dialogues for entry in entries if entry.dialogues])
    styles = styles_of(comparison.arms)
    names = {arm.arm: f"{arm.arm} ({unit_of(arm.cost)})" if mixed else arm.arm for arm in known}
    traces = [_cost_line(arm, names[arm.arm], styles[arm.arm], volumes) for arm in known]
    layout = layout_of(380 + 8 * len(known), showlegend=True)
    layout.xaxis.update(title="dialogues", **log_ticks(volumes))
    spent = [_spent(arm, volume) for arm in known for volume in (volumes[0], volumes[-1])]
    layout.yaxis.update(title=f"{unit} seconds, training included", **log_ticks(spent))
    columns = ["Arm", f"Training, {unit} s", f"Per 1,000 dialogues, {unit} s", "After 1,000", "After 100,000"]
    rows = [
        [names[arm.arm], number(_training_seconds(arm)), number(serving_seconds(arm.cost))]
        + [number(_spent(arm, volume)) for volume in (1_000, 100_000)]
        for arm in known
    ]
    alt = f"{unit} seconds of finetuning and serving over the number of dialogues; the table holds the numbers."
    apart = "Seconds of a GPU and of a CPU can't be compared: a crossing of a line of each says nothing."
    notes = [apart] if mixed else []
    return Figure("cumulative_cost", plot_of(traces, layout), alt, Table(columns, rows), notes)


def _training_seconds(arm: ArmSummary) -> float | None:
    """Device seconds of finetuning, 0 for an arm that needs none; None where they are not known or of another unit than
    those of serving."""
    if arm.cost is None or unit_of(arm.cost) is None:
        return None
    if not arm.finetuned:
        return 0.0
    return arm.cost.training.device_seconds if arm.cost.training else None


def _spent(arm: ArmSummary, volume: float) -> float:
    return cast(float, _training_seconds(arm)) + cast(float, serving_seconds(arm.cost)) * volume / 1000


def _volumes(break_even: Sequence[int]) -> list[float]:
    """Dialogues from 10 to ten times beyond the last break-even, evenly on a log scale."""
    last = min(max([10_000, *(10 * volume for volume in break_even)]), 10**9)
    steps = 60
    return [10 * (last / 10) ** (step / steps) for step in range(steps + 1)]


def _cost_line(arm: ArmSummary, name: str, style: ArmStyle, volumes: Sequence[float]) -> go.Scatter:
    shown = f"<b>{plain(arm.arm)}</b><br>%{{x:,.0f}} dialogues: %{{y:,.0f}} {unit_of(arm.cost)} s<extra></extra>"
    return go.Scatter(
        x=volumes,
        y=[_spent(arm, volume) for volume in volumes],
        mode="lines",
        name=plain(name),
        line=style.line(),
        hovertemplate=shown,
    )


def memory_ledger(ledger: Sequence[MemoryRow]) -> Figure | None:
    """Device memory before, at the peak of and after each step's process; main memory where there is no device."""
    if not ledger:
        return None
    rows = list(reversed(ledger))
    on_device = any(row.peak is not None for row in rows)
    if on_device:
        traces = [
            _memory_marks("before", [row.before for row in rows], "line-ns-open"),
            _memory_marks("peak", [row.peak for row in rows], "circle"),
            _memory_marks("after", [row.after for row in rows], "diamond-open"),
        ]
    else:
        traces = [_memory_marks("peak", [row.peak_resident for row in rows], "circle")]
    layout = layout_of(110 + 28 * len(rows), showlegend=on_device)
    layout.xaxis.update(title=f"GiB of {'device' if on_device else 'main'} memory", rangemode="tozero")
    names = [plain(f"{row.arm} {row.step}") for row in rows]
    layout.yaxis.update(tickvals=list(range(len(rows))), ticktext=names, range=[-0.7, len(rows) - 0.3])
    columns = ["Arm", "Step", "Before, GiB", "Peak, GiB", "After, GiB", "Main memory, GiB"]
    numbers = [
        [row.arm, row.step, *map(gibibytes, (row.before, row.peak, row.after, row.peak_resident))] for row in ledger
    ]
    alt = "Memory around each step's process; the table holds the numbers."
    return Figure("memory_ledger", plot_of(traces, layout), alt, Table(columns, numbers))


def _memory_marks(name: str, values: Sequence[int | None], symbol: str) -> go.Scatter:
    return go.Scatter(
        x=[value / 2**30 if value is not None else None for value in values],
        y=list(range(len(values))),
        mode="markers",
        name=name,
        marker={"symbol": symbol, "size": 12, "color": NEUTRAL, "line": {"width": 2, "color": NEUTRAL}},
        hovertemplate=f"{name}: %{{x:.2f}} GiB<extra></extra>",
    )
