"""The arms of a study: a model under one treatment each, with those that the designs add."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import PurePosixPath
from typing import Any, Literal

from pydantic import Field

from slingshot.config.base import ArmKind, ModelType, Spec, TrainingStatus
from slingshot.config.models import Model
from slingshot.config.recipe import overridden
from slingshot.config.study import Study
from slingshot.core.hashing import digest_of_text


@dataclass(frozen=True)
class Origin:
    """Where the answers of a kind of arm come from, which decides on its rules and files."""

    model_type: ModelType
    generates: bool = False  # a language model that writes its answers
    has_weights: bool = False  # a network that fetch_model fetches
    training_step: str | None = None  # the step that leaves finetune.json, in an arm that is trained here
    answering_step: str | None = None  # the step that leaves predict.json; None: nothing runs here


ORIGINS: dict[ArmKind, Origin] = {
    "llm": Origin("LLM", True, True, "finetune", "predict"),
    "slm": Origin("SLM", True, True, "finetune", "predict"),
    "baseline": Origin("BASELINE", False, False, "fit", "predict_fitted"),
    "embedding": Origin("EMBEDDING", False, True, "fit", "predict_fitted"),
    "encoder": Origin("ENCODER", False, True, "fit", "predict_fitted"),
    "predictions": Origin("PREDICTIONS"),
}


class Arm(Spec):
    """A model under one treatment. `path` is its folder under results/ and its name everywhere.

    What reads an arm's results asks for its properties, not for its kind.
    """

    kind: ArmKind
    model: str
    variant: str | None = None
    finetuned: bool
    asked: bool = Field(False, description="an endpoint answers, instead of weights that are loaded here")
    design: Literal["crossed", "learning_curve", "seeds", "few_shot", "sweep", "heads", "prompts"] | None = Field(
        None, description="the design that added the arm; null: the study itself"
    )
    train_size: int | None = Field(None, description="null: all of train")
    seed: int | None = Field(None, description="null: the study's")
    shots: int | None = Field(None, description="null: the model's few_shot.k")
    human: bool = Field(False, description="the answers of a human coder: a ceiling to look at, never recommended")
    setting: dict[str, Any] = Field(default={}, description="finetune keys that a sweep sets, dotted")
    prompt: str | None = Field(None, description="file of its prompt; null: the model's prompt.file")
    candidate: bool = Field(False, description="of a sweep or of prompts: judged on validation, never read on test")
    best_of: list[str] = Field(default=[], description="paths of the arms that it is chosen from, on validation")

    @property
    def path(self) -> str:
        return "/".join(part for part in (self.kind, self.model, self.variant) if part)

    @property
    def generates(self) -> bool:
        """Whether a language model writes the answers: they can be unreadable, and constrained."""
        return ORIGINS[self.kind].generates

    @property
    def has_weights(self) -> bool:
        """Whether a network is fetched for it, so that results/models/ holds a card named after `model`."""
        return ORIGINS[self.kind].has_weights and not self.asked

    @property
    def steps(self) -> dict[str, str]:
        """The records that the arm leaves (finetune, predict) to the steps that write them, in their order."""
        origin = ORIGINS[self.kind]
        answering = "ask" if self.asked else origin.answering_step
        steps = {"finetune": origin.training_step if self.finetuned else None, "predict": answering}
        return {record: step for record, step in steps.items() if step}

    @property
    def rules(self) -> list[str]:
        """The workflow's rules that make its result, in order: answers to test, or a candidate's validation score.

        Snakemake's rules constrain their `arm` wildcard by it, and the report draws its graph from it.
        """
        if not self.steps:
            return ["import_predictions"]
        if self.candidate:
            return [self.steps["finetune"]] if self.finetuned else [f"{self.steps['predict']}_validation"]
        if self.best_of and self.finetuned:  # its adapter is the best candidate's
            return ["choose", self.steps["predict"]]
        return [*(["choose_prompt"] if self.best_of else []), *self.steps.values()]

    @property
    def training_status(self) -> TrainingStatus:
        if self.kind == "predictions":
            return "imported"
        return "finetuned" if self.finetuned else "untrained"


def arms_of(study: Study) -> list[Arm]:
    """Every arm of the study: large models, small models, their rivals, then what the designs add."""
    arms = [Arm(kind="llm", model=name, finetuned=False, asked=model.is_asked) for name, model in study.llm.items()]
    arms += [Arm(kind="slm", model=model, finetuned=True) for model in study.slm]
    if study.baseline.tfidf:
        arms.append(Arm(kind="baseline", model="tfidf", finetuned=True))
    arms += [Arm(kind="embedding", model=model, finetuned=True) for model in study.embedding]
    arms += [Arm(kind="encoder", model=model, finetuned=True) for model in study.encoder]
    arms += [
        Arm(kind="predictions", model=name, finetuned=False, human=system.human)
        for name, system in study.predictions.items()
    ]
    by_path = {arm.path: arm for arm in arms}
    for arm in _design_arms(study):
        by_path.setdefault(arm.path, arm)  # two designs may ask for one arm
    return list(by_path.values())


def answers_validation(study: Study, arm: Arm) -> bool:
    """Whether an arm answers the validation split, too: what is fitted always, as it takes seconds; a language model
    where the ensemble's weights or selective coding ask for it."""
    if arm.design == "prompts" and arm.candidate:
        return True
    if arm.design is not None or "predict" not in arm.steps:
        return False
    asked = study.answering.ensemble_weights == "validation" or study.answering.answer_validation
    return asked or not arm.generates


def longest_prompt(model: Model, arm: Arm) -> int:
    """Tokens that a prompt may have: each example of a few-shot ladder adds room for a dialogue of full length."""
    return model.prompt.max_tokens * (1 + (arm.shots or 0))


