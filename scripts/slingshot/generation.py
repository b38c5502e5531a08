"""Answers of a model to prompts: greedy, each sample on its own, as fast as the device and its memory allow.

Two ways lead to the same answers. The packed one (packed_generation) takes every model whose attention transformers
lets us supply; the plain one is transformers' own `generate` over batches of similar length, for everything else.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from slingshot import packed_generation
from slingshot.adapter_merging import is_plain_lora, merge_adapter
from slingshot.beam import BeamSearch, beam_width
from slingshot.config import Dtype, Quantization
from slingshot.constrained import AnswerTrie
from slingshot.device_memory import free_memory, peak_memory, release_memory
from slingshot.models import ModelCard, load_adapter, load_model
from slingshot.padded_generation import greedy_ids
from slingshot.records import timed
from slingshot.sequence_attention import rotary_length, rotary_meets_batch

if TYPE_CHECKING:
    from transformers import PreTrainedModel

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Decoding:
    """What is asked of the model for each prompt.

    `free` is what the model says by itself; `constrained` and `candidates` need `trie`.
    """

    max_new_tokens: int
    end_ids: tuple[int, ...]
    free: bool = True
    constrained: bool = False
    candidates: int = 0
    trie: AnswerTrie | None = None

    def __post_init__(self) -> None:
        if (self.constrained or self.candidates) and self.trie is None:
            raise ValueError("constrained decoding and candidates need a trie of answers")


@dataclass
class Answer:
    """What came back. Token ids hold no end token; `new_tokens` counts it where the model gave one."""

    prompt_tokens: int
    ids: list[int] = field(default_factory=list)
    new_tokens: int = 0
    constrained: str | None = None
    candidates: list[tuple[str, float]] = field(default_factory=list)


@dataclass(frozen=True)
class Memory:
    """What a run may take. None: as much as the device has free."""

    token_budget: int | None = None
    attempt: int = 1


@dataclass
class Report:
    """What a run did, for the step's record. Times in seconds."""

    seconds: dict[str, float] = field(default_factory=dict)
    token_budget: int | None = None
    batches: int = 0
    peak_allocated: int | None = None
    inexact_candidates: int = 0
    notes: list[str] = field(default_factory=list)

    def note(self, text: str) -> None:
        if text not in self.notes:
            log.warning(text)
            self.notes.append(text)

    def summary(self) -> str:
        seconds = ", ".join(f"{phase} {duration:.1f} s" for phase, duration in self.seconds.items())
        peak = f", {self.peak_allocated / 1e9:.1f} GB at most" if self.peak_allocated else ""
        return f"{self.batches} batches of up to {self.token_budget} tokens{peak}; {seconds}"


Answers = dict[int, Answer]


def load_for_generation(
    card: ModelCard,
    quantization: Quantization,
    dtype: Dtype,
    device: str,
    adapter: Path | None = None,
    unquantized_without_gpu: bool = False,
) -> PreTrainedModel:
    """A model ready to answer. An adapter is merged into unquantized weights, and applied on top of quantized ones."""
    model = load_model(card, quantization, dtype, device, unquantized_without_gpu)
    if adapter is None:
        return model
    quantized = getattr(model, "is_quantized", False)
    if not quantized and is_plain_lora(adapter):  # without peft, which takes seconds to import
        merge_adapter(model, adapter)
        return model
    adapted = load_adapter(model, adapter)
    if quantized:
        return cast("PreTrainedModel", adapted.get_base_model())
    return cast("PreTrainedModel", adapted.merge_and_unload(safe_merge=True))


def generate(
    model: PreTrainedModel, prompts: Sequence[Sequence[int]], decoding: Decoding, memory: Memory, report: Report
) -> Iterator[Answers]:
    """Answer every prompt; yields index to answer as groups of prompts finish.

    Args:
        model: a causal language model in eval mode, on its device.
        prompts: token ids of each prompt.
        report: filled in on the way.
    """
    if not prompts:
        return
    network = _packable(model, prompts, decoding, report)
    if network is None:
        if rotary_meets_batch(model.config.get_text_config()):
            memory = Memory(token_budget=1)  # one prompt a batch: no neighbour may change an answer
        yield from plain_generate(model, prompts, decoding, memory, report)
        return
    try:
        yield from packed_generate(network, prompts, decoding, memory, report)
    finally:
        packed_generation.put_together(network)


