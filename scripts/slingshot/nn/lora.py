"""Low-rank adaptation (Hu et al. 2021, arXiv:2106.09685) of a frozen model's linear layers.

y = W x + (alpha / r) B A dropout(x), with A and B in float32 and the products in the model's own type. Saved in
peft's format, so that `PeftModel.from_pretrained` reads it.

Dropout is Bernoulli with exactly the given probability to 32 bits, but drawn by a counter-based generator: whether an
element is kept depends on the seed, the epoch, the sample, the token's position in it, the layer and the element,
and on nothing else. So a sample meets the same mask however samples are packed, on however many processes, in a
backward pass that recomputes it, and after a restart. Projections that read the same input (q, k and v; gate and
up) share its mask.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel

from slingshot.config.recipe import Lora
from slingshot.core.errors import StudyError
from slingshot.core.hashing import digest_of_text, mix
from slingshot.nn import expert_lora
from slingshot.nn.adapter_files import PREFIX, adapted_name, read_adapter
from slingshot.nn.expert_lora import ExpertLora, peft_names

ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj", "qkv_proj")

# Parts of a multimodal network that text never passes.
_OTHER_SENSES = re.compile(r"(^|[._])(vision|visual|image|video|audio|multi_modal|multimodal|mm)([._]|$)")

SAME_INPUT = {"q_proj": "qkv", "k_proj": "qkv", "v_proj": "qkv", "gate_proj": "gate_up", "up_proj": "gate_up"}


class Dropout:
    """What all adapters of a model share: the micro-batch's row keys, and the input that was dropped out last."""

    def __init__(self, probability: float) -> None:
        self.probability = probability
        self.row_keys: Tensor | None = None  # (tokens,) int32; None: no dropout
        self._last: tuple[Tensor, str, Tensor] | None = None

    def set_rows(self, row_keys: Tensor | None) -> None:
        """Say which tokens come next; None switches dropout off (evaluation)."""
        self.row_keys = row_keys if self.probability > 0 else None
        self._last = None

    @contextmanager
    def rows(self, row_keys: Tensor | None) -> Iterator[None]:
        """Within the block other tokens come next; for what is computed again in a backward pass."""
        before = self.row_keys
        self.row_keys, self._last = row_keys, None
        try:
            yield
        finally:
            self.row_keys, self._last = before, None

    def __call__(self, inputs: Tensor, source: str, column_keys: Tensor) -> Tensor:
        """`inputs` (tokens, features) with dropout; projections of the same input get the same tensor."""
        if self.row_keys is None:
            return inputs
        if self._last is not None and self._last[0] is inputs and self._last[1] == source:
            return self._last[2]
        dropped = dropped_out(inputs, self.row_keys, column_keys, self.probability)
        self._last = (inputs, source, dropped)
        return dropped


class LoraLinear(nn.Module):
    """A frozen linear layer with its adapter."""

    def __init__(self, base: Any, name: str, rank: int, scale: float, dropout: Dropout) -> None:
        super().__init__()
        self.base, self.scale, self.dropout = base, scale, dropout
        self.in_features, self.out_features = int(base.in_features), int(base.out_features)
        device = base.weight.device
        self.lora_A = nn.Parameter(torch.empty(rank, self.in_features, dtype=torch.float32, device=device))
        self.lora_B = nn.Parameter(torch.zeros(self.out_features, rank, dtype=torch.float32, device=device))
        parent, _, leaf = name.rpartition(".")
        self.source = f"{parent}.{SAME_INPUT.get(leaf, leaf)}"
        self.register_buffer("column_keys", column_keys(self.source, self.in_features).to(device), persistent=False)

    @property
    def weight(self) -> Tensor:
        """(out, in): W + s B A, without dropout, for modules that multiply by a weight themselves (Mamba's); the base
        layer's own where it is not of floating-point numbers."""
        weight: Tensor = self.base.weight
        if not weight.is_floating_point():
            return weight
        return weight + (self.scale * (self.lora_B @ self.lora_A)).to(weight.dtype)

    @property
    def bias(self) -> Tensor | None:
        bias: Tensor | None = self.base.bias
        return bias

    def forward(self, inputs: Tensor) -> Tensor:
        """(..., in) to (..., out)."""
        projected = self.base(inputs)
        flat = self.dropout(inputs, self.source, self.column_keys).flatten(0, -2)  # type: ignore[arg-type]
        low_rank = F.linear(flat, self.lora_A.to(inputs.dtype))
        up = (self.lora_B * self.scale).to(inputs.dtype)
        return torch.addmm(projected.flatten(0, -2), low_rank, up.T).view(projected.shape)


