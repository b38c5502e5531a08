"""What a step leaves behind about itself: what it did, and what its process took from the machine."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, ValidationError, model_serializer

from slingshot.core.errors import StudyError
from slingshot.core.files import read_json, write_json
from slingshot.core.hashing import digest_of_text


class Record(BaseModel):
    model_config = ConfigDict(extra="forbid")

    ONLY_IF_THERE: ClassVar[tuple[str, ...]] = ()  # fields that are left out of the file where they are null

    @model_serializer(mode="wrap")
    def _without_absent(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        content: dict[str, Any] = handler(self)
        for name in self.ONLY_IF_THERE:
            if getattr(self, name) is None:
                content.pop(name, None)
        return content

    def write(self, path: Path | str) -> None:
        write_json(path, self.model_dump(mode="json"))


class EndpointUse(Record):
    """What an endpoint was asked and what it said of itself. Counts and tokens are of all of the arm's answers, those
    that were kept from earlier included; requests, retries and errors are of this run alone."""

    api: str
    model: str = Field(description="as the study names it")
    models: dict[str, int] = Field(default={}, description="the names that came back, with their counts")
    fingerprints: dict[str, int] = Field(default={}, description="system fingerprints, likewise; empty: none came")
    finish_reasons: dict[str, int] = Field(default={}, description="why answers ended: stop, length, content_filter")
    first_answer: str | None = Field(None, description="when the first of the answers came, UTC")
    last_answer: str | None = Field(None, description="when the last of them came, UTC")
    prompt_tokens: int = Field(0, description="as the endpoint counts them, of free and constrained answers")
    cached_tokens: int = Field(0, description="of the prompt tokens, those that the endpoint had in its cache")
    completion_tokens: int = 0
    thinking_tokens: int = Field(0, description="of the completion tokens")
    uncounted: int = Field(0, description="answers that came without a count of tokens")
    requests: int = 0
    retries: dict[str, int] = Field(default={}, description="requests that were repeated, by why (429, 500, time-out)")
    errors: dict[str, int] = Field(default={}, description="samples without an answer after all tries, by why")
    refusals: int = Field(0, description="samples that the endpoint or its model declined")
    latency_median: float | None = Field(None, description="seconds from request to whole answer, waiting left out")
    latency_q95: float | None = Field(None, description="95% of the free answers came within N seconds")
    not_possible: list[str] = Field(default=[], description="what the study asks for and the endpoint cannot do")


class StepRecord(Record):
    """Written by a model step itself, beside its result. Times in seconds, memory in bytes."""

    step: str = Field(description="finetune, predict, or ask for a model behind an endpoint")
    arm: str
    spec: dict[str, Any]
    inputs: dict[str, str] = Field(default={}, description="name of an input to its digest or revision")
    versions: dict[str, str]
    device: str = Field(description="the device's name, e.g. NVIDIA H100 80GB HBM3, or the processor's")
    dtype: str | None = Field(None, description="number type of the weights that are not quantized, as run")
    seed: int | None = None
    seconds: dict[str, float] = Field(default={}, description="phase (load, prefill, decode, train…) to its duration")
    samples: int = 0
    prompt_tokens: int = 0
    new_tokens: int = 0
    trained_tokens: int = 0
    cached_samples: int = Field(0, description="answers taken from the cache: no device time was spent on them now")
    partly_cached_samples: int = Field(0, description="of the other samples, those with a part of the answer cached")
    fresh_tokens: int | None = Field(None, description="prompt and new tokens of what was computed now, in predict")
    earlier_seconds: float = Field(0.0, description="of the processes that a resumed finetune goes on from")
    truncated_samples: int = 0
    token_budget: int | None = Field(None, description="tokens per micro-batch, as used")
    peak_allocated: int | None = Field(None, description="by torch's allocator; null on a CPU")
    notes: list[str] = Field(default=[], description="what a reader should know, e.g. that a slower path was taken")
    warnings: list[str] = Field(default=[], description="what makes the arm's scores doubtful: under the verdict, too")
    endpoint: EndpointUse | None = Field(None, description="null for what ran here")
    answers_key: str | None = Field(None, description="digest of the free answers' cache keys; null: nothing is cached")
    earlier: Measurement | None = Field(
        None, description="an earlier run's records, where it computed more of these answers whole than this one"
    )

    @property
    def whole_samples(self) -> int:
        """Samples whose answer was computed from end to end, so that its time is known; 0 where a part was cached."""
        return 0 if self.partly_cached_samples else self.samples - self.cached_samples


class ProcessRecord(Record):
    """Written by the launcher around a step's process. Memory in bytes; device figures are null without a GPU."""

    step: str
    arm: str
    exit_code: int
    seconds: float = Field(description="from start of the process to its end; of several processes, the sum")
    devices: int = Field(1, ge=1, description="devices that the process held; a CPU counts as one")
    device_seconds: float = Field(
        default_factory=lambda fields: fields["seconds"] * fields["devices"],
        description="seconds times devices, which adds up over processes",
    )
    peak_resident: int = Field(description="main memory of the process")
    device: str | None = Field(None, description="the devices in words; null without a GPU")
    device_names: list[str] = Field(default=[], description="each kind of device once")
    device_total: int | None = None
    device_before: int | None = Field(None, description="used on the device before the process started")
    device_peak: int | None = None
    device_after: int | None = Field(None, description="used on the device after the process ended")
    energy_wh: float | None = Field(None, description="by the card's own counter; null where it has none")


