"""What a text gives away of its own label, and what splits share."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import combinations, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slingshot.artifacts.splits import SPLITS
from slingshot.config.base import LabelSystem, TreeLabels
from slingshot.data import icd10
from slingshot.data.cleaning import words

BLANK = "___"

_TURN = re.compile(r"^[A-Z][a-z_]+: ", re.MULTILINE)

CLOSING_TURNS = 2  # a diagnosis may be followed by thanks

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95, 0.99)


@lru_cache(maxsize=200_000)
def _pattern(label: str, system: LabelSystem) -> re.Pattern[str]:
    """A code, with or without its dot, or a plain label, where it stands as a word of its own."""
    if system == "plain":
        return re.compile(rf"(?<!\w){re.escape(label)}(?!\w)", re.IGNORECASE)
    if isinstance(system, TreeLabels):
        code = re.escape(label).replace(r"\.", r"\.?")
        return re.compile(rf"(?<![\w.]){code}(?!\w|\.\d)", re.IGNORECASE)
    head, tail = re.escape(label[: icd10.CATEGORY_LENGTH]), re.escape(label[icd10.CATEGORY_LENGTH :])
    code = rf"{head}\.?{tail}" if tail else head
    return re.compile(rf"(?<![\w.]){code}(?!\w|\.\d)", re.IGNORECASE)


def _names_something(label: str, system: LabelSystem) -> bool:
    """Whether a label in a text is that label: a plain one without a letter (`3`) is any number."""
    return system != "plain" or any(character.isalpha() for character in label)


def mentions(text: str, code: str, system: LabelSystem) -> bool:
    """Whether a text prints a code (`A04.7` or `A047`) or a plain label, but for one that is a number."""
    if not _names_something(code, system):
        return False
    if system == "icd10cm" and code[: icd10.CATEGORY_LENGTH] not in text.upper():
        return False
    return _pattern(code, system).search(text) is not None


def mask(text: str, code: str, system: LabelSystem) -> str:
    """The text with its own code or plain label blanked."""
    return _pattern(code, system).sub(BLANK, text) if _names_something(code, system) else text


def contains_words(text: Sequence[str], sought: Sequence[str]) -> bool:
    """Whether words stand in a text one after another; case and punctuation do not count."""
    return bool(sought) and f" {' '.join(sought)} " in f" {' '.join(text)} "


@lru_cache(maxsize=200_000)
def phrase(text: str) -> tuple[str, ...]:
    """A description's words."""
    return tuple(words(text))


def without_closing_turn(text: str, states: Callable[[str], bool]) -> str:
    """A dialogue without a closing turn that states the label, and without what follows it.

    Only the last two turns are looked at, and again what then are the last two; the first turn always stays.

    Args:
        states: whether a turn states the label
    """
    starts = [match.start() for match in _TURN.finditer(text)]
    end = len(text)
    while True:
        closing = list(pairwise([*starts[-CLOSING_TURNS - 1 :], end]))
        if len(starts) <= CLOSING_TURNS:
            closing = closing[1:]  # the first turn stays
        closing = closing[-CLOSING_TURNS:]
        cut = next((start for start, stop in closing if states(text[start:stop])), None)
        if cut is None:
            return text[:end].rstrip() if end < len(text) else text
        while starts and starts[-1] >= cut:
            starts.pop()
        end = cut


def overlap(splits: NDArray[np.int8], *identities: NDArray[Any]) -> list[dict[str, int]]:
    """How many samples of each split have a counterpart in another split.

    Args:
        splits: n indices into SPLITS
        identities: each n values; samples of equal value are counterparts

    Returns:
        for each identity `{"test in train": …}`, for every ordered pair of splits.
    """
    result = []
    for identity in identities:
        parts = [identity[splits == number] for number in range(len(SPLITS))]
        counts = {}
        for a, b in combinations(range(len(SPLITS)), 2):
            counts[f"{SPLITS[b]} in {SPLITS[a]}"] = int(np.isin(parts[b], parts[a]).sum())
            counts[f"{SPLITS[a]} in {SPLITS[b]}"] = int(np.isin(parts[a], parts[b]).sum())
        result.append(counts)
    return result


def lengths(words: NDArray[Any]) -> dict[str, float]:
    """Mean, extremes and quantiles of lengths in words."""
    if not len(words):
        return {}
    quantiles = {f"q{round(100 * q):02d}": float(np.quantile(words, q)) for q in QUANTILES}
    return {"min": int(words.min()), "mean": round(float(words.mean()), 2), **quantiles, "max": int(words.max())}
