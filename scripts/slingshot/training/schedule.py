"""Which samples each optimizer step takes, how many steps a run has, and their learning rates."""

from __future__ import annotations

import math

from slingshot.config.recipe import Finetune
from slingshot.training import batches as packing
from slingshot.training.batches import Sample
from slingshot.training.state import Trainer


def planned_steps(samples: int, recipe: Finetune) -> int:
    """Optimizer steps of a whole run; an epoch's last batch may be smaller."""
    steps = math.ceil(recipe.epochs * math.ceil(samples / recipe.batch_size))
    return min(steps, recipe.max_steps) if recipe.max_steps else steps


def batch_of(trainer: Trainer, step: int) -> tuple[float, list[Sample]]:
    """The epoch, with the part of it that is done, and the samples of a step (counted from 0)."""
    size, count = trainer.recipe.batch_size, len(trainer.samples)
    epoch, position = divmod(step, math.ceil(count / size))
    order = packing.epoch_order(count, trainer.seed, epoch)
    return epoch + position * size / count, [
        trainer.samples[at] for at in order[position * size : (position + 1) * size]
    ]


def learning_rate(step: int, steps: int, recipe: Finetune) -> float:
    """The rate of a step counted from 0: a linear rise over the warm-up, then the schedule down to 0 at the end."""
    warmup = round(recipe.warmup_share * steps)
    if step < warmup:
        return recipe.learning_rate * (step + 1) / warmup
    done = (step - warmup) / max(1, steps - warmup)
    shape = {"cosine": 0.5 * (1 + math.cos(math.pi * done)), "linear": 1 - done, "constant": 1.0}
    return recipe.learning_rate * shape[recipe.schedule]
