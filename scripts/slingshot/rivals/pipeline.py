"""What every rival of the language models has in common: a fitted pipeline in files, and ranked answers from it.

A rival is a module of this room, named as the config's `rival`, with two functions: `fit_rival(job)` gives a Fitted,
and `load_rival(folder, device)` gives back one that `Fitted.save` wrote. A pipeline holds no code: arrays, JSON,
safetensors, and scikit-learn's objects as skops writes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, Protocol, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError

from slingshot.artifacts.layout import PIPELINE
from slingshot.artifacts.model_card import ModelCard
from slingshot.artifacts.predictions import Candidate, Prediction, in_one_text, ranked, set_fields
from slingshot.artifacts.records import Record, describe_fault
from slingshot.core.errors import StudyError
from slingshot.core.files import read_json
from slingshot.rivals.set_answers import SetRule, answered_sets, indicators_of


@dataclass(frozen=True)
class Texts:
    """Texts with their labels, in the order of a split; `sets` where a text has several."""

    texts: list[str]
    labels: list[str]
    sets: list[list[str]] | None = None

    @property
    def names(self) -> list[str]:
        """The distinct labels, sorted."""
        return sorted(set(self.labels) if self.sets is None else {label for each in self.sets for label in each})

    def indicators(self, names: Sequence[str]) -> NDArray[np.float64]:
        """Shape (texts, names): 1 where a text has the label."""
        return indicators_of([[label] for label in self.labels] if self.sets is None else self.sets, names)


@dataclass(frozen=True)
class FitJob:
    """What a rival is fitted from; the rival fills `seconds` and `log`."""

    recipe: Any
    seed: int
    train: Texts
    validation: Texts
    device: str
    folder: Path  # for checkpoints, which a run that was killed goes on from
    card: ModelCard | None = None
    card_path: Path | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    log: list[dict[str, Any]] = field(default_factory=list)  # lines of training_log.jsonl

    @property
    def several(self) -> bool:
        """Whether a text has several labels: then a rival fits one against the rest for each."""
        return self.train.sets is not None


@dataclass(frozen=True)
class Answered:
    """Probabilities of shape (texts, labels), and what each text took.

    A row adds up to 1 where a text has one label; where it has several, each label's is to be in the set.
    """

    probabilities: NDArray[np.float64]
    tokens: list[int]  # per text; 0 where a rival has no tokens
    truncated: list[bool]


class Fitted(Protocol):
    """A rival that can answer."""

    @property
    def labels(self) -> Sequence[str]:
        """In the order of the probabilities' columns."""

    @property
    def training(self) -> dict[str, Any]:
        """What was chosen and measured, for training.json."""

    def answer(self, texts: Sequence[str]) -> Answered: ...

    def save(self, folder: Path) -> None:
        """Write everything that `load_rival` needs into an existing folder."""


class Rival(Protocol):
    """A module of this room."""

    def fit_rival(self, job: FitJob) -> Fitted: ...

    def load_rival(self, folder: Path, device: str) -> Fitted: ...


class Pipeline(Record):
    """pipeline.json, beside the files of a rival."""

    rival: str = Field(description="module of slingshot.rivals that wrote the files and reads them")
    labels: list[str]
    recipe: dict[str, Any]
    seed: int
    model: str | None = Field(description="revision of the network; null without one")
    versions: dict[str, str]
    sets: SetRule | None = Field(
        None, description="how probabilities become a set; left out where a text has one label"
    )

    ONLY_IF_THERE: ClassVar[tuple[str, ...]] = ("sets",)


def rival_module(name: str) -> Rival:
    """The module of a rival, imported when it is used: one may need torch where another needs none."""
    return cast(Rival, import_module(f"slingshot.rivals.{name}"))


def read_pipeline(folder: Path) -> Pipeline:
    """Read pipeline.json.

    Raises:
        StudyError: the folder holds no fitted pipeline.
    """
    try:
        return Pipeline.model_validate(read_json(folder / PIPELINE))
    except FileNotFoundError:
        raise StudyError(f"{folder} holds no fitted pipeline: run its fit step again") from None
    except ValidationError as error:
        raise StudyError(describe_fault(error, folder / PIPELINE)) from None


def load_fitted(folder: Path, device: str = "cpu") -> Fitted:
    """Load what the step fit left in results/ARM/fitted, ready to answer texts.

    Raises:
        StudyError: the folder holds no fitted pipeline, or one that another version wrote in another form.
    """
    kept = read_pipeline(folder)
    try:
        return rival_module(kept.rival).load_rival(folder, device)
    except (KeyError, TypeError, AttributeError) as error:
        raise StudyError(
            f"{folder} was fitted by another version of Slingshot, whose files this one does not read ({error}): run "
            "the arm's fit step again"
        ) from None


def predictions_of(
    answered: Answered, fitted_labels: Sequence[str], ids: Sequence[str], labels: Sequence[str], candidates: int
) -> list[Prediction]:
    """A prediction per sample; its answer is the likeliest label."""
    best = ranked(answered.probabilities, fitted_labels, candidates)
    answers = [
        {"label": label, "raw": each[0].code, "code": each[0].code} for label, each in zip(labels, best, strict=True)
    ]
    return _predictions(answered, ids, answers, best)


def set_predictions_of(
    answered: Answered,
    fitted_labels: Sequence[str],
    ids: Sequence[str],
    truths: Sequence[Sequence[str]],
    candidates: int,
    rule: SetRule,
) -> list[Prediction]:
    """A prediction per sample; its answer is the set that the rule makes of the probabilities."""
    sets = answered_sets(answered.probabilities, fitted_labels, rule)
    answers = [
        {"raw": in_one_text(codes), **set_fields(truth, codes)} for truth, codes in zip(truths, sets, strict=True)
    ]
    return _predictions(answered, ids, answers, ranked(answered.probabilities, fitted_labels, candidates))


def _predictions(
    answered: Answered, ids: Sequence[str], answers: Sequence[dict[str, Any]], candidates: Sequence[list[Candidate]]
) -> list[Prediction]:
    rows = zip(ids, answers, candidates, answered.tokens, answered.truncated, strict=True)
    return [
        Prediction(
            sample_id=sample_id,
            **answer,
            candidates=best,
            prompt_tokens=tokens,
            new_tokens=0,
            truncated=truncated,
        )
        for sample_id, answer, best, tokens, truncated in rows
    ]
