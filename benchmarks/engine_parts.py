"""What each part of the engine buys: answering, training and starting with it and without it, on one card in one run.

    python benchmarks/engine_parts.py --out parts.json                       # about 8 minutes on an H100
    python benchmarks/engine_parts.py --out parts.json --tiny --device cpu   # the program itself, in a minute or two

Weights are random, of the true architectures: an 8B that answers (16 new tokens), a 3B that trains (LoRA of rank 64
on every linear layer). Prompts and samples have lengths like MedSynth's. Each group of variants runs in a process of
its own; a group's first variant is run again at its end, and the difference between the two is the noise.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "benchmarks")]

Change = Callable[[], Any]  # a context manager within which one part is missing


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="results, as JSON")
    parser.add_argument("--groups", nargs="+", choices=GROUPS, default=list(GROUPS))
    parser.add_argument("--prompts", type=int, default=512)
    parser.add_argument("--steps", type=int, default=6, help="timed training steps of 32 samples")
    parser.add_argument("--starts", type=int, default=3, help="timed starts of each variant, after one that warms up")
    parser.add_argument("--work", type=Path, default=Path("/dev/shm/slingshot-parts"), help="where bytecode is kept")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    if options.inside:
        for variant, row in GROUPS[options.inside](options):
            print(f"ROW {json.dumps({'group': options.inside, 'variant': variant, **row})}", flush=True)
        return
    rows: list[dict[str, Any]] = []
    for group in options.groups:
        for row in run_apart(group):
            print(json.dumps(row), flush=True)
            rows.append(row)
            options.out.write_text(json.dumps(rows, indent=1))
    print_table(rows)


def run_apart(group: str) -> Iterator[dict[str, Any]]:
    """A group's rows as they come, from a process of its own; the last one says so where it failed."""
    command = [sys.executable, __file__, "--inside", group, *sys.argv[1:]]
    with tempfile.TemporaryFile("w+", encoding="utf-8") as complained:
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=complained, text=True) as done:
            assert done.stdout is not None
            for line in done.stdout:
                if line.startswith("ROW "):
                    yield json.loads(line[4:])
        if done.returncode:
            complained.seek(0)
            yield {"group": group, "variant": "FAILED", "message": complained.read()[-1500:]}


def print_table(rows: list[dict[str, Any]]) -> None:
    """Each variant's rate and what the missing part buys, in percent of the rate without it."""
    for group in dict.fromkeys(row["group"] for row in rows):
        measured = [row for row in rows if row["group"] == group and "rate" in row]
        if not measured:
            continue
        whole = measured[0]["rate"]
        print(f"\n{group} ({measured[0]['unit']})")
        for row in measured:
            print(f"  {row['variant']:38} {row['rate']:12,.2f}   the part buys {whole / row['rate'] - 1:+7.1%}")


# ---------------------------------------------------------------- answering


def answering(options: argparse.Namespace) -> Iterator[tuple[str, dict[str, Any]]]:
    """Samples per second of packed answering in bfloat16, an 8B."""
    import torch
    from random_answering import SHAPE_8B, SHAPE_TINY, measure_ours, random_prompts
    from transformers import AutoModelForCausalLM, LlamaConfig

    with torch.device(options.device):
        shape = SHAPE_TINY if options.tiny else SHAPE_8B
        model = AutoModelForCausalLM.from_config(LlamaConfig(**shape), dtype=torch.bfloat16).eval()
    prompts = random_prompts(min(options.prompts, 24) if options.tiny else options.prompts, options.tiny)
    for variant, change in with_and_without(PARTS_OF_ANSWERING):
        with change():
            row = measure_ours(model, prompts)
        yield variant, {"rate": row.pop("samples_per_second"), "unit": "samples per second", **row}


def with_and_without(parts: dict[str, Change]) -> list[tuple[str, Change]]:
    found = [("all parts", present)]
    for name, change in parts.items():
        try:
            with change():
                found.append((f"without {name}", change))
        except (ImportError, AttributeError):
            continue  # the code has this part no more
    return [*found, ("all parts again", present)]


@contextmanager
def present() -> Iterator[None]:
    yield


def replaced(module: str, name: str, value: Any) -> Change:
    return lambda: patch.object(importlib.import_module(module), name, value)


@contextmanager
def no_graphs() -> Iterator[None]:
    from slingshot.generation import engine

    with patch.object(engine.Network, "graphable", property(lambda network: False)):
        yield


PARTS_OF_ANSWERING: dict[str, Change] = {
    "merged layers": replaced("slingshot.nn.merged_layers", "merge_layers", lambda model: []),
    "one kernel per norm": replaced("slingshot.nn.fast_modules", "_is_rms_norm", lambda module: False),
    "the Triton kernel of the rotation": replaced("slingshot.nn.fast_modules", "_HALVES", set()),
    "CUDA graphs": no_graphs,
}


