"""Whether ours and transformers' generate give the same answers; part of generation.py."""

from __future__ import annotations

import argparse
import itertools
from typing import Any

from random_answering import NEW_TOKENS, SHAPE_8B, SHAPE_TINY, random_prompts

END = (2,)


def measure_agreement(options: argparse.Namespace) -> dict[str, Any]:
    """Answers of a four-layer network of the 8B's width, ours against generate one prompt at a time, in float32 and
    bf16; in bf16 also at another budget, and constrained answers and candidates against the padded way's.
    """
    import torch
    from transformers import AutoModelForCausalLM, LlamaConfig

    from slingshot.generation.types import Decoding

    torch.manual_seed(0)
    shape = SHAPE_TINY if options.tiny else {**SHAPE_8B, "num_hidden_layers": 4}
    with torch.device(options.device):
        model = AutoModelForCausalLM.from_config(LlamaConfig(**shape), dtype=torch.float32).eval()
    prompts = random_prompts(12, options.tiny)
    notes: list[str] = []

    def answer_free(budget: int | None = None) -> list[list[int]]:
        return [each.ids for each in answer(model, prompts, Decoding(NEW_TOKENS, END), notes, budget)]

    single = answer_alone(model, prompts)
    result: dict[str, Any] = {"prompts": len(prompts), "fp32_against_generate": count_different(answer_free(), single)}
    model.to(torch.bfloat16)
    result["bf16_against_fp32"] = count_different(answer_free(), single)
    result["bf16_generate_against_fp32"] = count_different(answer_alone(model, prompts), single)
    result["bf16_between_budgets"] = count_different(answer_free(), answer_free(900))
    return {**result, **compare_constrained(model, prompts, notes), "notes": notes}


def measure_check(options: argparse.Namespace) -> dict[str, Any]:
    """Seconds of the check before answering, and of taking the network apart, after one pass of the model itself."""
    import time

    import torch
    from random_answering import load

    from slingshot.generation.engine import put_together
    from slingshot.generation.packable import packable_network
    from slingshot.generation.types import Decoding, GenerationStats

    model = load(options, "none")
    prompts = random_prompts(64, options.tiny)
    with torch.inference_mode():
        model(torch.tensor([prompts[0]], device=model.device), use_cache=False).logits[0, -1].tolist()
    seconds, stats = [], GenerationStats()
    for _ in range(2):
        start = time.perf_counter()
        network = packable_network(model, prompts, Decoding(NEW_TOKENS, END), stats)
        if options.device == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
        if network is not None:
            put_together(network)
    return {"first_seconds": seconds[0], "again_seconds": seconds[1], "notes": stats.notes}


def answer_alone(model: Any, prompts: list[list[int]]) -> list[list[int]]:
    """The tokens that transformers' generate answers, one prompt at a time."""
    import torch
    from transformers import GenerationConfig

    from slingshot.generation.types import until_end

    settings = GenerationConfig(max_new_tokens=NEW_TOKENS, do_sample=False, eos_token_id=END[0], pad_token_id=0)
    answers = []
    for prompt in prompts:
        ids = torch.tensor([prompt], device=model.device)
        with torch.inference_mode():
            out = model.generate(ids, attention_mask=torch.ones_like(ids), generation_config=settings)
        answers.append(until_end(out[0, len(prompt) :].tolist(), END)[0])
    return answers


def answer(
    model: Any, prompts: list[list[int]], decoding: Any, notes: list[str], budget: int | None = None, way: Any = None
) -> list[Any]:
    """Each prompt's answer by ours, or by another `way` with the same arguments; its notes are added to `notes`."""
    from slingshot.generation.generate import generate
    from slingshot.generation.types import GenerationStats, Memory

    found: dict[int, Any] = {}
    report = GenerationStats()
    for group in (way or generate)(model, prompts, decoding, Memory(budget), report):
        found.update(group)
    notes.extend(report.notes)
    return [found[index] for index in range(len(prompts))]


def compare_constrained(model: Any, prompts: list[list[int]], notes: list[str]) -> dict[str, Any]:
    """Constrained answers and ranked candidates, packed against padded."""
    from slingshot.generation.answer_trie import build_trie
    from slingshot.generation.padded import generate_padded
    from slingshot.generation.types import Decoding

    labels = {f"L{number}": [*ids, *END] for number, ids in enumerate(itertools.product(range(50, 57), repeat=3))}
    trie = build_trie(list(labels), list(labels.values()), list(END))
    bound = Decoding(NEW_TOKENS, END, free=False, constrained=True, candidates=5, trie=trie)
    pairs = list(
        zip(
            answer(model, prompts, bound, notes),
            answer(model, prompts, bound, notes, way=generate_padded),
            strict=True,
        )
    )
    return {
        "bf16_constrained": sum(one.constrained != other.constrained for one, other in pairs),
        "bf16_best_candidate": sum(one.candidates[0][0] != other.candidates[0][0] for one, other in pairs),
        "bf16_log_probability_difference": max(
            abs(dict(other.candidates)[label] - value)
            for one, other in pairs
            for label, value in one.candidates
            if label in dict(other.candidates)
        ),
    }


def count_different(some: list[list[int]], others: list[list[int]]) -> int:
    return sum(one != other for one, other in zip(some, others, strict=True))
