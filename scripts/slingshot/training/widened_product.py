"""A linear layer with its adapters as one product, [x ; h] times [W | s B]: an operator with a gradient that compiles.

W is dense, or in NF4 and unpacked for the product alone. Torch's public torch.library makes the operator; a release
that changes it fails tests/unit/training/test_forward_paths.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


@torch.library.custom_op("slingshot::widened_product", mutates_args=())
def widened_product(
    both: Tensor,
    low: Tensor,
    weight: Tensor,
    block_scales: Tensor | None,
    up: Sequence[Tensor],
    first_rows: Sequence[int],
    features: Sequence[int],
    scale: float,
) -> Tensor:
    """[x ; h] times [W | s B], where W has no gradient.

    Args:
        both: (tokens, in + adapters * rank), x and h side by side.
        low: s h alone, (tokens, adapters * rank), which is all that the backward pass needs of `both`.
        weight: [W | s B], (out, in + adapters * rank); or W in NF4, with its `block_scales`.
        up: each adapter's B; first_rows: where its rows begin in the output.
        features: out, in.

    An operator of its own, so that the compiler neither keeps `both` for the backward pass nor an unpacked W.
    """
    return both @ _widened(weight, block_scales, features, first_rows, up, scale).T


@widened_product.register_fake
def _(both, low, weight, block_scales, up, first_rows, features, scale):  # type: ignore[no-untyped-def]
    return both.new_empty(both.shape[0], features[0])


@torch.library.custom_op("slingshot::widened_product_backward", mutates_args=())
def widened_product_backward(
    gradient: Tensor,
    low: Tensor,
    weight: Tensor,
    block_scales: Tensor | None,
    up: Sequence[Tensor],
    first_rows: Sequence[int],
    features: Sequence[int],
    scale: float,
) -> list[Tensor]:
    """Gradients of `both` and of each B."""
    rank = up[0].shape[1] if up else 0
    of_up = [
        (gradient[:, first : first + one.shape[0]].T @ low[:, at * rank : (at + 1) * rank]).to(one.dtype)
        for at, (first, one) in enumerate(zip(first_rows, up, strict=True))
    ]
    return [gradient @ _widened(weight, block_scales, features, first_rows, up, scale), *of_up]


@widened_product_backward.register_fake
def _(gradient, low, weight, block_scales, up, first_rows, features, scale):  # type: ignore[no-untyped-def]
    return [gradient.new_empty(gradient.shape[0], features[1] + low.shape[1]), *(torch.empty_like(one) for one in up)]


def _keep_for_backward(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    _, low, weight, block_scales, up, ctx.first_rows, ctx.features, ctx.scale = inputs
    ctx.quantized = block_scales is not None
    ctx.save_for_backward(low, weight, *([block_scales] if ctx.quantized else []), *up)


def _backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
    low, weight, *rest = ctx.saved_tensors
    block_scales, up = (rest[0], rest[1:]) if ctx.quantized else (None, rest)
    found = widened_product_backward(
        gradient.contiguous(), low, weight, block_scales, list(up), ctx.first_rows, ctx.features, ctx.scale
    )
    return (
        found[0],
        None,
        None,
        None,
        list(found[1:]),
        None if up else [],
        None,
        None,
    )  # torch takes [] for a list of tensors


widened_product.register_autograd(_backward, setup_context=_keep_for_backward)


def _widened(
    weight: Tensor,
    block_scales: Tensor | None,
    features: Sequence[int],
    first_rows: Sequence[int],
    up: Sequence[Tensor],
    scale: float,
) -> Tensor:
    """[W | s B]: dense weights are stored so, 4-bit ones are unpacked and put together when needed."""
    if block_scales is None:
        return weight
    import bitsandbytes  # noqa: F401  registers the operator

    rank = up[0].shape[1] if up else 0
    dense = torch.ops.bitsandbytes.dequantize_4bit(weight, block_scales, 64, "nf4", list(features), torch.bfloat16)
    if not up:
        return dense
    wide = torch.zeros(features[0], features[1] + rank * len(up), dtype=dense.dtype, device=dense.device)
    wide[:, : features[1]] = dense
    for at, (first, one) in enumerate(zip(first_rows, up, strict=True)):
        wide[first : first + one.shape[0], features[1] + at * rank : features[1] + (at + 1) * rank] = one * scale
    return wide
