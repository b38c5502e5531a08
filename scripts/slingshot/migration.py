"""Configs and results of the earlier pipeline, rewritten as this project has them. docs/migration.md has the table."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import count
from typing import Any

from slingshot.config import parse_study
from slingshot.errors import StudyError

SMALLEST_LLM = 7_000_000_000  # parameters: 7B and 8B are large, 3B is small, as the earlier pipeline had it
UNITS = {"K": 10**3, "M": 10**6, "B": 10**9}
_SIZE = re.compile(r"(?<![0-9A-Za-z.])(\d+(?:\.\d+)?)([KMB])(?![0-9A-Za-z])", re.IGNORECASE)

MODEL_KEYS = {"name", "size", "quantization", "load_in_4bit", "use_4bit", "load_in_8bit", "use_8bit"}
FOUR_BIT = {"4bit", "4-bit", "nf4", "int4"}
EIGHT_BIT = {"8bit", "8-bit", "int8"}

# Old leaf keys, in whatever section they stand, to our sections' keys.
CARRIED = {
    "dataset_name": "data.source.hub",
    "dataset_revision": "data.source.revision",
    "text_column": "data.columns.text",
    "label_column": "data.columns.label",
    "description_column": "data.columns.description",
    "train_ratio": "data.split.train",
    "train_split": "data.split.train",
    "val_ratio": "data.split.validation",
    "val_split": "data.split.validation",
    "validation_split": "data.split.validation",
    "test_ratio": "data.split.test",
    "test_split": "data.split.test",
    "max_train_samples": "data.max_samples.train",
    "max_eval_samples": "data.max_samples.test",
    "max_new_tokens": "generation.max_new_tokens",
    "num_epochs": "finetune.epochs",
    "num_train_epochs": "finetune.epochs",
    "epochs": "finetune.epochs",
    "max_steps": "finetune.max_steps",
    "learning_rate": "finetune.learning_rate",
    "lr_scheduler_type": "finetune.schedule",
    "warmup_ratio": "finetune.warmup_share",
    "weight_decay": "finetune.weight_decay",
    "max_grad_norm": "finetune.max_gradient_norm",
    "eval_steps": "finetune.evaluate_every",
    "early_stopping_patience": "finetune.patience",
    "lora_r": "finetune.lora.r",
    "lora_alpha": "finetune.lora.alpha",
    "lora_dropout": "finetune.lora.dropout",
    "lora_target_modules": "finetune.lora.targets",
}
NESTED_LORA = {"r", "alpha", "dropout", "target_modules"}  # the same keys where the old config has a section `lora`
LENGTHS = {"max_length", "max_seq_length"}
BATCHES = {"batch_size", "per_device_train_batch_size"}
SAMPLING = {"temperature", "top_p", "top_k", "do_sample"}
FLAGS = {"run_baseline_llm", "run_baseline_slm", "run_finetuned_slm"} | {
    "run_llm_evaluation",
    "run_slm_finetuning",
    "run_slm_evaluation",
}

MEDSYNTH: dict[str, Any] = {
    "source": {"hub": "Ahmad0067/MedSynth"},
    "columns": {"text": "Dialogue", "label": "ICD10", "description": "ICD10_desc"},
}


@dataclass
class Migrated:
    """A config as config.yaml has it, and what a reader must know of how it came about, a sentence each."""

    config: dict[str, Any]
    notes: list[str] = field(default_factory=list)


# ---------------------------------------------------------------- models by size


def size_of(name: str, stated: str | None = None) -> str:
    """A model's size as people say it, e.g. 8B: as stated, else the last one that its name holds.

    Raises:
        StudyError: neither says a size.
    """
    found = _SIZE.findall(stated) if stated else _SIZE.findall(name.rsplit("/", maxsplit=1)[-1])
    if not found:
        raise StudyError(f"{name}: the name holds no size such as 8B, so it is neither LLM nor SLM; give it a `size`")
    number, unit = found[-1]
    return f"{number}{unit.upper()}"


def is_large(size: str) -> bool:
    """Whether a model of this size is an LLM here: from 7B on."""
    return Decimal(size[:-1]) * UNITS[size[-1]] >= SMALLEST_LLM


# ---------------------------------------------------------------- config


def migrate_config(old: Any) -> Migrated:
    """Rewrite an old config, mixed (`baseline_llms`, `slm_name`) or split (`llm_models`, `slm_models`).

    Models go by their size, whatever list they stood in. Keys without a counterpart are named in the notes.

    Raises:
        StudyError: the old config names no model, a model's size is not known, or the result is not a valid study.
    """
    if not isinstance(old, Mapping):
        raise StudyError(f"the old config must hold keys and values, not {type(old).__name__}")
    migrated = Migrated({"data": {key: dict(value) for key, value in MEDSYNTH.items()}})
    _migrate_models(old, migrated)
    _migrate_settings(old, migrated)
    parse_study(migrated.config, "the migrated config")
    return migrated


def _migrate_models(old: Mapping[str, Any], migrated: Migrated) -> None:
    models: dict[str, dict[str, dict[str, Any]]] = {"llm": {}, "slm": {}}
    listed = dict.fromkeys(["baseline_llms", "llm_models", "slm_models", "slm_name"])
    section = old.get("model") if isinstance(old.get("model"), Mapping) else old
    seen: set[str] = set()
    for key in listed:
        for entry in _entries(section.get(key), key):  # type: ignore[union-attr]
            name = str(entry["name"])
            size = size_of(name, entry.get("size"))
            kind = "llm" if is_large(size) else "slm"
            if kind == "llm" and key in ("slm_name", "slm_models"):
                migrated.notes.append(
                    f"{key}: {name} ({size}) was finetuned as an SLM and is a large model here, evaluated untrained; "
                    f"name it in designs.crossed to finetune it as well."
                )
            if kind == "slm" and key in ("baseline_llms", "llm_models"):
                migrated.notes.append(
                    f"{key}: {name} ({size}) was evaluated untrained and is a small model here, finetuned; "
                    f"name it in designs.crossed to evaluate it untrained as well."
                )
            if name in seen:
                continue
            seen.add(name)
            taken = {*models["llm"], *models["slm"]}
            models[kind][_model_key(name, size, taken)] = _model(name, size, entry, kind)
            migrated.notes += [
                f"{key}: {name}'s `{left}` has no counterpart and was left out."
                for left in sorted(set(entry) - MODEL_KEYS)
            ]
    if not seen:
        raise StudyError(f"the old config names no model: one of {', '.join(listed)} is needed, under `model`")
    migrated.config |= models


def _entries(value: Any, key: str) -> Iterator[dict[str, Any]]:
    """The models of an old key: a name, a record with a name, or a list of either."""
    for entry in value if isinstance(value, list) else [] if value is None else [value]:
        if isinstance(entry, str):
            yield {"name": entry}
        elif isinstance(entry, Mapping) and isinstance(entry.get("name"), str):
            yield dict(entry)
        else:
            raise StudyError(f"the old config's {key} holds {entry!r}: a model is a name, or a record with a `name`")


def _model(name: str, size: str, entry: Mapping[str, Any], kind: str) -> dict[str, Any]:
    local = name.startswith((".", "/", "~"))
    model: dict[str, Any] = {"source": {"folder": name} if local else {"hub": name}, "size": size}
    quantization = _quantization(entry, kind)
    return model | ({"quantization": quantization} if quantization != "none" else {})


def _quantization(entry: Mapping[str, Any], kind: str) -> str:
    """As the old record has it; where it says nothing, large models are in 4 bits, as they were."""
    said = str(entry.get("quantization", "")).lower()
    flags = {key: bool(entry[key]) for key in MODEL_KEYS & set(entry) if key.endswith("bit")}
    if said in FOUR_BIT or flags.get("load_in_4bit") or flags.get("use_4bit"):
        return "nf4"
    if said in EIGHT_BIT or flags.get("load_in_8bit") or flags.get("use_8bit"):
        return "int8"
    return "none" if said or flags or kind == "slm" else "nf4"


def _model_key(name: str, size: str, taken: set[str]) -> str:
    """A short key such as llama8b: the family and the size; with a number where that is taken."""
    words = re.findall(r"[a-z]+", name.rsplit("/", maxsplit=1)[-1].lower())
    family = next((word for word in words if word != "meta"), "model")
    key = f"{family}{size.lower().replace('.', '_')}"
    return next(
        candidate for number in count(1) if (candidate := key if number == 1 else f"{key}-{number}") not in taken
    )


def _migrate_settings(old: Mapping[str, Any], migrated: Migrated) -> None:
    """Everything of the old config but its models, leaf by leaf."""
    leaves = dict(_leaves({key: value for key, value in old.items() if key != "model"}))
    leaves |= {
        path: value
        for path, value in _leaves({"model": old.get("model")})
        if path.split(".")[1] not in ("baseline_llms", "llm_models", "slm_models", "slm_name")
    }
    leaves = {
        path: value
        for path, value in leaves.items()
        if path.split(".")[0] not in ("baseline_llms", "llm_models", "slm_models", "slm_name")
    }
    by_leaf = {path.rsplit(".", maxsplit=1)[-1]: value for path, value in leaves.items()}
    for path, value in leaves.items():
        if value is not None:
            _migrate_setting(path, value, by_leaf, migrated)


def _migrate_setting(path: str, value: Any, by_leaf: Mapping[str, Any], migrated: Migrated) -> None:
    section, _, leaf = path.rpartition(".")
    if section.endswith("lora") and leaf in NESTED_LORA:
        leaf = f"lora_{leaf}"
    if leaf in CARRIED:
        _put(migrated.config, CARRIED[leaf], value)
    elif leaf == "seed":
        _put(migrated.config, "data.split.seed" if section.endswith("data") else "seed", value)
    elif leaf in LENGTHS:
        _put(migrated.config, "prompt.max_tokens", value)
        _put(migrated.config, "finetune.max_tokens", value)
    elif leaf in BATCHES and not section.endswith(("generation", "inference", "evaluation", "experiment")):
        _put(migrated.config, "finetune.batch_size", value * by_leaf.get("gradient_accumulation_steps", 1))
    elif leaf == "gradient_accumulation_steps" and BATCHES & set(by_leaf):
        return  # counted into batch_size
    elif leaf == "warmup_steps" and by_leaf.get("max_steps"):
        _put(migrated.config, "finetune.warmup_share", value / by_leaf["max_steps"])
    elif leaf == "warmup_steps":
        migrated.notes.append(
            f"{path}: {value} steps are a share of all steps here (finetune.warmup_share), which depends on the data; "
            "its default is kept."
        )
    elif leaf in SAMPLING:
        migrated.notes.append(f"{path}: {value!r} was left out: decoding is always greedy, so that results repeat.")
    elif leaf in FLAGS:
        migrated.notes.append(
            f"{path}: {value!r} was left out: ask for it by target, `snakemake llm` or `snakemake slm`."
        )
    else:
        migrated.notes.append(f"{path}: {value!r} has no counterpart and was left out.")


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, below in value.items():
            yield from _leaves(below, f"{path}.{key}" if path else str(key))
    else:
        yield path, value


def _put(config: dict[str, Any], path: str, value: Any) -> None:
    *parents, leaf = path.split(".")
    for parent in parents:
        config = config.setdefault(parent, {})
    config[leaf] = value


# ---------------------------------------------------------------- results


def migrate_results(old: Any, slm: str | None = None) -> dict[str, dict[str, Any]]:
    """Rewrite old results under the keys of results.json; what already stands under one is kept as it is.

    Args:
        old: `Baseline_LLM_{name}`, `Baseline_SLM` and `Finetuned_SLM` to their scores.
        slm: the old config's `slm_name`, which the last two keys leave out.

    Raises:
        StudyError: a key is none of the known ones, the SLM's name is needed and not given, or two results would
            stand under one key.
    """
    if not isinstance(old, Mapping) or not all(isinstance(scores, Mapping) for scores in old.values()):
        raise StudyError("the old results must map each arm's key to its scores")
    new: dict[str, dict[str, Any]] = {}
    for key, scores in old.items():
        renamed, entry = _migrate_result(key, dict(scores), slm)
        if renamed in new:
            raise StudyError(f"two of the old results would stand under {renamed}: remove one, {key} being the second")
        new[renamed] = entry
    return new


def _migrate_result(key: str, scores: dict[str, Any], slm: str | None) -> tuple[str, dict[str, Any]]:
    if re.fullmatch(r"(LLM|SLM)_.+_(un|fine)(trained|tuned)(_.+)?|BASELINE_.+", key):
        return key, scores
    if key in ("Baseline_SLM", "Finetuned_SLM"):
        if slm is None:
            raise StudyError(f"{key} does not say which model it is of: give the old config, or the name by --slm")
        name, status = slm, "finetuned" if key == "Finetuned_SLM" else "untrained"
    elif key.startswith("Baseline_LLM_"):
        name, status = key.removeprefix("Baseline_LLM_"), "untrained"
    else:
        raise StudyError(f"{key} is no key of old results: Baseline_LLM_NAME, Baseline_SLM or Finetuned_SLM are")
    short = name.rsplit("/", maxsplit=1)[-1]
    size = size_of(short, scores.get("model_size"))
    kind = "LLM" if is_large(size) else "SLM"
    about = {"model_type": kind, "model_size": size, "training_status": status}
    return f"{kind}_{short.replace('.', '_')}_{status}", about | {k: v for k, v in scores.items() if k not in about}


def old_slm_name(old_config: Any) -> str | None:
    """The one SLM that an old config finetuned; None where it has none or several."""
    section = old_config.get("model", old_config) if isinstance(old_config, Mapping) else {}
    names = [entry["name"] for key in ("slm_name", "slm_models") for entry in _entries(section.get(key), key)]
    return names[0] if len(names) == 1 else None
