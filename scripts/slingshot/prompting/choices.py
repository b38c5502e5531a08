"""The prompt that was chosen on validation, put into the spec of the step that answers test with it."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from slingshot.config.specs import AskSpec, PredictSpec
from slingshot.core.errors import StudyError
from slingshot.core.files import read_json

SpecT = TypeVar("SpecT", PredictSpec, AskSpec)


def with_choice(spec: SpecT, path: Path | None) -> tuple[SpecT, list[str]]:
    """The spec with the chosen prompt and number of examples, and a note that says among how many it was chosen.

    Raises:
        StudyError: the spec asks for a choice and none was made, or another one than it knows.
    """
    if not spec.choices:
        return spec, []
    if path is None:
        raise StudyError("the arm's prompt is chosen on validation: give choose_prompt's file with --choice")
    made = read_json(path)
    try:
        chosen = made["chosen"]
        did = made["candidates"][chosen]
        share, count = float(did.get("validation_exact_match", did.get("validation_micro_f1"))), int(did["n"])
        choice = spec.choices.get(chosen)
    except (AttributeError, LookupError, TypeError, ValueError):
        raise StudyError(
            f"{path} is not what choose_prompt writes: choose again with `snakemake --force {path}`"
        ) from None
    if choice is None:
        raise StudyError(f"{path} chose {chosen}, which is none of {', '.join(spec.choices)}: choose again")
    of_what = " micro F1" if "validation_micro_f1" in did else ""
    note = f"prompt of {chosen}, chosen among {len(spec.choices)} on validation ({share:.1%}{of_what} of {count})"
    few_shot = spec.few_shot.model_copy(update={"k": choice.k})
    return spec.model_copy(update={"prompt": choice.prompt, "few_shot": few_shot}), [note]
