"""What a study asks for that cannot be: sections that contradict each other, and keys that nothing would read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from pydantic import BaseModel

from slingshot.config.data import Data
from slingshot.config.designs import Designs
from slingshot.config.models import Hardware, Model
from slingshot.config.recipe import Answering, Finetune, overridden
from slingshot.config.rivals import Embedding, Encoder


class Sections(Protocol):
    """What is read of a Study, whose module reads this one."""

    @property
    def data(self) -> Data: ...
    @property
    def answering(self) -> Answering: ...
    @property
    def designs(self) -> Designs: ...
    @property
    def llm(self) -> dict[str, Model]: ...
    @property
    def slm(self) -> dict[str, Model]: ...
    @property
    def models(self) -> dict[str, Model]: ...
    @property
    def embedding(self) -> dict[str, Embedding]: ...
    @property
    def encoder(self) -> dict[str, Encoder]: ...


OF_TRAINING = ("hardware.checkpoint_minutes", "hardware.checkpoint_steps", "hardware.tensorboard")

# Keys of a network that writes nothing (embedding, encoder) which only language models have a use for.
OF_LANGUAGE_MODELS = ("hardware.gpus", "hardware.token_budget", "hardware.memory_gb", *OF_TRAINING)

# Keys of a model behind an endpoint that its own machine decides, or that only weights here have a use for.
OF_WEIGHTS = (
    "dtype",
    "unquantized_without_gpu",
    "prompt.max_tokens",
    "finetune",
    *(f"hardware.{key}" for key in Hardware.model_fields if key not in ("runtime_minutes", "device")),
)


def find_contradiction(study: Sections, raw: Mapping[str, Any]) -> str | None:
    """The first thing that the study asks for and cannot have, with what to do; None where there is none.

    Args:
        raw: the config as written: there a key stands with the entry that it was written for.
    """
    return next(
        (
            fault
            for fault in (
                _fault_of_prompts(study),
                _fault_of_number_types(study),
                _fault_of_labels(study),
                _fault_of_sets(study),
                _fault_of_sweep(study),
                _fault_of_validation(study),
                *_unused_keys(study, raw),
                *_faults_of_devices(raw),
            )
            if fault
        ),
        None,
    )


def finetuned(study: Sections) -> Iterator[tuple[str, str, Model]]:
    """Every model that is finetuned: its section, its key and itself."""
    for section, models in (("llm", study.llm), ("slm", study.slm)):
        for name, model in models.items():
            if section == "slm" or name in study.designs.crossed:
                yield section, name, model


def recipes(study: Sections) -> Iterator[tuple[str, str, Finetune]]:
    """Every recipe that a model is finetuned by: the model's key, where the recipe is written, and the recipe."""
    for section, name, model in finetuned(study):
        yield name, f"{section}.{name}: finetune", model.finetune
    for name, setting in study.designs.sweep.candidates() if study.designs.sweep else ():
        yield name, "designs.sweep.grid", overridden(study.models[name].finetune, setting)


def _fault_of_prompts(study: Sections) -> str | None:
    """Why a finetuned model would answer other prompts than those that it is trained on; None: it would not."""
    designs = study.designs
    untrained = {name for part in (designs.few_shot, designs.prompts) if part for name in part.models}
    for section, name, model in finetuned(study):
        window, trained = model.prompt.max_tokens, model.finetune.max_tokens
        if trained != window:
            return (
                f"{section}.{name} is trained with finetune.max_tokens {trained} and answers with "
                f"prompt.max_tokens {window}: leave finetune.max_tokens out, it is then the same"
            )
        if name in designs.crossed:
            continue
        if model.few_shot.k:
            return (
                f"slm.{name} has few_shot.k {model.few_shot.k}, but a finetuned model is trained and answers "
                "without examples: put few_shot under the llm models that it is for"
            )
        if model.generation.thinking and name not in untrained:
            return (
                f"slm.{name} has generation.thinking, but a finetuned model is trained and answers without a "
                "thought: put it under the llm models that it is for"
            )
    if designs.sweep and "max_tokens" in designs.sweep.grid:
        return "designs.sweep.grid: max_tokens is the same in training and in answering: take it out"
    return None


def _fault_of_number_types(study: Sections) -> str | None:
    """Which finetuned model would be trained in float16, whose numbers end at 6e-8: SmolLM2-135M's gradients were 1%
    away from float32's, and 45% where the loss was a 512th; None: no model."""
    for section, name, model in finetuned(study):
        if model.dtype == "float16":
            return (
                f"{section}.{name}: dtype: float16 is for answering: finetuning loses small gradients in it; set auto, "
                "bfloat16 or float32"
            )
    return None


def _fault_of_labels(study: Sections) -> str | None:
    """What a model is asked to say that plain labels lack: a code set, descriptions; None: nothing."""
    if study.data.labels != "plain":
        return None
    for section, models in (("llm", study.llm), ("slm", study.slm)):
        for name, model in models.items():
            if model.generation.vocabulary == "code_set":
                return (
                    f"{section}.{name}: generation.vocabulary: code_set is for labels of a code tree, and data.labels "
                    "is plain: leave it out"
                )
            if model.prompt.answer != "code" and study.data.columns.description is None:
                return (
                    f"{section}.{name}: prompt.answer: {model.prompt.answer} needs descriptions, and plain labels have "
                    "those of a column alone: name it in data.columns.description, or leave prompt.answer out"
                )
    return None


