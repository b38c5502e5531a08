"""What a finetune writes: adapter, training.json, its log, TensorBoard."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from slingshot.artifacts.model_card import ModelCard
from slingshot.artifacts.records import StepRecord
from slingshot.artifacts.training import digest_of_adapter
from slingshot.core.environment import device_name, versions
from slingshot.core.errors import StudyError
from slingshot.core.files import write_json, write_jsonl
from slingshot.core.hashing import digest_of_file
from slingshot.models.device_memory import peak_memory
from slingshot.models.loading import warn_of_missing_template
from slingshot.training import batches as packing
from slingshot.training.state import FinetuneJob, State, Trainer

MICRO_F1 = "validation_micro_f1"  # of sets of labels


def write_results(
    job: FinetuneJob,
    card: ModelCard,
    tokenizer: PreTrainedTokenizerBase,
    trainer: Trainer,
    state: State,
    rank: int,
    alpha: int,
    seconds: dict[str, float],
    notes: list[str],
) -> None:
    """training.json, training_log.jsonl and the step's record."""
    write_json(job.training, summary(trainer, state, rank, alpha))
    write_jsonl(job.log, state.log)
    device = trainer.workers.device
    StepRecord(
        step="finetune",
        arm=job.arm,
        spec=job.spec.model_dump(mode="json"),
        inputs={
            "train": digest_of_file(job.train),
            "validation": digest_of_file(job.validation),
            "model": card.revision,
            "adapter": digest_of_adapter(job.adapter),
        },
        versions=versions(),
        device=device_name(str(device)),
        dtype=str(trainer.model.dtype).removeprefix("torch."),
        seed=job.spec.seed,
        seconds={phase: round(duration, 3) for phase, duration in seconds.items()},
        samples=len(trainer.samples),
        trained_tokens=state.trained_tokens,
        earlier_seconds=round(state.earlier_seconds, 3),
        truncated_samples=sum(sample.truncated for sample in trainer.samples),
        token_budget=trainer.token_budget,
        peak_allocated=peak_memory(device),
        notes=notes,
        warnings=warn_of_missing_template(card, tokenizer),
    ).write(job.record)


def summary(trainer: Trainer, state: State, rank: int, alpha: int) -> dict[str, Any]:
    """training.json: what was trained on, for how long, and how it went."""
    evaluations = [row for row in state.log if "validation_loss" in row]
    best = next(row for row in evaluations if row["step"] == state.best_step)
    return {
        "train_samples": len(trainer.samples),
        "validation_samples": len(trainer.validation),
        "truncated_train_samples": sum(sample.truncated for sample in trainer.samples),
        "truncated_validation_samples": sum(sample.truncated for sample in trainer.validation),
        "prompt_tokens": {
            split: packing.prompt_lengths(samples)
            for split, samples in (("train", trainer.samples), ("validation", trainer.validation))
        },
        "head": trainer.recipe.head,
        "batch_size": trainer.recipe.batch_size,
        "lora_r": rank,
        "lora_alpha": alpha,
        "adapter_parameters": sum(value.numel() for value in state.best.values()),
        "planned_steps": trainer.steps,
        "steps": state.step,
        "epochs": state.log[-1]["epoch"],
        "stopped_early": state.stopped_early,
        "trained_tokens": state.trained_tokens,
        "select_by": trainer.recipe.select_by,
        "best_step": state.best_step,
        "best_validation_loss": best["validation_loss"],
        "best_validation_exact_match": best.get("validation_exact_match"),
        **({"best_validation_micro_f1": best[MICRO_F1]} if MICRO_F1 in best else {}),
        "first_train_loss": state.log[0]["loss"],
        "last_train_loss": state.log[-1]["loss"],
        "evaluations": [
            {key: row[key] for key in ("step", "validation_loss", "validation_exact_match", MICRO_F1) if key in row}
            for row in evaluations
        ],
    }


def open_tensorboard(folder: Path | None, first_step: int) -> Any:
    """A writer that supersedes what an earlier run wrote from `first_step` on; None without a folder."""
    if folder is None:
        return None
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise StudyError("--tensorboard needs the package tensorboard, which is not installed") from None
    return SummaryWriter(str(folder), purge_step=first_step)


def write_scalars(board: Any, row: dict[str, Any]) -> None:
    if board is not None:
        for key, value in row.items():
            if key != "step" and value is not None:
                board.add_scalar(f"finetune/{key}", value, row["step"])
