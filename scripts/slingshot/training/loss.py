"""Cross-entropy of the completions alone: prompts are read, not learned.

The loss of a batch is the mean over its completion tokens, as in TRL and transformers. A micro-batch contributes the
sum over its own tokens, divided by the count in the whole batch: cutting a batch into other micro-batches changes
neither the loss nor the gradient.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from slingshot.nn.lora import Dropout
from slingshot.training.batches import ForwardPath, Packed, Sample


def token_losses(logits: Tensor, targets: Tensor) -> Tensor:
    """(scored, vocabulary) logits and (scored,) token ids to (scored,) losses in nats, in at least float32."""
    wide = logits if logits.dtype == torch.float64 else logits.float()
    return F.cross_entropy(wide, targets, reduction="none")


def completion_tokens(samples: Sequence[Sample]) -> int:
    """How many tokens of these samples are learned."""
    return sum(len(sample.completion) for sample in samples)


def faulty_samples(losses: Tensor, owner: Tensor, sample_ids: Sequence[str]) -> list[str]:
    """Ids of the samples with a loss that is not a finite number."""
    bad = owner[~torch.isfinite(losses.detach())].unique().tolist()
    return [sample_ids[index] for index in bad]


def add_gradients(path: ForwardPath, dropout: Dropout, packed: Packed, count: int) -> tuple[Tensor, Tensor]:
    """Add a micro-batch's gradients; returns its share of the loss over `count` tokens, and its losses (scored,)."""
    dropout.set_rows(packed.row_keys)
    losses = token_losses(path.logits(packed), packed.targets)
    loss = losses.sum() / count
    loss.backward()
    return loss.detach(), losses.detach()
