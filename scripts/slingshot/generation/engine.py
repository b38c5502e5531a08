"""Generation without padding: prompts laid end to end, then all rows of a group decoded together.

A group is as many prompts as the pool of keys and values holds. Its prompts run through the network in rows of at
most `row_tokens` tokens, and only each prompt's last token meets the vocabulary. What all prompts begin with is
computed once. Decoding is one CUDA graph on a GPU.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from slingshot.models.device_memory import to_device
from slingshot.nn import fast_modules, merged_layers
from slingshot.nn.cached_attention import KVCache, use_cached_attention
from slingshot.nn.kernel_support import has_kernels
from slingshot.nn.packed_attention import attention_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel

log = logging.getLogger(__name__)

SHORTEST_SHARED_PREFIX = 16


@dataclass(frozen=True)
class Network:
    """A causal language model in its parts: what turns ids into hidden states, and what turns those into logits."""

    model: PreTrainedModel
    decoder: Any
    head: nn.Module
    softcap: float | None
    factor: float | None  # of the logits, before the softcap
    own_attention: str
    notes: tuple[str, ...] = ()

    @property
    def graphable(self) -> bool:
        """Whether attention runs without asking the host, so that a CUDA graph can hold it."""
        return has_kernels(self.device) and self.model.dtype in (torch.bfloat16, torch.float16)

    @property
    def device(self) -> torch.device:
        return self.model.device

    def logits(self, hidden: Tensor) -> Tensor:
        logits: Tensor = self.head(hidden)
        if self.factor is not None:
            logits = logits * self.factor
        if self.softcap is not None:
            logits = self.softcap * torch.tanh(logits / self.softcap)
        return logits


@dataclass(frozen=True)
class Layout:
    """Where a group's sequences stand in the pool: row i owns `start[i] : start[i] + room[i]`."""

    prompts: list[Sequence[int]]
    shared: int  # tokens that all prompts begin with, and that are in the pool before
    starts: list[int]


@dataclass
class DecodingRows:
    """The state of decoding, one entry per row, at fixed addresses so that a CUDA graph can be replayed."""

    tokens: Tensor
    positions: Tensor
    write: Tensor
    key_starts: Tensor
    key_lengths: Tensor
    done: Tensor
    nodes: Tensor
    used: Tensor  # (rows, nodes + 1) of a trie of sets; else (rows, 0)
    out: Tensor  # (rows, steps)
    at: Tensor  # (rows,): each row's next column of out


