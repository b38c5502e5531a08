"""The finetuning recipe, from top to bottom: LoRA on completions, packed, restartable.

Read `finetune` first: it calls the other parts in order. Its result depends on the spec and the input files alone: how
many tokens go at once, on how many processes and how often the run was killed change at most the rounding of sums.
"""

from __future__ import annotations

import logging
import math
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from slingshot.artifacts.model_card import ModelCard, read_model_card
from slingshot.artifacts.records import timed
from slingshot.config.recipe import Finetune
from slingshot.core.errors import StudyError
from slingshot.core.progress import progress
from slingshot.models.device_memory import limit_memory, peak_memory, release_memory
from slingshot.models.greedy import generate_greedily
from slingshot.models.loading import context_length, load_model, load_tokenizer
from slingshot.models.number_types import number_type
from slingshot.nn import expert_lora, lora
from slingshot.nn.adapter_files import save_adapter
from slingshot.nn.class_head import replace_head, trained_state, with_labels
from slingshot.nn.packed_attention import attending_by
from slingshot.training import batches as packing
from slingshot.training import checkpoints, forward_paths, token_budget
from slingshot.training.answer_scores import micro_f1, set_reader, share_equal
from slingshot.training.batches import Packed, Sample
from slingshot.training.checkpoints import as_checkpoint, restore_newest, run_key
from slingshot.training.loss import add_gradients, completion_tokens, faulty_samples, token_losses
from slingshot.training.outputs import open_tensorboard, write_results, write_scalars
from slingshot.training.samples import classes_of, longest_of, read_samples
from slingshot.training.schedule import batch_of, learning_rate, planned_steps
from slingshot.training.state import BatchLoss, FinetuneJob, State, Trainer, trained_parameters
from slingshot.training.token_budget import find_token_budget, shrink_budget
from slingshot.training.workers import join_workers

log = logging.getLogger(__name__)


def finetune(job: FinetuneJob, before: Mapping[str, float] | None = None) -> None:
    """Train an adapter and write it, its summary, its log and its record; `before` are seconds spent so far, by phase.

    Raises:
        StudyError: too little memory for the longest sample, a loss that is not a number, unusable inputs.
    """
    spec, recipe, dtype = job.spec, job.spec.finetune, number_type(job.spec.dtype, job.device, trained=True)
    seconds = dict(before or {})
    started = time.monotonic()
    with join_workers(job.device) as workers:
        make_deterministic(recipe.deterministic, spec.seed)
        limit_memory(workers.device, job.memory_gb)
        card = read_model_card(job.model)
        tokenizer = load_tokenizer(card)
        with ThreadPoolExecutor(1) as beside:  # tokenizing and loading both leave Python's lock alone
            encoding = beside.submit(
                read_samples, spec, tokenizer, job.train, job.validation, context_length(card), job.labels
            )
            with timed(seconds, "load"):
                model = load_model(card, spec.quantization, dtype, job.device, spec.unquantized_without_gpu)
            with timed(seconds, "encode"):  # what remains of it once the model is loaded
                train, validation, answers = encoding.result()
        rank, alpha = rank_and_alpha(recipe, card.parameters)
        dropout = lora.add_adapters(model, recipe.lora, rank, alpha, spec.seed)
        classes = classes_of(spec, job.train)
        if classes is not None:
            replace_head(model, len(classes), spec.seed)
        on_gpu = workers.device.type == "cuda"
        with timed(seconds, "check"):  # merges layers, compiles them, and holds them against the network's own
            path, notes = forward_paths.choose(model, train, longest_of(train, validation), on_gpu, recipe.fp8)
        trainer = Trainer(
            model=model,
            path=path,
            dropout=dropout,
            optimizer=make_optimizer(model, recipe, workers.device),
            recipe=recipe,
            seed=spec.seed,
            samples=train,
            validation=validation,
            workers=workers,
            token_budget=0,
            steps=planned_steps(samples_for_steps(job, len(train)), recipe),
            started=started,
        )
        with timed(seconds, "probe"):
            trainer.token_budget = workers.find_least(find_token_budget(trainer, job))
            trainer.graphs = token_budget.graphs_where_launches_dominate(trainer)
        score = None
        if recipe.select_by != "validation_loss":
            score = share_classified if classes is not None else make_score(job, tokenizer, answers)
        folder = checkpoints.open_folder(job.adapter, run_key(job, card)) if workers.rank == 0 else None
        with timed(seconds, "train"):
            state = restore_newest(trainer, folder) or State()
            train_until_done(trainer, state, job, folder, score, seconds)
        if workers.rank == 0:
            with timed(seconds, "save"):
                save_best(job, card, trainer, state, classes, rank, alpha)
            notes += [] if trainer.graphs is None else trainer.graphs.notes
            write_results(job, card, tokenizer, trainer, state, rank, alpha, seconds, notes)
            checkpoints.remove_checkpoints(job.adapter)


