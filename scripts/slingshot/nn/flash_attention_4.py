"""Flash attention 4 (the package flash-attn-4) as an operator that compiles and has a gradient.

On cards of compute capability 9 and 10 it runs half again to twice as fast as the kernels that come with torch. The
package is optional and young: attention.py tries it on a small case, and goes without where it is absent or wrong.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

PACKAGE = "flash-attn-4"

KERNELS = "flash_attn.cute.interface"

_COMPUTE_CAPABILITIES = (9, 10)


def is_installed(device: torch.device) -> bool:
    """Whether the package is there and has kernels for this device."""
    if device.type != "cuda" or torch.cuda.get_device_capability(device)[0] not in _COMPUTE_CAPABILITIES:
        return False
    try:
        return find_spec(KERNELS) is not None
    except ImportError:
        return False


def _kernels() -> Any:
    return import_module(KERNELS)


def _mask(window: int | None) -> dict[str, Any]:
    if window is None:
        return {"causal": True}
    return {"window_size_left": window - 1, "window_size_right": 0}


@torch.library.custom_op("slingshot::flash_attention_4", mutates_args=())
def attend(
    query: Tensor, key: Tensor, value: Tensor, ends: Tensor, longest: int, scale: float, window: int | None
) -> tuple[Tensor, Tensor]:
    """Causal attention within packed sequences; arguments as attention.packed_attention has them.

    Returns: (tokens, heads, head size) and the logarithm of the normalizer, (heads, tokens) float32.
    """
    out, normalizer, *_ = _kernels()._flash_attn_fwd(
        query,
        key,
        value,
        cu_seqlens_q=ends,
        cu_seqlens_k=ends,
        max_seqlen_q=longest,
        max_seqlen_k=longest,
        softmax_scale=scale,
        return_lse=True,
        **_mask(window),
    )
    return out, normalizer


@attend.register_fake
def _(query, key, value, ends, longest, scale, window):  # type: ignore[no-untyped-def]
    tokens, heads, _ = query.shape
    return query.new_empty(query.shape), query.new_empty(heads, tokens, dtype=torch.float32)


@torch.library.custom_op("slingshot::flash_attention_4_backward", mutates_args=())
def attend_backward(
    gradient: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    out: Tensor,
    normalizer: Tensor,
    ends: Tensor,
    longest: int,
    scale: float,
    window: int | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of query, key and value; the same bytes each time under torch.use_deterministic_algorithms."""
    of_query, of_key, of_value, *_ = _kernels()._flash_attn_bwd(
        query,
        key,
        value,
        out,
        gradient,
        normalizer,
        cu_seqlens_q=ends,
        cu_seqlens_k=ends,
        max_seqlen_q=longest,
        max_seqlen_k=longest,
        softmax_scale=scale,
        deterministic=torch.are_deterministic_algorithms_enabled(),
        **_mask(window),
    )
    return of_query, of_key, of_value


@attend_backward.register_fake
def _(gradient, query, key, value, out, normalizer, ends, longest, scale, window):  # type: ignore[no-untyped-def]
    return query.new_empty(query.shape), key.new_empty(key.shape), value.new_empty(value.shape)


def _keep_for_backward(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    query, key, value, ends, ctx.longest, ctx.scale, ctx.window = inputs
    ctx.save_for_backward(query, key, value, *output, ends)


def _backward(ctx: Any, gradient: Tensor, _: Tensor | None) -> tuple[Any, ...]:
    *saved, ends = ctx.saved_tensors
    found = attend_backward(gradient.contiguous(), *saved, ends, ctx.longest, ctx.scale, ctx.window)
    return *found, None, None, None, None


attend.register_autograd(_backward, setup_context=_keep_for_backward)
