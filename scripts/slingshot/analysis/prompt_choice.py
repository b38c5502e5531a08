"""Choosing among the prompts of an untrained model, on validation alone."""

from __future__ import annotations

from collections.abc import Sequence

from slingshot.analysis.set_scores import micro_f1_values
from slingshot.artifacts.layout import ResultFiles
from slingshot.artifacts.predictions import Prediction, is_right, read_predictions
from slingshot.config.specs import ChoosePromptSpec
from slingshot.core.errors import StudyError
from slingshot.core.files import write_json


def choose_prompt(spec: ChoosePromptSpec, results: ResultFiles, arm: str) -> None:
    """Write which of the arms has the most right free answers on validation, the first at a tie, and how each did.

    Of sets, the one of the highest micro F1.

    Raises:
        StudyError: an arm answered no validation sample.
    """
    shares = {}
    for path in spec.candidates:
        file = results.arm(path).validation.predictions
        predictions = read_predictions(file)
        if not predictions:
            raise StudyError(f"{file} holds no answers: a prompt is chosen on validation, which needs samples")
        name = "validation_exact_match" if predictions[0].labels is None else "validation_micro_f1"
        shares[path] = {name: _score(predictions), "n": len(predictions)}
    chosen = max(shares, key=lambda path: next(iter(shares[path].values())))
    write_json(results.arm(arm).choice, {"chosen": chosen, "candidates": shares})


def _score(predictions: Sequence[Prediction]) -> float:
    if predictions[0].labels is None:
        return sum(map(is_right, predictions)) / len(predictions)
    truths, answers = [each.labels or [] for each in predictions], [each.codes for each in predictions]
    return float(micro_f1_values(truths, answers).mean())
