"""The memory of the device that a step runs on: its limit, what is free, the peak; and copies to the device."""

from __future__ import annotations

import gc

import torch
from torch import Tensor


def limit_memory(device: torch.device, memory_gb: float | None) -> None:
    """Let this process take no more than `memory_gb` (10^9 bytes) of a GPU, as if it were a smaller card."""
    if device.type == "cuda" and memory_gb is not None:
        index = torch.cuda.current_device() if device.index is None else device.index
        total = torch.cuda.get_device_properties(index).total_memory
        torch.cuda.set_per_process_memory_fraction(min(memory_gb * 1e9 / total, 1.0), index)


def free_bytes(device: torch.device) -> int:
    """Bytes that this process may still take of a GPU: what is free, its own cache included, within its limit."""
    free, total = torch.cuda.mem_get_info(device)
    cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    allowed = int(total * torch.cuda.get_per_process_memory_fraction(device)) - torch.cuda.memory_allocated(device)
    return max(min(free + cached, allowed), 0)


def peak_memory(device: torch.device) -> int | None:
    """Bytes of a GPU that tensors took at most; None for a processor."""
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None


def release_memory(device: torch.device | str) -> None:
    """Give cached memory back, so that what follows an out-of-memory error finds it whole."""
    gc.collect()
    if torch.device(device).type == "cuda":
        torch.cuda.empty_cache()


def to_device(tensor: Tensor, device: torch.device | str) -> Tensor:
    """A copy on the device. To a GPU it goes through pinned memory, since a copy from pageable memory waits for all
    work that is queued there.
    """
    if torch.device(device).type != "cuda" or tensor.is_cuda:
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)
