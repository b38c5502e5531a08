"""Which sets of labels may be answered: a list of lines, a label each, none of them twice.

The trie of allowed answers has two sections: the paths of a list's first line, which follows the prompt, and those of
a later line, which follows a line. Each label has two paths in each, one that ends the answer and one that ends in a
separator; behind a separator the walk begins again at the root of the later lines. A label that was named is closed by
counting: a node is open while fewer of its paths are closed than it has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from slingshot.core.errors import StudyError
from slingshot.generation.answer_trie import AnswerTrie, digest_of_paths, lay_out_edges, link_nodes, until_end

Path = tuple[int, ...]


@dataclass(frozen=True)
class SetTrie(AnswerTrie):
    """`label` is an index into `labels` at the end of each path; `len(labels)` stands for the empty set."""

    later: int  # the root of the lines after the first
    goes_on: Tensor  # (nodes,) int64: where a walk goes on from a node: there, or behind a separator at `later`
    ends: Tensor  # (nodes,) bool: the answer ends there
    size: Tensor  # (nodes,) int32: paths that lead through the node
    own: Tensor  # (labels + 1, most) int64: the later lines' nodes of a label, once for each path, padded with `nodes`
    end: int  # the token that ends an answer
    lines: tuple[Mapping[Path, int], Mapping[Path, int]]  # whole paths of first and later lines to labels

    def steps(self, max_new_tokens: int) -> int:
        """Tokens of the longest answer: a list is cut at `max_new_tokens`."""
        return max(max_new_tokens, self.depth)

    def nothing_used(self, rows: int) -> Tensor:
        """The state of `rows` answers that have not begun: (rows, nodes + 1), each node's closed paths."""
        return torch.zeros(rows, len(self.size) + 1, dtype=torch.int32, device=self.token.device)

    def allowed(self, nodes: Tensor, used: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """`children` of nodes (rows,) that lead to a label which is not named yet: (rows, most_children) each."""
        edge, token, exists = self.children(nodes)
        child = self.child[edge]
        is_open = used.gather(1, child) < self.size[child]
        return edge, token, exists & (is_open | (child == nodes[:, None]))

    def step(self, nodes: Tensor, used: Tensor, edge: Tensor, moves: Tensor) -> tuple[Tensor, Tensor]:
        """Walk along edges (rows,); a label that ends there is closed in `used`, in the rows that move.

        Returns: the nodes to go on from, and whether the answer has ended, (rows,) each.
        """
        child = self.child[edge]
        label = self.label[child]
        closed = self.own[label.clamp(min=0)]
        counts = moves & (label >= 0) & (child != nodes)
        used.scatter_add_(1, closed, counts[:, None].expand_as(closed).to(used.dtype))
        return self.goes_on[child], self.ends[child]

    def choose(self, logits: Tensor, nodes: Tensor, used: Tensor, done: Tensor) -> tuple[Tensor, Tensor]:
        """The likeliest allowed token of each row, and whether its answer has ended; `nodes` and `used` move on.

        A row whose labels are all named ends.
        """
        edge, token, exists = self.allowed(nodes, used)
        stuck = ~exists.any(1)
        taken = logits.gather(1, token).masked_fill(~exists, -torch.inf).argmax(-1, keepdim=True)
        following, ended = self.step(nodes, used, edge.gather(1, taken)[:, 0], ~(done | stuck))
        nodes.copy_(torch.where(stuck, nodes, following))
        return token.gather(1, taken)[:, 0].masked_fill(stuck, self.end), ended | stuck

    def line_starts(self, ids: Sequence[int]) -> list[tuple[int, int]]:
        """Where each whole line of an answer begins, and its label; a line that was cut is left out."""
        found, start, at = [], 0, 0
        while at < len(ids):
            at += 1
            label = self.lines[start > 0].get(tuple(ids[start:at]))
            if label is not None:
                found.append((start, label))
                start = at
        return found

    def read(self, ids: Sequence[int]) -> list[str]:
        """The labels of an answer, its end token included, in its order."""
        return [self.labels[label] for _, label in self.line_starts(ids) if label < len(self.labels)]

    def root(self, line: int) -> int:
        """Where the paths of the list's n-th line begin, from 0."""
        return self.later if line else 0


@dataclass(frozen=True)
class LinePaths:
    """Token ids of each label's line, at one place of a list: as the answer's last line, its end token included, and
    with the separator behind it."""

    last: Sequence[Sequence[int]]
    followed: Sequence[Sequence[int]]


def build_set_trie(
    labels: Sequence[str],
    first: LinePaths,
    later: LinePaths,
    end_ids: Sequence[int],
    nothing: Sequence[int] | None = None,
) -> SetTrie:
    """Lay out a trie over lists of labels.

    Args:
        labels: what each line means.
        nothing: the answer that is the empty set, with its end token; None where there is no empty set.

    Raises:
        StudyError: no label at all, a line without an end, or two labels with one line.
    """
    if not labels:
        raise StudyError("constrained decoding needs at least one label: the study's label set is empty")
    ends = set(end_ids)
    sections = [_section(labels, first, ends), _section(labels, later, ends)]
    if nothing is not None:
        sections[0].append((until_end("the empty set", nothing, ends), len(labels)))
    parent, token, label, size = [], [], [], []  # type: ignore[var-annotated]
    for paths in sections:
        order = _sorted(labels, paths)
        parents, tokens, indices = link_nodes([path for path, _ in paths], order)
        offset = len(parent)
        parent += [each + offset if each >= 0 else -1 for each in parents]
        token += tokens
        label += [paths[index][1] if index >= 0 else -1 for index in indices]
        size += _sizes(parents, indices)
    later_root = next(node for node in range(1, len(parent)) if parent[node] < 0)
    is_end = torch.tensor([each >= 0 and token[node] in ends for node, each in enumerate(label)])
    goes_on = torch.arange(len(parent))
    goes_on[(torch.tensor(label) >= 0) & ~is_end] = later_root
    every = [path for paths in sections for path in paths]
    names = [*labels, ""]
    depth = max(len(path) for path, _ in every)
    digest = digest_of_paths([names[index] for _, index in every], [path for path, _ in every])
    plain = lay_out_edges(tuple(labels), parent, token, label, depth, digest)
    return SetTrie(
        **plain.__dict__,
        later=later_root,
        goes_on=goes_on,
        ends=is_end,
        size=torch.tensor(size, dtype=torch.int32),
        own=_own_nodes(parent, label, later_root, len(labels)),
        end=int(first.last[0][-1]),
        lines=(dict(sections[0]), dict(sections[1])),
    )


def _section(labels: Sequence[str], lines: LinePaths, ends: set[int]) -> list[tuple[Path, int]]:
    last = [(until_end(labels[index], ids, ends), index) for index, ids in enumerate(lines.last)]
    return last + [(tuple(ids), index) for index, ids in enumerate(lines.followed)]


def _sorted(labels: Sequence[str], paths: Sequence[tuple[Path, int]]) -> list[int]:
    order = sorted(range(len(paths)), key=lambda index: paths[index][0])
    for before, after in pairwise(order):
        (one, first), (other, second) = paths[before], paths[after]
        if other[: len(one)] == one:
            names = [labels[index] if index < len(labels) else "(nothing)" for index in (first, second)]
            raise StudyError(f"the labels {names[0]!r} and {names[1]!r} have the same answer in tokens: rename one")
    return order


def _sizes(parents: Sequence[int], indices: Sequence[int]) -> list[int]:
    """Of each node the paths that lead through it; a node stands behind its parent."""
    sizes = [int(index >= 0) for index in indices]
    for node in range(len(parents) - 1, 0, -1):
        sizes[parents[node]] += sizes[node]
    return sizes


def _own_nodes(parent: Sequence[int], label: Sequence[int], later: int, labels: int) -> Tensor:
    """(labels + 1, most): the nodes of each label's later paths up to their root, one after the other."""
    own: list[list[int]] = [[] for _ in range(labels + 1)]
    for leaf in range(later, len(parent)):
        if label[leaf] >= 0:
            node = leaf
            while node >= 0:
                own[label[leaf]].append(node)
                node = parent[node]
    most = max(map(len, own))
    return torch.tensor([nodes + [len(parent)] * (most - len(nodes)) for nodes in own])
