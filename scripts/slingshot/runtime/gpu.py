"""Holding the machine's GPUs, one process each by a lock, and what they show afterwards. Imports no torch."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from slingshot.core.errors import StudyError
from slingshot.core.gpus import Device
from slingshot.runtime.locks import Patience, holder_of, try_lock


@contextmanager
def hold_gpus(
    count: int, devices: Sequence[Device], holder: str, while_waiting: Callable[[], None] = lambda: None
) -> Iterator[dict[Device, int]]:
    """Hold `count` of the devices, each by the descriptor of its lock; wait until that number is free.

    Hand the descriptors to the process that uses the devices: the kernel drops a lock when the last process that
    has it is gone, so that even after a SIGKILL of the holder no device is given away while it is in use.

    Raises:
        StudyError: there are fewer devices than that.
    """
    if count > len(devices):
        raise StudyError(
            f"{holder} needs {count} GPU{'s' * (count > 1)} and may use {len(devices)}: lower hardware.gpus in "
            "config.yaml, or widen CUDA_VISIBLE_DEVICES"
        )
    claim = _hold_when_free(count, devices, holder, while_waiting)
    try:
        yield claim
    finally:
        for descriptor in claim.values():
            os.close(descriptor)


def wait_until_freed(devices: Sequence[Device], at_most: int, seconds: float = 5) -> int:
    """Bytes used on the devices, once it has fallen to `at_most` or the time is over: a driver frees late."""
    deadline = time.monotonic() + seconds
    while (used := sum(device.used() for device in devices)) > at_most and time.monotonic() < deadline:
        time.sleep(0.1)
    return used


def energy_of(devices: Sequence[Device]) -> float | None:
    """Joules that the devices' own counters show; None where one has no counter."""
    readings = [device.energy() for device in devices]
    known = [reading for reading in readings if reading is not None]
    return sum(known) if known and len(known) == len(readings) else None


def _hold_when_free(
    count: int, devices: Sequence[Device], holder: str, while_waiting: Callable[[], None]
) -> dict[Device, int]:
    waits = Patience(f"{holder}: waiting for {count} free of {len(devices)} GPUs")
    while True:
        claim: dict[Device, int] = {}
        for device in devices:
            if len(claim) < count and (descriptor := try_lock(f"device-{device.identity}", holder)) is not None:
                claim[device] = descriptor
        if len(claim) == count:
            return claim
        for descriptor in claim.values():  # hold none while waiting, or two that need two would wait for ever
            os.close(descriptor)
        held = [holder_of(f"device-{device.identity}") for device in devices if device not in claim]
        waits.wait(while_waiting, "; ".join(held))
