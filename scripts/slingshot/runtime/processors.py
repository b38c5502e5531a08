"""How threads that share a step's work on processors wait for each other.

One that spins takes up the next piece at once: a finetune of SmolLM2 on two cores of its own took 0.24 s per step where
sleeping threads took 0.36. But it takes the core from whoever works there: beside a second such process 0.90 s, and
0.35 asleep. So threads spin where the cores were idle when the step began, and not for long.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

STAT = Path("/proc/stat")

_MARGIN = 0.5  # of a core: something small always runs

SPINNING = {"GOMP_SPINCOUNT": "4000"}
ASLEEP = {"OMP_WAIT_POLICY": "PASSIVE"}


class Ticks(NamedTuple):
    """Of a core's clock, since the machine started."""

    idle: int
    all: int


def choose_wait_policy(environment: Mapping[str, str], seconds: float = 0.1, looks: int = 3) -> dict[str, str]:
    """The environment variables for OpenMP's threads; none where somebody has set them, or for one thread.

    Cores are idle if they were so in one of a few looks: Snakemake may still be busy with what it just started.
    """
    threads = environment.get("OMP_NUM_THREADS", "")  # Snakemake's `threads`
    if {*SPINNING, *ASLEEP} & environment.keys() or threads == "1":
        return {}
    needed = (int(threads) if threads.isdecimal() else 2) - _MARGIN
    for _ in range(looks):
        idle = measure_idle_cores(seconds)
        if idle is None:
            break
        if idle >= needed:
            return SPINNING
    return ASLEEP


def measure_idle_cores(seconds: float) -> float | None:
    """How many of this process's cores had nothing to do over a span of time; None where the system does not say."""
    before = _times()
    time.sleep(seconds)
    after = _times()
    if before is None or after is None or before.keys() != after.keys():
        return None
    return sum(_idle_share(before[core], after[core]) for core in after)


def _idle_share(before: Ticks, after: Ticks) -> float:
    passed = after.all - before.all
    return (after.idle - before.idle) / passed if passed > 0 else 0.0


def _times() -> dict[str, Ticks] | None:
    """Of each core that this process may use, by its name."""
    try:
        mine = {f"cpu{number}" for number in os.sched_getaffinity(0)}
        rows = [line.split() for line in STAT.read_text(encoding="ascii").splitlines()]
        ticks = {row[0]: [int(part) for part in row[1:9]] for row in rows if row and row[0] in mine}
        # user nice system idle iowait irq softirq steal
        return {core: Ticks(each[3] + each[4], sum(each)) for core, each in ticks.items()} or None
    except (OSError, AttributeError, ValueError, IndexError):
        return None
