"""What compare writes about cost: seconds, energy, money and memory, per step and per arm."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from slingshot.artifacts.records import Record

Resource = Literal["device_seconds", "energy_wh", "money"]


class StepCost(Record):
    """One step's process. Seconds are of wall time while the process holds the device; null is never a guess."""

    step: Literal["finetune", "predict", "ask"]
    device: str
    device_names: list[str] = Field(default=[], description="each kind of device once")
    unit: Literal["gpu", "cpu", "api"] = Field(description="whose seconds device_seconds are; api: of an endpoint")
    device_seconds: float | None = Field(
        description="null behind an endpoint, whose devices are not seen; else the whole process, start to end, "
        "loading included, times its devices; of a resumed finetune with "
        "the processes before it, up to their last checkpoint"
    )
    load_seconds: float = Field(description="wall time that comes once per process: imports, weights, prompts, probing")
    work_seconds: float = Field(description="wall time of training or answering, without loading")
    samples: int = Field(description="worked on now: answers from the cache are left out")
    cached_samples: int
    tokens: int | None = Field(
        description="prompt and new tokens of the answers worked on, trained tokens of a finetune; null where the "
        "record does not tell them from the cached answers' tokens"
    )
    tokens_per_second: float | None = Field(description="tokens / work_seconds, evaluations of a finetune left out")
    seconds_per_dialogue: float | None = Field(
        description="work_seconds / samples: amortized over a batch; null for a finetune"
    )
    peak_allocated: int | None = Field(description="bytes, by torch's allocator")
    peak_device: int | None = Field(description="bytes, by NVML: everything on the device")
    peak_resident: int = Field(description="bytes of main memory")
    energy_wh: float | None = Field(description="by the card's counter, the whole process; null for a resumed finetune")
    money: float | None = Field(
        description="behind an endpoint: of the tokens of all its answers, those that were kept from earlier included"
    )
    latency_median: float | None = Field(
        None, description="behind an endpoint: seconds from a request to its whole answer; null for what ran here"
    )
    note: str | None = Field(
        None, description="e.g. that an earlier run measured it, as this one's answers were cached"
    )
    latency_q95: float | None = Field(None, description="likewise, the 95% quantile")


class ServingCost(Record):
    """Per 1,000 dialogues; null where nothing was worked on or nothing was measured."""

    device_seconds: float | None = Field(description="without loading the model")
    energy_wh: float | None = Field(description="loading included: the counter cannot tell the phases apart")
    money: float | None


class ArmCost(Record):
    arm: str
    training: StepCost | None = Field(description="null for an arm that was not finetuned by us")
    predict: StepCost
    per_1000_dialogues: ServingCost


class BreakEven(Record):
    """The dialogues after which training and serving the small model has cost less than serving the large one."""

    finetuned: str
    zero_shot: str
    resource: Resource
    answer: Literal["volume", "always", "never", "unknown"]
    dialogues: int | None = Field(description="null unless the answer is a volume")
    low: int | None = Field(
        None, description="of the interval over noise of the rates (cost.rate_noise); null: never, or unknown"
    )
    high: int | None = Field(None, description="null: perhaps never, or unknown")
    training: float | None = Field(description="the finetuned arm's training, in the resource's unit")
    finetuned_per_dialogue: float | None
    zero_shot_per_dialogue: float | None
    note: str | None = Field(None, description="e.g. why it is unknown, or that the two ran on different devices")


class MemoryRow(Record):
    """A row of the memory ledger: device memory around one step's process, in bytes."""

    arm: str
    step: str
    device: str | None
    total: int | None
    before: int | None
    peak: int | None
    after: int | None
    peak_resident: int
    seconds: float
    exit_code: int
