"""Attention over packed sequences: many of unequal length laid end to end, none sees another.

transformers' models call the function registered here once `use_packed_attention` has been applied to them. The
sequences' bounds travel as keyword arguments of the model's forward, under the names that transformers gives them:
`model(input_ids, position_ids=..., **bounds(lengths, device))`. No mask tensor exists anywhere.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import import_module
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel

from slingshot.models.device_memory import to_device
from slingshot.nn import flash_attention_4
from slingshot.nn.sequence_attention import one_sequence, rotary_length, rotary_meets_batch

NAME = "slingshot_packed"

varlen_attn: Any = None

_VARLEN: set[str] = set()

with suppress(ImportError):  # before torch 2.10
    varlen_attn = import_module("torch.nn.attention.varlen").varlen_attn
    _VARLEN = set(inspect.signature(varlen_attn).parameters)

_HALF = (torch.bfloat16, torch.float16)

_use_flash_4 = False

_TOLERANCE = 0.02  # between two orders of the same sums in bfloat16; kernels differ by 0.003


def bounds(lengths: Sequence[int], device: torch.device | str, longest: int | None = None) -> dict[str, Any]:
    """The keyword arguments that tell packed attention where sequences begin and end.

    Args:
        lengths: tokens of each sequence, in the order in which they are laid end to end.
        longest: an upper bound to name instead of the longest length, so that compiled code sees a constant.
    """
    ends = to_device(torch.tensor([0, *lengths], dtype=torch.int32).cumsum(0, dtype=torch.int32), device)
    longest = max(lengths) if longest is None else longest
    return {"cu_seq_lens_q": ends, "cu_seq_lens_k": ends, "max_length_q": longest, "max_length_k": longest}


def unsupported(model: PreTrainedModel, longest: int) -> str | None:
    """Why this model cannot take packed attention for sequences of up to `longest` tokens; None where it can."""
    config = model.config.get_text_config()
    if not getattr(model, "_supports_attention_backend", False):
        return f"{type(model).__name__} brings its own attention"
    if getattr(config, "attn_logit_softcapping", None):
        return f"{type(model).__name__} caps its attention scores"
    if getattr(config, "attention_chunk_size", None):
        return f"{type(model).__name__} attends in chunks"
    if window_of(config, longest) and varlen_attn is None:
        return "sliding windows need torch 2.10"
    if rotary_meets_batch(config) and longest > rotary_length(config):
        return f"{type(model).__name__} turns positions by the longest sequence of a batch"
    return None


def mixes_windows(config: Any) -> bool:
    """Whether only some of the layers have the model's sliding window."""
    return len(set(getattr(config, "layer_types", None) or [])) > 1


def window_of(config: Any, longest: int) -> int | None:
    """The model's sliding window where it is shorter than `longest` tokens, else None."""
    window = getattr(config, "sliding_window", None)
    if window and getattr(config, "use_sliding_window", True) and window < longest:
        return int(window)
    return None


def use_packed_attention(model: PreTrainedModel, longest: int) -> list[str]:
    """Make the model's attention the packed one, by the fastest kernels that are right on this device.

    `model.set_attn_implementation("sdpa")` undoes it. Returns notes for the step's record.
    """
    global _use_flash_4
    AttentionInterface.register(NAME, _packed_attention)
    model.set_attn_implementation(NAME)
    _use_flash_4 = False
    if model.dtype not in _HALF or not flash_attention_4.is_installed(model.device):
        return []
    try:
        away = _away_of_flash_4(model, longest)
    except Exception as error:  # a young package may fail in any way
        return [f"attention without {flash_attention_4.PACKAGE}: {type(error).__name__}: {str(error)[:200]}"]
    _use_flash_4 = away <= _TOLERANCE
    way = "by" if _use_flash_4 else "without"
    return [f"attention {way} {flash_attention_4.PACKAGE}, whose results differ from torch's own by {away:.2%}"]


