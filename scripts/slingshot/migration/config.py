"""Configs of the earlier pipeline, rewritten as this project has them. docs/migration.md has the table."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count, islice
from typing import Any

from slingshot.config.recipe import Finetune
from slingshot.config.study import parse_study
from slingshot.core.errors import StudyError
from slingshot.migration.sizes import is_large, size_of

MODEL_LISTS = ("baseline_llms", "llm_models", "slm_models", "slm_name")

MODEL_KEYS = {"name", "size", "dtype", "quantization", "load_in_4bit", "use_4bit", "load_in_8bit", "use_8bit"}

OF_SLM_NAME = {"slm_dtype": "dtype", "slm_load_in_4bit": "load_in_4bit", "slm_load_in_8bit": "load_in_8bit"}

FOUR_BIT = {"4bit", "4-bit", "nf4", "int4"}

EIGHT_BIT = {"8bit", "8-bit", "int8"}

# Old leaf keys, in whatever section they stand, to our sections' keys.
CARRIED = {
    "dataset_name": "data.source.hub",
    "dataset_revision": "data.source.revision",
    "dataset_split_seed": "data.split.seed",
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
    "deterministic": "finetune.deterministic",
    "lora_r": "finetune.lora.r",
    "lora_alpha": "finetune.lora.alpha",
    "lora_dropout": "finetune.lora.dropout",
}

NESTED_LORA = {"r", "alpha", "dropout", "target_modules"}  # the same keys where the old config has a section `lora`

LENGTHS = {"max_length", "max_seq_length", "max_sequence_length"}

ATTENTION = {"q_proj", "k_proj", "v_proj", "o_proj"}

LINEAR = ATTENTION | {"gate_proj", "up_proj", "down_proj"}

EXACT_MATCH = ("eval_exact_match", "eval_accuracy", "exact_match", "accuracy")

SELECTED_BY = dict.fromkeys(("eval_loss", "loss"), "validation_loss") | dict.fromkeys(
    EXACT_MATCH, "validation_exact_match"
)

# Why keys have no counterpart: patterns of a whole path or of its last part. The first that fits gives the reason.
LEFT_OUT = {
    r"paths\..*": "files have fixed places under results/",
    r"logging\..*|use_(mlflow|wandb|tensorboard)|report_to|logging_steps": (
        "each step logs to results/logs and each training step to training_log.jsonl; "
        "hardware.tensorboard: true adds TensorBoard files"
    ),
    r"temperature|top_p|top_k|do_sample|repetition_penalty": "decoding is always greedy, so that results repeat",
    r"run_(baseline_llm|baseline_slm|finetuned_slm|llm_evaluation|slm_finetuning|slm_evaluation)": (
        "it is asked for by target: `snakemake llm` or `snakemake slm`"
    ),
    r"padding|truncation|tokenizer_.*|add_special_tokens|attn_implementation|torch_compile|num_workers|prefetch_factor"
    r"|gradient_checkpointing|.*batch_size|slm_device|device_map|fp16|bf16": (
        "nothing is padded, how much is worked on at once follows from free memory (hardware.token_budget), "
        "and precision is a model's dtype"
    ),
    r"use_cache|cache_batch_size|use_prediction_cache|force_recompute|cache_max_age_days": (
        "answers are always cached by what they depend on and do not expire; SLINGSHOT_FORCE=1 computes them again"
    ),
    r"metrics|icd_level_evaluation|measure_.*|generate_plots|save_predictions|save_errors": "it is always done",
    r"save_steps|save_total_limit|save_strategy|evaluation_strategy|load_best_model_at_end|greater_is_better": (
        "the best adapter of all evaluations is kept, and a checkpoint every hardware.checkpoint_minutes"
    ),
    r"use_lora": "finetuning is always with LoRA",
    r"optimizer|optim|adam_.*": "the optimizer is fused AdamW with torch's defaults",
    r"num_warmup_steps": "it was a second name of warmup_steps",
    r"early_stopping_threshold": "any gain counts",
    r"slm_dtype|slm_load_in_4bit|slm_load_in_8bit": "each of slm_models says it itself",
    r"experiment_name|experiment_description|tags": "report.title and report.note are what the report shows",
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
    carried: dict[str, tuple[str, Any]] = field(default_factory=dict)  # our key to the old key and the value
    left_out: dict[str, list[str]] = field(default_factory=dict)  # a reason to the old keys and values

    def carry(self, old: str, new: str, value: Any) -> None:
        """Set one of our keys; the first of two old keys that disagree counts."""
        earlier, kept = self.carried.setdefault(new, (old, value))
        if kept != value:
            self.leave_out(old, value, f"{earlier} set {new} to {kept!r}")
            return
        *parents, leaf = new.split(".")
        section = self.config
        for parent in parents:
            section = section.setdefault(parent, {})
        section[leaf] = value

    def leave_out(self, old: str, value: Any, reason: str = "it has no counterpart") -> None:
        self.left_out.setdefault(reason, []).append(f"{old} ({value!r})")


def migrate_config(old: Any, train_samples: int | None = None) -> Migrated:
    """Rewrite an old config, mixed (`baseline_llms`, `slm_name`) or split (`llm_models`, `slm_models`).

    Models go by their size, whatever list they stood in. Keys without a counterpart are named in the notes.

    Args:
        train_samples: turns warm-up steps into a share of all steps.

    Raises:
        StudyError: the old config names no model, a model's size is not known, or the result is not a valid study.
    """
    if not isinstance(old, Mapping):
        raise StudyError(f"the old config must hold keys and values, not {type(old).__name__}")
    migrated = Migrated({"data": {key: dict(value) for key, value in MEDSYNTH.items()}})
    _migrate_models(old, migrated)
    leaves = {path: value for path, value in _leaves(old) if not set(path.split(".")[:2]) & set(MODEL_LISTS)}
    for path, value in leaves.items():
        if value is not None and not _is_of_slm_name(path, old):
            _migrate_setting(path, value, migrated)
    _migrate_batch(leaves, migrated)
    _migrate_warmup(leaves, migrated, train_samples)
    _check_columns(migrated)
    for reason, keys in migrated.left_out.items():
        migrated.notes.append(f"left out, as {reason}: {', '.join(keys)}.")
    parse_study(migrated.config, "the migrated config")
    return migrated


def _section_of_models(old: Mapping[str, Any]) -> Mapping[str, Any]:
    section = old.get("model")
    return section if isinstance(section, Mapping) else old


def _is_of_slm_name(path: str, old: Mapping[str, Any]) -> bool:
    return path.rpartition(".")[2] in OF_SLM_NAME and isinstance(_section_of_models(old).get("slm_name"), str)


def _migrate_models(old: Mapping[str, Any], migrated: Migrated) -> None:
    models: dict[str, dict[str, dict[str, Any]]] = {"llm": {}, "slm": {}}
    section = _section_of_models(old)
    seen: set[str] = set()
    for key in MODEL_LISTS:
        for entry in _entries(section.get(key), key):
            if key == "slm_name":
                entry = {new: section[of] for of, new in OF_SLM_NAME.items() if of in section} | entry
            name = str(entry["name"])
            size = size_of(name, entry.get("size"))
            kind = "llm" if is_large(size) else "slm"
            model = _model(name, size, entry, kind)
            if kind == "llm" and key in ("slm_name", "slm_models"):
                migrated.notes.append(
                    f"{key}: {name} ({size}) was finetuned as an SLM and is a large model here, evaluated untrained; "
                    f"name it in designs.crossed to finetune it as well."
                )
            if kind == "slm" and key in ("baseline_llms", "llm_models"):
                migrated.notes.append(
                    f"{key}: {name} ({size}) was evaluated untrained and is a small model here, finetuned "
                    f"(quantization: {model.get('quantization', 'none')}); "
                    f"name it in designs.crossed to evaluate it untrained as well."
                )
            if kind == "slm" and model.get("dtype") == "float16":
                del model["dtype"]
                migrated.notes.append(
                    f"{key}: {name}'s dtype float16 is left out: finetuning loses small gradients in it "
                    f"(dtype: auto takes bfloat16 where the device has it, else float32)."
                )
            for left in sorted(set(entry) - MODEL_KEYS):
                migrated.leave_out(f"{key}: {name}'s {left}", entry[left])
            if name in seen:
                migrated.notes.append(f"{key}: {name} stands in two lists; its first entry counts.")
                continue
            seen.add(name)
            taken = {*models["llm"], *models["slm"]}
            models[kind][_model_key(name, size, taken)] = model
    if not seen:
        raise StudyError(f"the old config names no model: one of {', '.join(MODEL_LISTS)} is needed, under `model`")
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
    if quantization != "none":
        model["quantization"] = quantization
    if entry.get("dtype"):
        model["dtype"] = str(entry["dtype"]).removeprefix("torch.")
    return model


def _quantization(entry: Mapping[str, Any], kind: str) -> str:
    """As the old record has it; where it says nothing, large models are in 4 bits, as they were."""
    quantization = str(entry.get("quantization", "")).lower()
    flags = {key: bool(entry[key]) for key in MODEL_KEYS & set(entry) if key.endswith("bit")}
    if quantization in FOUR_BIT or flags.get("load_in_4bit") or flags.get("use_4bit"):
        return "nf4"
    if quantization in EIGHT_BIT or flags.get("load_in_8bit") or flags.get("use_8bit"):
        return "int8"
    return "none" if quantization or flags or kind == "slm" else "nf4"


def _model_key(name: str, size: str, taken: set[str]) -> str:
    """A short key such as llama8b: the family and the size; with a number where that is taken."""
    words = re.findall(r"[a-z]+", name.rsplit("/", maxsplit=1)[-1].lower())
    family = next((word for word in words if word != "meta"), "model")
    key = f"{family}{size.lower().replace('.', '_')}"
    return next(
        candidate for number in count(1) if (candidate := key if number == 1 else f"{key}-{number}") not in taken
    )


def _migrate_setting(path: str, value: Any, migrated: Migrated) -> None:
    section, _, leaf = path.rpartition(".")
    if section.endswith("lora") and leaf in NESTED_LORA:
        leaf = f"lora_{leaf}"
    if leaf in CARRIED:
        migrated.carry(path, CARRIED[leaf], value)
    elif leaf == "seed":
        migrated.carry(path, "data.split.seed" if section.endswith("data") else "seed", value)
    elif leaf in LENGTHS:
        migrated.carry(path, "prompt.max_tokens", value)
        migrated.carry(path, "finetune.max_tokens", value)
    elif leaf == "lora_target_modules":
        migrated.carry(path, "finetune.lora.targets", _targets(value))
    elif leaf == "evaluate_top_k":
        migrated.carry(path, "generation.candidates", max(value) if isinstance(value, list) else value)
    elif leaf == "metric_for_best_model" and value in SELECTED_BY:
        migrated.carry(path, "finetune.select_by", SELECTED_BY[value])
    elif not _counts_otherwise(path):
        reasons = (
            why for pattern, why in LEFT_OUT.items() if re.fullmatch(pattern, path) or re.fullmatch(pattern, leaf)
        )
        migrated.leave_out(path, value, *islice(reasons, 1))


def _targets(modules: Any) -> Any:
    names = set(modules) if isinstance(modules, list) else set()
    return "all-linear" if names == LINEAR else "attention" if names == ATTENTION else modules


def _counts_otherwise(path: str) -> bool:
    """Whether _migrate_batch or _migrate_warmup reads a key. Other batch sizes than training's are not read."""
    section, _, leaf = path.rpartition(".")
    if leaf == "batch_size":
        return section in ("", "training")
    return leaf in ("per_device_train_batch_size", "gradient_accumulation_steps", "warmup_steps")


