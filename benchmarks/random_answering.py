"""What the programs that measure answering share: random networks and prompts, our rate and that of generate."""

from __future__ import annotations

import argparse
import json
import random
import time
from typing import Any

from architectures import shape_of

NEW_TOKENS = 16
REFERENCE_LIMIT = 38.8  # samples/s: required FLOPs over 687 TFLOP/s, an H100's sustained bf16 rate
SHAPE_8B = shape_of("llama8b", bos_token_id=128_000, eos_token_id=128_009)
SHAPE_3B = shape_of("llama3b", bos_token_id=128_000, eos_token_id=128_009)
SHAPE_TINY = {
    **SHAPE_8B,
    "vocab_size": 49_152,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


def draw_lengths(count: int, tiny: bool) -> list[int]:
    draw = random.Random(1)
    scale = 0.03 if tiny else 1
    return [int(scale * min(max(draw.gauss(1169, 330), 300), 2000)) + 8 for _ in range(count)]


def random_prompts(count: int, tiny: bool) -> list[list[int]]:
    draw = random.Random(2)
    return [[draw.randrange(100, 40_000) for _ in range(length)] for length in draw_lengths(count, tiny)]


def load(options: argparse.Namespace, quantization: str) -> Any:
    from slingshot.artifacts.model_card import read_model_card
    from slingshot.generation.generate import load_for_generation

    return load_for_generation(read_model_card(options.work / "card.json"), quantization, "bfloat16", options.device)


def measure_ours(model: Any, prompts: list[list[int]], **more: Any) -> dict[str, Any]:
    """One warm-up group, then the prompts."""
    import torch

    from slingshot.generation.generate import generate
    from slingshot.generation.types import Decoding, GenerationStats, Memory

    decoding = Decoding(**{"max_new_tokens": NEW_TOKENS, "end_ids": (2,), **more})
    for _ in generate(model, prompts[:4], decoding, Memory(), GenerationStats()):
        pass
    report = GenerationStats()
    if model.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    start = time.perf_counter()
    done = sum(len(answers) for answers in generate(model, prompts, decoding, Memory(), report))
    seconds = time.perf_counter() - start
    return {
        "samples": done,
        "samples_per_second": done / seconds,
        "seconds": {phase: round(value, 3) for phase, value in report.seconds.items()},
        "peak_gb": (report.peak_allocated or 0) / 1e9,
        "row_tokens": report.token_budget,
        "groups": report.batches,
        "notes": report.notes,
    }


def measure_8b(model: Any, prompts: list[list[int]]) -> dict[str, Any]:
    result = measure_ours(model, prompts)
    return {**result, "share_of_reference_limit": result["samples_per_second"] / REFERENCE_LIMIT}


def measure_peer(model: Any, prompts: list[list[int]], sort: bool, cudnn: bool) -> dict[str, Any]:
    """transformers' generate with left padding: 48 per batch as they arrive, or sorted, 65,536 tokens per batch."""
    import torch
    from transformers import GenerationConfig

    from slingshot.models.greedy import left_padded

    order = sorted(prompts, key=len) if sort else prompts
    batches: list[list[list[int]]] = [[]]
    for prompt in order:
        fits = (len(batches[-1]) + 1) * len(prompt) <= 65_536 if sort else len(batches[-1]) < 48
        if not fits:
            batches.append([])
        batches[-1].append(prompt)
    settings = GenerationConfig(max_new_tokens=NEW_TOKENS, do_sample=False, pad_token_id=0)
    on_gpu = model.device.type == "cuda"
    torch.backends.cuda.enable_cudnn_sdp(cudnn)

    def run(batch: list[list[int]]) -> None:
        ids, mask = left_padded(batch, 0, model.device)
        with torch.inference_mode():
            model.generate(input_ids=ids, attention_mask=mask, generation_config=settings)
        if on_gpu:
            torch.cuda.synchronize()

    run([prompt[:64] for prompt in prompts[:2]])
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    start = time.perf_counter()
    for batch in batches:
        run(batch)
    seconds = time.perf_counter() - start
    peak = torch.cuda.max_memory_allocated() / 1e9 if on_gpu else 0.0
    return {"samples": len(prompts), "samples_per_second": len(prompts) / seconds, "peak_gb": peak}


def measure_peers(
    model: Any, options: argparse.Namespace, arrival: int, in_order: int, settings: tuple[bool, ...] = (False, True)
) -> list[tuple[str, dict[str, Any]]]:
    from slingshot.models.device_memory import release_memory

    results = []
    for sort, count in ((False, arrival), (True, in_order)):
        for cudnn in settings:
            prompts = random_prompts(min(count, options.prompts), options.tiny)
            name = f"{'sorted' if sort else 'arrival'}, cudnn {'on' if cudnn else 'off'}"
            results.append((name, measure_peer(model, prompts, sort, cudnn)))
            show_results(options, name, results[-1][1])
            release_memory(options.device)
    return results


def show_results(options: argparse.Namespace, part: str, result: dict[str, Any]) -> None:
    """Show a part's first results, so that they outlive its time-out."""
    print(f"{part} so far: {json.dumps(result)}", flush=True)
