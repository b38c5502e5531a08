"""How long `make demo` takes on this machine, projected from a few of its steps; CI prints it.

    python benchmarks/demo.py                      # half a minute of two quiet cores, or so
    ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 MKL_ENABLE_INSTRUCTIONS=AVX2 \\
        python benchmarks/demo.py --dtype float32  # as a processor with AVX2 alone

Needs no download: networks of the demo's shapes with random weights, and prompts of random tokens of its lengths, go
through the same code as in the study. What is measured: steps of finetuning, answers of both language models (free and
constrained, as if no answer ended early), steps of the encoder, and the start of one job. How many there are of each
is counted from studies/demo/config.yaml and its data. What the rest computes besides starting (fetching, TF-IDF,
scores, the report) is left out.
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from transformers import BertConfig, BertForSequenceClassification, LlamaConfig, LlamaForCausalLM, PreTrainedModel

HOUSE = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(HOUSE / "scripts"))

from slingshot.config.base import Dtype, NumberType  # noqa: E402
from slingshot.config.recipe import Finetune  # noqa: E402
from slingshot.config.study import Study, parse_study  # noqa: E402
from slingshot.generation.answer_trie import build_trie  # noqa: E402
from slingshot.generation.generate import generate  # noqa: E402
from slingshot.generation.types import Decoding, GenerationStats, Memory  # noqa: E402
from slingshot.models.number_types import number_type  # noqa: E402
from slingshot.nn import lora  # noqa: E402
from slingshot.training import batches, finetune, forward_paths, samples, workers  # noqa: E402
from slingshot.training.state import State, Trainer  # noqa: E402

DEMO = HOUSE / "studies/demo"
SHAPE: dict[str, Any] = {
    "vocab_size": 49152, "hidden_size": 576, "intermediate_size": 1536, "num_attention_heads": 9,
    "num_key_value_heads": 3, "max_position_embeddings": 8192, "tie_word_embeddings": True, "rope_theta": 100_000.0,
}  # fmt: skip
LAYERS = 30  # of SmolLM2-135M
END = 2
PROMPT, COMPLETION = 161, 14  # tokens: the median of the demo's prompts, and an answer


@dataclass(frozen=True)
class Amounts:
    """How much of everything the demo does."""

    train: int
    validation: int
    test: int
    jobs: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dtype", choices=("auto", "float32", "bfloat16"), default="auto")
    parser.add_argument("--steps", type=int, default=3, help="optimizer steps to measure, after one that is not")
    parser.add_argument("--prompts", type=int, default=4, help="prompts to answer per network")
    given = parser.parse_args()
    torch.manual_seed(0)
    study = parse_study(yaml.safe_load((DEMO / "config.yaml").read_text(encoding="utf-8")))
    for line in projection(study, given.dtype, given.steps, given.prompts):
        print(line, flush=True)


def projection(study: Study, dtype: Dtype, steps: int, prompts: int) -> Iterator[str]:
    """Lines that say what was measured and what it comes to."""
    kind = number_type(dtype, "cpu")
    amounts = amounts_of(study)
    recipe = next(iter(study.slm.values())).finetune
    depth = next(iter(study.slm.values())).layers or LAYERS
    encoder = next(iter(study.encoder.values()))
    yield f"Demo on this machine: {kind}, {torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}"
    total = 0.0
    for what, count, measure in (
        ("starts", amounts.jobs, seconds_to_start),
        (
            "finetuning steps",
            finetune.planned_steps(amounts.train, recipe),
            lambda: seconds_per_training_step(recipe, depth, kind, steps),
        ),
        (
            "encoder steps",
            round(encoder.epochs * -(-amounts.train // encoder.batch_size)),
            lambda: seconds_per_encoder_step(encoder.batch_size, steps),
        ),
        ("finetuned answers", amounts.test, lambda: seconds_per_answer(network(depth, kind), prompts, COMPLETION)),
        (
            "untrained answers",
            amounts.test,
            lambda: seconds_per_answer(network(LAYERS, kind), prompts, study.generation.max_new_tokens),
        ),
    ):
        each = measure()
        total += count * each
        yield f"  {count * each:6.0f} s  {count} {what} at {each:.2f} s"
    yield f"projected: {total / 60:.1f} minutes"


def amounts_of(study: Study) -> Amounts:
    """Samples per split and jobs of the study, as Snakemake would run them."""
    with (DEMO / str(study.data.source.path)).open(encoding="utf-8", newline="") as table:  # type: ignore[union-attr]
        rows = len(list(csv.DictReader(table)))
    train, validation = round(0.7 * rows), round(0.15 * rows)
    arms = len(study.networks) + 1
    fitted = len(study.embedding) + len(study.encoder) + 1
    jobs = 1 + len(study.networks) + len(study.slm) + 2 * arms + 2 * fitted + 2  # prepare, fetch, ..., compare, report
    return Amounts(train, validation, rows - train - validation, jobs)


def network(layers: int, kind: NumberType) -> PreTrainedModel:
    """A random network of SmolLM2's shape."""
    model = LlamaForCausalLM(LlamaConfig(**SHAPE, num_hidden_layers=layers))
    return model.to(getattr(torch, kind)).eval()


