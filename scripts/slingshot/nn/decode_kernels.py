"""Attention of one new token per sequence over its cached keys and values, as a Triton kernel.

Torch's flash attention gives such a query a tile of 128 rows, of which the heads that share a key-value head fill four
of a Llama's; here they fill a tile of 16, and a sequence's keys are split among programs where sequences are few
(flash-decoding: Dao et al. 2023, pytorch.org/blog/flash-decoding).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from slingshot.nn.kernel_support import has_kernels

try:
    import triton
    import triton.language as tl
except ImportError:
    triton = None

_KEYS_AT_ONCE = 64

_PROGRAMS = 1024  # as many keep the largest cards busy

_MOST_SPLITS = 16

if triton is not None:

    @triton.jit
    def _attend_kernel(  # type: ignore[no-untyped-def]
        query,
        keys,
        values,
        starts,
        lengths,
        parts,
        normalizers,
        scale,
        window,
        key_heads,
        stride,
        GROUP: tl.constexpr,  # noqa: N803
        TILE: tl.constexpr,  # noqa: N803
        SIZE: tl.constexpr,  # noqa: N803
        BLOCK: tl.constexpr,  # noqa: N803
        SPLITS: tl.constexpr,  # noqa: N803
    ):
        """One split of a sequence's keys, for the query heads of one key-value head."""
        row, head, split = tl.program_id(0), tl.program_id(1), tl.program_id(2)
        length = tl.load(lengths + row)
        hidden = tl.maximum(length - window, 0)  # keys before the sliding window
        share = tl.cdiv(tl.cdiv(length - hidden, SPLITS), BLOCK) * BLOCK
        begin = hidden + split * share
        end = tl.minimum(begin + share, length)
        member, at = tl.arange(0, TILE), tl.arange(0, SIZE)
        inside = (member < GROUP)[:, None] & (at < SIZE)[None, :]
        heads = (row * key_heads + head).to(tl.int64) * GROUP + member
        place = row.to(tl.int64) * stride + (head * GROUP + member)[:, None] * SIZE + at[None, :]
        asked = tl.load(query + place, mask=inside, other=0.0)
        first = tl.load(starts + row).to(tl.int64)
        largest = tl.full([TILE], float("-inf"), tl.float32)
        total = tl.zeros([TILE], tl.float32)
        weighed = tl.zeros([TILE, SIZE], tl.float32)
        for block in range(begin, end, BLOCK):
            number = block + tl.arange(0, BLOCK)
            seen = number < end
            key_place = ((first + number) * key_heads + head)[:, None] * SIZE + at[None, :]
            key = tl.load(keys + key_place, mask=seen[:, None], other=0.0)
            scores = tl.where(seen[None, :], tl.dot(asked, tl.trans(key)) * scale, float("-inf"))
            larger = tl.maximum(largest, tl.max(scores, 1))
            shrunk, weight = tl.exp2(largest - larger), tl.exp2(scores - larger[:, None])
            value = tl.load(values + key_place, mask=seen[:, None], other=0.0)
            weighed = weighed * shrunk[:, None] + tl.dot(weight.to(value.dtype), value)
            total = total * shrunk + tl.sum(weight, 1)
            largest = larger
        into = heads * SPLITS + split
        weighed = weighed / tl.where(total > 0, total, 1.0)[:, None]
        tl.store(parts + into[:, None] * SIZE + at[None, :], weighed.to(parts.dtype.element_ty), mask=inside)
        if SPLITS > 1:
            tl.store(normalizers + into, largest + tl.log2(total), mask=member < GROUP)

    @triton.jit
    def _join_kernel(parts, normalizers, out, SIZE: tl.constexpr, SPLITS: tl.constexpr):  # type: ignore[no-untyped-def]  # noqa: N803
        """The splits of one query head, each by its share of the normalizer."""
        head = tl.program_id(0).to(tl.int64)
        split, at = tl.arange(0, SPLITS), tl.arange(0, SIZE)
        normalizer = tl.load(normalizers + head * SPLITS + split)
        weight = tl.exp2(normalizer - tl.max(normalizer, 0))
        part = tl.load(parts + (head * SPLITS + split)[:, None] * SIZE + at[None, :])
        joined = tl.sum(part * weight[:, None], 0) / tl.sum(weight, 0)
        tl.store(out + head * SIZE + at, joined.to(out.dtype.element_ty))


def takes(query: Tensor) -> bool:
    """Whether the kernel computes this: half precision on a GPU, heads of a power of two up to 256 numbers."""
    size = query.shape[-1]
    half = query.dtype in (torch.bfloat16, torch.float16)
    fits = half and 16 <= size <= 256 and size & (size - 1) == 0
    return triton is not None and has_kernels(query.device) and fits


def attend_newest(
    query: Tensor,
    keys: Tensor,
    values: Tensor,
    starts: Tensor,
    lengths: Tensor,
    longest: int,
    scale: float,
    window: int | None = None,
) -> Tensor:
    """Attention of each sequence's newest token, whose key and value are in the pool already.

    Args:
        query: (sequences, heads, head size), each sequence's heads contiguous.
        keys, values: (rows, key-value heads, head size), contiguous; sequence i's are the `lengths[i]` > 0 rows from
            `starts[i]` on.
        longest: no sequence is longer.
        window: how many of the last keys are seen; None: all.

    Returns: (sequences, heads, head size), of the query's type.
    """
    count, heads, size = query.shape
    key_heads = keys.shape[1]
    group = heads // key_heads
    splits = _splits(count * key_heads, longest)
    if query.stride()[1:] != (size, 1):
        query = query.contiguous()
    out = torch.empty_like(query, memory_format=torch.contiguous_format)
    parts, normalizers = out, out
    if splits > 1:
        parts = torch.empty(count, heads, splits, size, dtype=torch.float32, device=query.device)
        normalizers = torch.empty(count, heads, splits, dtype=torch.float32, device=query.device)
    _attend_kernel[(count, key_heads, splits)](
        *(query, keys, values, starts, lengths, parts, normalizers),
        *(scale / math.log(2), longest if window is None else window, key_heads, query.stride(0)),
        GROUP=group,
        TILE=max(16, triton.next_power_of_2(group)),
        SIZE=size,
        BLOCK=_KEYS_AT_ONCE,
        SPLITS=splits,
        num_warps=4,
        num_stages=3,
    )
    if splits > 1:
        _join_kernel[(count * heads,)](parts, normalizers, out, SIZE=size, SPLITS=splits, num_warps=4)
    return out


def _splits(programs: int, longest: int) -> int:
    """Into how many parts keys are split, a power of two: enough programs, none without a block of keys."""
    splits = 1
    while splits < _MOST_SPLITS and programs * splits < _PROGRAMS and longest >= 2 * splits * _KEYS_AT_ONCE:
        splits *= 2
    return splits
