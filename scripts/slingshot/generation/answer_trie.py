"""Which answers may be given: a trie over token ids, as arrays that a device can walk without asking the host.

Node 0 is the root. A path from the root spells one label's answer, its end token included, so that a code that is
the beginning of another (E11, E119) differs from it by its end token.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from slingshot.core.errors import StudyError


@dataclass(frozen=True)
class AnswerTrie:
    """All answers that may be given.

    A node's children stand side by side: those of node i at `first_child[i] : first_child[i + 1]` of `token` (what
    leads to the child) and `child` (its node). Leaves lead to themselves by the answer's end token.
    """

    labels: tuple[str, ...]
    first_child: Tensor  # (nodes + 1,) int64
    token: Tensor  # (edges,) int64, ascending within a node
    child: Tensor  # (edges,) int64
    label: Tensor  # (nodes,) int64: index into labels at a leaf, -1 elsewhere
    most_children: int
    depth: int
    digest: str

    def to(self, device: torch.device | str) -> Self:
        if self.token.device == torch.device(device):
            return self
        moved: dict[str, Any] = {
            name: part.to(device) for name, part in self.__dict__.items() if isinstance(part, Tensor)
        }
        return replace(self, **moved)

    def steps(self, max_new_tokens: int) -> int:
        """Tokens of the longest answer; a single label is never cut."""
        return self.depth

    def children(self, nodes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Children of each node, padded: (edges' indices, tokens, which of them exist), each (…, most_children)."""
        start, end = self.first_child[nodes], self.first_child[nodes + 1]
        edge = start[..., None] + torch.arange(self.most_children, device=nodes.device)
        exists = edge < end[..., None]
        edge = torch.where(exists, edge, start[..., None])
        return edge, self.token[edge], exists


def build_trie(labels: Sequence[str], answers: Sequence[Sequence[int]], end_ids: Sequence[int]) -> AnswerTrie:
    """Lay out a trie over the labels' answers.

    Args:
        labels: what each answer means.
        answers: token ids of each answer, ending with one of `end_ids`; what follows the first end id is dropped.

    Raises:
        StudyError: no label at all, an answer without an end, or two labels with one answer.
    """
    if not labels:
        raise StudyError("constrained decoding needs at least one label: the study's label set is empty")
    ends = set(end_ids)
    paths = [until_end(label, answer, ends) for label, answer in zip(labels, answers, strict=True)]
    order = sorted(range(len(paths)), key=paths.__getitem__)
    for before, after in pairwise(order):
        if paths[before] == paths[after]:
            raise StudyError(
                f"the labels {labels[before]!r} and {labels[after]!r} have the same answer in tokens: rename one"
            )
    parent, token, label_of = link_nodes(paths, order)
    return lay_out_edges(tuple(labels), parent, token, label_of, max(map(len, paths)), digest_of_paths(labels, paths))


def until_end(label: str, answer: Sequence[int], ends: set[int]) -> tuple[int, ...]:
    for length, token in enumerate(answer, start=1):
        if token in ends:
            if length == 1:
                raise StudyError(f"the label {label!r} has an empty answer")
            return tuple(answer[:length])
    raise StudyError(f"the answer of label {label!r} has no end token: its prompt template adds none")


def link_nodes(paths: list[tuple[int, ...]], order: list[int]) -> tuple[list[int], list[int], list[int]]:
    """Parent, incoming token and label (or -1) of each node, visiting the sorted paths one after another."""
    parent, token, label = [-1], [-1], [-1]
    trail: list[int] = [0]  # nodes along the previous path, root first
    previous: tuple[int, ...] = ()
    for index in order:
        path = paths[index]
        shared = 0
        while shared < min(len(previous), len(path)) and previous[shared] == path[shared]:
            shared += 1
        del trail[shared + 1 :]
        for step in path[shared:]:
            parent.append(trail[-1])
            token.append(step)
            label.append(-1)
            trail.append(len(parent) - 1)
        label[-1] = index
        previous = path
    return parent, token, label


def lay_out_edges(
    labels: tuple[str, ...], parent: list[int], token: list[int], label: list[int], depth: int, digest: str
) -> AnswerTrie:
    above, led_by, label_of = np.array(parent), np.array(token), np.array(label)
    nodes = np.flatnonzero(above >= 0)  # all but roots
    parents, tokens = above[nodes], led_by[nodes]
    leaves = np.flatnonzero(label_of >= 0)
    parents, tokens, nodes = (  # a leaf repeats its end token for ever
        np.concatenate([parents, leaves]),
        np.concatenate([tokens, led_by[leaves]]),
        np.concatenate([nodes, leaves]),
    )
    by_parent = np.lexsort((tokens, parents))
    counts = np.bincount(parents, minlength=len(parent))
    first_child = np.concatenate([[0], counts.cumsum()])
    return AnswerTrie(
        labels=labels,
        first_child=torch.from_numpy(first_child),
        token=torch.from_numpy(tokens[by_parent]),
        child=torch.from_numpy(nodes[by_parent]),
        label=torch.from_numpy(label_of),
        most_children=int(counts.max()),
        depth=depth,
        digest=digest,
    )


def digest_of_paths(labels: Sequence[str], paths: Sequence[tuple[int, ...]]) -> str:
    digest = hashlib.sha256()
    for label, path in sorted(zip(labels, paths, strict=True)):
        digest.update(f"{label}\0{path}\0".encode())
    return digest.hexdigest()
