"""Answers after a thought of at most N tokens: the model thinks, the thought is closed, then it answers.

A thought that reaches its budget is closed for the model (budget forcing, Muennighoff et al. 2025), so that there is
always an answer to read; constrained answers and candidates are those after the thought, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from slingshot.generation.generate import generate
from slingshot.generation.types import Answers, Decoding, GenerationStats, Memory

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class Thinking:
    """`budget` tokens at most; `close` is the token that ends a thought, `lead` what then leads to the answer."""

    budget: int
    close: int
    lead: tuple[int, ...]  # begins with `close`


def generate_after_thinking(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    decoding: Decoding,
    thinking: Thinking,
    memory: Memory,
    stats: GenerationStats,
) -> Iterator[Answers]:
    """As `generate`, but every answer stands after a thought, which it holds.

    A model that ends its turn without closing a thought has answered without one.
    """
    first = Decoding(thinking.budget, tuple({*decoding.end_ids, thinking.close}))
    thoughts: Answers = {}
    for some in generate(model, prompts, first, memory, stats):
        thoughts.update(some)
    ended = {index for index, thought in thoughts.items() if thought.end is not None and thought.end != thinking.close}
    spoken = {index: [] if index in ended else thoughts[index].ids for index in thoughts}
    longer = [[*prompt, *spoken[index], *thinking.lead] for index, prompt in enumerate(prompts)]
    for some in generate(model, longer, decoding, memory, stats):
        answers = {}
        for index, answer in some.items():
            thought = thoughts[index]
            if index in ended and decoding.free:
                answer = replace(answer, ids=thought.ids, new_tokens=0, end=thought.end)
            answers[index] = replace(
                answer,
                prompt_tokens=len(prompts[index]),
                new_tokens=answer.new_tokens + thought.new_tokens,
                thought=spoken[index],
            )
        yield answers
