"""Beam search over the trie of allowed answers, for many prompts at once, on any device.

A partial answer's log-probability can only fall, so the search also knows when it is exact: as soon as nothing that
was ever dropped beats the worst answer that is reported.
"""

from __future__ import annotations

import torch
from torch import Tensor

from slingshot.generation.answer_trie import AnswerTrie

_LEAST_WIDTH = 16

_DECIMALS = 6


def beam_width(count: int) -> int:
    """Partial answers kept alive for `count` reported ones. A label set no larger is always searched exactly."""
    return max(_LEAST_WIDTH, 2 * count)


class BeamSearch:
    """The `count` likeliest labels of each of `rows` prompts. Whoever holds the model drives it:

        while search.alive: search.advance(log-probabilities of the tokens that search.children() names)

    At first each prompt has one hypothesis, the empty answer; after that `width`, of which some may be dead.
    """

    def __init__(self, trie: AnswerTrie, count: int, rows: int, root: int = 0) -> None:
        """Args: root: the node that the search begins at."""
        device = trie.token.device
        self.trie = trie
        self.count = count
        self.width = beam_width(count)
        self.nodes = torch.full((rows, 1), root, dtype=torch.int64, device=device)
        self.scores = torch.zeros(rows, 1, device=device)
        self.best_scores = torch.full((rows, count), -torch.inf, device=device)
        self.best_labels = torch.full((rows, count), -1, dtype=torch.int64, device=device)
        self.dropped = torch.full((rows,), -torch.inf, device=device)

    @property
    def alive(self) -> bool:
        return bool((self.scores > -torch.inf).any())

    def children(self) -> tuple[Tensor, Tensor, Tensor]:
        """What may follow each hypothesis: edges, tokens, and which of them exist, (rows, hypotheses, children)."""
        return self.trie.children(self.nodes)

    def advance(self, log_probs: Tensor) -> tuple[Tensor, Tensor]:
        """Extend every hypothesis by one token and keep the best.

        Args:
            log_probs: of the tokens of `children`, (rows, hypotheses, children).

        Returns: for each new hypothesis (rows, width) the old one that it extends, and its last token.
        """
        edge, token, exists = self.children()
        scores = (self.scores[..., None] + log_probs).masked_fill(~exists, -torch.inf).flatten(1)
        nodes, token = self.trie.child[edge].flatten(1), token.flatten(1)
        label = self.trie.label[nodes]
        self._finish(scores.masked_fill(label < 0, -torch.inf), label)
        return self._keep(scores.masked_fill(label >= 0, -torch.inf), nodes, token, exists.shape[-1])

    def _finish(self, scores: Tensor, labels: Tensor) -> None:
        scores, labels = torch.cat([self.best_scores, scores], 1), torch.cat([self.best_labels, labels], 1)
        self.best_scores, at = scores.topk(self.count)
        self.best_labels = labels.gather(1, at)

    def _keep(self, scores: Tensor, nodes: Tensor, token: Tensor, fan: int) -> tuple[Tensor, Tensor]:
        hypotheses = scores.shape[1] // fan
        # One more than the width tells what the best dropped hypothesis was worth.
        missing = self.width + 1 - scores.shape[1]
        if missing > 0:
            scores = torch.nn.functional.pad(scores, (0, missing), value=-torch.inf)
            nodes = torch.nn.functional.pad(nodes, (0, missing))
            token = torch.nn.functional.pad(token, (0, missing))
        kept, at = scores.topk(self.width + 1)
        self.dropped = torch.maximum(self.dropped, kept[:, -1])
        kept, at = kept[:, :-1], at[:, :-1]
        hopeless = kept <= self.best_scores[:, -1:]  # cannot come among the best any more
        self.scores = kept.masked_fill(hopeless, -torch.inf)
        self.nodes = nodes.gather(1, at)
        return (at // fan).clamp(max=hypotheses - 1), token.gather(1, at)  # padding has no parent: any will do

    def best(self) -> list[list[tuple[str, float]]]:
        """Each prompt's labels, likeliest first, with their natural log-probabilities, rounded to 6 decimals."""
        ranked = []
        for found in self.found():
            named = [(self.trie.labels[label], round(score, _DECIMALS)) for label, score in found]
            ranked.append(sorted(named, key=lambda one: (-one[1], one[0])))
        return ranked

    def found(self) -> list[list[tuple[int, float]]]:
        """Each prompt's finished paths as their labels' indices, with their natural log-probabilities."""
        return [
            [(label, score) for score, label in zip(scores, labels, strict=True) if label >= 0 and score > -torch.inf]
            for scores, labels in zip(self.best_scores.tolist(), self.best_labels.tolist(), strict=True)
        ]

    def exact(self) -> list[bool]:
        """For each prompt, whether no label outside the reported ones can be likelier than them."""
        return (self.dropped <= self.best_scores[:, -1]).tolist()
