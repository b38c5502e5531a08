"""The arms of a study: a model under one treatment each, with those that the designs add."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any, Literal

from pydantic import Field

from slingshot.config.base import Spec
from slingshot.config.models import Model
from slingshot.config.recipe import overridden
from slingshot.config.study import Study


class Arm(Spec):
    """A model under one treatment. `path` is its folder under results/ and its name everywhere."""

    kind: Literal["llm", "slm", "baseline"]
    model: str
    variant: str | None = None
    finetuned: bool
    asked: bool = Field(False, description="an endpoint answers, instead of weights that are loaded here")
    design: Literal["crossed", "learning_curve", "seeds", "few_shot", "sweep"] | None = Field(
        None, description="the design that added the arm; null: the study itself"
    )
    train_size: int | None = Field(None, description="null: all of train")
    seed: int | None = Field(None, description="null: the study's")
    shots: int | None = Field(None, description="null: the model's few_shot.k")
    setting: dict[str, Any] = Field(default={}, description="finetune keys that a sweep sets, dotted")
    candidate: bool = Field(False, description="of a sweep: finetuned, judged on validation, never read on test")
    best_of: list[str] = Field(default=[], description="paths of the arms that it is chosen from, on validation")

    @property
    def path(self) -> str:
        return "/".join(part for part in (self.kind, self.model, self.variant) if part)


def arms_of(study: Study) -> list[Arm]:
    """Every arm of the study: large models, small models, the baseline, then what the designs add."""
    arms = [Arm(kind="llm", model=name, finetuned=False, asked=model.is_asked) for name, model in study.llm.items()]
    arms += [Arm(kind="slm", model=model, finetuned=True) for model in study.slm]
    if study.baseline.tfidf:
        arms.append(Arm(kind="baseline", model="tfidf", finetuned=True))
    return arms + [arm for arm in _design_arms(study) if arm.path not in {plain.path for plain in arms}]


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
            if k != study.models[model].few_shot.k:
                yield _variant(study, model, f"shots{k}", "few_shot", False, shots=k)
    yield from _sweep_arms(study)


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
            name = "_".join(f"{key.rpartition('.')[2]}-{value}" for key, value in setting.items())
            arm = _variant(study, model, f"sweep-{name}", "sweep", True, setting=setting, candidate=True)
            path = arm.path
            yield arm
        by_model.setdefault(model, []).append(path)
    for model, candidates in by_model.items():
        yield _variant(study, model, "best", "sweep", True, best_of=candidates)


def _variant(study: Study, model: str, variant: str, design: Any, finetuned: bool, **treatment: Any) -> Arm:
    kind: Literal["llm", "slm"] = "llm" if model in study.llm else "slm"
    asked = study.models[model].is_asked
    return Arm(kind=kind, model=model, variant=variant, design=design, finetuned=finetuned, asked=asked, **treatment)


def result_key(study: Study, arm: Arm) -> str:
    """The arm's key in results.json, as the earlier pipeline wrote it: `SLM_Llama-3_2-3B-Instruct_finetuned`."""
    name = study.models[arm.model].display_name if arm.kind != "baseline" else arm.model
    status = "finetuned" if arm.finetuned else "untrained"
    variant = arm.variant if arm.variant != status else None
    return "_".join(part for part in (arm.kind.upper(), name.replace(".", "_"), status, variant) if part)
