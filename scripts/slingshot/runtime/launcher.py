"""Run a model step as a process of its own on the GPUs that it was given, and record its memory."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from slingshot.artifacts.records import ProcessRecord
from slingshot.core import gpus
from slingshot.core.environment import processor_name
from slingshot.core.errors import StudyError
from slingshot.core.terminal import STEP_VARIABLE, TERMINAL_VARIABLE, name_terminal
from slingshot.runtime import gpu
from slingshot.runtime.failures import forget_failure, remember_failure, remembered_failure
from slingshot.runtime.locks import exclusive_lock
from slingshot.runtime.processes import Ended, run_process
from slingshot.runtime.processors import choose_wait_policy

log = logging.getLogger("launch")

# Exit codes that a second try would only repeat: an error of the study (1), of the command line (2). A death by signal
# or an unforeseen exception (70) is tried again, with a smaller token budget, but for a stop that somebody asked for.
COMES_AGAIN = (1, 2)

PERMANENT = (0, *COMES_AGAIN, 128 + signal.SIGINT, 128 + signal.SIGTERM, 128 + signal.SIGHUP)


@dataclass(frozen=True)
class Launch:
    """A step to run.

    Attributes:
        command: its command line.
        gpus: devices of its own; 0: no device is looked at.
        gpus_wanted: devices that it needs; more than `gpus` is an error.
        lock: the file that no two processes may make at a time.
        log: takes all that the command prints; None: it prints where the launcher does.
        must_stop: called several times a second: whether the workflow that asked for the step is gone.
        tries: how many times it is run before its failure counts; each try receives its number with --attempt.
        attempt: number of the first try, by the workflow's own count.
    """

    command: Sequence[str]
    step: str
    arm: str
    gpus: int
    lock: Path
    must_stop: Callable[[], bool] = lambda: False
    log: Path | None = None
    tries: int = 1
    attempt: int = 1
    gpus_wanted: int | None = None

    @property
    def name(self) -> str:
        return f"{self.step} {self.arm}".strip()


def launch(job: Launch) -> ProcessRecord:
    """Run a step's command to its end, again where it died of what another try may survive.

    Raises:
        StudyError: there are fewer devices, the workflow ended while the step waited for one, or the workflow tries
            again (`attempt`) what ended in an error that would only come again.
    """
    if job.attempt > 1 and (known := remembered_failure(job.lock)):
        raise StudyError(f"{job.name} is not tried again, as its last try ended in an error that comes again: {known}")
    forget_failure(job.lock)
    try:
        check_gpus(job.gpus, job.gpus_wanted, job.arm)
        record = _launch_with_tries(job)
    except StudyError as error:
        remember_failure(job.lock, str(error))
        raise
    if record.exit_code in COMES_AGAIN:
        remember_failure(job.lock, _last_error(job.log))
    return record


def _launch_with_tries(job: Launch) -> ProcessRecord:
    for number in range(job.tries):
        attempt = ["--attempt", str(job.attempt + number)] if job.tries > 1 else []
        stopped: list[bool] = []

        def must_stop(stopped: list[bool] = stopped) -> bool:
            stopped += [True] if job.must_stop() else []
            return bool(stopped)

        record = _launch_once(replace(job, command=[*job.command, *attempt], must_stop=must_stop))
        if record.exit_code in PERMANENT or stopped or number + 1 == job.tries:
            break
        explain_end(record)
        log.warning("%s: try %d of %d", job.name, number + 2, job.tries)
    return record


def _last_error(path: Path | None) -> str:
    """The error that a step's log ends in."""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path and path.exists() else []
    return next((line.removeprefix("error: ") for line in reversed(lines) if line.startswith("error: ")), "see its log")