# ---------------------------------------------------------------- the packed way

_CHECKED_TOKENS = 48
# What two orders of the same sums may differ by; a deep network of random weights comes to 7% in bfloat16.
_TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 0.25, torch.float16: 0.05}
_LONGEST_ROW = 32_768
_MOST_PROMPTS = 512
_ON_CPU = packed_generation.Sizes(row_tokens=2048, pool_rows=16_384, most_prompts=64)


def packed_generate(
    network: packed_generation.Network,
    prompts: Sequence[Sequence[int]],
    decoding: Decoding,
    memory: Memory,
    report: Report,
) -> Iterator[Answers]:
    """Answer group by group without padding; where memory runs out, rows and pool are halved and it goes on."""
    steps = max(
        decoding.max_new_tokens if decoding.free else 0,
        decoding.trie.depth if decoding.trie and decoding.constrained else 0,
    )
    trie = decoding.trie.to(network.device) if decoding.trie else None
    decoding = replace(decoding, trie=trie)
    shared = packed_generation.shared_prefix(prompts)
    needs = [len(prompt) + steps + _branch_rows(decoding) for prompt in prompts]
    sizes = _sizes(network, memory, max(needs))
    waiting = list(range(len(prompts)))
    while waiting:
        groups = packed_generation.plan_groups(needs, waiting, sizes)
        engine = None
        try:
            engine = packed_generation.new_engine(
                network,
                pool_rows=max(sum(len(prompts[index]) + steps for index in group) for group in groups),
                most_prompts=max(map(len, groups)),
                steps=max(steps, 1),
                row_tokens=sizes.row_tokens,
                longest=max(needs),
            )
            report.token_budget = sizes.row_tokens
            for group in groups:
                layout = packed_generation.lay_out([prompts[index] for index in group], shared, steps)
                answers = _packed_group(engine, layout, decoding, report)
                report.batches += 1
                del waiting[: len(group)]
                yield dict(zip(group, answers, strict=True))
            for note in engine.notes:
                report.note(note)
        except torch.OutOfMemoryError:
            if sizes.row_tokens <= 64 and max(map(len, groups)) == 1:
                raise
            report.note(f"out of memory at rows of {sizes.row_tokens} tokens: halved")
            sizes = sizes.halved()
        engine = None
        report.peak_allocated = peak_memory(network.device)
        release_memory(network.device)


def _packed_group(
    engine: packed_generation.Engine, layout: packed_generation.Layout, decoding: Decoding, report: Report
) -> list[Answer]:
    answers = [Answer(len(prompt)) for prompt in layout.prompts]
    with _measured(report, "prefill", engine.network.device):
        first = packed_generation.prefill(engine, layout)
    with _measured(report, "decode", engine.network.device):
        if decoding.free:
            choose = packed_generation.greedy(decoding.end_ids, engine.rows)
            ids = packed_generation.decode(engine, layout, first, choose, decoding.max_new_tokens, "free")
            for answer, row in zip(answers, ids, strict=True):
                answer.ids, answer.new_tokens = until_end(row, decoding.end_ids)
        if decoding.constrained and decoding.trie:
            choose = packed_generation.greedy_on_trie(decoding.trie, engine.rows)
            packed_generation.decode(engine, layout, first, choose, decoding.trie.depth, "constrained")
            for answer, node in zip(answers, engine.rows.nodes.tolist(), strict=False):
                answer.constrained = decoding.trie.labels[int(decoding.trie.label[node])]
    if decoding.candidates and decoding.trie:
        with _measured(report, "candidates", engine.network.device):
            search = packed_generation.rank(engine, layout, first, decoding.trie, decoding.candidates)
            for answer, candidates in zip(answers, search.best(), strict=True):
                answer.candidates = candidates
            report.inexact_candidates += search.exact().count(False)
    return answers


