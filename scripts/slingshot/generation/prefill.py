"""Prefill: whole prompts in packed rows, their shared beginning computed once."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn

from slingshot.generation.engine import (
    Engine,
    Layout,
    Network,
    Piece,
    _on_device,
    _rows,
)
from slingshot.nn.cached_attention import AttentionStep, KVCache, Written


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
    last = ends_[1:].long() - 1
    hidden = _last_hidden(engine.network, ids_[None], positions_[None], step, last)
    return hidden, [at for at, (index, _, end) in enumerate(row) if end == len(layout.prompts[index])]


class _Caught(Exception):  # noqa: N818 - no error: a way out before the last layer
    pass


def _last_hidden(network: Network, ids: Tensor, positions: Tensor, step: AttentionStep, last: Tensor) -> Tensor:
    """Hidden states after the network at the tokens `last`, (len(last), hidden size).

    Of the last layer, all but those tokens need only their keys and values.
    """
    arguments = {"input_ids": ids, "position_ids": positions, "use_cache": False}
    layer = network.last_layer
    if layer is None:
        hidden: Tensor = network.decoder(**arguments, step=step).last_hidden_state[0]
        return hidden[last]
    caught: list[Any] = []

    def catch(_: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        caught[:] = given, named
        raise _Caught

    hook = layer.register_forward_pre_hook(catch, with_kwargs=True)
    try:
        with suppress(_Caught):
            network.decoder(**arguments, step=step)
    finally:
        hook.remove()
    given, named = caught
    named = {
        **named,
        "step": AttentionStep(
            **{**step.__dict__, "stop_at": network.model.config.get_text_config().num_hidden_layers - 1}
        ),
    }
    with suppress(Written):
        layer(*given, **named)
    pieces = len(last)
    named["step"] = AttentionStep(
        pool=step.pool,
        write=step.write[last],
        query_ends=torch.arange(pieces + 1, dtype=torch.int32, device=last.device),
        key_starts=step.key_starts,
        key_lengths=step.key_lengths,
        longest_query=1,
        longest_key=step.longest_key,
    )
    tokens = ids.shape[1]
    out = layer(
        *_at_tokens(given, last, tokens), **{name: _at_tokens(value, last, tokens) for name, value in named.items()}
    )
    normed: Tensor = network.decoder.norm(out[0] if isinstance(out, tuple) else out)
    return normed[0]


def _at_tokens(value: Any, last: Tensor, tokens: int) -> Any:
    """The value at some tokens only, where it is a tensor over all of them: (1, tokens, ...)."""
    if isinstance(value, tuple):
        return tuple(_at_tokens(part, last, tokens) for part in value)
    if isinstance(value, Tensor) and value.ndim >= 2 and value.shape[1] == tokens:
        return value[:, last]
    return value


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
