"""finetune.py from process start to process end, on a random model; part of finetuning.py."""

from __future__ import annotations

import argparse
import math
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from made_up import with_bytecode, write_model, write_samples
from random_training import ALPHA, RANK, draw_lengths, make_row, random_model

BATCH = 32
FRAME = 60  # tokens of instruction and template around a dialogue
WANTED_SAMPLES = 20_000
VALIDATION = 256
EVALUATED_EVERY = 50  # steps; the config's default


def measure_whole(given: argparse.Namespace) -> dict[str, Any]:
    """finetune.py from process start to process end, and what it would take for 20,000 samples.

    The pure loop is its tokens at the median step's rate. What grows with the samples (putting them in tokens, the
    loop, evaluations) is scaled up; the rest is a process's own and stays.
    """
    from slingshot.core.files import read_json, read_jsonl

    command, folder = prepare_command(given)
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, env=with_bytecode(given.work))
    wall = time.perf_counter() - start
    if done.returncode:
        raise SystemExit(done.stderr[-3000:])
    log, record = read_jsonl(folder / "log.jsonl"), read_json(folder / "record.json")
    rate = statistics.median(row["tokens_per_second"] for row in log)
    tokens = sum(row["tokens"] for row in log)
    seconds = record["seconds"]
    evaluation = statistics.median_low(row["evaluation_seconds"] for row in log if "evaluation_seconds" in row)
    evaluations = sum("evaluation_seconds" in row for row in log)
    times = WANTED_SAMPLES / given.samples
    loop = times * tokens / rate
    evaluations_then = math.ceil(WANTED_SAMPLES / BATCH / EVALUATED_EVERY)
    read = seconds["load"] + seconds["encode"]  # the samples beside the weights, which may take less
    once = wall - read - evaluation * evaluations - tokens / rate
    read *= times
    projected = once + read + evaluation * evaluations_then + loop
    more = (
        f"{wall:.0f} s, its loop {tokens / rate:.0f} s; 20,000 samples: {projected:.0f} s, {projected / loop:.3f} loops"
    )
    return make_row(
        "whole",
        f"finetune.py as a whole, {given.samples} samples, {given.gpus} GPU",
        tokens,
        wall,
        given.device,
        median_tokens_per_second=rate,
        losses=[row["loss"] for row in log[:5]],
        gradient_norms=[row["gradient_norm"] for row in log[:5]],
        phases=seconds,
        evaluation=evaluation,
        evaluations=evaluations,
        once=once,
        projected_ratio=projected / loop,
        token_budget=record["token_budget"],
        notes=record["notes"],
        more=more,
    ) | {"peak_bytes": record["peak_allocated"]}


def prepare_command(given: argparse.Namespace) -> tuple[list[str], Path]:
    """A random model and samples of MedSynth's lengths in a folder under --work, and the command that finetunes."""
    from slingshot.config.recipe import Finetune, Lora
    from slingshot.config.specs import FinetuneSpec, PromptText
    from slingshot.models.device_memory import release_memory

    folder = given.work / f"whole-{given.size}"
    folder.mkdir(parents=True, exist_ok=True)
    model = random_model(given, bos_token_id=1, eos_token_id=2)
    write_model(model, given.tokenizer, folder / "model", folder / "card.json")
    del model
    release_memory(given.device)
    for seed, (name, count) in enumerate({"train": given.samples, "validation": VALIDATION}.items()):
        words = [max(2, size - FRAME) for size in draw_lengths(count, given)]
        write_samples(folder / f"{name}.parquet", given.tokenizer, words, described_in=8, seed=seed)
    spec = FinetuneSpec(
        quantization="none",
        unquantized_without_gpu=False,
        dtype="bfloat16",
        prompt=PromptText(
            system="You are a medical coder.",
            user="Read the dialogue.\n\n{{ text }}\n\nThe code, as {{ answer_form }}:",
            answer="description code",
            max_tokens=2048,
        ),
        finetune=Finetune(
            epochs=1,
            batch_size=BATCH,
            evaluate_every=EVALUATED_EVERY,
            patience=None,
            lora=Lora(r=RANK, alpha=ALPHA, dropout=0.1),
        ),
        max_new_tokens=None,
        seed=0,
    )
    command = [sys.executable, str(Path(__file__).parents[1] / "scripts/finetune.py"), "--arm", "slm/random"]
    command += ["--spec", spec.model_dump_json(), "--device", given.device, "--gpus", str(given.gpus)]
    files = {"model": "card.json", "log": "log.jsonl", "record": "record.json", "training": "training.json"}
    files |= {
        "labels": "labels.json",
        "train": "train.parquet",
        "validation": "validation.parquet",
        "adapter": "adapter",
    }
    for option, name in files.items():
        command += [f"--{option}", str(folder / name)]
    return command, folder
