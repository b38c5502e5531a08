"""Tokens per second of finetuning, beside TRL's SFTTrainer and beside the hardware's limit, in one run.

A random Llama-3.2-3B (or a tiny one: --size tiny, for a CPU), LoRA r 64 on all linear layers, lengths like
MedSynth's, 16 completion tokens. Each variant runs in a process of its own with a time limit; padding is not counted.

    python benchmarks/finetuning.py --out DIR [--variants NAME ...] [--size tiny --device cpu]
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from architectures import shape_of
from made_up import with_bytecode, write_model, write_samples

from slingshot.training.state import State, Trainer
from slingshot.training.token_budget import find_token_budget

sys.path[0] = str(Path(__file__).parents[1] / "scripts")

COMPLETION = 16
BATCH = 32
FRAME = 60  # tokens of instruction and template around a dialogue of `whole`
RANK, ALPHA = 64, 128
PEERS = {
    "trl_varlen": "TRL, padding-free, varlen attention registered, batch 8",
    "trl_best": "TRL, by length, no checkpointing, cuDNN attention off, batch 6",
    "trl_best_cudnn": "the same with cuDNN attention on, as torch has it",
    "trl_default": "TRL as it comes (checkpointing on), cuDNN attention off, batch 8",
    "trl_default_cudnn": "the same with cuDNN attention on, as torch has it",
}
OURS = {
    "ours": "ours, dropout 0.1",
    "nf4": "ours, NF4 base",
    "no_dropout": "ours, dropout 0",
    "deterministic": "ours, deterministic",
}
SMALLER_CARDS = {"ours": [32, 24, 16], "nf4": [16]}
NAIVE = "naive loop: transformers and peft, padded batches of 8, loss on all tokens"
VARIANTS = ["ours", "peers", "nf4", "no_dropout", "deterministic"]
CONFIGS: dict[str, dict[str, Any]] = {
    "3b": shape_of("llama3b", max_position_embeddings=4096),
    "demo": {
        "hidden_size": 576,
        "intermediate_size": 1536,
        "num_hidden_layers": 6,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
        "vocab_size": 49152,
        "max_position_embeddings": 4096,
        "tie_word_embeddings": True,
    },
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


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--out", type=Path, required=True)
    arguments.add_argument("--variants", nargs="*", default=VARIANTS)
    arguments.add_argument("--size", choices=CONFIGS, default="3b")
    arguments.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    arguments.add_argument("--cards", type=int, nargs="*", help="GB of the smaller cards to stand in for, too")
    arguments.add_argument("--steps", type=int, help="timed steps; default: few for slow peers")
    arguments.add_argument("--seconds", type=int, default=150, help="limit of each variant's process")
    arguments.add_argument("--tokenizer", type=Path, help="for `whole`: folder of any tokenizer with a chat template")
    arguments.add_argument("--gpus", type=int, default=1, help="for `whole`: GPUs that train together (1)")
    arguments.add_argument("--samples", type=int, default=4800, help="for `whole`: train samples (4800)")
    arguments.add_argument("--work", type=Path, default=Path("/dev/shm/slingshot"), help="for `whole`: weights")
    arguments.add_argument("--one", help=argparse.SUPPRESS)
    given = arguments.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
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


def run_one(given: argparse.Namespace) -> None:
    name = given.one
    if name == "naive":
        (given.out / "finetuning-naive.json").write_text(json.dumps([naive(given)]))
        return
    if name == "whole":
        (given.out / "finetuning-whole.json").write_text(json.dumps([whole(given)]))
        return
    if name != "peers":
        ours(name, given)
        return
    from slingshot.models.device_memory import release_memory

    rows = []
    for peer in PEERS:
        rows.append(trl(peer, given))
        release_memory(given.device)
        (given.out / "finetuning-peers.json").write_text(json.dumps(rows))


# ---------------------------------------------------------------- what all share


def lengths(count: int, given: argparse.Namespace) -> list[int]:
    """Prompt lengths like MedSynth's: mean about 1,154, so that with 16 completion tokens a sample has 1,170."""
    import numpy as np

    scale = {"3b": 1, "demo": 0.11, "tiny": 0.05}[given.size]
    drawn = np.random.default_rng(0).normal(1154, 260, count).clip(420, 2031) * scale
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


