"""Worked examples from train, put before a dialogue."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from slingshot.config.recipe import FewShot
from slingshot.core.errors import StudyError
from slingshot.prompting.label_lists import LabelLists
from slingshot.prompting.messages import Example
from slingshot.prompting.right_answers import AnswerWriter


def choose_examples(
    few_shot: FewShot,
    train: Sequence[dict[str, Any]],
    texts: Sequence[str],
    writer: AnswerWriter,
    lists: LabelLists | None = None,
) -> list[list[Example]]:
    """The `k` examples of each text.

    Random ones are the same for every text, so that the prompts share what comes before the dialogue. Nearest ones
    are by cosine similarity of TF-IDF over words and pairs of words, the nearest last, next to the dialogue; a text
    that stands in train itself is not its own example.

    Args:
        train: rows with text, label and description, or labels.
        writer: of the examples' answers.
        lists: what the examples' own turns show of the labels.

    Raises:
        StudyError: train has fewer than `k` samples.
    """
    if len(train) < few_shot.k:
        raise StudyError(f"few_shot.k is {few_shot.k}, but train has {len(train)} samples: lower it")
    examples = [Example(row["text"], writer.text(row)) for row in train]
    if few_shot.selection == "random":
        drawn = random.Random(few_shot.seed).sample(range(len(train)), few_shot.k)
        chosen = [drawn] * len(texts)
    else:
        chosen = _nearest(few_shot.k, examples, texts)
    if lists is not None:
        used = sorted({index for some in chosen for index in some})
        for index, shown in zip(used, lists.of([examples[index].text for index in used]), strict=True):
            examples[index] = replace(examples[index], shown=shown)
    return [[examples[index] for index in some] for some in chosen]


def _nearest(k: int, examples: Sequence[Example], texts: Sequence[str]) -> list[list[int]]:
    from sklearn.feature_extraction.text import TfidfVectorizer  # slow to import, and not always needed

    vectorizer = TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2), stop_words="english")
    known = vectorizer.fit_transform([example.text for example in examples])
    chosen = []
    for start in range(0, len(texts), 256):
        block = texts[start : start + 256]
        similarity = (vectorizer.transform(block) @ known.T).toarray()
        for text, row in zip(block, similarity, strict=True):
            order = sorted(range(len(examples)), key=lambda index: (-row[index], index))
            others = [index for index in order if examples[index].text != text]
            chosen.append(others[:k][::-1])
    return chosen
