"""Folding a LoRA adapter into its base model's weights, so that it costs nothing while answering."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn

from slingshot.artifacts.layout import ADAPTER_SETTINGS, ADAPTER_WEIGHTS
from slingshot.config.recipe import Lora
from slingshot.core.errors import StudyError
from slingshot.core.files import replacing, write_json

_PREFIX = "base_model.model."  # what peft puts before a module's name

_PLAIN = {
    "use_dora": False,
    "use_rslora": False,
    "lora_bias": False,
    "fan_in_fan_out": False,
    "bias": "none",
    "rank_pattern": {},
    "alpha_pattern": {},
    "modules_to_save": None,
}


def is_plain_lora(folder: Path) -> bool:
    """Whether the adapter is W + alpha / r B A of linear layers and nothing else."""
    config = _config(folder)
    return config.get("peft_type") == "LORA" and all(
        (config.get(key) or None) == (plain or None) for key, plain in _PLAIN.items()
    )


@torch.no_grad()
def merge_adapter(model: nn.Module, folder: Path) -> None:
    """Add alpha / r B A to the weights in place, summed in float32 and rounded once.

    Raises:
        StudyError: the adapter is not finite, or was made for another model.
    """
    config = _config(folder)
    scale = config["lora_alpha"] / config["r"]
    factors = load_file(folder / ADAPTER_WEIGHTS)
    for name, down in sorted(factors.items()):
        if ".lora_A" not in name:
            continue
        up = factors[name.replace(".lora_A", ".lora_B")]
        _add(_weight(model, name, folder), up, down, scale, name, folder)


def _config(folder: Path) -> dict[str, Any]:
    config: dict[str, Any] = json.loads((folder / ADAPTER_SETTINGS).read_text(encoding="utf-8"))
    return config


def _weight(model: nn.Module, name: str, folder: Path) -> Tensor:
    layer = name.removeprefix(_PREFIX).partition(".lora_A")[0]
    try:
        weight = model.get_submodule(layer).weight
    except AttributeError:
        raise StudyError(f"{folder} holds an adapter of {layer}, which this model lacks: finetune it again") from None
    assert isinstance(weight, Tensor)
    return weight


def _add(weight: Tensor, up: Tensor, down: Tensor, scale: float, name: str, folder: Path) -> None:
    if up.shape[0] != weight.shape[0] or down.shape[1] != weight.shape[1]:
        raise StudyError(f"{folder}: {name} does not fit a weight of shape {tuple(weight.shape)}: finetune it again")
    summed = weight.float().addmm_(up.to(weight.device).float(), down.to(weight.device).float(), alpha=scale)
    if not bool(summed.isfinite().all()):
        raise StudyError(f"{folder}: {name} makes weights that are not finite: finetune it again")
    weight.copy_(summed)


PREFIX = "base_model.model."  # what peft puts before a module's name


def save_adapter(folder: Path, state: dict[str, Tensor], lora: Lora, rank: int, alpha: int, base: str) -> None:
    """Write adapter_model.safetensors and adapter_config.json as peft reads them; the same weights, the same bytes."""
    leaves = sorted({name.removesuffix(".weight").rsplit(".", 2)[1] for name in state})
    with replacing(folder / ADAPTER_WEIGHTS) as temporary:
        weights = {name: value.detach().cpu().contiguous() for name, value in sorted(state.items())}
        temporary.write_bytes(save(weights, metadata={"format": "pt"}))
    write_json(
        folder / ADAPTER_SETTINGS,
        {
            "peft_type": "LORA",
            "task_type": "CAUSAL_LM",
            "base_model_name_or_path": base,
            "inference_mode": True,
            "r": rank,
            "lora_alpha": alpha,
            "lora_dropout": lora.dropout,
            "target_modules": leaves,
            "bias": "none",
            "fan_in_fan_out": False,
            "init_lora_weights": True,
        },
    )


def read_adapter(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """adapter_config.json and the weights."""
    config = json.loads((folder / ADAPTER_SETTINGS).read_text(encoding="utf-8"))
    return config, load_file(folder / ADAPTER_WEIGHTS)


def merged_weight(weight: Tensor, down: Tensor, up: Tensor, scale: float) -> Tensor:
    """W + scale B A, summed in float32 and returned in W's type; W (out, in), A (rank, in), B (out, rank)."""
    return (weight.float() + scale * (up.float() @ down.float())).to(weight.dtype)