def _packable(
    model: PreTrainedModel, prompts: Sequence[Sequence[int]], decoding: Decoding, report: Report
) -> packed_generation.Network | None:
    """The model taken apart for the packed way, or None, with a note that says why it can't be."""
    reason = _unpackable(model, max(map(len, prompts)) + decoding.max_new_tokens)
    if reason is None:
        network = packed_generation.take_apart(model)
        tried = _tried(model, prompts)
        try:
            away = packed_generation.disagreement(model, network, tried)
        except torch.OutOfMemoryError:
            packed_generation.put_together(network)
            raise
        except Exception as error:  # a model's own code may fail in any way on arguments that it does not know
            away, reason = 0.0, f"its forward pass failed there: {type(error).__name__}: {error}"
        if not away <= _TOLERANCE.get(model.dtype, 0.25):
            reason = f"its logits there differ by {away:.1%} from its own"
        if reason is None:
            return network
        packed_generation.put_together(network)
    report.note(f"{type(model).__name__} takes the slower, padded way: {reason}")
    return None


def _tried(model: PreTrainedModel, prompts: Sequence[Sequence[int]]) -> list[Sequence[int]]:
    """The prompts that the packed way is checked with: two short ones, and one that a sliding window cuts."""
    tried = [prompt[:_CHECKED_TOKENS] for prompt in prompts[:2]]
    window = getattr(model.config.get_text_config(), "sliding_window", None)
    longest = max(prompts, key=len)
    if window and len(longest) > window:
        tried.append(longest[: 2 * window])
    return tried


def _unpackable(model: PreTrainedModel, longest: int) -> str | None:
    config = model.config.get_text_config()
    if not getattr(model, "_supports_attention_backend", False):
        return "its attention cannot be replaced"
    if getattr(config, "attn_logit_softcapping", None) and model.device.type == "cuda":
        return "flash attention caps no scores"
    if rotary_meets_batch(config) and longest > rotary_length(config):
        return "its rotary embedding depends on the longest prompt of a batch"
    return None


def _branch_rows(decoding: Decoding) -> int:
    """Rows of memory that a prompt's partial answers take while candidates are ranked, copies included."""
    if not (decoding.candidates and decoding.trie):
        return 0
    return 2 * beam_width(decoding.candidates) * decoding.trie.depth


def _sizes(network: packed_generation.Network, memory: Memory, longest: int) -> packed_generation.Sizes:
    """Row length and pool from free memory: at most a quarter for activations, a tenth left over."""
    config = network.model.config.get_text_config()
    if network.device.type != "cuda":
        row = halved(memory.token_budget or _ON_CPU.row_tokens, memory.attempt)
        return packed_generation.Sizes(row, max(_ON_CPU.pool_rows, longest), _ON_CPU.most_prompts)
    head_size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    size = torch.finfo(network.model.dtype).bits // 8
    cached = 2 * config.num_hidden_layers * config.num_key_value_heads * head_size * size
    attended = (config.num_attention_heads + 2 * config.num_key_value_heads) * head_size
    active = size * (6 * config.hidden_size + 5 * config.intermediate_size + 3 * attended)
    free = free_memory(network.device)
    row = min(int(0.25 * free / active), _LONGEST_ROW)
    row = halved(memory.token_budget or max(row, 64), memory.attempt)
    logits = 3 * size * config.vocab_size
    pool = int((0.9 * free - row * active) / (cached + logits / max(longest, 1)))
    return packed_generation.Sizes(row, max(halved(max(pool, 1), memory.attempt), longest), _MOST_PROMPTS)


@contextmanager
def _measured(report: Report, phase: str, device: torch.device) -> Iterator[None]:
    with timed(report.seconds, phase):
        yield
        if device.type == "cuda":
            torch.cuda.synchronize(device)


# ---------------------------------------------------------------- the plain way


_PLAIN_TOKENS_ON_CPU = 4096
_LAYERS_ALIVE = 6  # activations of one layer at its widest, in hidden states a token; measured generously


