"""Triton kernels for what stands between the matrix products of a decoder layer: the rotation and the activation."""

from __future__ import annotations

import torch
from torch import Tensor

from slingshot.nn.kernel_support import has_kernels

try:
    import triton
    import triton.language as tl
except ImportError:
    triton = None

_ACTIVATED_AT_ONCE = 1024

if triton is not None:

    @triton.jit
    def turned_halves(place, cos, sin, angle, inside, HALF: tl.constexpr):  # type: ignore[no-untyped-def]  # noqa: N803
        """Heads turned by a token's angles, their first and their second half, of the heads' type."""
        first, second = tl.load(place, mask=inside, other=0.0), tl.load(place + HALF, mask=inside, other=0.0)
        cos_first, cos_second = tl.load(cos + angle).to(tl.float32), tl.load(cos + angle + HALF).to(tl.float32)
        sin_first, sin_second = tl.load(sin + angle).to(tl.float32), tl.load(sin + angle + HALF).to(tl.float32)
        one, other = first.to(tl.float32), second.to(tl.float32)
        turned_first = (one * cos_first - other * sin_first).to(first.dtype)
        turned_second = (other * cos_second + one * sin_second).to(first.dtype)
        return turned_first, turned_second

    @triton.jit
    def silu_product(gate, up):  # type: ignore[no-untyped-def]
        """silu(gate) * up, of gate's type; rounded between the two as two kernels of torch round."""
        wide = gate.to(tl.float32)
        activated = (wide * tl.sigmoid(wide)).to(gate.dtype).to(tl.float32)
        return (activated * up.to(tl.float32)).to(gate.dtype)

    @triton.jit
    def _rotate_kernel(states, cos, sin, heads, HEADS: tl.constexpr, HALF: tl.constexpr):  # type: ignore[no-untyped-def]  # noqa: N803
        token = tl.program_id(0).to(tl.int64)
        head, at = tl.arange(0, HEADS)[:, None], tl.arange(0, HALF)[None, :]
        inside = (head < heads) & (at < HALF)
        place = states + token * heads * 2 * HALF + head * 2 * HALF + at
        first, second = turned_halves(place, cos, sin, token * 2 * HALF + at, inside, HALF)
        tl.store(place, first, mask=inside)
        tl.store(place + HALF, second, mask=inside)

    @triton.jit
    def _rotate_and_store_kernel(  # type: ignore[no-untyped-def]
        states,
        cos,
        sin,
        at,
        keys,
        values,
        heads,
        key_heads,
        TURNED: tl.constexpr,  # noqa: N803
        HELD: tl.constexpr,  # noqa: N803
        HALF: tl.constexpr,  # noqa: N803
    ):
        token = tl.program_id(0).to(tl.int64)
        row = tl.load(at + token)
        states += token * (heads + 2 * key_heads) * 2 * HALF
        first_key = row * key_heads * 2 * HALF
        number = tl.arange(0, HALF)[None, :]
        head = tl.arange(0, TURNED)[:, None]
        is_query, is_key = head < heads, (head >= heads) & (head < heads + key_heads)
        place = head * 2 * HALF + number
        angle = token * 2 * HALF + number
        turned_first, turned_second = turned_halves(states + place, cos, sin, angle, is_query | is_key, HALF)
        tl.store(states + place, turned_first, mask=is_query)
        tl.store(states + place + HALF, turned_second, mask=is_query)
        into = first_key + place - heads * 2 * HALF
        tl.store(keys + into, turned_first, mask=is_key)
        tl.store(keys + into + HALF, turned_second, mask=is_key)
        held = tl.arange(0, HELD)[:, None]
        place = held * 2 * HALF + tl.arange(0, 2 * HALF)[None, :]
        value = tl.load(states + (heads + key_heads) * 2 * HALF + place, mask=held < key_heads, other=0.0)
        tl.store(values + first_key + place, value, mask=held < key_heads)

    @triton.jit
    def _silu_mul_kernel(gate_up, out, width, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]  # noqa: N803
        token = tl.program_id(0).to(tl.int64)
        at = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
        inside = at < width
        gate = tl.load(gate_up + token * 2 * width + at, mask=inside, other=0.0)
        up = tl.load(gate_up + token * 2 * width + width + at, mask=inside, other=0.0)
        tl.store(out + token * width + at, silu_product(gate, up), mask=inside)


def run_on(device: torch.device) -> bool:
    """Whether these kernels run on a device."""
    return triton is not None and has_kernels(device)


def rotate_(states: Tensor, cos: Tensor, sin: Tensor) -> None:
    """Turn (1, heads, tokens, head size), tokens outermost in memory, by angles (1, tokens, head size), in place."""
    _, heads, tokens, size = states.shape
    _rotate_kernel[(tokens,)](states, cos, sin, heads, HEADS=triton.next_power_of_2(heads), HALF=size // 2, num_warps=4)


def rotate_and_store(
    states: Tensor, cos: Tensor, sin: Tensor, at: Tensor, keys: Tensor, values: Tensor, heads: int
) -> None:
    """Turn queries in place; put turned keys, and values as they are, into a pool.

    Args:
        states: (tokens, heads + 2 * key-value heads, head size), contiguous: queries, keys, values; head size a power
            of two.
        cos, sin: (tokens, head size), contiguous.
        at: (tokens,) int64, each token's row of the pool.
        keys, values: the pool, (rows, key-value heads, head size), contiguous.
        heads: of the queries.
    """
    tokens, _, size = states.shape
    key_heads = keys.shape[1]
    _rotate_and_store_kernel[(tokens,)](
        *(states, cos, sin, at, keys, values, heads, key_heads),
        TURNED=triton.next_power_of_2(heads + key_heads),
        HELD=triton.next_power_of_2(key_heads),
        HALF=size // 2,
        num_warps=4,
    )


def silu_mul(gate_up: Tensor) -> Tensor:
    """silu(gate) * up of contiguous rows (tokens, gate and up side by side), (tokens, half as many)."""
    tokens, width = gate_up.shape[0], gate_up.shape[1] // 2
    out = gate_up.new_empty(tokens, width)
    blocks = triton.cdiv(width, _ACTIVATED_AT_ONCE)
    _silu_mul_kernel[(tokens, blocks)](gate_up, out, width, BLOCK=_ACTIVATED_AT_ONCE, num_warps=4)
    return out
