"""Data-parallel training: this process becomes torchrun, which starts its own command once per GPU."""

from __future__ import annotations

import os
import sys


def become_torchrun(processes: int) -> None:
    """Become torchrun of this very command; accelerate joins the processes (workers.join_workers)."""
    at = sys.argv.index("--gpus") if "--gpus" in sys.argv else None
    if at is None:  # written as --gpus=2
        again = [part for part in sys.argv if not part.startswith("--gpus=")]
    else:
        again = sys.argv[:at] + sys.argv[at + 2 :]
    torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", "--"]
    os.execv(sys.executable, [sys.executable, *torchrun, *again])