def _migrate_batch(leaves: Mapping[str, Any], migrated: Migrated) -> None:
    """The effective batch: samples at once times accumulated steps."""
    read = {path.rpartition(".")[2]: (path, value) for path, value in leaves.items() if _counts_otherwise(path)}
    path, size = read.get("per_device_train_batch_size") or read.get("batch_size") or ("", None)
    steps = read.get("gradient_accumulation_steps", ("", 1))[1]
    if size is not None:
        migrated.carry(path, "finetune.batch_size", size * steps)
    elif steps != 1:
        migrated.leave_out("gradient_accumulation_steps", steps, "the batch size that it multiplies is not there")
    if "per_device_train_batch_size" in read and "batch_size" in read:
        migrated.leave_out(*read["batch_size"], f"{path} set finetune.batch_size")


def _migrate_warmup(leaves: Mapping[str, Any], migrated: Migrated, train_samples: int | None) -> None:
    """Warm-up steps as a share of all steps, where these are known."""
    found = [(path, value) for path, value in leaves.items() if path.rpartition(".")[2] == "warmup_steps"]
    recipe = migrated.config.get("finetune", {})
    for path, warmup in found:
        total = recipe.get("max_steps")
        if total is None and train_samples is not None:
            epochs, batch = (recipe.get(key, Finetune.model_fields[key].default) for key in ("epochs", "batch_size"))
            total = math.ceil(epochs * math.ceil(train_samples / batch))
        if total is None:
            reason = (
                "warm-up is a share of all steps here (finetune.warmup_share, by default "
                f"{Finetune.model_fields['warmup_share'].default}); --train-samples turns steps into it"
            )
            migrated.leave_out(path, warmup, reason)
        else:
            migrated.carry(path, "finetune.warmup_share", round(min(warmup / total, 1.0), 4))


def _check_columns(migrated: Migrated) -> None:
    """The earlier pipeline guessed the columns; here they are named, and known for MedSynth."""
    data = migrated.config["data"]
    if data["source"]["hub"] == MEDSYNTH["source"]["hub"]:
        return
    named = {key.rpartition(".")[2] for key in migrated.carried if key.startswith("data.columns.")}
    data["columns"] = {key: value for key, value in data["columns"].items() if key in named}
    if not {"text", "label"} <= named:
        migrated.notes.append(f"data.columns: name the columns of {data['source']['hub']}; by default text and label.")


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, below in value.items():
            yield from _leaves(below, f"{path}.{key}" if path else str(key))
    else:
        yield path, value


def old_slm_name(old_config: Any) -> str | None:
    """The one SLM that an old config finetuned; None where it has none or several."""
    section = _section_of_models(old_config) if isinstance(old_config, Mapping) else {}
    names = [entry["name"] for key in ("slm_name", "slm_models") for entry in _entries(section.get(key), key)]
    return names[0] if len(names) == 1 else None
