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

# Rules that make something of the whole study.
WITHOUT_ARM = {"all", "compare", "compare_test_sets", "data_page", "prepare_data", "report"}

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
    """The workflow's graph as the rules of a study's scored arms imply it (Arm.rules)."""
    labels = {"data": "prepare_data", "compare": "compare", "report": "report"}
    edges: dict[tuple[str, str], None] = {("compare", "report"): None}
    for arm in arms:
        score = f"score {arm.path}"
        chain = [f"{rule} {arm.path}" for rule in arm.rules]
        candidates = [f"{_candidate_rule(arm)} {path}" for path in arm.best_of]
        labels |= {node: node for node in [*candidates, *chain, score]}
        for node in candidates:
            edges[node, chain[0]] = None
        made = [*candidates, *chain]
        for node in made:
            if node.partition(" ")[0] in ("choose", "choose_prompt"):
                continue
            edges["data", node] = None
            if arm.has_weights:
                model = f"fetch_model {arm.model}"
                labels[model] = model
                edges[model, node] = None
        edges.update(dict.fromkeys([*pairwise([*chain, score]), (score, "compare")]))
    return Graph(labels, list(edges))


def _candidate_rule(arm: Arm) -> str:
    """The rule that makes what an arm is chosen by: a candidate's adapter, or its answers to validation."""
    return arm.steps["finetune"] if arm.finetuned else f"{arm.steps['predict']}_validation"


def graph_of_mermaid(text: str) -> Graph:
    """The graph in what `snakemake --dag mermaid-js` prints, each node with its arm or model.

    Snakemake leaves out a wildcard that a job shares with one that it needs: it is taken over from there.
    """
    lines = text.splitlines()
    nodes = {match[1]: match[2].partition(" - ") for match in map(_NODE.match, lines) if match}
    edges = [(match[1], match[2]) for match in map(_EDGE.match, lines) if match]
    edges = [(first, second) for first, second in edges if first in nodes and second in nodes]
    rules = {node: rule.replace("fetch_sharing_model", "fetch_model") for node, (rule, _, _) in nodes.items()}
    written = {node: _wildcards(wildcards) for node, (_, _, wildcards) in nodes.items()}

    def of_arm(node: str) -> str:
        if rules[node] in WITHOUT_ARM:
            return ""
        needed = (first for first, second in edges if second == node and rules[first] != "fetch_model")
        return written[node] or next(filter(None, map(of_arm, needed)), "")

    return Graph({node: f"{rule} {of_arm(node)}".strip() for node, rule in rules.items()}, edges)


def _wildcards(wildcards: str) -> str:
    """`arm: slm/a, shard: 1` as `slm/a 1`."""
    return " ".join(part.partition(": ")[2] for part in wildcards.split(", ") if part)


def standalone(graph: Graph) -> str:
    """The graph as an SVG file that looks the same outside the page."""
    style = (
        "<style>path{fill:none;stroke:#57606a}rect{fill:#f6f7f9;stroke:#57606a}"
        "text{fill:#1f2328;font:12px sans-serif;text-anchor:middle;dominant-baseline:central}</style>"
        '<rect width="100%" height="100%" style="fill:#fff;stroke:none"/>'
    )
    opening, end, rest = str(draw(graph)).partition(">")
    return opening + end + style + rest


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
