"""Decoding over the key-value cache, a token per branch and step: greedy, over a trie, or ranked."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from slingshot.generation.answer_trie import AnswerTrie
from slingshot.generation.beam import BeamSearch
from slingshot.generation.engine import DecodingRows, Engine, Layout, Network, _on_device
from slingshot.generation.prefill import prefill
from slingshot.generation.set_candidates import SetCandidates, paths_to_search
from slingshot.generation.set_trie import SetTrie
from slingshot.nn.cached_attention import AttentionStep, Branches, KVCache

_LOGITS_AT_ONCE = 2**27

Choose = Callable[[Tensor], tuple[Tensor, Tensor]]


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
    advance = advance_with(engine, choose, name, steps)
    for _ in range(steps - 1):
        if bool(rows.done.all()):
            break
        advance()
    counts = rows.at[:count].tolist()
    return [ids[:taken] for ids, taken in zip(rows.out[:count].tolist(), counts, strict=True)]


@torch.inference_mode()
def logits_after(engine: Engine, layout: Layout, forced: Sequence[Sequence[int]]) -> Tensor:
    """Logits after each prompt and after each of its forced tokens, by prefill and decoding steps as in a run.

    Args:
        forced: the tokens that follow each prompt, equally many for all.

    Returns: (prompts, 1 + forced tokens, vocabulary).
    """
    found = [prefill(engine, layout)]
    _set(engine, layout)
    going_on = torch.zeros_like(engine.rows.done)
    for tokens in zip(*forced, strict=True):
        _take(engine.rows, (_on_device(engine.network.device, list(tokens)), going_on))
        found.append(engine.network.logits(_step(engine)))
    return torch.stack(found, 1)


def greedy(end_ids: Sequence[int], rows: DecodingRows) -> Choose:
    """The likeliest token; a row is done with its end token."""
    ends = torch.tensor(list(end_ids), device=rows.tokens.device)

    def choose(logits: Tensor) -> tuple[Tensor, Tensor]:
        tokens = logits.argmax(-1)
        return tokens, (tokens[:, None] == ends).any(1)  # torch.isin sorts, which no CUDA graph can hold

    return choose


def greedy_on_trie(trie: AnswerTrie, rows: DecodingRows) -> Choose:
    """The likeliest token that leads on to an allowed answer; a row is done at a label."""

    def choose(logits: Tensor) -> tuple[Tensor, Tensor]:
        edges, tokens, exists = trie.children(rows.nodes)
        allowed = logits.gather(1, tokens).masked_fill(~exists, -torch.inf)
        taken = allowed.argmax(-1, keepdim=True)
        rows.nodes.copy_(trie.child[edges.gather(1, taken)[:, 0]])
        return tokens.gather(1, taken)[:, 0], trie.label[rows.nodes] >= 0

    return choose


def greedy_on_sets(trie: SetTrie, rows: DecodingRows) -> Choose:
    """The likeliest token that leads on to an allowed list; a row is done at its end."""
    return lambda logits: trie.choose(logits, rows.nodes, rows.used, rows.done)


def _set(engine: Engine, layout: Layout) -> None:
    """Put the rows' state to the end of the prompts; idle rows own the pool's row 0."""
    rows, device = engine.rows, engine.network.device
    idle = len(rows.tokens) - len(layout.prompts)
    lengths = _on_device(device, [len(prompt) for prompt in layout.prompts] + [1] * idle)
    starts = _on_device(device, layout.starts + [0] * idle)
    # `_take` moves on by one, to the first new token's place.
    rows.positions.copy_(lengths - 1)
    rows.write.copy_(starts + lengths - 1)
    rows.key_lengths.copy_(lengths)
    rows.key_starts[:-1].copy_(starts)
    rows.nodes.zero_()
    rows.used.zero_()
    rows.done.zero_()
    rows.done[len(layout.prompts) :] = True
    rows.at.zero_()


def start_rows(engine: Engine, layout: Layout, which: Sequence[int], chosen: tuple[Tensor, Tensor]) -> None:
    """Give the rows `which` to new prompts, whose first new tokens are chosen; the other rows go on as they were."""
    rows, device = engine.rows, engine.network.device
    at = _on_device(device, list(which))
    lengths = _on_device(device, [len(prompt) for prompt in layout.prompts])
    starts = _on_device(device, layout.starts)
    tokens, done = chosen
    rows.tokens[at] = tokens
    rows.positions[at] = lengths
    rows.write[at] = starts + lengths
    rows.key_starts[at] = starts.to(rows.key_starts.dtype)
    rows.key_lengths[at] = (lengths + 1).to(rows.key_lengths.dtype)
    rows.out[at, 0] = tokens
    rows.at[at] = 1
    rows.done[at] = done | (rows.out.shape[1] < 2)


def idle_rows(engine: Engine, which: Sequence[int]) -> None:
    """Let the rows `which`, which are done, attend to one token only: a step costs what its running rows cost."""
    at = _on_device(engine.network.device, list(which))
    for state, value in (("positions", 0), ("write", 0), ("key_starts", 0), ("key_lengths", 1)):
        getattr(engine.rows, state)[at] = value


def _take(rows: DecodingRows, chosen: tuple[Tensor, Tensor]) -> None:
    """Enter the chosen tokens and move every row on; a row that is done stays where it is and repeats itself."""
    tokens, done = chosen
    rows.tokens.copy_(tokens)
    moves = ~rows.done
    column = rows.at.clamp(max=rows.out.shape[1] - 1)[:, None]
    rows.out.scatter_(1, column, torch.where(moves[:, None], tokens[:, None], rows.out.gather(1, column)))
    rows.at.add_(moves)
    rows.positions.add_(moves)
    rows.write.add_(moves)
    rows.key_lengths.add_(moves)
    rows.done.logical_or_(done).logical_or_(rows.at >= rows.out.shape[1])


def advance_with(engine: Engine, choose: Choose, name: str, steps: int) -> Callable[[], None]:
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
    step = AttentionStep(
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


@torch.inference_mode()
def rank_sets(
    engine: Engine, layout: Layout, answers: Sequence[Sequence[int]], trie: SetTrie, count: int
) -> tuple[list[list[tuple[str, float]]], int]:
    """Each prompt's labels by their probability to be in its set, and of how many prompts a search was inexact.

    Args:
        answers: the prompts' constrained lists, whose keys and values stand in the pool behind the prompts.
    """
    ranked = [SetCandidates(trie, ids) for ids in answers]
    inexact: set[int] = set()
    for line in range(max(len(each.lines) for each in ranked)):
        which = [index for index, each in enumerate(ranked) if line < len(each.lines)]
        prompts: list[Sequence[int]] = [
            [*layout.prompts[index], *answers[index][: ranked[index].lines[line][0]]] for index in which
        ]
        part = Layout(prompts, layout.shared, [layout.starts[index] for index in which])
        search = rank(engine, part, _logits_at_end(engine, part), trie, paths_to_search(count), trie.root(line))
        for index, found, exact in zip(which, search.found(), search.exact(), strict=True):
            ranked[index].add(line, found)
            if not exact:
                inexact.add(index)
    return [each.best(count) for each in ranked], len(inexact)


def _logits_at_end(engine: Engine, layout: Layout) -> Tensor:
    """Logits of each sequence's next token, (sequences, vocabulary); only its last one runs again."""
    _set(engine, layout)
    engine.rows.tokens[: len(layout.prompts)] = _on_device(engine.network.device, [ids[-1] for ids in layout.prompts])
    return engine.network.logits(_step(engine)[: len(layout.prompts)])


@torch.inference_mode()
def rank(engine: Engine, layout: Layout, first: Tensor, trie: AnswerTrie, count: int, root: int = 0) -> BeamSearch:
    """Search each prompt's likeliest answers; the partial answers of a prompt share its keys and values."""
    prompts = len(layout.prompts)
    search = BeamSearch(trie, count, prompts, root)
    _, tokens, _ = search.children()
    parents, token = search.advance(_log_probs(first, tokens[:, 0])[:, None])
    width, device = search.width, engine.network.device
    pool = KVCache(prompts * width * trie.depth)
    lengths = _on_device(device, [len(prompt) for prompt in layout.prompts])
    starts = F.pad(_on_device(device, layout.starts), (0, 1)).to(torch.int32)
    ancestors = torch.zeros(prompts, width, 0, dtype=torch.int64, device=device)
    for depth in range(trie.depth - 1):
        if not search.alive:
            break
        own = torch.arange(depth * prompts * width, (depth + 1) * prompts * width, device=device)
        older = ancestors.gather(1, parents[..., None].expand(-1, -1, depth)) if depth else ancestors
        ancestors = torch.cat([older, own.view(prompts, width, 1)], 2)
        step = AttentionStep(
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
