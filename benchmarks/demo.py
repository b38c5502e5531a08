"""How long `make demo` takes on this machine, projected from a few of its steps; CI prints it.

    python benchmarks/demo.py                      # three quarters of a minute, or so
    ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 MKL_ENABLE_INSTRUCTIONS=AVX2 \\
        python benchmarks/demo.py --dtype float32  # as a processor with AVX2 alone
    python benchmarks/demo.py --finished           # after `make demo`: minutes and scores of that run, no projection

Needs no download: networks of the demo's shapes with random weights, and prompts of random tokens of its lengths, go
through the same code as in the study. What is measured: steps of finetuning, answers of both language models, steps of
the encoder, texts of the embedding, the start of a job with torch and of one without, and Snakemake's own start. How
many there are of each is counted from studies/demo/config.yaml and its data. What cannot be measured without a download
(fetching and dequantizing, TF-IDF, scores, the report) is taken from a run of the demo: see FETCHING, SMALL_STEPS and
ENDING.

The demo has two cores and a step takes one: whatever does not need the finetuned network runs beside its training. So
the minutes are those of fetching and training, or of all that runs beside them if that takes longer, and of what comes
after. Two figures: as long as it takes at the load that the machine has now, and with its cores free, where what counts
is the processor time, spread over the threads that a step has. A step is measured with nothing of ours beside it, which
flatters it by a tenth to a quarter.
"""

from __future__ import annotations

import argparse
import csv
import os
import resource
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import yaml
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    BertModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
)

HOUSE = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(HOUSE / "scripts"))

from slingshot.artifacts.metrics import read_metrics  # noqa: E402
from slingshot.config.base import Dtype, NumberType  # noqa: E402
from slingshot.config.recipe import Finetune  # noqa: E402
from slingshot.config.study import Study, parse_study  # noqa: E402
from slingshot.generation.answer_trie import build_trie  # noqa: E402
from slingshot.generation.generate import generate  # noqa: E402
from slingshot.generation.types import Decoding, GenerationStats, Memory  # noqa: E402
from slingshot.models.number_types import number_type  # noqa: E402
from slingshot.nn import lora  # noqa: E402
from slingshot.nn.class_head import replace_head  # noqa: E402
from slingshot.training import batches, finetune, forward_paths, samples, schedule, workers  # noqa: E402
from slingshot.training.state import State, Trainer  # noqa: E402

DEMO = HOUSE / "studies/demo"
SHAPE: dict[str, Any] = {
    "vocab_size": 49152, "hidden_size": 576, "intermediate_size": 1536, "num_attention_heads": 9,
    "num_key_value_heads": 3, "max_position_embeddings": 8192, "tie_word_embeddings": True, "rope_theta": 100_000.0,
}  # fmt: skip
MINILM: dict[str, Any] = {
    "hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536,
}  # fmt: skip
LAYERS = 30  # of SmolLM2-135M
LABELS = 12
END = 2
PROMPT, ANSWER = 159, 13  # tokens: the median of the demo's prompts, the mean of its answers with their end
# Seconds of the processor besides starting, counted in runs of the demo on an AMD EPYC, 28 November 2026:
FETCHING = 13  # SmolLM2, whole and cut
SMALL_STEPS = 15  # TF-IDF, its answers, and all scores but the last
ENDING = 16  # the last score, the comparison and the report; 7 where no Chromium draws figures
DIALOGUE = 125  # tokens of a dialogue, as MiniLM counts them


@dataclass(frozen=True)
class Amounts:
    """How much of everything the demo does."""

    train: int
    validation: int
    test: int
    torch_jobs: int  # beside the finetune
    other_jobs: int


@dataclass(frozen=True)
class Cost:
    """What one of something takes: seconds that pass, and of the processor."""

    seconds: float
    processor: float

    def times(self, count: float) -> Cost:
        return Cost(count * self.seconds, count * self.processor)


Place = Literal["until trained", "beside", "after"]


