"""Linear layers of one input as one: their weights and adapters side by side, dense, in NF4 or in e4m3."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from slingshot.nn.lora import LoraLinear
from slingshot.training import fp8_product


class Projection(NamedTuple):
    """Linear layers of one input, merged. `weight` is [W | s B]; or W alone in 4 bits with the scale of each block; or
    s B alone, beside W in e4m3."""

    weight: Tensor  # (out, in + adapters * rank), or packed NF4, or (out, adapters * rank)
    block_scales: Tensor | None  # NF4 only
    bias: Tensor | None
    down: tuple[Tensor, ...]  # the adapters' A, (rank, in) float32
    up: tuple[Tensor, ...]  # the adapters' B, (their rows, rank) float32
    column_keys: Tensor | None
    fp8: fp8_product.Fp8Weight | None = None


def merged(linears: Sequence[Any]) -> Projection:
    """Merge linear layers of one input; dense ones become views of the merged weight."""
    bases = [base_of(linear) for linear in linears]
    adapted: list[Any] = [linear for linear in linears if isinstance(linear, LoraLinear)]
    quantized = type(bases[0]).__name__ == "Linear4bit"
    if quantized:
        weight = torch.cat([base.weight.data.flatten() for base in bases])[:, None]
        scales = torch.cat([base.weight.quant_state.absmax.flatten() for base in bases])
    else:
        weight, scales = _widened_storage(bases, sum(linear.lora_A.shape[0] for linear in adapted)), None
    biases = [base.bias.data if base.bias is not None else torch.zeros_like(base.weight[:, 0]) for base in bases]
    return Projection(
        weight=weight,
        block_scales=scales,
        bias=torch.cat(biases) if any(base.bias is not None for base in bases) else None,
        down=tuple(linear.lora_A for linear in adapted),
        up=tuple(linear.lora_B for linear in adapted),
        column_keys=adapted[0].column_keys if adapted else None,
    )


@torch.no_grad()
def _widened_storage(bases: Sequence[Any], extra: int) -> Tensor:
    """[W | 0] of stacked layers; their weights become views of it."""
    first = bases[0].weight
    rows = sum(base.out_features for base in bases)
    merged = torch.zeros(rows, first.shape[1] + extra, dtype=first.dtype, device=first.device)
    start = 0
    for base in bases:
        view = merged[start : start + base.out_features, : first.shape[1]]
        view.copy_(base.weight)
        base.weight = nn.Parameter(view, requires_grad=False)
        start += base.out_features
    return merged


def rows_of_adapters(linears: Sequence[Any]) -> tuple[int, ...]:
    """Where in the merged output each adapter's rows begin."""
    starts, start = [], 0
    for linear in linears:
        if isinstance(linear, LoraLinear):
            starts.append(start)
        start += linear.out_features
    return tuple(starts)


def in_fp8(projection: Projection, width: int) -> tuple[Projection, float]:
    """A dense projection with W (out, width) in e4m3, and how far its products then are from its own."""
    dense = projection.weight[:, :width]
    weight = fp8_product.in_fp8(dense)
    up_columns = torch.zeros_like(projection.weight[:, width:], memory_format=torch.contiguous_format)
    return projection._replace(weight=up_columns, fp8=weight), fp8_product.distance_from_dense(weight, dense)


def copies(projection: Projection, width: int, first_rows: Sequence[int]) -> list[tuple[Tensor, Tensor]]:
    """Where each B, times s, belongs: in [W | s B] of width + adapters * rank columns, or in s B alone."""
    if projection.block_scales is not None or not projection.up:
        return []
    rank = projection.up[0].shape[1]
    before = 0 if projection.fp8 is not None else width
    return [
        (projection.weight[first : first + one.shape[0], before + at * rank : before + (at + 1) * rank], one.data)
        for at, (first, one) in enumerate(zip(first_rows, projection.up, strict=True))
    ]


def base_of(module: Any) -> Any:
    """The frozen layer of one with an adapter, or the layer itself."""
    return module.base if isinstance(module, LoraLinear) else module
