"""Prefill: whole prompts in packed rows, their shared beginning computed once."""

from __future__ import annotations

import torch
from torch import Tensor

from slingshot.generation.engine import (
    Engine,
    Layout,
    Piece,
    _on_device,
    _rows,
)
from slingshot.nn.cached_attention import AttentionStep, KVCache


@torch.inference_mode()
def prefill(engine: Engine, layout: Layout) -> Tensor:
    """Run a group's prompts; returns the logits of each one's next token, (prompts, vocabulary)."""
    _put_prefix(engine, layout)
    hidden: list[Tensor] = []
    for row in _rows(layout, engine.row_tokens):
        last, ends_prompt = _prefill_row(engine, layout, row)
        hidden.append(last[ends_prompt])
    return engine.network.logits(torch.cat(hidden))


def _prefill_row(engine: Engine, layout: Layout, row: list[Piece]) -> tuple[Tensor, list[int]]:
    """The hidden state of each piece's last token, (pieces, hidden size), and which pieces end their prompt."""
    device = engine.network.device
    ids = [token for index, start, end in row for token in layout.prompts[index][start:end]]
    positions = [position for _, start, end in row for position in range(start, end)]
    write = [layout.starts[index] + position for index, start, end in row for position in range(start, end)]
    ends = [0]
    for _, start, end in row:
        ends.append(ends[-1] + end - start)
    on_device = _on_device(device, [*ids, *positions, *write])
    ids_, positions_, write_ = on_device.split(len(ids))
    bounds = _on_device(device, [*ends, *(layout.starts[index] for index, _, _ in row), 0, *(end for _, _, end in row)])
    ends_, starts_, lengths_ = bounds.to(torch.int32).split([len(row) + 1, len(row) + 1, len(row)])
    step = AttentionStep(
        pool=engine.pool,
        write=write_,
        query_ends=ends_,
        key_starts=starts_,
        key_lengths=lengths_,
        longest_query=max(end - start for _, start, end in row),
        longest_key=max(end for _, _, end in row),
    )
    hidden: Tensor = engine.network.decoder(
        input_ids=ids_[None], position_ids=positions_[None], use_cache=False, step=step
    ).last_hidden_state[0]
    return hidden[ends_[1:].long() - 1], [
        at for at, (index, _, end) in enumerate(row) if end == len(layout.prompts[index])
    ]


def _put_prefix(engine: Engine, layout: Layout) -> None:
    """Put the keys and values of what all prompts begin with before each of them, computing them once."""
    if not layout.shared:
        return
    device = engine.network.device
    if engine.prefix is None:
        scratch = Engine(engine.network, KVCache(layout.shared + 1), engine.rows, engine.row_tokens, engine.longest)
        prefix = Layout([layout.prompts[0][: layout.shared]], 0, [1])
        for row in _rows(prefix, engine.row_tokens):
            _prefill_row(scratch, prefix, row)
        keys, values = (
            {layer: kept[1:] for layer, kept in part.items()} for part in (scratch.pool.keys, scratch.pool.values)
        )
        engine.prefix = (keys, values)
    at = (_on_device(device, layout.starts)[:, None] + torch.arange(layout.shared, device=device)).flatten()
    repeats = len(layout.prompts)
    for layer, key in engine.prefix[0].items():
        value = engine.prefix[1][layer]
        engine.pool.write(layer, at, _repeated(key, repeats), _repeated(value, repeats))


def _repeated(part: Tensor, times: int) -> Tensor:
    return part.expand(times, *part.shape).flatten(0, 1)
