"""Low-rank adapters on the experts of a mixture that lie in one tensor, (experts, out, in), as peft adapts parameters.

Each expert e gets W_e + s B_e A_e. The sum is made whenever the layer reads its weights, so it costs memory and time
for all experts, also for those that no token meets; and there is no dropout, as the adapter's part of the product is
not computed apart from that of W. In files the factors lie as peft's `target_parameters` reads them: A (experts * rank,
in), rows of one expert together; B (out, rank * experts), the experts innermost.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from transformers import PreTrainedModel


class ExpertLora(nn.Module):
    """What a stacked weight is read through: W (experts, out, in), or (experts, in, out) where `transposed`."""

    def __init__(self, weight: Tensor, transposed: bool, rank: int, scale: float) -> None:
        super().__init__()
        experts, out, into = weight.shape if not transposed else weight.transpose(1, 2).shape
        self.experts, self.transposed, self.scale = experts, transposed, scale
        self.in_features, self.out_features = into, out
        self.lora_A = nn.Parameter(torch.empty(experts * rank, into, dtype=torch.float32, device=weight.device))
        self.lora_B = nn.Parameter(torch.zeros(out, rank * experts, dtype=torch.float32, device=weight.device))

    def forward(self, weight: Tensor) -> Tensor:
        low_rank = expert_product(self.lora_A, self.lora_B, self.experts) * self.scale
        return weight + (low_rank.transpose(1, 2) if self.transposed else low_rank).to(weight.dtype)


def expert_product(down: Tensor, up: Tensor, experts: int) -> Tensor:
    """B_e A_e of every expert, (experts, out, in), from the factors as they lie in files."""
    stacked = up.unflatten(1, (-1, experts)).permute(2, 0, 1)  # (experts, out, rank)
    return stacked @ down.unflatten(0, (experts, -1))


def expert_weights(model: PreTrainedModel) -> list[tuple[str, str]]:
    """Name of the module and of the parameter of every stacked weight in the decoder that has no adapter yet, in the
    model's order."""
    text = model.config.get_text_config()
    counts = {getattr(text, name, None) for name in ("num_experts", "num_local_experts", "n_routed_experts")} - {None}
    decoder = {id(module) for module in model.base_model.modules()}
    return [
        (name, parameter)
        for name, module in model.named_modules()
        if id(module) in decoder and not isinstance(module, parametrize.ParametrizationList)
        for parameter, weight in module.named_parameters(recurse=False)
        if weight.ndim == 3 and weight.shape[0] in counts and weight.is_floating_point()
    ]


def add_to_experts(model: PreTrainedModel, name: str, parameter: str, rank: int, scale: float) -> ExpertLora:
    """Put an adapter on the stacked weight `parameter` of the module `name`; its A is yet to be filled."""
    module: Any = model.get_submodule(name)
    adapter = ExpertLora(getattr(module, parameter), is_transposed(module), rank, scale)
    if not parametrize.is_parametrized(module):  # a layer reads its weights once per expert
        module.forward = partial(_read_once, module.forward)
    parametrize.register_parametrization(module, parameter, adapter)
    return adapter


def _read_once(forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    with parametrize.cached():
        return forward(*args, **kwargs)


def is_transposed(module: Any) -> bool:
    """Whether a module keeps its stacked weights as (experts, in, out), as gpt-oss does."""
    return bool(getattr(module, "is_transposed", False))


def adapted_experts(model: nn.Module) -> dict[str, ExpertLora]:
    """Adapter of each adapted stacked weight by the weight's whole name, in the model's order."""
    return {
        f"{name}.{parameter}": parametrizations[0]
        for name, module in model.named_modules()
        if parametrize.is_parametrized(module)
        for parameter, parametrizations in module.parametrizations.items()
        if isinstance(parametrizations[0], ExpertLora)
    }


def peft_names(weights: Sequence[str]) -> dict[str, str]:
    """Under which name each weight's factors lie in a file: peft wraps a module once per adapted weight, the first of
    them innermost.

    Args:
        weights: whole names, in the model's order; what peft's `target_parameters` lists.
    """
    names = {}
    for weight in weights:
        module = weight.rpartition(".")[0]
        later = [other for other in weights[weights.index(weight) + 1 :] if other.rpartition(".")[0] == module]
        names[weight] = module + ".base_layer" * len(later)
    return names
