"""How many tokens a micro-batch may have: from free memory and a measured probe, not from luck."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

import torch

from slingshot.device_memory import release_memory

log = logging.getLogger(__name__)

SAFETY = 0.94  # of what is free: the allocator's fragmentation, kernels loaded later
# Shares of the activations that are recomputed, and the tokens a micro-batch that make the next one not worth trying
# (seen on an H100: 34 k tokens/s with 6,600 tokens a micro-batch, 29 k with 4,400, 28 k with all recomputed).
RECOMPUTED = {0.0: 6144, 0.1: 4096, 1.0: 0}
MOST = 65536  # tokens: more than any effective batch gains from


@dataclass(frozen=True)
class Probe:
    """What a training step of so many tokens took at its peak, beyond what was allocated before, in bytes."""

    tokens: int
    peak: int


def budget_from_probes(small: Probe, large: Probe, available: int, longest: int) -> int | None:
    """The token budget that `available` bytes allow, by the line through two probes.

    Returns: at least `longest` (the longest sample's tokens), or None where not even that fits.
    """
    per_token = (large.peak - small.peak) / (large.tokens - small.tokens)
    fixed = max(0.0, small.peak - per_token * small.tokens)
    budget = int((available * SAFETY - fixed) / per_token)
    log.info(
        "memory: %.2f MB a token, %.1f GB free: up to %d tokens a micro-batch", per_token / 1e6, available / 1e9, budget
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