def _fault_of_sets(study: Sections) -> str | None:
    """What the study asks for that only samples of several labels, or only those of one, can have; None: nothing."""
    several = study.data.several is not None
    for _, where, recipe in recipes(study):
        if not several and recipe.select_by == "validation_micro_f1":
            return (
                f"{where}.select_by: validation_micro_f1 is for data.several; with one label per sample it is "
                "validation_exact_match"
            )
        if several and recipe.head == "classify":
            return f"{where}.head: {_HEAD_OF_SETS}"
    return f"designs.heads: {_HEAD_OF_SETS}" if several and study.designs.heads else None


_HEAD_OF_SETS = (
    "a head over labels chooses one, and with data.several a sample has a set: leave it out (an encoder classifies "
    "sets)"
)


def _fault_of_sweep(study: Sections) -> str | None:
    """Why a sweep's candidates could not be compared; None: they can."""
    sweep = study.designs.sweep
    if sweep is None:
        return None
    if "select_by" in sweep.grid:
        return (
            "designs.sweep.grid: all candidates are compared by the score that finetune.select_by names: take "
            "select_by out"
        )
    for key in sweep.grid:
        if within := next((other for other in sweep.grid if key.startswith(f"{other}.")), None):
            return f"designs.sweep.grid: {within} holds {key}, which it sets, too: name one of them"
    by_loss = [name for name in sweep.models if study.models[name].finetune.select_by == "validation_loss"]
    if len(sweep.grid.get("head", [])) > 1 and by_loss:
        return (
            "designs.sweep.grid: the losses of an answer that is written and of a head over labels cannot be compared: "
            f"set finetune.select_by: validation_exact_match for {by_loss[0]}, or name it in designs.heads"
        )
    return None


def _fault_of_validation(study: Sections) -> str | None:
    """Why nothing would read language models' answers to validation; None: something does, or none are asked for."""
    answering, models = study.answering, study.models.values()
    ranks = any(model.generation.candidates or model.finetune.head == "classify" for model in models)
    if not answering.answer_validation or answering.ensemble_weights == "validation" or not models:
        return None
    if study.data.several is not None:
        return "answering.answer_validation is for selective coding, which takes one label per sample: leave it out"
    if ranks:
        return None
    return (
        "answering.answer_validation: selective coding ranks candidates, and no language model gives any: set "
        "generation.candidates, e.g. 5, or leave it out"
    )


def _unused_keys(study: Sections, raw: Mapping[str, Any]) -> Iterator[str]:
    """A sentence per entry that has keys which nothing would read, where they say other than what it inherits."""
    untrained = "is not finetuned: name it in designs.crossed, or take it out"
    for name, model in study.llm.items():
        if model.is_asked:
            yield from _unused(
                raw, "llm", name, OF_WEIGHTS, "is for weights that are loaded here, and an endpoint answers"
            )
        else:
            yield from _unused(raw, "llm", name, ("asking",), "is for a model behind an endpoint, and this one is here")
            if name not in study.designs.crossed:
                yield from _unused(
                    raw, "llm", name, ("finetune", *OF_TRAINING), f"is for a finetune, and {name} {untrained}"
                )
    for name in study.slm:
        yield from _unused(raw, "slm", name, ("asking",), "is for a model behind an endpoint, and this one is here")
    for kind in ("embedding", "encoder"):
        for name in study.embedding if kind == "embedding" else study.encoder:
            yield from _unused(raw, kind, name, OF_LANGUAGE_MODELS, f"is for language models, and no {kind} uses it")


def _unused(raw: Mapping[str, Any], kind: str, name: str, keys: tuple[str, ...], why: str) -> Iterator[str]:
    written = (raw.get(kind) or {}).get(name) or {}
    for key in keys:
        section, _, inner = key.partition(".")
        default = Model.model_fields[section].default
        value = written.get(section)
        if isinstance(default, BaseModel):
            values, inherited = value or {}, default.model_dump() | (raw.get(section) or {})
            told = [f"{section}.{each}" for each in values if inner in ("", each) and values[each] != inherited[each]]
        else:
            told = [section] if section in written and value != default else []
        if told:
            yield f"{kind}.{name}.{told[0]} {why}"
            return


def _faults_of_devices(raw: Mapping[str, Any]) -> Iterator[str]:
    """A sentence per section `hardware` that names a processor and says what is for GPUs."""
    entries = {"": raw} | {
        f"{kind}.{name}.": entry
        for kind in ("llm", "slm", "embedding", "encoder")
        for name, entry in (raw.get(kind) or {}).items()
    }
    for where, entry in entries.items():
        hardware = entry.get("hardware") or {}
        if hardware.get("device") == "cpu":
            for key in ("gpus", "memory_gb"):
                if hardware.get(key, Hardware.model_fields[key].default) != Hardware.model_fields[key].default:
                    yield f"{where}hardware.{key} is of GPUs, and {where}hardware.device is cpu: leave it out"
