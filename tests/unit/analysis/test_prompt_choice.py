"""The prompt that does best on validation is put into the spec that answers test."""

from __future__ import annotations

import pytest

from slingshot.analysis.prompt_choice import choose_prompt
from slingshot.artifacts.layout import ResultFiles
from slingshot.artifacts.predictions import Prediction, write_predictions
from slingshot.config.base import Spec
from slingshot.config.recipe import FewShot, Generation
from slingshot.config.specs import ChoosePromptSpec, PredictSpec, PromptChoice, PromptText
from slingshot.core.errors import StudyError
from slingshot.core.files import read_json
from slingshot.prompting.choices import with_choice

PATHS = ["llm/a/prompt-x_k-0", "llm/a/prompt-y_k-2", "llm/a/prompt-z_k-0"]


def prompt(user: str) -> PromptText:
    return PromptText(system="s", user=user, answer="code", max_tokens=100)


def spec_of(choices: dict[str, PromptChoice]) -> Spec:
    return PredictSpec(
        quantization="none",
        unquantized_without_gpu=False,
        dtype="float32",
        prompt=prompt("x"),
        generation=Generation(),
        few_shot=FewShot(selection="nearest"),
        labels="icd10cm",
        level="code",
        choices=choices,
    )


def test_the_best_on_validation_is_taken_and_said(tmp_path):
    results = ResultFiles(tmp_path)
    for path, right in zip(PATHS, (1, 3, 3), strict=True):
        file = results.arm(path).validation.predictions
        file.parent.mkdir(parents=True)
        write_predictions(
            file,
            [
                Prediction(
                    sample_id=str(n),
                    label="A047",
                    raw="",
                    code="A047" if n < right else None,
                    prompt_tokens=1,
                    new_tokens=1,
                )
                for n in range(4)
            ],
        )
    arm = "llm/a/best_prompt"
    results.arm(arm).folder.mkdir(parents=True)
    choose_prompt(ChoosePromptSpec(candidates=PATHS), results, arm)
    made = read_json(results.arm(arm).choice)
    assert made["chosen"] == PATHS[1]  # the first of two that are equally good
    assert made["candidates"][PATHS[0]] == {"validation_exact_match": 0.25, "n": 4}
    spec = spec_of({path: PromptChoice(prompt=prompt(path), k=int(path[-1])) for path in PATHS})
    chosen, notes = with_choice(spec, results.arm(arm).choice)
    assert (chosen.prompt.user, chosen.few_shot.k, chosen.few_shot.selection) == (PATHS[1], 2, "nearest")
    assert notes == [f"prompt of {PATHS[1]}, chosen among 3 on validation (75.0% of 4)"]
    with pytest.raises(StudyError, match="none of llm/a/prompt-x_k-0"):
        with_choice(spec_of({PATHS[0]: PromptChoice(prompt=prompt("x"), k=0)}), results.arm(arm).choice)
    with pytest.raises(StudyError, match="--choice"):
        with_choice(spec, None)
    assert with_choice(spec_of({}), None) == (spec_of({}), [])
