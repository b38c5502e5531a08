"""Triton kernels that leave their result in e4m3 with a scale per token, ready for the next matrix product.

The norm and the activation read and write every number anyway, so that quantizing there costs no trip to memory.
"""

from __future__ import annotations

import torch
from torch import Tensor

try:
    import triton
    import triton.language as tl
except ImportError:
    triton = None

SMALLEST_SCALE = 1e-12
WIDEST = 32_768  # numbers of a row that one program holds

if triton is not None:
    from slingshot.nn.layer_kernels import silu_product

    @triton.jit
    def _store_in_e4m3(out, scales, row, width, numbers, SMALLEST: tl.constexpr, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]  # noqa: N803
        """A row of float32 as e4m3, and its scale."""
        at = tl.arange(0, BLOCK)
        scale = tl.maximum(tl.max(tl.abs(numbers), 0) / 448.0, SMALLEST)
        tl.store(scales + row, scale)
        tl.store(out + row * width + at, (numbers / scale).to(tl.float8e4nv), mask=at < width)

    @triton.jit
    def _quantize_kernel(rows, out, scales, width, SMALLEST: tl.constexpr, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]  # noqa: N803
        row = tl.program_id(0).to(tl.int64)
        at = tl.arange(0, BLOCK)
        given = tl.load(rows + row * width + at, mask=at < width, other=0.0).to(tl.float32)
        _store_in_e4m3(out, scales, row, width, given, SMALLEST, BLOCK)

    @triton.jit
    def _norm_kernel(  # type: ignore[no-untyped-def]
        rows,
        weight,
        out,
        scales,
        width,
        epsilon,
        SMALLEST: tl.constexpr,  # noqa: N803
        BLOCK: tl.constexpr,  # noqa: N803
    ):
        row = tl.program_id(0).to(tl.int64)
        at = tl.arange(0, BLOCK)
        inside = at < width
        given = tl.load(rows + row * width + at, mask=inside, other=0.0)
        wide = given.to(tl.float32)
        root = tl.rsqrt(tl.sum(wide * wide, 0) / width + epsilon)
        normed = (wide * root * tl.load(weight + at, mask=inside, other=0.0).to(tl.float32)).to(given.dtype)
        normed = normed.to(tl.float32)  # rounded as the network's own norm rounds
        _store_in_e4m3(out, scales, row, width, normed, SMALLEST, BLOCK)

    @triton.jit
    def _silu_mul_kernel(  # type: ignore[no-untyped-def]
        gate_up,
        out,
        scales,
        width,
        SMALLEST: tl.constexpr,  # noqa: N803
        BLOCK: tl.constexpr,  # noqa: N803
    ):
        row = tl.program_id(0).to(tl.int64)
        at = tl.arange(0, BLOCK)
        inside = at < width
        gate = tl.load(gate_up + row * 2 * width + at, mask=inside, other=0.0)
        up = tl.load(gate_up + row * 2 * width + width + at, mask=inside, other=0.0)
        product = silu_product(gate, up).to(tl.float32)
        _store_in_e4m3(out, scales, row, width, product, SMALLEST, BLOCK)


def quantize_rows(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Contiguous rows (N, K) as e4m3 and their scales (N, 1)."""
    out, scales = _empty(rows, rows.shape[1])
    _quantize_kernel[(len(rows),)](rows, out, scales, rows.shape[1], SMALLEST_SCALE, **_launch(rows))
    return out, scales


def norm_and_quantize(rows: Tensor, weight: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    """RMS norm of contiguous rows (N, K), as e4m3 and their scales (N, 1)."""
    out, scales = _empty(rows, rows.shape[1])
    _norm_kernel[(len(rows),)](rows, weight, out, scales, rows.shape[1], epsilon, SMALLEST_SCALE, **_launch(rows))
    return out, scales


def activate_and_quantize(gate_up: Tensor) -> tuple[Tensor, Tensor]:
    """silu(gate) * up of contiguous rows (N, gate and up side by side), as e4m3 (N, K) and their scales (N, 1)."""
    out, scales = _empty(gate_up, gate_up.shape[1] // 2)
    _silu_mul_kernel[(len(out),)](gate_up, out, scales, out.shape[1], SMALLEST_SCALE, **_launch(out))
    return out, scales


def _empty(rows: Tensor, width: int) -> tuple[Tensor, Tensor]:
    return (
        torch.empty(len(rows), width, dtype=torch.float8_e4m3fn, device=rows.device),
        torch.empty(len(rows), 1, dtype=torch.float32, device=rows.device),
    )


def _launch(rows: Tensor) -> dict[str, int]:
    width = rows.shape[1]
    if width > WIDEST:
        raise ValueError(f"rows of {width} numbers are more than one program holds ({WIDEST})")
    block = triton.next_power_of_2(width)
    return {"BLOCK": block, "num_warps": 8 if block <= 8192 else 16}