def _away_of_flash_4(model: PreTrainedModel, longest: int) -> float:
    """How far flash attention 4's results and gradients are from torch's in a case of the model's shape: the worst
    difference, as a share of the norm."""
    config, lengths = model.config.get_text_config(), (300, 1, 129, 64)
    head_size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    window = window_of(config, longest)
    random = torch.Generator().manual_seed(0)
    query, key, value, gradient = (
        torch.randn(sum(lengths), heads, head_size, generator=random).to(model.device, torch.bfloat16)
        for heads in (config.num_attention_heads, *2 * [config.num_key_value_heads], config.num_attention_heads)
    )
    ends = bounds(lengths, model.device)["cu_seq_lens_q"]

    def results(attend: Callable[..., Tensor]) -> list[Tensor]:
        inputs = [part.detach().requires_grad_() for part in (query, key, value)]
        out = attend(*inputs, ends, max(lengths), head_size**-0.5, window and min(window, 100))
        return [out.detach(), *torch.autograd.grad(out, inputs, gradient)]

    pairs = zip(results(lambda *given: flash_attention_4.attend(*given)[0]), results(packed_attention), strict=True)
    return max(float((one.float() - other.float()).norm() / other.float().norm()) for one, other in pairs)


def packed_attention(
    query: Tensor, key: Tensor, value: Tensor, ends: Tensor, longest: int, scale: float, window: int | None = None
) -> Tensor:
    """Causal attention within each of the packed sequences.

    Args:
        query: (tokens, heads, head size); key and value may have fewer heads, each shared by a run of query heads.
        ends: (sequences + 1,) int32, where each sequence begins and the last one ends.
        longest: no sequence is longer.
        scale: what scores are multiplied with.
        window: a token sees itself and so many less one before it; None: all before it.

    Returns: (tokens, heads, head size).
    """
    if _use_flash_4 and query.dtype in _HALF:
        return flash_attention_4.attend(query, key, value, ends, longest, scale, window)[0]
    if query.is_cuda and varlen_attn is not None and query.dtype in _HALF:
        return _by_varlen(query, key, value, ends, longest, scale, window)
    query, key, value = (part.transpose(0, 1)[None] for part in (query, key, value))
    parts = [
        one_sequence(query[:, :, start:end], key[:, :, start:end], value[:, :, start:end], scale, window)
        for start, end in pairwise(ends.tolist())
        if end > start
    ]
    return torch.cat(parts, 2)[0].transpose(0, 1)


def _by_varlen(
    query: Tensor, key: Tensor, value: Tensor, ends: Tensor, longest: int, scale: float, window: int | None
) -> Tensor:
    """Flash attention; its older signatures know neither `window_size` nor `enable_gqa`."""
    options: dict[str, Any] = {}
    if "window_size" in _VARLEN:
        options["window_size"] = (-1 if window is None else window - 1, 0)
    else:
        options["is_causal"] = True
    if "enable_gqa" in _VARLEN:
        options["enable_gqa"] = query.shape[1] != key.shape[1]
    if "scale" in _VARLEN:
        options["scale"] = scale
    else:
        query = query * (scale * query.shape[-1] ** 0.5)
    return varlen_attn(query, key, value, ends, ends, longest, longest, **options)


def _packed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    cu_seq_lens_q: Tensor | None = None,
    max_length_q: int | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """transformers' side of `packed_attention`: (1, heads, tokens, head size) in, (1, tokens, heads, size) out."""
    if cu_seq_lens_q is None or max_length_q is None:
        raise ValueError("packed attention needs the sequences' bounds: pass **attention.bounds(lengths, device)")
    scale = scaling if scaling is not None else query.shape[-1] ** -0.5
    query, key, value = (part[0].transpose(0, 1) for part in (query, key, value))
    return packed_attention(query, key, value, cu_seq_lens_q, max_length_q, scale, sliding_window)[None], None
