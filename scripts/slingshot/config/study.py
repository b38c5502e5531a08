"""The study as typed specs: what config.yaml may say, with every default filled in.

A step gets exactly the part of the study that it uses, as one of the `*Spec` models in specs.py, so that a changed
key reruns the steps that it concerns and no other. Nothing in this module touches a model or a data set.
"""

from __future__ import annotations

from copy import deepcopy
from itertools import combinations
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, model_validator

from slingshot.config.base import Key, Seed, Spec
from slingshot.config.contradictions import find_contradiction
from slingshot.config.data import Data
from slingshot.config.designs import Designs, models_by_design
from slingshot.config.endpoints import Asking
from slingshot.config.faults import complaints, fault_in_words
from slingshot.config.models import FetchedNetwork, Hardware, Model
from slingshot.config.recipe import Answering, FewShot, Finetune, Generation, Prompt, overridden
from slingshot.config.reporting import Baseline, Cost, Report, Statistics
from slingshot.config.rivals import Embedding, Encoder, ImportedPredictions
from slingshot.core.errors import StudyError
from slingshot.core.yaml_files import read_yaml, refuse_templates


class Study(Spec):
    """config.yaml."""

    data: Data
    prompt: Prompt = Prompt()
    generation: Generation = Generation()
    few_shot: FewShot = FewShot()
    finetune: Finetune = Finetune()
    hardware: Hardware = Hardware()
    asking: Asking = Asking()
    seed: Seed = Field(42, description="of training: adapter weights, dropout, the order of samples")
    llm: dict[Key, Model] = Field(default={}, description="large models, evaluated untrained")
    slm: dict[Key, Model] = Field(default={}, description="small models, finetuned first")
    baseline: Baseline = Baseline()
    embedding: dict[Key, Embedding] = Field(default={}, description="embedded texts with a linear classifier")
    encoder: dict[Key, Encoder] = Field(default={}, description="encoders finetuned whole to classify")
    predictions: dict[Key, ImportedPredictions] = Field(
        default={}, description="answers of other systems, or of a second human coder"
    )
    answering: Answering = Answering()
    designs: Designs = Designs()
    statistics: Statistics = Statistics()
    cost: Cost = Cost()
    report: Report = Report()

    @model_validator(mode="after")
    def _keys_are_of_one_model(self) -> Study:
        sections = {name: set(getattr(self, name)) for name in ("llm", "slm", "embedding", "encoder")}
        for (first, keys), (second, others) in combinations(sections.items(), 2):
            if twice := sorted(keys & others):
                raise ValueError(
                    f"{', '.join(twice)} stands under {first} and under {second}: give each model a key of its own"
                )
        return self

    @model_validator(mode="after")
    def _estimand_is_of_sets(self) -> Study:
        if self.statistics.estimand == "micro_f1" and self.data.several is None:
            raise ValueError("statistics.estimand: micro_f1 needs data.several: with one label each it is exact_match")
        return self

    @model_validator(mode="after")
    def _imported_answers_are_to_test_sets(self) -> Study:
        for key, system in self.predictions.items():
            for name in system.test_sets:
                if name not in self.data.test_sets:
                    known = ", ".join(self.data.test_sets) or "none"
                    raise ValueError(f"predictions.{key}.test_sets names {name}, but data.test_sets has {known}")
        return self

    @model_validator(mode="after")
    def _no_split_is_empty(self) -> Study:
        split = self.data.split
        if split.given:
            return self
        trained = self.baseline.tfidf or any((self.slm, self.embedding, self.encoder))
        for name in ("test", "train", "validation"):
            if not getattr(split, name) and (trained or name == "test"):
                why = "every arm is scored on it" if name == "test" else "models are trained and chosen on it"
                raise ValueError(f"data.split.{name} is 0, but {why}: give it a share, e.g. 0.15")
        return self

    @model_validator(mode="after")
    def _designs_name_models_and_keys(self) -> Study:
        for name, models in models_by_design(self.designs).items():
            for model in models:
                if model not in self.models:
                    known = f"the models are {', '.join(self.models)}" if self.models else "llm and slm have no models"
                    raise ValueError(f"designs.{name} names {model}, but {known}")
        for name in ("learning_curve", "seeds", "sweep", "heads"):
            for model in models_by_design(self.designs)[name]:
                if model in self.llm and model not in self.designs.crossed:
                    raise ValueError(f"designs.{name} finetunes {model}, a large model: name it in designs.crossed too")
        for model, setting in self.designs.sweep.candidates() if self.designs.sweep else ():
            try:
                overridden(self.models[model].finetune, setting)
            except ValidationError as error:
                fault = error.errors(include_url=False)[0]
                key = ".".join(map(str, fault["loc"]))
                raise ValueError(f"designs.sweep.grid: finetune.{key} {fault_in_words(fault, key, Study)}") from None
        return self

    @model_validator(mode="after")
    def _finetunes_no_endpoint(self) -> Study:
        for name, model in self.slm.items():
            if model.is_asked:
                raise ValueError(f"slm.{name} is behind an endpoint and cannot be finetuned here: put it under llm")
        for design, models in models_by_design(self.designs).items():
            asked = [name for name in models if self.models[name].is_asked]
            if asked and design not in ("few_shot", "prompts"):
                raise ValueError(f"designs.{design} finetunes {asked[0]}, which is behind an endpoint: take it out")
        return self

    @property
    def models(self) -> dict[str, Model]:
        """Language models that write their answers."""
        return {**self.llm, **self.slm}

    @property
    def networks(self) -> dict[str, FetchedNetwork]:
        """Every model of the study, whatever it does, by its key."""
        return {**self.models, **self.embedding, **self.encoder}

    @property
    def fetched(self) -> dict[str, FetchedNetwork]:
        """The models whose weights are loaded here."""
        return {name: model for name, model in self.networks.items() if not model.is_asked}


