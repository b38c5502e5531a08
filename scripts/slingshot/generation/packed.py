"""The packed way of answering: prompts without padding, in groups that memory holds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import torch

from slingshot.artifacts.records import timed
from slingshot.generation.beam import beam_width
from slingshot.generation.continuous import LONG, decode_continuously
from slingshot.generation.decode import decode, greedy, greedy_on_sets, greedy_on_trie, rank, rank_sets
from slingshot.generation.engine import Engine, Layout, Network, Sizes, lay_out, make_engine, plan_groups, shared_prefix
from slingshot.generation.prefill import prefill
from slingshot.generation.set_trie import SetTrie
from slingshot.generation.types import Answer, Answers, Decoding, GenerationStats, Memory, halved, put_ids
from slingshot.models.device_memory import free_bytes, peak_memory, release_memory
from slingshot.nn.network_sizes import NetworkSizes, sizes_of

_LONGEST_ROW = 32_768

_MOST_PROMPTS = 512

_MOST_USED = 2**26  # numbers that a trie of sets keeps for all prompts of a group: 256 MB

_ON_CPU = Sizes(row_tokens=2048, pool_rows=16_384, most_prompts=64)


def generate_packed(
    network: Network,
    prompts: Sequence[Sequence[int]],
    decoding: Decoding,
    memory: Memory,
    stats: GenerationStats,
) -> Iterator[Answers]:
    """Answer group by group without padding; where memory runs out, rows and pool are halved and it goes on."""
    steps = max(
        decoding.max_new_tokens if decoding.free else 0,
        decoding.trie.steps(decoding.max_new_tokens) if decoding.trie and _walks(decoding) else 0,
    )
    trie = decoding.trie.to(network.device) if decoding.trie else None
    decoding = replace(decoding, trie=trie)
    shared = shared_prefix(prompts)
    needs = [len(prompt) + steps + _branch_rows(decoding) for prompt in prompts]
    used = len(trie.size) + 1 if isinstance(trie, SetTrie) else 0
    sizes = _sizes(network, memory, max(needs))
    if used:
        sizes = replace(sizes, most_prompts=max(min(sizes.most_prompts, _MOST_USED // used), 1))
    waiting = list(range(len(prompts)))
    continuous = steps >= LONG and not (decoding.constrained or decoding.candidates)
    while waiting:
        if continuous:
            yield from _continuously(network, prompts, waiting, shared, decoding, sizes, stats)
            if waiting:  # memory ran out
                sizes = sizes.halved()
            continue
        groups = plan_groups(needs, waiting, sizes)
        engine = None
        try:
            engine = make_engine(
                network,
                pool_rows=max(sum(len(prompts[index]) + steps for index in group) for group in groups),
                most_prompts=max(map(len, groups)),
                steps=max(steps, 1),
                row_tokens=sizes.row_tokens,
                longest=max(needs),
                used=used,
            )
            stats.token_budget = sizes.row_tokens
            for group in groups:
                layout = lay_out([prompts[index] for index in group], shared, steps)
                answers = _packed_group(engine, layout, decoding, stats)
                stats.batches += 1
                del waiting[: len(group)]
                yield dict(zip(group, answers, strict=True))
            for note in engine.notes:
                stats.note(note)
        except torch.OutOfMemoryError:
            if sizes.row_tokens <= 64 and max(map(len, groups)) == 1:
                raise
            stats.note(f"out of memory at rows of {sizes.row_tokens} tokens: halved")
            sizes = sizes.halved()
        engine = None
        stats.peak_allocated = peak_memory(network.device)
        release_memory(network.device)


def _continuously(
    network: Network,
    prompts: Sequence[Sequence[int]],
    waiting: list[int],
    shared: int,
    decoding: Decoding,
    sizes: Sizes,
    stats: GenerationStats,
) -> Iterator[Answers]:
    """Long free answers, one place after the other; `waiting` loses what is answered and keeps what did not fit."""
    steps = decoding.max_new_tokens
    stats.token_budget = sizes.row_tokens
    try:
        with _measured(stats, "decode", network.device):
            for engine, found in decode_continuously(
                network, prompts, list(waiting), shared, steps, decoding.end_ids, sizes
            ):
                answers = {index: Answer(len(prompts[index])) for index in found}
                for index, ids in found.items():
                    put_ids(answers[index], ids, decoding.end_ids)
                    waiting.remove(index)
                stats.batches += 1
                for note in engine.notes:
                    stats.note(note)
                yield answers
    except torch.OutOfMemoryError:
        if sizes.row_tokens <= 64 and sizes.pool_rows <= max(len(prompts[index]) for index in waiting) + steps:
            raise
        stats.note(f"out of memory at rows of {sizes.row_tokens} tokens: halved")
    stats.peak_allocated = peak_memory(network.device)
    release_memory(network.device)


def _packed_group(engine: Engine, layout: Layout, decoding: Decoding, stats: GenerationStats) -> list[Answer]:
    answers = [Answer(len(prompt)) for prompt in layout.prompts]
    with _measured(stats, "prefill", engine.network.device):
        first = prefill(engine, layout)
    with _measured(stats, "decode", engine.network.device):
        if decoding.free:
            choose = greedy(decoding.end_ids, engine.rows)
            ids = decode(engine, layout, first, choose, decoding.max_new_tokens, "free")
            for answer, row in zip(answers, ids, strict=True):
                put_ids(answer, row, decoding.end_ids)
        lists = _constrained_sets(engine, layout, first, decoding, answers)
        if decoding.constrained and decoding.trie and not lists:
            choose = greedy_on_trie(decoding.trie, engine.rows)
            decode(engine, layout, first, choose, decoding.trie.depth, "constrained")
            for answer, node in zip(answers, engine.rows.nodes.tolist(), strict=False):
                answer.constrained = decoding.trie.labels[int(decoding.trie.label[node])]
    if decoding.candidates and decoding.trie:
        with _measured(stats, "candidates", engine.network.device):
            if lists and isinstance(decoding.trie, SetTrie):
                ranked, inexact = rank_sets(engine, layout, lists, decoding.trie, decoding.candidates)
            else:
                search = rank(engine, layout, first, decoding.trie, decoding.candidates)
                ranked, inexact = search.best(), search.exact().count(False)
            for answer, candidates in zip(answers, ranked, strict=True):
                answer.candidates = candidates
            stats.inexact_candidates += inexact
    return answers


def _walks(decoding: Decoding) -> bool:
    """Whether answers are decoded over the trie: of sets, the candidates rest on them, too."""
    return decoding.constrained or (isinstance(decoding.trie, SetTrie) and bool(decoding.candidates))


def _constrained_sets(
    engine: Engine,
    layout: Layout,
    first: torch.Tensor,
    decoding: Decoding,
    answers: list[Answer],
) -> list[list[int]]:
    """The ids of each prompt's constrained list, which is entered; none where an answer is one label."""
    trie = decoding.trie
    if not isinstance(trie, SetTrie) or not _walks(decoding):
        return []
    choose = greedy_on_sets(trie, engine.rows)
    lists = decode(engine, layout, first, choose, trie.steps(decoding.max_new_tokens), "constrained")
    for answer, ids in zip(answers, lists, strict=True):
        answer.constrained_set = trie.read(ids)
    return lists


