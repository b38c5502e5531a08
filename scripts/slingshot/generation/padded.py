"""The padded way of answering: plain transformers, in batches of similar length."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from slingshot.generation.answer_trie import AnswerTrie
from slingshot.generation.beam import BeamSearch
from slingshot.generation.set_candidates import SetCandidates, paths_to_search
from slingshot.generation.set_trie import SetTrie
from slingshot.generation.types import Answer, Answers, Decoding, GenerationStats, Memory, halved, put_ids
from slingshot.models.device_memory import free_bytes, peak_memory, release_memory
from slingshot.models.greedy import generate_greedily
from slingshot.nn.network_sizes import sizes_of
from slingshot.nn.supported_layers import rotary_meets_batch

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_PLAIN_TOKENS_ON_CPU = 4096

_LAYERS_ALIVE = 6  # activations of one layer at its widest, in hidden states per token; measured generously


def generate_padded(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    decoding: Decoding,
    memory: Memory,
    stats: GenerationStats,
) -> Iterator[Answers]:
    """Answer by transformers' generate, longest prompts first; a batch that does not fit is halved."""
    if model.device.type == "cuda":
        torch.backends.cuda.enable_cudnn_sdp(False)  # cuDNN makes a plan for every new shape
    budget = halved(memory.token_budget or _plain_budget(model), memory.attempt)
    stats.token_budget = budget
    waiting = _batches(prompts, decoding.max_new_tokens, budget)
    while waiting:
        batch = waiting.pop(0)
        start = time.perf_counter()
        answers = None
        try:
            answers = _plain_batch(model, [prompts[index] for index in batch], decoding)
        except torch.OutOfMemoryError:
            if len(batch) == 1:
                raise
        if answers is None:  # and the error, which held the batch's tensors, is gone
            release_memory(model.device)
            stats.note(f"out of memory at {len(batch)} prompts per batch: halved")
            stats.token_budget = budget = budget // 2
            remaining = sorted(index for left in [batch, *waiting] for index in left)
            waiting = _batches(prompts, decoding.max_new_tokens, budget, remaining)
            continue
        stats.seconds["generate"] = stats.seconds.get("generate", 0.0) + time.perf_counter() - start
        stats.batches += 1
        stats.peak_allocated = peak_memory(model.device)
        yield dict(zip(batch, answers, strict=True))


def _batches(
    prompts: Sequence[Sequence[int]], new_tokens: int, budget: int, which: Sequence[int] | None = None
) -> list[list[int]]:
    """Indices of prompts in batches of at most `budget` tokens, padding counted; at least one prompt each."""
    order = sorted(range(len(prompts)) if which is None else which, key=lambda index: (-len(prompts[index]), index))
    batches: list[list[int]] = []
    for index in order:
        longest = len(prompts[batches[-1][0]]) if batches else 0
        if batches and (len(batches[-1]) + 1) * (longest + new_tokens) <= budget:
            batches[-1].append(index)
        else:
            batches.append([index])
    return batches


def _plain_budget(model: PreTrainedModel) -> int:
    if model.device.type != "cuda":
        return _PLAIN_TOKENS_ON_CPU
    of = sizes_of(model.config)
    size = torch.finfo(model.dtype).bits // 8
    cache = of.cached_numbers * size
    widest = _LAYERS_ALIVE * max(of.inner, of.hidden) * size
    return max(int(0.7 * free_bytes(model.device) / (cache + widest)), 1)


@torch.inference_mode()
def _plain_batch(model: PreTrainedModel, prompts: list[Sequence[int]], decoding: Decoding) -> list[Answer]:
    if rotary_meets_batch(
        model.config.get_text_config()
    ):  # which then remembers the longest sequence until it meets a short one
        model(torch.zeros(1, 1, dtype=torch.int64, device=model.device), use_cache=False)
    answers = [Answer(len(prompt)) for prompt in prompts]
    if decoding.free:
        for answer, ids in zip(answers, _plain_greedy(model, prompts, decoding), strict=True):
            put_ids(answer, ids, decoding.end_ids)
    if isinstance(decoding.trie, SetTrie) and (decoding.constrained or decoding.candidates):
        _plain_sets(model, prompts, decoding, decoding.trie, answers)
        return answers
    if decoding.constrained and decoding.trie is not None:
        walker = _Walker(decoding.trie.to(model.device))
        rows = _plain_greedy(model, prompts, decoding, walker, decoding.trie.depth)
        for answer, ids in zip(answers, rows, strict=True):
            answer.constrained = walker.label_of(ids)
    if decoding.candidates and decoding.trie is not None:
        for answer, prompt in zip(answers, prompts, strict=True):
            answer.candidates = _plain_search(model, prompt, decoding.trie, decoding.candidates).best()[0]
    return answers