@dataclass(frozen=True)
class Part:
    """A part of the demo: how often it does what, and whether that is on the way to the report or beside it."""

    what: str
    count: int
    place: Place
    measure: Callable[[], Cost]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dtype", choices=("auto", "float32", "bfloat16"), default="auto")
    parser.add_argument("--steps", type=int, default=3, help="optimizer steps to measure, after one that is not")
    parser.add_argument("--prompts", type=int, default=12, help="prompts to answer per network, at once")
    parser.add_argument("--finished", action="store_true", help="print what the run in studies/demo/results took")
    given = parser.parse_args()
    if given.finished:
        print("\n".join(finished_run(DEMO / "results")))
        return
    torch.manual_seed(0)
    study = parse_study(yaml.safe_load((DEMO / "config.yaml").read_text(encoding="utf-8")))
    for line in projection(study, given.dtype, given.steps, given.prompts):
        print(line, flush=True)


def finished_run(results: Path) -> list[str]:
    """The steps of a finished demo by their length, and the scores of its arms, as studies/demo/README.md has them."""
    rows = []
    for path in sorted(results.glob("benchmarks/**/*.tsv")):
        with path.open(encoding="utf-8", newline="") as table:
            row = list(csv.DictReader(table, delimiter="\t"))[-1]
        step = path.relative_to(results / "benchmarks").with_suffix("")
        rows.append((float(row["s"]), float(row["cpu_time"]), str(step)))
    rows.sort(reverse=True)
    lines = [f"{seconds:7.1f} s, {processor:6.1f} of the processor  {step}" for seconds, processor, step in rows]
    lines.append(
        f"{sum(row[0] for row in rows):7.1f} s, {sum(row[1] for row in rows):6.1f} of the processor  all steps"
    )
    lines += ["", "| arm | exact code, test | the same, only known codes allowed |", "|---|---|---|"]
    for path in sorted(results.glob("*/*/metrics.json")):
        metrics = read_metrics(path)
        scores = [metrics.answers[kind].exact_match for kind in ("free", "constrained") if kind in metrics.answers]
        cells = [f"{each.value:.1%} [{100 * each.low:.1f}, {100 * each.high:.1f}]" for each in scores]
        status = f", {metrics.training_status}" if path.parts[-3] in ("llm", "slm") else ""
        lines.append(f"| {metrics.model_name}{status} | {' | '.join((*cells, '')[:2])} |")
    return lines


