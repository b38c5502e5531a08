"""Predictions from what a model decoded: tokens to text, text to labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from slingshot.artifacts.predictions import Candidate, Prediction, set_fields
from slingshot.config.specs import PredictSpec
from slingshot.prompting.answers import AnswerReader
from slingshot.prompting.prompter import Tokens
from slingshot.prompting.right_answers import labels_of, whole_lines
from slingshot.prompting.thinking import split_thinking

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def read_answers(
    samples: Sequence[dict[str, Any]],
    prompts: Sequence[Tokens],
    answers: Sequence[dict[str, Any]],
    tokenizer: PreTrainedTokenizerBase,
    reader: AnswerReader,
    spec: PredictSpec,
) -> list[Prediction]:
    texts = tokenizer.batch_decode([parts["free"]["ids"] for parts in answers], skip_special_tokens=True)
    thoughts = tokenizer.batch_decode(
        [parts["free"].get("thought") or [] for parts in answers], skip_special_tokens=True
    )
    return [
        prediction_of(sample, prompt, parts, text, reader, spec, thought if spec.generation.thinking else None)
        for sample, prompt, parts, text, thought in zip(samples, prompts, answers, texts, thoughts, strict=True)
    ]


def prediction_of(
    sample: dict[str, Any],
    prompt: Tokens,
    parts: dict[str, dict[str, Any]],
    raw: str,
    reader: AnswerReader,
    spec: PredictSpec,
    thought: str | None = None,
) -> Prediction:
    constrained: dict[str, Any] = parts.get("constrained", {})
    if spec.prompt.several is None:
        answered = {"label": sample["label"], "code": reader.read(raw), "constrained_code": constrained.get("label")}
    else:
        was_cut = len(parts["free"]["ids"]) >= spec.generation.max_new_tokens
        codes = reader.read_set(whole_lines(raw) if was_cut else raw)
        answered = set_fields(labels_of(sample), codes, constrained.get("labels"))
    return Prediction(
        sample_id=sample["sample_id"],
        raw=raw,
        **answered,
        candidates=[
            Candidate(code=code, log_probability=log_probability)
            for code, log_probability in parts.get("candidates", {}).get("candidates", [])
        ],
        prompt_tokens=len(prompt.ids),
        new_tokens=parts["free"]["new_tokens"],
        truncated=prompt.truncated,
        thinking=split_thinking(f"{thought}</think>").thinking if thought else thought,
        thinking_tokens=None if thought is None else len(parts["free"].get("thought", [])),
    )
