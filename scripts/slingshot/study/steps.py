"""The steps of a study: which program runs each, and exactly which part of the study it is told.

Snakemake decides on a rerun by comparing a step's facts: its spec, a line a key, so that the reason which it prints
is the key that changed. It compares them as a set, without their names; therefore each fact holds its own.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from slingshot.config.arms import Arm, arms_of, longest_prompt, result_key
from slingshot.config.base import ModelType, Spec
from slingshot.config.data import FileData
from slingshot.config.models import FolderModel, GgufModel
from slingshot.config.recipe import overridden
from slingshot.config.specs import (
    AskSpec,
    BaselineSpec,
    ChooseSpec,
    CompareSpec,
    FetchModelSpec,
    FinetuneSpec,
    GatherSpec,
    PredictSpec,
    PrepareDataSpec,
    PromptText,
    ReportSpec,
    ScoreSpec,
    StepSpec,
)
from slingshot.config.study import Study
from slingshot.core.code_digest import code_digest
from slingshot.core.errors import StudyError
from slingshot.core.fingerprints import DIGEST_MEMORY, fingerprint
from slingshot.prompting.template import read_prompt

PROGRAMS = Path(__file__).parents[2]

SPECS: dict[str, type[StepSpec]] = {
    "prepare_data": PrepareDataSpec,
    "fetch_model": FetchModelSpec,
    "finetune": FinetuneSpec,
    "choose": ChooseSpec,
    "predict": PredictSpec,
    "ask": AskSpec,
    "gather": GatherSpec,
    "baseline": BaselineSpec,
    "score": ScoreSpec,
    "compare": CompareSpec,
    "report": ReportSpec,
}

STEPS = tuple(SPECS)

MODEL_TYPES: dict[str, ModelType] = {"llm": "LLM", "slm": "SLM", "baseline": "BASELINE"}


def arm_of(study: Study, path: str) -> Arm:
    """The arm with this path.

    Raises:
        StudyError: the study has no such arm; names those that it has.
    """
    arms = {arm.path: arm for arm in arms_of(study)}
    if path not in arms:
        raise StudyError(f"the study has no arm {path}; it has {', '.join(arms)}")
    return arms[path]


def keys_of(step: str) -> list[str]:
    """The keys of a step's spec, with dots where one stands in another: `finetune.lora.r`."""
    keys = list(_keys(SPECS[step]))
    if step == "report":  # it prints the whole config: a key for each section
        keys = [key for key in keys if key != "config"] + [f"config.{section}" for section in Study.model_fields]
    return keys


def fact_of(spec: StepSpec, key: str) -> str:
    """One key of a spec with its value: `finetune.lora.r = 64`."""
    value: Any = spec.model_dump(mode="json")
    for part in key.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return f"{key} = {json.dumps(value, sort_keys=True, ensure_ascii=False)}"


def _keys(model: type[Spec]) -> Iterator[str]:
    for name, field in model.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, Spec):
            yield from (f"{name}.{key}" for key in _keys(inner))
        else:
            yield name


def step_spec(study: Study, folder: Path, step: str, target: str = "", written_config: Any = None) -> StepSpec:
    """What a step is told.

    Args:
        folder: the study's folder, where its prompts and local data are.
        step: one of STEPS.
        target: a model's key for fetch_model, an arm's path for finetune, predict and score, else empty.
        written_config: the study as the user wrote it, for the report.

    Raises:
        StudyError: the study has no such model or arm, or a file that it names is missing.
    """
    if step == "prepare_data":
        spec: StepSpec = _prepare_data(study, folder)
    elif step == "fetch_model":
        spec = _fetch_model(study, folder, target)
    elif step == "finetune":
        spec = _finetune(study, folder, arm_of(study, target))
    elif step == "choose":
        spec = _choose(study, arm_of(study, target))
    elif step == "predict":
        spec = _predict(study, folder, arm_of(study, target))
    elif step == "ask":
        spec = _ask(study, folder, arm_of(study, target))
    elif step == "gather":
        spec = GatherSpec(shards=study.evaluation.shards)
    elif step == "baseline":
        spec = BaselineSpec(candidates=max(5, study.generation.candidates), seed=study.seed)
    elif step == "score":
        spec = _score(study, arm_of(study, target))
    elif step == "compare":
        spec = _compare(study)
    elif step == "report":
        spec = _report(study, written_config)
    else:
        raise StudyError(f"there is no step {step}; the steps are {', '.join(STEPS)}")
    return spec.model_copy(update={"code": _code(step)})


@cache
def _code(step: str) -> str:
    return code_digest(PROGRAMS / f"{step}.py")


def _prepare_data(study: Study, folder: Path) -> PrepareDataSpec:
    source = study.data.source
    local = folder / source.path if isinstance(source, FileData) else None
    digest = fingerprint(local, "config.yaml: data.source.path", folder / DIGEST_MEMORY) if local else None
    return PrepareDataSpec(data=study.data, source_digest=digest)


