"""Answers that can only be a label: the JSON schema that says so, and what the tokens' probabilities say of others."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from slingshot.artifacts.labels import Label
from slingshot.artifacts.predictions import Candidate
from slingshot.config.base import AnswerForm
from slingshot.endpoints.replies import TokenChoice
from slingshot.prompting.right_answers import written_answer

MOST_ALTERNATIVES = 20  # per token; what OpenAI-compatible endpoints give at most

_VALUE = re.compile(r'\{\s*"answer"\s*:\s*"')

JSON_TOKENS = 16  # for the schema's own characters around an answer


def written_labels(labels: Sequence[Label], form: AnswerForm) -> dict[str, str]:
    """Each label as an answer in full, in the study's form, to the label itself."""
    return {written_answer(form, label.label, label.description or ""): label.label for label in labels}


def answer_schema(written: Mapping[str, str]) -> dict[str, Any]:
    """The field response_format: a JSON object whose only key holds one of the answers."""
    schema = {
        "type": "object",
        "properties": {"answer": {"type": "string", "enum": list(written)}},
        "required": ["answer"],
        "additionalProperties": False,
    }
    return {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": schema}}


def label_of(content: str, written: Mapping[str, str]) -> str | None:
    """The label that a schema's answer names; None where it is no such answer."""
    try:
        value = json.loads(content)
    except ValueError:
        return None
    answer = value.get("answer") if isinstance(value, dict) else None
    return written.get(answer) if isinstance(answer, str) else None


def rank_labels(tokens: Sequence[TokenChoice], written: Mapping[str, str], count: int) -> list[Candidate]:
    """The answer that was given and those that its tokens' alternatives begin, the best first.

    A token's alternative counts for a label where no other label begins so. Its log-probability is that of the
    beginning, the rest being taken for certain, and so an upper bound; it is set to the given answer's where it is
    above, since that one was chosen. Fewer than `count` come back where the alternatives tell no more labels apart.

    Args:
        tokens: of a whole answer to `answer_schema`.
        written: answers in full to labels.
    """
    text = "".join(token.text for token in tokens)
    value = _VALUE.match(text)
    if value is None:
        return []
    start = value.end()
    ends = {f"{json.dumps(answer, ensure_ascii=False)[1:]}": label for answer, label in written.items()}
    given = next((label for answer, label in ends.items() if text.startswith(answer, start)), None)
    if given is None:
        return []
    path, offset = 0.0, 0
    others: dict[str, float] = {}
    for token in tokens:
        end = offset + len(token.text)
        if end > start:
            lead, so_far = text[offset:start], text[start:offset]
            for other, log_probability in token.others:
                label = _only_label(so_far, other, lead, ends) if other != token.text else None
                if label is not None and label != given:
                    others[label] = float(_log_sum(others.get(label), path + log_probability))
            path += token.log_probability
        offset = end
        if any(text.startswith(answer, start) and end >= start + len(answer) for answer in ends):
            break
    ranked = sorted(others.items(), key=lambda item: (-item[1], item[0]))[: count - 1]
    return [
        Candidate(code=label, log_probability=round(min(value, path, 0.0), 6))
        for label, value in [(given, path), *ranked]
    ]


def _only_label(so_far: str, other: str, lead: str, ends: Mapping[str, str]) -> str | None:
    """The one label whose answer goes on from `so_far` with another token; None where none or several do."""
    if not other.startswith(lead) or len(other) == len(lead):
        return None
    beginning = so_far + other[len(lead) :]
    fitting = {label for answer, label in ends.items() if answer.startswith(beginning) or beginning.startswith(answer)}
    return fitting.pop() if len(fitting) == 1 else None


def _log_sum(first: float | None, second: float) -> float:
    if first is None:
        return second
    high, low = max(first, second), min(first, second)
    return high + math.log1p(math.exp(low - high))