def save_best(
    job: FinetuneJob, card: ModelCard, trainer: Trainer, state: State, classes: list[str] | None, rank: int, alpha: int
) -> None:
    """Write the adapter as it was at the best step."""
    weights = job.spec.quantization if getattr(trainer.model, "is_quantized", False) else "none"
    best, experts = with_labels(state.best, classes), list(expert_lora.adapted_experts(trainer.model))
    save_adapter(job.adapter, best, trainer.recipe.lora, rank, alpha, card.base, weights, experts)


def train_until_done(
    trainer: Trainer,
    state: State,
    job: FinetuneJob,
    folder: Path | None,
    score: Callable[[Trainer], float] | None,
    seconds: dict[str, float],
) -> None:
    """The loop: a step, now and then an evaluation, now and then a checkpoint."""
    recipe = trainer.recipe
    saved_at = time.monotonic()
    board = open_tensorboard(job.tensorboard, state.step + 1) if trainer.workers.rank == 0 else None
    showing = progress(f"finetune {job.arm}", trainer.steps, "steps", done=state.step)
    with showing as meter, catch_termination() as told_to_stop:
        while state.step < trainer.steps and not state.stopped_early:
            row = training_step(trainer, state)
            if state.step % recipe.evaluate_every == 0 or state.step == trainer.steps:
                with timed(seconds, "evaluate"):
                    row |= evaluate(trainer, score)
                judge(trainer, state, row)
            stopping = told_to_stop()
            state.log.append(row)
            meter.advance(1, row["tokens"], f"loss {row['loss']:.4f}")
            write_scalars(board, row)
            due = time.monotonic() - saved_at > job.checkpoint_minutes * 60
            due = due or bool(job.checkpoint_steps and state.step % job.checkpoint_steps == 0) or stopping
            if folder is not None and due:
                checkpoints.write_checkpoint(folder, as_checkpoint(trainer, state))
                saved_at = time.monotonic()
            if stopping:
                raise SystemExit(143)


def training_step(trainer: Trainer, state: State) -> dict[str, Any]:
    """One optimizer step over one effective batch; returns its row of the log."""
    start = time.perf_counter()
    epoch, batch = batch_of(trainer, state.step)
    rate = learning_rate(state.step, trainer.steps, trainer.recipe)
    for group in trainer.optimizer.param_groups:
        group["lr"] = rate
    loss = accumulate_gradients(trainer, batch, int(epoch))
    norm = torch.nn.utils.clip_grad_norm_(trained_parameters(trainer), trainer.recipe.max_gradient_norm)
    trainer.optimizer.step()
    trainer.path.refresh()
    trainer.optimizer.zero_grad(set_to_none=True)
    state.step += 1
    pack_ahead(trainer, state.step)
    loss_value, norm_value = torch.stack([loss.total, norm.to(loss.total)]).tolist()  # waits for the device
    stop_at_nan(loss_value, norm_value, loss, batch)
    tokens = sum(map(len, batch))
    state.trained_tokens += tokens
    return {
        "step": state.step,
        "epoch": round(epoch + len(batch) / len(trainer.samples), 4),
        "loss": loss_value,
        "learning_rate": rate,
        "gradient_norm": norm_value,
        "tokens": tokens,
        "tokens_per_second": round(tokens / (time.perf_counter() - start), 1),
        "memory": peak_memory(trainer.workers.device),
    }


