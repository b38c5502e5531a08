"""Generation without padding: prompts laid end to end, then all rows of a group decoded together.

A group is as many prompts as the pool of keys and values holds. Its prompts run through the network in rows of at
most `row_tokens` tokens; in the last layer only their keys and values and each prompt's last token do, and only that
token meets the vocabulary. What all prompts begin with is computed once. Decoding is one CUDA graph on a GPU.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from inspect import signature
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from slingshot import fused_kernels, residual_products
from slingshot.beam import BeamSearch
from slingshot.cached_attention import Branches, Pool, Step, Written, use_cached_attention
from slingshot.constrained import AnswerTrie
from slingshot.device_memory import sent

if TYPE_CHECKING:
    from transformers import PreTrainedModel

log = logging.getLogger(__name__)

SHORTEST_SHARED_PREFIX = 16
_LOGITS_AT_ONCE = 2**27
Choose = Callable[[Tensor], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Network:
    """A causal language model, taken apart: what turns ids into hidden states, and those into logits."""

    model: PreTrainedModel
    decoder: Any
    head: nn.Module
    last_layer: nn.Module | None
    softcap: float | None
    own_attention: str

    @property
    def graphable(self) -> bool:
        """Whether attention runs without asking the host, so that a CUDA graph can hold it."""
        return self.device.type == "cuda" and self.model.dtype in (torch.bfloat16, torch.float16)

    @property
    def device(self) -> torch.device:
        return self.model.device

    def logits(self, hidden: Tensor) -> Tensor:
        logits: Tensor = self.head(hidden)
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
class Rows:
    """The state of decoding, one entry a row, at fixed addresses so that a CUDA graph can be replayed."""

    tokens: Tensor
    positions: Tensor
    write: Tensor
    key_starts: Tensor
    key_lengths: Tensor
    done: Tensor
    nodes: Tensor
    out: Tensor  # (rows, steps)
    at: Tensor  # (1,): the next column of out


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
    pool: Pool
    rows: Rows
    row_tokens: int
    longest: int
    graphs: dict[str, torch.cuda.CUDAGraph] = field(default_factory=dict)
    prefix: tuple[dict[int, Tensor], dict[int, Tensor]] | None = None
    notes: list[str] = field(default_factory=list)


def take_apart(model: PreTrainedModel) -> Network:
    """Find a model's decoder, head and last layer, and make its attention and its norms ours."""
    decoder = model.base_model
    layers, config = getattr(decoder, "layers", None), model.config.get_text_config()
    last_layer = None
    if isinstance(layers, nn.ModuleList) and len(layers) == config.num_hidden_layers and hasattr(decoder, "norm"):
        last_layer = layers[-1]
    own_attention = model.config._attn_implementation or "eager"
    use_cached_attention(model)
    for module in model.modules():
        if type(module).__name__.endswith("RMSNorm") and hasattr(module, "variance_epsilon"):
            module.forward = partial(_rms_norm, module)  # one kernel instead of six
    fused_kernels.fuse(model)
    residual_products.fuse(model)
    return Network(
        model=model,
        decoder=decoder,
        head=model.get_output_embeddings(),
        last_layer=last_layer,
        softcap=getattr(config, "final_logit_softcapping", None),
        own_attention=own_attention,
    )


def put_together(network: Network) -> None:
    """Undo `take_apart`."""
    for module in network.model.modules():
        if type(module).__name__.endswith("RMSNorm"):
            module.__dict__.pop("forward", None)
    fused_kernels.unfuse(network.model)
    residual_products.unfuse(network.model)
    network.model.set_attn_implementation(network.own_attention)


def _rms_norm(module: Any, hidden: Tensor) -> Tensor:
    return F.rms_norm(hidden, module.weight.shape, module.weight, module.variance_epsilon)


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