def column_keys(source: str, features: int) -> Tensor:
    """(features,) int32 dropout keys of an input of a layer."""
    base = np.uint64(int(digest_of_text(source)[:16], 16))
    keys = mix(base ^ mix(np.arange(features, dtype=np.uint64)))
    return torch.from_numpy(keys.astype(np.uint32).view(np.int32))


def dropped_out(inputs: Tensor, row_keys: Tensor, column_keys: Tensor, probability: float) -> Tensor:
    """`inputs` (..., features) with elements kept where `keep_mask` says so, and scaled by 1 / (1 - p)."""
    keep = keep_mask(row_keys, column_keys, probability).view(inputs.shape)
    return torch.where(keep, inputs * (1 / (1 - probability)), 0)


def keep_mask(row_keys: Tensor, column_keys: Tensor, probability: float) -> Tensor:
    """(rows, columns) bool, true with 1 - p: a hash of row key + column key, compared with p.

    The hash is Wellons's lowbias32 without its outer shifts: both keys are well mixed already, and the comparison
    looks at the high bits. In int32 arithmetic, which wraps.
    """
    value = row_keys[:, None] + column_keys[None, :]
    value = value * 0x7FEB352D
    value = value ^ ((value >> 15) & 0x1FFFF)  # a logical shift
    value = value * (0x846CA68B - 2**32)
    value = value ^ ((value >> 16) & 0xFFFF)
    return value >= round(probability * 2**32) - 2**31


def target_names(model: PreTrainedModel, targets: str | list[str], layers: int | None = None) -> list[str]:
    """Full names of the linear layers to adapt, in the model's order.

    Left out are the head, and of a multimodal network all that text never passes: it would get no gradient.

    Args:
        layers: only those of the last N decoder layers; None: of all.

    Raises:
        StudyError: a name in the list fits no linear layer, there are fewer layers, or nothing is left to adapt.
    """
    head = model.get_output_embeddings()
    decoder = {id(module) for module in model.base_model.modules()}  # what stands behind it belongs to the head
    linear = [
        name
        for name, module in model.named_modules()
        if module is not head and id(module) in decoder and _is_linear(module) and not _OTHER_SENSES.search(name)
    ]
    if targets == "all-linear":
        chosen = linear
    else:
        wanted = ATTENTION if targets == "attention" else targets
        chosen = [name for name in linear if name.rpartition(".")[2] in wanted]
        unknown = [] if targets == "attention" else sorted(set(wanted) - {name.rpartition(".")[2] for name in linear})
        if unknown:
            known = ", ".join(sorted({name.rpartition(".")[2] for name in linear}))
            raise StudyError(
                f"finetune.lora.targets: {', '.join(unknown)} is no linear layer of this model; it has {known}"
            )
    if layers is not None:
        inside = _last_layers(model, layers)
        chosen = [name for name in chosen if name.startswith(inside)]
    if not chosen:
        raise StudyError(f"finetune.lora.targets: {targets} fits no linear layer of {type(model).__name__}")
    return chosen


