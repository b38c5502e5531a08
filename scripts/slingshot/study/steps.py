"""The steps of a study: which program runs each, and exactly which part of the study it receives.

Snakemake decides on a rerun by comparing a step's facts: its spec, one line per key, so that the reason which it prints
is the key that changed. It compares them as a set, without their names; therefore each fact holds its own.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, get_args

from slingshot.config.arms import (
    ORIGINS,
    Arm,
    arms_of,
    longest_prompt,
    name_of,
    size_of,
)
from slingshot.config.base import LabelSystem, Spec, TreeLabels
from slingshot.config.data import FileData, HubData
from slingshot.config.models import FolderModel, GgufModel
from slingshot.config.recipe import FewShot, Generation, overridden
from slingshot.config.reporting import Statistics
from slingshot.config.rivals import (
    EmbeddingRecipe,
    EmbeddingSettings,
    EncoderRecipe,
    EncoderSettings,
    Recipe,
    TfidfRecipe,
)
from slingshot.config.specs import (
    AnswerSet,
    AskSpec,
    ChoosePromptSpec,
    ChooseSpec,
    CompareSpec,
    CompareTestSetsSpec,
    DataPageSpec,
    FetchModelSpec,
    FinetuneSpec,
    FitSpec,
    GatherSpec,
    ImportPredictionsSpec,
    PredictFittedSpec,
    PredictSpec,
    PrepareDataSpec,
    PromptChoice,
    PromptText,
    ReportSpec,
    ScoreSpec,
    StepSpec,
)
from slingshot.config.study import Study
from slingshot.core.code_digest import code_digest
from slingshot.core.errors import StudyError
from slingshot.core.fingerprints import CODE_MEMORY, DIGEST_MEMORY, fingerprint
from slingshot.core.hashing import digest_of_text
from slingshot.prompting.template import default_prompt, read_prompt
from slingshot.study.comparing import compare_spec, compare_test_sets_spec, report_spec

PROGRAMS = Path(__file__).parents[2]

SPECS: dict[str, type[StepSpec]] = {
    "prepare_data": PrepareDataSpec,
    "data_page": DataPageSpec,
    "fetch_model": FetchModelSpec,
    "finetune": FinetuneSpec,
    "choose": ChooseSpec,
    "choose_prompt": ChoosePromptSpec,
    "predict": PredictSpec,
    "ask": AskSpec,
    "gather": GatherSpec,
    "fit": FitSpec,
    "predict_fitted": PredictFittedSpec,
    "import_predictions": ImportPredictionsSpec,
    "score": ScoreSpec,
    "compare": CompareSpec,
    "compare_test_sets": CompareTestSetsSpec,
    "report": ReportSpec,
    "export": StepSpec,  # what it writes depends on other steps' files, and on its own code
    "archive": StepSpec,
}

STEPS = tuple(SPECS)

SET_CANDIDATES = 100  # of a sample with several labels: precision at 15 and mean average precision rest on them

RIVALS = Path(__file__).parents[1] / "rivals"


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
        elif name == "recipe":  # of one kind of rival or another: each key once
            yield from dict.fromkeys(f"{name}.{key}" for option in get_args(inner) for key in _keys(option))
        else:
            yield name


def step_spec(study: Study, folder: Path, step: str, target: str = "", written_config: Any = None) -> StepSpec:
    """What a step receives.

    Args:
        folder: the study's folder, where its prompts and local data are.
        step: one of STEPS.
        target: a model's key for fetch_model, an arm's path for finetune, predict and score, else empty.
        written_config: the study as the user wrote it, for the report.

    Raises:
        StudyError: the study has no such model or arm, or a file that it names is missing.
    """
    if {"labels", "data"} & set(SPECS.get(step, StepSpec).model_fields):
        study = _with_tree_digest(study, folder)
    makers: dict[str, Callable[[], StepSpec]] = {
        "prepare_data": lambda: _prepare_data(study, folder),
        "data_page": DataPageSpec,
        "fetch_model": lambda: _fetch_model(study, folder, target),
        "finetune": lambda: _finetune(study, folder, arm_of(study, target)),
        "choose": lambda: _choose(study, arm_of(study, target)),
        "choose_prompt": lambda: ChoosePromptSpec(candidates=arm_of(study, target).best_of),
        "predict": lambda: _predict(study, folder, arm_of(study, target)),
        "ask": lambda: _ask(study, folder, arm_of(study, target)),
        "gather": lambda: GatherSpec(shards=study.answering.shards),
        "fit": lambda: _fit(study, arm_of(study, target)),
        "predict_fitted": lambda: _predict_fitted(study, arm_of(study, target)),
        "import_predictions": lambda: _import_predictions(study, folder, target),
        "score": lambda: _score(study, arm_of(study, target)),
        "compare": lambda: compare_spec(study),
        "compare_test_sets": lambda: compare_test_sets_spec(study),
        "report": lambda: report_spec(study, written_config),
        "export": StepSpec,
        "archive": StepSpec,
    }
    if step not in makers:
        raise StudyError(f"there is no step {step}; the steps are {', '.join(STEPS)}")
    spec = makers[step]()
    update: dict[str, Any] = {"code": _code(step, _rival_of(spec), folder / CODE_MEMORY)}
    if "several" in type(spec).model_fields:
        update["several"] = study.data.several is not None
    return spec.model_copy(update=update)


def _rival_of(spec: StepSpec) -> str | None:
    """The rival whose module a step uses, which is imported by its name."""
    if isinstance(spec, FitSpec):
        return spec.recipe.rival
    return spec.rival if isinstance(spec, PredictFittedSpec) else None


@cache
def _code(step: str, rival: str | None, memory: Path) -> str:
    """The digest of a step's program, with that of the rival's module: a change of one rival reruns no other."""
    digest = code_digest(PROGRAMS / f"{step}.py", memory)
    return digest_of_text(digest + code_digest(RIVALS / f"{rival}.py", memory)) if rival else digest


def _prepare_data(study: Study, folder: Path) -> PrepareDataSpec:
    data = study.data
    sets = {name: _source_digest(each.source, f"test_sets.{name}", folder) for name, each in data.test_sets.items()}
    return PrepareDataSpec(
        data=data,
        source_digest=_source_digest(data.source, "source", folder),
        test_set_digests={name: digest for name, digest in sets.items() if digest},
    )


def _source_digest(source: HubData | FileData, key: str, folder: Path) -> str | None:
    """Digest of local files, of one path or of one for each split; None for the hub."""
    if isinstance(source, HubData):
        return None
    paths = {"": source.path} if isinstance(source.path, str) else dict(source.path)
    digests = {
        part: fingerprint(folder / path, f"config.yaml: data.{key}.path{part and '.'}{part}", folder / DIGEST_MEMORY)
        for part, path in paths.items()
    }
    return digests[""] if "" in digests else digest_of_text(json.dumps(digests, sort_keys=True))


def _with_tree_digest(study: Study, folder: Path) -> Study:
    """The study with the digests of its code trees' files, so that an edit of one changes every spec that reads it."""

    def noted(labels: LabelSystem | None, key: str) -> LabelSystem | None:
        if not isinstance(labels, TreeLabels):
            return labels
        digest = fingerprint(folder / labels.tree, f"config.yaml: data.{key}.tree", folder / DIGEST_MEMORY)
        return labels.model_copy(update={"digest": digest})

    data = study.data
    sets = {
        name: each.model_copy(update={"labels": noted(each.labels, f"test_sets.{name}.labels")})
        for name, each in data.test_sets.items()
    }
    update = {"labels": noted(data.labels, "labels"), "test_sets": sets}
    return study.model_copy(update={"data": data.model_copy(update=update)})


