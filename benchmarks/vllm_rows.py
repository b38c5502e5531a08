"""What vLLM needs for the work of generation.py: the same weights, prompts and dialogues, on the same machine.

    python benchmarks/generation.py --out ours.json --tokenizer DIR --parts checkpoint ceiling bf16 fp8 long study
    PYTHON_WITH_VLLM benchmarks/vllm_rows.py --out vllm.json --rows bf16 fp8 study

Each row is a process of its own. Rates are of a warm engine without prefix caching, of short answers and, in bf16, of
long ones; `study` is a process from its start to its end over the dialogues that generation.py left, with vLLM's own
defaults, and answers by the chat template.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from random_answering import NEW_TOKENS, random_prompts

ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_USE_FLASHINFER_SAMPLER": "0",
}
BATCHED_TOKENS = 16_384  # of a step; the fastest of those tried
LONG_PROMPTS, LONG_TOKENS = 256, 1024
ROWS = ("bf16", "fp8", "study")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="results, as JSON")
    parser.add_argument("--work", type=Path, default=Path("/dev/shm/slingshot"), help="generation.py's --work")
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=ROWS)
    parser.add_argument("--prompts", type=int, default=512)
    parser.add_argument("--seconds", type=int, default=280, help="limit of each row's process")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inside:
        print("ROW " + json.dumps(measure(options.rows[0], options)), flush=True)
        return
    results: dict[str, Any] = {}
    for row in options.rows:
        results[row] = run_apart(row, options)
        print(f"{row}: {json.dumps(results[row])}", flush=True)
        options.out.write_text(json.dumps(results, indent=1))


def run_apart(row: str, options: argparse.Namespace) -> dict[str, Any]:
    command = [sys.executable, __file__, "--inside", "--out", str(options.out), "--work", str(options.work)]
    command += ["--rows", row, "--prompts", str(options.prompts)]
    environment, start = {**os.environ, **ENVIRONMENT}, time.perf_counter()
    try:
        done = subprocess.run(
            command, check=False, capture_output=True, text=True, timeout=options.seconds, env=environment
        )
    except subprocess.TimeoutExpired:
        return {"timed_out": options.seconds}
    wall = time.perf_counter() - start
    found = [line[4:] for line in done.stdout.splitlines() if line.startswith("ROW ")]
    return (
        {**json.loads(found[0]), "process_seconds": wall} if found else {"failed": (done.stdout + done.stderr)[-2500:]}
    )


def measure(row: str, options: argparse.Namespace) -> dict[str, Any]:
    from vllm import LLM, SamplingParams

    start = time.perf_counter()
    if row == "study":
        return measure_study(options, LLM, SamplingParams)
    llm = LLM(
        model=str(options.work / "model"),
        dtype="bfloat16",
        max_model_len=3328,
        enable_prefix_caching=False,
        skip_tokenizer_init=True,
        gpu_memory_utilization=0.9,
        max_num_batched_tokens=BATCHED_TOKENS,
        max_num_seqs=256,
        **({"quantization": "fp8"} if row == "fp8" else {}),
    )
    ready = time.perf_counter() - start
    prompts = [{"prompt_token_ids": ids} for ids in random_prompts(options.prompts, False)]

    def rate_of(some: list[Any], tokens: int) -> dict[str, Any]:
        sampling = SamplingParams(temperature=0, max_tokens=tokens, ignore_eos=True, detokenize=False)
        start = time.perf_counter()
        answers = llm.generate(some, sampling, use_tqdm=False)
        seconds = time.perf_counter() - start
        new = sum(len(answer.outputs[0].token_ids) for answer in answers)
        return {"samples_per_second": len(answers) / seconds, "seconds": seconds, "new_tokens": new}

    rate_of(prompts[:32], NEW_TOKENS)
    short = {"ready": ready, **rate_of(prompts, NEW_TOKENS)}
    return short if row == "fp8" else {**short, "long": rate_of(prompts[:LONG_PROMPTS], LONG_TOKENS)}


def measure_study(options: argparse.Namespace, engine: Any, sampling: Any) -> dict[str, Any]:
    import pyarrow.parquet

    (folder,) = [place for place in options.work.glob("study-none-*") if not place.name.endswith("-1")]
    texts = pyarrow.parquet.read_table(folder / "test.parquet")["text"].to_pylist()
    system = "You are a medical coder. Answer with one ICD-10-CM code and nothing else, for example A047."
    asked = "Read the dialogue between a doctor and a patient.\n\n{}\n\nThe code, as <code>:"
    chats = [[{"role": "system", "content": system}, {"role": "user", "content": asked.format(text)}] for text in texts]
    llm = engine(model=str(options.work / "model"), dtype="bfloat16", max_model_len=4096)
    answers = llm.chat(chats, sampling(temperature=0, max_tokens=NEW_TOKENS, ignore_eos=True), use_tqdm=False)
    return {"samples": len(answers), "prompt_tokens": sum(len(answer.prompt_token_ids) for answer in answers)}


if __name__ == "__main__":
    main()
