"""How fast, how small and how soon: prediction with an 8B against transformers' generate, on one GPU.

    python benchmarks/generation.py --out results.json            # all parts, each in a process of its own
    python benchmarks/generation.py --out r.json --parts ours start --prompts 256

Weights are random, of Llama-3.1-8B's shape, saved once under --work; prompts are random ids (or words) with lengths
like MedSynth's, 1,169 tokens in the mean; answers have 16 new tokens. Results are written as they come. `--tiny` runs
all of it on a processor in a minute, to try the program itself.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from architectures import shape_of
from made_up import with_bytecode, write_model, write_samples

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "scripts"))

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


def lengths(count: int, tiny: bool) -> list[int]:
    draw = random.Random(1)
    scale = 0.03 if tiny else 1
    return [int(scale * min(max(draw.gauss(1169, 330), 300), 2000)) + 8 for _ in range(count)]


def random_prompts(count: int, tiny: bool) -> list[list[int]]:
    draw = random.Random(2)
    return [[draw.randrange(100, 40_000) for _ in range(length)] for length in lengths(count, tiny)]


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


def load(options: argparse.Namespace, quantization: str) -> Any:
    from slingshot.artifacts.model_card import read_model_card
    from slingshot.generation.generate import load_for_generation

    return load_for_generation(read_model_card(options.work / "card.json"), quantization, "bfloat16", options.device)


def timed_ours(model: Any, prompts: list[list[int]], **more: Any) -> dict[str, Any]:
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


def timed_8b(model: Any, prompts: list[list[int]]) -> dict[str, Any]:
    result = timed_ours(model, prompts)
    return {**result, "share_of_reference_limit": result["samples_per_second"] / REFERENCE_LIMIT}


def timed_peer(model: Any, prompts: list[list[int]], sort: bool, cudnn: bool) -> dict[str, Any]:
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


def peers(options: argparse.Namespace) -> dict[str, Any]:
    model = load(options, "none")
    return dict(_peers(model, options, 48, 96))


def _peers(
    model: Any, options: argparse.Namespace, arrival: int, in_order: int, settings: tuple[bool, ...] = (False, True)
) -> list[tuple[str, dict[str, Any]]]:
    from slingshot.models.device_memory import release_memory

    results = []
    for sort, count in ((False, arrival), (True, in_order)):
        for cudnn in settings:
            prompts = random_prompts(min(count, options.prompts), options.tiny)
            name = f"{'sorted' if sort else 'arrival'}, cudnn {'on' if cudnn else 'off'}"
            results.append((name, timed_peer(model, prompts, sort, cudnn)))
            _keep(options, name, results[-1][1])
            release_memory(options.device)
    return results


def ours(options: argparse.Namespace) -> dict[str, Any]:
    model = load(options, "none")
    return {"bf16": timed_8b(model, random_prompts(options.prompts, options.tiny))}


def bf16(options: argparse.Namespace) -> dict[str, Any]:
    """Ours and generate on one load of the weights."""
    model = load(options, "none")
    result = {"ours": timed_8b(model, random_prompts(options.prompts, options.tiny))}
    _keep(options, "bf16", result)
    return result | dict(_peers(model, options, 48, 96))


def long_answers(options: argparse.Namespace) -> dict[str, Any]:
    """Long answers: all of them 1,024 tokens, and ends between 1 and 1,024 so that places are passed on."""
    model = load(options, "none")
    prompts = random_prompts(options.prompts, options.tiny)
    steps = 64 if options.tiny else 1024
    result = {"all_long": timed_ours(model, prompts, max_new_tokens=steps, end_ids=())}
    _keep(options, "long", result)
    some = tuple(range(3, SHAPE_TINY["vocab_size"], 512))  # one token in 512 ends a random model's answer
    return {**result, "ending_early": timed_ours(model, prompts, max_new_tokens=steps, end_ids=some)}


def _keep(options: argparse.Namespace, part: str, result: dict[str, Any]) -> None:
    """Show a part's first results, so that they outlive its time-out."""
    print(f"{part} so far: {json.dumps(result)}", flush=True)


def fp8(options: argparse.Namespace) -> dict[str, Any]:
    """bf16, then fp8, on one load; how far their logits are apart; and fp8 loaded within 12 GB."""
    import torch

    from slingshot.nn.fp8 import quantize_linears

    model = load(options, "none")
    prompts = random_prompts(options.prompts, options.tiny)
    result = {"bf16": timed_8b(model, prompts)}
    few = [torch.tensor([prompt], device=model.device) for prompt in prompts[:8]]
    with torch.inference_mode():
        plain = torch.stack([model(ids, use_cache=False).logits[0, -1].float() for ids in few])
    quantize_linears(model, torch.device(options.device))
    with torch.inference_mode():
        quantized = torch.stack([model(ids, use_cache=False).logits[0, -1].float() for ids in few])
    result["logits_apart"] = {"largest_share": float(((plain - quantized).norm(dim=-1) / plain.norm(dim=-1)).max())}
    _keep(options, "fp8", result)
    return result | {"fp8": timed_8b(model, prompts)}


