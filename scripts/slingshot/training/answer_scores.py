"""How right the answers of a network in training are, for selection by them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from slingshot.artifacts.labels import read_labels
from slingshot.prompting.answers import AnswerReader
from slingshot.training.state import FinetuneJob


def set_reader(job: FinetuneJob) -> Callable[[str], set[str] | None]:
    """What reads the labels out of an answer: a set, of one where samples have one label; None where there is none."""
    labels = {each.label: each.description for each in read_labels(job.labels)}
    reader = AnswerReader(labels, job.spec.labels or "plain", job.spec.level or "code")

    def read(text: str) -> set[str] | None:
        answered = reader.read_set(text) if job.spec.prompt.several else [reader.read(text)]
        return None if answered in (None, [None]) else {label for label in answered or () if label}

    return read


Pairs = Sequence[tuple[set[str], set[str] | None]]  # the labels of a sample, and those answered


def share_equal(pairs: Pairs) -> float:
    return sum(answered == true for true, answered in pairs) / len(pairs)


def micro_f1(pairs: Pairs) -> float:
    """Over all pairs of a sample and a label, as scikit-learn's; 0 where there are none."""
    right = sum(len(true & (answered or set())) for true, answered in pairs)
    both = sum(len(true) + len(answered or ()) for true, answered in pairs)
    return 2 * right / both if both else 0.0
