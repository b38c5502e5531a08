"""What an arm answered: one record per sample, in the order of its split.

In a study whose samples have several labels (`data.several`) a record also holds the true set and the answered ones as
lists; `label`, `code` and `constrained_code` are then these lists in one text, for what reads texts. Which kind of
study it is travels in the steps' specs: `several` there, `prompt.several` where a language model answers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from slingshot.artifacts.records import describe_fault
from slingshot.core.errors import StudyError
from slingshot.core.files import read_jsonl, write_jsonl

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Candidate(BaseModel):
    """A ranked answer. `log_probability` is natural, of the whole answer given the prompt; in a study of sets it is of
    one label, that it is in the set."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    code: str
    log_probability: float


def _without_repeats(labels: list[str] | None) -> list[str] | None:
    if labels is not None and len(set(labels)) < len(labels):
        raise ValueError("names a label twice")
    return labels


LabelList = Annotated[list[str] | None, AfterValidator(_without_repeats)]

SET_SEPARATOR = "; "  # between the labels of a set in one text


class Prediction(BaseModel):
    """One sample's answer.

    `raw` is the completion as generated; `code` is the label read from it, or None where none could be read;
    `constrained_code` is the label that constrained decoding chose, where the study asks for it;
    `candidates` are the best first. The last fields are left out of the file where they are null: `thinking` is what
    the model wrote before its answer, `finish_reason` why it ended (stop, length), `refusal` what an endpoint said
    instead of an answer, `error` why there is none.

    Of a set: `labels` is the true one in the source's order, `codes` and `constrained_codes` are the answered ones in
    the order of the answer, none of them with a repeat. `[]` is an answered empty set, null an answer that could not be
    read; all three are null where samples have one label each.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    sample_id: str
    label: str
    raw: str
    code: str | None
    constrained_code: str | None = None
    candidates: list[Candidate] = []
    prompt_tokens: int
    new_tokens: int
    truncated: bool = False
    thinking: str | None = None
    thinking_tokens: int | None = None
    finish_reason: str | None = None
    refusal: str | None = None
    error: str | None = None
    labels: LabelList = None
    codes: LabelList = None
    constrained_codes: LabelList = None


SETS = ("labels", "codes", "constrained_codes")

OPTIONAL = ("thinking", "thinking_tokens", "finish_reason", "refusal", "error", *SETS)


def in_one_text(labels: Sequence[str] | None) -> str | None:
    """A set of labels as one text; None for None, and "" for the empty set."""
    return None if labels is None else SET_SEPARATOR.join(labels)


def set_fields(
    labels: Sequence[str], codes: Sequence[str] | None, constrained: Sequence[str] | None = None
) -> dict[str, Any]:
    """The fields of a Prediction that hold sets, as lists and as texts."""
    return {
        "label": in_one_text(labels),
        "code": in_one_text(codes),
        "constrained_code": in_one_text(constrained),
        "labels": list(labels),
        "codes": None if codes is None else list(codes),
        "constrained_codes": None if constrained is None else list(constrained),
    }


def is_right(prediction: Prediction, constrained: bool = False) -> bool:
    """Whether the answer is the label; of sets, whether both hold the same labels."""
    if prediction.labels is None:
        return (prediction.constrained_code if constrained else prediction.code) == prediction.label
    codes = prediction.constrained_codes if constrained else prediction.codes
    return codes is not None and set(codes) == set(prediction.labels)


def write_predictions(path: Path | str, predictions: Iterable[Prediction]) -> None:
    """Write JSON Lines without time stamps: the same answers give the same bytes."""
    write_jsonl(path, (_as_row(prediction) for prediction in predictions))


def _as_row(prediction: Prediction) -> dict[str, Any]:
    absent = {name for name in OPTIONAL if getattr(prediction, name) is None}
    return prediction.model_dump(exclude=absent)


def read_predictions(path: Path | str) -> list[Prediction]:
    """Read predictions.jsonl.

    Raises:
        StudyError: a line is not a prediction, or a sample stands in it twice.
    """
    predictions = []
    seen: set[str] = set()
    for number, row in enumerate(read_jsonl(path), start=1):
        try:
            prediction = Prediction.model_validate(row)
        except ValidationError as error:
            raise StudyError(describe_fault(error, path, f"{path}, line {number}")) from None
        if prediction.sample_id in seen:
            raise StudyError(f"{path}, line {number}: sample {prediction.sample_id} stands there twice")
        seen.add(prediction.sample_id)
        predictions.append(prediction)
    return predictions


LEAST_PROBABILITY = 1e-12  # a logarithm must be finite


def ranked(probabilities: NDArray[np.float64], labels: Sequence[str], count: int) -> list[list[Candidate]]:
    """Per row of shape (labels,) the `count` likeliest labels (at least one), of equals the first."""
    import numpy as np  # what only reads predictions needs none

    count = min(max(count, 1), probabilities.shape[1])
    columns = np.argsort(-probabilities, axis=1, kind="stable")[:, :count]
    logs = np.log(np.maximum(np.take_along_axis(probabilities, columns, axis=1), LEAST_PROBABILITY))
    return [
        [
            Candidate(code=str(labels[column]), log_probability=float(value))
            for column, value in zip(row, values, strict=True)
        ]
        for row, values in zip(columns, logs, strict=True)
    ]