def active_numbers(of: NetworkSizes) -> int:
    """Numbers that a layer holds per token at its widest."""
    attended = (of.heads + 2 * of.key_value_heads) * of.head_size
    return 6 * of.hidden + 5 * of.inner + 3 * attended


def _branch_rows(decoding: Decoding) -> int:
    """Rows of memory that a prompt's partial answers take while candidates are ranked, copies included."""
    if not (decoding.candidates and decoding.trie):
        return 0
    return 2 * beam_width(decoding.candidates) * decoding.trie.depth


def _sizes(network: Network, memory: Memory, longest: int) -> Sizes:
    """Row length and pool from free memory: at most a quarter for activations, a tenth left over."""
    if network.device.type != "cuda":
        row = halved(memory.token_budget or _ON_CPU.row_tokens, memory.attempt)
        return Sizes(row, max(_ON_CPU.pool_rows, longest), _ON_CPU.most_prompts)
    of = sizes_of(network.model.config)
    size = torch.finfo(network.model.dtype).bits // 8
    cached = of.cached_numbers * size
    active = size * active_numbers(of)
    free = free_bytes(network.device)
    row = min(int(0.25 * free / active), _LONGEST_ROW)
    row = halved(memory.token_budget or max(row, 64), memory.attempt)
    logits = 3 * size * of.vocabulary
    pool = int((0.9 * free - row * active) / (cached + logits / max(longest, 1)))
    return Sizes(row, max(halved(max(pool, 1), memory.attempt), longest), _MOST_PROMPTS)


@contextmanager
def _measured(stats: GenerationStats, phase: str, device: torch.device) -> Iterator[None]:
    with timed(stats.seconds, phase):
        yield
        if device.type == "cuda":
            torch.cuda.synchronize(device)