def _fetch_model(study: Study, folder: Path, model: str) -> FetchModelSpec:
    if model not in study.models:
        raise StudyError(f"the study has no model {model}; it has {', '.join(study.models)}")
    source = study.models[model].source
    path = source.folder if isinstance(source, FolderModel) else source.gguf if isinstance(source, GgufModel) else None
    kind = "llm" if model in study.llm else "slm"
    digest = fingerprint(folder / path, f"config.yaml: {kind}.{model}.source", folder / DIGEST_MEMORY) if path else None
    return FetchModelSpec(source=source, source_digest=digest, layers=study.models[model].layers)


def _prompt(study: Study, folder: Path, arm: Arm, max_tokens: int) -> PromptText:
    prompt = study.models[arm.model].prompt
    return read_prompt(folder / prompt.file, prompt.answer, max_tokens)


def _finetune(study: Study, folder: Path, arm: Arm) -> FinetuneSpec:
    model = study.models[arm.model]
    recipe = overridden(model.finetune, arm.setting)
    by_exact_match = recipe.select_by == "validation_exact_match"
    curve = study.designs.learning_curve
    return FinetuneSpec(
        quantization="none" if model.quantization == "fp8" else model.quantization,
        unquantized_without_gpu=model.unquantized_without_gpu,
        dtype=model.dtype,
        prompt=_prompt(study, folder, arm, recipe.max_tokens),
        finetune=recipe,
        max_new_tokens=model.generation.max_new_tokens if by_exact_match else None,
        labels=study.data.labels if by_exact_match else None,
        level=study.data.level if by_exact_match else None,
        train_size=arm.train_size,
        hold_steps=arm.train_size is not None and curve is not None and curve.hold == "steps",
        seed=study.seed if arm.seed is None else arm.seed,
    )


def _choose(study: Study, arm: Arm) -> ChooseSpec:
    return ChooseSpec(candidates=arm.best_of, select_by=study.models[arm.model].finetune.select_by)


def _predict(study: Study, folder: Path, arm: Arm) -> PredictSpec:
    model = study.models[arm.model]
    few_shot = model.few_shot if arm.shots is None else model.few_shot.model_copy(update={"k": arm.shots})
    return PredictSpec(
        quantization=model.quantization,
        unquantized_without_gpu=model.unquantized_without_gpu,
        dtype=model.dtype,
        prompt=_prompt(study, folder, arm, longest_prompt(model, arm)),
        generation=model.generation,
        few_shot=few_shot,
        labels=study.data.labels,
        level=study.data.level,
    )


def _ask(study: Study, folder: Path, arm: Arm) -> AskSpec:
    model, predict = study.models[arm.model], _predict(study, folder, arm)
    shared = {name: getattr(predict, name) for name in ("prompt", "generation", "few_shot", "labels", "level")}
    return AskSpec(source=model.source, **shared)


def _score(study: Study, arm: Arm) -> ScoreSpec:
    model = study.models.get(arm.model)
    return ScoreSpec(
        arm=arm.path,
        model_type=MODEL_TYPES[arm.kind],
        model_name=model.display_name if model else arm.model,
        model_size=model.size if model else None,
        training_status="finetuned" if arm.finetuned else "untrained",
        labels=study.data.labels,
        level=study.data.level,
        statistics=study.statistics,
    )


def scored_arms(study: Study) -> list[Arm]:
    """The arms that are read on the test split: all but the candidates of a sweep."""
    return [arm for arm in arms_of(study) if not arm.candidate]


def _compare(study: Study) -> CompareSpec:
    arms = scored_arms(study)
    return CompareSpec(
        arms=arms,
        result_keys={arm.path: result_key(study, arm) for arm in arms},
        ensemble_weights=study.evaluation.ensemble_weights,
        statistics=study.statistics,
        cost=study.cost,
        token_prices={arm.path: prices for arm in arms if arm.asked and (prices := study.models[arm.model].prices)},
    )


def _report(study: Study, written_config: Any) -> ReportSpec:
    return ReportSpec(
        report=study.report,
        statistics=study.statistics,
        cost=study.cost,
        arms=scored_arms(study),
        config=_without_hardware(written_config or study.model_dump(mode="json")),
    )


def _without_hardware(config: Any) -> Any:
    """The config without what only says where steps run, which changes no result and so no report.

    That is the sections `hardware` and `evaluation`, and each model's `hardware`; a model may have such a name.
    """
    if not isinstance(config, dict):
        return config
    sections = {key: value for key, value in config.items() if key not in ("hardware", "evaluation")}
    for kind in ("llm", "slm"):
        if isinstance(sections.get(kind), dict):
            sections[kind] = {
                name: {key: value for key, value in model.items() if key != "hardware"}
                if isinstance(model, dict)
                else model
                for name, model in sections[kind].items()
            }
    return sections