class Measurement(Record):
    """What computing an arm's answers took, with its provenance: the records that its step and its launcher wrote."""

    step: StepRecord
    process: ProcessRecord


StepRecord.model_rebuild()

RecordT = TypeVar("RecordT", bound=Record)


def read_record(model: type[RecordT], path: Path | str) -> RecordT:
    """Read a file that a step wrote.

    Raises:
        MissingFileError: it is not there.
        StudyError: it is damaged, or of a version that wrote other keys; names the first that is wrong.
    """
    try:
        return model.model_validate(read_json(path))
    except ValidationError as error:
        raise StudyError(describe_fault(error, path)) from None


def read_checked(model: type[BaseModel], path: Path | str) -> dict[str, Any]:
    """The content of a JSON file as it stands, once `model` accepts it; raises as read_record."""
    content = read_json(path)
    try:
        model.model_validate(content)
    except ValidationError as error:
        raise StudyError(describe_fault(error, path)) from None
    return dict(content)


def describe_fault(error: ValidationError, path: Path | str, where: str | None = None) -> str:
    """One sentence on a file that another version wrote: the first key that is wrong, and how to make it again."""
    fault = error.errors(include_url=False, include_input=False)[0]
    key = ".".join(map(str, fault["loc"]))[:100] or "the whole"
    return (
        f"{where or path} is not what this version writes ({key}: {fault['msg'][:120]}): make it again with "
        f"`snakemake --force {path}`"
    )


SEAL = "content"  # key of a sealed record's `provenance`: the digest of all the rest


def write_sealed(record: Record, path: Path | str, seal: str = SEAL) -> None:
    """Write a record that has `provenance` with a digest of its own content, by which a later edit shows."""
    plain: Any = type(record).model_validate_json(record.model_dump_json())
    provenance = {**plain.provenance, seal: _digest_without(plain, seal)}
    plain.model_copy(update={"provenance": provenance}).write(path)


def read_sealed(model: type[RecordT], path: Path | str, seal: str = SEAL) -> RecordT:
    """read_record, and a StudyError where the file was edited since it was written."""
    record: Any = read_record(model, path)
    if record.provenance.get(seal, digest := _digest_without(record, seal)) != digest:
        raise StudyError(
            f"{path} was changed after it was written (its digest is another): make it again with "
            f"`snakemake --force {path}`"
        )
    return record


def _digest_without(record: Any, seal: str) -> str:
    content = record.model_dump(mode="json")
    content["provenance"] = {key: value for key, value in record.provenance.items() if key != seal}
    return digest_of_text(json.dumps(content, sort_keys=True))


def read_step_record(path: Path | str) -> StepRecord:
    return read_record(StepRecord, path)


def read_process_record(path: Path | str) -> ProcessRecord:
    return read_record(ProcessRecord, path)


def add_up_phases(records: Sequence[StepRecord]) -> dict[str, float]:
    """Seconds by phase, summed over records."""
    phases = sorted({phase for record in records for phase in record.seconds})
    return {phase: sum(record.seconds.get(phase, 0.0) for record in records) for phase in phases}


@contextmanager
def timed(seconds: dict[str, float], phase: str) -> Iterator[None]:
    """Add the duration of the block to `seconds[phase]`."""
    start = time.perf_counter()
    try:
        yield
    finally:
        seconds[phase] = seconds.get(phase, 0.0) + time.perf_counter() - start


# Phases of StepRecord.seconds that come once per process, and those that answer dialogues or train on them. Others are
# spans that overlap with these: `evaluate` is part of `train`, `until_first_answers` counts from the process's start.
SETUP_PHASES = ("tokenizer", "imports", "load", "prompts", "encode", "check", "probe", "save")

WORK_PHASES = {
    "predict": ("prefill", "decode", "candidates", "generate", "classify"),
    "ask": ("ask",),
    "finetune": ("train",),
}