def new_engine(
    network: Network, pool_rows: int, most_prompts: int, steps: int, row_tokens: int, longest: int
) -> Engine:
    """Set up for groups of at most `most_prompts` prompts that take at most `pool_rows` rows of the pool.

    Args:
        steps: new tokens a prompt, at most.
        longest: no prompt with its answer is longer.
    """

    def empty(size: tuple[int, ...], dtype: torch.dtype = torch.int64) -> Tensor:
        return torch.zeros(size, dtype=dtype, device=network.device)

    rows = Rows(
        tokens=empty((most_prompts,)),
        positions=empty((most_prompts,)),
        write=empty((most_prompts,)),
        key_starts=empty((most_prompts + 1,), torch.int32),
        key_lengths=empty((most_prompts,), torch.int32),
        done=empty((most_prompts,), torch.bool),
        nodes=empty((most_prompts,)),
        out=empty((most_prompts, steps)),
        at=empty((1,)),
    )
    # Row 0 of the pool is where rows that a smaller group leaves idle write to.
    return Engine(network, Pool(pool_rows + 1), rows, row_tokens, longest)


def plan_groups(needs: Sequence[int], which: Sequence[int], sizes: Sizes) -> list[list[int]]:
    """Deal prompts, in their order, to groups that the pool holds and that are about equally large.

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


# ---------------------------------------------------------------- prompts


@torch.inference_mode()
def prefill(engine: Engine, layout: Layout) -> Tensor:
    """Run a group's prompts; returns the logits of each one's next token, (prompts, vocabulary)."""
    _put_prefix(engine, layout)
    hidden: list[Tensor] = []
    for row in _rows(layout, engine.row_tokens):
        last, ends_prompt = _prefill_row(engine, layout, row)
        hidden.append(last[ends_prompt])
    return engine.network.logits(torch.cat(hidden))


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


def _prefill_row(engine: Engine, layout: Layout, row: list[Piece]) -> tuple[Tensor, list[int]]:
    """The hidden state of each piece's last token, (pieces, hidden size), and which pieces end their prompt."""
    device = engine.network.device
    ids = [token for index, start, end in row for token in layout.prompts[index][start:end]]
    positions = [position for _, start, end in row for position in range(start, end)]
    write = [layout.starts[index] + position for index, start, end in row for position in range(start, end)]
    ends = [0]
    for _, start, end in row:
        ends.append(ends[-1] + end - start)
    on_device = _to(device, [*ids, *positions, *write])
    ids_, positions_, write_ = on_device.split(len(ids))
    bounds = _to(device, [*ends, *(layout.starts[index] for index, _, _ in row), 0, *(end for _, _, end in row)])
    ends_, starts_, lengths_ = bounds.to(torch.int32).split([len(row) + 1, len(row) + 1, len(row)])
    step = Step(
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


def _to(device: torch.device, values: list[int]) -> Tensor:
    return sent(torch.tensor(values), device)


class _Caught(Exception):  # noqa: N818 - no error: a way out before the last layer
    pass


def _last_hidden(network: Network, ids: Tensor, positions: Tensor, step: Step, last: Tensor) -> Tensor:
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
        "step": Step(**{**step.__dict__, "stop_at": network.model.config.get_text_config().num_hidden_layers - 1}),
    }
    with suppress(Written):
        layer(*given, **named)
    pieces = len(last)
    named["step"] = Step(
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
        scratch = Engine(engine.network, Pool(layout.shared + 1), engine.rows, engine.row_tokens, engine.longest)
        prefix = Layout([layout.prompts[0][: layout.shared]], 0, [1])
        for row in _rows(prefix, engine.row_tokens):
            _prefill_row(scratch, prefix, row)
        keys, values = (
            {layer: kept[1:] for layer, kept in part.items()} for part in (scratch.pool.keys, scratch.pool.values)
        )
        engine.prefix = (keys, values)
    at = (_to(device, layout.starts)[:, None] + torch.arange(layout.shared, device=device)).flatten()
    repeats = len(layout.prompts)
    for layer, key in engine.prefix[0].items():
        value = engine.prefix[1][layer]
        engine.pool.write(layer, at, _repeated(key, repeats), _repeated(value, repeats))


def _repeated(part: Tensor, times: int) -> Tensor:
    return part.expand(times, *part.shape).flatten(0, 1)


@torch.inference_mode()
def disagreement(model: PreTrainedModel, network: Network, prompts: Sequence[Sequence[int]]) -> float:
    """How far the packed logits of some prompts are from the model's own, as a share of these; the worst prompt's.

    A network that is more than its decoder layers and head, or that reads no argument of ours, shows here. What the
    prompts share is computed once, as in a run.
    """
    packed = prefill(_scratch(network, prompts), lay_out(list(prompts), shared_prefix(prompts), 0)).float()
    put_together(network)
    last = {"logits_to_keep": 1} if "logits_to_keep" in signature(model.forward).parameters else {}
    plain = torch.stack(
        [
            model(torch.tensor([prompt], device=model.device), use_cache=False, **last).logits[0, -1].float()
            for prompt in prompts
        ]
    )
    take_apart(model)
    return float(((packed - plain).norm(dim=-1) / plain.norm(dim=-1).clamp(min=1e-30)).max())


def _scratch(network: Network, prompts: Sequence[Sequence[int]]) -> Engine:
    tokens = sum(map(len, prompts))
    return new_engine(network, tokens, len(prompts), 1, tokens, max(map(len, prompts)))


# ---------------------------------------------------------------- decoding


@torch.inference_mode()
def decode(engine: Engine, layout: Layout, first: Tensor, choose: Choose, steps: int, name: str) -> list[list[int]]:
    """Decode a group from the logits of its first new tokens; each row's ids, what follows its end included.

    Args:
        choose: logits (rows, vocabulary) to tokens and which rows are done, both (rows,); may keep state in `rows`.
        name: of the CUDA graph, the same for the same `choose`.
    """
    rows, count = engine.rows, len(layout.prompts)
    _set(engine, layout)
    if first.shape[0] < len(rows.tokens):
        first = F.pad(first, (0, 0, 0, len(rows.tokens) - first.shape[0]))
    _take(rows, choose(first))
    advance = _advance(engine, choose, name, steps)
    for _ in range(steps - 1):
        if bool(rows.done.all()):
            break
        advance()
    taken = int(rows.at)
    return rows.out[:count, :taken].tolist()


def greedy(end_ids: Sequence[int], rows: Rows) -> Choose:
    """The likeliest token; a row is done with its end token."""
    ends = torch.tensor(list(end_ids), device=rows.tokens.device)

    def choose(logits: Tensor) -> tuple[Tensor, Tensor]:
        tokens = logits.argmax(-1)
        return tokens, torch.isin(tokens, ends)

    return choose


def greedy_on_trie(trie: AnswerTrie, rows: Rows) -> Choose:
    """The likeliest token that leads on to an allowed answer; a row is done at a label."""

    def choose(logits: Tensor) -> tuple[Tensor, Tensor]:
        edges, tokens, exists = trie.children(rows.nodes)
        allowed = logits.gather(1, tokens).masked_fill(~exists, -torch.inf)
        taken = allowed.argmax(-1, keepdim=True)
        rows.nodes.copy_(trie.child[edges.gather(1, taken)[:, 0]])
        return tokens.gather(1, taken)[:, 0], trie.label[rows.nodes] >= 0

    return choose


def _set(engine: Engine, layout: Layout) -> None:
    """Put the rows' state to the end of the prompts; idle rows own the pool's row 0."""
    rows, device = engine.rows, engine.network.device
    idle = len(rows.tokens) - len(layout.prompts)
    lengths = _to(device, [len(prompt) for prompt in layout.prompts] + [1] * idle)
    starts = _to(device, layout.starts + [0] * idle)
    # `_take` moves on by one, to the first new token's place.
    rows.positions.copy_(lengths - 1)
    rows.write.copy_(starts + lengths - 1)
    rows.key_lengths.copy_(lengths)
    rows.key_starts[:-1].copy_(starts)
    rows.nodes.zero_()
    rows.done.zero_()
    rows.done[len(layout.prompts) :] = True
    rows.at.zero_()


def _take(rows: Rows, chosen: tuple[Tensor, Tensor]) -> None:
    """Enter the chosen tokens and move every row on; a row that is done stays where it is and repeats itself."""
    tokens, done = chosen
    rows.tokens.copy_(tokens)
    rows.out.index_copy_(1, rows.at, tokens[:, None])
    rows.at.add_(1)
    moves = ~rows.done
    rows.positions.add_(moves)
    rows.write.add_(moves)
    rows.key_lengths.add_(moves)
    rows.done.logical_or_(done)


def _advance(engine: Engine, choose: Choose, name: str, steps: int) -> Callable[[], None]:
    """One decoding step: as a CUDA graph on a GPU, where the model allows one, else step by step."""

    def eager() -> None:
        _take(engine.rows, choose(engine.network.logits(_step(engine))))

    if not engine.network.graphable or steps < 2:
        return eager
    if name not in engine.graphs:
        try:
            engine.graphs[name] = _capture(engine, eager)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            first_line = str(error).partition("\n")[0]
            engine.notes.append(f"decoding runs without a CUDA graph, which this model does not allow: {first_line}")
            return eager
    return engine.graphs[name].replay


def _capture(engine: Engine, step: Callable[[], None]) -> torch.cuda.CUDAGraph:
    kept = {name: tensor.clone() for name, tensor in engine.rows.__dict__.items()}
    try:
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):  # libraries set themselves up outside of the capture
            step()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            step()
        return graph
    finally:
        for name, tensor in kept.items():
            getattr(engine.rows, name).copy_(tensor)