def fp8_12gb(options: argparse.Namespace) -> dict[str, Any]:
    return _capped(options, "fp8", 12, 48)


def unfused(options: argparse.Namespace) -> dict[str, Any]:
    """The same without the Triton kernel."""
    from slingshot.nn import fast_modules

    fast_modules.triton = None
    return {"bf16": timed_ours(load(options, "none"), random_prompts(options.prompts, options.tiny))}


def agreement(options: argparse.Namespace) -> dict[str, Any]:
    """Answers of a four-layer network of the 8B's width, ours against generate one prompt at a time, in float32 and
    bf16; in bf16 also at another budget, and constrained answers and candidates against the padded way's.
    """
    import torch
    from transformers import AutoModelForCausalLM, GenerationConfig, LlamaConfig

    from slingshot.generation.answer_trie import build_trie
    from slingshot.generation.generate import generate
    from slingshot.generation.padded import plain_generate
    from slingshot.generation.types import Answer, Decoding, GenerationStats, Memory, until_end

    torch.manual_seed(0)
    shape = SHAPE_TINY if options.tiny else {**SHAPE_8B, "num_hidden_layers": 4}
    with torch.device(options.device):
        model = AutoModelForCausalLM.from_config(LlamaConfig(**shape), dtype=torch.float32).eval()
    prompts = random_prompts(12, options.tiny)
    settings = GenerationConfig(max_new_tokens=NEW_TOKENS, do_sample=False, eos_token_id=2, pad_token_id=0)

    @torch.inference_mode()
    def alone() -> list[list[int]]:
        answers = []
        for prompt in prompts:
            ids = torch.tensor([prompt], device=model.device)
            out = model.generate(ids, attention_mask=torch.ones_like(ids), generation_config=settings)
            answers.append(until_end(out[0, len(prompt) :].tolist(), (2,))[0])
        return answers

    def packed(decoding: Decoding, budget: int | None = None, way: Any = generate) -> list[Answer]:
        found: dict[int, Answer] = {}
        report = GenerationStats()
        for group in way(model, prompts, decoding, Memory(budget), report):
            found.update(group)
        notes.extend(report.notes)
        return [found[index] for index in range(len(prompts))]

    def ids_of(answers: list[Answer]) -> list[list[int]]:
        return [answer.ids for answer in answers]

    notes: list[str] = []
    free = Decoding(NEW_TOKENS, (2,))
    single = alone()
    result: dict[str, Any] = {
        "prompts": len(prompts),
        "fp32_against_generate": _different(ids_of(packed(free)), single),
    }
    model.to(torch.bfloat16)
    result["bf16_against_fp32"] = _different(ids_of(packed(free)), single)
    result["bf16_generate_against_fp32"] = _different(alone(), single)
    result["bf16_between_budgets"] = _different(ids_of(packed(free)), ids_of(packed(free, 900)))
    labels = {f"L{number}": [*ids, 2] for number, ids in enumerate(itertools.product(range(50, 57), repeat=3))}
    trie = build_trie(list(labels), list(labels.values()), [2])
    bound = Decoding(NEW_TOKENS, (2,), free=False, constrained=True, candidates=5, trie=trie)
    ours, theirs = packed(bound), packed(bound, way=plain_generate)
    pairs = list(zip(ours, theirs, strict=True))
    result["bf16_constrained"] = sum(one.constrained != other.constrained for one, other in pairs)
    result["bf16_best_candidate"] = sum(one.candidates[0][0] != other.candidates[0][0] for one, other in pairs)
    result["bf16_log_probability_difference"] = max(
        abs(dict(other.candidates)[label] - value)
        for one, other in pairs
        for label, value in one.candidates
        if label in dict(other.candidates)
    )
    return {**result, "notes": notes}


def _different(some: list[list[int]], others: list[list[int]]) -> int:
    return sum(one != other for one, other in zip(some, others, strict=True))


def constrained(options: argparse.Namespace) -> dict[str, Any]:
    """Free decoding, constrained to 2,000 codes and to the whole code set, and five candidates: seconds a phase."""
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
        free = timed_ours(model, prompts, max_new_tokens=steps)
        bound = timed_ours(model, prompts, max_new_tokens=steps, free=False, constrained=True, trie=trie)
        ranked = timed_ours(model, prompts, free=False, candidates=5, trie=trie)
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
    result = {"ours": timed_8b(model, random_prompts(min(options.prompts, 192), options.tiny))}
    _keep(options, "nf4", result)
    if not options.no_peers:
        result |= dict(_peers(model, options, 48, 96))
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
    result = timed_ours(model, random_prompts(min(count, options.prompts), options.tiny))
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
    result = {"applied": timed_ours(adapted.get_base_model(), prompts)}
    merged = adapted.merge_and_unload()
    result["merged"] = timed_ours(merged, prompts)
    _keep(options, "adapter", result)
    return result | dict(_peers(merged, options, 96, 192, settings=(False,)))