def _last_layers(model: PreTrainedModel, count: int) -> tuple[str, ...]:
    """Prefixes of the names in the last `count` decoder layers.

    The decoder is the longest list of modules that lies in no other list: a layer may hold a longer one of experts.

    Raises:
        StudyError: the network has fewer layers.
    """
    lists: dict[str, int] = {}
    for name, module in model.named_modules():
        nested = any(name.startswith(f"{outer}.") for outer in lists)
        if isinstance(module, nn.ModuleList) and not nested and not _OTHER_SENSES.search(name):
            lists[name] = len(module)
    decoder = max(lists, key=lambda name: lists[name], default="")
    total = lists.get(decoder, 0)
    if count > total:
        raise StudyError(f"finetune.lora.layers is {count}, but the network has {total} layers: choose at most {total}")
    return tuple(f"{decoder}.{index}." for index in range(total - count, total))


def _is_linear(module: nn.Module) -> bool:
    """Whether a module is a linear layer and nothing more: torch's own, one of bitsandbytes, or a family's class
    that multiplies by its weight. A router may inherit from nn.Linear, too, and return something else."""
    if not isinstance(module, nn.Linear):
        return False
    if type(module).forward is nn.Linear.forward or type(module).__module__.startswith("bitsandbytes."):
        return True
    inputs = torch.ones(1, 2, module.in_features, dtype=module.weight.dtype, device=module.weight.device)
    with torch.no_grad(), suppress(Exception):  # a family's own code may want anything
        found = module(inputs)
        return isinstance(found, Tensor) and torch.allclose(found, F.linear(inputs, module.weight, module.bias))
    return False


def adapted_share(model: nn.Module) -> float:
    """The share of the layers' weights that adapters reach; embeddings, head and norms are not counted."""
    head = model.get_output_embeddings()  # type: ignore[operator]
    own = [part for _, adapter in all_adapters(model) for part in (adapter.lora_A, adapter.lora_B)]
    outside = [module for module in model.modules() if isinstance(module, nn.Embedding) or module is head]
    skipped = {id(part) for module in outside for part in module.parameters()} | set(map(id, own))
    counted = {id(part): _count(part) for part in model.parameters() if part.ndim > 1 and id(part) not in skipped}
    reached = sum(counted.get(id(layer.base.weight), 0) for _, layer in adapters(model))
    reached += sum(
        one.experts * one.out_features * one.in_features for one in expert_lora.adapted_experts(model).values()
    )
    return reached / max(sum(counted.values()), 1)


def unreached(model: nn.Module) -> list[str]:
    """A note for the record where adapters reach less than nine tenths of the layers' weights."""
    share = adapted_share(model)
    if share >= 0.9:
        return []
    none_has = isinstance(model, PreTrainedModel) and not expert_lora.adapted_experts(model)
    why = ""
    if none_has and expert_lora.expert_weights(model):  # type: ignore[arg-type]
        why = ": its experts have none (finetune.lora.experts)"
    return [f"adapters are on {share:.0%} of the layers' weights{why}"]


def _count(weight: Tensor) -> int:
    """Weights in a tensor; 4-bit ones lie two to a byte."""
    return weight.numel() * (1 if weight.is_floating_point() or weight.dtype == torch.int8 else 2)


def add_adapters(model: PreTrainedModel, lora: Lora, rank: int, alpha: int, seed: int) -> Dropout:
    """Freeze the model and put an adapter on each target. A starts as peft's does, B at zero.

    Each A is drawn from the seed and its own name, on the CPU, so that no device and no order changes it.
    """
    model.requires_grad_(False)
    dropout = Dropout(lora.dropout)
    for name in target_names(model, lora.targets, lora.layers):
        adapted = _adapt(model, name, rank, alpha / rank, dropout)
        adapted.lora_A.data.copy_(_start(adapted.lora_A.shape, seed, name))
    if lora.experts:
        _add_to_experts(model, lora, rank, alpha / rank, seed)
    return dropout


