"""The e4m3 kernels against the same arithmetic in plain torch, on a GPU: how far they differ, and how long they take.

python benchmarks/fp8_kernels.py
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

from slingshot.nn import fp8_kernels

TOKENS, HIDDEN, INNER = 32_768, 4096, 14_336


def main() -> None:
    torch.manual_seed(0)
    rows = torch.randn(TOKENS, HIDDEN, device="cuda", dtype=torch.bfloat16)
    weight = torch.rand(HIDDEN, device="cuda", dtype=torch.bfloat16) + 0.5
    gate_up = torch.randn(TOKENS, 2 * INNER, device="cuda", dtype=torch.bfloat16)
    gate, up = gate_up.chunk(2, -1)
    compare("quantize", lambda: fp8_kernels.quantize_rows(rows), rows)
    compare(
        "norm", lambda: fp8_kernels.norm_and_quantize(rows, weight, 1e-5), F.rms_norm(rows, (HIDDEN,), weight, 1e-5)
    )
    compare("activation", lambda: fp8_kernels.activate_and_quantize(gate_up), F.silu(gate) * up)


def compare(name: str, kernel: Callable[[], tuple[Tensor, Tensor]], plain: Tensor) -> None:
    quantized, scale = kernel()
    wide = plain.float()
    expected = (wide.abs().amax(-1, keepdim=True) / 448).clamp(min=fp8_kernels.SMALLEST_SCALE)
    share = float(((quantized.float() * scale) - wide).norm() / wide.norm())
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(20):
        kernel()
    torch.cuda.synchronize()
    took = (time.perf_counter() - start) / 20
    moved = plain.numel() * (3 if name != "activation" else 5) / took / 1e12
    print(
        f"{name}: scales differ by {float(((scale - expected) / expected).abs().max()):.1e}, numbers by {share:.2%} "
        f"(e4m3 itself), {1e3 * took:.3f} ms, {moved:.2f} TB/s"
    )


if __name__ == "__main__":
    main()
