"""Triton kernels that leave their result in e4m3 with a scale per token, ready for the next matrix product.

Quantizing in a kernel of its own costs a third of what the faster product brings; the norm and the activation read
and write every number anyway.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from slingshot.nn.fp8 import SMALLEST_SCALE, Fp8Linear

if TYPE_CHECKING:
    from transformers import PreTrainedModel

try:
    import triton
    import triton.language as tl
except ImportError:
    triton = None

# Families whose layer is x += attention(norm(x)); x += mlp(norm(x)), and nothing else reads a norm's result.
_PLAIN_LAYERS = {"llama", "mistral", "qwen2", "qwen3"}
_WIDEST = 32_768  # numbers of a row that one program holds

if triton is not None:

    @triton.jit
    def _quantize_kernel(rows, out, scales, width, SMALLEST: tl.constexpr, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]  # noqa: N803
        row = tl.program_id(0).to(tl.int64)
        at = tl.arange(0, BLOCK)
        inside = at < width
        given = tl.load(rows + row * width + at, mask=inside, other=0.0).to(tl.float32)
        scale = tl.maximum(tl.max(tl.abs(given), 0) / 448.0, SMALLEST)
        tl.store(scales + row, scale)
        tl.store(out + row * width + at, (given / scale).to(tl.float8e4nv), mask=inside)

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
        scale = tl.maximum(tl.max(tl.abs(normed), 0) / 448.0, SMALLEST)
        tl.store(scales + row, scale)
        tl.store(out + row * width + at, (normed / scale).to(tl.float8e4nv), mask=inside)

    @triton.jit
    def _silu_mul_kernel(  # type: ignore[no-untyped-def]
        gate,
        up,
        out,
        scales,
        width,
        SMALLEST: tl.constexpr,  # noqa: N803
        BLOCK: tl.constexpr,  # noqa: N803
    ):
        row = tl.program_id(0).to(tl.int64)
        at = tl.arange(0, BLOCK)
        inside = at < width
        given = tl.load(gate + row * width + at, mask=inside, other=0.0)
        factor = tl.load(up + row * width + at, mask=inside, other=0.0).to(tl.float32)
        wide = given.to(tl.float32)
        activated = (wide * tl.sigmoid(wide)).to(given.dtype).to(tl.float32)
        product = (activated * factor).to(given.dtype).to(tl.float32)
        scale = tl.maximum(tl.max(tl.abs(product), 0) / 448.0, SMALLEST)
        tl.store(scales + row, scale)
        tl.store(out + row * width + at, (product / scale).to(tl.float8e4nv), mask=inside)


def fuse(model: PreTrainedModel) -> None:
    """Let norms and activations hand their results on in e4m3, where only layers in e4m3 read them."""
    if triton is None or model.device.type != "cuda":
        return
    if model.config.get_text_config().model_type not in _PLAIN_LAYERS:
        return
    for layer in getattr(model.base_model, "layers", []):
        attention, mlp = layer.self_attn, layer.mlp
        if all(isinstance(linear, Fp8Linear) for linear in (attention.q_proj, attention.k_proj, attention.v_proj)):
            layer.input_layernorm.forward = partial(_norm_forward, layer.input_layernorm)
        if all(isinstance(linear, Fp8Linear) for linear in (mlp.gate_proj, mlp.up_proj, mlp.down_proj)):
            layer.post_attention_layernorm.forward = partial(_norm_forward, layer.post_attention_layernorm)
            mlp.forward = partial(_mlp_forward, mlp)


def unfuse(model: PreTrainedModel) -> None:
    """Undo `fuse`."""
    if model.config.get_text_config().model_type in _PLAIN_LAYERS:
        for layer in getattr(model.base_model, "layers", []):
            for module in (layer.input_layernorm, layer.post_attention_layernorm, layer.mlp):
                module.__dict__.pop("forward", None)


def quantize_rows(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Contiguous rows (N, K) as e4m3 and their scales (N, 1)."""
    count, width = rows.shape
    out = torch.empty_like(rows, dtype=torch.float8_e4m3fn)
    scales = torch.empty(count, 1, dtype=torch.float32, device=rows.device)
    _quantize_kernel[(count,)](rows, out, scales, width, SMALLEST_SCALE, **_launch(width))
    return out, scales


def _norm_forward(module: Any, hidden: Tensor) -> Tensor:
    """RMS norm of (..., K) in e4m3, with its scales as the result's attribute `row_scale`."""
    rows = hidden.reshape(-1, hidden.shape[-1])
    count, width = rows.shape
    out = torch.empty_like(hidden, dtype=torch.float8_e4m3fn)
    scales = torch.empty(count, 1, dtype=torch.float32, device=rows.device)
    _norm_kernel[(count,)](
        rows, module.weight, out, scales, width, module.variance_epsilon, SMALLEST_SCALE, **_launch(width)
    )
    out.row_scale = scales  # type: ignore[attr-defined]
    return out


def _mlp_forward(module: Any, hidden: Tensor) -> Tensor:
    gate, up = module.gate_proj(hidden), module.up_proj(hidden)
    rows = gate.view(-1, gate.shape[-1])
    count, width = rows.shape
    out = torch.empty_like(gate, dtype=torch.float8_e4m3fn)
    scales = torch.empty(count, 1, dtype=torch.float32, device=rows.device)
    _silu_mul_kernel[(count,)](rows, up, out, scales, width, SMALLEST_SCALE, **_launch(width))
    out.row_scale = scales  # type: ignore[attr-defined]
    product: Tensor = module.down_proj(out)
    return product


def _launch(width: int) -> dict[str, int]:
    if width > _WIDEST:
        raise ValueError(f"rows of {width} numbers are more than one program holds ({_WIDEST})")
    block = triton.next_power_of_2(width)
    return {"BLOCK": block, "num_warps": 8 if block <= 8192 else 16}
