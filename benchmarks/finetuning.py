"""Tokens per second of finetuning, beside TRL's SFTTrainer and beside the hardware's limit, in one run.

A random Llama-3.2-3B (--size 1b and 135m: Llama-3.2-1B, SmolLM2-135M; tiny, for a CPU), LoRA r 64 on all linear
layers, lengths like MedSynth's (135m: 0.14 of them), 16 completion tokens. Each variant runs in a process of its own
with a time limit; padding is not counted. `unsloth`, `unsloth_no_dropout`, `unsloth_checkpointing` need that package.

    python benchmarks/finetuning.py --out DIR [--variants NAME ...] [--size tiny --device cpu]
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

from finetuning_peers import PEERS, UNSLOTH, measure_naive, measure_trl, measure_unsloth
from finetuning_whole import measure_whole
from random_training import (
    ALPHA,
    BATCHES,
    COMPLETION,
    CONFIGS,
    RANK,
    STEPS,
    draw_lengths,
    draw_samples,
    find_budget,
    make_row,
    make_trainer,
    random_model,
    read_clock,
)

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

OURS = {
    "ours": "ours, dropout 0.1",
    "nf4": "ours, NF4 base",
    "no_dropout": "ours, dropout 0",
    "deterministic": "ours, deterministic",
    "no_graphs": "ours, dropout 0.1, without CUDA graphs",
    "fp8": "ours, frozen weights in e4m3, dropout 0.1",
}
SMALLER_CARDS = {"ours": [32, 24, 16], "nf4": [16]}
VARIANTS = ["ours", "peers", "nf4", "no_dropout", "deterministic"]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--out", type=Path, required=True)
    arguments.add_argument("--variants", nargs="*", default=VARIANTS)
    arguments.add_argument("--size", choices=CONFIGS, default="3b")
    arguments.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    arguments.add_argument("--cards", type=int, nargs="*", help="also limit memory to that of smaller cards, in GB")
    arguments.add_argument("--steps", type=int, help="timed steps; default: few for slow peers")
    arguments.add_argument("--seconds", type=int, default=150, help="limit of each variant's process")
    arguments.add_argument("--tokenizer", type=Path, help="for `whole`: folder of any tokenizer with a chat template")
    arguments.add_argument("--gpus", type=int, default=1, help="for `whole`: GPUs that train together (1)")
    arguments.add_argument("--samples", type=int, default=4800, help="for `whole`: train samples (4800)")
    arguments.add_argument("--work", type=Path, default=Path("/dev/shm/slingshot"), help="for `whole`: weights")
    arguments.add_argument("--one", help=argparse.SUPPRESS)
    given = arguments.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("PYTORCH_ALLOC_CONF", "expandable_segments:True")  # as scripts/finetune.py does
    if given.one:
        run_one(given)
    else:
        run_all(given)


def run_all(given: argparse.Namespace) -> None:
    """Each variant in its own process; a table at the end."""
    rows: list[dict[str, Any]] = []
    for name in given.variants:
        start = time.monotonic()
        command = [sys.executable, __file__, "--one", name, "--out", str(given.out), "--size", given.size]
        command += ["--device", given.device] + (["--steps", str(given.steps)] if given.steps else [])
        command += [] if given.cards is None else ["--cards", *map(str, given.cards)]
        command += ["--tokenizer", str(given.tokenizer)] if given.tokenizer else []
        command += ["--samples", str(given.samples), "--work", str(given.work)]
        command += ["--gpus", str(given.gpus)]
        try:
            done = subprocess.run(
                command, timeout=given.seconds, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            )
            problem = None if done.returncode == 0 else done.stdout[-1500:]
        except subprocess.TimeoutExpired as error:
            problem = f"out of time after {given.seconds} s: {(error.stdout or b'')[-600:]!r}"
        path = given.out / f"finetuning-{name}.json"
        rows += json.loads(path.read_text()) if path.exists() else []
        print(f"[{name}: {time.monotonic() - start:.0f} s] {problem or 'done'}", flush=True)
        (given.out / "finetuning.json").write_text(json.dumps(rows, indent=1))

    print_table(rows)


def print_table(rows: list[dict[str, Any]]) -> None:
    limit = next((row["tokens_per_second"] for row in rows if row["variant"] == "limit"), None)
    for row in rows:
        share = f"{row['tokens_per_second'] / limit:6.1%}" if limit else ""
        peak = f"{row['peak_bytes'] / 1e9:6.1f} GB" if row.get("peak_bytes") else ""
        print(
            f"{row['what']:70} {row['tokens_per_second']:9,.0f} tokens/s {share} {peak} {row.get('more', '')}",
            flush=True,
        )
        for note in row.get("notes", []):
            print(f"    {note}", flush=True)


def run_one(given: argparse.Namespace) -> None:
    name = given.one
    if name == "naive":
        (given.out / "finetuning-naive.json").write_text(json.dumps([measure_naive(given)]))
        return
    if name == "whole":
        (given.out / "finetuning-whole.json").write_text(json.dumps([measure_whole(given)]))
        return
    if name in UNSLOTH:
        (given.out / f"finetuning-{name}.json").write_text(json.dumps([measure_unsloth(name, given)]))
        return
    if name != "peers":
        measure_ours(name, given)
        return
    from slingshot.models.device_memory import release_memory

    rows = []
    for peer in PEERS:
        rows.append(measure_trl(peer, given))
        release_memory(given.device)
        (given.out / "finetuning-peers.json").write_text(json.dumps(rows))


def limit(given: argparse.Namespace) -> list[dict[str, Any]]:
    """Tokens per second if only the required operations ran, at the matrix rate sustained over two seconds.

    Required: 4 FLOPs per frozen parameter and token (forward, and the gradient of the input), 6 per parameter of an
    adapter, and causal attention: 2 products forward, 5 backward, over half of the square.
    """
    import torch

    size = 8192 if given.device == "cuda" else 512
    one, two = (torch.randn(size, size, device=given.device, dtype=torch.bfloat16) for _ in range(2))
    out = torch.empty_like(one)
    span, done, start = (2.0 if given.device == "cuda" else 0.2), 0, read_clock(given.device)
    while read_clock(given.device) - start < span:
        for _ in range(20):
            torch.mm(one, two, out=out)
        done += 20
    rate = done * 2 * size**3 / (read_clock(given.device) - start)
    flops = required_flops(given)
    return [
        make_row(
            "limit", f"the limit at {rate / 1e12:,.0f} TFLOP/s", int(rate), flops, given.device, flops_per_token=flops
        )
    ]


def required_flops(given: argparse.Namespace) -> float:
    config = CONFIGS[given.size]
    hidden, inner, layers = config["hidden_size"], config["intermediate_size"], config["num_hidden_layers"]
    head = config.get("head_dim", hidden // config["num_attention_heads"])
    query, key = head * config["num_attention_heads"], head * config["num_key_value_heads"]
    linear = [
        (query, hidden),
        (key, hidden),
        (key, hidden),
        (hidden, query),
        (inner, hidden),
        (inner, hidden),
        (hidden, inner),
    ]
    frozen = layers * sum(out * into for out, into in linear)
    adapters = layers * sum(RANK * (out + into) for out, into in linear)
    sizes = [one + COMPLETION for one in draw_lengths(4096, given)]
    attention = layers * 7 * query * sum(size * size for size in sizes) / sum(sizes)  # 7 products, 2 FLOPs, half
    head_flops = 4 * hidden * config["vocab_size"] * COMPLETION * len(sizes) / sum(sizes)
    return 4 * frozen + 6 * adapters + attention + head_flops


def measure_ours(name: str, given: argparse.Namespace) -> None:
    """The very functions of the recipe on random samples; on the whole card, then as if it were smaller."""
    import torch

    from slingshot.config.recipe import Finetune, Lora
    from slingshot.models import device_memory
    from slingshot.nn import lora
    from slingshot.training import finetune, forward_paths
    from slingshot.training.samples import longest_of

    if given.device == "cuda":
        torch.zeros(1, device="cuda")
    batch = BATCHES.get(given.size, 8)
    samples = draw_samples(batch * 64, given)
    recipe = Finetune(
        batch_size=batch,
        lora=Lora(r=RANK, alpha=ALPHA, dropout=0.0 if name == "no_dropout" else 0.1),
        deterministic=name == "deterministic",
        fp8=name == "fp8",
    )
    start = read_clock(given.device)
    model = random_model(given)
    if name == "nf4":
        model = put_in_nf4(model, given.device)
    finetune.make_deterministic(recipe.deterministic, 0)
    dropout = lora.add_adapters(model, recipe.lora, RANK, ALPHA, 0)
    path, notes = forward_paths.choose(model, samples, longest_of(samples), given.device == "cuda", recipe.fp8)
    shared = {"made": read_clock(given.device) - start, "notes": notes}
    rows = []
    for card in [None, *(SMALLER_CARDS.get(name, []) if given.cards is None else given.cards)]:
        device_memory.limit_memory(model.device, card)
        trainer = make_trainer(model, path, dropout, recipe, samples, validation=256)
        rows.append(measure_steps(name, card, trainer, given) | shared)
        (given.out / f"finetuning-{name}.json").write_text(json.dumps(rows))
        if trainer.recomputed:
            path.recompute(0)
        trainer.optimizer.state.clear()
        trainer.optimizer.zero_grad(set_to_none=True)
        device_memory.release_memory(model.device)
    if os.environ.get("PROFILE"):
        profile(trainer, given)
    if name == "ours":
        rows += limit(given)
        (given.out / f"finetuning-{name}.json").write_text(json.dumps(rows))


def measure_steps(name: str, card: int | None, trainer: Any, given: argparse.Namespace) -> dict[str, Any]:
    """Find the token budget, warm up, time some steps and, on the whole card, an evaluation."""
    import torch

    from slingshot.training import finetune, token_budget
    from slingshot.training.state import State

    start = read_clock(given.device)
    trainer.token_budget = find_budget(trainer, card)
    if name != "no_graphs":
        trainer.graphs = token_budget.graphs_where_launches_dominate(trainer)
    probed = read_clock(given.device) - start
    state, steps = State(), given.steps or STEPS.get(given.size, 2)
    for _ in range(2 if trainer.graphs is None else STEPS.get(given.size, 2)):  # the shapes that a run meets
        finetune.training_step(trainer, state)
    if given.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    start, before = read_clock(given.device), state.trained_tokens
    timed = steps if card is None else max(2, steps // 2)
    for _ in range(timed):
        finetune.training_step(trainer, state)
    seconds = read_clock(given.device) - start
    what = OURS[name] + (f" in {card} GB" if card else "")
    row = make_row(name, what, state.trained_tokens - before, seconds, given.device)
    row |= {"token_budget": trainer.token_budget, "probed": probed, "recomputed": trainer.recomputed}
    row["more"] = f"{timed / seconds:.1f} steps/s, budget {trainer.token_budget}, "
    row["notes_of_steps"] = trainer.graphs.notes if trainer.graphs is not None else []
    row["more"] += f"recomputed {trainer.recomputed:g}, probe {probed:.0f} s"
    if card is None:
        finetune.measure_validation_loss(trainer)  # compiles
        start = read_clock(given.device)
        finetune.measure_validation_loss(trainer)
        row["evaluation"] = read_clock(given.device) - start
        row["more"] += f", evaluation of 256 {row['evaluation']:.1f} s"
    return row


def profile(trainer: Any, given: argparse.Namespace) -> None:
    """Where a step's time goes, by kernel."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as recording

    from slingshot.training import finetune
    from slingshot.training.state import State

    state = State(step=20)
    finetune.training_step(trainer, state)
    with recording(activities=[ProfilerActivity.CUDA, ProfilerActivity.CPU]) as found:
        finetune.training_step(trainer, state)
    table = found.key_averages().table(sort_by="self_cuda_time_total", row_limit=45, max_name_column_width=90)
    (given.out / "profile.txt").write_text(table)


def put_in_nf4(model: Any, device: str) -> Any:
    """The model with its linear layers (but the head) in NF4, as transformers' bitsandbytes integration makes them."""
    import bitsandbytes
    import torch
    from torch import nn

    head = model.get_output_embeddings()
    for name, module in list(model.named_modules()):
        if isinstance(module, nn.Linear) and module is not head:
            small = bitsandbytes.nn.Linear4bit(
                module.in_features, module.out_features, bias=False, compute_dtype=torch.bfloat16, quant_type="nf4"
            )
            small.weight = bitsandbytes.nn.Params4bit(
                module.weight.data, requires_grad=False, quant_type="nf4", compress_statistics=False
            ).to(device)
            parent, _, leaf = name.rpartition(".")
            setattr(model.get_submodule(parent), leaf, small)
    return model


if __name__ == "__main__":
    main()
