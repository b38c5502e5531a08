"""Attention of new tokens over the keys and values of all that came before, for many sequences without padding.

A group's sequences own consecutive rows of one pool per layer. A forward pass lays the new tokens of all of them end
to end, writes their keys and values into the pool, and lets each token see its own sequence's rows alone. Prompts,
single decoding steps and the partial answers of a beam search are all such passes; `AttentionStep` says which rows
are whose.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel

from slingshot.nn import decode_kernels, flash_kernels
from slingshot.nn.sequence_attention import attend_one_sequence
from slingshot.nn.supported_layers import AttentionArgumentsError, unpack_states

NAME = "slingshot_cached"


@dataclass
class KVCache:
    """Keys and values of every layer: (rows, key-value heads, head size) each, made when a layer first writes."""

    rows: int
    keys: dict[int, Tensor] = field(default_factory=dict)
    values: dict[int, Tensor] = field(default_factory=dict)

    def of_layer(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """A layer's keys and values, made for heads like those of some new ones, (tokens, key-value heads, size)."""
        if layer not in self.keys:
            # Zeros: rows that nobody wrote may meet a weight of 0, and 0 times NaN is NaN.
            self.keys[layer] = key.new_zeros(self.rows, *key.shape[1:])
            self.values[layer] = value.new_zeros(self.rows, *value.shape[1:])
        return self.keys[layer], self.values[layer]

    def write(self, layer: int, at: Tensor, key: Tensor, value: Tensor) -> None:
        for kept, new in zip(self.of_layer(layer, key, value), (key, value), strict=True):
            kept.index_copy_(0, at, new)


@dataclass
class AttentionStep:
    """One forward pass. Sequence i's new tokens stand at `query_ends[i] : query_ends[i + 1]`; it sees
    `key_lengths[i]` rows of the pool from `key_starts[i]` on, the last of which are its new tokens.
    """

    pool: KVCache
    write: Tensor  # (tokens,) int64: the pool's rows that take the new keys and values
    query_ends: Tensor  # (sequences + 1,) int32
    key_starts: Tensor  # (sequences + 1,) int32; the last is not a start and is not read
    key_lengths: Tensor  # (sequences,) int32
    longest_query: int
    longest_key: int
    branches: Branches | None = None

    def new_rows(self) -> tuple[KVCache, Tensor]:
        """The pool that takes the new tokens' keys and values, and its rows for them, (tokens,)."""
        if self.branches is None:
            return self.pool, self.write
        return self.branches.pool, self.branches.write


@dataclass
class Branches:
    """Partial answers that share a prompt. The queries are equally many for each sequence, all at one depth; each
    sees the prompt and, in a pool of their own, its own ancestors and itself.
    """

    pool: KVCache
    write: Tensor  # (tokens,) int64: rows of the branches' pool
    ancestors: Tensor  # (tokens, depth) int64: rows of the branches' pool, each query's own row last


def use_cached_attention(model: PreTrainedModel) -> None:
    """Make the model's attention this one; a forward pass then needs `step=AttentionStep(...)`."""
    AttentionInterface.register(NAME, _attend)
    model.set_attn_implementation(NAME)


def _attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    step: AttentionStep | None = None,
    **more: Any,
) -> tuple[Tensor, None]:
    """transformers' side: (1, heads, tokens, head size) in, (1, tokens, heads, head size) out."""
    query, key, value, scale = unpack_states(query, key, value, scaling, attention_mask, more)
    if step is None:
        raise AttentionArgumentsError("its layers do not pass on what their attention is given (step=AttentionStep)")
    layer = int(module.layer_idx)  # type: ignore[arg-type]
    pool, rows = step.new_rows()
    pool.write(layer, rows, key, value)
    return attend(step, layer, query, scale, sliding_window, softcap)[None], None


def attend(
    step: AttentionStep,
    layer: int,
    query: Tensor,
    scale: float,
    window: int | None = None,
    softcap: float | None = None,
) -> Tensor:
    """Attend to what the pools hold, the new tokens' own keys and values included: (tokens, heads, head size)."""
    if window is not None and window >= step.longest_key:
        window = None
    if step.branches is not None:
        return _attend_branches(step, layer, query, scale, window, softcap)
    keys, values = step.pool.keys[layer], step.pool.values[layer]
    if step.longest_query == 1 and softcap is None and decode_kernels.takes(query):
        bounds = step.key_starts, step.key_lengths, step.longest_key
        return decode_kernels.attend_newest(query, keys, values, *bounds, scale, window)
    if flash_kernels.takes(query, softcap):
        # A single query is the last of its sequence and sees everything.
        causal = step.longest_query > 1 or window is not None
        out, _ = _flash(query, keys, values, step, step.key_starts, step.key_lengths, scale, causal, window)
        return out
    return _reference(query, keys, values, step, scale, window, softcap)


