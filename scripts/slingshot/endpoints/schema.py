"""Answers that can only be a label: the JSON schema that says so, and what the tokens' probabilities say of others."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from slingshot.artifacts.in_list import InList
from slingshot.artifacts.labels import Label
from slingshot.artifacts.predictions import Candidate
from slingshot.config.base import AnswerForm
from slingshot.config.recipe import Generation
from slingshot.endpoints.replies import TokenChoice
from slingshot.prompting.right_answers import written_answer

MOST_ALTERNATIVES = 20  # per token; what OpenAI-compatible endpoints give at most

_VALUE = re.compile(r'\{\s*"answer"\s*:\s*"')

_LIST = re.compile(r'\{\s*"answers"\s*:\s*\[')

_ITEM = re.compile(r'[\s,]*"')  # what opens the next answer of a list

JSON_TOKENS = 16  # for the schema's own characters around an answer


def lists_labels(generation: Generation) -> bool:
    """Whether samples get a second request, whose answer comes from the list of labels."""
    return (generation.constrained or generation.candidates > 0) and generation.vocabulary == "study"


def written_labels(labels: Sequence[Label], form: AnswerForm) -> dict[str, str]:
    """Each label as an answer in full, in the study's form, to the label itself."""
    return {written_answer(form, label.label, label.description or ""): label.label for label in labels}


def answer_schema(written: Mapping[str, str], several: bool = False) -> dict[str, Any]:
    """The field response_format: a JSON object whose only key holds one of the answers, or a list of them.

    That no answer comes twice cannot be said there: services refuse `uniqueItems` in a strict schema.
    """
    one = {"type": "string", "enum": list(written)}
    key = "answers" if several else "answer"
    schema = {
        "type": "object",
        "properties": {key: {"type": "array", "items": one} if several else one},
        "required": [key],
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


def labels_listed(content: str, written: Mapping[str, str]) -> list[str] | None:
    """The labels that a schema's list of answers names, each once; None where it is no such list."""
    try:
        value = json.loads(content)
    except ValueError:
        return None
    answers = value.get("answers") if isinstance(value, dict) else None
    if not isinstance(answers, list) or not all(isinstance(each, str) and each in written for each in answers):
        return None
    return list(dict.fromkeys(written[each] for each in answers))


def rank_listed(tokens: Sequence[TokenChoice], written: Mapping[str, str], count: int) -> list[Candidate]:
    """The labels likeliest to be in a list of answers, the best first (artifacts/in_list.py has the definition).

    At each place the labels are those of `rank_labels`: the given one, and what the tokens' alternatives begin.

    Args:
        tokens: of a whole answer to `answer_schema` with a list.
    """
    text = "".join(token.text for token in tokens)
    opened = _LIST.match(text)
    if opened is None:
        return []
    ends, found, at = _ends_of(written), InList(), opened.end()
    while (item := _ITEM.match(text, at)) is not None:
        place = _Place.read(tokens, text, item.end(), ends)
        if place is None:
            break
        values = {label: min(value, place.path) for label, value in place.others.items()} | {place.given: place.path}
        found.add({label: math.exp(min(value, 0.0)) for label, value in values.items()}, place.given)
        at = place.end
    return [Candidate(code=label, log_probability=value) for label, value in found.best(count)]


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
    place = _Place.read(tokens, text, value.end(), _ends_of(written))
    if place is None:
        return []
    ranked = sorted(place.others.items(), key=lambda item: (-item[1], item[0]))[: count - 1]
    return [
        Candidate(code=label, log_probability=round(min(value, place.path, 0.0), 6))
        for label, value in [(place.given, place.path), *ranked]
    ]


@dataclass(frozen=True)
class _Place:
    """An answer in a reply: the label that is given, its log-probability, and those of labels begun by alternatives.

    `end` is where it ends in the text, its closing quotation mark included.
    """

    given: str
    path: float
    others: Mapping[str, float]
    end: int

    @classmethod
    def read(cls, tokens: Sequence[TokenChoice], text: str, start: int, ends: Mapping[str, str]) -> _Place | None:
        """The answer that begins at `start`; None where none does."""
        answer = next((each for each in ends if text.startswith(each, start)), None)
        if answer is None:
            return None
        path, offset = 0.0, 0
        others: dict[str, float] = {}
        for token in tokens:
            end = offset + len(token.text)
            if end > start:
                lead, so_far = text[offset:start], text[start:offset]
                for other, log_probability in token.others:
                    label = _only_label(so_far, other, lead, ends) if other != token.text else None
                    if label is not None and label != ends[answer]:
                        others[label] = float(_log_sum(others.get(label), path + log_probability))
                path += token.log_probability
            offset = end
            if end >= start + len(answer):
                break
        return cls(ends[answer], path, others, start + len(answer))


def _ends_of(written: Mapping[str, str]) -> dict[str, str]:
    """Answers as they stand in JSON behind their opening quotation mark, the closing one included, to labels."""
    return {f"{json.dumps(answer, ensure_ascii=False)[1:]}": label for answer, label in written.items()}


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