def attach_adapter(model: PreTrainedModel, folder: Path) -> None:
    """Put a plain LoRA adapter from files on a model whose weights it cannot be summed into, as it was trained.

    peft would do so, but reads gate_proj, up_proj and down_proj of a mixture's shared experts as the others'.

    Raises:
        StudyError: a file is missing or cut, or the adapter was made for another model.
    """
    config, state = read_adapter(folder)
    rank, dropout = config["r"], Dropout(0.0)
    scale = config["lora_alpha"] / rank
    experts = peft_names(config.get("target_parameters") or [])
    try:
        for name in {adapted_name(name) for name in state if ".lora_" in name} - set(experts.values()):
            _adapt(model, name, rank, scale, dropout)
        for weight in experts:
            module, _, parameter = weight.rpartition(".")
            expert_lora.add_to_experts(model, module, parameter, rank, scale)
        load_adapter_state(model, {name: value for name, value in state.items() if ".lora_" in name})
    except torch.OutOfMemoryError:
        raise
    except (AttributeError, KeyError, ValueError, RuntimeError) as error:
        raise StudyError(f"{folder} holds an adapter of another model ({error}): finetune it again") from None


def _adapt(model: PreTrainedModel, name: str, rank: int, scale: float, dropout: Dropout) -> LoraLinear:
    """Put an adapter in the place of a linear layer."""
    adapted = LoraLinear(model.get_submodule(name), name, rank, scale, dropout)
    parent, _, leaf = name.rpartition(".")
    setattr(model.get_submodule(parent), leaf, adapted)
    return adapted


def _add_to_experts(model: PreTrainedModel, lora: Lora, rank: int, scale: float, seed: int) -> None:
    chosen = expert_lora.expert_weights(model)
    if lora.layers is not None:
        inside = _last_layers(model, lora.layers)
        chosen = [(name, parameter) for name, parameter in chosen if name.startswith(inside)]
    if not chosen:
        raise StudyError(f"finetune.lora.experts: {type(model).__name__} has no experts that lie in one tensor")
    for name, parameter in chosen:
        adapter = expert_lora.add_to_experts(model, name, parameter, rank, scale)
        adapter.lora_A.data.copy_(_start(adapter.lora_A.shape, seed, f"{name}.{parameter}"))


def _start(shape: torch.Size, seed: int, name: str) -> Tensor:
    """A of a new adapter, as peft draws it, from the seed and the name of what is adapted."""
    generator = torch.Generator().manual_seed(int(digest_of_text(f"{seed} {name}")[:15], 16))
    start = torch.empty(shape)
    nn.init.kaiming_uniform_(start, a=5**0.5, generator=generator)
    return start


def adapters(model: nn.Module) -> Iterator[tuple[str, LoraLinear]]:
    """Name of the adapted layer, and the layer."""
    for name, module in model.named_modules():
        if isinstance(module, LoraLinear):
            yield name, module


def all_adapters(model: nn.Module) -> Iterator[tuple[str, LoraLinear | ExpertLora]]:
    """Peft's name of all that is adapted, linear layers and experts, and the adapter."""
    yield from adapters(model)
    of_experts = expert_lora.adapted_experts(model)
    names = expert_lora.peft_names(list(of_experts))
    for weight, adapter in of_experts.items():
        yield names[weight], adapter


def adapter_state(model: nn.Module) -> dict[str, Tensor]:
    """The adapter's weights under peft's names; they share memory with the model's."""
    state: dict[str, Tensor] = {}
    for name, adapter in all_adapters(model):
        state[f"{PREFIX}{name}.lora_A.weight"] = adapter.lora_A.data
        state[f"{PREFIX}{name}.lora_B.weight"] = adapter.lora_B.data
    return state


def load_adapter_state(model: nn.Module, state: dict[str, Tensor]) -> None:
    """Copy weights as `adapter_state` names them into the model."""
    own = adapter_state(model)
    if own.keys() != state.keys():
        raise ValueError("these adapter weights are of another model or other targets")
    for name, value in own.items():
        value.copy_(state[name])
