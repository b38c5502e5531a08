"""Shards of an arm's answers are put together in the order of the split, or refused."""

from pathlib import Path

import pytest

from slingshot.artifacts.layout import ArmFiles
from slingshot.artifacts.records import (
    Measurement,
    ProcessRecord,
    StepRecord,
    read_process_record,
    read_step_record,
)
from slingshot.artifacts.shards import gather_shards, merged_earlier, merged_step
from slingshot.config.specs import GatherSpec
from slingshot.core.errors import StudyError


def write_shards(files: ArmFiles, lines: list[str], count: int, **changed: object) -> None:
    """Deal lines to `count` shards in turn, with a record each; what is changed is so in the last one only."""
    for number in range(1, count + 1):
        shard, mine = files.shard(number, count), lines[number - 1 :: count]
        shard.predictions.parent.mkdir(parents=True)
        shard.predictions.write_text("".join(mine))
        last = changed if number == count else {}
        fields = {"spec": {}, "device": f"card {number}", "samples": len(mine), "seconds": {"decode": 2.0}, **last}
        StepRecord(step="predict", arm="llm/a", versions={}, **fields).write(shard.record("predict"))  # type: ignore[arg-type]
        ProcessRecord(
            step="predict",
            arm="llm/a",
            exit_code=0,
            seconds=10.0,
            peak_resident=number,
            device_names=[f"card {number}"],
            device_seconds=10.0,
            energy_wh=1.5 if number < count else None,
        ).write(shard.process("predict"))


def test_answers_come_in_the_splits_order_and_records_add_up(tmp_path: Path) -> None:
    files, lines = ArmFiles(tmp_path / "llm/a"), [f"answer {number}\n" for number in range(5)]
    write_shards(files, lines, 2)
    gather_shards(GatherSpec(shards=2), files)
    assert files.predictions.read_text() == "".join(lines)
    step, process = read_step_record(files.record("predict")), read_process_record(files.process("predict"))
    assert (step.samples, step.seconds, step.device) == (5, {"decode": 4.0}, "card 1 + card 2")
    assert (process.seconds, process.device_seconds, process.peak_resident) == (20.0, 20.0, 2)
    assert process.device_names == ["card 1", "card 2"]
    assert process.energy_wh is None  # of one shard nobody knows it


def test_shards_of_different_settings_or_lengths_are_refused(tmp_path: Path) -> None:
    files = ArmFiles(tmp_path / "llm/a")
    write_shards(files, ["one\n", "two\n", "three\n"], 2, spec={"few_shot": {"k": 2}})
    with pytest.raises(StudyError, match="answered under different settings; remove its folder shards/"):
        gather_shards(GatherSpec(shards=2), files)
    files.shard(1, 2).predictions.write_text("one\ntwo\nthree\n")
    with pytest.raises(StudyError, match=r"hold \[3, 1\] answers, which is no split dealt in turn"):
        gather_shards(GatherSpec(shards=2), files)


def step_of(**changed: object) -> StepRecord:
    given = {"step": "predict", "arm": "llm/a", "spec": {}, "versions": {}, "device": "cpu", "samples": 10}
    return StepRecord.model_validate(given | {"seconds": {"decode": 2.0}, "answers_key": "k"} | changed)


def process_of(seconds: float) -> ProcessRecord:
    return ProcessRecord(step="predict", arm="llm/a", exit_code=0, seconds=seconds, peak_resident=1)


def test_what_was_computed_and_what_was_half_cached_add_up() -> None:
    merged = merged_step([step_of(fresh_tokens=5), step_of(fresh_tokens=7, partly_cached_samples=3)])
    assert (merged.samples, merged.fresh_tokens, merged.partly_cached_samples) == (20, 12, 3)
    assert merged.whole_samples == 0
    assert merged_step([step_of(fresh_tokens=5), step_of()]).fresh_tokens is None


def test_an_earlier_measurement_of_one_shard_joins_the_others_own() -> None:
    before = Measurement(step=step_of(seconds={"decode": 8.0}), process=process_of(30.0))
    cached = step_of(cached_samples=10, earlier=before)
    both = merged_earlier([cached, step_of()], [process_of(1.0), process_of(4.0)])
    assert both is not None
    assert both.step.seconds == {"decode": 10.0} and both.step.whole_samples == 20
    assert both.process.device_seconds == 34.0
    half = step_of(partly_cached_samples=10)
    assert merged_earlier([cached, half], [process_of(1.0), process_of(4.0)]) is None
    assert merged_earlier([step_of(), step_of()], [process_of(1.0)] * 2) is None
