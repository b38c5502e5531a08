"""What a model thinks before it answers, separated from the answer by the marks that model families use."""

from __future__ import annotations

import re
from dataclasses import dataclass

# What opens and what closes a thought, as the families' chat templates document it.
_MARKS = (
    ("<think>", "</think>"),  # Qwen3, DeepSeek R1, GLM-4.5, SmolLM3, Hunyuan, MiniMax
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),
    ("<reasoning>", "</reasoning>"),
    ("[THINK]", "[/THINK]"),  # Magistral
    ("<seed:think>", "</seed:think>"),  # Seed-OSS
    ("<|START_THINKING|>", "<|END_THINKING|>"),  # Command A Reasoning
    ("\N{WHITE LEFT-POINTING TRIANGLE}think\N{WHITE RIGHT-POINTING TRIANGLE}", "\u25c1/think\u25b7"),  # Kimi
)

THOUGHT_MARKS = frozenset(mark for pair in _MARKS for mark in pair)

# gpt-oss: <|channel|>analysis<|message|>…<|end|><|start|>assistant<|channel|>final<|message|>…
_CHANNEL = re.compile(r"<\|channel\|>\s*(\w+)[^<]*<\|message\|>(.*?)(?=<\|end\|>|<\|return\|>|<\|start\|>|\Z)", re.S)


@dataclass(frozen=True)
class Spoken:
    """A model's output in two parts. Where the thought never ended, `finished` is false and `answer` empty."""

    thinking: str | None
    answer: str
    finished: bool = True


def split_thinking(text: str, opened: bool = False) -> Spoken:
    """Separate what was thought from what is answered.

    Args:
        text: what a model wrote, its special tokens included where they mark the channels of gpt-oss.
        opened: the prompt itself opens the thought, as R1's template does, so that only its end stands in `text`.
    """
    if "<|channel|>" in text:
        return _split_channels(text)
    closes = [(at, close) for _, close in _MARKS if (at := text.rfind(close)) >= 0]
    if closes:
        at, close = max(closes)
        return Spoken(_without_opening(text[:at]), text[at + len(close) :].strip())
    begun = text.lstrip()
    if opened or any(begun.startswith(mark) for mark, _ in _MARKS):
        return Spoken(_without_opening(text), "", finished=False)
    return Spoken(None, text)


def opens_thinking(prompt_end: str) -> bool:
    """Whether a prompt ends with an opened thought."""
    return any(prompt_end.rstrip().endswith(mark) for mark, _ in _MARKS)


def closing_mark(prompt_end: str) -> str:
    """What ends a thought in a template that wrote `prompt_end`; the commonest mark where it shows none."""
    return next((close for mark, close in _MARKS if prompt_end.rstrip().endswith(mark)), "</think>")


def closing_mark_in(template: str) -> str:
    """What ends a thought by a template's source; the commonest mark where it names none."""
    return next((close for mark, close in _MARKS if mark in template or close in template), "</think>")


def _split_channels(text: str) -> Spoken:
    parts = _CHANNEL.findall(text)
    thoughts = [text.strip() for channel, text in parts if channel != "final"]
    finals = [text.strip() for channel, text in parts if channel == "final"]
    return Spoken("\n".join(thoughts) or None, finals[-1] if finals else "", finished=bool(finals))


def _without_opening(thought: str) -> str:
    thought = thought.strip()
    for mark, _ in _MARKS:
        thought = thought.removeprefix(mark)
    return thought.strip()
