"""The labels likeliest to be in a set, by searches over the trie at each line of the constrained list."""

from __future__ import annotations

import math
from collections.abc import Sequence

from slingshot.artifacts.in_list import InList
from slingshot.generation.set_trie import SetTrie


def paths_to_search(count: int) -> int:
    """Whole paths that a search reports for `count` labels: each has one that ends the list and one that goes on."""
    return 2 * count + 1


class SetCandidates:
    """Collects what the searches at the lines of one prompt's list found, line by line."""

    def __init__(self, trie: SetTrie, ids: Sequence[int]) -> None:
        """Args: ids: of the constrained list, its end token included."""
        self._names = trie.labels
        self._in_list = InList()
        self.lines = trie.line_starts(ids) or [(0, len(trie.labels))]

    def add(self, line: int, found: Sequence[tuple[int, float]]) -> None:
        """Enter the paths that a search at the n-th line found, as labels' indices with their log-probabilities."""
        hazards: dict[str, float] = {}
        for label, score in found:
            if label < len(self._names):  # what is behind them is the empty set
                name = self._names[label]
                hazards[name] = hazards.get(name, 0.0) + math.exp(score)
        written = self.lines[line][1]
        self._in_list.add(hazards, self._names[written] if written < len(self._names) else None)

    def best(self, count: int) -> list[tuple[str, float]]:
        return self._in_list.best(count)
