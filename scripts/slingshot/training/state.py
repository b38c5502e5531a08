"""What a finetune holds while it runs."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from slingshot.config.recipe import Finetune
from slingshot.config.specs import FinetuneSpec
from slingshot.nn import lora
from slingshot.training.batches import ForwardPath, Packed, Sample
from slingshot.training.step_graphs import StepGraphs
from slingshot.training.workers import Workers


@dataclass(frozen=True)
class FinetuneJob:
    """What to finetune, where its inputs and outputs are, and what it may take of the machine."""

    spec: FinetuneSpec
    arm: str
    model: Path
    labels: Path
    train: Path
    validation: Path
    adapter: Path
    training: Path
    log: Path
    record: Path
    device: str = "cuda"
    token_budget: int | None = None
    memory_gb: float | None = None
    attempt: int = 1
    tensorboard: Path | None = None
    checkpoint_minutes: float = 10
    checkpoint_steps: int | None = None


@dataclass
class Trainer:
    """All that a training step needs."""

    model: PreTrainedModel
    path: ForwardPath
    dropout: lora.Dropout
    optimizer: torch.optim.AdamW
    recipe: Finetune
    seed: int
    samples: list[Sample]
    validation: list[Sample]
    workers: Workers
    token_budget: int
    steps: int
    budget_is_free: bool = False  # the token budget was neither set nor halved by an earlier attempt
    recomputed: float = 0  # share of activations that the backward pass redoes: less memory, more time
    graphs: StepGraphs | None = None  # micro-batches as CUDA graphs, where launching kernels takes most of the time
    started: float = field(default_factory=time.monotonic)  # when this process began its work
    ahead: tuple[tuple[list[Sample], int, int], list[Packed]] | None = None  # batch, epoch, budget: its micro-batches


@dataclass
class State:
    """Where a run stands: what a checkpoint holds besides tensors."""

    step: int = 0
    best_step: int = 0
    best_score: float | None = None  # higher is better: minus the loss, or exact match
    evaluations_without_gain: int = 0
    trained_tokens: int = 0
    earlier_seconds: float = 0.0  # of the processes that this one goes on from, up to their last checkpoint
    stopped_early: bool = False
    log: list[dict[str, Any]] = field(default_factory=list)
    best: dict[str, Tensor] = field(default_factory=dict)

    def facts(self) -> dict[str, Any]:
        return {key: value for key, value in vars(self).items() if key != "best"}


@dataclass(frozen=True)
class BatchLoss:
    """A batch's loss, on the device, and what each of this process's micro-batches contributed."""

    total: Tensor
    parts: list[tuple[Tensor, Packed]]  # losses (scored,)


def trained_parameters(trainer: Trainer) -> list[Tensor]:
    return [parameter for group in trainer.optimizer.param_groups for parameter in group["params"]]