def _plain_sets(
    model: PreTrainedModel,
    prompts: list[Sequence[int]],
    decoding: Decoding,
    trie: SetTrie,
    answers: list[Answer],
) -> None:
    """Enter the constrained lists and the labels likeliest to be in them."""
    walker = _SetWalker(trie.to(model.device))
    lists = _plain_greedy(model, prompts, decoding, walker, trie.steps(decoding.max_new_tokens))
    for answer, prompt, ids in zip(answers, prompts, lists, strict=True):
        answer.constrained_set = trie.read(ids)
        if decoding.candidates:
            ranked = SetCandidates(trie, ids)
            for line, (start, _) in enumerate(ranked.lines):
                begun, count = [*prompt, *ids[:start]], paths_to_search(decoding.candidates)
                ranked.add(line, _plain_search(model, begun, trie, count, trie.root(line)).found()[0])
            answer.candidates = ranked.best(decoding.candidates)


def _plain_greedy(
    model: PreTrainedModel,
    prompts: list[Sequence[int]],
    decoding: Decoding,
    processor: Callable[[Tensor, Tensor], Tensor] | None = None,
    new_tokens: int | None = None,
) -> list[list[int]]:
    return generate_greedily(
        model, prompts, new_tokens or decoding.max_new_tokens, decoding.end_ids, processor
    ).tolist()


class _Walker:
    """transformers' logits processor that keeps every row on the trie."""

    def __init__(self, trie: AnswerTrie) -> None:
        self.trie = trie
        self.nodes: Tensor | None = None

    def __call__(self, ids: Tensor, scores: Tensor) -> Tensor:
        if self.nodes is None:
            self.nodes = torch.zeros(len(ids), dtype=torch.int64, device=ids.device)
        else:
            self.nodes = self._after(self.nodes, ids[:, -1])
        _, tokens, exists = self.trie.children(self.nodes)
        allowed = torch.zeros_like(scores, dtype=torch.bool)
        rows = torch.arange(len(ids), device=ids.device)[:, None].expand_as(tokens)
        allowed[rows[exists], tokens[exists]] = True
        return scores.masked_fill(~allowed, -torch.inf)

    def _after(self, nodes: Tensor, token: Tensor) -> Tensor:
        edge, tokens, exists = self.trie.children(nodes)
        taken = ((tokens == token[:, None]) & exists).int().argmax(1, keepdim=True)
        return self.trie.child[edge.gather(1, taken)[:, 0]]

    def label_of(self, ids: Sequence[int]) -> str:
        node = torch.zeros(1, dtype=torch.int64, device=self.trie.token.device)
        for token in ids:
            node = self._after(node, torch.tensor([token], device=node.device))
            if (label := int(self.trie.label[node])) >= 0:
                return self.trie.labels[label]
        raise RuntimeError("constrained decoding left the trie")  # the processor makes this impossible


class _SetWalker:
    """transformers' logits processor that keeps every row on the trie of sets."""

    def __init__(self, trie: SetTrie) -> None:
        self.trie = trie
        self.nodes: Tensor | None = None
        self.used = trie.nothing_used(0)
        self.done: Tensor | None = None

    def __call__(self, ids: Tensor, scores: Tensor) -> Tensor:
        if self.nodes is None or self.done is None:
            self.nodes = torch.zeros(len(ids), dtype=torch.int64, device=ids.device)
            self.used = self.trie.nothing_used(len(ids))
            self.done = torch.zeros(len(ids), dtype=torch.bool, device=ids.device)
        chosen, ended = self.trie.choose(scores, self.nodes, self.used, self.done)
        self.done |= ended
        only = torch.full_like(scores, -torch.inf)
        return only.scatter_(1, chosen[:, None], 0.0)


def _plain_search(
    model: PreTrainedModel, prompt: Sequence[int], trie: AnswerTrie, count: int, root: int = 0
) -> BeamSearch:
    """Beam search that feeds the prompt again with each partial answer: slow; needs nothing of the model's cache."""
    search = BeamSearch(trie.to("cpu"), count, rows=1, root=root)
    paths: list[list[int]] = [[]]
    while search.alive:
        ids = torch.tensor([[*prompt, *path] for path in paths], device=model.device)  # all paths are equally long
        logits = model(input_ids=ids, use_cache=False, logits_to_keep=1).logits[:, -1]
        _, allowed, _ = search.children()
        parents, tokens = search.advance(logits.float().log_softmax(-1).cpu()[None].gather(2, allowed))
        paths = [[*paths[parent], token] for parent, token in zip(parents[0].tolist(), tokens[0].tolist(), strict=True)]
    return search