def projection(study: Study, dtype: Dtype, steps: int, prompts: int) -> Iterator[str]:
    """Lines that say what was measured and what it comes to."""
    kind, threads = number_type(dtype, "cpu"), study.hardware.threads
    torch.set_num_threads(threads)
    yield (
        f"Demo on this machine: {kind}, {threads} thread{'s' * (threads > 1)} per step, "
        f"{torch.backends.cpu.get_cpu_capability()}, load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    )
    busy, free = Counter[Place](), Counter[Place]()
    for part in parts_of(study, kind, steps, prompts):
        each = part.measure()
        whole = each.times(part.count)
        busy[part.place] += whole.seconds
        free[part.place] += min(whole.seconds, whole.processor / threads)
        yield (
            f"  {whole.seconds:6.0f} s, {whole.processor:5.0f} of the processor  {part.count} {part.what} "
            f"at {each.seconds:.2f} s, {part.place}"
        )
    yield (
        f"projected: {seconds_in_all(busy) / 60:.1f} minutes at this load, "
        f"{seconds_in_all(free) / 60:.1f} with the cores free"
    )


def seconds_in_all(spent: Mapping[Place, float]) -> float:
    """What runs beside the training costs nothing where it ends first."""
    return max(spent["until trained"], spent["beside"]) + spent["after"]


def parts_of(study: Study, kind: NumberType, steps: int, prompts: int) -> list[Part]:
    """What the demo spends its time on, in the order in which it is measured."""
    amounts = amounts_of(study)
    small = next(iter(study.slm.values()))
    recipe, depth = small.finetune, small.layers or LAYERS
    encoder = next(iter(study.encoder.values()))
    answered = amounts.validation + amounts.test
    embedded = (
        amounts.train + amounts.validation + 2 * answered
    )  # to fit the embedding, to answer by it and the encoder
    training = schedule.planned_steps(amounts.train, recipe)
    encoding = round(encoder.epochs * -(-amounts.train // encoder.batch_size))

    def finetuned() -> Cost:
        if recipe.head == "classify":
            return seconds_per_class(network(depth, kind), prompts)
        return seconds_per_answer(network(depth, kind), prompts, ANSWER)

    def training_step() -> Cost:
        return seconds_per_training_step(recipe, depth, kind, steps)

    def untrained() -> Cost:
        return seconds_per_answer(network(LAYERS, kind), prompts, study.generation.max_new_tokens)

    def counted(seconds: float) -> Callable[[], Cost]:
        return lambda: Cost(seconds, seconds)

    def snakemake() -> Cost:
        return seconds_of_command("-m", "snakemake", "--directory", str(DEMO), "-n")

    def torch_job() -> Cost:
        return seconds_of_imports("torch, transformers")

    def other_job() -> Cost:
        return seconds_of_imports("pandas, pyarrow")

    return [
        Part("start of Snakemake", 1, "until trained", snakemake),
        Part("time to fetch (counted elsewhere, not here)", 1, "until trained", counted(FETCHING)),
        Part("starts of jobs with torch", 2, "until trained", torch_job),  # the fetch and the finetune
        Part("finetuning steps", training, "until trained", training_step),
        Part("starts of jobs with torch", amounts.torch_jobs, "beside", torch_job),
        Part("starts of jobs without torch", amounts.other_jobs, "beside", other_job),
        Part("time for TF-IDF and scores (counted elsewhere, not here)", 1, "beside", counted(SMALL_STEPS)),
        Part("encoder steps", encoding, "beside", lambda: seconds_per_encoder_step(encoder.batch_size, kind, steps)),
        Part("texts embedded", embedded, "beside", lambda: seconds_per_embedding(prompts, kind)),
        Part("untrained answers", amounts.test, "beside", untrained),
        Part("start of a job with torch", 1, "after", torch_job),
        Part("finetuned answers", amounts.test, "after", finetuned),
        Part("starts of jobs without torch", 3, "after", other_job),
        Part("score, comparison, report (counted elsewhere, not here)", 1, "after", counted(ENDING)),
    ]


def amounts_of(study: Study) -> Amounts:
    """Samples per split and jobs of the study, as Snakemake would run them."""
    with (DEMO / str(study.data.source.path)).open(encoding="utf-8", newline="") as table:  # type: ignore[union-attr]
        rows = len(list(csv.DictReader(table)))
    train, validation = round(0.7 * rows), round(0.15 * rows)
    rivals = len(study.embedding) + len(study.encoder)
    with_torch = len(study.llm) + 2 * rivals  # predict; fit and answer
    other = 1 + 2 + 2 * (len(study.llm) + rivals) + 1  # prepare, TF-IDF, fetch and score, score of TF-IDF
    return Amounts(train, validation, rows - train - validation, with_torch, other)


def network(layers: int, kind: NumberType) -> PreTrainedModel:
    """A random network of SmolLM2's shape."""
    model = LlamaForCausalLM(LlamaConfig(**SHAPE, num_hidden_layers=layers))
    return model.to(getattr(torch, kind)).eval()


class Meter:
    """A stopwatch of seconds and processor time, children included."""

    def __init__(self) -> None:
        self._seconds, self._processor = time.perf_counter(), processor_seconds()

    def read(self) -> Cost:
        return Cost(time.perf_counter() - self._seconds, processor_seconds() - self._processor)


def processor_seconds() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def seconds_per_training_step(recipe: Finetune, layers: int, kind: NumberType, steps: int) -> Cost:
    """A step of the demo's recipe; a head over labels has one token to learn, an answer that is written a few."""
    model = network(layers, kind)
    answer = ANSWER if recipe.head == "write" else 1
    rows = [
        batches.Sample(f"{index}", tuple(ids), tuple(number % LABELS for number in ids[:answer]), False)
        for index, ids in enumerate(token_rows((steps + 1) * recipe.batch_size, PROMPT))
    ]
    rank, alpha = finetune.rank_and_alpha(recipe, 1)
    dropout = lora.add_adapters(model, recipe.lora, rank, alpha, seed=0)
    if recipe.head == "classify":
        replace_head(model, LABELS, seed=0)
    path, _ = forward_paths.choose(model, rows, samples.longest_of(rows), False)
    device = torch.device("cpu")
    trainer = Trainer(
        model=model, path=path, dropout=dropout, optimizer=finetune.make_optimizer(model, recipe, device),
        recipe=recipe, seed=0, samples=rows, validation=rows[:2], workers=workers.Workers(0, 1, device),
        token_budget=1024, steps=steps + 1,
    )  # fmt: skip
    state = State()
    finetune.training_step(trainer, state)
    meter = Meter()
    for _ in range(steps):
        finetune.training_step(trainer, state)
    return meter.read().times(1 / steps)


def seconds_per_class(model: PreTrainedModel, prompts: int) -> Cost:
    """Of a forward pass over a prompt, as the head over labels takes one."""
    rows = [torch.tensor([ids]) for ids in token_rows(prompts + 1, PROMPT)]
    with torch.no_grad():
        for index, ids in enumerate(rows):
            if index == 1:
                meter = Meter()
            model.model(input_ids=ids, use_cache=False)
    return meter.read().times(1 / prompts)


def seconds_per_answer(model: PreTrainedModel, prompts: int, new_tokens: int) -> Cost:
    """Of a free answer that no end token cuts short, and a constrained one."""
    rows = token_rows(prompts, PROMPT)
    labels = [[*ids, END] for ids in token_rows(LABELS, ANSWER - 1)]
    trie = build_trie([str(index) for index in range(len(labels))], labels, [END])
    decoding = Decoding(new_tokens, (END,), constrained=True, trie=trie)
    meter = Meter()
    with torch.no_grad():
        for _ in generate(model, rows, decoding, Memory(token_budget=1024), GenerationStats()):
            pass
    return meter.read().times(1 / prompts)


def seconds_per_encoder_step(batch: int, kind: NumberType, steps: int) -> Cost:
    """A step of all-MiniLM-L6-v2's shape, whole network and optimizer; `kind` is the forward pass's type."""
    model = BertForSequenceClassification(BertConfig(**MINILM)).train()
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    ids, labels = torch.tensor(token_rows(batch, DIALOGUE, 30_000)), torch.zeros(batch, dtype=torch.int64)
    for step in range(steps + 1):
        if step == 1:
            meter = Meter()
        with torch.autocast("cpu", getattr(torch, kind), enabled=kind != "float32"):
            loss = model(input_ids=ids, labels=labels).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return meter.read().times(1 / steps)


def seconds_per_embedding(texts: int, kind: NumberType) -> Cost:
    """Of a dialogue through all-MiniLM-L6-v2's shape."""
    model = BertModel(BertConfig(**MINILM)).to(getattr(torch, kind)).eval()
    ids = torch.tensor(token_rows(texts, DIALOGUE, 30_000))
    with torch.no_grad():
        model(input_ids=ids)
        meter = Meter()
        model(input_ids=ids)
    return meter.read().times(1 / texts)


def seconds_of_imports(names: str) -> Cost:
    """A job's start: Python and the packages that it imports."""
    return seconds_of_command("-c", f"import {names}")


def seconds_of_command(*arguments: str) -> Cost:
    meter = Meter()
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
    return meter.read()


def token_rows(count: int, length: int, vocabulary: int = 49152) -> list[list[int]]:
    rows: Sequence[Sequence[int]] = torch.randint(3, vocabulary, (count, length)).tolist()
    return [list(row) for row in rows]


if __name__ == "__main__":
    main()
