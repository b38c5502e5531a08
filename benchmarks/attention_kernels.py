"""TFLOP/s of packed attention alone, by torch's own kernels and by flash-attn-4 where it is installed and runs.

    python benchmarks/attention_kernels.py
    python benchmarks/attention_kernels.py --device cpu --sequences 2 --tokens 64   # the program itself

Heads of 128 numbers as the 3B and the 8B have them, in bfloat16, sequences of MedSynth's mean length laid end to end.
Operations: causal attention is half of the square; the backward pass has five products where the forward pass has two.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

HEADS = {"3b": (24, 8), "8b": (32, 8)}  # query heads, key-value heads
SIZE = 128
WARM, TIMED = 3, 5  # calls


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sequences", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=1170, help="of a sequence")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    given = parser.parse_args()
    import torch

    from slingshot.nn.flash_kernels import activate_fastest_kernels

    print_rates("torch's own kernels", given)
    notes = activate_fastest_kernels(torch.device(given.device))
    print(*notes, sep="\n")
    if any(note.startswith("attention by") for note in notes):
        print_rates("flash-attn-4", given)


def print_rates(kernels: str, given: argparse.Namespace) -> None:
    for model, (heads, shared) in HEADS.items():
        forward, both = measure(heads, shared, given)
        print(f"{kernels}, {model}: forward {forward:,.1f}, forward and backward {both:,.1f} TFLOP/s", flush=True)


def measure(heads: int, shared: int, given: argparse.Namespace) -> tuple[float, float]:
    """TFLOP/s of the forward pass, and of both passes."""
    import torch
    from random_training import read_clock

    from slingshot.nn.packed_attention import packed_attention

    tokens = given.sequences * given.tokens
    kind: dict[str, Any] = {"device": given.device, "dtype": torch.bfloat16, "requires_grad": True}
    query, key, value = (torch.randn(tokens, each, SIZE, **kind) for each in (heads, shared, shared))
    ends = torch.arange(given.sequences + 1, dtype=torch.int32, device=given.device) * given.tokens
    gradient, rates = torch.randn_like(query), []
    for products, backward in ((2, False), (7, True)):
        for call in range(WARM + TIMED):
            if call == WARM:
                start = read_clock(given.device)
            out = packed_attention(query, key, value, ends, given.tokens, SIZE**-0.5)
            if backward:
                torch.autograd.grad(out, (query, key, value), gradient)
        seconds = (read_clock(given.device) - start) / TIMED
        rates.append(products * given.sequences * given.tokens**2 * heads * SIZE / seconds / 1e12)
    return rates[0], rates[1]


if __name__ == "__main__":
    main()