def _design_arms(study: Study) -> Iterator[Arm]:
    designs = study.designs
    for model in designs.crossed:
        finetuned = model in study.llm
        yield _variant(study, model, "finetuned" if finetuned else "untrained", "crossed", finetuned)
    if curve := designs.learning_curve:
        for model, size in product(curve.models, curve.train_sizes):
            yield _variant(study, model, f"train{size}", "learning_curve", True, train_size=size)
    if repeats := designs.seeds:
        for model, seed in product(repeats.models, repeats.seeds):
            if seed != study.seed:
                yield _variant(study, model, f"seed{seed}", "seeds", True, seed=seed)
    if ladder := designs.few_shot:
        for model, k in product(ladder.models, ladder.k):
            is_there = model in study.llm or model in designs.crossed  # untrained, with the model's own few_shot.k
            if k != study.models[model].few_shot.k or not is_there:
                yield _variant(study, model, f"shots{k}", "few_shot", False, shots=k)
    yield from _sweep_arms(study)
    yield from _head_arms(study)
    yield from _prompt_arms(study)


def _sweep_arms(study: Study) -> Iterator[Arm]:
    """The candidates of each model, then the arm that the best of them becomes.

    A setting that is the model's own recipe needs no candidate: the arm that is there already competes.
    """
    by_model: dict[str, list[str]] = {}
    for model, setting in study.designs.sweep.candidates() if study.designs.sweep else ():
        recipe = study.models[model].finetune
        if overridden(recipe, setting) == recipe:
            path = f"llm/{model}/finetuned" if model in study.llm else f"slm/{model}"
        else:
            arm = _variant(study, model, f"sweep-{_name_of(setting)}", "sweep", True, setting=setting, candidate=True)
            path = arm.path
            yield arm
        by_model.setdefault(model, []).append(path)
    for model, candidates in by_model.items():
        yield _variant(study, model, "best", "sweep", True, best_of=candidates)


def _prompt_arms(study: Study) -> Iterator[Arm]:
    """The prompts of each model, then the arm that answers with the best of them."""
    by_model: dict[str, list[str]] = {}
    for model, file, k in study.designs.prompts.candidates() if study.designs.prompts else ():
        variant = f"prompt-{re.sub(r'[^A-Za-z0-9_-]', '-', PurePosixPath(file).stem)}_k-{k}"
        arm = _variant(study, model, variant, "prompts", False, prompt=file, shots=k, candidate=True)
        by_model.setdefault(model, []).append(arm.path)
        yield arm
    for model, candidates in by_model.items():
        yield _variant(study, model, "best_prompt", "prompts", False, best_of=candidates)


def _head_arms(study: Study) -> Iterator[Arm]:
    """The other way to answer on all of train, then both ways on each smaller size."""
    for model in study.designs.heads.models if study.designs.heads else ():
        own = study.models[model].finetune.head
        other = "classify" if own == "write" else "write"
        yield _variant(study, model, other, "heads", True, setting={"head": other})
        for size in study.designs.heads.train_sizes if study.designs.heads else ():
            yield _variant(study, model, f"train{size}", "heads", True, train_size=size)
            named = f"{other}_train{size}"
            yield _variant(study, model, named, "heads", True, train_size=size, setting={"head": other})


MOST_NAME = 120  # characters; a file's name may have 255


def _name_of(setting: dict[str, Any]) -> str:
    """A setting in letters, digits and `._=-` alone: it becomes a folder and a word of a shell's command.

    A name that lost a character or was cut at MOST_NAME ends in a digest of the whole setting, so that no two settings
    share a name.
    """
    name = "_".join(f"{key.rpartition('.')[2]}-{value}" for key, value in setting.items())
    safe = re.sub(r"[^A-Za-z0-9._=-]+", "-", name)[:MOST_NAME].strip("-.")
    return safe if safe == name else f"{safe}-{digest_of_text(json.dumps(setting, sort_keys=True))[:8]}"


def _variant(study: Study, model: str, variant: str, design: Any, finetuned: bool, **treatment: Any) -> Arm:
    kind: Literal["llm", "slm"] = "llm" if model in study.llm else "slm"
    asked = study.models[model].is_asked
    return Arm(kind=kind, model=model, variant=variant, design=design, finetuned=finetuned, asked=asked, **treatment)


def name_of(study: Study, arm: Arm) -> str:
    """The name of what answers, as people know it."""
    if arm.kind == "predictions":
        return study.predictions[arm.model].name or arm.model
    if arm.model in study.networks:
        return study.networks[arm.model].display_name
    return "TF-IDF" if arm.model == "tfidf" else arm.model


def size_of(study: Study, arm: Arm) -> str | None:
    """Parameters as people say them; None where there is no network or its size is not said."""
    return study.networks[arm.model].size if arm.model in study.networks else None


def distinct_name(study: Study, arm: Arm) -> str:
    """The name of what answers; with its key where another of the kind has the same, e.g. in another quantization.

    Compared as results.json writes names, in which a dot is an underscore.
    """
    name = name_of(study, arm)
    alike = {
        other.model
        for other in arms_of(study)
        if other.kind == arm.kind and name_of(study, other).replace(".", "_") == name.replace(".", "_")
    }
    return f"{name}-{arm.model}" if len(alike) > 1 else name


def result_key(study: Study, arm: Arm) -> str:
    """The arm's key in results.json, as the earlier pipeline wrote it: `SLM_Llama-3_2-3B-Instruct_finetuned`."""
    name = arm.model if arm.kind == "baseline" else distinct_name(study, arm)
    status = arm.training_status
    variant = arm.variant if arm.variant != status else None
    return "_".join(part for part in (arm.kind.upper(), name.replace(".", "_"), status, variant) if part)