def _step(engine: Engine) -> Tensor:
    """Run every row's newest token; returns its hidden states, (rows, hidden size)."""
    rows = engine.rows
    count = len(rows.tokens)
    step = Step(
        pool=engine.pool,
        write=rows.write,
        query_ends=torch.arange(count + 1, dtype=torch.int32, device=rows.tokens.device),
        key_starts=rows.key_starts,
        key_lengths=rows.key_lengths,
        longest_query=1,
        longest_key=engine.longest,
    )
    hidden: Tensor = engine.network.decoder(
        input_ids=rows.tokens[None], position_ids=rows.positions[None], use_cache=False, step=step
    ).last_hidden_state[0]
    return hidden


# ---------------------------------------------------------------- candidates


@torch.inference_mode()
def rank(engine: Engine, layout: Layout, first: Tensor, trie: AnswerTrie, count: int) -> BeamSearch:
    """Search each prompt's likeliest answers; the partial answers of a prompt share its keys and values."""
    prompts = len(layout.prompts)
    search = BeamSearch(trie, count, prompts)
    _, tokens, _ = search.children()
    parents, token = search.advance(_log_probs(first, tokens[:, 0])[:, None])
    width, device = search.width, engine.network.device
    pool = Pool(prompts * width * trie.depth)
    lengths = _to(device, [len(prompt) for prompt in layout.prompts])
    starts = F.pad(_to(device, layout.starts), (0, 1)).to(torch.int32)
    ancestors = torch.zeros(prompts, width, 0, dtype=torch.int64, device=device)
    for depth in range(trie.depth - 1):
        if not search.alive:
            break
        own = torch.arange(depth * prompts * width, (depth + 1) * prompts * width, device=device)
        older = ancestors.gather(1, parents[..., None].expand(-1, -1, depth)) if depth else ancestors
        ancestors = torch.cat([older, own.view(prompts, width, 1)], 2)
        step = Step(
            pool=engine.pool,
            write=own,
            query_ends=torch.arange(prompts + 1, dtype=torch.int32, device=device) * width,
            key_starts=starts,
            key_lengths=lengths.to(torch.int32),
            longest_query=width,
            longest_key=engine.longest,
            branches=Branches(pool, own, ancestors.flatten(0, 1)),
        )
        positions = (lengths + depth)[:, None].expand(-1, width)
        hidden = engine.network.decoder(
            input_ids=token.reshape(1, -1), position_ids=positions.reshape(1, -1), use_cache=False, step=step
        ).last_hidden_state[0]
        _, tokens, _ = search.children()
        parents, token = search.advance(_next_log_probs(engine.network, hidden, tokens))
    return search


def _next_log_probs(network: Network, hidden: Tensor, tokens: Tensor) -> Tensor:
    """Log-probabilities of `tokens` (prompts, width, children) after hidden states (prompts * width, size)."""
    flat = tokens.flatten(0, 1)
    at_once = max(_LOGITS_AT_ONCE // network.model.config.get_text_config().vocab_size, 1)
    parts = [
        _log_probs(network.logits(hidden[start : start + at_once]), flat[start : start + at_once])
        for start in range(0, len(hidden), at_once)
    ]
    return torch.cat(parts).view(tokens.shape)


def _log_probs(logits: Tensor, tokens: Tensor) -> Tensor:
    """Log-probabilities of some tokens, (rows, children), over the whole vocabulary."""
    logits = logits.float()
    return logits.gather(1, tokens) - logits.logsumexp(-1, keepdim=True)