# ---------------------------------------------------------------- training


def training(options: argparse.Namespace) -> Iterator[tuple[str, dict[str, Any]]]:
    """Tokens per second of finetuning a 3B in bfloat16: each way through the network, with its own token budget."""
    ways = {"merged, compiled layers": True, "the plain packed way": False, "merged, compiled layers again": True}
    for variant, merged in ways.items():
        yield variant, timed_training(options, merged)


def timed_training(options: argparse.Namespace, merged: bool) -> dict[str, Any]:
    import torch
    from random_training import ALPHA, RANK, draw_samples, find_budget, make_trainer, random_model

    from slingshot.config.recipe import Finetune, Lora
    from slingshot.models.device_memory import release_memory
    from slingshot.nn import lora
    from slingshot.training import finetune, forward_paths
    from slingshot.training.samples import longest_of
    from slingshot.training.state import State

    given = SimpleNamespace(size="tiny" if options.tiny else "3b", device=options.device)
    batch, steps = (4, 1) if options.tiny else (32, options.steps)
    samples = draw_samples(batch * 16, given)
    recipe = Finetune(batch_size=batch, lora=Lora(r=RANK, alpha=ALPHA, dropout=0.1))
    model = random_model(given)
    dropout = lora.add_adapters(model, recipe.lora, RANK, ALPHA, 0)
    start = time.perf_counter()
    path, notes = forward_paths.choose(model, samples, longest_of(samples), on_gpu=options.device == "cuda" and merged)
    trainer = make_trainer(model, path, dropout, recipe, samples, validation=32)
    trainer.token_budget = find_budget(trainer)
    state = State()
    for _ in range(2):
        finetune.training_step(trainer, state)
    ready = time.perf_counter() - start
    before, start = state.trained_tokens, time.perf_counter()
    for _ in range(steps):
        finetune.training_step(trainer, state)
    seconds = time.perf_counter() - start
    peak = torch.cuda.max_memory_allocated() / 1e9 if options.device == "cuda" else None
    row = {"rate": (state.trained_tokens - before) / seconds, "unit": "tokens per second", "until_third_step": ready}
    row |= {"token_budget": trainer.token_budget, "recomputed": trainer.recomputed, "peak_gb": peak, "notes": notes}
    del trainer, model, path
    release_memory(options.device)
    return row


# ---------------------------------------------------------------- starting

START = """
import sys
sys.path.insert(0, {scripts!r})
from slingshot.models.lean_imports import prepare_imports, without_compiler

def load():
    import torch
    import slingshot.generation.generate
    from transformers import AutoModelForCausalLM, LlamaConfig
    with torch.device({device!r}):
        return AutoModelForCausalLM.from_config(LlamaConfig(hidden_size=64, num_hidden_layers=1, intermediate_size=64,
            num_attention_heads=2, vocab_size=64))

if {flags}:
    prepare_imports(alone=True)
if {compiler_out}:
    without_compiler(load, {quantized})
else:
    load()
if {quantized}:
    import bitsandbytes
"""
PARTS_OF_STARTING: dict[str, dict[str, bool]] = {
    "all parts": {},
    "without flags of what is unused": {"flags": False},
    "with torch's compiler": {"compiler_out": False},
    "with none": {"flags": False, "compiler_out": False},
    "all parts again": {},
}


def starting(options: argparse.Namespace) -> Iterator[tuple[str, dict[str, Any]]]:
    """Processes per minute that import what answering needs and put a small network on the device."""
    yield from started(options, quantized=False)


def starting_nf4(options: argparse.Namespace) -> Iterator[tuple[str, dict[str, Any]]]:
    """The same with bitsandbytes."""
    yield from started(options, quantized=True)


def started(options: argparse.Namespace, quantized: bool) -> Iterator[tuple[str, dict[str, Any]]]:
    from made_up import with_bytecode

    for variant, parts in PARTS_OF_STARTING.items():
        how = {"flags": True, "compiler_out": True, **parts, "quantized": quantized, "device": options.device}
        source = START.format(scripts=str(ROOT / "scripts"), **how)
        environment = {**os.environ, **with_bytecode(options.work)}
        seconds = []
        for _ in range(2 if options.tiny else 1 + options.starts):
            start = time.perf_counter()
            subprocess.run([sys.executable, "-c", source], check=True, env=environment, stdout=subprocess.DEVNULL)
            seconds.append(time.perf_counter() - start)
        median = statistics.median(seconds[1:])
        yield variant, {"rate": 60 / median, "unit": "starts per minute", "seconds": median, "all": seconds}


GROUPS = {"answering": answering, "training": training, "starting": starting, "starting_nf4": starting_nf4}


if __name__ == "__main__":
    main()
