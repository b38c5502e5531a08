"""What the programs that measure finetuning share: a random network, samples of MedSynth's lengths, a row."""

from __future__ import annotations

import argparse
import time
from types import SimpleNamespace
from typing import Any

from architectures import shape_of

COMPLETION = 16
RANK, ALPHA = 64, 128
CONFIGS: dict[str, dict[str, Any]] = {
    "3b": shape_of("llama3b", max_position_embeddings=4096),
    "1b": shape_of("llama1b", max_position_embeddings=4096),
    "135m": shape_of("smollm135m", max_position_embeddings=4096),
    "demo": shape_of("smollm135m", max_position_embeddings=4096, num_hidden_layers=6),
    "tiny": {
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": 49152,
        "max_position_embeddings": 4096,
        "tie_word_embeddings": True,
    },
}

# Of the lengths of MedSynth's dialogues; small networks get the demo's, which are short.
LENGTHS = {"3b": 1, "1b": 1, "135m": 0.14, "demo": 0.11, "tiny": 0.05}
BATCHES = {"3b": 32}  # samples per step; else 8
STEPS = {"3b": 6, "1b": 12, "135m": 60}  # timed; else 2


def draw_lengths(count: int, given: argparse.Namespace) -> list[int]:
    """Prompt lengths like MedSynth's: mean about 1,154, so that with 16 completion tokens a sample has 1,170."""
    import numpy as np

    drawn = np.random.default_rng(0).normal(1154, 260, count).clip(420, 2031) * LENGTHS[given.size]
    return [max(4, int(one)) for one in drawn]


def random_model(given: argparse.Namespace, **options: Any) -> Any:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        **{"rms_norm_eps": 1e-5, **CONFIGS[given.size]},
        rope_parameters={"rope_type": "default", "rope_theta": 500000.0},
        pad_token_id=0,
        **options,
    )
    with torch.device(given.device):
        return LlamaForCausalLM._from_config(config, dtype=torch.bfloat16)


def read_memory_peak(device: str) -> int | None:
    import torch

    return torch.cuda.max_memory_allocated() if device == "cuda" else None


def make_row(variant: str, what: str, tokens: int, seconds: float, device: str, **more: Any) -> dict[str, Any]:
    return {
        "variant": variant,
        "what": what,
        "tokens": tokens,
        "seconds": seconds,
        "tokens_per_second": tokens / seconds,
        "peak_bytes": read_memory_peak(device),
        **more,
    }


def read_clock(device: str) -> float:
    import torch

    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def draw_samples(count: int, given: argparse.Namespace) -> list[Any]:
    """Samples of random tokens, each with `COMPLETION` tokens to learn."""
    import torch

    from slingshot.training.batches import Sample

    generator = torch.Generator().manual_seed(0)
    vocabulary = CONFIGS[given.size]["vocab_size"]
    return [
        Sample(f"{index}", tuple(ids[:-COMPLETION]), tuple(ids[-COMPLETION:]), False)
        for index, size in enumerate(draw_lengths(count, given))
        for ids in [torch.randint(1, vocabulary, (size + COMPLETION,), generator=generator).tolist()]
    ]


def make_trainer(model: Any, path: Any, dropout: Any, recipe: Any, samples: list[Any], validation: int) -> Any:
    """The recipe's own trainer of 1,000 steps, its token budget yet to be found; validates on the first samples."""
    from slingshot.training.finetune import make_optimizer
    from slingshot.training.state import Trainer
    from slingshot.training.workers import Workers

    return Trainer(
        model=model,
        path=path,
        dropout=dropout,
        optimizer=make_optimizer(model, recipe, model.device),
        recipe=recipe,
        seed=0,
        samples=samples,
        validation=samples[:validation],
        workers=Workers(0, 1, model.device),
        token_budget=0,
        steps=1000,
    )


def find_budget(trainer: Any, gigabytes: float | None = None) -> int:
    """The token budget as a finetune finds it, on a card of `gigabytes`; None: all that there is."""
    from slingshot.training.token_budget import find_token_budget

    return find_token_budget(trainer, SimpleNamespace(token_budget=None, memory_gb=gigabytes, attempt=1))
