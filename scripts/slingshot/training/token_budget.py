"""How many tokens a micro-batch may have, from free memory and measured probe steps."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import cycle, islice

import torch

from slingshot.core.errors import StudyError
from slingshot.models.device_memory import free_bytes, release_memory
from slingshot.nn.supported_layers import rotary_meets_batch
from slingshot.training import batches as packing
from slingshot.training.batches import Sample
from slingshot.training.loss import add_gradients
from slingshot.training.samples import longest_of
from slingshot.training.state import FinetuneJob, Trainer, trained_parameters
from slingshot.training.step_graphs import StepGraphs, is_launch_bound

log = logging.getLogger(__name__)

SAFETY = 0.94  # of what is free: the allocator's fragmentation, kernels loaded later

# Shares of the activations that are recomputed, and the tokens per micro-batch that make the next one not worth trying
# (seen on an H100: 34 k tokens/s with 6,600 tokens per micro-batch, 29 k with 4,400, 28 k with all recomputed).
RECOMPUTED = {0.0: 6144, 0.1: 4096, 1.0: 0}

MOST = 65536  # tokens: more than any effective batch gains from


@dataclass(frozen=True)
class Probe:
    """What a training step of `tokens` tokens took at its peak, beyond what was allocated before, in bytes."""

    tokens: int
    peak: int


def budget_from_probes(small: Probe, large: Probe, available: int, longest: int) -> int | None:
    """The token budget that `available` bytes allow, by the line through two probes.

    Where the line has no slope (probes of equally many tokens, a peak that an earlier phase set), the larger probe's
    bytes per token count instead, which is never too little.

    Returns: at least `longest` (the longest sample's tokens), or None where not even that fits.
    """
    more_tokens, more_bytes = large.tokens - small.tokens, large.peak - small.peak
    per_token = more_bytes / more_tokens if more_tokens > 0 and more_bytes > 0 else large.peak / large.tokens
    fixed = max(0.0, small.peak - per_token * small.tokens)
    budget = int((available * SAFETY - fixed) / max(per_token, 1.0))
    log.info(
        "memory: %.2f MB per token, %.1f GB free: up to %d tokens per micro-batch",
        per_token / 1e6,
        available / 1e9,
        budget,
    )
    return None if budget < longest else min(budget, MOST)


def measure(device: torch.device, tokens: int, step: Callable[[int], int]) -> Probe | None:
    """Run `step(tokens)`, which returns the tokens that it had; None where memory does not suffice."""
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    try:
        used = step(tokens)
        torch.cuda.synchronize(device)
    except torch.cuda.OutOfMemoryError:
        used = 0
    peak = torch.cuda.max_memory_allocated(device) - before
    release_memory(device)
    return Probe(used, peak) if used else None


CPU_BUDGET = 2048  # tokens per micro-batch: more gains nothing on a CPU

DETERMINISTIC_BUDGET = 8192  # the same on every card, since how samples are packed changes rounding


def find_token_budget(trainer: Trainer, job: FinetuneJob) -> int:
    """Tokens per micro-batch: what was asked for, else what two probe steps and the free memory say."""
    longest = longest_of(trainer.samples, trainer.validation)
    device = trainer.workers.device
    if job.token_budget is not None:
        budget = max(longest, job.token_budget)
    elif device.type == "cpu":
        budget = max(longest, CPU_BUDGET)
    elif trainer.recipe.deterministic:
        budget = max(longest, DETERMINISTIC_BUDGET)
    else:
        budget = probe_budget(trainer, longest)
        trainer.budget_is_free = job.attempt == 1
    halvings = 0 if trainer.recipe.deterministic else job.attempt - 1  # packing decides rounding
    return max(longest, budget >> halvings)


def probe_budget(trainer: Trainer, longest: int, least: float = 0.0) -> int:
    """The token budget by probe steps of real samples; AdamW's moments, where not there yet, are counted in.

    Where few tokens fit, activations are recomputed, more and more of them.

    Args:
        least: share of the activations to recompute at least.
    """
    device = trainer.workers.device
    adapters = sum(parameter.numel() for parameter in trained_parameters(trainer))
    moments = 0 if trainer.optimizer.state else 8 * adapters
    for share, enough in RECOMPUTED.items():
        if share < least:
            continue
        trainer.recomputed = share
        if share:
            trainer.path.recompute(share)
        measure(device, longest, lambda tokens: probe_step(trainer, tokens))  # compiles, warms up
        small = measure(device, longest, lambda tokens: probe_step(trainer, tokens))
        large = measure(device, 2 * longest, lambda tokens: probe_step(trainer, tokens))
        if small is None or large is None:
            continue
        available = free_bytes(device) - moments
        budget = budget_from_probes(small, large, available, longest)
        if budget is not None and budget >= enough:
            return budget
    return longest


def graphs_where_launches_dominate(trainer: Trainer) -> StepGraphs | None:
    """Graphs for a compiled network on a GPU that waits for its launches; None elsewhere.

    A deterministic run has none: how a micro-batch is padded changes rounding. Nor has a rotary embedding that looks at
    how long sequences are, which waits for the device.
    """
    device, longest = trainer.workers.device, longest_of(trainer.samples, trainer.validation)
    if device.type != "cuda" or trainer.path.multiple_of == 1 or trainer.recipe.deterministic or trainer.recomputed:
        return None
    if rotary_meets_batch(trainer.model.config.get_text_config()):
        return None
    try:  # more tokens are more work for as many launches: where few keep the device busy, many do
        most = min(trainer.token_budget, trainer.recipe.batch_size * longest)
        bound = all(step_waits_for_launches(trainer, tokens) for tokens in sorted({longest, most}))
    except torch.cuda.OutOfMemoryError:  # the training step itself handles an error like this
        release_memory(device)
        return None
    return StepGraphs(trainer.path, trainer.dropout, trained_parameters(trainer), longest) if bound else None


def step_waits_for_launches(trainer: Trainer, tokens: int) -> bool:
    """Whether a step of about `tokens` tokens waits for the host to launch its kernels."""
    probe_step(trainer, tokens)  # compiles
    device = trainer.workers.device
    return is_launch_bound(lambda: probe_step(trainer, tokens), lambda: torch.cuda.synchronize(device))


def probe_step(trainer: Trainer, tokens: int) -> int:
    """Forward and backward over about `tokens` tokens of the longest samples; returns how many they were."""
    packed = packing.pack(probed_samples(trainer, tokens), trainer.seed, 0, trainer.path.multiple_of)
    packed = packed.to(trainer.workers.device)
    try:
        add_gradients(trainer.path, trainer.dropout, packed, count=1)
    finally:
        trainer.optimizer.zero_grad(set_to_none=True)
    return int(packed.input_ids.shape[1])


def probed_samples(trainer: Trainer, tokens: int) -> list[Sample]:
    """The longest samples of both splits up to `tokens` tokens, at least one, again and again where they are few."""
    by_length = sorted([*trainer.samples, *trainer.validation], key=len, reverse=True)
    chosen, filled = [by_length[0]], len(by_length[0])
    for sample in islice(cycle(by_length), 1, None):
        filled += len(sample)
        if filled > tokens:
            return chosen
        chosen.append(sample)
    return chosen


def shrink_budget(trainer: Trainer, batch: Sequence[Sample]) -> int:
    """The token budget after an out-of-memory error: three quarters, or what fits with more activations recomputed.

    A probed budget is too large by little; half of it would slow all steps that follow.

    Raises:
        StudyError: neither is left.
    """
    trainer.graphs = None  # theirs is the memory of shapes that no longer come
    longest, before = max(map(len, batch)), trainer.token_budget
    budget = max(longest, before * 3 // 4)
    more = [share for share in RECOMPUTED if share > trainer.recomputed]
    if more and trainer.budget_is_free and budget < RECOMPUTED[trainer.recomputed]:
        release_memory(trainer.workers.device)
        budget = probe_budget(trainer, longest_of(trainer.samples, trainer.validation), least=more[0])
    elif more and before <= longest:
        trainer.recomputed = more[-1]
        trainer.path.recompute(trainer.recomputed)
    elif before <= longest:
        raise StudyError(
            f"finetune: out of memory with one sample of {longest} tokens at a time; set quantization: nf4 for this "
            "model, lower finetune.max_tokens, or take a larger GPU"
        )
    log.warning(
        "out of memory at %d tokens per micro-batch: going on with %d, and %.0f%% of the activations recomputed",
        before,
        budget,
        100 * trainer.recomputed,
    )
    return budget