@contextmanager
def timed() -> Iterator[list[float]]:
    """A list that holds the block's seconds once it is over."""
    found: list[float] = []
    start = time.perf_counter()
    yield found
    found.append(time.perf_counter() - start)


def seconds_per_training_step(recipe: Finetune, layers: int, kind: NumberType, steps: int) -> float:
    model = network(layers, kind)
    rows = [
        batches.Sample(f"{index}", tuple(ids[:PROMPT]), tuple(ids[PROMPT:]), False)
        for index, ids in enumerate(token_rows((steps + 1) * recipe.batch_size, PROMPT + COMPLETION))
    ]
    rank, alpha = finetune.rank_and_alpha(recipe, 1)
    dropout = lora.add_adapters(model, recipe.lora, rank, alpha, seed=0)
    path, _ = forward_paths.choose(model, rows, samples.longest_of(rows), False)
    device = torch.device("cpu")
    trainer = Trainer(
        model=model, path=path, dropout=dropout, optimizer=finetune.make_optimizer(model, recipe, device),
        recipe=recipe, seed=0, samples=rows, validation=rows[:2], workers=workers.Workers(0, 1, device),
        token_budget=1024, steps=steps + 1,
    )  # fmt: skip
    state = State()
    finetune.training_step(trainer, state)
    with timed() as seconds:
        for _ in range(steps):
            finetune.training_step(trainer, state)
    return seconds[0] / steps


def seconds_per_answer(model: PreTrainedModel, prompts: int, new_tokens: int) -> float:
    """Of a free answer that no end token cuts short, and a constrained one."""
    rows = token_rows(prompts, PROMPT)
    labels = [[*ids, END] for ids in token_rows(12, COMPLETION - 1)]
    trie = build_trie([str(index) for index in range(len(labels))], labels, [END])
    decoding = Decoding(new_tokens, (END,), constrained=True, trie=trie)
    with timed() as seconds, torch.no_grad():
        for _ in generate(model, rows, decoding, Memory(token_budget=1024), GenerationStats()):
            pass
    return seconds[0] / prompts


def seconds_per_encoder_step(batch: int, steps: int) -> float:
    """A step of all-MiniLM-L6-v2's shape, whole network and optimizer, in float32."""
    config = BertConfig(hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536)
    model = BertForSequenceClassification(config).train()
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    ids, labels = torch.tensor(token_rows(batch, 125, 30_000)), torch.zeros(batch, dtype=torch.int64)
    for step in range(steps + 1):
        if step == 1:
            start = time.perf_counter()
        model(input_ids=ids, labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return (time.perf_counter() - start) / steps


def seconds_to_start() -> float:
    """A job's start: Python, torch and transformers."""
    with timed() as seconds:
        subprocess.run([sys.executable, "-c", "import torch, transformers"], check=True)
    return seconds[0]


def token_rows(count: int, length: int, vocabulary: int = 49152) -> list[list[int]]:
    rows: Sequence[Sequence[int]] = torch.randint(3, vocabulary, (count, length)).tolist()
    return [list(row) for row in rows]


if __name__ == "__main__":
    main()