def _fetch_model(study: Study, folder: Path, model: str) -> FetchModelSpec:
    if model not in study.fetched:
        raise StudyError(f"the study fetches no model {model}; it fetches {', '.join(study.fetched)}")
    source = study.networks[model].source
    path = source.folder if isinstance(source, FolderModel) else source.gguf if isinstance(source, GgufModel) else None
    kind = next(kind for kind in ("llm", "slm", "embedding", "encoder") if model in getattr(study, kind))
    digest = fingerprint(folder / path, f"config.yaml: {kind}.{model}.source", folder / DIGEST_MEMORY) if path else None
    return FetchModelSpec(source=source, source_digest=digest, layers=study.networks[model].layers)


def _prompt(study: Study, folder: Path, arm: Arm, max_tokens: int) -> PromptText:
    prompt, system = study.models[arm.model].prompt, study.data.labels
    file = arm.prompt or prompt.file
    several = study.data.several
    path = folder / file if file else default_prompt(system, folder, several is not None)
    answer_set = AnswerSet(order=prompt.order, empty=several.allow_empty) if several else None
    return read_prompt(path, prompt.answer, max_tokens, system, prompt.candidates, answer_set)


def _finetune(study: Study, folder: Path, arm: Arm) -> FinetuneSpec:
    model = study.models[arm.model]
    recipe = overridden(model.finetune, arm.setting)
    by_answers = recipe.select_by != "validation_loss"
    curve = study.designs.learning_curve
    holds_steps = curve is not None and curve.hold == "steps" and arm.model in curve.models
    return FinetuneSpec(
        quantization="none" if model.quantization == "fp8" else model.quantization,
        unquantized_without_gpu=model.unquantized_without_gpu,
        dtype=model.dtype,
        prompt=_prompt(study, folder, arm, model.prompt.max_tokens),
        finetune=recipe,
        max_new_tokens=model.generation.max_new_tokens if by_answers else None,
        labels=study.data.labels if by_answers else None,
        level=study.data.level if by_answers else None,
        train_size=arm.train_size,
        hold_steps=arm.train_size is not None and holds_steps,
        seed=study.seed if arm.seed is None else arm.seed,
    )


def _choose(study: Study, arm: Arm) -> ChooseSpec:
    return ChooseSpec(candidates=arm.best_of, select_by=study.models[arm.model].finetune.select_by)


