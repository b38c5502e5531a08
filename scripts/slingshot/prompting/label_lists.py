"""What prompts show of the study's labels: `{{ labels }}`, all of them, and `{{ candidates }}`, the likeliest few."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from slingshot.artifacts.labels import Label
from slingshot.config.specs import PromptText
from slingshot.prompting.right_answers import labels_of
from slingshot.prompting.template import Shown, uses_labels

_TEXTS_AT_ONCE = 256


class LabelLists:
    """The lists of each text's prompt.

    A candidate's score is the highest cosine similarity of the text's TF-IDF (words and pairs of words) with the
    label's description or with one of its train texts; a text that stands in train itself is left out.
    """

    def __init__(
        self, prompt: PromptText, labels: Sequence[Label], read_train: Callable[[], Sequence[Mapping[str, Any]]]
    ) -> None:
        """Args: read_train: gives rows with text and label (or labels); called only where candidates are ranked."""
        self._count = prompt.candidates
        self.labels = list(labels)
        self._read_train = read_train
        self._all = "\n".join(map(_line, labels)) if uses_labels(prompt) else ""

    def of(self, texts: Sequence[str]) -> list[Shown]:
        """What the prompt of each text shows."""
        if not self._count:
            return [Shown(self._all)] * len(texts)
        return [
            Shown(self._all, "\n".join(_line(self.labels[index]) for index in ranked)) for ranked in self._ranked(texts)
        ]

    def recall(self, texts: Sequence[str], gold: Sequence[Sequence[str]]) -> float | None:
        """The share of the texts' own labels that are among their candidates; None without candidates or labels."""
        if not self._count or not any(gold):
            return None
        shown = [{self.labels[index].label for index in row} for row in self._ranked(texts)]
        found = [label in names for names, own in zip(shown, gold, strict=True) for label in own]
        return sum(found) / len(found)

    def describe_recall(self, samples: Sequence[Mapping[str, Any]]) -> list[str]:
        """How often the labels that a prompt shows hold the sample's own: one sentence, or none without candidates."""
        recall = self.recall([sample["text"] for sample in samples], [labels_of(sample) for sample in samples])
        if recall is None:
            return []
        return [f"recall at {self._count} of the labels that prompts show: {recall:.1%}"]

    def _ranked(self, texts: Sequence[str]) -> list[list[int]]:
        """Indices of each text's likeliest labels, the likeliest first; of equals the one that stands first."""
        from sklearn.feature_extraction.text import TfidfVectorizer  # slow to import, and not always needed

        documents, owners = self._documents
        if not hasattr(self, "_vectorizer"):
            self._vectorizer = TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2))
            self._known = self._vectorizer.fit_transform(documents)
        places: dict[str, list[int]] = {}
        for place, document in enumerate(documents):
            places.setdefault(document, []).append(place)
        ranked: list[list[int]] = []
        for start in range(0, len(texts), _TEXTS_AT_ONCE):
            block = texts[start : start + _TEXTS_AT_ONCE]
            similarity = (self._vectorizer.transform(block) @ self._known.T).toarray()
            for text, row in zip(block, similarity, strict=True):
                row[places.get(text, [])] = 0.0
                scores = np.zeros(len(self.labels))
                np.maximum.at(scores, owners, row)
                ranked.append(np.argsort(-scores, kind="stable")[: self._count].tolist())
        return ranked

    @cached_property
    def _documents(self) -> tuple[list[str], np.ndarray]:
        """Descriptions (or the labels themselves) and train texts, each with the index of its label."""
        place = {label.label: index for index, label in enumerate(self.labels)}
        pairs = [(label.description or label.label, index) for index, label in enumerate(self.labels)]
        pairs += [
            (row["text"], place[label]) for row in self._read_train() for label in labels_of(row) if label in place
        ]
        return [text for text, _ in pairs], np.array([index for _, index in pairs])


def _line(label: Label) -> str:
    return f"- {label.label}: {label.description}" if label.description else f"- {label.label}"
