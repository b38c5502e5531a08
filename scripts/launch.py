"""Run one step as one process, on GPUs that are its own, and write down what it took from the machine.

    python scripts/launch.py --gpus 1 --step predict --arm llm/llama8b --record predict.process.json \\
        -- python scripts/predict.py ...

It waits until so many GPUs are free among those that CUDA_VISIBLE_DEVICES allows, shows the step only these, and
ends as the step ends. With --gpus 0 no device is looked at.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from slingshot import cli, gpu
from slingshot.errors import StudyError
from slingshot.processes import Ended, end_of, run_process
from slingshot.records import ProcessRecord

log = logging.getLogger("launch")

# Threads that spin while they wait take the core from those that work: on two busy cores, 18 tokens/s against 200.
ON_PROCESSORS = {"OMP_WAIT_POLICY": "PASSIVE"}


def main() -> None:
    arguments, command = _read_arguments()
    _check_gpus(arguments.gpus, arguments.gpus_wanted, arguments.arm)
    record = launch(
        command,
        step=arguments.step,
        arm=arguments.arm,
        gpus=arguments.gpus,
        record=arguments.record,
        must_stop=end_of(arguments.lives_with) if arguments.lives_with else lambda: False,
    )
    record.write(arguments.record)
    _explain(record)
    sys.exit(record.exit_code)


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

    with gpu.alone(record, holder, while_waiting) as own:
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


def _read_arguments() -> tuple[argparse.Namespace, list[str]]:
    arguments = cli.parser(__doc__)
    arguments.add_argument("--gpus", type=int, required=True, help="devices that the step gets; 0: none is touched")
    arguments.add_argument("--gpus-wanted", type=int, help="devices that it needs; more than --gpus is an error")
    arguments.add_argument("--step", required=True)
    arguments.add_argument("--arm", required=True)
    arguments.add_argument("--record", type=Path, required=True, help="where the ProcessRecord is written")
    arguments.add_argument("--lives-with", type=int, help="id of a process; when that ends, the step is stopped")
    arguments.add_argument("command", nargs=argparse.REMAINDER, help="-- and the step's command line")
    parsed = arguments.parse_args()
    command = parsed.command[1:] if parsed.command[:1] == ["--"] else parsed.command
    if not command:
        arguments.error("no command: put the step's command line after --")
    return parsed, command


def _check_gpus(given: int, wanted: int | None, arm: str) -> None:
    """Snakemake cuts a request that is over the limit in silence; here it is an error."""
    if wanted is not None and wanted > given:
        raise StudyError(
            f"{arm} asks for {wanted} GPU{'s' * (wanted > 1)} and the workflow may use {given}: "
            f"run snakemake with --resources gpu={wanted}, or lower hardware.gpus in config.yaml"
        )


def _explain(record: ProcessRecord) -> None:
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


if __name__ == "__main__":
    cli.run(main)