SET_TOKENS = 256  # generation.max_new_tokens where samples have several labels

# Sections of the study that a model may override key by key.
INHERITED = ("prompt", "generation", "few_shot", "finetune", "hardware", "asking")

# The sections whose entries are models, to what each of them inherits.
INHERITED_BY = {"llm": INHERITED, "slm": INHERITED, "embedding": ("hardware",), "encoder": ("hardware",)}


def load_study(path: Path | str) -> Study:
    """Read and validate a config.yaml.

    Raises:
        StudyError: the file is missing, is not YAML, or breaks the schema; every fault is named.
    """
    path = Path(path)
    return parse_study(read_config(path), path.name)


def read_config(path: Path | str) -> dict[str, Any]:
    """A config.yaml as written, without the keys of its top level that begin with x-: they hold anchors.

    Raises:
        StudyError: the file is missing, is not YAML, names a key twice, or asks for code to be run.
    """
    raw = read_yaml(path, "a study is a folder with a config.yaml")
    if not isinstance(raw, dict):
        what = "is empty" if raw is None else f"must hold keys and values, not {type(raw).__name__}"
        raise StudyError(f"{path} {what}: write `data`, `llm` and `slm` there (docs/guide.md)")
    refuse_templates(raw, path)
    return {key: value for key, value in raw.items() if not str(key).startswith("x-")}


def parse_study(raw: Any, name: str = "config.yaml") -> Study:
    """Validate a config that is already a dict, e.g. Snakemake's.

    Raises:
        StudyError: names each faulty key, its value and what is allowed.
    """
    if not isinstance(raw, dict):
        raise StudyError(f"{name} must hold keys and values, not {type(raw).__name__}")
    try:
        Study.model_validate(raw)  # the sections themselves first: a fault there is not each model's fault
        study = Study.model_validate(_inherited(raw))
    except ValidationError as error:
        raise StudyError("\n".join(complaints(error, name, Study))) from None
    if fault := find_contradiction(study, raw):
        raise StudyError(f"{name}: {fault}")
    return study


def _inherited(raw: dict[str, Any]) -> dict[str, Any]:
    """The config with the study's own sections put under each model's overrides."""
    merged = deepcopy(raw)
    has_sets = isinstance(raw.get("data"), dict) and raw["data"].get("several") is not None
    for kind, sections in INHERITED_BY.items():
        for model in (merged.get(kind) or {}).values():
            for section in sections:
                model[section] = _overlaid(raw.get(section) or {}, model.get(section) or {})
            if "generation" in sections and has_sets:
                model["generation"].setdefault("max_new_tokens", SET_TOKENS)
            if "generation" in sections and "api" in (model.get("source") or {}):
                model["generation"].setdefault("constrained", False)  # it would be asked, and paid, twice
            window = (model.get("prompt") or {}).get("max_tokens")
            if window is not None and "finetune" in sections:
                model["finetune"].setdefault("max_tokens", window)  # one window, in training and in evaluation
    return merged


def _overlaid(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    result = deepcopy(base)
    for key, value in over.items():
        if isinstance(value, dict) and isinstance(result.get(key), dict):
            value = _overlaid(result[key], value)
        result[key] = value
    return result
