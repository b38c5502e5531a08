"""The shards of an arm's predictions, put together as one job would have written them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

from slingshot.artifacts.records import ProcessRecord, StepRecord
from slingshot.core.errors import StudyError

SUMS = ("samples", "prompt_tokens", "new_tokens", "cached_samples", "truncated_samples")


def interleaved(shards: Sequence[Path]) -> str:
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
    phases = {phase for record in records for phase in record.seconds}
    budgets = [record.token_budget for record in records if record.token_budget is not None]
    peaks = [record.peak_allocated for record in records if record.peak_allocated is not None]
    return first.model_copy(
        update={
            "device": " + ".join(sorted({record.device for record in records})),
            "seconds": {phase: sum(record.seconds.get(phase, 0.0) for record in records) for phase in phases},
            **{name: sum(getattr(record, name) for record in records) for name in SUMS},
            "token_budget": min(budgets, default=None),
            "peak_allocated": max(peaks, default=None),
            "notes": [f"answered in {len(records)} shards", *dict.fromkeys(chain(*(one.notes for one in records)))],
        }
    )


def merged_process(records: Sequence[ProcessRecord]) -> ProcessRecord:
    """One record for the processes of all shards; null where one shard has no figure."""

    def taken(name: str, by: Callable[[list[Any]], Any]) -> float | None:
        values = [getattr(record, name) for record in records]
        return None if any(value is None for value in values) else by(values)

    return records[0].model_copy(
        update={
            "exit_code": max(record.exit_code for record in records),
            "seconds": sum(record.seconds for record in records),
            "device": " + ".join(sorted({record.device for record in records if record.device})) or None,
            "energy_wh": taken("energy_wh", sum),
            **{
                name: taken(name, max)
                for name in ("peak_resident", "device_total", "device_before", "device_peak", "device_after")
            },
        }
    )
