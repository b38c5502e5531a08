"""A frozen linear layer in e4m3 with its adapters in the network's own type: y = x W + s h B, where W has no gradient.

The product with W and, in the backward pass, the one that gives the gradient of x have both factors in 8 bits, scaled
per row (nn/fp8.py); what adapters learn from is never quantized. The second product sums over the first one's rows, so
W is kept twice, with the scales that each needs: together as many bytes as W in 16 bits, which stays for answers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from slingshot.nn import fp8

MOST_APART = 0.06  # share of a product's norm; e4m3 rounds about 0.038 away
MULTIPLE = 16  # of which all sizes of a product in e4m3 are


class Fp8Weight(NamedTuple):
    """A frozen weight W (out, in) and its transpose in e4m3, each with a float32 scale per row."""

    rows: Tensor  # (out, in)
    row_scales: Tensor  # (out, 1)
    columns: Tensor  # (in, out)
    column_scales: Tensor  # (in, 1)


def unsupported(features: Iterable[tuple[int, int]], device: torch.device, dtype: torch.dtype) -> str | None:
    """Why layers of these sizes (out, in) cannot be multiplied in e4m3 on a device; None where they can."""
    needed = fp8.lacking(device.type)
    if needed is not None:
        return f"it needs {needed}"
    if device.type == "cuda" and dtype != torch.bfloat16:
        return f"products of rows with scales of their own come in bfloat16, and the model is {dtype}"
    odd = sorted({size for pair in features for size in pair if size % MULTIPLE})
    return f"layers of {', '.join(map(str, odd))} numbers are no multiples of {MULTIPLE}" if odd else None


def in_fp8(weight: Tensor) -> Fp8Weight:
    """A weight (out, in), quantized for both products."""
    return Fp8Weight(*fp8.quantize_rows(weight.contiguous()), *fp8.quantize_rows(weight.t().contiguous()))


def fp8_product(
    inputs: Tensor,
    low: Tensor,
    weight: Fp8Weight,
    up_columns: Tensor,
    up: Sequence[Tensor],
    first_rows: Sequence[int],
    scale: float,
) -> Tensor:
    """Inputs (tokens, in) times W, plus s h B: (tokens, out).

    Args:
        low: h, (tokens, adapters * rank).
        up_columns: s B of all adapters, (out, adapters * rank), zero outside of each one's rows.
        up: each adapter's B, for its gradient; first_rows: where its rows begin in the output.

    Where nothing needs a gradient torch.compile would call the forward pass without its context, so it isn't asked to.
    """
    if not torch.is_grad_enabled() or not any(one.requires_grad for one in (inputs, low, *up)):
        return _forward(inputs, low, weight.rows, weight.row_scales, up_columns)
    out: Tensor = _Fp8Product.apply(inputs, low, *weight, up_columns, tuple(first_rows), scale, *up)
    return out


class _Fp8Product(torch.autograd.Function):
    """Quantizing is plain torch, so that the compiler does it in the kernel that makes the numbers."""

    @staticmethod
    def forward(
        ctx: Any,
        inputs: Tensor,
        low: Tensor,
        rows: Tensor,
        row_scales: Tensor,
        columns: Tensor,
        column_scales: Tensor,
        up_columns: Tensor,
        first_rows: tuple[int, ...],
        scale: float,
        *up: Tensor,
    ) -> Tensor:
        ctx.save_for_backward(low, columns, column_scales, up_columns, *up)
        ctx.first_rows, ctx.scale = first_rows, scale
        return _forward(inputs, low, rows, row_scales, up_columns)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
        low, columns, column_scales, up_columns, *up = ctx.saved_tensors
        quantized = fp8.quantize_rows(gradient)
        of_inputs = multiply_and_add(*quantized, columns, column_scales, None, None, gradient.dtype)
        of_low = gradient @ up_columns
        parts = low.split([one.shape[1] for one in up], dim=1) if up else []
        of_up = [
            (gradient[:, first : first + one.shape[0]].T @ part).to(one.dtype) * ctx.scale
            for first, one, part in zip(ctx.first_rows, up, parts, strict=True)
        ]
        return of_inputs, of_low, None, None, None, None, None, None, None, *of_up


def _forward(inputs: Tensor, low: Tensor, rows: Tensor, row_scales: Tensor, up_columns: Tensor) -> Tensor:
    out: Tensor = multiply_and_add(*fp8.quantize_rows(inputs), rows, row_scales, low, up_columns, inputs.dtype)
    return out


@torch.library.custom_op("slingshot::fp8_multiply_and_add", mutates_args=())
def multiply_and_add(
    rows: Tensor,
    row_scale: Tensor,
    weight: Tensor,
    weight_scale: Tensor,
    low: Tensor | None,
    up_columns: Tensor | None,
    dtype: torch.dtype,
) -> Tensor:
    """Scaled rows (tokens, in) times a scaled weight (out, in), plus low (tokens, k) times up_columns (out, k)."""
    out = fp8.multiply(rows.contiguous(), row_scale.contiguous(), weight, weight_scale, dtype)
    return out if low is None or up_columns is None or not low.shape[1] else out.addmm_(low, up_columns.T)


@multiply_and_add.register_fake
def _(rows, row_scale, weight, weight_scale, low, up_columns, dtype):  # type: ignore[no-untyped-def]
    return rows.new_empty(rows.shape[0], weight.shape[0], dtype=dtype)


@torch.no_grad()
def distance_from_dense(weight: Fp8Weight, dense: Tensor) -> float:
    """How far both products of some random rows are from those with the dense weight, as a share of their norm."""
    draw = torch.Generator().manual_seed(0)
    found = []
    for factor, scales, plain in (
        (weight.rows, weight.row_scales, dense),
        (weight.columns, weight.column_scales, dense.t()),
    ):
        rows = torch.randn(64, plain.shape[1], generator=draw).to(plain)
        expected = (rows @ plain.t()).float()
        ours = fp8.multiply(*fp8.quantize_rows(rows), factor, scales, plain.dtype).float()
        found.append(float((ours - expected).norm() / expected.norm().clamp(min=1e-30)))
    return max(found)