def accumulate_gradients(trainer: Trainer, batch: Sequence[Sample], epoch: int) -> BatchLoss:
    """Accumulate a batch's gradients micro-batch by micro-batch, without waiting for the device.

    The loss is the mean over the batch's completion tokens, however it is cut. Out of memory, the batch starts again
    with a smaller token budget, or with more activations recomputed.

    Raises:
        StudyError: not even the longest sample fits.
    """
    while True:
        try:
            return _gradients(trainer, batch, epoch)
        except torch.cuda.OutOfMemoryError:
            if trainer.workers.count > 1:  # the others wait for this one's gradients
                raise StudyError(
                    f"finetune: out of memory at {trainer.token_budget} tokens per micro-batch on GPU "
                    f"{trainer.workers.rank}; set hardware.token_budget lower"
                ) from None
            trainer.optimizer.zero_grad(set_to_none=True)
        trainer.token_budget = shrink_budget(trainer, batch)
        release_memory(trainer.workers.device)


def _gradients(trainer: Trainer, batch: Sequence[Sample], epoch: int) -> BatchLoss:
    workers, count = trainer.workers, completion_tokens(batch)
    total = torch.zeros((), dtype=torch.float64, device=workers.device)
    parts: list[tuple[Tensor, Packed]] = []
    graphs = trainer.graphs
    if graphs is not None:
        graphs.reset()
    for waiting in micro_batches(trainer, batch, epoch):
        packed = waiting.to(trainer.workers.device)
        found = None if graphs is None else graphs.run(packed, count)
        loss, losses = found or add_gradients(trainer.path, trainer.dropout, packed, count)
        total += loss
        parts.append((losses, packed))
    workers.sum_gradients(trained_parameters(trainer))
    return BatchLoss(workers.add_up(total), parts)


def micro_batches(trainer: Trainer, batch: Sequence[Sample], epoch: int) -> list[Packed]:
    """This process's part of a batch, packed to the token budget; ready where `pack_ahead` has been here before."""
    asked = (list(batch), epoch, trainer.token_budget)
    if trainer.ahead is not None and trainer.ahead[0] == asked:
        return trainer.ahead[1]
    workers = trainer.workers
    dealt = packing.bins([len(sample) for sample in batch], trainer.token_budget, at_least=workers.count)
    mine = [[batch[index] for index in part] for part in dealt[workers.rank :: workers.count] if part]
    return [packing.pack(part, trainer.seed, epoch, trainer.path.multiple_of) for part in mine]


def pack_ahead(trainer: Trainer, step: int) -> None:
    """Pack the batch of a step while the device still works on the one before."""
    if step < trainer.steps:
        epoch, batch = batch_of(trainer, step)
        asked = (batch, int(epoch), trainer.token_budget)
        trainer.ahead = (asked, micro_batches(trainer, batch, int(epoch)))


def stop_at_nan(loss: float, norm: float, of_batch: BatchLoss, batch: Sequence[Sample]) -> None:
    """Raise a StudyError that names the samples where a loss or a gradient is no finite number."""
    if math.isfinite(loss) and math.isfinite(norm):
        return
    bad = [
        name for losses, packed in of_batch.parts for name in faulty_samples(losses, packed.owner, packed.sample_ids)
    ]
    names = ", ".join(bad or [sample.sample_id for sample in batch])
    raise StudyError(
        f"finetune: the {'gradient' if math.isfinite(loss) else 'loss'} is not a finite number for sample {names}; "
        "look at these samples, or lower finetune.learning_rate"
    )


def samples_for_steps(job: FinetuneJob, chosen: int) -> int:
    """The samples that the number of steps is counted from: a learning curve may hold it while samples shrink."""
    return pyarrow.parquet.read_metadata(job.train).num_rows if job.spec.hold_steps else chosen


def rank_and_alpha(recipe: Finetune, parameters: int) -> tuple[int, int]:
    """LoRA's rank and alpha, with `auto` filled in by the model's size."""
    by_size = 16 if parameters < 1e9 else 32 if parameters < 2e9 else 64
    rank = by_size if recipe.lora.r == "auto" else recipe.lora.r
    return rank, 2 * rank if recipe.lora.alpha == "auto" else recipe.lora.alpha


def make_optimizer(model: PreTrainedModel, recipe: Finetune, device: torch.device) -> torch.optim.AdamW:
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return torch.optim.AdamW(parameters, lr=recipe.learning_rate, weight_decay=recipe.weight_decay, fused=True)


def evaluate(trainer: Trainer, score: Callable[[Trainer], float] | None) -> dict[str, float]:
    """The validation loss, and the score of the answers where selection asks for it."""
    start = time.perf_counter()
    found = {"validation_loss": measure_validation_loss(trainer)}
    if score is not None:
        found[trainer.recipe.select_by] = score(trainer)
    return {**found, "evaluation_seconds": round(time.perf_counter() - start, 3)}


