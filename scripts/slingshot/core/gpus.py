"""The GPUs of this machine: which there are, what they can, and what they hold. Imports no torch."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from slingshot.core.errors import StudyError

# For tests: the number of pretended devices instead of the machine's.
FAKE_VARIABLE = "SLINGSHOT_FAKE_DEVICES"


@dataclass(frozen=True)
class Device:
    """One GPU, or one slice of it (MIG). `used` gives bytes, `energy` joules or None."""

    identity: str
    card: str
    index: int
    name: str
    capability: tuple[int, int]  # compute capability, as (8, 0)
    total: int
    used: Callable[[], int]
    energy: Callable[[], float | None]


def devices_allowed(visible: str | None = None) -> list[Device]:
    """The devices that this process may use.

    Args:
        visible: CUDA_VISIBLE_DEVICES; None where it is unset, and then every device of the machine is meant.

    Raises:
        StudyError: there is no driver, or `visible` names a device that isn't there.
    """
    fake = os.environ.get(FAKE_VARIABLE)
    return choose_devices(_fake_devices(int(fake)) if fake else _nvml_devices(), visible)


def has_gpu() -> bool:
    """Whether this process may use at least one device; a machine without a driver has none."""
    try:
        return bool(devices_allowed(os.environ.get("CUDA_VISIBLE_DEVICES")))
    except StudyError:
        return False


def choose_devices(devices: Sequence[Device], visible: str | None) -> list[Device]:
    """Those of `devices` that CUDA_VISIBLE_DEVICES names: by index, GPU-UUID or MIG-UUID, in its order.

    An index or a card's UUID stands for the first slice where the card is cut into slices, as CUDA has it.

    Raises:
        StudyError: it names a device that isn't there.
    """
    if visible is None:
        return list(devices)
    found = []
    for entry in filter(None, (part.strip() for part in visible.split(","))):
        if entry == "-1":
            break  # CUDA ignores all that follows an invalid entry
        match = next((device for device in devices if _is_named(device, entry)), None)
        if match is None:
            there = ", ".join(device.identity for device in devices) or "none"
            raise StudyError(f"CUDA_VISIBLE_DEVICES names {entry}, and this machine has {there}: fix or unset it")
        found.append(match)
    return found


def _is_named(device: Device, entry: str) -> bool:
    if entry.isdigit():
        return device.index == int(entry)
    return device.identity.startswith(entry) or device.card.startswith(entry)


def _fake_devices(count: int) -> list[Device]:
    return [
        Device(f"GPU-fake{index}", f"GPU-fake{index}", index, "pretended GPU", (9, 0), 1 << 30, lambda: 0, lambda: None)
        for index in range(count)
    ]


def _nvml_devices() -> list[Device]:
    """What the NVIDIA driver shows; a card that is cut into slices is listed as its slices."""
    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception as error:  # no package, no library, no driver: to the user it is one and the same
        raise StudyError(
            f"no GPU found ({error}): set hardware.device to cpu in config.yaml (slow, and not for 4-bit models), "
            "or see what `nvidia-smi` says"
        ) from None
    found = []
    for index in range(pynvml.nvmlDeviceGetCount()):
        handle = pynvml.nvmlDeviceGetHandleByIndex(index)
        card = _text(pynvml.nvmlDeviceGetUUID(handle))
        major, minor = pynvml.nvmlDeviceGetCudaComputeCapability(handle)  # a slice has its card's
        found += [_nvml_device(part, card, index, (major, minor)) for part in _slices(handle) or [handle]]
    return found


def _slices(handle: Any) -> list[Any]:
    """Handles of a card's MIG slices; none where it isn't cut."""
    import pynvml

    try:
        if not pynvml.nvmlDeviceGetMigMode(handle)[0]:
            return []
        count = pynvml.nvmlDeviceGetMaxMigDeviceCount(handle)
    except pynvml.NVMLError:
        return []
    slices = []
    for index in range(count):
        try:
            slices.append(pynvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, index))
        except pynvml.NVMLError:
            continue  # a place where no slice was made
    return slices


def _nvml_device(handle: Any, card: str, index: int, capability: tuple[int, int]) -> Device:
    import pynvml

    def memory() -> Any:
        try:  # the newer call leaves out what the driver itself keeps
            return pynvml.nvmlDeviceGetMemoryInfo(handle, version=pynvml.nvmlMemory_v2)
        except (pynvml.NVMLError, AttributeError):
            return pynvml.nvmlDeviceGetMemoryInfo(handle)

    def energy() -> float | None:
        try:
            return pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1000
        except pynvml.NVMLError:
            return None

    return Device(
        identity=_text(pynvml.nvmlDeviceGetUUID(handle)),
        card=card,
        index=index,
        name=_text(pynvml.nvmlDeviceGetName(handle)),
        capability=capability,
        total=int(memory().total),
        used=lambda: int(memory().used),
        energy=energy,
    )


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
