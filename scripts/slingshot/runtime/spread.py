"""One arm's answers on several GPUs of a machine: a process per GPU takes every N-th sample; the files are merged."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from slingshot.artifacts.layout import ArmFiles, measured_beside
from slingshot.artifacts.measurements import find_earlier
from slingshot.artifacts.records import read_step_record
from slingshot.artifacts.shards import interleave, merged_step
from slingshot.core.errors import StudyError
from slingshot.core.files import write_text
from slingshot.generation.predict import PredictJob
from slingshot.runtime.processes import die_with_parent

PROGRAM = Path(__file__).parents[2] / "predict.py"


def predict_on_gpus(job: PredictJob, gpus: int) -> None:
    """Answer the job's samples in `gpus` processes, each on a device of its own; the files are those of one process.

    The processes share the cache, so that what was answered before one of them died is not computed again.

    Raises:
        StudyError: one of the processes met an error of the study, fewer devices are visible than asked for, or the
            job is a shard itself.
        RuntimeError: one of them died.
    """
    if job.shard != (1, 1):
        raise StudyError("--shard and --gpus both say which samples a process answers: give one of them")
    devices = devices_of(job.device, gpus)
    with tempfile.TemporaryDirectory(dir=job.predictions.parent, prefix=".parts-") as folder:
        shards = [ArmFiles(Path(folder)).shard(number, gpus) for number in range(1, gpus + 1)]
        processes = []
        for number, (device, shard) in enumerate(zip(devices, shards, strict=True), 1):
            part = replace(job, predictions=shard.predictions, record=shard.record("predict"), shard=(number, gpus))
            shard.folder.mkdir(parents=True)
            processes.append(_start(part, shard.folder / "spec.json", device))
        failed = [number for number, process in enumerate(processes, 1) if _wait_for(process, processes)]
        if failed:
            message = f"{job.arm}: process {failed[0]} of {gpus} failed; see its messages above"
            # An error of the study would only come again; a death may not: the launcher then tries another time.
            raise StudyError(message) if any(each.returncode == 1 for each in processes) else RuntimeError(message)
        write_text(job.predictions, interleave([shard.predictions for shard in shards]))
        merged = merged_step([read_step_record(shard.record("predict")) for shard in shards])
        merged.earlier = find_earlier(merged, measured_beside(job.cache.parent))
        merged.write(job.record)


def devices_of(device: str, count: int) -> list[str | None]:
    """What each process may see in CUDA_VISIBLE_DEVICES; None: as this process."""
    if device != "cuda":
        return [None] * count
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    visible = named.split(",") if named else [str(number) for number in range(count)]
    if len(visible) < count:
        raise StudyError(f"--gpus {count}, but CUDA_VISIBLE_DEVICES names {len(visible)}: {named}")
    return list(visible[:count])


def _start(job: PredictJob, spec: Path, device: str | None) -> subprocess.Popen[bytes]:
    spec.write_text(job.spec.model_dump_json(), encoding="utf-8")
    environment = os.environ if device is None else os.environ | {"CUDA_VISIBLE_DEVICES": device}
    command = [sys.executable, str(PROGRAM), "--spec", f"@{spec}", *_options(job)]
    return subprocess.Popen(command, env=environment, preexec_fn=die_with_parent)


def _options(job: PredictJob) -> list[str]:
    """The job as a command line of predict.py."""
    options = {
        "arm": job.arm,
        "model": job.model,
        "labels": job.labels,
        "train": job.train,
        "split": job.split,
        "predictions": job.predictions,
        "record": job.record,
        "cache": job.cache,
        "adapter": job.adapter,
        "choice": job.choice,
        "shard": f"{job.shard[0]}/{job.shard[1]}",
        "device": job.device,
        "token-budget": job.token_budget,
        "memory-gb": job.memory_gb,
        "attempt": job.attempt,
    }
    written = [str(part) for name, value in options.items() if value is not None for part in (f"--{name}", value)]
    return [*written, "--force"] if job.force else written


def _wait_for(process: subprocess.Popen[bytes], others: Sequence[subprocess.Popen[bytes]]) -> bool:
    """Wait for a process; returns whether it failed, and then stops the others."""
    if process.wait() == 0:
        return False
    for other in others:
        if other.poll() is None:
            other.terminate()
    return True