def start_bf16(options: argparse.Namespace) -> dict[str, Any]:
    return _start(options, "none")


def start_nf4(options: argparse.Namespace) -> dict[str, Any]:
    return _start(options, "nf4")


def _start(options: argparse.Namespace, quantization: str) -> dict[str, Any]:
    """One answer of one token, twice: the first run leaves Python's bytecode behind, as installing by pip does."""
    first = _predict(options, 1, quantization, 1)
    return {**_predict(options, 1, quantization, 1), "first_wall_seconds": first.get("wall_seconds")}


def study(options: argparse.Namespace) -> dict[str, Any]:
    """predict.py over a test split of MedSynth's size, from process start to process end."""
    return _predict(options, options.study_samples, "none", NEW_TOKENS)


def _predict(options: argparse.Namespace, samples: int, quantization: str, new_tokens: int) -> dict[str, Any]:
    from slingshot.config.recipe import FewShot, Generation
    from slingshot.config.specs import PredictSpec, PromptText
    from slingshot.core.files import read_json

    folder = options.work / f"study-{quantization}-{samples}"
    folder.mkdir(parents=True, exist_ok=True)
    write_samples(folder / "test.parquet", options.tokenizer, lengths(samples, options.tiny))
    prompt = PromptText(
        system="You are a medical coder. Answer with one ICD-10-CM code and nothing else, for example A047.",
        user="Read the dialogue between a doctor and a patient.\n\n{{ text }}\n\nThe code, as {{ answer_form }}:",
        answer="code",
        max_tokens=2048,
    )
    spec = PredictSpec(
        quantization=quantization,
        unquantized_without_gpu=options.tiny,
        dtype="bfloat16",
        prompt=prompt,
        generation=Generation(max_new_tokens=new_tokens),
        few_shot=FewShot(),
        labels="icd10cm",
        level="code",
    )
    command = [sys.executable, str(ROOT / "scripts/predict.py"), "--spec", spec.model_dump_json(), "--arm", "llm/x"]
    command += ["--model", str(options.work / "card.json"), "--labels", str(folder / "labels.json")]
    for name in ("train", "split"):
        command += [f"--{name}", str(folder / "test.parquet")]
    command += ["--predictions", str(folder / "predictions.jsonl"), "--record", str(folder / "record.json")]
    command += ["--cache", str(folder / "cache.sqlite"), "--device", options.device, "--force"]
    start = time.perf_counter()
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=with_bytecode(options.work))
    wall = time.perf_counter() - start
    if done.returncode:
        return {"failed": done.stderr[-3000:]}
    record = read_json(folder / "record.json")
    kept = ("seconds", "prompt_tokens", "new_tokens", "token_budget", "peak_allocated", "notes", "samples")
    return {"wall_seconds": wall, **{name: record[name] for name in kept}, "log": done.stderr[-600:]}


PARTS: dict[str, tuple[Any, int]] = {  # part to the seconds that it may take
    "checkpoint": (checkpoint, 120),
    "ceiling": (ceiling, 40),
    "bf16": (bf16, 150),
    "long": (long_answers, 400),
    "start_bf16": (start_bf16, 80),
    "study": (study, 150),
    "nf4": (nf4, 200),
    "start_nf4": (start_nf4, 80),
    "constrained": (constrained, 120),
    "nf4_8gb": (nf4_8gb, 70),
    "nf4_24gb": (nf4_24gb, 60),
    "bf16_24gb": (bf16_24gb, 60),
    "agreement": (agreement, 60),
    "adapter": (adapter, 80),
    "fp8": (fp8, 150),
    "fp8_12gb": (fp8_12gb, 120),
    "unfused": (unfused, 60),
    "ours": (ours, 110),
    "peers": (peers, 120),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="results, as JSON")
    parser.add_argument("--work", type=Path, default=Path("/dev/shm/slingshot"), help="where weights are kept")
    parser.add_argument("--tokenizer", type=Path, required=True, help="folder of any tokenizer with a chat template")
    parser.add_argument(
        "--parts", nargs="+", choices=PARTS, default=[part for part in PARTS if part not in ("ours", "peers")]
    )
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
        said = error.stdout.decode() if isinstance(error.stdout, bytes) else error.stdout or ""
        return {"timed_out": PARTS[part][1], "said": said[-2000:]}
    if done.returncode:
        return {"failed": done.stderr[-2500:], "said": done.stdout[-1500:]}
    return {**json.loads(answer.read_text()), "process_seconds": time.perf_counter() - start}


if __name__ == "__main__":
    main()
