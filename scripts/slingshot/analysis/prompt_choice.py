"""Choosing among the prompts of an untrained model, on validation alone."""

from __future__ import annotations

from slingshot.artifacts.layout import ResultFiles
from slingshot.artifacts.predictions import read_predictions
from slingshot.config.specs import ChoosePromptSpec
from slingshot.core.errors import StudyError
from slingshot.core.files import write_json


def choose_prompt(spec: ChoosePromptSpec, results: ResultFiles, arm: str) -> None:
    """Write which of the arms has the most right free answers on validation, the first at a tie, and how each did.

    Raises:
        StudyError: an arm answered no validation sample.
    """
    shares = {}
    for path in spec.candidates:
        file = results.arm(path).validation.predictions
        predictions = read_predictions(file)
        if not predictions:
            raise StudyError(f"{file} holds no answers: a prompt is chosen on validation, which needs samples")
        right = sum(prediction.code == prediction.label for prediction in predictions)
        shares[path] = {"validation_exact_match": right / len(predictions), "n": len(predictions)}
    chosen = max(shares, key=lambda path: shares[path]["validation_exact_match"])
    write_json(results.arm(arm).choice, {"chosen": chosen, "candidates": shares})
