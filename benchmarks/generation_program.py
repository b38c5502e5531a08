"""predict.py from process start to process end; part of generation.py."""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from made_up import with_bytecode, write_samples
from random_answering import NEW_TOKENS, draw_lengths

ROOT = Path(__file__).resolve().parent.parent


def start_bf16(options: argparse.Namespace) -> dict[str, Any]:
    return start_twice(options, "none")


def start_nf4(options: argparse.Namespace) -> dict[str, Any]:
    return start_twice(options, "nf4")


def start_twice(options: argparse.Namespace, quantization: str) -> dict[str, Any]:
    """One answer of one token, twice: the first run leaves Python's bytecode behind, as installing by pip does."""
    first = run_predict(options, 1, quantization, 1)
    return {**run_predict(options, 1, quantization, 1), "first_wall_seconds": first.get("wall_seconds")}


def study(options: argparse.Namespace) -> dict[str, Any]:
    """predict.py over a test split of MedSynth's size, from process start to process end."""
    return run_predict(options, options.study_samples, "none", NEW_TOKENS)


def study_two_gpus(options: argparse.Namespace) -> dict[str, Any]:
    """The same on two GPUs."""
    return run_predict(options, options.study_samples, "none", NEW_TOKENS, gpus=2)


def run_predict(
    options: argparse.Namespace, samples: int, quantization: str, new_tokens: int, gpus: int = 1
) -> dict[str, Any]:
    from slingshot.config.recipe import FewShot, Generation
    from slingshot.config.specs import PredictSpec, PromptText
    from slingshot.core.files import read_json

    folder = options.work / f"study-{quantization}-{samples}"
    folder.mkdir(parents=True, exist_ok=True)
    write_samples(folder / "test.parquet", options.tokenizer, draw_lengths(samples, options.tiny))
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
    command += ["--gpus", str(gpus)]
    start = time.perf_counter()
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=with_bytecode(options.work))
    wall = time.perf_counter() - start
    if done.returncode:
        return {"failed": done.stderr[-3000:]}
    record = read_json(folder / "record.json")
    kept = ("seconds", "prompt_tokens", "new_tokens", "token_budget", "peak_allocated", "notes", "samples")
    return {"wall_seconds": wall, **{name: record[name] for name in kept}, "log": done.stderr[-600:]}