def memory_peak(device: str) -> int | None:
    import torch

    return torch.cuda.max_memory_allocated() if device == "cuda" else None


def row_of(variant: str, what: str, tokens: int, seconds: float, device: str, **more: Any) -> dict[str, Any]:
    return {
        "variant": variant,
        "what": what,
        "tokens": tokens,
        "seconds": seconds,
        "tokens_per_second": tokens / seconds,
        "peak_bytes": memory_peak(device),
        **more,
    }


def now(device: str) -> float:
    import torch

    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


# ---------------------------------------------------------------- the limit


def limit(given: argparse.Namespace) -> list[dict[str, Any]]:
    """Tokens per second if only the required operations ran, at the matrix rate sustained over two seconds.

    Required: 4 FLOPs a frozen parameter and token (forward, and the gradient of the input), 6 an adapter's, and
    causal attention: 2 products forward, 5 backward, over half of the square.
    """
    import torch

    size = 8192 if given.device == "cuda" else 512
    one, two = (torch.randn(size, size, device=given.device, dtype=torch.bfloat16) for _ in range(2))
    out = torch.empty_like(one)
    span, done, start = (2.0 if given.device == "cuda" else 0.2), 0, now(given.device)
    while now(given.device) - start < span:
        for _ in range(20):
            torch.mm(one, two, out=out)
        done += 20
    rate = done * 2 * size**3 / (now(given.device) - start)
    flops = required_flops(given)
    return [
        row_of("limit", f"the limit at {rate / 1e12:,.0f} TFLOP/s", int(rate), flops, given.device, flops_a_token=flops)
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
    sizes = [one + COMPLETION for one in lengths(4096, given)]
    attention = layers * 7 * query * sum(size * size for size in sizes) / sum(sizes)  # 7 products, 2 FLOPs, half
    head_flops = 4 * hidden * config["vocab_size"] * COMPLETION * len(sizes) / sum(sizes)
    return 4 * frozen + 6 * adapters + attention + head_flops


# ---------------------------------------------------------------- ours


def ours(name: str, given: argparse.Namespace) -> None:
    """The very functions of the recipe on random samples."""
    import torch

    from slingshot.config.recipe import Finetune, Lora
    from slingshot.models import device_memory
    from slingshot.nn import lora
    from slingshot.training import (
        batches as packing,
    )
    from slingshot.training import (
        finetune as finetuning,
    )
    from slingshot.training import (
        forward_paths,
        workers,
    )
    from slingshot.training import (
        samples as training_samples,
    )

    if given.device == "cuda":
        torch.zeros(1, device="cuda")
    rows, device = [], torch.device("cuda:0" if given.device == "cuda" else "cpu")
    batch, steps = (BATCH, given.steps or 6) if given.size == "3b" else (8, given.steps or 2)
    sizes = lengths(batch * 64, given)
    generator = torch.Generator().manual_seed(0)
    vocabulary = CONFIGS[given.size]["vocab_size"]
    samples = [
        packing.Sample(f"{index}", tuple(ids[:-COMPLETION]), tuple(ids[-COMPLETION:]), False)
        for index, size in enumerate(sizes)
        for ids in [torch.randint(1, vocabulary, (size + COMPLETION,), generator=generator).tolist()]
    ]
    probability = 0.0 if name == "no_dropout" else 0.1
    recipe = Finetune(
        batch_size=batch,
        lora=Lora(r=RANK, alpha=ALPHA, dropout=probability),
        deterministic=name == "deterministic",
    )
    start = now(given.device)
    model = random_model(given)
    if name == "nf4":
        model = in_nf4(model, given.device)
    finetuning.make_deterministic(recipe.deterministic, 0)
    dropout = lora.add_adapters(model, recipe.lora, RANK, ALPHA, 0)
    longest = training_samples.longest_of(samples)
    path, notes = forward_paths.choose(model, samples, longest, given.device == "cuda")
    made = now(given.device) - start
    cards = [None, *(SMALLER_CARDS.get(name, []) if given.cards is None else given.cards)]
    for card in cards:
        device_memory.limit_memory(device, card)
        trainer = Trainer(
            model=model,
            path=path,
            dropout=dropout,
            optimizer=finetuning.make_optimizer(model, recipe, device),
            recipe=recipe,
            seed=0,
            samples=samples,
            validation=samples[:256],
            workers=workers.Workers(0, 1, device),
            token_budget=0,
            steps=1000,
        )
        start = now(given.device)
        trainer.token_budget = find_token_budget(trainer, finetuning_job(card))
        probed = now(given.device) - start
        state = State()
        for _ in range(2):
            finetuning.training_step(trainer, state)
        if given.device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        start, before = now(given.device), state.trained_tokens
        for _ in range(steps if card is None else max(2, steps // 2)):
            finetuning.training_step(trainer, state)
        seconds = now(given.device) - start
        where = f" in {card} GB" if card else ""
        row = row_of(name, OURS[name] + where, state.trained_tokens - before, seconds, given.device)
        row |= {"token_budget": trainer.token_budget, "made": made, "probed": probed, "notes": notes}
        row |= {"recomputed": trainer.recomputed}
        row["more"] = f"budget {trainer.token_budget}, recomputed {trainer.recomputed:g}, probe {probed:.0f} s"
        if card is None:
            finetuning.validation_loss(trainer)  # compiles
            start = now(given.device)
            finetuning.validation_loss(trainer)
            row["evaluation"] = now(given.device) - start
            row["more"] += f", evaluation of 256 {row['evaluation']:.1f} s"
        rows.append(row)
        (given.out / f"finetuning-{name}.json").write_text(json.dumps(rows))
        if trainer.recomputed:
            path.recompute(0)
        trainer.optimizer.state.clear()
        trainer.optimizer.zero_grad(set_to_none=True)
        device_memory.release_memory(device)
    if os.environ.get("PROFILE"):
        profile(trainer, finetuning, given)
    if name == "ours":
        rows += limit(given)
        (given.out / f"finetuning-{name}.json").write_text(json.dumps(rows))


def profile(trainer: Any, finetuning: Any, given: argparse.Namespace) -> None:
    """Where a step's time goes, by kernel."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as recording

    state = State(step=20)
    finetuning.training_step(trainer, state)
    with recording(activities=[ProfilerActivity.CUDA, ProfilerActivity.CPU]) as found:
        finetuning.training_step(trainer, state)
    table = found.key_averages().table(sort_by="self_cuda_time_total", row_limit=45, max_name_column_width=90)
    (given.out / "profile.txt").write_text(table)


def finetuning_job(card: int | None) -> Any:
    from types import SimpleNamespace

    return SimpleNamespace(token_budget=None, memory_gb=card, attempt=1)


def in_nf4(model: Any, device: str) -> Any:
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


# ---------------------------------------------------------------- a finetune as a whole

WANTED_SAMPLES = 20_000
VALIDATION = 256
EVALUATED_EVERY = 50  # steps; the config's default


def whole(given: argparse.Namespace) -> dict[str, Any]:
    """finetune.py from process start to process end, and what it would take for 20,000 samples.

    The pure loop is its tokens at the median step's rate. What grows with the samples (putting them in tokens, the
    loop, evaluations) is reckoned up; the rest is a process's own and stays.
    """
    import statistics

    from slingshot.core.files import read_json, read_jsonl

    command, folder = finetune_command(given)
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
    return row_of(
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


def finetune_command(given: argparse.Namespace) -> tuple[list[str], Path]:
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
        words = [max(2, size - FRAME) for size in lengths(count, given)]
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


# ---------------------------------------------------------------- the naive loop


def naive(given: argparse.Namespace) -> dict[str, Any]:
    """What one writes first; for a CPU (--size demo), where TRL and a GPU's tricks are out of place."""
    import torch
    from peft import LoraConfig, get_peft_model

    steps, batch = given.steps or 6, 8
    adapter = LoraConfig(r=RANK, lora_alpha=ALPHA, lora_dropout=0.1, target_modules="all-linear", task_type="CAUSAL_LM")
    model = get_peft_model(random_model(given), adapter).train()
    optimizer = torch.optim.AdamW([one for one in model.parameters() if one.requires_grad], lr=2e-4)
    sizes = [size + COMPLETION for size in lengths(batch * 64, given)]

    def step(at: int) -> int:
        mine = sizes[at * batch : (at + 1) * batch]
        real = torch.arange(max(mine))[None] < torch.tensor(mine)[:, None]
        ids = torch.randint(3, CONFIGS[given.size]["vocab_size"], real.shape).to(given.device)
        mask = real.to(given.device)
        model(input_ids=ids, attention_mask=mask.long(), labels=ids.masked_fill(~mask, -100)).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return sum(mine)

    step(0)
    start = now(given.device)
    tokens = sum(step(at + 1) for at in range(steps))
    return row_of("naive", NAIVE, tokens, now(given.device) - start, given.device)


# ---------------------------------------------------------------- TRL


def trl(name: str, given: argparse.Namespace) -> dict[str, Any]:
    """TRL's SFTTrainer with peft on the same lengths; loss on the completion only, as its users would."""
    import datasets
    import torch
    from peft import LoraConfig
    from transformers import PreTrainedTokenizerFast, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    from slingshot.nn import packed_attention as attention

    batch, steps = (8, given.steps or 4) if given.size == "3b" else (2, 2)
    options: dict[str, Any] = {}
    if name.startswith("trl_best"):
        batch = 6 if given.size == "3b" else 2
        options = {"gradient_checkpointing": False, **by_length(SFTConfig)}
    elif name == "trl_varlen":
        options = {"gradient_checkpointing": False, "padding_free": True}
    if given.device == "cuda":
        torch.backends.cuda.enable_cudnn_sdp(name.endswith("cudnn"))  # on, it plans again for every shape
        torch.cuda.reset_peak_memory_stats()
    warm = 4 if name.startswith("trl_best") else 3
    sizes = lengths(batch * (steps + warm) * 8, given)
    data = datasets.Dataset.from_dict(
        {
            "input_ids": [[(7 * at) % 500 + 1 for at in range(size + COMPLETION)] for size in sizes],
            "completion_mask": [[0] * size + [1] * COMPLETION for size in sizes],
        }
    )
    model = random_model(given)
    if name == "trl_varlen":
        attention.use_packed_attention(model, 4096)
    settings = SFTConfig(
        output_dir=str(given.out / "trl"),
        per_device_train_batch_size=batch,
        max_steps=steps + warm,
        max_length=None if name == "trl_varlen" else 2048,
        completion_only_loss=True,
        logging_strategy="no",
        save_strategy="no",
        report_to=[],
        use_cpu=given.device == "cpu",
        **options,
    )
    seen: list[tuple[float, int]] = []
    counted = [0]

    class Clock(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            seen.append((now(given.device), counted[0]))
            if len(seen) == warm and given.device == "cuda":
                torch.cuda.reset_peak_memory_stats()

    adapter = LoraConfig(r=RANK, lora_alpha=ALPHA, lora_dropout=0.1, target_modules="all-linear", task_type="CAUSAL_LM")
    trainer = SFTTrainer(
        model=model,
        args=settings,
        train_dataset=data,
        peft_config=adapter,
        processing_class=PreTrainedTokenizerFast(
            tokenizer_object=word_tokenizer(), pad_token="<pad>", eos_token="<eos>", unk_token="<unk>"
        ),
        callbacks=[Clock()],
    )
    collate = trainer.data_collator

    def counting(rows: list[dict[str, Any]]) -> Any:
        counted[0] += sum(len(row["input_ids"]) for row in rows)
        return collate(rows)

    trainer.data_collator = counting
    trainer.train()
    # batches are collated one ahead of the step, so a step's tokens are reckoned by the mean over all
    (start, before), (end, after) = seen[warm - 1], seen[-1]
    return row_of(name, PEERS[name], after - before, end - start, given.device, steps=steps, batch=batch)


def by_length(config: Any) -> dict[str, Any]:
    """How this version of transformers is asked to group samples by length."""
    import dataclasses

    names = {field.name for field in dataclasses.fields(config)}
    return (
        {"train_sampling_strategy": "group_by_length"}
        if "train_sampling_strategy" in names
        else {"group_by_length": True}
    )


def word_tokenizer() -> Any:
    from tokenizers import Tokenizer, models

    return Tokenizer(models.WordLevel({"<pad>": 0, "<eos>": 1, "<unk>": 2, "x": 3}, unk_token="<unk>"))


if __name__ == "__main__":
    main()
