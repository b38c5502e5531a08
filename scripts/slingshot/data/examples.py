"""Texts to look at before any GPU hour: what was dropped or changed, near-duplicates side by side."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np

from slingshot.artifacts.splits import SPLITS
from slingshot.data.intake import Intake
from slingshot.data.planning import Plan, sample_id_of

PAIRS = 10

SAMPLES_PER_SPLIT = 3

LONGEST_EXCERPT = 4000  # characters of a text that the page shows


class Examples:
    """Collects the texts of chosen samples while the splits are written."""

    def __init__(self, taken: Intake, plan: Plan) -> None:
        self._taken = taken
        self._plan = plan
        self._pairs = near_duplicate_pairs(taken, plan)
        self._samples = {
            name: np.flatnonzero(plan.split == number)[:SAMPLES_PER_SPLIT].tolist()
            for number, name in enumerate(SPLITS)
        }
        self._wanted = {sample for pair in self._pairs for sample in pair}
        self._wanted |= {sample for samples in self._samples.values() for sample in samples}
        self._texts: dict[int, dict[str, str]] = {}

    def see(self, sample: int, text: str, label: str) -> None:
        if sample in self._wanted:
            self._texts[sample] = {
                "sample_id": sample_id_of(self._plan.sample[sample]),
                "split": SPLITS[self._plan.split[sample]],
                "label": label,
                "text": text[:LONGEST_EXCERPT],
            }

    def found(self, test_sets: dict[str, Intake]) -> dict[str, Any]:
        """What examples.json holds."""
        return {
            "changed": self._taken.changed.excerpts,
            "near_duplicates": [[self._texts[a], self._texts[b]] for a, b in self._pairs],
            "samples": {name: [self._texts[sample] for sample in samples] for name, samples in self._samples.items()},
            "test_sets": {name: taken.changed.excerpts for name, taken in test_sets.items()},
        }


def near_duplicate_pairs(taken: Intake, plan: Plan) -> list[tuple[int, int]]:
    """Pairs of written samples of nearly the same text: those that stand in two splits first."""
    text = np.frombuffer(taken.text_hash, np.uint64)[plan.row]
    written = np.flatnonzero(plan.split >= 0)
    order = written[np.argsort(plan.twins[written], kind="stable")]
    twins = plan.twins[order]
    starts = np.flatnonzero(np.r_[True, twins[1:] != twins[:-1]]) if len(order) else np.zeros(0, np.int64)
    across: list[tuple[int, int]] = []
    within: list[tuple[int, int]] = []
    for members in np.split(order, starts[1:]):
        if len(members) < 2:
            continue
        pairs = [(int(a), int(b)) for a, b in combinations(members[:8], 2) if text[a] != text[b]]
        apart = next((pair for pair in pairs if plan.split[pair[0]] != plan.split[pair[1]]), None)
        if apart:
            across.append(apart)
        elif pairs and len(within) < PAIRS:
            within.append(pairs[0])
        if len(across) >= PAIRS:
            break
    return (across + within)[:PAIRS]
