"""Two kernels for what stands between the matrix products of a Llama-like layer: fewer trips to a GPU's memory.

Written in Triton, which comes with torch's CUDA builds; where it is missing, a model keeps its own arithmetic.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

if TYPE_CHECKING:
    from transformers import PreTrainedModel

try:
    import triton
    import triton.language as tl
except ImportError:
    triton = None

# Families whose rotary embedding turns a head's first half against its second.
_HALVES = {"llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text"}

_BLOCK = 2048

if triton is not None:

    @triton.jit
    def _silu_mul_kernel(gate, up, count, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]  # noqa: N803
        at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
        inside = at < count
        given = tl.load(gate + at, mask=inside, other=0.0)
        factor = tl.load(up + at, mask=inside, other=0.0).to(tl.float32)
        wide = given.to(tl.float32)
        activated = (wide * tl.sigmoid(wide)).to(given.dtype).to(tl.float32)  # rounded here as the network does
        tl.store(gate + at, (activated * factor).to(given.dtype), mask=inside)

    @triton.jit
    def _rotate_kernel(  # type: ignore[no-untyped-def]
        states,
        cos,
        sin,
        heads,
        HEADS: tl.constexpr,  # noqa: N803
        HALF: tl.constexpr,  # noqa: N803
    ):
        token = tl.program_id(0).to(tl.int64)
        head, at = tl.arange(0, HEADS)[:, None], tl.arange(0, HALF)[None, :]
        inside = (head < heads) & (at < HALF)
        place = states + token * heads * 2 * HALF + head * 2 * HALF + at
        first, second = tl.load(place, mask=inside, other=0.0), tl.load(place + HALF, mask=inside, other=0.0)
        angle = token * 2 * HALF + at
        cos_first, cos_second = tl.load(cos + angle).to(tl.float32), tl.load(cos + angle + HALF).to(tl.float32)
        sin_first, sin_second = tl.load(sin + angle).to(tl.float32), tl.load(sin + angle + HALF).to(tl.float32)
        one, other = first.to(tl.float32), second.to(tl.float32)
        tl.store(place, (one * cos_first - other * sin_first).to(first.dtype), mask=inside)
        tl.store(place + HALF, (other * cos_second + one * sin_second).to(first.dtype), mask=inside)


def fuse(model: PreTrainedModel) -> None:
    """Let a model on a GPU use the kernels where its modules have the shape that they expect."""
    if triton is None or model.device.type != "cuda":
        return
    for module in model.modules():
        if _is_gated(module):
            module.forward = partial(_gated_forward, module)
    if model.config.get_text_config().model_type in _HALVES:
        home = sys.modules[type(model).__module__]
        original = getattr(home, "apply_rotary_pos_emb", None)
        if original is not None and not isinstance(original, partial):
            home.apply_rotary_pos_emb = partial(_rotate, original)  # type: ignore[attr-defined]


def unfuse(model: PreTrainedModel) -> None:
    """Undo `fuse`."""
    for module in model.modules():
        if _is_gated(module):
            module.__dict__.pop("forward", None)
    home = sys.modules[type(model).__module__]
    patched = getattr(home, "apply_rotary_pos_emb", None)
    if isinstance(patched, partial):
        home.apply_rotary_pos_emb = patched.args[0]  # type: ignore[attr-defined]


def _is_gated(module: nn.Module) -> bool:
    parts = ("gate_proj", "up_proj", "down_proj", "act_fn")
    return all(hasattr(module, part) for part in parts) and isinstance(module.act_fn, nn.SiLU | _silu_of_transformers())


def _silu_of_transformers() -> type:
    from transformers.activations import ACT2FN

    return type(ACT2FN["silu"])


def _gated_forward(module: Any, hidden: Tensor) -> Tensor:
    product: Tensor = module.down_proj(silu_mul_(module.gate_proj(hidden), module.up_proj(hidden)))
    return product


def silu_mul_(gate: Tensor, up: Tensor) -> Tensor:
    """silu(gate) * up, in gate's place; both contiguous."""
    count = gate.numel()
    _silu_mul_kernel[(triton.cdiv(count, _BLOCK),)](gate, up, count, BLOCK=_BLOCK)
    return gate


def _rotate(
    original: Callable[..., tuple[Tensor, Tensor]], query: Tensor, key: Tensor, cos: Tensor, sin: Tensor, *more: Any
) -> tuple[Tensor, Tensor]:
    """`apply_rotary_pos_emb` of transformers; in place where the kernel takes the shapes."""
    size = query.shape[-1]
    fits = query.is_cuda and len(query) == 1 and cos.shape[-1] == size and size & (size - 1) == 0
    if not (fits and query.transpose(1, 2).is_contiguous() and key.transpose(1, 2).is_contiguous()):
        return original(query, key, cos, sin, *more)
    cos, sin = cos.contiguous(), sin.contiguous()
    for states in (query, key):
        rotate_(states, cos, sin)
    return query, key


def rotate_(states: Tensor, cos: Tensor, sin: Tensor) -> None:
    """Turn (1, heads, tokens, head size), tokens outermost in memory, by angles (1, tokens, head size), in place."""
    _, heads, tokens, size = states.shape
    _rotate_kernel[(tokens,)](states, cos, sin, heads, HEADS=triton.next_power_of_2(heads), HALF=size // 2, num_warps=4)
