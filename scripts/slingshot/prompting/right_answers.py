"""What a right answer says: one label, or a set of labels as a list of lines, in the form that the study asks for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from slingshot.artifacts.labels import Label
from slingshot.config.base import AnswerForm
from slingshot.config.specs import AnswerSet

LINE_END = "\n"  # between the labels of a set; no label and no description holds one

NOTHING = "none"  # the answer that is the empty set


def labels_of(sample: Mapping[str, Any]) -> list[str]:
    """The true labels of a sample: its set, or its one label."""
    several = sample.get("labels")
    return [sample["label"]] if several is None else [str(label) for label in several]


def whole_lines(text: str) -> str:
    """An answer that was cut by the limit of tokens, without the line that it was cut in."""
    whole, line_end, _ = text.rpartition(LINE_END)
    return whole if line_end else text


def written_answer(form: AnswerForm, label: str, description: str) -> str:
    """What a right answer says of one label."""
    return {"code": label, "code description": f"{label} {description}", "description code": f"{description} {label}"}[
        form
    ].strip()


def written_line(form: AnswerForm, label: str, description: str) -> str:
    """`written_answer` as a line of a list."""
    return " ".join(written_answer(form, label, description).split())


class AnswerWriter:
    """Writes the right answer to a sample.

    The labels of a set stand in the study's order, not in the source's: a model that is trained on them learns one
    order instead of as many as there are coders.
    """

    def __init__(self, form: AnswerForm, several: AnswerSet | None = None, labels: Iterable[Label] = ()) -> None:
        """Args: labels: the study's, with their descriptions and counts; needed for sets alone."""
        self._form = form
        self._several = several
        self._known = {label.label: label for label in labels} if several else {}

    def lines(self, sample: Mapping[str, Any]) -> tuple[str, ...]:
        """The lines of the answer: one where a sample has one label.

        Args:
            sample: of a split: `label` and `description`, or `labels`.
        """
        if self._several is None:
            return (written_answer(self._form, sample["label"], sample["description"] or ""),)
        found = [written_line(self._form, label, self._description(label)) for label in self.ordered(labels_of(sample))]
        return tuple(found) or (NOTHING,)

    def text(self, sample: Mapping[str, Any]) -> str:
        """The answer as one text."""
        return LINE_END.join(self.lines(sample))

    def ordered(self, labels: Sequence[str]) -> list[str]:
        """A set's labels in the order in which they are answered."""
        if self._several is None or self._several.order == "code":
            return sorted(labels)
        return sorted(labels, key=lambda label: (-self._train_samples(label), label))

    def _description(self, label: str) -> str:
        known = self._known.get(label)
        return (known.description or "") if known else ""

    def _train_samples(self, label: str) -> int:
        known = self._known.get(label)
        return known.train_samples if known else 0