@dataclass(frozen=True)
class Sizes:
    """What fits. `row_tokens` run through the network at once, the pool holds `pool_rows` tokens."""

    row_tokens: int
    pool_rows: int
    most_prompts: int

    def halved(self) -> Sizes:
        return Sizes(max(self.row_tokens // 2, 1), max(self.pool_rows // 2, 1), self.most_prompts)


@dataclass
class Engine:
    """A model with the pool, the state and the graphs that its groups use again and again."""

    network: Network
    pool: KVCache
    rows: DecodingRows
    row_tokens: int
    longest: int
    graphs: dict[str, torch.cuda.CUDAGraph] = field(default_factory=dict)
    prefix: tuple[dict[int, Tensor], dict[int, Tensor]] | None = None
    notes: list[str] = field(default_factory=list)


def take_apart(model: PreTrainedModel) -> Network:
    """Find a model's decoder and head, and make its attention, its norms, its rotation and its layers ours."""
    decoder = model.base_model
    config = model.config.get_text_config()
    own_attention = attention_of(model)
    use_cached_attention(model)
    fast_modules.replace_modules(model)
    try:
        notes = merged_layers.merge_layers(model)
    except Exception:  # a family's layers may change with a release
        fast_modules.restore_modules(model)
        model.set_attn_implementation(own_attention)
        raise
    return Network(
        model=model,
        decoder=decoder,
        head=model.get_output_embeddings(),
        softcap=getattr(config, "final_logit_softcapping", None),
        factor=_logit_factor(config),
        own_attention=own_attention,
        notes=tuple(notes),
    )


def _logit_factor(config: Any) -> float | None:
    """The factor of the logits in Granite (the inverse of its divisor) and Cohere; None in other families."""
    if getattr(config, "logits_scaling", None):
        return 1 / float(config.logits_scaling)
    scale = getattr(config, "logit_scale", None)
    return float(scale) if isinstance(scale, int | float) else None


def put_together(network: Network) -> None:
    """Undo `take_apart`."""
    merged_layers.split_layers(network.model)
    fast_modules.restore_modules(network.model)
    network.model.set_attn_implementation(network.own_attention)


def shared_prefix(prompts: Sequence[Sequence[int]]) -> int:
    """How many tokens all prompts begin with, at least one token of each left over; 0 if too few to matter."""
    if len(prompts) < 2:
        return 0
    first, last = min(map(tuple, prompts)), max(map(tuple, prompts))  # of sorted sequences the ends differ most
    shared = 0
    for one, other in zip(first, last, strict=False):
        if one != other:
            break
        shared += 1
    shared = min(shared, min(map(len, prompts)) - 1)
    return shared if shared >= SHORTEST_SHARED_PREFIX else 0


def make_engine(
    network: Network,
    pool_rows: int,
    most_prompts: int,
    steps: int,
    row_tokens: int,
    longest: int,
    used: int = 0,
) -> Engine:
    """Set up for groups of at most `most_prompts` prompts that take at most `pool_rows` rows of the pool.

    Args:
        steps: new tokens per prompt, at most.
        longest: no prompt with its answer is longer.
        used: numbers per prompt that a trie of sets keeps.
    """

    def empty(size: tuple[int, ...], dtype: torch.dtype = torch.int64) -> Tensor:
        return torch.zeros(size, dtype=dtype, device=network.device)

    rows = DecodingRows(
        tokens=empty((most_prompts,)),
        positions=empty((most_prompts,)),
        write=empty((most_prompts,)),
        key_starts=empty((most_prompts + 1,), torch.int32),
        key_lengths=empty((most_prompts,), torch.int32),
        done=empty((most_prompts,), torch.bool),
        nodes=empty((most_prompts,)),
        used=empty((most_prompts, used), torch.int32),
        out=empty((most_prompts, steps)),
        at=empty((most_prompts,)),
    )
    # Row 0 of the pool is where rows that a smaller group leaves idle write to.
    return Engine(network, KVCache(pool_rows + 1), rows, row_tokens, longest)


def plan_groups(needs: Sequence[int], which: Sequence[int], sizes: Sizes) -> list[list[int]]:
    """Distribute prompts, in their order, over groups of about equal size that the pool holds.

    Args:
        needs: rows of the pool that each prompt needs.
        which: the prompts to deal.
    """
    total = sum(needs[index] for index in which)
    least = max(-(-total // sizes.pool_rows), -(-len(which) // sizes.most_prompts), 1)
    most_prompts = -(-len(which) // least)
    groups: list[list[int]] = []
    filled = 0
    for index in which:
        if not groups or len(groups[-1]) == most_prompts or filled + needs[index] > sizes.pool_rows:
            groups.append([])
            filled = 0
        groups[-1].append(index)
        filled += needs[index]
    return groups


def lay_out(prompts: list[Sequence[int]], shared: int, extra: int) -> Layout:
    starts, end = [], 1
    for prompt in prompts:
        starts.append(end)
        end += len(prompt) + extra
    return Layout(prompts, shared, starts)


Piece = tuple[int, int, int]  # prompt, from token, to token


def _rows(layout: Layout, row_tokens: int) -> Iterator[list[Piece]]:
    """The prompts' own tokens in rows of at most `row_tokens`; only a prompt that is longer than a row is cut."""
    row: list[Piece] = []
    filled = 0
    for index, prompt in enumerate(layout.prompts):
        start = layout.shared
        if row and filled + len(prompt) - start > row_tokens:
            yield row
            row, filled = [], 0
        while len(prompt) - start > row_tokens:
            yield [(index, start, start + row_tokens)]
            start += row_tokens
        row.append((index, start, len(prompt)))
        filled += len(prompt) - start
    if row:
        yield row


def _on_device(device: torch.device, values: list[int]) -> Tensor:
    return to_device(torch.tensor(values), device)
