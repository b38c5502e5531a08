"""How fast, how small and how soon: prediction with an 8B against transformers' generate, on one GPU.

    python benchmarks/generation.py --out results.json            # all parts, each in a process of its own
    python benchmarks/generation.py --out r.json --parts ours start --prompts 256

Weights are random, of Llama-3.1-8B's shape, saved once under --work; prompts are random ids (or words) with lengths
like MedSynth's, 1,169 tokens in the mean; answers have 16 new tokens. Results are written as they come. `--tiny` runs
all of it on a processor in a minute, to try the program itself.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from generation_agreement import measure_agreement, measure_check
from generation_program import start_bf16, start_nf4, study, study_two_gpus
from made_up import write_model
from random_answering import (
    REFERENCE_LIMIT,
    SHAPE_3B,
    SHAPE_8B,
    SHAPE_TINY,
    load,
    measure_8b,
    measure_ours,
    measure_peers,
    random_prompts,
    show_results,
)

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "scripts"))

# ---------------------------------------------------------------- parts, each run in its own process


def checkpoint(options: argparse.Namespace) -> dict[str, Any]:
    """Save random weights, a tokenizer and a card."""
    import torch
    from transformers import AutoModelForCausalLM, LlamaConfig

    start = time.perf_counter()
    config = LlamaConfig(**(SHAPE_TINY if options.tiny else SHAPE_8B))
    folder = options.work / "model"
    with torch.device(options.device):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    parameters = write_model(model, options.tokenizer, folder, options.work / "card.json")
    return {"parameters": parameters, "seconds": time.perf_counter() - start}


def ceiling(options: argparse.Namespace) -> dict[str, Any]:
    """The card's own bf16 matrix rate, short and after two seconds."""
    import torch

    if options.device != "cuda":
        return {}
    one, other = (torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    one @ other
    rates = []
    for products in (10, 1200):
        torch.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(products):
            one @ other
        torch.cuda.synchronize()
        rates.append(2 * 8192**3 * products / (time.perf_counter() - start) / 1e12)
    return {"tflops_short": rates[0], "tflops_sustained": rates[1], "card": torch.cuda.get_device_name()}


def peers(options: argparse.Namespace) -> dict[str, Any]:
    model = load(options, "none")
    return dict(measure_peers(model, options, 48, 96))


def ours(options: argparse.Namespace) -> dict[str, Any]:
    model = load(options, "none")
    return {"bf16": measure_8b(model, random_prompts(options.prompts, options.tiny))}


def bf16(options: argparse.Namespace) -> dict[str, Any]:
    """Ours and generate on one load of the weights."""
    model = load(options, "none")
    result = {"ours": measure_8b(model, random_prompts(options.prompts, options.tiny))}
    show_results(options, "bf16", result)
    return result | dict(measure_peers(model, options, 48, 96))


def long_answers(options: argparse.Namespace) -> dict[str, Any]:
    """Long answers: all of them 1,024 tokens, and ends between 1 and 1,024 so that places are passed on."""
    model = load(options, "none")
    prompts = random_prompts(options.prompts, options.tiny)
    steps = 64 if options.tiny else 1024
    result = {"all_long": measure_ours(model, prompts, max_new_tokens=steps, end_ids=())}
    show_results(options, "long", result)
    some = tuple(range(3, SHAPE_TINY["vocab_size"], 512))  # one token in 512 ends a random model's answer
    return {**result, "ending_early": measure_ours(model, prompts, max_new_tokens=steps, end_ids=some)}


def fp8(options: argparse.Namespace) -> dict[str, Any]:
    """bf16, then fp8, on one load; how far their logits are apart; and fp8 loaded within 12 GB."""
    import torch

    from slingshot.nn.fp8 import quantize_linears

    model = load(options, "none")
    prompts = random_prompts(options.prompts, options.tiny)
    result = {"bf16": measure_8b(model, prompts)}
    few = [torch.tensor([prompt], device=model.device) for prompt in prompts[:8]]
    with torch.inference_mode():
        plain = torch.stack([model(ids, use_cache=False).logits[0, -1].float() for ids in few])
    quantize_linears(model, torch.device(options.device))
    with torch.inference_mode():
        quantized = torch.stack([model(ids, use_cache=False).logits[0, -1].float() for ids in few])
    result["logits_apart"] = {"largest_share": float(((plain - quantized).norm(dim=-1) / plain.norm(dim=-1)).max())}
    show_results(options, "fp8", result)
    return result | {"fp8": measure_8b(model, prompts)}


def fp8_12gb(options: argparse.Namespace) -> dict[str, Any]:
    return _capped(options, "fp8", 12, 48)


def constrained(options: argparse.Namespace) -> dict[str, Any]:
    """Free decoding, constrained to 2,000 codes and to the whole code set, and five candidates: seconds per phase."""
    from transformers import AutoTokenizer

    from slingshot.data import icd10
    from slingshot.generation.answer_trie import build_trie

    model = load(options, "none")
    tokenizer = AutoTokenizer.from_pretrained(options.tokenizer)
    every = list(icd10.all_labels("code"))
    prompts = random_prompts(min(options.prompts, 256), options.tiny)
    result: dict[str, Any] = {}
    for name, labels in (("study", random.Random(3).sample(every, 2000)), ("code set", every)):
        answers = [[*ids, 2] for ids in tokenizer(labels, add_special_tokens=False)["input_ids"]]
        start = time.perf_counter()
        trie = build_trie(labels, answers, [2])
        built = time.perf_counter() - start
        steps = trie.depth
        free = measure_ours(model, prompts, max_new_tokens=steps)
        bound = measure_ours(model, prompts, max_new_tokens=steps, free=False, constrained=True, trie=trie)
        ranked = measure_ours(model, prompts, free=False, candidates=5, trie=trie)
        result[name] = {
            "trie_seconds": built,
            "steps": steps,
            "free": free,
            "constrained": bound,
            "candidates": ranked,
            "constrained_over_free": free["samples_per_second"] / bound["samples_per_second"],
        }
    return result


def nf4(options: argparse.Namespace) -> dict[str, Any]:
    model = load(options, "nf4")
    result = {"ours": measure_8b(model, random_prompts(min(options.prompts, 192), options.tiny))}
    show_results(options, "nf4", result)
    if not options.no_peers:
        result |= dict(measure_peers(model, options, 48, 96))
    return result


def nf4_8gb(options: argparse.Namespace) -> dict[str, Any]:
    return _capped(options, "nf4", 8, 24)


def nf4_24gb(options: argparse.Namespace) -> dict[str, Any]:
    return _capped(options, "nf4", 24, 96)


def bf16_24gb(options: argparse.Namespace) -> dict[str, Any]:
    return _capped(options, "none", 24, 96)


def _capped(options: argparse.Namespace, quantization: str, gigabytes: float, count: int) -> dict[str, Any]:
    """Loading and generating within a cap, with no key set."""
    import torch

    from slingshot.models.device_memory import limit_memory

    limit_memory(torch.device(options.device), gigabytes)
    model = load(options, quantization)
    loaded = torch.cuda.max_memory_allocated() / 1e9 if options.device == "cuda" else 0.0
    result = measure_ours(model, random_prompts(min(count, options.prompts), options.tiny))
    return {**result, "peak_while_loading_gb": loaded}


def adapter(options: argparse.Namespace) -> dict[str, Any]:
    """A 3B with a LoRA adapter of rank 64 on every linear layer: applied, merged, and generate on the merged one."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, LlamaConfig

    shape = SHAPE_TINY if options.tiny else SHAPE_3B
    with torch.device(options.device):
        model = AutoModelForCausalLM.from_config(LlamaConfig(**shape), dtype=torch.bfloat16).eval()
    names = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    adapted = get_peft_model(model, LoraConfig(r=64, lora_alpha=128, target_modules=names)).eval()
    for name, weight in adapted.named_parameters():
        if "lora_B" in name:
            weight.data.normal_(0, 0.002)
    prompts = random_prompts(min(options.prompts, 256), options.tiny)
    result = {"applied": measure_ours(adapted.get_base_model(), prompts)}
    merged = adapted.merge_and_unload()
    result["merged"] = measure_ours(merged, prompts)
    show_results(options, "adapter", result)
    return result | dict(measure_peers(merged, options, 96, 192, settings=(False,)))


PARTS: dict[str, tuple[Any, int]] = {  # part to the seconds that it may take
    "checkpoint": (checkpoint, 120),
    "ceiling": (ceiling, 40),
    "bf16": (bf16, 150),
    "long": (long_answers, 400),
    "start_bf16": (start_bf16, 80),
    "study": (study, 150),
    "study_two_gpus": (study_two_gpus, 150),
    "nf4": (nf4, 200),
    "start_nf4": (start_nf4, 80),
    "constrained": (constrained, 120),
    "nf4_8gb": (nf4_8gb, 70),
    "nf4_24gb": (nf4_24gb, 60),
    "bf16_24gb": (bf16_24gb, 60),
    "agreement": (measure_agreement, 60),
    "check": (measure_check, 60),
    "adapter": (adapter, 80),
    "fp8": (fp8, 150),
    "fp8_12gb": (fp8_12gb, 120),
    "ours": (ours, 110),
    "peers": (peers, 120),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="results, as JSON")
    parser.add_argument("--work", type=Path, default=Path("/dev/shm/slingshot"), help="where weights are kept")
    parser.add_argument("--tokenizer", type=Path, required=True, help="folder of any tokenizer with a chat template")
    usual = [part for part in PARTS if part not in ("ours", "peers", "study_two_gpus")]
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=usual)
    parser.add_argument("--prompts", type=int, default=1024)
    parser.add_argument("--study-samples", type=int, default=1537)
    parser.add_argument("--no-peers", action="store_true", help="leave out generate with NF4")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    if options.inside:
        function, _ = PARTS[options.parts[0]]
        options.out.write_text(json.dumps(function(options)))
        return
    results: dict[str, Any] = {}
    for part in options.parts:
        results[part] = run_apart(part, options)
        if part == "ceiling" and "tflops_sustained" in results[part]:
            results[part]["samples_per_second_at_most"] = REFERENCE_LIMIT * results[part]["tflops_sustained"] / 687
        print(f"{part}: {json.dumps(results[part])[:1800]}", flush=True)
        options.out.write_text(json.dumps(results, indent=1))


def run_apart(part: str, options: argparse.Namespace) -> dict[str, Any]:
    """Run one part in a process of its own, so that neither its memory nor its failure reaches the next."""
    answer = options.work / f"{part}.json"
    answer.unlink(missing_ok=True)
    flags = [flag for flag, on in (("--tiny", options.tiny), ("--no-peers", options.no_peers)) if on]
    command = [sys.executable, __file__, "--inside", "--out", str(answer), "--parts", part, *flags]
    command += ["--work", str(options.work), "--tokenizer", str(options.tokenizer), "--device", options.device]
    command += ["--prompts", str(options.prompts), "--study-samples", str(options.study_samples)]
    start = time.perf_counter()
    try:
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=PARTS[part][1])
    except subprocess.TimeoutExpired as error:
        output = error.stdout.decode() if isinstance(error.stdout, bytes) else error.stdout or ""
        return {"timed_out": PARTS[part][1], "output": output[-2000:]}
    if done.returncode:
        return {"failed": done.stderr[-2500:], "output": done.stdout[-1500:]}
    return {**json.loads(answer.read_text()), "process_seconds": time.perf_counter() - start}


if __name__ == "__main__":
    main()