def _flash(
    query: Tensor,
    keys: Tensor,
    values: Tensor,
    step: AttentionStep,
    starts: Tensor,
    lengths: Tensor,
    scale: float,
    causal: bool,
    window: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Flash attention: output (tokens, heads, head size) and logarithm of the normalizer (heads, tokens)."""
    return flash_kernels.flash_over_cache(
        query,
        keys,
        values,
        step.query_ends,
        starts,
        lengths,
        step.longest_query,
        step.longest_key,
        scale,
        causal,
        window,
    )


def _reference(
    query: Tensor,
    keys: Tensor,
    values: Tensor,
    step: AttentionStep,
    scale: float,
    window: int | None,
    softcap: float | None,
) -> Tensor:
    """One sequence after another by torch's own attention: for processors, and for what flash attention lacks."""
    outputs = []
    bounds = zip(pairwise(step.query_ends.tolist()), step.key_starts.tolist(), step.key_lengths.tolist(), strict=False)
    for (start, end), first, length in bounds:
        rows = slice(first, first + length)
        one, seen, held = (part.transpose(0, 1)[None] for part in (query[start:end], keys[rows], values[rows]))
        outputs.append(attend_one_sequence(one, seen, held, scale, window, softcap)[0].transpose(0, 1))
    return torch.cat(outputs)


def _attend_branches(
    step: AttentionStep,
    layer: int,
    query: Tensor,
    scale: float,
    window: int | None,
    softcap: float | None,
) -> Tensor:
    """Attention over the prompt and over the ancestors, put together by their normalizers."""
    branches = step.branches
    assert branches is not None
    depth = branches.ancestors.shape[1]
    starts, lengths = step.key_starts, step.key_lengths
    if window is not None:  # all queries of a sequence stand at one position: the window only cuts the prompt's head
        hidden = (lengths + depth - window).clamp(min=0).minimum(lengths)
        starts = starts + F.pad(hidden, (0, 1))
        lengths = lengths - hidden
    prompt_keys, prompt_values = step.pool.keys[layer], step.pool.values[layer]
    if flash_kernels.takes(query, softcap):
        prompt, prompt_lse = _flash(query, prompt_keys, prompt_values, step, starts, lengths, scale, causal=False)
        prompt, prompt_lse = prompt.float(), prompt_lse.transpose(0, 1)
    else:
        prompt, prompt_lse = _prompt_reference(query, prompt_keys, prompt_values, step, starts, lengths, scale, softcap)
    ancestors = branches.ancestors if window is None else branches.ancestors[:, -window:]
    own, own_lse = _over(
        query, branches.pool.keys[layer][ancestors], branches.pool.values[layer][ancestors], scale, softcap
    )
    share = torch.sigmoid(prompt_lse - own_lse)[..., None]
    return (share * prompt + (1 - share) * own).to(query.dtype)


def _prompt_reference(
    query: Tensor,
    keys: Tensor,
    values: Tensor,
    step: AttentionStep,
    starts: Tensor,
    lengths: Tensor,
    scale: float,
    softcap: float | None,
) -> tuple[Tensor, Tensor]:
    outs, normalizers = [], []
    bounds = zip(pairwise(step.query_ends.tolist()), starts.tolist(), lengths.tolist(), strict=False)
    for (start, end), first, length in bounds:
        rows = slice(first, first + length)
        count = (end - start, -1, -1, -1)
        out, lse = _over(query[start:end], keys[rows].expand(count), values[rows].expand(count), scale, softcap)
        outs.append(out)
        normalizers.append(lse)
    return torch.cat(outs), torch.cat(normalizers)


def _over(query: Tensor, keys: Tensor, values: Tensor, scale: float, softcap: float | None) -> tuple[Tensor, Tensor]:
    """Each query over its own keys.

    Args:
        query: (tokens, heads, head size); keys, values: (tokens, seen, key-value heads, head size).

    Returns: float32 output (tokens, heads, head size) and log of the normalizer (tokens, heads); no key at all gives
    0 and minus infinity.
    """
    tokens, heads, size = query.shape
    grouped = query.float().view(tokens, keys.shape[2], -1, size)
    scores = torch.einsum("tkgd,tskd->tkgs", grouped, keys.float()) * scale
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    lse = scores.logsumexp(-1)
    weights = (scores - lse[..., None]).exp()
    out = torch.einsum("tkgs,tskd->tkgd", weights, values.float())
    return out.reshape(tokens, heads, size), lse.reshape(tokens, heads)
