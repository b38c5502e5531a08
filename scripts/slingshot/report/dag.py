"""The workflow's graph as an SVG: layers from left to right, drawn without any layout program.

A layered drawing in the manner of Sugiyama et al. 1981: layers by longest path to the sink, the order within a layer
by barycenters in one pass from the report backwards, which sets an arm's steps in one row; edges as curves.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup, escape

from slingshot.config.arms import Arm

COLUMN, ROW, BOX_HEIGHT, CHARACTER, PADDING = 34, 34, 24, 6.7, 16

_NODE = re.compile(r"^\s*(id\d+)\[(.*)\]\s*$")

_EDGE = re.compile(r"^\s*(id\d+)\s*-->\s*(id\d+)\s*$")


@dataclass(frozen=True)
class Graph:
    """Node ids to their labels, and edges from what is made first to what needs it."""

    labels: dict[str, str]
    edges: list[tuple[str, str]]

    def needs(self, node: str) -> list[str]:
        """Labels of the steps that a step needs."""
        return [self.labels[first] for first, second in self.edges if second == node]


def graph_of_arms(arms: Sequence[Arm]) -> Graph:
    """The workflow's graph as the arms of a study imply it."""
    labels = {"data": "prepare_data", "compare": "compare", "report": "report"}
    edges = [("compare", "report")]
    for arm in arms:
        score = f"score {arm.path}"
        labels[score] = score
        edges.append((score, "compare"))
        steps = list(arm.steps.values()) or ["import_predictions"]
        nodes = [f"{step} {arm.path}" for step in steps]
        for node in nodes:
            labels[node] = node
            edges.append(("data", node))
            if arm.has_weights:
                model = f"model {arm.model}"
                labels[model] = f"fetch_model {arm.model}"
                edges.append((model, node))
        edges += pairwise([*nodes, score])
    return Graph(labels, edges)


def graph_of_mermaid(text: str) -> Graph:
    """The graph in what `snakemake --dag mermaid-js` prints."""
    lines = text.splitlines()
    labels = {match[1]: match[2] for match in map(_NODE.match, lines) if match}
    edges = [(match[1], match[2]) for match in map(_EDGE.match, lines) if match]
    return Graph(labels, [(first, second) for first, second in edges if first in labels and second in labels])


def draw(graph: Graph) -> Markup:
    """The graph as an inline SVG that takes its colours from the page. Labels are escaped."""
    layers = _layers(graph)
    width, height, boxes = _places(graph, layers)
    parts = [
        f'<svg class="dag" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" '
        f'width="{width:.0f}" height="{height:.0f}" role="img" aria-label="Steps of the study and what each one needs">'
    ]
    for first, second in graph.edges:
        x, y, box = boxes[first]
        start, end, goal = x + box, boxes[second][0], boxes[second][1]
        bend = max(COLUMN * 0.9, (end - start) / 2)
        parts.append(
            f'<path d="M{start:.1f} {y:.1f} C{start + bend:.1f} {y:.1f} {end - bend:.1f} {goal:.1f} '
            f'{end:.1f} {goal:.1f}"/>'
        )
    for node, (x, y, box) in boxes.items():
        parts.append(
            f'<g><rect x="{x:.1f}" y="{y - BOX_HEIGHT / 2:.1f}" width="{box:.1f}" height="{BOX_HEIGHT}" rx="4"/>'
            f'<text x="{x + box / 2:.1f}" y="{y:.1f}">{escape(graph.labels[node])}</text></g>'
        )
    return Markup("".join(parts) + "</svg>")


def _layers(graph: Graph) -> list[list[str]]:
    """Nodes by their longest path to a sink, first steps first, each layer in the order of the next."""
    after: dict[str, list[str]] = defaultdict(list)
    for first, second in graph.edges:
        after[first].append(second)
    depth: dict[str, int] = {}

    def depth_of(node: str) -> int:
        if node not in depth:
            depth[node] = 0  # a loop, which no workflow has, ends here instead of recursing for ever
            depth[node] = 1 + max((depth_of(child) for child in after[node]), default=-1)
        return depth[node]

    deepest = max((depth_of(node) for node in graph.labels), default=0)
    layers: list[list[str]] = [[] for _ in range(deepest + 1)]
    for node in graph.labels:
        layers[deepest - depth[node]].append(node)
    for layer, following in reversed(list(pairwise(layers))):
        _order(layer, following, after)
    return layers


def _order(layer: list[str], following: list[str], after: dict[str, list[str]]) -> None:
    """Sort a layer by the mean height of what its nodes lead to in the next one, counted from the middle."""
    heights = {node: index - (len(following) - 1) / 2 for index, node in enumerate(following)}
    own = {node: index - (len(layer) - 1) / 2 for index, node in enumerate(layer)}

    def middle(node: str) -> float:
        joined = [heights[other] for other in after[node] if other in heights]
        return sum(joined) / len(joined) if joined else own[node]

    layer.sort(key=middle)


def _places(graph: Graph, layers: list[list[str]]) -> tuple[float, float, dict[str, tuple[float, float, float]]]:
    """Width and height of the drawing, and each node's left edge, middle and box width, in pixels."""
    height = ROW * max((len(layer) for layer in layers), default=1) + 2
    boxes: dict[str, tuple[float, float, float]] = {}
    left = 1.0
    for layer in layers:
        widest = max((len(graph.labels[node]) for node in layer), default=0) * CHARACTER + PADDING
        top = (height - ROW * len(layer)) / 2
        for index, node in enumerate(layer):
            boxes[node] = (left, top + ROW * (index + 0.5), widest)
        left += widest + COLUMN * 1.6
    return left - COLUMN * 1.6 + 1, height, boxes