def _predict(study: Study, folder: Path, arm: Arm) -> PredictSpec:
    model = study.models[arm.model]
    choices = _choices(study, folder, arm)
    return PredictSpec(
        quantization=model.quantization,
        unquantized_without_gpu=model.unquantized_without_gpu,
        dtype=model.dtype,
        prompt=_prompt(study, folder, arm, longest_prompt(model, arm)),
        generation=_generation(study, arm),
        few_shot=_few_shot(study, arm, any(choice.k for choice in choices.values())),
        labels=study.data.labels,
        level=study.data.level,
        head=overridden(model.finetune, arm.setting).head if arm.finetuned else "write",
        choices=choices,
    )


def _generation(study: Study, arm: Arm) -> Generation:
    """How the arm answers; what does not act on it is as where nothing is said."""
    asked, default = study.models[arm.model].generation, Generation()
    thinks = asked.thinking and not arm.finetuned  # a finetuned model answers as it was trained: without a thought
    lists = (asked.constrained or asked.candidates > 0) and study.data.labels != "plain"
    unused = {} if thinks else {"thinking": False, "thinking_tokens": default.thinking_tokens}
    return asked.model_copy(update=unused | ({} if lists else {"vocabulary": default.vocabulary}))


def _few_shot(study: Study, arm: Arm, chosen: bool) -> FewShot:
    """The arm's examples, none for a finetuned one; `chosen`: their number is chosen on validation."""
    few_shot = study.models[arm.model].few_shot
    k = 0 if arm.finetuned else few_shot.k if arm.shots is None else arm.shots
    return few_shot.model_copy(update={"k": k}) if k or chosen else FewShot()


def _choices(study: Study, folder: Path, arm: Arm) -> dict[str, PromptChoice]:
    """The prompts that an untrained arm's own is chosen from, by the paths of their arms."""
    if arm.finetuned:
        return {}
    arms = [arm_of(study, path) for path in arm.best_of]
    model = study.models[arm.model]
    return {
        each.path: PromptChoice(prompt=_prompt(study, folder, each, longest_prompt(model, each)), k=each.shots or 0)
        for each in arms
    }


def _ask(study: Study, folder: Path, arm: Arm) -> AskSpec:
    model, predict = study.models[arm.model], _predict(study, folder, arm)
    shared = {
        name: getattr(predict, name) for name in ("prompt", "generation", "few_shot", "labels", "level", "choices")
    }
    return AskSpec(source=model.source, **shared)


def _recipe(study: Study, arm: Arm) -> Recipe:
    if arm.kind == "embedding":
        settings = study.embedding[arm.model].model_dump(include=set(EmbeddingSettings.model_fields))
        return EmbeddingRecipe.model_validate(settings)
    if arm.kind == "encoder":
        settings = study.encoder[arm.model].model_dump(include=set(EncoderSettings.model_fields))
        return EncoderRecipe.model_validate(settings)
    return TfidfRecipe()


def _fit(study: Study, arm: Arm) -> FitSpec:
    return FitSpec(recipe=_recipe(study, arm), seed=study.seed if arm.seed is None else arm.seed)


def _predict_fitted(study: Study, arm: Arm) -> PredictFittedSpec:
    least = 5 if study.data.several is None else SET_CANDIDATES
    return PredictFittedSpec(rival=_recipe(study, arm).rival, candidates=max(least, study.generation.candidates))


def _import_predictions(study: Study, folder: Path, target: str) -> ImportPredictionsSpec:
    """`target` is an arm's path, or `ARM@SET` for its answers to a further test set."""
    path, _, test_set = target.partition("@")
    model = arm_of(study, path).model
    system = study.predictions[model]
    file = system.test_sets[test_set] if test_set else system.file
    where = f"config.yaml: predictions.{model}.{f'test_sets.{test_set}' if test_set else 'file'}"
    digest = fingerprint(folder / file, where, folder / DIGEST_MEMORY)
    _require_columns(folder / file, system.columns.names, where, f"config.yaml: predictions.{model}.columns")
    return ImportPredictionsSpec(
        file=file,
        file_digest=digest,
        columns=system.columns,
        allow_missing=system.allow_missing,
        labels=study.data.labels,
        level=study.data.level,
    )


def _require_columns(path: Path, names: list[str], where: str, key: str) -> None:
    """Read a file of answers as far as its first rows: its step may be due only after hours of training.

    Raises:
        StudyError: it cannot be read, or lacks one of these columns; names the key.
    """
    from slingshot.data.readers import read_other_file  # here: the rules of a study without such a file need no Arrow
    from slingshot.data.tables import ColumnError

    try:
        next(read_other_file(path, names), None)
    except ColumnError as error:
        raise StudyError(f"{key}: {error}") from None
    except StudyError as error:
        raise StudyError(f"{where}: {error}") from None


def _score(study: Study, arm: Arm) -> ScoreSpec:
    return ScoreSpec(
        arm=arm.path,
        model_type=ORIGINS[arm.kind].model_type,
        model_name=name_of(study, arm),
        model_size=size_of(study, arm),
        training_status=arm.training_status,
        labels=study.data.labels,
        level=study.data.level,
        statistics=Statistics(confidence=study.statistics.confidence, resamples=study.statistics.resamples),
    )
