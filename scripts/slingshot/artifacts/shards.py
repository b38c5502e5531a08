"""The shards of an arm's predictions, put together as one job would have written them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

from slingshot.artifacts.layout import ArmFiles
from slingshot.artifacts.records import (
    Measurement,
    ProcessRecord,
    StepRecord,
    add_up_phases,
    read_process_record,
    read_step_record,
)
from slingshot.config.specs import GatherSpec
from slingshot.core.errors import StudyError
from slingshot.core.files import write_text
from slingshot.core.hashing import digest_of_text

SUMS = ("samples", "prompt_tokens", "new_tokens", "cached_samples", "partly_cached_samples", "truncated_samples")


def gather_shards(spec: GatherSpec, files: ArmFiles) -> None:
    """Write an arm's predictions and records from those of its shards.

    Raises:
        StudyError: the shards don't fit together.
    """
    shards = [files.shard(number, spec.shards) for number in range(1, spec.shards + 1)]
    write_text(files.predictions, interleave([shard.predictions for shard in shards]))
    steps = [read_step_record(shard.record("predict")) for shard in shards]
    processes = [read_process_record(shard.process("predict")) for shard in shards]
    step = merged_step(steps)
    step.earlier = merged_earlier(steps, processes)
    step.write(files.record("predict"))
    merged_process(processes).write(files.process("predict"))


def interleave(shards: Sequence[Path]) -> str:
    """The lines of all shards in the order of the split.

    Raises:
        StudyError: their lengths don't fit together.
    """
    lines = [path.read_text(encoding="utf-8").splitlines(keepends=True) for path in shards]
    lengths = [len(part) for part in lines]
    if lengths != sorted(lengths, reverse=True) or lengths[0] - lengths[-1] > 1:
        where = shards[0].parent.parent
        raise StudyError(f"{where}: the shards hold {lengths} answers, which is no split dealt in turn; remove them")
    return "".join(line for line in chain.from_iterable(zip_longest(*lines)) if line is not None)


def merged_step(records: Sequence[StepRecord]) -> StepRecord:
    """One record for all shards.

    Raises:
        StudyError: they are of different specs or inputs.
    """
    first = records[0]
    if any((record.spec, record.inputs) != (first.spec, first.inputs) for record in records):
        raise StudyError(f"{first.arm}: its shards were answered under different settings; remove its folder shards/")
    fresh = [record.fresh_tokens for record in records]
    keys = [record.answers_key for record in records]
    budgets = [record.token_budget for record in records if record.token_budget is not None]
    peaks = [record.peak_allocated for record in records if record.peak_allocated is not None]
    return first.model_copy(
        update={
            "device": " + ".join(sorted({record.device for record in records})),
            "seconds": add_up_phases(records),
            **{name: sum(getattr(record, name) for record in records) for name in SUMS},
            "fresh_tokens": None if None in fresh else sum(tokens or 0 for tokens in fresh),
            "answers_key": None if None in keys else digest_of_text("\n".join(key or "" for key in keys)),
            "earlier": None,
            "token_budget": min(budgets, default=None),
            "peak_allocated": max(peaks, default=None),
            "notes": [f"answered in {len(records)} shards", *dict.fromkeys(chain(*(one.notes for one in records)))],
        }
    )


def merged_earlier(steps: Sequence[StepRecord], processes: Sequence[ProcessRecord]) -> Measurement | None:
    """What computing the answers took where a shard has it of an earlier run; None where not all are known."""
    if not any(step.earlier for step in steps):
        return None
    whole = [
        step.earlier or (Measurement(step=step, process=process) if step.whole_samples else None)
        for step, process in zip(steps, processes, strict=True)
    ]
    known = [one for one in whole if one is not None]
    if len(known) < len(whole):
        return None
    step = known[0].step.model_copy(
        update={
            "seconds": add_up_phases([one.step for one in known]),
            **{name: sum(getattr(one.step, name) for one in known) for name in SUMS},
        }
    )
    return Measurement(step=step, process=merged_process([one.process for one in known]))


def merged_process(records: Sequence[ProcessRecord]) -> ProcessRecord:
    """One record for the processes of all shards; null where one shard has no figure."""

    def taken(name: str, by: Callable[[list[Any]], Any]) -> float | None:
        values = [getattr(record, name) for record in records]
        return None if any(value is None for value in values) else by(values)

    names = sorted({name for record in records for name in record.device_names})
    return records[0].model_copy(
        update={
            "exit_code": max(record.exit_code for record in records),
            "seconds": sum(record.seconds for record in records),
            "device_seconds": sum(record.device_seconds for record in records),
            "device": " + ".join(names) or None,
            "device_names": names,
            "energy_wh": taken("energy_wh", sum),
            **{
                name: taken(name, max)
                for name in ("peak_resident", "device_total", "device_before", "device_peak", "device_after")
            },
        }
    )
