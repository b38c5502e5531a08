"""The processes that train together, data-parallel: each has a part of every batch, and all have the same adapter."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from slingshot.core.errors import StudyError


@dataclass(frozen=True)
class Workers:
    """This process among all; one, unless a launcher such as `accelerate launch` started more."""

    rank: int
    count: int
    device: torch.device

    def add_up(self, value: Tensor) -> Tensor:
        """Add up a tensor over all processes, in place; returns it."""
        if self.count > 1:
            torch.distributed.all_reduce(value)
        return value

    def find_least(self, value: int) -> int:
        """The least value of all processes."""
        if self.count == 1:
            return value
        box = torch.tensor(value, device=self.device)
        torch.distributed.all_reduce(box, op=torch.distributed.ReduceOp.MIN)
        return int(box)

    def sum_gradients(self, parameters: Sequence[Tensor]) -> None:
        """Add up the parameters' gradients over all processes, in one message; none counts as zeros."""
        if self.count == 1:
            return
        gradients = [torch.zeros_like(one) if one.grad is None else one.grad for one in parameters]
        flat = self.add_up(torch.cat([gradient.flatten() for gradient in gradients]))
        parts = flat.split([one.numel() for one in parameters])
        for parameter, gradient, part in zip(parameters, gradients, parts, strict=True):
            parameter.grad = gradient.copy_(part.view_as(gradient))


@contextmanager
def join_workers(device: str) -> Iterator[Workers]:
    """This process's place among those that a launcher started; alone where none did.

    Raises:
        StudyError: no GPU for device cuda.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if device == "cuda" and not torch.cuda.is_available():
        raise StudyError("hardware.device is cuda, but torch sees no GPU here; set hardware.device: cpu")
    if count == 1:
        yield Workers(0, 1, torch.device("cuda:0" if device == "cuda" else "cpu"))
        return
    from accelerate import PartialState

    here = PartialState(cpu=device == "cpu")
    try:
        yield Workers(here.process_index, here.num_processes, here.device)
    finally:
        here.destroy_process_group()
