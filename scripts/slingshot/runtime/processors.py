"""How threads that share a step's work on processors wait for each other.

One that spins takes up the next piece at once: a finetune of SmolLM2 on two cores of its own took 0.24 s per step where
sleeping threads took 0.36. But it takes the core from whoever works there: beside a second such process 0.90 s, and
0.35 asleep. So threads spin where the cores were idle when the step began, and not for long.
"""

from __future__ import annotations

import time
from pathlib import Path

STAT = Path("/proc/stat")

NEEDED = 1.5  # idle cores for a step's two threads

SPINNING = {"GOMP_SPINCOUNT": "4000"}
ASLEEP = {"OMP_WAIT_POLICY": "PASSIVE"}


def wait_policy(seconds: float = 0.1, looks: int = 3) -> dict[str, str]:
    """The environment variables for OpenMP's threads.

    Cores are idle if they were so in one of a few looks: Snakemake may still be busy with what it just started.
    """
    for _ in range(looks):
        idle = idle_cores(seconds)
        if idle is None:
            break
        if idle >= NEEDED:
            return SPINNING
    return ASLEEP


def idle_cores(seconds: float) -> float | None:
    """How many cores had nothing to do over a span of time; None where the system does not say."""
    before = _times()
    time.sleep(seconds)
    after = _times()
    if before is None or after is None:
        return None
    idle, total, cores = after[0] - before[0], after[1] - before[1], after[2]
    return cores * idle / total if total > 0 else None


def _times() -> tuple[int, int, int] | None:
    """Idle ticks and all ticks of all cores together, and the number of cores."""
    try:
        lines = STAT.read_text(encoding="ascii").splitlines()
        ticks = [int(part) for part in lines[0].split()[1:9]]  # user nice system idle iowait irq softirq steal
        return ticks[3] + ticks[4], sum(ticks), sum(line[:4].rstrip("0123456789") == "cpu" for line in lines[1:])
    except (OSError, ValueError, IndexError):
        return None