def _launch_once(job: Launch) -> ProcessRecord:
    def while_waiting() -> None:
        if job.must_stop():
            raise StudyError(f"{job.name}: the workflow that asked for it is gone, so it was not started")

    with exclusive_lock(job.lock, job.name, while_waiting) as own:
        if job.gpus == 0:
            log.info("%s: begins on %s", job.name, processor_name())
            environment = choose_wait_policy(os.environ) | os.environ | {"CUDA_VISIBLE_DEVICES": ""}
            return _record(job, _run(job, environment, [own]))
        allowed = gpus.devices_allowed(os.environ.get("CUDA_VISIBLE_DEVICES"))
        with gpu.hold_gpus(job.gpus, allowed, job.name, while_waiting) as held:
            return _run_on(held, job, own)


def _run(
    job: Launch, environment: Mapping[str, str], locks: list[int], watch: Callable[[], None] = lambda: None
) -> Ended:
    """Run the command with its output in the log, and its few lines for a reader on this process's terminal."""
    if job.log is None:
        return run_process(job.command, environment, locks, job.must_stop, watch)
    job.log.parent.mkdir(parents=True, exist_ok=True)
    with job.log.open("ab") as output:
        terminal = os.dup(2)
        try:
            shown = {TERMINAL_VARIABLE: name_terminal(terminal), STEP_VARIABLE: job.name}
            return run_process(
                job.command, {**environment, **shown}, [*locks, terminal], job.must_stop, watch, output.fileno()
            )
        finally:
            os.close(terminal)


def _run_on(held: Mapping[gpus.Device, int], job: Launch, own: int) -> ProcessRecord:
    """Run the command on the devices that are held, and read their counters before, meanwhile and after."""
    devices = list(held)
    names = ",".join(device.identity for device in devices)
    log.info("%s: begins on %s", job.name, ", ".join(f"{device.name} {device.identity}" for device in devices))
    energy_before = gpu.energy_of(devices)
    before = peak = sum(device.used() for device in devices)

    def watch() -> None:
        nonlocal peak
        peak = max(peak, sum(device.used() for device in devices))

    environment = os.environ | {"CUDA_VISIBLE_DEVICES": names}
    ended = _run(job, environment, [own, *held.values()], watch)
    energy_after = gpu.energy_of(devices)
    joules = None if energy_before is None or energy_after is None else energy_after - energy_before
    return _record(job, ended).model_copy(
        update={
            "device": " + ".join(device.name for device in devices),
            "device_names": sorted({device.name for device in devices}),
            "devices": len(devices),
            "device_seconds": ended.seconds * len(devices),
            "device_total": sum(device.total for device in devices),
            "device_before": before,
            "device_peak": peak,
            "device_after": gpu.wait_until_freed(devices, before),
            "energy_wh": None if joules is None else joules / 3600,
        }
    )


def _record(job: Launch, ended: Ended) -> ProcessRecord:
    return ProcessRecord(
        step=job.step,
        arm=job.arm,
        exit_code=ended.exit_code,
        seconds=ended.seconds,
        peak_resident=ended.peak_resident,
    )


def check_gpus(given: int, wanted: int | None, arm: str) -> None:
    """Raise a StudyError for a request above --resources gpu=N, which Snakemake silently cuts to N."""
    if wanted is not None and wanted > given:
        raise StudyError(
            f"{arm} asks for {wanted} GPU{'s' * (wanted > 1)} and the workflow may use {given}: "
            f"run snakemake with --resources gpu={wanted}, or lower hardware.gpus in config.yaml"
        )


def explain_end(record: ProcessRecord) -> None:
    """Say how the step ended, and what a death by signal may mean."""
    name = f"{record.step} {record.arm}".strip()
    if record.exit_code == 0:
        log.info("%s: done in %.1f s, %.1f GB of main memory at most", name, record.seconds, record.peak_resident / 1e9)
    elif record.exit_code == 128 + signal.SIGTERM:  # Ctrl-C, a scheduler's warning: an end that was asked for
        log.warning("%s: stopped after %.1f s; the same command takes it up again", name, record.seconds)
    else:
        log.error("%s: failed after %.1f s with exit code %d", name, record.seconds, record.exit_code)
    if record.exit_code == 128 + signal.SIGKILL:
        log.error(
            "%s was killed: where nobody did that, main memory ran out (see `dmesg`); raise hardware.mem_mb on a "
            "cluster, or run fewer steps at once",
            name,
        )
