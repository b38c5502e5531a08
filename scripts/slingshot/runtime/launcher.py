"""Run a model step as a process of its own on the GPUs that it was given, and record its memory."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from slingshot.artifacts.records import ProcessRecord
from slingshot.core.errors import StudyError
from slingshot.runtime import gpu
from slingshot.runtime.locks import alone
from slingshot.runtime.processes import Ended, run_process

log = logging.getLogger("launch")

# Threads that spin while they wait take the core from those that work: on two busy cores, 18 tokens/s against 200.
ON_PROCESSORS = {"OMP_WAIT_POLICY": "PASSIVE"}


def launch(
    command: Sequence[str], step: str, arm: str, gpus: int, record: Path, must_stop: Callable[[], bool]
) -> ProcessRecord:
    """Run a step's command on `gpus` devices of its own.

    Raises:
        StudyError: there are fewer devices, or the workflow ended while the step waited for one.
    """
    holder = f"{step} {arm}"

    def while_waiting() -> None:
        if must_stop():
            raise StudyError(f"{holder}: the workflow that asked for it is gone, so it was not started")

    with alone(record, holder, while_waiting) as own:
        if gpus == 0:
            ended = run_process(command, ON_PROCESSORS | os.environ | {"CUDA_VISIBLE_DEVICES": ""}, [own], must_stop)
            return _record(step, arm, ended)
        allowed = gpu.devices_allowed(os.environ.get("CUDA_VISIBLE_DEVICES"))
        with gpu.claimed(gpus, allowed, holder, while_waiting) as claim:
            return _run_on(claim, command, step, arm, own, must_stop)


def _run_on(
    claim: Mapping[gpu.Device, int],
    command: Sequence[str],
    step: str,
    arm: str,
    own: int,
    must_stop: Callable[[], bool],
) -> ProcessRecord:
    """Run the command on the devices of the claim, and read their counters before, meanwhile and after."""
    devices = list(claim)
    names = ",".join(device.identity for device in devices)
    log.info("%s %s: on %s", step, arm, ", ".join(f"{device.name} {device.identity}" for device in devices))
    energy_before = gpu.energy_of(devices)
    before = peak = sum(device.used() for device in devices)

    def watch() -> None:
        nonlocal peak
        peak = max(peak, sum(device.used() for device in devices))

    environment = os.environ | {"CUDA_VISIBLE_DEVICES": names}
    ended = run_process(command, environment, [own, *claim.values()], must_stop, watch)
    energy_after = gpu.energy_of(devices)
    joules = None if energy_before is None or energy_after is None else energy_after - energy_before
    return _record(step, arm, ended).model_copy(
        update={
            "device": " + ".join(device.name for device in devices),
            "device_names": sorted({device.name for device in devices}),
            "devices": len(devices),
            "device_seconds": ended.seconds * len(devices),
            "device_total": sum(device.total for device in devices),
            "device_before": before,
            "device_peak": peak,
            "device_after": gpu.used_when_settled(devices, before),
            "energy_wh": None if joules is None else joules / 3600,
        }
    )


def _record(step: str, arm: str, ended: Ended) -> ProcessRecord:
    return ProcessRecord(
        step=step,
        arm=arm,
        exit_code=ended.exit_code,
        seconds=ended.seconds,
        peak_resident=ended.peak_resident,
    )


def check_gpus(given: int, wanted: int | None, arm: str) -> None:
    """Snakemake cuts a request that is over the limit in silence; here it is an error."""
    if wanted is not None and wanted > given:
        raise StudyError(
            f"{arm} asks for {wanted} GPU{'s' * (wanted > 1)} and the workflow may use {given}: "
            f"run snakemake with --resources gpu={wanted}, or lower hardware.gpus in config.yaml"
        )


def explain_end(record: ProcessRecord) -> None:
    """Say how the step ended, and what a death by signal may mean."""
    log.info(
        "%s %s: %.1f s, %.1f GB of main memory at most, exit code %d",
        record.step,
        record.arm,
        record.seconds,
        record.peak_resident / 1e9,
        record.exit_code,
    )
    if record.exit_code == 128 + signal.SIGKILL:
        log.error(
            "%s %s was killed: where nobody did that, main memory ran out (see `dmesg`); raise hardware.mem_mb on a "
            "cluster, or run fewer steps at once",
            record.step,
            record.arm,
        )