@torch.no_grad()
def measure_validation_loss(trainer: Trainer) -> float:
    """Mean loss over the validation samples' completion tokens, without dropout."""
    samples, workers = trainer.validation, trainer.workers
    trainer.dropout.set_rows(None)
    total = torch.zeros((), dtype=torch.float64, device=workers.device)
    for waiting in micro_batches(trainer, samples, epoch=0):
        packed = waiting.to(trainer.workers.device)
        total += token_losses(trainer.path.logits(packed), packed.targets).sum(dtype=torch.float64)
    loss = float(trainer.workers.add_up(total)) / completion_tokens(samples)
    if not math.isfinite(loss):
        raise StudyError("finetune: the validation loss is not a finite number; lower finetune.learning_rate")
    return loss


@torch.no_grad()
def share_classified(trainer: Trainer) -> float:
    """The share of validation samples whose label the head gives the highest logit."""
    trainer.dropout.set_rows(None)
    right = torch.zeros((), dtype=torch.float64, device=trainer.workers.device)
    for waiting in micro_batches(trainer, trainer.validation, epoch=0):
        packed = waiting.to(trainer.workers.device)
        right += (trainer.path.logits(packed).argmax(dim=-1) == packed.targets).sum()
    return float(trainer.workers.add_up(right)) / len(trainer.validation)


def judge(trainer: Trainer, state: State, row: dict[str, Any]) -> None:
    """Keep the best adapter so far, and stop after too many evaluations without gain."""
    by_loss = trainer.recipe.select_by == "validation_loss"
    score = -row["validation_loss"] if by_loss else row[trainer.recipe.select_by]
    if state.best_score is None or score > state.best_score:
        state.best_score, state.best_step, state.evaluations_without_gain = score, state.step, 0
        state.best = {name: value.cpu().clone() for name, value in trained_state(trainer.model).items()}
    else:
        state.evaluations_without_gain += 1
        patience = trainer.recipe.patience
        state.stopped_early = patience is not None and state.evaluations_without_gain >= patience


def make_score(
    job: FinetuneJob, tokenizer: PreTrainedTokenizerBase, answers: dict[str, list[str]]
) -> Callable[[Trainer], float]:
    """A function that decodes the validation prompts greedily and returns their score.

    By `select_by` this is the share of right answers (of whole sets, where samples have several labels), or micro F1.
    """
    read = set_reader(job)
    new_tokens = job.spec.max_new_tokens
    end_ids = sorted({sample_end for sample_end in [tokenizer.eos_token_id] if sample_end is not None})
    score = micro_f1 if job.spec.finetune.select_by == "validation_micro_f1" else share_equal

    def score_now(trainer: Trainer) -> float:
        trainer.dropout.set_rows(None)
        stops = sorted({*end_ids, *(sample.completion[-1] for sample in trainer.validation)})
        pairs = []
        with attending_by(trainer.model, trainer.path.own_attention):
            for start in range(0, len(trainer.validation), 16):
                some = trainer.validation[start : start + 16]
                raw = answer_greedily(
                    trainer.model, tokenizer, [sample.prompt for sample in some], new_tokens or 32, stops
                )
                pairs += [(set(answers[sample.sample_id]), read(text)) for text, sample in zip(raw, some, strict=True)]
        # All processes answer everything; their mean makes all of them stop, or go on, together.
        found = torch.tensor(score(pairs), dtype=torch.float64, device=trainer.workers.device)
        return float(trainer.workers.add_up(found)) / trainer.workers.count

    return score_now


@torch.no_grad()
def answer_greedily(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    new_tokens: int,
    stops: list[int],
) -> list[str]:
    """Greedy answers to prompts of unequal length, padded on the left."""
    rows = generate_greedily(model, prompts, new_tokens, stops)
    return [str(tokenizer.decode(row, skip_special_tokens=True)).strip() for row in rows]


@contextmanager
def catch_termination() -> Iterator[Callable[[], bool]]:
    """Let SIGTERM (a scheduler's warning) stop the training between two steps: yields whether one has arrived."""
    told: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: told.append(number))
    try:
        yield lambda: bool(told)
    finally:
        signal.signal(signal.SIGTERM, before)


def make_deterministic(deterministic: bool, seed: int) -> None:
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
        torch.backends.cudnn.benchmark = False