def plain_generate(
    model: PreTrainedModel, prompts: Sequence[Sequence[int]], decoding: Decoding, memory: Memory, report: Report
) -> Iterator[Answers]:
    """Answer by transformers' generate, longest prompts first; a batch that does not fit is halved."""
    if model.device.type == "cuda":
        torch.backends.cuda.enable_cudnn_sdp(False)  # it makes a plan for every new shape
    budget = halved(memory.token_budget or _plain_budget(model), memory.attempt)
    report.token_budget = budget
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
            report.note(f"out of memory at {len(batch)} prompts a batch: halved")
            report.token_budget = budget = budget // 2
            remaining = sorted(index for left in [batch, *waiting] for index in left)
            waiting = _batches(prompts, decoding.max_new_tokens, budget, remaining)
            continue
        report.seconds["generate"] = report.seconds.get("generate", 0.0) + time.perf_counter() - start
        report.batches += 1
        report.peak_allocated = peak_memory(model.device)
        yield dict(zip(batch, answers, strict=True))


def halved(budget: int, attempt: int) -> int:
    """The budget of a step's n-th attempt, after n - 1 deaths by lack of memory."""
    return max(budget >> (attempt - 1), 1)


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
    config = model.config.get_text_config()
    head_size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    size = torch.finfo(model.dtype).bits // 8
    cache = 2 * config.num_hidden_layers * config.num_key_value_heads * head_size * size
    widest = _LAYERS_ALIVE * max(config.intermediate_size, config.hidden_size) * size
    return max(int(0.7 * free_memory(model.device) / (cache + widest)), 1)


@torch.inference_mode()
def _plain_batch(model: PreTrainedModel, prompts: list[Sequence[int]], decoding: Decoding) -> list[Answer]:
    if rotary_meets_batch(
        model.config.get_text_config()
    ):  # which then remembers the longest sequence until it meets a short one
        model(torch.zeros(1, 1, dtype=torch.int64, device=model.device), use_cache=False)
    answers = [Answer(len(prompt)) for prompt in prompts]
    if decoding.free:
        for answer, ids in zip(answers, _plain_greedy(model, prompts, decoding), strict=True):
            answer.ids, answer.new_tokens = until_end(ids, decoding.end_ids)
    if decoding.constrained and decoding.trie is not None:
        walker = _Walker(decoding.trie.to(model.device))
        rows = _plain_greedy(model, prompts, decoding, walker, decoding.trie.depth)
        for answer, ids in zip(answers, rows, strict=True):
            answer.constrained = walker.label_of(ids)
    if decoding.candidates and decoding.trie is not None:
        for answer, prompt in zip(answers, prompts, strict=True):
            answer.candidates = _plain_candidates(model, prompt, decoding.trie, decoding.candidates)
    return answers


def _plain_greedy(
    model: PreTrainedModel,
    prompts: list[Sequence[int]],
    decoding: Decoding,
    processor: Callable[[Tensor, Tensor], Tensor] | None = None,
    new_tokens: int | None = None,
) -> list[list[int]]:
    return greedy_ids(model, prompts, new_tokens or decoding.max_new_tokens, decoding.end_ids, processor).tolist()


def until_end(ids: Sequence[int], end_ids: Sequence[int]) -> tuple[list[int], int]:
    """An answer without its end token and what follows, and the number of tokens that the model chose for it."""
    for length, token in enumerate(ids):
        if token in end_ids:
            return list(ids[:length]), length + 1
    return list(ids), len(ids)


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


def _plain_candidates(
    model: PreTrainedModel, prompt: Sequence[int], trie: AnswerTrie, count: int
) -> list[tuple[str, float]]:
    """Beam search that feeds the prompt anew with each partial answer: slow, and needs nothing of the model's cache."""
    search = BeamSearch(trie.to("cpu"), count, rows=1)
    paths: list[list[int]] = [[]]
    while search.alive:
        ids = torch.tensor([[*prompt, *path] for path in paths], device=model.device)  # all paths are equally long
        logits = model(input_ids=ids, use_cache=False, logits_to_keep=1).logits[:, -1]
        _, allowed, _ = search.children()
        parents, tokens = search.advance(logits.float().log_softmax(-1).cpu()[None].gather(2, allowed))
        paths = [[*paths[parent], token] for parent, token in zip(parents[0].tolist(), tokens[0].tolist(), strict=True)]
    return search.best()[0]
