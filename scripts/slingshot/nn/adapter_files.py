"""LoRA adapters as files in peft's format, and merging one into its base model's weights, where it costs no time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn
from transformers import PreTrainedModel

from slingshot.artifacts.layout import ADAPTER_BASE, ADAPTER_SETTINGS, ADAPTER_WEIGHTS
from slingshot.artifacts.model_card import Base
from slingshot.config.recipe import Lora
from slingshot.core.errors import StudyError
from slingshot.core.files import read_json_with, replacing, write_json
from slingshot.models.folder_checks import read_header
from slingshot.nn.expert_lora import is_transposed, peft_names

PREFIX = "base_model.model."  # what peft puts before a module's name

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
    """Whether the adapter is W + alpha / r B A of linear layers and stacked experts, and nothing else."""
    config = _config(folder)
    return config.get("peft_type") == "LORA" and all(
        (config.get(key) or None) == (plain or None) for key, plain in _PLAIN.items()
    )


def adapted_name(factor: str) -> str:
    """Of what a factor of an adapter's file is, in peft's words."""
    return factor.removeprefix(PREFIX).partition(".lora_")[0]


@torch.no_grad()
def merge_adapter(model: PreTrainedModel, folder: Path) -> None:
    """Add alpha / r B A to the weights in place, summed in float32 and rounded once.

    A head that shares its weight with the embedding gets one of its own first: the adapter is the head's alone.

    Raises:
        StudyError: the adapter is not finite, or was made for another model.
    """
    config, factors = read_adapter(folder)
    scale = config["lora_alpha"] / config["r"]
    experts = {name: weight for weight, name in peft_names(config.get("target_parameters") or []).items()}
    for name, down in sorted(factors.items()):
        if ".lora_A" not in name:
            continue
        layer = adapted_name(name)
        up = factors[name.replace(".lora_A", ".lora_B")]
        try:
            if layer in experts:
                _merge_into_experts(model, experts[layer], down, up, scale)
            else:
                add_low_rank(_weight(model, layer), down, up, scale)
        except AttributeError:
            raise StudyError(
                f"{folder} holds an adapter of {layer}, which this model lacks: finetune it again"
            ) from None
        except ValueError as error:
            raise StudyError(f"{folder}: {name} {error}: finetune it again") from None


def add_low_rank(weight: Tensor, down: Tensor, up: Tensor, scale: float) -> None:
    """W += scale B A in place, summed in float32; W (out, in), A `down` (rank, in), B `up` (out, rank).

    Raises:
        ValueError: the shapes do not fit, or the sum is not finite.
    """
    if up.shape[0] != weight.shape[0] or down.shape[1] != weight.shape[1]:
        raise ValueError(f"does not fit a weight of shape {tuple(weight.shape)}")
    summed = weight.float().addmm_(up.to(weight.device).float(), down.to(weight.device).float(), alpha=scale)
    if not bool(summed.isfinite().all()):
        raise ValueError("makes weights that are not finite")
    weight.copy_(summed)


def _merge_into_experts(model: PreTrainedModel, weight: str, down: Tensor, up: Tensor, scale: float) -> None:
    """`add_low_rank` for each expert of a stacked weight, one after another.

    Raises:
        ValueError: as `add_low_rank`.
    """
    name, _, parameter = weight.rpartition(".")
    module = model.get_submodule(name)
    stacked: Tensor = getattr(module, parameter)
    rank = len(down) // len(stacked)
    for at, of_one in enumerate(stacked):
        part = of_one.t() if is_transposed(module) else of_one
        add_low_rank(part, down[at * rank : (at + 1) * rank], up[:, at :: len(stacked)], scale)


def note_of_other_weights(folder: Path, quantization: str) -> str | None:
    """A note where an adapter was trained on weights quantized otherwise than those that it is put on; None: alike.

    The adapter compensates for the quantization error of the weights that it was trained on, which the others lack.
    """
    weights = trained_on(folder)
    if weights in (None, "none", quantization):
        return None
    return (
        f"the adapter was trained on weights in {weights} and answers on weights in {quantization} (none: "
        "unquantized): its answers differ from those that it was chosen by"
    )


def trained_on(folder: Path) -> str | None:
    path = folder / ADAPTER_BASE
    return str(read_json_with(path, "quantization")["quantization"]) if path.exists() else None


def _config(folder: Path) -> dict[str, Any]:
    return read_json_with(folder / ADAPTER_SETTINGS, "peft_type")


def _weight(model: PreTrainedModel, layer: str) -> Tensor:
    module = model.get_submodule(layer)
    head: Any = model.get_output_embeddings()
    embedding: Any = model.get_input_embeddings()
    if module is head and head.weight is embedding.weight:
        head.weight = nn.Parameter(head.weight.clone(), requires_grad=False)
        model.config.tie_word_embeddings = False
    weight = module.weight
    assert isinstance(weight, Tensor)
    return weight


def save_adapter(
    folder: Path,
    state: dict[str, Tensor],
    lora: Lora,
    rank: int,
    alpha: int,
    base: Base,
    quantization: str = "none",
    experts: Sequence[str] = (),
) -> None:
    """Write adapter_model.safetensors and adapter_config.json as peft reads them; the same weights, the same bytes.

    Args:
        base: the model that it belongs to, which peft loads.
        quantization: of the base model's weights while the adapter was trained.
        experts: whole names of the stacked weights that are adapted, in the model's order.
    """
    of_experts = set(peft_names(experts).values())
    adapted = {adapted_name(name) for name in state if ".lora_" in name} - of_experts
    if lora.layers is None:  # else full names: peft would adapt every layer that has a module of this name
        adapted = {name.rpartition(".")[2] for name in adapted}
    with replacing(folder / ADAPTER_WEIGHTS, sum(value.nbytes for value in state.values())) as temporary:
        weights = {name: value.detach().cpu().contiguous() for name, value in sorted(state.items())}
        temporary.write_bytes(save(weights, metadata={"format": "pt"}))
    write_json(folder / ADAPTER_BASE, {"quantization": quantization})
    write_json(
        folder / ADAPTER_SETTINGS,
        {
            "peft_type": "LORA",
            "task_type": "CAUSAL_LM",
            "base_model_name_or_path": base.name,
            "revision": base.revision,
            "inference_mode": True,
            "r": rank,
            "lora_alpha": alpha,
            "lora_dropout": 0.0 if experts else lora.dropout,  # with these peft takes no other, and it acts no more
            "target_modules": sorted(adapted),
            **({"target_parameters": list(experts)} if experts else {}),
            "bias": "none",
            "fan_in_fan_out": False,
            "init_lora_weights": True,
        },
    )


def read_adapter(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """adapter_config.json and the weights.

    Raises:
        StudyError: a file is missing, cut or not what peft writes.
    """
    return _config(folder), read_weights(folder / ADAPTER_WEIGHTS)


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of an adapter's file; raises as read_adapter."""
    if not path.exists():
        raise StudyError(f"{path} is missing: make it with `snakemake {path}`")
    read_header(path, f"make it again with `snakemake --force {path}`")
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise StudyError(f"{path} can't be read ({error}): make it again with `snakemake --force {path}`") from None
