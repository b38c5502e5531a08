"""What is asked of a generation and what comes back."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

from slingshot.generation.answer_trie import AnswerTrie
from slingshot.nn.agreement import Agreement

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Decoding:
    """What is asked of the model for each prompt.

    `free` is what the model says by itself; `constrained` and `candidates` need `trie`.
    """

    max_new_tokens: int
    end_ids: tuple[int, ...]
    free: bool = True
    constrained: bool = False
    candidates: int = 0
    trie: AnswerTrie | None = None

    def __post_init__(self) -> None:
        if (self.constrained or self.candidates) and self.trie is None:
            raise ValueError("constrained decoding and candidates need a trie of answers")


@dataclass
class Answer:
    """What came back. Token ids hold no end token; `new_tokens` counts it where the model gave one."""

    prompt_tokens: int
    ids: list[int] = field(default_factory=list)
    new_tokens: int = 0
    end: int | None = None  # the token that ended it; None: the limit did
    thought: list[int] = field(default_factory=list)  # what was thought before it
    constrained: str | None = None
    constrained_set: list[str] | None = None  # where an answer is a set of labels
    candidates: list[tuple[str, float]] = field(default_factory=list)


@dataclass(frozen=True)
class Memory:
    """What a run may take. None: as much as the device has free."""

    token_budget: int | None = None
    attempt: int = 1


@dataclass
class GenerationStats:
    """What a run did, for the step's record. Times in seconds."""

    seconds: dict[str, float] = field(default_factory=dict)
    token_budget: int | None = None
    batches: int = 0
    peak_allocated: int | None = None
    inexact_candidates: int = 0
    agreement: Agreement | None = None  # of the packed way with the model's own forward, where it was looked at
    notes: list[str] = field(default_factory=list)

    def note(self, text: str) -> None:
        if text not in self.notes:
            log.warning(text)
            self.notes.append(text)

    def summary(self) -> str:
        seconds = ", ".join(f"{phase} {duration:.1f} s" for phase, duration in self.seconds.items())
        peak = f", {self.peak_allocated / 1e9:.1f} GB at most" if self.peak_allocated else ""
        return f"{self.batches} batches of up to {self.token_budget} tokens{peak}; {seconds}"


Answers = dict[int, Answer]


def halved(budget: int, attempt: int) -> int:
    """The budget of a step's n-th attempt, after n - 1 deaths by lack of memory."""
    return max(budget >> (attempt - 1), 1)


def until_end(ids: Sequence[int], end_ids: Sequence[int]) -> tuple[list[int], int]:
    """An answer without its end token and what follows, and the number of tokens that the model chose for it."""
    for length, token in enumerate(ids):
        if token in end_ids:
            return list(ids[:length]), length + 1
    return list(ids), len(ids)


def put_ids(answer: Answer, ids: Sequence[int], end_ids: Sequence[int]) -> None:
    """Enter what a model wrote: the answer's ids, their number, and what ended them."""
    answer.ids, answer.new_tokens = until_end(ids, end_ids)
    answer.end = ids[len(answer.ids)] if answer.new_tokens > len(answer.ids) else None
